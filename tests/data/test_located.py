"""What is no file, but is loaded: a list of documents, or images with labels."""

from pathlib import Path

import numpy as np
import pytest

from minissl.data import located
from minissl.data.captions import Captioned
from minissl.data.images import ImageOptions, Images, LabelledImages
from minissl.data.pairs import TextPairs
from minissl.data.sets import DataSet
from minissl.data.texts import LabelledTexts, Texts
from minissl.text.documents import Document
from minissl.vision.images import ImageFolder, load_digits

KINDS = ("texts", "labelled texts", "images", "labelled images")


def embedded(monkeypatch, content):
    """A data set of this content, which every path names."""
    dataset = DataSet(
        kinds=KINDS,
        licence="ours",
        source="this test",
        embedded=lambda: content,
        name="one-of-ours",
    )
    monkeypatch.setattr("minissl.data.sets.find", lambda path: dataset)
    monkeypatch.setattr("minissl.data.sets.load_set", lambda name: dataset)


def test_texts_that_are_loaded(monkeypatch):
    documents = [Document("a", "yes", "text a"), Document("b", "no", "text b")]
    embedded(monkeypatch, documents)
    assert Texts.read(Path("one")).documents == tuple(documents)
    read = LabelledTexts.read(Path("one"))
    assert [read.class_names[n] for n in read.labels] == ["yes", "no"]
    with pytest.raises(ValueError, match="gives classes, no numbers"):
        LabelledTexts.read(Path("one"), labels="number")


def test_images_that_are_loaded_get_the_size_of_the_settings(monkeypatch):
    images = np.random.default_rng(0).random((4, 8, 8, 1), dtype=np.float32)
    folder = ImageFolder(images, np.array([0, 1, 1, 0]), ("a", "b"), ("w", "x", "y", "z"))
    embedded(monkeypatch, folder)
    read = LabelledImages.read(Path("one"), ImageOptions(image_size=8))
    np.testing.assert_array_equal(read.images, images)
    assert (read.labels.tolist(), read.class_names) == ([0, 1, 1, 0], ("a", "b"))
    assert read.names == ("w", "x", "y", "z")
    larger = Images.read(Path("one"), ImageOptions(image_size=16, channels=3))
    assert larger.images.shape == (4, 16, 16, 3)
    np.testing.assert_allclose(larger.images.mean((1, 2, 3)), images.mean((1, 2, 3)), atol=0.03)


def test_a_path_that_exists_is_meant(tmp_path, monkeypatch):
    assert located(tmp_path, "digits", "texts") == tmp_path
    with pytest.raises(FileNotFoundError, match="nowhere"):
        located(tmp_path / "nowhere", "digits", "texts")
    assert (
        located(Path("digits"), "", "images").name
        == located(None, "digits", "images").name
        == "digits"
    )
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert located(Path("digits"), "", "images") == Path("digits")
    assert located(None, "digits", "images").name == "digits"


def test_what_every_machine_has():
    """Without a path: the digits with the split of the lectures, the docstrings of 12 packages."""
    digits = LabelledImages.read(None, ImageOptions())
    assert digits.held_out.tolist() == list(range(1200, 1797))
    expected = load_digits()
    np.testing.assert_array_equal(digits.images[1200:], expected.test_images)
    named = LabelledImages.read(Path("digits"), ImageOptions())
    assert named.fingerprint() == digits.fingerprint()
    texts = LabelledTexts.read(None)
    assert len(texts.class_names) == 12
    assert texts.documents[0].source == texts.class_names[texts.labels[0]]
    with pytest.raises(ValueError, match="the digits have size 8 and 1 channel, got 16 and 3"):
        Images.read(None, ImageOptions(image_size=16, channels=3))


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
        kind.read(Path(name), ImageOptions(image_size=8))
