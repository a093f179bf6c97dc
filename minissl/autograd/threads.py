"""Threads of our own: within ``engine_threads()`` all cores share the work of each operation.

NumPy's matrix product brings threads itself (BLAS), everything else in NumPy runs on one. Two kinds
of threads in one program wait for each other, and BLAS's wait by spinning: when another program
needs a core, a product of 0.1 ms was seen to take 32. So inside this block BLAS is held to one
thread, and the engine cuts each large operation into pieces, which whoever is free takes next.
``fit`` and ``generate`` use it. Outside of the block everything is as NumPy does it.
"""

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from queue import SimpleQueue
from typing import Any

import numpy as np

from minissl.autograd.arrays import Array

LARGE_PRODUCT = 1 << 21  # multiplications; below this, waking a thread costs more than it saves
LARGE_SUM = 1 << 21  # bytes
_threads: ContextVar[int] = ContextVar("threads", default=1)


@contextmanager
def engine_threads(count: int | None = None) -> Iterator[None]:
    """Share the work of each operation among ``count`` threads (default: see ``num_cores``).

    The results do not depend on the number of threads, but for the last bits of large products
    where BLAS adds up in another order at the edge of a part (OpenBLAS on Haswell and Zen). A block
    inside another changes nothing unless it gives a count.
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

    asked, done = _helpers(num_threads() - 1), SimpleQueue[BaseException | None]()
    for _ in range(threads - 1):
        context = copy_context()  # np.errstate and our own blocks hold there as they do here
        context.run(_threads.set, 1)  # a helper that waited for helpers could wait for itself
        asked.put((functools.partial(context.run, take_pieces), done))
    try:
        take_pieces()
    finally:
        errors = [done.get() for _ in range(threads - 1)]
    for error in filter(None, errors):
        raise error


Asked = SimpleQueue[tuple[Callable[[], None], SimpleQueue[BaseException | None]]]


@functools.cache
def _helpers(count: int) -> Asked:
    """The queue that so many threads wait at, which starts one sooner than an executor does.

    Two products of 0.25 ms take 0.28 ms so, by a ThreadPoolExecutor 0.36.
    """
    asked: Asked = SimpleQueue()

    def serve() -> None:
        while True:
            work, done = asked.get()
            error: BaseException | None = None
            try:
                work()
            except BaseException as raised:  # raised again where the work was asked for
                error = raised
            del work  # it holds the arrays of this call, and the next may be far away
            done.put(error)
            del done, error

    for number in range(count):
        threading.Thread(target=serve, name=f"minissl_{number}", daemon=True).start()
    return asked


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: the child makes its own
    os.register_at_fork(after_in_child=_helpers.cache_clear)


def product(a: Array, b: Array, bias: Array | None = None) -> Array:
    """A B (+ bias) for two matrices, shared among the threads: a part of its longer side each.

    Not more parts than threads, for BLAS copies the whole other matrix into its own order for each.
    """
    if not isinstance(a, np.ndarray):
        if bias is not None and bias.dtype == a.dtype:
            return bias.addmm(a, b)  # torch adds it while it writes the product
        return a @ b if bias is None else a @ b + bias
    (rows, inner), columns = a.shape, b.shape[1]
    c = np.empty((rows, columns), np.result_type(a, b))
    rest = np.s_[:]
    biases = None if bias is None else np.broadcast_to(bias, c.shape)

    def multiply(_: int, part: slice) -> None:
        up, down = (part, rest) if rows >= columns else (rest, part)
        np.matmul(a[up], b[:, down], out=c[up, down])
        if biases is not None:
            c[up, down] += biases[up, down]  # c is ours and nobody has seen it yet

    small = rows * inner * columns < LARGE_PRODUCT
    share(multiply, [rest] if small else _parts(max(rows, columns)))
    return c


def plus(a: Array, b: Array) -> Array:
    """A + B; where both are large and of one shape, the rows are shared among the threads."""
    alike = isinstance(a, np.ndarray) and a.shape == b.shape and a.dtype == b.dtype
    if not alike or a.nbytes < LARGE_SUM or num_threads() == 1:
        return a + b
    c = np.empty_like(a)
    share(lambda _, part: np.add(a[part], b[part], out=c[part]), _parts(len(a)))
    return c


def _parts(size: int) -> list[slice]:
    """0 to ``size``, one part for each thread."""
    step = max(1, -(-size // num_threads()))
    return [slice(start, start + step) for start in range(0, size, step)]
