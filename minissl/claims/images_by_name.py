"""What the claims on MNIST and CIFAR-10 share: the first images of a set that was fetched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.heads.neighbors import nearest_neighbor_accuracy
from minissl.claims.claim import Setup
from minissl.claims.simclr_on_digits import Represent
from minissl.data.arrays import read_arrays
from minissl.data.images import ImageOptions, LabelledImages
from minissl.data.sets import find
from minissl.vision.images import LabelledSplit

TRAIN, TEST = 10_000, 1_000  # images that are taken of a set, in its own order
TOY = "toy"  # in place of a set: generated images, for a look at whether the claim runs
OWN = ("data",)  # what is read in a scale, beside settings
NEIGHBORS = "k-NN, all labels"
K = 50


def about(name: str) -> str:
    """What a claim says of its data."""
    return (
        f"Data: the first {TRAIN:,} training images and the first {TEST:,} test images of {name}; "
        "a seed decides the initial weights, the batches and which examples are labelled."
    )


def load(setup: Setup) -> LabelledSplit:
    """The images of the set that the scale names. FileNotFoundError where it was not fetched."""
    name = setup.settings["data"]
    if name == TOY:
        toy = LabelledImages.toy(ImageOptions(image_size=8, channels=3), seed=setup.seed)
        return LabelledSplit(toy.images[:28], toy.labels[:28], toy.images[28:], toy.labels[28:])
    parts = []
    for part, count in (("train", TRAIN), ("test", TEST)):
        file = find(Path(name, part))
        assert isinstance(file, Path)  # no set with parts is embedded
        arrays = read_arrays(file)
        parts += [arrays["images"][:count].astype(np.float32) / 255, arrays["labels"][:count]]
    return LabelledSplit(*parts)


def halved(data: LabelledSplit) -> LabelledSplit:
    """Each square of four pixels as one, their mean: a quarter of the work."""

    def half(images: NDArray[np.float32]) -> NDArray[np.float32]:
        count, height, width, channels = images.shape
        squares = images.reshape(count, height // 2, 2, width // 2, 2, channels)
        return squares.mean(axis=(2, 4), dtype=np.float32)

    return data._replace(train_images=half(data.train_images), test_images=half(data.test_images))


def shape(data: LabelledSplit) -> dict[str, int]:
    """The settings that say how large the images are."""
    return {"image_size": data.train_images.shape[1], "channels": data.train_images.shape[3]}


def neighbors(data: LabelledSplit, represent: Represent) -> float:
    """Accuracy in percent of a vote of the nearest of all training images."""
    return 100 * nearest_neighbor_accuracy(
        represent(data.train_images), data.train_labels,
        represent(data.test_images), data.test_labels, k=K,
    )  # fmt: skip


def scales(
    name: str,
    quick: Mapping[str, Any] | None = None,
    small: Mapping[str, Any] | None = None,
    full: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """The three scales; what is given replaces or adds to what all these claims use."""
    common = {"evaluations": 1, "data": name}
    return {
        "quick": {**common, "data": TOY, "steps": 2, "batch_size": 8, "draws": 1, **(quick or {})},
        "small": {**common, "steps": 300, "batch_size": 128, "draws": 10, **(small or {})},
        "full": {
            **common, "steps": 10_000, "batch_size": 512, "draws": 20, "encoder": "resnet18",
            "features": 512, **(full or {}),
        },
    }  # fmt: skip
