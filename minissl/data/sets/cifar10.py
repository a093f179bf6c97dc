"""small photographs of ten classes: 50,000 + 10,000 colour images of 32 x 32 pixels

Krizhevsky 2009, "Learning multiple layers of features from tiny images". The binary form: the one
for Python is a pickle, which can run code.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minissl.data.sets import DataSet, Download
from minissl.data.sets._archives import check_members, count_records, tar_members
from minissl.data.sets._images import write_part
from minissl.reading import reading

ARCHIVE = "cifar-10-binary.tar.gz"
CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
RECORD = 1 + 3 * 32 * 32  # the label, then red, green and blue, row by row
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))


def unpack(files: Mapping[str, Path], folder: Path) -> None:
    """Five batches become train.npz, in their order, and the sixth test.npz."""
    path = files[ARCHIVE]
    batches = {}
    with reading(path, "a published archive"):
        for name, content, size in tar_members(path):
            if name in (*TRAIN, "test_batch.bin"):
                count = count_records(path, name, size, RECORD, most=10_000)
                batches[name] = np.frombuffer(content.read(size), np.uint8).reshape(count, RECORD)
    check_members(path, batches, (*TRAIN, "test_batch.bin"))
    for target, names in (("train.npz", TRAIN), ("test.npz", ("test_batch.bin",))):
        records = np.concatenate([batches[name] for name in names])
        images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        with reading(path, "a published archive"):
            write_part(folder / target, images, records[:, 0], CLASS_NAMES)


DATASET = DataSet(
    kinds=("images", "labelled images"),
    licence="none stated at the origin",
    source="Krizhevsky 2009",
    files=(
        Download(
            f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}",
            "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            170_052_171,
        ),
    ),
    unpack=unpack,
    parts={"train": "train.npz", "test": "test.npz"},
    room=60_000 * (3 * 32 * 32 + 8),
)
