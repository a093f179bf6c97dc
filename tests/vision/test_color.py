"""Colour, blur and noise against colorsys, Pillow and SciPy, one image at a time."""

import colorsys
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy import ndimage

from minissl.vision.color import (
    additive_noise,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    gaussian_blur,
    random_color_jitter,
    random_gaussian_blur,
    random_grey,
    random_intensity,
    to_grey,
)

BYTES = np.random.default_rng(0).integers(0, 256, (4, 9, 7, 3), dtype=np.uint8)
IMAGES = BYTES / 255
FACTORS = np.array([0.0, 0.4, 1.0, 1.7])


def as_pillow(images):
    return [Image.fromarray(image) for image in images]


@pytest.mark.parametrize(
    ("adjust", "enhance"),
    [
        (adjust_brightness, ImageEnhance.Brightness),
        (adjust_contrast, ImageEnhance.Contrast),
        (adjust_saturation, ImageEnhance.Color),
    ],
)
def test_adjustments_are_pillows_up_to_its_rounding_to_bytes(adjust, enhance):
    found = adjust(IMAGES, FACTORS)
    for image, ours, factor in zip(as_pillow(BYTES), found, FACTORS, strict=True):
        pillow = np.asarray(enhance(image).enhance(factor)) / 255
        np.testing.assert_allclose(ours, pillow, atol=(1 + factor) / 255)
        assert np.abs(ours - pillow).mean() < 0.6 * (1 + factor) / 255
    np.testing.assert_allclose(found[2], IMAGES[2], atol=1e-15)  # factor 1


def test_grey_is_pillows():
    for image, ours in zip(as_pillow(BYTES), to_grey(IMAGES), strict=True):
        np.testing.assert_allclose(ours[..., 0], np.asarray(image.convert("L")) / 255, atol=1 / 255)
    np.testing.assert_allclose(to_grey(np.eye(3)[None, None])[0, 0, :, 0], [0.299, 0.587, 0.114])
    np.testing.assert_array_equal(to_grey(IMAGES[..., :1]), IMAGES[..., :1])


special = st.sampled_from([0.0, 0.25, 0.5, 1.0])
channel = st.one_of(special, st.floats(0, 1, width=32))


@given(st.tuples(channel, channel, channel), st.floats(-1, 1))
def test_hue_is_that_of_colorsys(rgb, turn):
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
    expected = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
    found = adjust_hue(np.array(rgb).reshape(1, 1, 1, 3), [turn])
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-12)


def test_hue_by_hand():
    colors = np.eye(3).reshape(1, 1, 3, 3)  # red, green, blue in a row
    turned = adjust_hue(np.repeat(colors, 3, axis=0), [1 / 3, -1 / 3, 1.0])
    np.testing.assert_allclose(turned[0, 0], np.roll(np.eye(3), 1, axis=1), atol=1e-12)
    np.testing.assert_allclose(turned[1, 0], np.roll(np.eye(3), -1, axis=1), atol=1e-12)
    np.testing.assert_allclose(turned[2, 0], np.eye(3), atol=1e-12)


@pytest.mark.parametrize("radius", [1, 3])
def test_blur_is_scipys(radius):
    sigmas = np.array([0.1, 0.7, 1.5, 2.0])
    found = gaussian_blur(IMAGES, sigmas, radius)
    for image, ours, sigma in zip(IMAGES, found, sigmas, strict=True):
        expected = ndimage.gaussian_filter(
            image, (sigma, sigma, 0), mode="nearest", radius=(radius, radius, 0)
        )
        np.testing.assert_allclose(ours, expected, atol=1e-12)
    with pytest.raises(ValueError, match="smallest sigma is 0"):
        gaussian_blur(IMAGES, [1, 1, 0, 1], 1)


