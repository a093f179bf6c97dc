"""Working on a large array piece by piece: each piece stays in a core's cache, and all cores work.

A formula of ten NumPy calls over 30 MB reads and writes main memory ten times; over pieces of
256 KB it does so once. NumPy lets go of Python's lock while it computes, so that threads help.
"""

import functools
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

PIECE_BYTES = 1 << 18
SMALL_PRODUCT = 1 << 19  # multiplications in a matrix product that BLAS starts no threads for
FEW_PIECES = 4  # below this, waking another thread costs more than it saves


def row_chunks(rows: np.ndarray) -> Iterator[slice]:
    """Slices that cut the first axis of an array into pieces of about ``PIECE_BYTES``."""
    row_bytes = math.prod(rows.shape[1:]) * rows.itemsize
    step = max(1, PIECE_BYTES // max(row_bytes, 1))
    return (slice(start, start + step) for start in range(0, rows.shape[0], step))


def for_each_chunk(work: Callable[[int, slice], None], rows: np.ndarray) -> None:
    """Call ``work(number, piece)`` for every piece of the rows, on all cores, in any order.

    A piece may write only what is its own: its rows, or row ``number`` of an array of partial
    sums. Then the result does not depend on the number of threads.
    """
    pieces = list(enumerate(row_chunks(rows)))
    if num_threads() == 1 or len(pieces) < FEW_PIECES:
        for number, piece in pieces:
            work(number, piece)
        return
    waiting = iter(pieces)  # shared: whoever is free takes the next piece

    def take_pieces() -> None:
        for number, piece in waiting:
            work(number, piece)

    helpers = [_pool().submit(take_pieces) for _ in range(num_threads() - 1)]
    take_pieces()
    for helper in helpers:
        helper.result()


def num_chunks(rows: np.ndarray) -> int:
    """How many pieces ``for_each_chunk`` makes of the rows."""
    return sum(1 for _ in row_chunks(rows))


@functools.cache
def num_threads() -> int:
    """As many threads as NumPy's matrix product uses: OPENBLAS_NUM_THREADS, or one per core."""
    limit = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(int(limit) if limit.isdigit() else cores or 1, cores or 1))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads() - 1, thread_name_prefix="minissl")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: the child makes its own
    os.register_at_fork(after_in_child=_pool.cache_clear)


def as_rows(array: np.ndarray) -> np.ndarray:
    """All axes but the last seen as one: (..., width) becomes (rows, width)."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])
