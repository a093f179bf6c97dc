"""photographs made for this field: 100,000 without labels, 5,000 + 8,000 with, 96 x 96 in colour

Coates, Ng and Lee 2011, "An analysis of single-layer networks in unsupervised feature learning".
The name alone is the images without labels; stl10/train and stl10/test have ten classes. The ten
predefined folds of the training images are left out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from minissl.data.arrays import read_arrays
from minissl.data.sets import DataSet, Download
from minissl.data.sets._archives import check_members, count_records, tar_members
from minissl.data.sets._images import write_part
from minissl.reading import reading

ARCHIVE = "stl10_binary.tar.gz"
IMAGE = 3 * 96 * 96
MOST = {"unlabeled_X.bin": 100_000, "train_X.bin": 5_000, "test_X.bin": 8_000}
AT_ONCE = 500  # images in memory


def unpack(files: Mapping[str, Path], folder: Path) -> None:
    """One pass through the archive: the images without labels go to the disk as they come."""
    path = files[ARCHIVE]
    with reading(path, "a published archive"):
        found = _members(path, folder)
    check_members(path, found, (*MOST, "train_y.bin", "test_y.bin", "class_names.txt"))
    for part in ("train", "test"):
        images = read_arrays(folder / f"{part}.npy")["images"]
        labels = found[f"{part}_y.bin"].astype(np.int64) - 1  # published from 1 on
        (folder / f"{part}.npy").unlink()
        with reading(path, "a published archive"):
            write_part(folder / f"{part}.npz", images, labels, found["class_names.txt"].tolist())


def _members(path: Path, folder: Path) -> dict[str, np.ndarray]:
    """The small members as arrays, by name; of the images, which went to the disk, the shape."""
    found: dict[str, np.ndarray] = {}
    for name, content, size in tar_members(path):
        if name in MOST:
            count = count_records(path, name, size, IMAGE, MOST[name])
            _copy_images(content, folder / f"{name.removesuffix('_X.bin')}.npy", count)
            found[name] = np.array([count, 96, 96, 3])
        elif name in ("train_y.bin", "test_y.bin"):
            count = count_records(path, name, size, 1, most=8_000)
            found[name] = np.frombuffer(content.read(count), np.uint8)
        elif name == "class_names.txt":
            found[name] = np.array(content.read(1_000).decode("ascii", "replace").split())
    return found


def _copy_images(content: IO[bytes], target: Path, count: int) -> None:
    """Published column by column, one colour after the other; written (count, 96, 96, 3)."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, 96, 96, 3)}
    with open(target, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, AT_ONCE):
            number = min(AT_ONCE, count - start)
            block = np.frombuffer(content.read(number * IMAGE), np.uint8)
            file.write(block.reshape(number, 3, 96, 96).transpose(0, 3, 2, 1).tobytes())


DATASET = DataSet(
    kinds=("images", "labelled images"),
    licence="none stated at the origin; the images were taken from ImageNet",
    source="Coates, Ng and Lee 2011",
    files=(
        Download(
            f"http://ai.stanford.edu/~acoates/stl10/{ARCHIVE}",
            "md5:91f7769df0f17e558f3565bffb0c7dfb",
            2_640_397_119,
        ),
    ),
    unpack=unpack,
    parts={"unlabeled": "unlabeled.npy", "train": "train.npz", "test": "test.npz"},
    room=(113_000 + 8_000) * IMAGE,  # the larger labelled part is written twice
)
