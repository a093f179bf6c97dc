"""Kernels of homework 4 under watch: what a GPU would not forgive is seen in the interpreter."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

import triton  # noqa: E402
import triton.language as tl  # noqa: E402
from minissl_kernels.launch import interpreted  # noqa: E402

from minissl.homework.watched import GAP, GUARD, Memory, Misuse, watched  # noqa: E402

pytestmark = pytest.mark.skipif(not interpreted(), reason="the interpreter is watched")


@triton.jit
def copy(x, y, count, stride, OTHER: tl.constexpr, BLOCK: tl.constexpr):
    """Copy up to BLOCK elements in each program."""
    at = tl.program_id(0) * stride + tl.arange(0, BLOCK)
    mask = at < count
    value = tl.load(x + at, mask=mask, other=0.0) if OTHER else tl.load(x + at, mask=mask)
    tl.store(y + at, value, mask=(at < count + 1) & (at >= 0))


def launch(count, *, stride=4, other=True, programs=2, x=None, y=None, writes=("y",)):
    x = x or Memory("x", (5,), np.arange(5.0))
    y = y or Memory("y", (8,))
    with watched([x, y], writes) as watch:
        try:
            copy[(programs,)](x.tensor, y.tensor, count, stride, other, BLOCK=4)
        except Exception as error:
            found = error
            while not isinstance(found, Misuse) and found.__cause__ is not None:
                found = found.__cause__
            raise found from None
    return watch, y


def test_what_is_right_passes_and_is_as_without_a_watch():
    watch, y = launch(5)
    assert y.read()[:6].tolist() == [0, 1, 2, 3, 4, 0]
    assert y.intact()
    assert watch.left_out is False


def test_a_lane_that_was_not_loaded_is_undefined():
    watch, y = launch(5, other=False)
    assert y.read()[:5].tolist() == [0, 1, 2, 3, 4]
    assert math.isnan(y.read()[5])
    assert watch.left_out is True


def test_integers_that_were_not_loaded_are_odd():
    x, y = (Memory(n, (5,), np.arange(5), "int32") for n in "xy")
    launch(4, other=False, programs=2, x=x, y=y)
    assert y.read()[4] == np.frombuffer(b"\xa5" * 4, np.int32)[0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"count": 6}, "reads outside of x: program 1 at 1 of 2 addresses"),
        ({"count": 5000, "stride": 4000}, "reads outside of every tensor: program 1"),
        ({"count": 5, "y": Memory("y", (5,))}, "writes outside of y: program 1 at 1 of 2"),
        ({"count": 4, "stride": 2}, "program 1 writes into y where another program, number 0"),
        ({"count": 4, "writes": ()}, "writes into y, which is only to be read"),
    ],
)
def test_misuse_is_said(options, sentence):
    with pytest.raises(Misuse, match=sentence):
        launch(**options)


def test_the_gap_between_rows_is_outside():
    x = Memory("x", (2, 3), np.zeros((2, 3)))
    assert x.tensor.stride(0) == 3 + GAP
    assert x.tensor.shape == (2, 3)
    with pytest.raises(Misuse, match="reads outside of x: program 0 at 1 of 4"):
        launch(8, x=x)


def test_what_lies_around_a_tensor_is_looked_at():
    y = Memory("y", (2, 3), dtype="float16")
    assert y.tensor.is_contiguous(), "only what is given has gaps"
    assert y.intact()
    y.memory[GUARD - 1] = 0
    assert not y.intact()


def test_afterwards_nothing_is_watched():
    before = interpreted_functions()
    with pytest.raises(Misuse):
        launch(6)
    assert interpreted_functions() == before
    x, y = torch.arange(8.0), torch.zeros(8)
    copy[(1,)](x, y, 3, 4, False, BLOCK=4)
    assert y.tolist()[:4] == [0, 1, 2, 0], "the interpreter's own 0"


def interpreted_functions():
    from triton.runtime.interpreter import InterpreterBuilder

    names = ("create_masked_load", "create_masked_store", "set_grid_idx")
    return [getattr(InterpreterBuilder, name) for name in names]
