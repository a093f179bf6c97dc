"""handwritten digits: 60,000 + 10,000 grey images of 28 x 28 pixels, ten classes

LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition".
"""

from functools import partial

from minissl.data.sets import DataSet, Download
from minissl.data.sets._images import IDX_NAMES, IDX_PARTS, IDX_ROOM, unpack_idx

ADDRESS = "https://ossci-datasets.s3.amazonaws.com/mnist/"
SUMS = (
    ("md5:f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422),
    ("md5:d53e105ee54ea40749a09fcbcd1e9432", 28_881),
    ("md5:9fb629c4189551a2d022fa330f9573f3", 1_648_877),
    ("md5:ec29112dd5afa0611ce80d1b7f02629c", 4_542),
)

DATASET = DataSet(
    kinds=("images", "labelled images"),
    licence="none stated at the origin",
    source="LeCun et al. 1998",
    files=tuple(Download(ADDRESS + name, *known) for name, known in zip(IDX_NAMES, SUMS)),
    unpack=partial(unpack_idx, class_names=[str(digit) for digit in range(10)]),
    parts=IDX_PARTS,
    room=IDX_ROOM,
)
