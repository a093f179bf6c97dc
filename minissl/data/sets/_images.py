"""Writing a set of images: one .npz per part, as ``data.images`` reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minissl.data.sets._archives import read_idx
from minissl.reading import reading


def write_part(
    file: Path, images: NDArray[np.uint8], labels: NDArray, class_names: Sequence[str]
) -> None:
    """Write ``images`` (count, height, width, channels), ``labels`` (count,) and their names.

    Not packed: reading it is then as quick as the disk. Raises ValueError for a wrong label.
    """
    if len(images) != len(labels):
        raise ValueError(f"{file.name}: {len(images):,} images with {len(labels):,} labels")
    numbers = labels.astype(np.int64)
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(class_names):
        raise ValueError(
            f"{file.name}: labels from {numbers.min()} to {numbers.max()}, expected 0 to "
            f"{len(class_names) - 1}"
        )
    np.savez(file, images=images, labels=numbers, class_names=np.array(class_names))


IDX_NAMES = tuple(
    f"{part}-{what}-ubyte.gz"
    for part in ("train", "t10k")
    for what in ("images-idx3", "labels-idx1")
)
IDX_PARTS = {"train": "train.npz", "test": "test.npz"}
IDX_ROOM = 70_000 * (28 * 28 + 8)


def unpack_idx(files: Mapping[str, Path], folder: Path, class_names: Sequence[str]) -> None:
    """The four files of MNIST, and of all sets in its form, become train.npz and test.npz."""
    for target, images_name, labels_name in (
        ("train.npz", *IDX_NAMES[:2]),
        ("test.npz", *IDX_NAMES[2:]),
    ):
        images = read_idx(files[images_name], 3, most=60_000 * 28 * 28)
        labels = read_idx(files[labels_name], 1, most=60_000)
        with reading(files[labels_name], f"the labels of {images_name}"):
            write_part(folder / target, images[..., None], labels, class_names)
