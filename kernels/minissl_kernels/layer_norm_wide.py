"""Layer norm of rows too wide for the registers: each is read in pieces, two or three times.

The second and third reading come mostly out of the cache. `layer_norm` in layer_norm.py calls
these above a width of 8192; reference and formulas are there.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from minissl_kernels import launch

BLOCK, WARPS = 4096, 8  # a piece of a row
SUM_ROWS, SUM_COLUMNS, SUM_WARPS = 16, 128, 4  # a step of the sums over rows
PROGRAMS_PER_MULTIPROCESSOR = 4


@triton.jit
def _forward_kernel(
    x, weight, bias, y, statistics, rows, x_stride, eps,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One row, in pieces of BLOCK: once for the mean, once for the variance, once for y."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in tl.range(0, WIDTH, BLOCK):
        inside = start + column < WIDTH
        total += tl.load(x + row * x_stride + start + column, mask=inside, other=0.0).to(tl.float32)
    average = tl.sum(total, axis=0) / WIDTH
    total = tl.zeros((BLOCK,), tl.float32)
    for start in tl.range(0, WIDTH, BLOCK):
        inside = start + column < WIDTH
        value = tl.load(x + row * x_stride + start + column, mask=inside, other=0.0).to(tl.float32)
        centred = tl.where(inside, value - average, 0.0)
        total += centred * centred
    variance = tl.sum(total, axis=0) / WIDTH
    r = tl.where(variance < float("inf"), 1 / tl.sqrt(variance + eps), float("nan"))
    for start in tl.range(0, WIDTH, BLOCK):
        inside = start + column < WIDTH
        value = tl.load(x + row * x_stride + start + column, mask=inside, other=0.0).to(tl.float32)
        w = tl.load(weight + start + column, mask=inside, other=0.0).to(tl.float32)
        result = (value - average) * r * w
        if bias is not None:
            result += tl.load(bias + start + column, mask=inside, other=0.0).to(tl.float32)
        at = y + row * WIDTH + start + column
        tl.store(at, result.to(y.dtype.element_ty), mask=inside)
    tl.store(statistics + row, average)
    tl.store(statistics + rows + row, r)


@triton.jit
def _backward_kernel(
    g, x, weight, statistics, dx, rows, g_stride, x_stride,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """∂x of one row, in pieces of BLOCK: once for the two means, once for ∂x."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    average, r = tl.load(statistics + row), tl.load(statistics + rows + row)
    level = tl.zeros((BLOCK,), tl.float32)
    along = tl.zeros((BLOCK,), tl.float32)
    for start in tl.range(0, WIDTH, BLOCK):
        inside = start + column < WIDTH
        value = tl.load(x + row * x_stride + start + column, mask=inside, other=0.0).to(tl.float32)
        h = tl.load(g + row * g_stride + start + column, mask=inside, other=0.0).to(tl.float32)
        h *= tl.load(weight + start + column, mask=inside, other=0.0).to(tl.float32)
        level += h
        along += h * (value - average) * r
    mean_h = tl.sum(level, axis=0) / WIDTH
    mean_along = tl.sum(along, axis=0) / WIDTH
    for start in tl.range(0, WIDTH, BLOCK):
        inside = start + column < WIDTH
        value = tl.load(x + row * x_stride + start + column, mask=inside, other=0.0).to(tl.float32)
        h = tl.load(g + row * g_stride + start + column, mask=inside, other=0.0).to(tl.float32)
        h *= tl.load(weight + start + column, mask=inside, other=0.0).to(tl.float32)
        result = (h - mean_h - (value - average) * r * mean_along) * r
        at = dx + row * WIDTH + start + column
        tl.store(at, result.to(dx.dtype.element_ty), mask=inside)


@triton.jit
def _shares_kernel(
    g, x, statistics, shares, rows, g_stride, x_stride,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A program sums ∂w and ∂b of BLOCK columns over every num_programs(1)-th block of rows."""
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    dw = tl.zeros((ROWS, BLOCK), tl.float32)
    db = tl.zeros((ROWS, BLOCK), tl.float32)
    program, programs = tl.program_id(1), tl.num_programs(1)
    for block in tl.range(program, tl.cdiv(rows, ROWS), programs):
        row = tl.cast(block, tl.int64) * ROWS + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & (column < WIDTH)[None, :]
        value = tl.load(x + row[:, None] * x_stride + column[None, :], mask=inside, other=0.0)
        gradient = tl.load(g + row[:, None] * g_stride + column[None, :], mask=inside, other=0.0)
        average = tl.load(statistics + row, mask=row < rows, other=0.0)
        r = tl.load(statistics + rows + row, mask=row < rows, other=0.0)
        gradient = gradient.to(tl.float32)
        dw += gradient * (value.to(tl.float32) - average[:, None]) * r[:, None]
        db += gradient
    share = shares + program * WIDTH + column
    tl.store(share, tl.sum(dw, axis=0), mask=column < WIDTH)
    tl.store(share + programs * WIDTH, tl.sum(db, axis=0), mask=column < WIDTH)


# ---- launchers: tensors are (rows, width) with a contiguous last axis ---------------------------


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor, statistics: Tensor, eps: float
) -> None:
    """Write y and the statistics."""
    rows, width = x.shape
    _forward_kernel[(rows,)](
        x, weight, bias, y, statistics, rows, x.stride(0), eps, width, BLOCK, num_warps=WARPS
    )


def backward(g: Tensor, x: Tensor, weight: Tensor, statistics: Tensor, dx: Tensor) -> Tensor:
    """Write ∂x; return the shares of ∂w and ∂b of each program: (2, programs, width)."""
    rows, width = x.shape
    strides = g.stride(0), x.stride(0)
    _backward_kernel[(rows,)](
        g, x, weight, statistics, dx, rows, *strides, width, BLOCK, num_warps=WARPS
    )
    columns = triton.cdiv(width, SUM_COLUMNS)
    at_once = launch.multiprocessors(x.device) * PROGRAMS_PER_MULTIPROCESSOR
    programs = min(max(at_once // columns, 1), triton.cdiv(rows, SUM_ROWS))
    shares = torch.empty((2, programs, width), dtype=torch.float32, device=x.device)
    _shares_kernel[(columns, programs)](
        g, x, statistics, shares, rows, *strides, width, SUM_ROWS, SUM_COLUMNS,
        num_warps=SUM_WARPS,
    )  # fmt: skip
    return shares
