"""Some images of a batch at a time: what is computed on them stays in the cache, on all threads."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.threads import share

NUMBERS = 1 << 16  # of a piece: with a few arrays of its size beside it, what a core has near


def by_pieces(function: Callable[..., Any], images: NDArray, *of_each: NDArray) -> NDArray:
    """``function(images, *of_each)``, which treats every image alone and keeps its shape and dtype.

    ``of_each``: arrays (batch, ...) with something for each image. Inside ``engine_threads()`` the
    pieces are shared; the result does not depend on how many there are.
    """
    size = max(1, NUMBERS // max(1, images[:1].size))
    pieces = [slice(start, start + size) for start in range(0, len(images), size)]
    changed = np.empty(images.shape, images.dtype)

    def work(_: int, piece: slice) -> None:
        changed[piece] = function(images[piece], *(values[piece] for values in of_each))

    share(work, pieces)
    return changed
