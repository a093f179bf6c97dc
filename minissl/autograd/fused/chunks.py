"""Working on a large array piece by piece: each piece stays in a core's cache, and all cores work.

A formula of ten NumPy calls over 30 MB reads and writes main memory ten times; over pieces of
1 MB it does so once. NumPy lets go of Python's lock while it computes, so that threads help.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from minissl.autograd.threads import share

PIECE_BYTES = 1 << 20  # of less, two threads wait for Python's lock as long as they compute


def row_chunks(rows: np.ndarray, piece_bytes: int = PIECE_BYTES) -> Iterator[slice]:
    """Slices that cut the first axis into equal pieces of at most about ``piece_bytes``.

    From half a piece on they are an even number, so that two threads have the same to do.
    """
    total = math.prod(rows.shape) * rows.itemsize
    count = math.ceil(total / piece_bytes)
    if total > piece_bytes / 2:
        count += count % 2
    step = max(1, math.ceil(rows.shape[0] / max(count, 1)))
    return (slice(start, start + step) for start in range(0, rows.shape[0], step))


def for_each_chunk(
    work: Callable[[int, slice], None], rows: np.ndarray, piece_bytes: int = PIECE_BYTES
) -> None:
    """Call ``work(number, piece)`` for every piece of the rows, on all threads, in any order.

    A piece may write only what is its own: its rows, or row ``number`` of an array of partial
    sums. Then the result does not depend on the number of threads.
    """
    share(work, list(row_chunks(rows, piece_bytes)))


def num_chunks(rows: np.ndarray) -> int:
    """How many pieces ``for_each_chunk`` makes of the rows."""
    return sum(1 for _ in row_chunks(rows))


def as_rows(array: np.ndarray) -> np.ndarray:
    """All axes but the last seen as one: (..., width) becomes (rows, width)."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])