@pytest.mark.parametrize(("height", "taps"), [(8, 3), (32, 3), (64, 7), (96, 9), (224, 23)])
def test_the_kernel_is_about_a_tenth_of_the_height(height, taps):
    dot = np.zeros((1, height, 32, 3))
    dot[:, height // 2, 16] = 1
    blurred = random_gaussian_blur(dot, np.random.default_rng(0), (5, 5), probability=1)
    assert np.count_nonzero(blurred[0, :, 16, 0]) == taps


def test_blur_takes_half_of_the_images_each_with_its_own_sigma():
    images = np.zeros((2000, 8, 8, 3))
    images[:, 4, 4] = 1
    middle = random_gaussian_blur(images, np.random.default_rng(0))[:, 4, 4, 0]
    assert 0.45 < np.mean(middle < 1) < 0.55 + 0.05  # a sigma of .1 leaves exactly 1
    blurred = middle[middle < 0.999]
    assert len(np.unique(blurred)) == len(blurred)
    weights = np.exp(-0.5 / 2.0**2)  # the widest: sigma 2, three taps
    assert blurred.min() >= (1 / (1 + 2 * weights)) ** 2
    assert blurred.min() < 1.01 * (1 / (1 + 2 * weights)) ** 2


# ---------------------------------------------------------------------------- random colour

ADJUSTMENTS = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def test_jitter_leaves_a_fifth_of_the_images_alone():
    images = np.tile(IMAGES[:1], (2000, 1, 1, 1))
    jittered = random_color_jitter(images, np.random.default_rng(0))
    untouched = (jittered == images).all(axis=(1, 2, 3))
    assert 0.17 < untouched.mean() < 0.23
    assert len(np.unique(jittered, axis=0)) == 2000 - untouched.sum() + 1


@pytest.mark.parametrize("number", range(4))
def test_each_strength_of_the_jitter_is_uniform_in_its_range(number):
    strengths = [0.0] * 4
    strengths[number] = 0.2 if number == 3 else 0.8
    low_high = (-0.2, 0.2) if number == 3 else (0.2, 1.8)
    # Colours near the middle, so that no factor is clipped: then its size can be read off.
    image = np.array([[[0.40, 0.45, 0.52], [0.50, 0.48, 0.42]]])
    images = np.tile(image, (2000, 1, 1, 1))
    jittered = random_color_jitter(images, np.random.default_rng(0), *strengths, probability=1)
    candidates = np.linspace(*low_high, 801)
    tables = ADJUSTMENTS[number](np.tile(image, (801, 1, 1, 1)), candidates).reshape(801, -1)
    distances = np.abs(jittered.reshape(2000, 1, -1) - tables).max(axis=-1)
    assert distances.min(axis=1).max() < 2e-3  # every image is the adjustment by some factor
    drawn = candidates[distances.argmin(axis=1)]
    width = low_high[1] - low_high[0]
    assert drawn.min() < low_high[0] + 0.01 * width
    assert drawn.max() > low_high[1] - 0.01 * width
    assert abs(drawn.mean() - sum(low_high) / 2) < 0.03 * width
    assert abs(drawn.std() - width / 12**0.5) < 0.02 * width


def test_the_jitters_order_is_random():
    """With one known strength each, the result tells the order: all 24 must come, evenly."""

    class FixedStrengths:
        """A generator whose strengths are all at three quarters of their range."""

        def __init__(self, seed):
            self.generator = np.random.default_rng(seed)

        def uniform(self, low, high, size):
            return np.full(size, low + 0.75 * (high - low))

        def random(self, size):
            return self.generator.random(size)

    images = np.tile(IMAGES[:1], (2400, 1, 1, 1))
    strengths = (1.4, 1.4, 1.4, 0.3)
    jittered = random_color_jitter(images, FixedStrengths(0), 0.8, 0.8, 0.8, 0.2, probability=1)
    counts = []
    for order in itertools.permutations(range(4)):
        image = IMAGES[:1]
        for number in order:
            image = ADJUSTMENTS[number](image, [0.1 if number == 3 else strengths[number]])
        counts.append(np.isclose(jittered, image, atol=1e-12).all(axis=(1, 2, 3)).sum())
    assert sum(counts) >= 2400  # two orders may give one result
    assert min(counts) > 60


def test_grey_takes_a_fifth_of_the_images():
    images = np.tile(IMAGES[:1], (2000, 1, 1, 1))
    greyed = random_grey(images, np.random.default_rng(0))
    grey = (greyed == to_grey(images)).all(axis=(1, 2, 3))
    same = (greyed == images).all(axis=(1, 2, 3))
    assert (grey ^ same).all()
    assert 0.17 < grey.mean() < 0.23


def test_intensity_draws_two_factors_for_each_image():
    images = np.tile(0.3 + 0.2 * IMAGES[:1], (2000, 1, 1, 1))
    changed = random_intensity(images, np.random.default_rng(0), 0.3, 0.4)
    brightness = to_grey(changed).mean(axis=(1, 2, 3)) / to_grey(images).mean(axis=(1, 2, 3))
    contrast = changed.std(axis=(1, 2, 3)) / images.std(axis=(1, 2, 3)) / brightness
    for drawn, strength in ((brightness, 0.3), (contrast, 0.4)):
        assert 1 - strength - 1e-9 < drawn.min() < 1 - 0.97 * strength
        assert 1 + 0.97 * strength < drawn.max() < 1 + strength + 1e-9
        assert abs(drawn.mean() - 1) < 0.02
    assert abs(np.corrcoef(brightness, contrast)[0, 1]) < 0.1


def test_noise_is_normal_with_the_stated_deviation():
    images = np.full((40, 16, 16, 3), 0.5)
    noise = additive_noise(images, np.random.default_rng(0), 0.1) - images
    assert abs(noise.mean()) < 0.002
    assert abs(noise.std() - 0.1) < 0.002
    assert abs(np.mean(np.abs(noise) < 0.1) - 0.683) < 0.01
    assert len(np.unique(noise)) == noise.size  # every pixel, channel and image its own


def test_colour_needs_three_channels():
    two, one = np.zeros((1, 4, 4, 2)), np.zeros((1, 4, 4, 1))
    for function in (
        to_grey,
        lambda i: adjust_contrast(i, [1]),
        lambda i: adjust_saturation(i, [1]),
    ):
        with pytest.raises(ValueError, match="2 channels, expected 3"):
            function(two)
    with pytest.raises(ValueError, match="1 channels, expected 3"):
        adjust_hue(one, [0])
    with pytest.raises(ValueError, match="1 channels, expected 3"):
        random_color_jitter(one, np.random.default_rng(0))
