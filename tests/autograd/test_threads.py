"""Work shared among threads: every piece once, errors come out, BLAS is held, results stay."""

import gc
import os
import subprocess
import sys
import threading
import time
import warnings
import weakref
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from minissl import Tensor
from minissl.autograd import checked, threads
from minissl.autograd import operations as ops
from minissl.autograd.checked import is_checked
from minissl.autograd.threads import engine_threads, num_cores, num_threads, plus, product, share


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_outside_of_the_block_nothing_is_changed():
    with threadpool_limits(2, user_api="blas"):
        assert blas_threads() == {2}
        with engine_threads(3):
            assert num_threads() == 3
            assert blas_threads() == {1}
            with engine_threads():  # an inner block keeps the count
                assert num_threads() == 3
        assert num_threads() == 1
        assert blas_threads() == {2}


def test_every_piece_is_worked_on_once_and_by_several_threads():
    started, done = threading.Barrier(3, timeout=20), []

    def work(number, piece):
        if number < 3:
            started.wait()  # passes only if three threads are here at once
        done.append((number, piece))

    with engine_threads(3):
        share(work, list("abcdefgh"))
    assert sorted(done) == list(enumerate("abcdefgh"))


def test_an_error_in_any_thread_comes_out():
    def work(number, piece):
        raise ValueError(f"piece {piece}")

    with engine_threads(2), pytest.raises(ValueError, match="piece"):
        share(work, list(range(10)))


@pytest.mark.parametrize(
    ("rows", "inner", "columns"), [(2048, 256, 96), (333, 517, 129), (5, 9, 4)]
)
def test_product_equals_the_plain_one(rows, inner, columns):
    generator = np.random.default_rng(0)
    a = generator.normal(size=(inner, rows)).T  # not contiguous
    b, bias = generator.normal(size=(inner, columns)), generator.normal(size=columns)
    with engine_threads(3):
        np.testing.assert_allclose(product(a, b), a @ b, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(product(a, b, bias), a @ b + bias, rtol=1e-12, atol=1e-12)
        assert np.array_equal(product(a, b), product(a, b))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (3000, 1), (3000, 9), (1, 9), (9,)], ids=str)
@pytest.mark.parametrize("wide", [False, True])
def test_a_bias_is_cut_as_the_product_is(shape, wide):
    """Where a bias counts for several columns, its first part alone had something to add."""
    generator = np.random.default_rng(0)
    sizes = {9: 3000, 3000: 9} if wide else {}
    shape = tuple(sizes.get(n, n) for n in shape)
    a, b = (generator.normal(size=tuple(sizes.get(n, n) for n in s)) for s in ((3000, 99), (99, 9)))
    bias = generator.normal(size=shape)
    with engine_threads(3):
        np.testing.assert_allclose(product(a, b, bias), a @ b + bias, rtol=1e-12, atol=1e-12)


def test_linear_on_several_threads_has_the_same_gradients():
    generator = np.random.default_rng(1)
    arrays = [generator.normal(size=s) for s in ((40, 64, 96), (200, 96), (200,))]
    g = generator.normal(size=(40, 64, 200))
    results = []
    for count in (1, 3):
        with engine_threads(count):
            tensors = [Tensor(a, requires_grad=True) for a in arrays]
            y = ops.linear(*tensors)
            y.backward(g)
            results.append([y.array, *(t.grad for t in tensors)])
    for one, three in zip(*results, strict=True):
        np.testing.assert_allclose(one, three, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_a_bias_of_any_dtype_is_added_to_torch_arrays_too(dtype):
    """torch adds only a bias of the product's own dtype while it writes the product."""
    generator = np.random.default_rng(2)
    a, b = (generator.normal(size=s).astype(np.float32) for s in ((3, 4), (4, 2)))
    bias = np.array([2, 0]).astype(dtype)
    c = product(*map(torch.from_numpy, (a, b, bias)))
    assert c.dtype == torch.float32
    np.testing.assert_allclose(c.numpy(), product(a, b, bias), rtol=1e-6)


@pytest.mark.parametrize("shape", [(1100, 300), (3, 5), (1, 700_000), (2,), ()], ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_sum_shared_among_threads(shape, order):
    generator = np.random.default_rng(3)
    a, b = (np.asarray(generator.normal(size=shape), order=order) for _ in range(2))
    with engine_threads(3):
        c = plus(a, b)
        assert np.array_equal(c, a + b)
        assert np.array_equal(
            plus(a, b[..., :1] if b.ndim else b), a + (b[..., :1] if b.ndim else b)
        )
        assert np.array_equal(plus(a, b[:1] if b.ndim else b), a + (b[:1] if b.ndim else b))
        assert plus(a, b.astype(np.float32)).dtype == np.float64
    assert not np.shares_memory(c, a)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 100, 1000])
