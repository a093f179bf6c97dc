"""bfloat16 in the repaired interpreter, against torch's bfloat16 on the CPU, bit for bit."""

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from tests.kernels import bfloat16

EVERY = torch.arange(-(2**15), 2**15, dtype=torch.int16)  # all bit patterns
SOME = [0.0, -0.0, 1.0, -1.0, 0.1, 3.0, 255.0, 256.0, 257.0, 1e-30, 1e38, 3.3895e38, 1e-39, -1e-40,
        float("inf"), float("-inf"), float("nan")]  # fmt: skip


def same(ours, expected):
    """Equal bits; all NaNs are one."""
    assert ours.dtype == expected.dtype
    assert ours.shape == expected.shape
    nan = torch.isnan(expected)
    assert torch.equal(torch.isnan(ours), nan)
    integers = {2: torch.int16, 4: torch.int32}[ours.element_size()]
    assert torch.equal(ours[~nan].view(integers), expected[~nan].view(integers))


def pairs():
    """All pairs of the special values and of random ones."""
    generator = torch.Generator().manual_seed(0)
    values = torch.cat([torch.tensor(SOME), torch.randn(47, generator=generator)]).bfloat16()
    return [x.contiguous() for x in torch.broadcast_tensors(values[:, None], values[None, :])]


@triton.jit
def cast(x, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at, mask=at < n, other=0).to(y.dtype.element_ty), mask=at < n)


def run_cast(x, dtype):
    y = torch.empty(len(x), dtype=dtype, device=x.device)
    cast[(triton.cdiv(len(x), 4096),)](x, y, len(x), BLOCK=4096)
    return y


def test_every_bfloat16_to_float32(device):
    x = EVERY.view(torch.bfloat16)
    same(run_cast(x.to(device), torch.float32).cpu(), x.float())


def test_float32_rounds_to_nearest_even(device):
    """Every bfloat16, and float32 just below, at and just above the middle to the next one."""
    bits = EVERY.to(torch.int32) << 16
    for offset in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        x = (bits + offset).view(torch.float32)
        same(run_cast(x.to(device), torch.bfloat16).cpu(), x.bfloat16())


def test_other_types(device):
    x = torch.tensor([0.0, 1.5, -2.0, 1000.0, 0.1]).bfloat16()
    same(run_cast(x.to(device), torch.float16).cpu(), x.half())
    assert run_cast(x.to(device), torch.int32).tolist() == [0, 1, -2, 1000, 0]
    same(run_cast(x.half().to(device), torch.bfloat16).cpu(), x)
    n = torch.tensor([0, 1, -3, 257, 12345], dtype=torch.int32)
    same(run_cast(n.to(device), torch.bfloat16).cpu(), n.bfloat16())


