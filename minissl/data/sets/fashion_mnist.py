"""pieces of clothing, in the form of MNIST: 60,000 + 10,000 grey images of 28 x 28 pixels

Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747. Harder than MNIST, and as small.
"""

from functools import partial

from minissl.data.sets import DataSet, Download
from minissl.data.sets._images import IDX_NAMES, IDX_PARTS, IDX_ROOM, unpack_idx

ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
SUMS = (
    ("md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
    ("md5:25c81989df183df01b3e8a0aad5dffbe", 29_515),
    ("md5:bef4ecab320f06d8554ea6380940ec79", 4_422_102),
    ("md5:bb300cfdad3c16e7a12a480ee83cd310", 5_148),
)
CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip

DATASET = DataSet(
    kinds=("images", "labelled images"),
    licence="MIT",
    source="Xiao et al. 2017, arXiv:1708.07747",
    files=tuple(Download(ADDRESS + name, *known) for name, known in zip(IDX_NAMES, SUMS)),
    unpack=partial(unpack_idx, class_names=CLASS_NAMES),
    parts=IDX_PARTS,
    room=IDX_ROOM,
)
