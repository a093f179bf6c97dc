"""What is no file, but is loaded: a list of documents, or images with labels."""

from pathlib import Path

import numpy as np
import pytest

from minissl.data import located
from minissl.data.images import ImageOptions, Images, LabelledImages
from minissl.data.sets import DataSet
from minissl.data.texts import LabelledTexts, Texts
from minissl.text.documents import Document
from minissl.vision.images import ImageFolder, load_digits


def embedded(monkeypatch, content):
    """A data set of this content, which every path names."""
    dataset = DataSet(
        kinds=(), licence="ours", source="this test", embedded=lambda: content, name="one-of-ours"
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


def test_a_data_set_of_another_kind_is_named():
    for kind in (Texts, LabelledTexts):
        with pytest.raises(ValueError, match="the data set digits has no texts: choose one"):
            kind.read(Path("digits"))
    for kind in (Images, LabelledImages):
        with pytest.raises(ValueError, match="set python-english has no images: choose one"):
            kind.read(Path("python-english"), ImageOptions())


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
    assert located(tmp_path, "digits") == tmp_path
    with pytest.raises(FileNotFoundError, match="nowhere"):
        located(tmp_path / "nowhere", "digits")
    assert located(Path("digits"), "").name == located(None, "digits").name == "digits"
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert located(Path("digits"), "") == Path("digits")
    assert located(None, "digits").name == "digits"


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
