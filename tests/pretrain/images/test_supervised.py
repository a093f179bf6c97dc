"""The baseline with labels: what is held out stays out, and other labels are other data."""

import numpy as np
import pytest

from minissl.data import Kept
from minissl.data.images import LabelledImages
from minissl.data.labels import split_labelled
from minissl.pretrain.images.supervised import Supervised, SupervisedSettings

SETTINGS = SupervisedSettings(features=12, batch_size=200, steps=3)
NAMES = ("lying", "standing")


@pytest.fixture
def raw():
    """Sixty images; the number in the corner of each says which one it is, and its label."""
    images = np.random.default_rng(0).random((60, 8, 8, 1), dtype=np.float32)
    images[:, 0, 0, 0] = np.arange(60) / 60
    return LabelledImages(images, np.arange(60) % 2, NAMES)


def numbers(images):
    return np.rint(images[:, 0, 0, 0] * 60).astype(int)


def test_a_third_of_the_images_is_held_out_and_not_trained_on(raw):
    method = Supervised.build(SETTINGS, raw.prepare(Kept(), SETTINGS))
    method.augment = lambda images, generator: images
    trained, labels = method.batch(np.random.default_rng(0))
    held_out = numbers(method.held_out)
    assert len(held_out) == 20
    assert len({*numbers(method.images), *held_out}) == 60
    assert not {*numbers(trained)} & {*held_out}
    np.testing.assert_array_equal(labels, numbers(trained) % 2)
    np.testing.assert_array_equal(method.held_out_labels, held_out % 2)


def test_batches_are_augmented(raw):
    method = Supervised.build(SETTINGS, raw.prepare(Kept(), SETTINGS))
    method.augment = lambda images, generator: images + 2
    assert method.batch(np.random.default_rng(0))[0].min() >= 2


def test_other_labels_names_of_classes_or_pixels_are_other_data(raw):
    swapped = raw.labels.copy()
    swapped[:2] = swapped[1::-1]  # as many of each class
    others = [
        LabelledImages(raw.images, swapped, NAMES),
        LabelledImages(raw.images, raw.labels, NAMES[::-1]),
    ]
    changed = raw.images.copy()
    changed[-1, -1] /= 2
    others.append(LabelledImages(changed, raw.labels, NAMES))
    again = LabelledImages(raw.images, raw.labels, NAMES)
    assert again.fingerprint() == raw.fingerprint()
    for other in others:
        assert other.fingerprint()["sha256"] != raw.fingerprint()["sha256"]


def test_unseen_images_get_the_numbers_that_their_classes_have_in_the_run(raw):
    data = raw.prepare(Kept(), SETTINGS)
    unseen = data.unseen(LabelledImages(raw.images[:3], np.array([0, 0, 0]), ["standing"]))
    assert unseen.held_out_labels.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="class 'flying' is not one of this run: lying, standing"):
        data.unseen(LabelledImages(raw.images[:3], np.array([0, 0, 0]), ["flying"]))


def test_a_class_whose_images_are_all_held_out_is_told(raw):
    labels = np.zeros(60, int)
    labels[split_labelled(60)[1][:2]] = 1
    told = r"1 of 2 classes, 'standing' among them, have no image to learn from, after 20 of 60"
    with pytest.warns(UserWarning, match=told):
        LabelledImages(raw.images, labels, NAMES).prepare(Kept(), SETTINGS)


def test_images_of_other_classes_than_those_kept_are_refused(raw):
    kept = raw.prepare(Kept(), SETTINGS).kept
    other = LabelledImages(raw.images, raw.labels, ("lying", "flying"))
    with pytest.raises(ValueError, match=r"classes.json has the classes lying, standing, the"):
        other.prepare(kept, SETTINGS)


def test_numbers_are_not_learned_as_classes(raw):
    numbers = LabelledImages(raw.images, np.linspace(0, 1, 60), ())
    with pytest.raises(ValueError, match="the labels are numbers: supervised learns classes"):
        Supervised.build(SETTINGS, numbers.prepare(Kept(), SETTINGS))


@pytest.mark.parametrize(
    "labels", [[[0], [1], [0]], [0, 1], [0, 1, 2], [0, 1, -1], [0.0, 1.0, 0.0], ["a", "b", "a"]]
)
def test_labels_that_are_no_numbers_of_classes_are_refused(labels):
    images = np.zeros((3, 8, 8, 1), np.float32)
    with pytest.raises(ValueError, match="labels: expected 3 whole numbers from 0 to 1, "):
        LabelledImages(images, np.array(labels), ("a", "b"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_pixel_that_is_no_number_is_named(value):
    images = np.zeros((5, 8, 8, 1), np.float32)
    images[3, 2, 1] = value
    with pytest.raises(ValueError, match="image 3 of 5 has pixels that are NaN or infinite"):
        LabelledImages(images, np.zeros(5, np.int64), ("a",))
