"""Geometry: moving pixels by bilinear sampling, one affine map for each image of a batch.

A map is a 3x3 matrix that takes a place in the *output* to the place in the *input* it is read
from. Places are (row, column, 1) in pixels with the origin in the middle of the image, so that
rotation and zoom keep the middle, and maps compose by ``@``. Crop, zoom, shift and rotation are
then one pass over the pixels: the image is blurred by resampling only once.

Unlike libraries that augment one image after another, every function takes a whole batch
``(batch, height, width, channels)`` of floats in [0, 1], draws for every image on its own from the
``generator`` it is given, returns a new array of the same shape and dtype, and never writes into
its input. Lecture 12 (contrastive learning).
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.vision.images import check_images
from minissl.vision.pieces import by_pieces

__all__ = [
    "affine_warp",
    "random_affine",
    "random_horizontal_flip",
    "random_resized_crop",
    "rotation",
    "shift",
    "zoom",
]


def rotation(angles: ArrayLike) -> NDArray[np.float64]:
    """Maps ``(batch, 3, 3)`` that turn each image counterclockwise by ``angles``, in radians."""
    cosine, sine = np.cos(angles), np.sin(angles)
    return _maps([[cosine, sine, 0], [-sine, cosine, 0]])


def zoom(row_factors: ArrayLike, column_factors: ArrayLike) -> NDArray[np.float64]:
    """Maps ``(batch, 3, 3)`` that enlarge each image by its two factors (0.5 halves it)."""
    return _maps([[1 / np.asarray(row_factors), 0, 0], [0, 1 / np.asarray(column_factors), 0]])


def shift(rows: ArrayLike, columns: ArrayLike) -> NDArray[np.float64]:
    """Maps ``(batch, 3, 3)`` that move each image down by ``rows``, right by ``columns`` pixels."""
    return _maps([[1, 0, -np.asarray(rows)], [0, 1, -np.asarray(columns)]])


def _maps(two_rows: list[list[ArrayLike]]) -> NDArray[np.float64]:
    """Six numbers or arrays ``(batch,)``, and below them the row 0 0 1: ``(batch, 3, 3)``."""
    entries = np.broadcast_arrays(*two_rows[0], *two_rows[1], 0, 0, 1)
    return np.stack(entries, axis=-1).reshape(-1, 3, 3).astype(np.float64)


def affine_warp(images: NDArray, maps: NDArray, border: str = "zero") -> NDArray:
    """Read every output pixel from its place in the input, bilinearly between four pixels.

        (row', column') = map · (row, column, 1), counted from the middle of the image
        output[row, column] = weighted mean of the four input pixels around (row', column')

    ``images`` is ``(batch, height, width, channels)``, ``maps`` ``(batch, 2, 3)`` or
    ``(batch, 3, 3)``. Outside the image everything is black (``border="zero"``) or as its nearest
    pixel (``"edge"``). Nothing is smoothed before sampling: shrinking to less than half aliases.
    Raises ``ValueError`` for other shapes, integer images or another border. (The sampler of
    spatial transformers, Jaderberg et al. 2015.) Lecture 12.
    """
    check_images(images)
    if border not in ("zero", "edge"):
        raise ValueError(f"border is {border!r}, expected 'zero' or 'edge'")
    batch = len(images)
    if maps.shape not in ((batch, 2, 3), (batch, 3, 3)):
        raise ValueError(
            f"maps have shape {maps.shape}, expected ({batch}, 2, 3) or ({batch}, 3, 3): "
            "one map for each image"
        )
    if images.size == 0:
        return images.copy()
    return by_pieces(lambda some, theirs: _warp(some, theirs, border), images, maps)


def _warp(images: NDArray, maps: NDArray, border: str) -> NDArray:
    _, height, width, _ = images.shape
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    grid = np.indices((height, width)).reshape(2, -1) - middle[:, None]  # (2, height · width)
    places = maps[:, :2, :2] @ grid + (maps[:, :2, 2] + middle)[:, :, None]
    # A frame of one pixel: beyond it everything is as the frame, black or as the image's edge.
    frame = ((0, 0), (1, 1), (1, 1), (0, 0))
    framed = np.pad(images, frame, mode="constant" if border == "zero" else "edge")
    places = (places + 1).astype(images.dtype)
    warped = _bilinear(framed, places[:, 0], places[:, 1])
    return warped.reshape(images.shape)


def _bilinear(images: NDArray, rows: NDArray, columns: NDArray) -> NDArray:
    """The values of ``images`` at ``rows``, ``columns`` ``(batch, places)``, kept inside it."""
    batch, height, width, channels = images.shape
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    top = np.minimum(rows.astype(np.intp), height - 2)
    left = np.minimum(columns.astype(np.intp), width - 2)
    down = (rows - top.astype(rows.dtype)).reshape(-1, 1)
    right = (columns - left.astype(columns.dtype)).reshape(-1, 1)
    corner = ((np.arange(batch)[:, None] * height + top) * width + left).reshape(-1)
    pixels = images.reshape(-1, channels)
    upper, upper_right = pixels[corner], pixels[corner + 1]
    lower, lower_right = pixels[corner + width], pixels[corner + width + 1]
    upper += right * (upper_right - upper)
    lower += right * (lower_right - lower)
    upper += down * (lower - upper)
    return upper


def random_affine(
    images: NDArray,
    generator: np.random.Generator,
    degrees: float = 15.0,
    zoom_range: tuple[float, float] = (0.8, 1.2),
    shift_pixels: float = 1.0,
) -> NDArray:
    """Turn, zoom and shift each image by its own uniform draw; black comes in from outside.

    Turned by up to ``degrees`` either way, enlarged by a factor in ``zoom_range``, moved by up to
    ``shift_pixels`` (fractions too) down or up and right or left. Raises ``ValueError`` for a zoom
    that is not positive. Lecture 12.
    """
    check_images(images)
    if not 0 < zoom_range[0] <= zoom_range[1]:
        raise ValueError(f"zoom_range is {zoom_range}, expected two positive factors, low to high")
    batch = len(images)
    angles = generator.uniform(-math.radians(degrees), math.radians(degrees), batch)
    factors = generator.uniform(*zoom_range, batch)
    rows, columns = generator.uniform(-shift_pixels, shift_pixels, (2, batch))
    maps = rotation(angles) @ zoom(factors, factors) @ shift(rows, columns)
    return affine_warp(images, maps)


def random_resized_crop(
    images: NDArray,
    generator: np.random.Generator,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> NDArray:
    """Cut a random rectangle out of each image and resize it to the size of the image.

    The rectangle covers a part of the image uniform in ``area``; its width over its height is
    log-uniform in ``ratio``. Of ten draws the first that fits is taken; if none does, the last is
    cut down to the image. Corners are fractions of pixels. Raises ``ValueError`` for an area not in
    (0, 1] or a ratio that is not positive. (Szegedy et al. 2015; as in SimCLR, Chen et al. 2020,
    appendix A.) Lecture 12.
    """
    check_images(images)
    if not 0 < area[0] <= area[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
        raise ValueError(
            f"got area {area} and ratio {ratio}, expected 0 < low <= high, and areas at most 1"
        )
    batch, height, width, _ = images.shape
    areas = height * width * generator.uniform(*area, (10, batch))
    ratios = np.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1]), (10, batch)))
    heights, widths = np.sqrt(areas / ratios), np.sqrt(areas * ratios)
    fits = (heights <= height) & (widths <= width)
    draw = np.where(fits.any(axis=0), fits.argmax(axis=0), 9)
    crop_height = np.minimum(heights[draw, np.arange(batch)], height)
    crop_width = np.minimum(widths[draw, np.arange(batch)], width)
    # The middle of the rectangle, from the middle of the image.
    rows = generator.uniform(-0.5, 0.5, batch) * (height - crop_height)
    columns = generator.uniform(-0.5, 0.5, batch) * (width - crop_width)
    return by_pieces(_crop, images, crop_height, crop_width, rows, columns)


def _crop(images: NDArray, heights: NDArray, widths: NDArray, *middles: NDArray) -> NDArray:
    """The rectangles at the size of the image: without a turn, first its rows, then its columns.

    That is ``affine_warp`` with the map shift · zoom and the border "edge", as two matrix products,
    which take a third of its time.
    """
    batch, height, width, channels = images.shape
    rows = _weights(heights, middles[0], height).astype(images.dtype)
    columns = _weights(widths, middles[1], width).astype(images.dtype)
    tall = (rows @ images.reshape(batch, height, -1)).reshape(images.shape)
    turned = tall.swapaxes(1, 2).reshape(batch, width, -1)
    wide = (columns @ turned).reshape(batch, width, height, channels)
    ends = (end(axis=(1, 2, 3), keepdims=True) for end in (images.min, images.max))
    return wide.swapaxes(1, 2).clip(*ends)  # weights sum to 1 but for rounding


def _weights(lengths: NDArray, middles: NDArray, size: int) -> NDArray[np.float64]:
    """What each of ``size`` old pixels gives to each new one, (batch, size, size); rows sum to 1.

    The new pixels lie evenly on a stretch of this length, about this place from the middle.
    """
    steps = (np.arange(size) + 0.5) / size - 0.5
    places = middles[:, None] + lengths[:, None] * steps + (size - 1) / 2
    places = places.clip(0, size - 1)
    return np.maximum(0, 1 - np.abs(places[:, :, None] - np.arange(size)))


def random_horizontal_flip(
    images: NDArray, generator: np.random.Generator, probability: float = 0.5
) -> NDArray:
    """Mirror each image, left for right, with ``probability``. Lecture 12."""
    check_images(images)
    chosen = generator.random(len(images)) < probability
    flipped = images.copy()
    flipped[chosen] = images[chosen, :, ::-1]
    return flipped
