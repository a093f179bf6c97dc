"""Colour: brightness, contrast, saturation, hue, grey, blur and noise of a batch of images.

Everything that changes what pixels show and not where they are. As in ``warp.py``, functions take
``(batch, height, width, channels)`` of floats in [0, 1], return a new array of the same shape and
dtype, within [0, 1], and never write into their input. ``adjust_...`` functions take the strength
of each image; ``random_...`` functions draw it. Lecture 12 (contrastive learning).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.vision.images import check_images
from minissl.vision.pieces import by_pieces

__all__ = [
    "additive_noise",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "gaussian_blur",
    "random_color_jitter",
    "random_gaussian_blur",
    "random_grey",
    "random_intensity",
    "to_grey",
]


def _per_image(values: ArrayLike, images: NDArray) -> NDArray:
    """One number for each image, ready to broadcast, in the images' dtype so that they keep it."""
    return np.asarray(values, dtype=images.dtype).reshape(-1, 1, 1, 1)


def to_grey(images: NDArray) -> NDArray:
    """Brightness as the eye sees it, ``(batch, height, width, 1)``: .299 R + .587 G + .114 B.

    Images with one channel stay as they are. Raises ``ValueError`` unless there are 1 or 3
    channels. (ITU-R BT.601.)
    """
    check_images(images)
    if images.shape[-1] == 1:
        return images.copy()
    _check_rgb(images)
    return images @ np.array([[0.299], [0.587], [0.114]], dtype=images.dtype)


def _check_rgb(images: NDArray) -> None:
    if images.shape[-1] != 3:
        raise ValueError(f"images have {images.shape[-1]} channels, expected 3 (red, green, blue)")


def adjust_brightness(images: NDArray, factors: ArrayLike) -> NDArray:
    """Multiply each image by its factor ``(batch,)`` and clip: 0 is black, 1 changes nothing."""
    check_images(images)
    return (images * _per_image(factors, images)).clip(0, 1)


def adjust_contrast(images: NDArray, factors: ArrayLike) -> NDArray:
    """Stretch each image about its mean grey by its factor ``(batch,)``, then clip: 0 is flat."""
    mean = to_grey(images).mean(axis=(1, 2, 3), keepdims=True)
    return (mean + _per_image(factors, images) * (images - mean)).clip(0, 1)


def adjust_saturation(images: NDArray, factors: ArrayLike) -> NDArray:
    """Stretch each pixel away from its own grey by a factor ``(batch,)``, then clip: 0 is grey."""
    grey = to_grey(images)
    return (grey + _per_image(factors, images) * (images - grey)).clip(0, 1)


def adjust_hue(images: NDArray, turns: ArrayLike) -> NDArray:
    """Turn the hue of each RGB image by its part ``(batch,)`` of the colour circle (HSV).

    1/3 takes red to green, green to blue, blue to red; greys stay. Raises ``ValueError`` unless
    there are 3 channels. (Smith 1978.)
    """
    check_images(images)
    _check_rgb(images)
    return by_pieces(_turn_hue, images, _per_image(turns, images)[..., 0])


def _turn_hue(images: NDArray, turns: NDArray) -> NDArray:
    red, green, blue = (images[..., channel].copy() for channel in range(3))
    largest = np.maximum(np.maximum(red, green), blue)
    chroma = largest - np.minimum(np.minimum(red, green), blue)
    is_red, is_green = largest == red, largest == green
    # Hue in sixths of the circle: red 0, green 2, blue 4, and from there to the larger neighbour.
    sixths = np.where(is_red, green - blue, np.where(is_green, blue - red, red - green))
    sixths /= np.where(chroma == 0, 1, chroma)
    sixths += np.where(is_red, 0, np.where(is_green, 2, 4)).astype(images.dtype) + 6 * turns
    turned = np.empty_like(images)
    # A channel falls from the largest to the smallest value as the hue turns away from its colour:
    # (5, 3, 1) put red, green, blue at their places on the circle.
    for channel, offset in enumerate((5, 3, 1)):
        place = sixths + offset
        place -= 6 * np.floor(place / 6)
        fall = np.minimum(place, 4 - place).clip(0, 1)
        turned[..., channel] = largest - chroma * fall
    return turned.clip(0, 1, out=turned)


ADJUSTMENTS: tuple[Callable[[NDArray, ArrayLike], NDArray], ...] = (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    adjust_hue,
)


