"""Augmentations: two random views of one image that show the same thing.

What a contrastive method learns to ignore is exactly what its augmentation changes, and what it
keeps is what the augmentation cannot change: the choice of these functions is the supervision.
Geometry is in ``warp.py``, colour, blur and noise in ``color.py``; here they are composed.

An augmentation is any function ``(images, generator) -> images``. Lecture 12.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minissl.vision.color import (
    additive_noise,
    random_color_jitter,
    random_gaussian_blur,
    random_grey,
    random_intensity,
)
from minissl.vision.images import check_images
from minissl.vision.warp import random_affine, random_horizontal_flip, random_resized_crop

__all__ = ["AUGMENTATIONS", "Augmentation", "compose", "digits_augmentation", "simclr_augmentation"]

Augmentation = Callable[[NDArray, np.random.Generator], NDArray]


def compose(*augmentations: Augmentation) -> Augmentation:
    """One augmentation that applies the given ones from first to last; of none, it copies."""

    def composed(images: NDArray, generator: np.random.Generator) -> NDArray:
        check_images(images)
        for augmentation in augmentations:
            images = augmentation(images, generator)
        return images if augmentations else images.copy()

    return composed


def digits_augmentation(
    geometry: bool = True,
    photometric: bool = True,
    degrees: float = 15.0,
    zoom_range: tuple[float, float] = (0.8, 1.2),
    shift_pixels: float = 1.0,
    noise: float = 0.1,
    intensity: float = 0.3,
) -> Augmentation:
    """For 8x8 grey digits: turn, zoom and shift, then change intensity and contrast, add noise.

    The switches serve the experiment that shows what each half teaches. No flips: a mirrored 2 is
    another sign. ``degrees``, ``zoom_range`` and ``shift_pixels`` as in ``random_affine``;
    ``intensity`` is the strength of both brightness and contrast in ``random_intensity``; ``noise``
    the standard deviation added. Lecture 12.
    """
    parts: list[Augmentation] = []
    if geometry:
        parts.append(lambda images, g: random_affine(images, g, degrees, zoom_range, shift_pixels))
    if photometric:
        parts.append(lambda images, g: random_intensity(images, g, intensity, intensity))
        parts.append(lambda images, g: additive_noise(images, g, noise))
    return compose(*parts)


def simclr_augmentation(strength: float = 1.0, blur: bool = True) -> Augmentation:
    """For colour photos, SimCLR's: crop and resize, flip, colour jitter, grey, blur.

    ``strength`` scales the jitter (.8, .8, .8, .2) of brightness, contrast, saturation and hue. The
    paper has 1 for photos, and for images of 32 x 32 half of it and no blur. (Chen et al. 2020,
    appendices A and B.9.) Lecture 12.
    """
    jitter = [strength * part for part in (0.8, 0.8, 0.8, 0.2)]
    parts: list[Augmentation] = [
        random_resized_crop,
        random_horizontal_flip,
        lambda images, generator: random_color_jitter(images, generator, *jitter),
        random_grey,
    ]
    return compose(*parts, *([random_gaussian_blur] if blur else []))


# By the name that a run records, for images of a size: so it is opened with what it was trained
# with. Digits are shifted by a pixel of 8 and by 1.75 of 28: an eighth was worse on MNIST, where
# they stand in the middle. Noise is of each pixel.
AUGMENTATIONS: dict[str, Callable[[int], Augmentation]] = {
    "digits": lambda size: digits_augmentation(shift_pixels=max(1, size / 16)),
    "small-photos": lambda size: simclr_augmentation(0.5, blur=False),
    "photos": lambda size: simclr_augmentation(),
}
IN_COLOUR = ("small-photos", "photos")
