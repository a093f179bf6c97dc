"""Tests of the tests: bugs planted in small kernels are found, and their correct twins pass."""

import pytest
import torch
import triton
import triton.language as tl
from minissl_kernels.launch import interpreted

from tests.kernels.compare import assert_as_accurate
from tests.kernels.sanitizer import KernelBug, sanitize

pytestmark = pytest.mark.skipif(not interpreted(), reason="the sanitizer watches the interpreter")


@triton.jit
def double(x, y, n, BUG: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if BUG == "load":
        value = tl.load(x + at)
    elif BUG == "before":
        value = tl.load(x + at - 1, mask=at < n)
    else:
        value = tl.load(x + at, mask=at < n)
    if BUG == "store":
        tl.store(y + at, 2 * value)
    else:
        tl.store(y + at, 2 * value, mask=at < n)


def run_double(bug="", n=40):
    x, y = torch.arange(float(n)), torch.empty(n)
    double[(triton.cdiv(n, 16),)](x, y, n, BUG=bug, BLOCK=16)
    assert torch.equal(y, 2 * x)


def test_correct():
    run_double()


def test_load_without_mask():
    with pytest.raises(KernelBug) as caught:
        run_double("load")
    message = str(caught.value)
    assert "double: program (2, 0, 0) loads from 'x' out of bounds: 8 of 16 addresses" in message
    assert "the first at element 40, the tensor spans 40" in message
    assert "test_sanitizer.py, line" in message
    assert "value = tl.load(x + at)" in message


def test_store_without_mask():
    with pytest.raises(KernelBug, match="stores to 'y' out of bounds"):
        run_double("store")


def test_load_before_the_start():
    with pytest.raises(KernelBug, match="at element -1"):
        run_double("before")


@triton.jit
def claims(x, y, number, POINTER: tl.constexpr):
    start = tl.multiple_of(number, 4)
    at = tl.multiple_of(x + start, 16) if POINTER else x + start
    tl.store(y, tl.load(at))


def run_claims(first, number, pointer=False):
    x, y = torch.arange(12.0)[first:], torch.empty(1)
    claims[(1,)](x, y, number, POINTER=pointer)
    assert y == first + number


def test_what_the_compiler_is_told_holds():
    run_claims(first=1, number=4)
    run_claims(first=4, number=4, pointer=True)
    with pytest.raises(KernelBug, match="says that 6 is a multiple of 4"):
        run_claims(first=0, number=6)
    with pytest.raises(KernelBug, match="is a multiple of 16"):
        run_claims(first=1, number=4, pointer=True)


@triton.jit
def rows(x, y, stride, width, BUG: tl.constexpr, BLOCK: tl.constexpr):
    row, at = tl.program_id(0), tl.arange(0, BLOCK)
    if BUG == "stride":
        stride = width
    mask = at < BLOCK if BUG == "mask" else at < width
    value = tl.load(x + row * stride + at, mask=mask, other=0.0)
    tl.store(y + row, tl.sum(value, 0))


def run_rows(bug="", count=3, width=5):
    x = torch.randn(count, 8)[:, :width]
    y = torch.empty(count)
    rows[(count,)](x, y, x.stride(0), width, BUG=bug, BLOCK=8)
    torch.testing.assert_close(y, x.sum(1))


def test_views():
    run_rows()


def test_another_tensor_is_out_of_bounds():
    """Even where the address lies in a tensor that the same launch was given."""
    buffer = torch.zeros(32)
    x, y = buffer[:8], buffer[8:]
    with pytest.raises(KernelBug, match="loads from 'x' out of bounds"):
        double[(2,)](x, y, 16, BUG="", BLOCK=8)


@pytest.mark.parametrize("bug", ["stride", "mask"])
def test_gaps_between_the_countof_a_view(bug):
    with pytest.raises(KernelBug, match="with gaps"):
        run_rows(bug)


@triton.jit
def total(x, y, n, BUG: tl.constexpr, BLOCK: tl.constexpr):
    """The largest value, and the sum of all, each by one program, or each by every program."""
    at = tl.arange(0, BLOCK)
    if BUG == "other":
        value = tl.load(x + at, mask=at < n)
    else:
        value = tl.load(x + at, mask=at < n, other=0.0)
    tl.store(y, tl.max(value, 0))
    tl.store(y + 1, tl.sum(value, 0))


def run_total(bug=""):
    x, y = torch.rand(5) + 1, torch.empty(2)
    total[(1,)](x, y, 5, BUG=bug, BLOCK=8)
    return y, torch.stack([x.max(), x.sum()])


def test_missing_other_is_nan():
    ours, expected = run_total()
    torch.testing.assert_close(ours, expected)
    ours, _ = run_total("other")
    assert torch.isnan(ours[1])


def test_missing_other_is_a_number(reversed_programs):
    """``tl.max`` ignores NaN, so the reversed run fills in a number."""
    ours, _ = run_total("other")
    assert ours[0] == 97


@triton.jit
def gather(x, index, y, n, BUG: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    i = tl.load(index + at, mask=at < n) if BUG else tl.load(index + at, mask=at < n, other=0)
    tl.store(y + at, tl.load(x + i), mask=at < n)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_missing_other_of_an_index(dtype):
    x, index, y = torch.randn(6), torch.tensor([5, 0, 2], dtype=dtype), torch.empty(3)
    gather[(1,)](x, index, y, 3, BUG=False, BLOCK=4)
    assert torch.equal(y, x[index])
    with pytest.raises(KernelBug, match="loads from 'x' out of bounds"):
        gather[(1,)](x, index, y, 3, BUG=True, BLOCK=4)


@triton.jit
def together(x, y, WHAT: tl.constexpr):
    me, count = tl.program_id(0), tl.num_programs(0)
    if WHAT == "store store":
        tl.store(y, tl.load(x + me))
    elif WHAT == "store load":  # the second program loads what the first one stored
        tl.store(y + me, tl.load(x + me))
        tl.store(x + me, tl.load(y + tl.maximum(me - 1, 0)))
    elif WHAT == "load store":  # the first program loads what the second one stores later
        value = tl.load(y + tl.minimum(me + 1, count - 1))
        tl.store(y + me, value)
    elif WHAT == "many loads":
        value = tl.load(y)
        if me == 1:
            tl.store(y, value)
    elif WHAT == "atomic load":
        tl.atomic_add(y + me, 1)
        tl.store(x + me, tl.load(y))
    elif WHAT == "store atomic":
        tl.store(y + me, 0)
        tl.atomic_add(y, 1)
    elif WHAT == "atomics":
        tl.atomic_add(y, me)
    elif WHAT == "own":
        tl.store(y + me, tl.load(x + me))
        tl.store(y + me, tl.load(y + me) + 1)
    elif WHAT == "read only":
        tl.store(y + me, tl.load(x))


RACES = {
    "store store": "stores to 'y', which program (0, 0, 0) stored to",
    "store load": "loads from 'y', which program (0, 0, 0) stored to",
    "load store": "stores to 'y', which program (0, 0, 0) loaded from",
    "many loads": "stores to 'y', which more than one program loaded from",
    "atomic load": "loads from 'y', which program (0, 0, 0) atomically updated",
    "store atomic": "atomically updates 'y', which program (0, 0, 0) stored to",
}


@pytest.mark.parametrize("what", RACES)
@pytest.mark.parametrize("backwards", [False, True])
def test_races(what, backwards):
    x, y = (torch.arange(4, dtype=torch.int32) for _ in range(2))
    with sanitize(reverse=backwards), pytest.raises(KernelBug) as caught:
        together[(4,)](x, y, WHAT=what)
    assert "program" in str(caught.value)
    if not backwards:
        assert RACES[what] in str(caught.value)


@pytest.mark.parametrize("what", ["atomics", "own", "read only"])
def test_no_race(what, reversed_programs):
    x, y = torch.arange(4, dtype=torch.int32), torch.zeros(4, dtype=torch.int32)
    together[(4,)](x, y, WHAT=what)
    together[(4,)](x, y, WHAT=what)
    assert y.tolist() == {"atomics": [12, 0, 0, 0], "own": [1, 2, 3, 4], "read only": [0] * 4}[what]


def test_no_race_between_launches():
    """The second launch loads what other programs of the first one stored."""
    x, y, z = torch.arange(40.0), torch.empty(40), torch.empty(40)
    double[(3,)](x, y, 40, BUG="", BLOCK=16)
    double[(5,)](y, z, 40, BUG="", BLOCK=8)
    assert torch.equal(z, 4 * x)


def test_float_atomics_depend_on_the_order():
    with pytest.raises(KernelBug, match="rounding of this sum depends on their order"):
        together[(2,)](torch.zeros(2), torch.zeros(2), WHAT="atomics")


def test_a_race_through_a_view():
    """The same memory under two names."""
    x = torch.arange(5, dtype=torch.int32)
    with pytest.raises(KernelBug, match="stores to 'y', which more than one program loaded"):
        together[(4,)](x[1:], x[:4], WHAT="read only")


@triton.jit
def scatter(index, y, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(y + tl.load(index + at), at)


def test_lanes_that_disagree():
    scatter[(1,)](torch.arange(4), torch.zeros(4), BLOCK=4)
    with pytest.raises(KernelBug, match="different values to one address of 'y'"):
        scatter[(1,)](torch.tensor([0, 1, 1, 2]), torch.zeros(4), BLOCK=4)


@triton.jit
def first_come(x, y, flag):
    """Whoever comes first wins: atomics make it no race, and still it depends on the order."""
    me = tl.program_id(0)
    if tl.atomic_add(flag, 1) == 0:
        tl.store(y, tl.load(x + me))


def first_comer():
    y = torch.empty(1)
    first_come[(3,)](torch.arange(3.0), y, torch.zeros(1, dtype=torch.int32))
    return y.item()


def test_order_forwards():
    assert first_comer() == 0


def test_order_backwards(reversed_programs):
    assert first_comer() == 2


def test_memory_never_written_is_nan():
    y = torch.empty(40)
    double[(1,)](torch.ones(40), y, 40, BUG="", BLOCK=16)
    assert torch.isnan(y[16:]).all()
    assert torch.isnan(torch.empty_like(y)).all()


@triton.jit
def log_sum_exp(x, y, width, BUG: tl.constexpr, BLOCK: tl.constexpr):
    """Online: one block after the other, with a running maximum."""
    row = tl.program_id(0)
    largest = tl.full((), float("-inf"), tl.float32)
    mass = tl.zeros((), tl.float32)
    for start in range(0, width, BLOCK):
        at = start + tl.arange(0, BLOCK)
        other = 0.0 if BUG == "mask" else float("-inf")
        value = tl.load(x + row * width + at, mask=at < width, other=other).to(tl.float32)
        before = largest
        largest = tl.maximum(largest, tl.max(value, 0))
        if BUG != "rescale":
            mass *= tl.exp(before - largest)
        if BUG == "overwrite":
            mass = tl.sum(tl.exp(value - largest), 0)
        else:
            mass += tl.sum(tl.exp(value - largest), 0)
    tl.store(y + row, largest + tl.log(mass))


@pytest.mark.parametrize("bug", ["", "mask", "rescale", "overwrite"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_wrong_numbers(bug, dtype):
    """What stays inside its memory is for the comparison with float64 to find."""
    x = torch.randn(4, 37, generator=torch.Generator().manual_seed(0)).to(dtype)
    y = torch.empty(4, dtype=dtype)
    log_sum_exp[(4,)](x, y, 37, BUG=bug, BLOCK=16)
    compare = (y, torch.logsumexp(x.double(), 1).numpy(), torch.logsumexp(x, 1))
    if not bug:
        assert_as_accurate(*compare)
    else:
        with pytest.raises(AssertionError, match=r"error .*, allowed"):
            assert_as_accurate(*compare)


def test_switched_off(unsanitised):
    run_double()
    y, _ = run_total("other")
    assert torch.isfinite(y).all()  # the interpreter's own zero


def test_innermost_decides():
    with sanitize() as outer, sanitize(poison=False, reverse=True) as inner:
        y, _ = run_total("other")
        assert torch.isfinite(y).all()
        assert first_comer() == 2
    assert inner.launches == ["total", "first_come"]
    assert outer.launches == []
    assert first_comer() == 0


@triton.jit
def by_address(table, y, n, BLOCK: tl.constexpr):
    x = tl.load(table + tl.program_id(0)).to(tl.pointer_type(tl.float32))
    at = tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at, mask=at < n))


def test_tensors_found_by_their_address():
    x, y = torch.randn(4), torch.empty(4)
    table = torch.tensor([x.data_ptr()])
    with pytest.raises(KernelBug, match="a pointer into none of the tensors"):
        by_address[(1,)](table, y, 4, BLOCK=4)
    with sanitize(tensors={"hidden": x}):
        by_address[(1,)](table, y, 4, BLOCK=4)
        assert torch.equal(x, y)
    with sanitize(tensors={"hidden": x[:3]}), pytest.raises(KernelBug, match="from 'hidden' out"):
        by_address[(1,)](table, y, 4, BLOCK=4)


def test_other_errors_are_left_alone():
    with pytest.raises(triton.runtime.errors.InterpreterError):
        double[(1,)](torch.zeros(4), torch.zeros(4), "n", BUG="", BLOCK=4)
