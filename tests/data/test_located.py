"""What is no file, but is loaded: a list of documents, or images with labels."""

from pathlib import Path

import numpy as np
import pytest

from minissl.data import located
from minissl.data.captions import Captioned
from minissl.data.images import ImageOptions, Images, LabelledImages
from minissl.data.pairs import TextPairs
from minissl.data.texts import LabelledTexts, Texts

SIZE_8 = ImageOptions(image_size=8)


def test_texts_that_are_loaded():
    texts, labelled = Texts.read(None), LabelledTexts.read(None)
    assert len(texts.documents) > len(labelled.documents)
    sources = [labelled.class_names[number] for number in labelled.labels]
    assert sources == [document.source for document in labelled.documents]
    with pytest.raises(ValueError, match="gives classes, no numbers"):
        LabelledTexts.read(None, labels="number")


def test_images_that_are_loaded_get_the_size_of_the_settings():
    read = LabelledImages.read(None, SIZE_8)
    assert read.images.shape == (1797, 8, 8, 1)
    np.testing.assert_array_equal(Images.read(None, SIZE_8).images, read.images)


def test_a_path_that_exists_is_meant(tmp_path):
    assert located(tmp_path, "digits", "texts") == tmp_path
    with pytest.raises(FileNotFoundError, match="nowhere"):
        located(tmp_path / "nowhere", "digits", "texts")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Texts, "digits"),
        (LabelledTexts, "digits"),
        (LabelledTexts, "python-english"),
        (Images, "python-docstrings"),
        (LabelledImages, "python-docstrings"),
        (TextPairs, "digits"),
        (Captioned, "digits"),
    ],
)
def test_a_set_of_another_kind_is_refused_by_name(kind, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"the data set {name} is read as .* are needed here"):
        kind.read(Path(name), SIZE_8)