@triton.jit
def towards_zero(x, y, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(y + at, tl.load(x + at).to(tl.bfloat16, fp_downcast_rounding="rtz"))


def test_towards_zero():
    x = torch.randn(64)
    y = torch.empty(64, dtype=torch.bfloat16)
    towards_zero[(1,)](x, y, BLOCK=64)
    same(y.float(), (x.view(torch.int32) & -65536).view(torch.float32))


@triton.jit
def arithmetic(x, y, out, n, WHAT: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    a, b = tl.load(x + at, mask=at < n, other=1.0), tl.load(y + at, mask=at < n, other=1.0)
    if WHAT == "add":
        result = a + b
    elif WHAT == "sub":
        result = a - b
    elif WHAT == "mul":
        result = a * b
    elif WHAT == "neg":
        result = -a
    elif WHAT == "abs":
        result = tl.abs(a)
    elif WHAT == "maximum":
        result = tl.maximum(a, b)
    elif WHAT == "where":
        result = tl.where(a < b, a, b)
    elif WHAT == "scalar":
        result = a * 3.0 + 1.0
    elif WHAT == "counts":  # a comparison that becomes a number, and one that is combined
        result = (a < b).to(tl.float32) + ((a > 1.0) & (b == a)).to(tl.float32) * 2
    tl.store(out + at, result, mask=at < n)


TORCH = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "neg": lambda a, b: -a,
    "abs": lambda a, b: abs(a),
    "maximum": torch.maximum,
    "where": lambda a, b: torch.where(a < b, a, b),
    "scalar": lambda a, b: (a * 3.0) + 1.0,
    "counts": lambda a, b: (a < b).bfloat16() + ((a > 1.0) & (b == a)).bfloat16() * 2,
}


@pytest.mark.filterwarnings("ignore:(invalid|overflow):RuntimeWarning")
@pytest.mark.parametrize("what", TORCH)
def test_arithmetic(what):
    a, b = pairs()
    ours = torch.empty_like(a)
    arithmetic[(triton.cdiv(a.numel(), 1024),)](a, b, ours, a.numel(), WHAT=what, BLOCK=1024)
    expected = TORCH[what](a, b)
    if what in ("neg", "maximum"):  # the sign of zero is left open (triton 3.6: -x is 0 - x)
        expected, ours = expected + 0.0, ours + 0.0
    if what == "maximum":  # and so is a maximum with NaN
        number = ~(torch.isnan(a) | torch.isnan(b))
        expected, ours = expected[number], ours[number]
    same(ours, expected)


@triton.jit
def fused(x, y, z, out, WHAT: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    a, b, c = tl.load(x + at), tl.load(y + at), tl.load(z + at)
    if WHAT == "fma":
        tl.store(out + at, tl.fma(a, b, c))
    else:
        tl.store(out + at, tl.clamp(a, -tl.abs(b), tl.abs(b)))


def test_fma_rounds_once():
    a, b, c = (torch.randn(256).bfloat16() for _ in range(3))
    ours = torch.empty_like(a)
    fused[(1,)](a, b, c, ours, WHAT="fma", BLOCK=256)
    same(ours, (a.double() * b.double() + c.double()).bfloat16())
    fused[(1,)](a, b, c, ours, WHAT="clamp", BLOCK=256)
    same(ours, torch.clamp(a, -abs(b), abs(b)))


@triton.jit
def product(x, y, out, K: tl.constexpr, BLOCK: tl.constexpr):
    row, k = tl.arange(0, BLOCK), tl.arange(0, K)
    a = tl.load(x + row[:, None] * K + k[None, :])
    b = tl.load(y + k[:, None] * BLOCK + row[None, :])
    c = tl.dot(a, b)
    tl.store(out + row[:, None] * BLOCK + row[None, :], c.to(out.dtype.element_ty))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dot(device, dtype):
    """Small integers: every product and sum is exact, so that all orders give the same bits."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(-8, 9, (16, 32), generator=generator).bfloat16()
    b = torch.randint(-8, 9, (32, 16), generator=generator).bfloat16()
    ours = torch.empty(16, 16, dtype=dtype, device=device)
    product[(1,)](a.to(device), b.to(device), ours, K=32, BLOCK=16)
    same(ours.cpu(), (a.double() @ b.double()).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("width", [16, 64, 128])
def test_a_dot_is_the_same_wherever_it_stands(dtype, width):
    """x·y and y·x, and in a tile of another shape: a maximum found in one holds in the others."""
    generator = torch.Generator().manual_seed(0)
    x, y = (30 * torch.randn(2, 32, width, generator=generator)).to(dtype)
    whole, turned, part = torch.empty(32, 32), torch.empty(32, 32), torch.empty(16, 16)
    product[(1,)](x, y.T.contiguous(), whole, K=width, BLOCK=32)
    product[(1,)](y, x.T.contiguous(), turned, K=width, BLOCK=32)
    product[(1,)](x[16:], y[16:].T.contiguous(), part, K=width, BLOCK=16)
    same(turned.T, whole)
    same(part, whole[16:, 16:])
    exact = x.double() @ y.double().T
    rounding = torch.finfo(torch.float32).eps / 2 * exact.abs()
    assert ((whole - exact).abs() <= rounding * (1 + 1e-6)).all()


@triton.jit
def reduced(x, out, WIDTH: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, WIDTH)
    values = tl.load(x + row * WIDTH + at)
    tl.store(out + 4 * row, tl.sum(values, 0))
    tl.store(out + 4 * row + 1, tl.max(values, 0))
    tl.store(out + 4 * row + 2, tl.min(values, 0))
    tl.store(out + 4 * row + 3, tl.argmax(values, 0).to(tl.float32))


def test_reductions():
    generator = torch.Generator().manual_seed(0)
    x = torch.stack([torch.randperm(128, generator=generator) - 30 for _ in range(4)]).bfloat16()
    ours = torch.empty(4, 4, dtype=torch.bfloat16)
    reduced[(4,)](x, ours, WIDTH=128)
    expected = [x.sum(1), x.max(1).values, x.min(1).values, x.argmax(1).bfloat16()]
    same(ours, torch.stack(expected, 1))


@triton.jit
def running(x, out, WIDTH: tl.constexpr):
    at = tl.arange(0, WIDTH)
    tl.store(out + at, tl.cumsum(tl.load(x + at), 0))


def test_scan():
    x = torch.randint(-8, 9, (16,)).bfloat16()
    ours = torch.empty_like(x)
    running[(1,)](x, ours, WIDTH=16)
    same(ours, x.cumsum(0))


@triton.jit
def looped(n, x, out):
    total = 0.0
    for i in range(tl.load(n)):
        total += tl.load(x + i)
    tl.store(out, total)


def test_a_loop_over_a_loaded_number(device):
    """Triton 3.6 beside NumPy 2.4: the other repair."""
    x = torch.arange(5.0, device=device)
    out = torch.empty((), device=device)
    looped[(1,)](torch.tensor([4], dtype=torch.int32, device=device), x, out)
    assert out.item() == 6.0


def test_the_conversion_itself():
    values = np.array([1.0, 1.00390625, 1.01171875, np.inf, np.nan, 1e-40, 3.4e38], np.float32)
    bits = bfloat16.from_float32(values)
    assert bits.tolist() == [0x3F80, 0x3F80, 0x3F82, 0x7F80, bfloat16.NAN, 1, 0x7F80]
    assert np.array_equal(bfloat16.to_float32(bits)[:3], np.float32([1, 1, 1.015625]))