def test_not_more_parts_than_threads(size):
    """A product copies its whole other matrix for each part."""
    with engine_threads(3):
        parts = threads._parts(size)
    assert len(parts) == min(size, 3) or size == 4
    assert [i for part in parts for i in range(size)[part]] == list(range(size))


def test_several_programs_threads_share_the_same_helpers():
    """Also work that asks for more work."""
    found = []

    def program(start):
        with engine_threads(2):
            results = [0] * 8
            for _ in range(100):

                def outer(i, piece):
                    inner = [0, 0]
                    share(lambda j, n: inner.__setitem__(j, n), [piece, 1])
                    results[i] = sum(inner)

                share(outer, range(start, start + 8))
            found.append(results)

    programs = [threading.Thread(target=program, args=(start,)) for start in (0, 100)]
    for thread in programs:
        thread.start()
    for thread in programs:
        thread.join(timeout=60)
    assert sorted(found) == [list(range(1, 9)), list(range(101, 109))]


def test_work_that_fails_here_waits_for_the_others():
    """So that nobody writes into the arrays after the error came out."""
    here, ended = threading.get_ident(), []

    def work(number, piece):
        time.sleep(0.05)
        if threading.get_ident() == here:
            raise KeyError(piece)
        ended.append(piece)

    with engine_threads(2), pytest.raises(KeyError):
        share(work, ["a", "b"])
    assert len(ended) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_helpers_keep_nothing_of_the_work_they_have_done(fails):
    """Asleep until the next call, a helper held the arrays of the last one."""

    def start():
        array, both = np.zeros(3), threading.Barrier(2, timeout=20)

        def work(number, piece):
            both.wait()  # a helper has the other piece
            if fails:
                raise ValueError(array.shape)

        with engine_threads(2), pytest.raises(ValueError, match="3,") if fails else nullcontext():
            share(work, "ab")
        return weakref.ref(array)

    array = start()
    gc.collect()
    assert array() is None


def test_helpers_work_under_the_conditions_of_the_caller():
    """What NumPy does with an overflow, and our own blocks; but helpers ask nobody for help."""
    large, both, seen = np.full((1200, 500), 3e38, np.float32), threading.Barrier(2, timeout=20), []

    def work(number, piece):
        both.wait()
        seen.append((np.geterr()["over"], is_checked(), num_threads()))

    with engine_threads(2), warnings.catch_warnings(), np.errstate(over="ignore"), checked():
        warnings.simplefilter("error")
        share(work, "ab")
        assert np.isinf(plus(large, large)).all()
    assert sorted(seen) == [("ignore", True, 1), ("ignore", True, 2)]


def test_the_environment_limits_the_threads(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert num_cores() == 1
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "100000")
    assert 1 <= num_cores() <= (os.cpu_count() or 1)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "many")
    assert num_cores() >= 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_threads_of_its_own():
    """Threads do not survive a fork; a child that waited for its parent's would hang."""
    program = (
        "import os\n"
        "from minissl.autograd.threads import engine_threads, share\n"
        "with engine_threads(2):\n"
        "    share(lambda n, p: None, [1, 2, 3])\n"
        "    child = os.fork()\n"
        "    share(lambda n, p: None, [1, 2, 3])\n"
        "    if child:\n"
        "        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "    os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], timeout=60, check=False)
    assert done.returncode == 0
