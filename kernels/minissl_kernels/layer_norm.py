"""Layer normalization (Ba, Kiros and Hinton, 2016): one read of x forward, one of x and g backward.

The arithmetic is nothing beside the memory traffic, so a program keeps whole rows in registers:
the mean, then the variance of the centred values, then the output, from one load. (E[x²] − E[x]²
would need one sum less, and loses every digit when the mean is large.)

The gradients of weight and bias sum over all rows. As many programs as the GPU runs at once each
walk through many rows, keep their share of both sums in registers and write it once; a second
small kernel adds the shares, always in the same order. Rows too wide for registers are walked
through in pieces, twice or three times, mostly out of the cache.

At small widths the host is slower than the GPU: hence `operators.Operator`, and few checks.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from minissl_kernels import launch, layer_norm_wide
from minissl_kernels.operators import gradients_of, operator

NAME = "layer_norm"
WIDEST_IN_REGISTERS = 8192
SUM_ROWS, SUM_COLUMNS = 256, 16  # of the shares, per step and program of their sum

# ---- reference ----------------------------------------------------------------------------------


def reference(x, weight, bias, cotangent, eps=1e-5):
    """y = x̂ w + b with x̂ = (x − mean) r and r = 1/√(variance + eps), and its gradients.

    With h = g w: ∂x = r (h − mean(h) − x̂ mean(h x̂)), ∂w = Σ g x̂, ∂b = Σ g. All float64:
    x and g (rows, width), weight and bias (width,). Returns y, ∂x, ∂w, ∂b.
    """
    x, weight, bias, g = (np.asarray(a, np.float64) for a in (x, weight, bias, cotangent))
    centred = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    normalized = centred * r
    h = g * weight
    along = (h * normalized).mean(axis=-1, keepdims=True)
    dx = r * (h - h.mean(axis=-1, keepdims=True) - normalized * along)
    return normalized * weight + bias, dx, (g * normalized).sum(axis=0), g.sum(axis=0)


# ---- kernels ------------------------------------------------------------------------------------


@triton.jit
def layer_norm_kernel(
    x, weight, bias, y, statistics, rows, x_stride, eps,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A program normalizes ROWS whole rows: y = (x − mean) r weight + bias.

    r = 1/√(variance + eps). x: pointer to (rows, WIDTH), rows ``x_stride`` elements apart; weight
    and bias: to (WIDTH,), bias may be None. y: to (rows, WIDTH) without gaps, in its own dtype.
    statistics: to (2, rows) float32, the means and then the r, for the backward pass. The
    arithmetic is in float32. BLOCK is WIDTH rounded up to a power of two: the columns beyond WIDTH
    must count neither in the mean nor in the variance, and nothing may be written there or below
    the last row. Lecture 07.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (column < WIDTH)[None, :]
    value = tl.load(x + row[:, None] * x_stride + column[None, :], mask=inside, other=0.0)
    value = value.to(tl.float32)
    average = tl.sum(value, axis=1) / WIDTH
    centred = tl.where(inside, value - average[:, None], 0.0)
    variance = tl.sum(centred * centred, axis=1) / WIDTH
    # Squares that overflow would give r = 0, and a row that looks like the bias.
    r = tl.where(variance < float("inf"), 1 / tl.sqrt(variance + eps), float("nan"))
    w = tl.load(weight + column, mask=column < WIDTH, other=0.0).to(tl.float32)
    result = centred * r[:, None] * w[None, :]
    if bias is not None:
        b = tl.load(bias + column, mask=column < WIDTH, other=0.0).to(tl.float32)
        result += b[None, :]
    tl.store(y + row[:, None] * WIDTH + column[None, :], result.to(y.dtype.element_ty), mask=inside)
    tl.store(statistics + row, average, mask=row < rows)
    tl.store(statistics + rows + row, r, mask=row < rows)


@triton.jit
def _backward_kernel(
    g, x, weight, statistics, dx, shares, rows, g_stride, x_stride,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """A program takes every num_programs-th block of rows, and sums ∂w and ∂b over all of them."""
    column = tl.arange(0, BLOCK)
    w = tl.load(weight + column, mask=column < WIDTH, other=0.0).to(tl.float32)
    dw = tl.zeros((ROWS, BLOCK), tl.float32)
    db = tl.zeros((ROWS, BLOCK), tl.float32)
    program, programs = tl.program_id(0), tl.num_programs(0)
    for block in tl.range(program, tl.cdiv(rows, ROWS), programs, num_stages=STAGES):
        row = tl.cast(block, tl.int64) * ROWS + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & (column < WIDTH)[None, :]
        value = tl.load(x + row[:, None] * x_stride + column[None, :], mask=inside, other=0.0)
        gradient = tl.load(g + row[:, None] * g_stride + column[None, :], mask=inside, other=0.0)
        average = tl.load(statistics + row, mask=row < rows, other=0.0)
        r = tl.load(statistics + rows + row, mask=row < rows, other=0.0)
        gradient = gradient.to(tl.float32)
        normalized = (value.to(tl.float32) - average[:, None]) * r[:, None]
        h = gradient * w[None, :]
        along = tl.sum(h * normalized, axis=1) / WIDTH
        level = tl.sum(h, axis=1) / WIDTH
        result = (h - level[:, None] - normalized * along[:, None]) * r[:, None]
        at = dx + row[:, None] * WIDTH + column[None, :]
        tl.store(at, result.to(dx.dtype.element_ty), mask=inside)
        dw += gradient * normalized
        db += gradient
    share = shares + program * WIDTH + column
    tl.store(share, tl.sum(dw, axis=0), mask=column < WIDTH)
    tl.store(share + programs * WIDTH, tl.sum(db, axis=0), mask=column < WIDTH)


@triton.jit
def _sum_shares_kernel(
    shares, dw, db, programs,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """shares (2, programs, WIDTH) → ∂w by the programs (·, 0), ∂b by the programs (·, 1)."""
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_bias = tl.program_id(1)
    first = shares + is_bias * programs * WIDTH
    total = tl.zeros((ROWS, BLOCK), tl.float32)
    for start in tl.range(0, programs, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row < programs)[:, None] & (column < WIDTH)[None, :]
        total += tl.load(first + row[:, None] * WIDTH + column[None, :], mask=inside, other=0.0)
    result = tl.sum(total, axis=0)
    if is_bias == 0:
        tl.store(dw + column, result.to(dw.dtype.element_ty), mask=column < WIDTH)
    elif db is not None:
        tl.store(db + column, result.to(db.dtype.element_ty), mask=column < WIDTH)


# ---- launchers ----------------------------------------------------------------------------------


class Choice(NamedTuple):
    """What may be tuned; ``CANDIDATES`` holds the alternatives worth measuring, ours first."""

    forward_per_warp: int = 1024  # elements of x that one warp holds
    backward_per_warp: int = 512  # of x and g each, beside both sums and the weight
    backward_warps: int = 4  # at least
    backward_stages: int = 2  # blocks of rows under way in shared memory
    backward_resident: int = 16  # warps per multiprocessor: 128 registers for each thread


CANDIDATES = (
    Choice(),
    Choice(backward_stages=1),
    Choice(backward_stages=3, backward_resident=12),
    Choice(forward_per_warp=512, backward_warps=8),
    Choice(forward_per_warp=2048, backward_per_warp=256, backward_resident=32),
)


class Configuration(NamedTuple):
    """Rows per block and warps, for rows of ``block`` columns."""

    block: int
    forward_rows: int
    forward_warps: int
    backward_rows: int
    backward_warps: int
    backward_stages: int
    backward_programs: int  # per multiprocessor


@lru_cache
def configuration(width: int, choice: Choice = CANDIDATES[0]) -> Configuration:
    """As many rows to a program as fill its registers, so that narrow rows do not leave it idle."""
    block = triton.next_power_of_2(width)
    forward_warps = min(max(block // choice.forward_per_warp, 1), 16)
    backward_warps = min(max(block // choice.backward_per_warp, choice.backward_warps), 16)
    return Configuration(
        block=block,
        forward_rows=min(max(forward_warps * choice.forward_per_warp // block, 1), 64),
        forward_warps=forward_warps,
        backward_rows=min(max(backward_warps * choice.backward_per_warp // block, 1), 64),
        backward_warps=backward_warps,
        backward_stages=choice.backward_stages,
        backward_programs=max(choice.backward_resident // backward_warps, 1),
    )


def _as_rows(x: Tensor) -> Tensor:
    """x as (rows, width), of which only the row stride may differ from a contiguous tensor's."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.stride(1) == 1 else rows.contiguous()


