"""What is no file, but is loaded: a list of documents, or images with labels."""

from pathlib import Path

import numpy as np
import pytest

from minissl.data import located
from minissl.data.images import ImageOptions, Images, LabelledImages
from minissl.data.texts import LabelledTexts, Texts
from minissl.text.documents import Document
from minissl.vision.images import ImageFolder


class Loaded:
    """An embedded data set."""

    def __init__(self, content):
        self.content = content

    def load(self):
        return self.content


def test_texts_that_are_loaded(monkeypatch, tmp_path):
    documents = [Document("a", "yes", "text a"), Document("b", "no", "text b")]
    monkeypatch.setattr("minissl.data.texts.located", lambda path: Loaded(documents))
    assert Texts.read(tmp_path).documents == tuple(documents)
    read = LabelledTexts.read(tmp_path)
    assert [read.class_names[n] for n in read.labels] == ["yes", "no"]
    with pytest.raises(ValueError, match="gives classes, no numbers"):
        LabelledTexts.read(tmp_path, labels="number")


def test_a_data_set_of_another_kind_is_named(monkeypatch):
    folder = ImageFolder(np.zeros((1, 8, 8, 1), np.float32), np.array([0]), ("a",), ("w",))
    monkeypatch.setattr("minissl.data.texts.located", lambda path: Loaded(folder))
    for kind in (Texts, LabelledTexts):
        with pytest.raises(ValueError, match="the data set some-set has no texts: choose one"):
            kind.read(Path("some-set"))
    monkeypatch.setattr("minissl.data.image_sources.located", lambda path: Loaded([]))
    for kind in (Images, LabelledImages):
        with pytest.raises(ValueError, match="the data set some-set has no images: choose one"):
            kind.read(Path("some-set"), ImageOptions())


def test_images_that_are_loaded_get_the_size_of_the_settings(monkeypatch, tmp_path):
    images = np.random.default_rng(0).random((4, 8, 8, 1), dtype=np.float32)
    folder = ImageFolder(images, np.array([0, 1, 1, 0]), ("a", "b"), ("w", "x", "y", "z"))
    monkeypatch.setattr("minissl.data.image_sources.located", lambda path: Loaded(folder))
    read = LabelledImages.read(tmp_path, ImageOptions(image_size=8))
    np.testing.assert_array_equal(read.images, images)
    assert (read.labels.tolist(), read.class_names) == ([0, 1, 1, 0], ("a", "b"))
    assert read.names == ("w", "x", "y", "z")
    larger = Images.read(tmp_path, ImageOptions(image_size=16, channels=3))
    assert larger.images.shape == (4, 16, 16, 3)
    np.testing.assert_allclose(larger.images.mean((1, 2, 3)), images.mean((1, 2, 3)), atol=0.03)


def test_a_path_that_exists_is_meant(tmp_path):
    assert located(tmp_path) == tmp_path
    with pytest.raises(FileNotFoundError, match="nowhere"):
        located(tmp_path / "nowhere")
