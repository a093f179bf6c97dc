"""The quicker interpreter replaces the language once in a launch, and puts it back."""

from unittest import mock

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from minissl_kernels.launch import interpreted
from triton.runtime import interpreter

pytestmark = pytest.mark.skipif(
    not interpreted() or not hasattr(interpreter, "_LangPatchScope"),
    reason="on a GPU, or with an older triton, the interpreter stays as it is",
)


@triton.jit
def larger(x):
    return tl.sum(tl.maximum(x, tl.cdiv(7, 2)), 0)  # both call functions of triton's own library


@triton.jit
def kernel(x, y, COUNT: tl.constexpr):
    total = 0.0
    for _ in range(COUNT):
        total += larger(tl.load(x + tl.arange(0, 4)))
    tl.store(y + tl.program_id(0), total)


def launched(count):
    """The kernel's result, and how often a module of the language was searched."""
    x, y = torch.tensor([1.0, 3.0, 5.0, 7.0]), torch.zeros(2)
    with mock.patch.object(
        interpreter, "_patch_builtin", wraps=interpreter._patch_builtin
    ) as searched:
        kernel[(2,)](x, y, COUNT=count)
    return y[0].item(), searched.call_count


def test_the_language_is_searched_once_however_many_calls():
    launched(1)  # the first launch rewrites the functions, which then see more modules
    once, searches = launched(1)
    often, as_many = launched(9)
    assert (once, often) == (4 + 4 + 5 + 7, 9 * (4 + 4 + 5 + 7))
    assert searches == as_many > 0  # each launch begins anew


def test_the_language_is_put_back():
    names = ("load", "store", "arange", "range", "static_range", "sum", "maximum", "dot")
    before = {name: getattr(tl, name) for name in names}
    launched(2)
    assert {name: getattr(tl, name) for name in names} == before
    with pytest.raises(interpreter.InterpreterError):  # a kernel that fails puts it back as well
        kernel[(1,)](torch.zeros(4), torch.zeros(1), COUNT="three")
    assert {name: getattr(tl, name) for name in names} == before
    assert launched(1)[0] == 20


def test_a_size_that_is_no_power_of_two_is_refused_as_before():
    core = interpreter.tl.core
    assert core.block_type(tl.float32, [4, 8]).name == "<['4', '8'], fp32>"
    assert core.block_type(tl.float32, [core.constexpr(4)]).numel == 4
    for sizes, error in (([], TypeError), ([3], ValueError), ([4.0], TypeError)):
        with pytest.raises(error):
            core.block_type(tl.float32, sizes)


def test_types_of_numpy_by_name():
    for name in ("int1", "int8", "uint16", "int32", "uint64", "float16", "float32", "float64"):
        known = np.dtype(bool if name == "int1" else name)
        block = tl.block_type(getattr(tl, name), [2])
        assert interpreter._get_np_dtype(getattr(tl, name)) == known
        assert interpreter._get_np_dtype(block) == known
        assert interpreter._get_np_dtype(tl.pointer_type(block.scalar)) == np.uint64
        assert interpreter._get_np_dtype(tl.block_type(tl.pointer_type(tl.int8), [2])) == np.uint64
    assert interpreter._get_np_dtype(tl.bfloat16) == np.uint16