def _ceil_div(count: int, size: int) -> int:
    """As triton.cdiv, which takes two microseconds."""
    return -(-count // size)


def _empty(shape, dtype: torch.dtype, x: Tensor) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=x.device)


@operator("minissl::layer_norm")
def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """y (..., width), and the statistics (2, ...): mean and 1/√(variance + eps) of each row."""
    y = _empty(x.shape, x.dtype, x)
    statistics = _empty((2, *x.shape[:-1]), torch.float32, x)
    if not y.numel():
        return y, statistics
    x, weight = _as_rows(x), weight.contiguous()
    bias = None if bias is None else bias.contiguous()
    rows, width = x.shape
    with launch.on_device(x):
        if width > WIDEST_IN_REGISTERS:
            layer_norm_wide.forward(x, weight, bias, y, statistics, eps)
        else:
            c = configuration(width)
            layer_norm_kernel[(_ceil_div(rows, c.forward_rows),)](
                x, weight, bias, y, statistics, rows, x.stride(0), eps,
                width, c.forward_rows, c.block, num_warps=c.forward_warps,
            )  # fmt: skip
    return y, statistics


@operator("minissl::layer_norm_backward")
def _backward(
    g: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, statistics: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """∂x, ∂w and ∂b; without a bias ∂b is empty."""
    dx, dw = _empty(x.shape, x.dtype, x), _empty(weight.shape, weight.dtype, x)
    db = _empty((0,), weight.dtype, x) if bias is None else _empty(bias.shape, bias.dtype, x)
    if not dx.numel():
        return dx, dw.zero_(), db.zero_()
    g, x, weight = _as_rows(g), _as_rows(x), weight.contiguous()
    rows, width = x.shape
    with launch.on_device(x):
        if width > WIDEST_IN_REGISTERS:
            shares = layer_norm_wide.backward(g, x, weight, statistics, dx)
        else:
            c = configuration(width)
            at_once = launch.multiprocessors(x.device) * c.backward_programs
            programs = min(at_once, _ceil_div(rows, c.backward_rows))
            shares = _empty((2, programs, width), torch.float32, x)
            _backward_kernel[(programs,)](
                g, x, weight, statistics, dx, shares, rows, g.stride(0), x.stride(0),
                width, c.backward_rows, c.block, c.backward_stages, num_warps=c.backward_warps,
            )  # fmt: skip
        _sum_shares_kernel[(_ceil_div(width, SUM_COLUMNS), 1 if bias is None else 2)](
            shares, dw, None if bias is None else db, shares.shape[1],
            width, SUM_ROWS, SUM_COLUMNS, num_warps=4,
        )  # fmt: skip
    return dx, dw, db


# ---- autograd -----------------------------------------------------------------------------------


@_forward.register_fake
def _(x, weight, bias, eps):
    return _empty(x.shape, x.dtype, x), _empty((2, *x.shape[:-1]), torch.float32, x)


@_backward.register_fake
def _(g, x, weight, bias, statistics):
    db = _empty((0,), weight.dtype, x) if bias is None else _empty(bias.shape, bias.dtype, x)
    return _empty(x.shape, x.dtype, x), _empty(weight.shape, weight.dtype, x), db


def _save(ctx, inputs, output):
    x, weight, bias, ctx.eps = inputs
    ctx.save_for_backward(x, weight, bias, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _differentiate(ctx, g, _):
    x, weight, bias, statistics = ctx.saved_tensors
    if g is None:
        return None, None, None, None
    dx, dw, db = _backward(g, x, weight, bias, statistics)
    return dx, dw, None if bias is None else db, None


def _composed(ctx, g, _):
    def function(x, weight, bias):
        bias = None if bias is None else bias.float()
        y = torch.nn.functional.layer_norm(x.float(), weight.shape, weight.float(), bias, ctx.eps)
        return y.to(x.dtype)

    if g is None:
        return None, None, None, None
    return *gradients_of(function, ctx.saved_tensors[:3], g), None


_forward.register_autograd(_differentiate, setup_context=_save, composed=_composed)

OPERATORS = (_forward, _backward)


# ---- public -------------------------------------------------------------------------------------


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """(x − mean) / √(variance + eps) · weight + bias, over the last axis.

    Shapes: x (..., width) of any width; weight and bias (width,); the result has the shape and
    dtype of x. dtypes: x float32, float16 or bfloat16; weight and bias each of x's dtype or
    float32. Statistics, sums and the stored mean are float32 whatever the dtype. Gradients for x,
    weight and bias, each in its tensor's dtype, the same bits in every run on one GPU. x may have
    any strides; a last axis that is not contiguous is copied.

    Raises TypeError for other dtypes, ValueError for shapes that do not fit, RuntimeError for
    tensors on several devices or on one where no Triton kernel runs.
    Ba, Kiros and Hinton, "Layer normalization", 2016. Lecture 06.
    """
    _check(x, weight, bias, eps)
    return _forward(x, weight, bias, eps)[0]


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> None:
    if x.dim() == 0 or x.shape[-1] == 0:
        raise ValueError(
            f"{NAME}: x must have shape (..., width) with width at least 1, got {tuple(x.shape)}"
        )
    if x.dtype not in launch.FLOATING:
        raise TypeError(f"{NAME}: x must be float32, float16 or bfloat16, got {x.dtype}")
    for label, tensor in (("weight", weight), ("bias", bias)):
        if tensor is None:
            continue
        if tensor.dim() != 1 or tensor.shape[0] != x.shape[-1]:
            launch.check_shape(NAME, label, tensor, (x.shape[-1],), "(width,)")
        if tensor.dtype != x.dtype and tensor.dtype != torch.float32:
            raise TypeError(
                f"{NAME}: {label} must be {x.dtype}, as x, or float32, got {tensor.dtype}; "
                "convert with .to(dtype)"
            )
    if not 0 <= eps < math.inf:
        raise ValueError(f"{NAME}: eps must be at least 0 and finite, got {eps}")
    if not (x.device == weight.device == (weight if bias is None else bias).device) or (
        not launch.runs_on(x.device)
    ):
        launch.check_device(NAME, x=x, weight=weight, bias=bias)
