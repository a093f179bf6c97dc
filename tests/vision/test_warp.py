"""Geometry against SciPy's interpolation, Pillow's resize, and what a turn or shift must do."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from minissl.vision.warp import (
    affine_warp,
    random_affine,
    random_horizontal_flip,
    random_resized_crop,
    rotation,
    shift,
    zoom,
)


def random_images(rng, shape=(3, 7, 9, 2), dtype=np.float64):
    return rng.random(shape).astype(dtype)


def warp_by_scipy(image, matrix, mode):
    middle = (np.array(image.shape[:2]) - 1) / 2
    offset = matrix[:2, 2] + middle - matrix[:2, :2] @ middle
    warped = [
        ndimage.affine_transform(channel, matrix[:2, :2], offset, order=1, mode=mode)
        for channel in np.moveaxis(image, -1, 0)
    ]
    return np.stack(warped, axis=-1)


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 9)] * 2), st.integers(1, 3))
def test_warp_equals_scipy(seed, size, channels):
    rng = np.random.default_rng(seed)
    images = random_images(rng, (3, *size, channels))
    maps = np.eye(3) + rng.normal(0, [0.6, 0.6, 2.0], (3, 3, 3)) * np.array([[1], [1], [0]])
    for border, mode in (("zero", "grid-constant"), ("edge", "nearest")):
        expected = [warp_by_scipy(i, m, mode) for i, m in zip(images, maps, strict=True)]
        np.testing.assert_allclose(affine_warp(images, maps, border), expected, atol=1e-12)
        np.testing.assert_array_equal(
            affine_warp(images, maps[:, :2], border), affine_warp(images, maps, border)
        )


def test_a_far_place_is_border():
    images = random_images(np.random.default_rng(0), (1, 4, 4, 1))
    far = shift([1e9], [-1e9])
    np.testing.assert_array_equal(affine_warp(images, far), 0)
    np.testing.assert_array_equal(affine_warp(images, far, "edge"), images[0, 0, -1, 0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("border", ["zero", "edge"])
def test_the_identity_changes_no_bit(dtype, border):
    images = random_images(np.random.default_rng(0), (5, 8, 6, 3), dtype)
    for identity in (rotation(np.zeros(5)), zoom(np.ones(5), np.ones(5)), shift([0] * 5, [0] * 5)):
        warped = affine_warp(images, identity, border)
        assert warped.dtype == dtype
        np.testing.assert_array_equal(warped, images)


def test_float32_is_as_near_to_float64_as_its_digits_allow():
    rng = np.random.default_rng(0)
    images = random_images(rng, (20, 16, 16, 3))
    maps = rotation(rng.uniform(-3, 3, 20)) @ zoom(rng.uniform(0.5, 2, 20), rng.uniform(0.5, 2, 20))
    single = affine_warp(images.astype(np.float32), maps)
    np.testing.assert_allclose(single, affine_warp(images, maps), atol=16 * 2**-23)


def test_each_map_does_what_its_name_says():
    image = np.zeros((1, 5, 5, 1))
    image[0, 1, 3] = 1  # up and to the right of the middle

    def bright(maps):
        return np.argwhere(affine_warp(image, maps)[0, :, :, 0].round(6) == 1).tolist()

    assert bright(shift([2], [-1])) == [[3, 2]]
    assert bright(rotation([math.pi / 2])) == [[1, 1]]  # counterclockwise: to the upper left
    assert bright(zoom([2.0], [1.0])) == [[0, 3]]
    assert bright(zoom([1.0], [2.0])) == [[1, 4]]
    quarter = affine_warp(np.arange(49.0).reshape(1, 7, 7, 1), rotation([math.pi / 2]))
    np.testing.assert_allclose(quarter[0, :, :, 0], np.rot90(np.arange(49.0).reshape(7, 7)))


def test_maps_compose_as_matrices_and_each_image_has_its_own():
    maps = rotation([0.3, 0.0]) @ zoom([2.0, 1.0], [2.0, 1.0]) @ shift([1.0, 0.0], [0.0, 3.0])
    assert maps.shape == (2, 3, 3)
    cosine, sine = math.cos(0.3) / 2, math.sin(0.3) / 2
    np.testing.assert_allclose(maps[0], [[cosine, sine, -cosine], [-sine, cosine, sine], [0, 0, 1]])
    np.testing.assert_allclose(maps[1], [[1, 0, 0], [0, 1, -3], [0, 0, 1]])


@pytest.mark.parametrize(
    ("shape", "maps", "border", "message"),
    [
        ((2, 4, 4, 1), np.zeros((1, 2, 3)), "zero", r"maps have shape \(1, 2, 3\)"),
        ((2, 4, 4, 1), np.zeros((2, 2, 2)), "zero", "one map for each image"),
        ((2, 4, 4, 1), np.zeros((2, 2, 3)), "wrap", "'wrap', expected 'zero' or 'edge'"),
        ((2, 4, 4), np.zeros((2, 2, 3)), "zero", r"expected \(batch"),
    ],
)
def test_wrong_arguments_are_refused(shape, maps, border, message):
    with pytest.raises(ValueError, match=message):
        affine_warp(np.zeros(shape), maps, border)


# ------------------------------------------------------------------------- random geometry


def dots(batch, size=17):
    """Images with one bright pixel up and to the right of the middle."""
    images = np.zeros((batch, size, size, 1))
    images[:, size // 2 - 4, size // 2 + 2] = 1
    return images


def centres(images):
    """The centre of brightness of each image, from the middle: ``(batch, 2)``."""
    grid = np.indices(images.shape[1:3]) - (images.shape[1] - 1) / 2
    mass = images.sum(axis=(1, 2, 3))
    return np.einsum("bhwc,ahw->ba", images, grid) / mass[:, None]


def test_random_affine_stays_in_its_ranges_and_fills_them():
    images, still = dots(3000), np.array([-4.0, 2.0])
    rng = np.random.default_rng

    moved = centres(random_affine(images, rng(0), 0, (1, 1), 2.0)) - still
    assert abs(moved).max() <= 2.0
    assert (moved.min(axis=0) < -1.8).all()
    assert (moved.max(axis=0) > 1.8).all()
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.1

    turned = centres(random_affine(images, rng(0), 20, (1, 1), 0))
    angles = np.degrees(np.arctan2(-turned[:, 0], turned[:, 1]) - math.atan2(4, 2))
    assert abs(angles).max() < 20 + 4  # of interpolation
    assert angles.min() < -17
    assert angles.max() > 17
    assert abs(angles.mean()) < 1

    zoomed = np.linalg.norm(centres(random_affine(images, rng(0), 0, (0.5, 1.5), 0)), axis=1)
    zoomed /= np.linalg.norm(still)
    assert 0.4 < zoomed.min() < 0.55
    assert 1.45 < zoomed.max() < 1.6


def test_random_affine_refuses_a_zoom_of_nothing():
    for zoom_range in ((0, 1), (1.2, 0.8)):
        with pytest.raises(ValueError, match="zoom_range"):
            random_affine(dots(1), np.random.default_rng(0), zoom_range=zoom_range)


def ramps(batch, height, width):
    """Images whose two channels are the row and the column: what is read tells the place."""
    places = np.stack(np.indices((height, width)), axis=-1).astype(np.float64)
    return np.broadcast_to(places, (batch, height, width, 2))


def boxes(crops):
    """Top, left, height and width of crops ``(batch,)``, from where the ramps came to lie."""
    _, height, width, _ = crops.shape
    row, column = height // 2, width // 2  # ramps are clipped at borders: read the middle
    tall = (crops[:, row, column, 0] - crops[:, row - 1, column, 0]) * height
    wide = (crops[:, row, column, 1] - crops[:, row, column - 1, 1]) * width
    top = crops[:, row, column, 0] + 0.5 - (row + 0.5) / height * tall
    left = crops[:, row, column, 1] + 0.5 - (column + 0.5) / width * wide
    return top, left, tall, wide


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 20)])
def test_random_crops_have_simclrs_areas_and_ratios(height, width):
    crops = random_resized_crop(ramps(3000, height, width), np.random.default_rng(0))
    top, left, tall, wide = boxes(crops)
    assert min(top.min(), left.min()) > -1e-9
    assert (top + tall).max() < height + 1e-9
    assert (left + wide).max() < width + 1e-9
    area, ratio = tall * wide / (height * width), wide / tall
    assert 0.08 - 1e-9 < area.min() < 0.09
    largest = min(1, 4 / 3 * height / width)  # a wider crop would not fit
    assert 0.95 * largest < area.max() <= largest + 1e-9
    assert 3 / 4 - 1e-9 < ratio.min() < 0.76
    assert 1.31 < ratio.max() < 4 / 3 + 1e-9
    assert abs(np.log(ratio[area < 0.5]).mean()) < 0.02
    if height == width:
        small = area < 0.5  # where every draw fits, areas are uniform
        assert abs(np.mean(area[small]) - (0.08 + 0.5) / 2) < 0.01
    place = (top / (height - tall))[area < 0.5]
    assert abs(place.mean() - 0.5) < 0.02
    assert abs(place.std() - 1 / math.sqrt(12)) < 0.02


def test_crops_that_never_fit_are_cut_down_to_the_image():
    generator = np.random.default_rng(0)
    crops = random_resized_crop(ramps(50, 8, 32), generator, area=(1, 1), ratio=(1, 1))
    top, left, tall, wide = boxes(crops)
    np.testing.assert_allclose([top, tall], np.array([[0.0], [8.0]]) * np.ones(50), atol=1e-9)
    np.testing.assert_allclose(wide, 16)
    assert (left >= -1e-9).all()


def test_a_crop_is_pillows_resize_of_the_same_box():
    rng = np.random.default_rng(0)
    images = random_images(rng, (6, 12, 12, 1))
    both = np.concatenate([images, ramps(6, 12, 12)], axis=-1)
    crops = random_resized_crop(both, np.random.default_rng(1))
    top, left, tall, wide = boxes(crops[..., 1:])
    for image, crop, *box in zip(images, crops, left, top, left + wide, top + tall, strict=True):
        pillow = Image.fromarray(image[:, :, 0].astype(np.float32))
        box = np.clip(box, 0, 12)
        expected = pillow.resize((12, 12), Image.Resampling.BILINEAR, box=tuple(box))
        np.testing.assert_allclose(crop[:, :, 0], np.asarray(expected), atol=2e-3)


def test_crops_of_the_whole_image_change_nothing():
    images = random_images(np.random.default_rng(0), (4, 8, 8, 3))
    crops = random_resized_crop(images, np.random.default_rng(0), area=(1, 1), ratio=(1, 1))
    np.testing.assert_allclose(crops, images, atol=1e-12)


def test_crops_bring_in_no_black():
    white = np.ones((200, 8, 8, 1))
    np.testing.assert_allclose(random_resized_crop(white, np.random.default_rng(0)), 1)


@pytest.mark.parametrize("options", [{"area": (0, 1)}, {"area": (0.5, 1.1)}, {"ratio": (2, 1)}])
def test_impossible_crops_are_refused(options):
    with pytest.raises(ValueError, match="expected 0 < low <= high"):
        random_resized_crop(dots(1), np.random.default_rng(0), **options)


def test_flips_mirror_about_half_of_the_images():
    images = random_images(np.random.default_rng(0), (1000, 2, 3, 1))
    flipped = random_horizontal_flip(images, np.random.default_rng(0))
    same = (flipped == images).all(axis=(1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 420 < mirrored.sum() < 580
    always = random_horizontal_flip(images, np.random.default_rng(0), probability=1)
    np.testing.assert_array_equal(always, images[:, :, ::-1])


def test_a_crop_is_the_warp_of_its_rectangle():
    """Two products of matrices are the general sampler, where nothing is turned."""
    images = random_images(np.random.default_rng(0), (40, 9, 14, 3))
    both = np.concatenate([images, ramps(40, 9, 14)], axis=-1)
    crops = random_resized_crop(both, np.random.default_rng(1))
    top, left, tall, wide = boxes(crops[..., 3:])
    maps = shift((9 - tall) / 2 - top, (14 - wide) / 2 - left) @ zoom(9 / tall, 14 / wide)
    np.testing.assert_allclose(crops[..., :3], affine_warp(images, maps, "edge"), atol=1e-12)
