"""handwritten digits, 1,797 grey images of 8 x 8 pixels, which come with scikit-learn

Alpaydin and Kaynak 1998: the test set of the UCI digits.
"""

import numpy as np

from minissl.data.sets import DataSet
from minissl.vision.images import ImageFolder, load_digits


def load() -> ImageFolder:
    """Images (1797, 8, 8, 1) in [0, 1]: the 1,200 that the lectures train on, then the others.

    Raises ImportError without scikit-learn.
    """
    split = load_digits()
    images = np.concatenate([split.train_images, split.test_images])
    labels = np.concatenate([split.train_labels, split.test_labels])
    names = tuple(f"digit {number}" for number in range(len(images)))
    return ImageFolder(images, labels, tuple(str(digit) for digit in range(10)), names)


DATASET = DataSet(
    kinds=("images", "labelled images"),
    licence="BSD-3-Clause, with scikit-learn",
    source="Alpaydin and Kaynak 1998",
    embedded=load,
    train=1200,
)
