"""Threads of our own: within ``engine_threads()`` all cores share the work of each operation.

NumPy's matrix product brings threads itself (BLAS), everything else in NumPy runs on one. Two kinds
of threads in one program wait for each other, and BLAS's wait by spinning: when another program
needs a core, a product of 0.1 ms was seen to take 32. So inside this block BLAS is held to one
thread, and the engine cuts each large operation into pieces, which whoever is free takes next.
``fit`` and ``generate`` use it. Outside of the block everything is as NumPy does it.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from minissl.autograd.arrays import Array

LARGE_PRODUCT = 1 << 21  # multiplications; below this, waking a thread costs more than it saves
_threads: ContextVar[int] = ContextVar("threads", default=1)


@contextmanager
def engine_threads(count: int | None = None) -> Iterator[None]:
    """Share the work of each operation among ``count`` threads (default: see ``num_cores``).

    The results do not depend on the number of threads. A block inside another changes nothing
    unless it gives a count.
    """
    if count is None:
        count = num_cores() if num_threads() == 1 else num_threads()
    token = _threads.set(max(1, count))
    try:
        with _blas().limit(limits=1):
            yield
    finally:
        _threads.reset(token)


@functools.cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def num_threads() -> int:
    """How many threads share the work here: 1 outside of ``engine_threads()``."""
    return _threads.get()


def num_cores() -> int:
    """OPENBLAS_NUM_THREADS or OMP_NUM_THREADS, where one is set, or the cores we may run on."""
    limit = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(int(limit) if limit.isdigit() else cores or 1, cores or 1))


def share(work: Callable[[int, Any], None], pieces: Sequence[Any]) -> None:
    """Call ``work(number, piece)`` once for every piece, in any order, on all threads."""
    threads = min(num_threads(), len(pieces))
    if threads <= 1:
        for number, piece in enumerate(pieces):
            work(number, piece)
        return
    waiting = iter(list(enumerate(pieces)))  # shared: whoever is free takes the next piece

    def take_pieces() -> None:
        for number, piece in waiting:
            work(number, piece)

    helpers = [_pool(num_threads()).submit(take_pieces) for _ in range(threads - 1)]
    take_pieces()
    for helper in helpers:
        helper.result()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="minissl")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: the child makes its own
    os.register_at_fork(after_in_child=_pool.cache_clear)


def product(a: Array, b: Array, bias: Array | None = None) -> Array:
    """A B (+ bias) for two matrices, its rows shared among the threads."""
    if not isinstance(a, np.ndarray):
        if bias is not None and bias.dtype == a.dtype:
            return bias.addmm(a, b)  # torch adds it while it writes the product
        return a @ b if bias is None else a @ b + bias
    rows = a.shape[0]
    size = rows * b.shape[0] * b.shape[1]
    if num_threads() == 1 or size < LARGE_PRODUCT:
        c = a @ b
        if bias is not None:
            c += bias  # c is ours and nobody has seen it yet
        return c
    step = max(32, -(-rows // (2 * num_threads())))
    c = np.empty((rows, b.shape[1]), a.dtype)

    def multiply(_: int, piece: slice) -> None:
        np.matmul(a[piece], b, out=c[piece])
        if bias is not None:
            c[piece] += bias

    share(multiply, [slice(start, start + step) for start in range(0, rows, step)])
    return c