def random_color_jitter(
    images: NDArray,
    generator: np.random.Generator,
    brightness: float = 0.8,
    contrast: float = 0.8,
    saturation: float = 0.8,
    hue: float = 0.2,
    probability: float = 0.8,
) -> NDArray:
    """With ``probability``, change brightness, contrast, saturation and hue in a random order.

    Each image draws its own order and strengths: factors uniform in [1 - strength, 1 + strength]
    (not below 0), the hue in [-hue, hue] turns. Images must be RGB, else ``ValueError``. (SimCLR,
    Chen et al. 2020, appendix A, with the multiplicative brightness of its second listing.)
    Lecture 12.
    """
    check_images(images)
    _check_rgb(images)
    batch = len(images)
    ranges = [(max(0, 1 - part), 1 + part) for part in (brightness, contrast, saturation)]
    strengths = [generator.uniform(low, high, batch) for low, high in [*ranges, (-hue, hue)]]
    orders = generator.random((batch, 4)).argsort(axis=1)
    chosen = generator.random(batch) < probability
    return by_pieces(_jitter, images, np.stack(strengths, axis=1), orders, chosen)


def _jitter(images: NDArray, strengths: NDArray, orders: NDArray, chosen: NDArray) -> NDArray:
    """The four adjustments (batch, 4) of the chosen images, each in its order (batch, 4)."""
    jittered = images.copy()
    for step in range(4):
        for number, adjust in enumerate(ADJUSTMENTS):
            which = np.flatnonzero(chosen & (orders[:, step] == number))
            if len(which):
                jittered[which] = adjust(jittered[which], strengths[which, number])
    return jittered


def random_grey(
    images: NDArray, generator: np.random.Generator, probability: float = 0.2
) -> NDArray:
    """Take the colour out of each image with ``probability``; all channels stay. Lecture 12."""
    check_images(images)
    chosen = generator.random(len(images)) < probability
    greyed = images.copy()
    greyed[chosen] = to_grey(images[chosen])
    return greyed


def random_intensity(
    images: NDArray,
    generator: np.random.Generator,
    brightness: float = 0.3,
    contrast: float = 0.3,
) -> NDArray:
    """Multiply each image by a factor in [1 - brightness, 1 + brightness], then its contrast.

    Each image draws its own two factors, uniform and not below 0. Lecture 12.
    """
    check_images(images)
    batch = len(images)
    factors = generator.uniform(max(0, 1 - brightness), 1 + brightness, batch)
    contrasts = generator.uniform(max(0, 1 - contrast), 1 + contrast, batch)
    return adjust_contrast(adjust_brightness(images, factors), contrasts)


def additive_noise(
    images: NDArray, generator: np.random.Generator, deviation: float = 0.1
) -> NDArray:
    """Add normal noise of standard ``deviation`` to every pixel and channel, and clip to [0, 1]."""
    check_images(images)
    drawn_dtype = np.float64 if images.dtype == np.float64 else np.float32
    noise = generator.standard_normal(images.shape, dtype=drawn_dtype).astype(images.dtype)
    noise *= deviation
    noise += images
    return noise.clip(0, 1, out=noise)


def gaussian_blur(images: NDArray, sigmas: ArrayLike, radius: int) -> NDArray:
    """Blur each image by a Gaussian of its ``sigmas`` ``(batch,)``, in pixels.

    The kernel is ``2 · radius + 1`` pixels wide in both directions and sums to one; beyond the
    border lies the nearest pixel. Raises ``ValueError`` for a sigma that is not positive.
    """
    check_images(images)
    sigmas = np.asarray(sigmas, dtype=np.float64)
    if not np.all(sigmas > 0):
        raise ValueError(f"the smallest sigma is {sigmas.min()}, expected positive numbers")
    offsets = np.arange(-radius, radius + 1)
    kernels = np.exp(-0.5 * (offsets / sigmas[:, None]) ** 2)  # (batch, taps)
    kernels = (kernels / kernels.sum(axis=1, keepdims=True)).astype(images.dtype)
    return by_pieces(_blur, images, kernels)


def _blur(images: NDArray, kernels: NDArray) -> NDArray:
    radius = kernels.shape[1] // 2
    for axis in (1, 2):  # a Gaussian over two axes is one over rows, then one over columns
        frame = [(radius, radius) if a == axis else (0, 0) for a in range(4)]
        framed, size = np.pad(images, frame, mode="edge"), images.shape[axis]
        images = np.zeros_like(images)
        for tap, weights in enumerate(kernels.T):
            moved = framed[:, tap : tap + size] if axis == 1 else framed[:, :, tap : tap + size]
            images += _per_image(weights, images) * moved
    return images.clip(0, 1, out=images)


def random_gaussian_blur(
    images: NDArray,
    generator: np.random.Generator,
    sigma: tuple[float, float] = (0.1, 2.0),
    probability: float = 0.5,
) -> NDArray:
    """Blur each image with ``probability``, its sigma in pixels uniform in ``sigma``.

    The kernel is about a tenth of the height wide, at least 3 pixels. (SimCLR, Chen et al. 2020,
    appendix A; beyond the border lies the nearest pixel, not black.) Lecture 12.
    """
    check_images(images)
    sigmas = generator.uniform(*sigma, len(images))
    which = np.flatnonzero(generator.random(len(images)) < probability)
    blurred = images.copy()
    radius = max(1, images.shape[1] // 10 // 2)
    blurred[which] = gaussian_blur(images[which], sigmas[which], radius)
    return blurred
