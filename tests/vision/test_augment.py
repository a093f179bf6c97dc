"""What every augmentation promises, and the two presets."""

import numpy as np
import pytest

from minissl.autograd.threads import engine_threads
from minissl.vision.augment import compose, digits_augmentation, simclr_augmentation
from minissl.vision.color import (
    additive_noise,
    random_color_jitter,
    random_gaussian_blur,
    random_grey,
    random_intensity,
)
from minissl.vision.images import load_digits
from minissl.vision.warp import random_affine, random_horizontal_flip, random_resized_crop

AUGMENTATIONS = {
    function.__name__: function
    for function in (
        additive_noise,
        random_affine,
        random_color_jitter,
        random_gaussian_blur,
        random_grey,
        random_horizontal_flip,
        random_intensity,
        random_resized_crop,
    )
} | {
    "compose of none": compose(),
    "digits": digits_augmentation(),
    "digits, geometry": digits_augmentation(photometric=False),
    "digits, photometric": digits_augmentation(geometry=False),
    "digits, neither": digits_augmentation(geometry=False, photometric=False),
    "simclr": simclr_augmentation(),
    "simclr, strong": simclr_augmentation(2.0),
}
every_augmentation = pytest.mark.parametrize("name", AUGMENTATIONS)


def photos(batch=16, height=12, width=10, dtype=np.float32):
    """Images with black, white and everything between."""
    values = np.random.default_rng(0).normal(0.5, 0.5, (batch, height, width, 3))
    return values.clip(0, 1).astype(dtype)


@every_augmentation
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shape_dtype_range_and_input_are_kept(name, dtype):
    images = photos(dtype=dtype)
    images.flags.writeable = False
    views = AUGMENTATIONS[name](images, np.random.default_rng(0))
    assert views.shape == images.shape
    assert views.dtype == dtype
    assert views.min() >= 0
    assert views.max() <= 1
    assert views.std() > 0.1
    assert not np.shares_memory(views, images)
    views += 1  # the caller owns what it gets


@every_augmentation
def test_the_generator_decides_everything(name):
    augment, images = AUGMENTATIONS[name], photos()
    first, again = (augment(images, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    if name not in ("compose of none", "digits, neither"):
        assert not np.array_equal(first, augment(images, np.random.default_rng(8)))
    else:
        np.testing.assert_array_equal(first, images)


@pytest.mark.parametrize(
    "name", sorted(AUGMENTATIONS.keys() - {"compose of none", "digits, neither"})
)
def test_each_image_has_its_own_draw(name):
    copies = np.tile(photos(1), (200, 1, 1, 1))
    views = AUGMENTATIONS[name](copies, np.random.default_rng(0))
    kinds = len(np.unique(views, axis=0))
    if name in ("random_grey", "random_horizontal_flip"):
        assert kinds == 2
    elif name == "random_gaussian_blur":
        assert 70 < kinds < 130
    else:
        assert kinds > 150


@every_augmentation
def test_no_images_and_one_image(name):
    augment = AUGMENTATIONS[name]
    assert augment(photos(0), np.random.default_rng(0)).shape == (0, 12, 10, 3)
    assert augment(photos(1), np.random.default_rng(0)).shape == (1, 12, 10, 3)


@every_augmentation
def test_bytes_and_single_images_are_refused(name):
    augment = AUGMENTATIONS[name]
    with pytest.raises(ValueError, match="dtype uint8"):
        augment((photos() * 255).astype(np.uint8), np.random.default_rng(0))
    with pytest.raises(ValueError, match="shape"):
        augment(photos()[0], np.random.default_rng(0))


def test_compose_applies_from_first_to_last():
    def double(images, generator):
        return images * 2

    def draw(images, generator):
        return images + generator.random()

    value = compose(double, draw, double)(np.ones((1, 1, 1, 1)), np.random.default_rng(3))
    assert value.item() == 2 * (2 + np.random.default_rng(3).random())


def test_the_switches_of_the_digits_are_two_halves():
    images = photos(8)
    rng = np.random.default_rng
    geometry = digits_augmentation(photometric=False)
    np.testing.assert_array_equal(geometry(images, rng(0)), random_affine(images, rng(0)))
    generator = rng(0)
    expected = additive_noise(random_intensity(images, generator, 0.3, 0.3), generator, 0.1)
    photometric = digits_augmentation(geometry=False)
    np.testing.assert_array_equal(photometric(images, rng(0)), expected)
    still = digits_augmentation(degrees=0, zoom_range=(1, 1), shift_pixels=0, noise=0, intensity=0)
    np.testing.assert_allclose(still(images, rng(0)), images, atol=1e-6)


def test_a_view_of_a_digit_still_shows_the_digit():
    digits = load_digits()
    views = digits_augmentation()(digits.test_images, np.random.default_rng(0))

    def flat(images):
        pixels = images.reshape(len(images), -1)
        pixels = pixels - pixels.mean(axis=1, keepdims=True)
        return pixels / np.linalg.norm(pixels, axis=1, keepdims=True)

    nearest = (flat(views) @ flat(digits.train_images).T).argmax(axis=1)
    assert (digits.train_labels[nearest] == digits.test_labels).mean() > 0.5
    own = (flat(views) * flat(digits.test_images)).sum(axis=1)
    assert 0.6 < own.mean() < 0.9  # neither a copy nor another picture


def test_the_strength_of_simclr_scales_the_colours_only():
    grey = np.tile(photos(1).mean(axis=-1, keepdims=True), (200, 1, 1, 3))
    none = simclr_augmentation(0.0)(grey, np.random.default_rng(0))
    np.testing.assert_allclose(none.std(axis=-1), 0, atol=1e-6)
    colored = np.tile(photos(1), (200, 1, 1, 1))

    def spread(strength):
        views = simclr_augmentation(strength)(colored, np.random.default_rng(0))
        return views.mean(axis=(1, 2)).std(axis=0).mean()

    assert spread(0.0) < spread(0.5) < spread(1.0)


def test_simclr_is_its_five_parts_in_the_papers_order():
    images, generator = photos(64), np.random.default_rng(5)
    expected = images
    for part in (
        random_resized_crop,
        random_horizontal_flip,
        lambda i, g: random_color_jitter(i, g, 0.4, 0.4, 0.4, 0.1),
        random_grey,
        random_gaussian_blur,
    ):
        expected = part(expected, generator)
    found = simclr_augmentation(0.5)(images, np.random.default_rng(5))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["simclr", "digits"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pieces_and_threads_change_no_bit(name, dtype, monkeypatch):
    images = photos(70, dtype=dtype)
    whole = AUGMENTATIONS[name](images, np.random.default_rng(0))
    for numbers in (1, 900, 1 << 30):
        monkeypatch.setattr("minissl.vision.pieces.NUMBERS", numbers)
        with engine_threads(3):
            found = AUGMENTATIONS[name](images, np.random.default_rng(0))
        np.testing.assert_array_equal(found, whole)
