"""GELU as one pass over memory, forward and backward. Lecture 07.

Written as primitives, GPT-2's formula reads and writes the array about ten times. An elementwise
kernel reads x, computes in registers and writes y: the time is the time to move two arrays. The
backward reads x again instead of keeping anything. (Hendrycks and Gimpel, 2016.)
"""

import math

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from minissl_kernels.launch import check_device, check_floating, on_device
from minissl_kernels.operators import gradients_of, operator

TWICE = tl.constexpr(2 * math.sqrt(2 / math.pi))
CUBE = tl.constexpr(0.044715)
SQUARE = tl.constexpr(3 * 0.044715)
HALF_ROOT = tl.constexpr(math.sqrt(0.5))
DENSITY = tl.constexpr(1 / math.sqrt(2 * math.pi))
BLOCK = 4096  # elements per program: 32 for each thread of 4 warps


def reference(x: np.ndarray, gradient: np.ndarray, approximate: str) -> tuple:
    """y and ∂L/∂x in float64, from ∂L/∂y = ``gradient``.

    With σ(2u) = ½(1 + tanh u):  "tanh" is x σ(2u), u = √(2/π) (x + 0.044715 x³);
    "none" is x Φ(x), with Φ the normal distribution function.
    """
    x, gradient = np.asarray(x, np.float64), np.asarray(gradient, np.float64)
    if approximate == "tanh":
        u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
        gate = 0.5 * (1 + np.tanh(u))
        return x * gate, gradient * (gate + x * 0.5 * (1 - np.tanh(u) ** 2) * slope)
    gate = 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    return x * gate, gradient * (gate + x * density)


@triton.jit
def _near(x, EXACT: tl.constexpr):
    """x where its gate is not yet 0 or 1 to float32; beyond, e^x³ would overflow.

    NaN becomes one of the ends: the kernels see to it that it is not lost.
    """
    limit: tl.constexpr = 14.0 if EXACT else 10.0
    return tl.minimum(tl.maximum(x, -limit), limit)


@triton.jit
def _odds(x):
    """e^(−2u) = (1 − σ(2u)) / σ(2u): what the tanh formula's gate and slope are made of."""
    return tl.exp((x + x * x * x * CUBE) * TWICE * -1)


@triton.jit
def _forward_kernel(x, y, n, EXACT: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + at, mask=at < n, other=0.0).to(tl.float32)
    near = _near(value, EXACT)
    if EXACT:
        gate = 0.5 * (1 + tl.erf(near * HALF_ROOT))
    else:
        gate = 1 / (1 + _odds(near))
    gate = tl.where(value > -14.0, gate, 0.0)  # also for −∞ and NaN, of which 0 makes NaN
    tl.store(y + at, value * gate, mask=at < n)


@triton.jit
def _backward_kernel(x, dy, dx, n, EXACT: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + at, mask=at < n, other=0.0).to(tl.float32)
    near = _near(value, EXACT) + value * 0.0  # NaN where x is not finite
    if EXACT:
        gate = 0.5 * (1 + tl.erf(near * HALF_ROOT))
        slope = tl.exp(near * near * -0.5) * DENSITY
    else:
        odds = _odds(near)
        gate = 1 / (1 + odds)
        slope = gate * gate * odds * (near * near * SQUARE + 1) * TWICE  # 1 − gate would cancel
    g = tl.load(dy + at, mask=at < n, other=0.0).to(tl.float32)
    tl.store(dx + at, g * (gate + near * slope), mask=at < n)


def gelu_forward(x: Tensor, approximate: str) -> Tensor:
    """Launch the forward kernel; x is any strided tensor."""
    check_device("gelu", x=x)
    check_floating("gelu", x=x)
    if approximate not in ("tanh", "none"):
        raise ValueError(f"gelu: approximate must be 'tanh' or 'none', got {approximate!r}")
    x = x.contiguous()
    y = torch.empty_like(x)
    if x.numel():
        with on_device(x):
            grid = (triton.cdiv(x.numel(), BLOCK),)
            _forward_kernel[grid](x, y, x.numel(), EXACT=approximate == "none", BLOCK=BLOCK)
    return y


def gelu_backward(x: Tensor, gradient: Tensor, approximate: str) -> Tensor:
    """∂L/∂x from x and ∂L/∂y."""
    x, gradient = x.contiguous(), gradient.to(x.dtype).contiguous()
    dx = torch.empty_like(x)
    if x.numel():
        with on_device(x):
            grid = (triton.cdiv(x.numel(), BLOCK),)
            exact = approximate == "none"
            _backward_kernel[grid](x, gradient, dx, x.numel(), EXACT=exact, BLOCK=BLOCK)
    return dx


_op = operator("minissl::gelu")(gelu_forward)
_backward_op = operator("minissl::gelu_backward")(gelu_backward)
_op.register_fake(lambda x, approximate: torch.empty_like(x.contiguous()))
_backward_op.register_fake(lambda x, gradient, approximate: torch.empty_like(x.contiguous()))


def _setup_context(ctx, inputs, output):
    x, ctx.approximate = inputs
    ctx.save_for_backward(x)


def _backward(ctx, gradient):
    return _backward_op(*ctx.saved_tensors, gradient, ctx.approximate), None


def _composed(ctx, gradient):
    def function(x):
        return torch.nn.functional.gelu(x.float(), approximate=ctx.approximate).to(x.dtype)

    return *gradients_of(function, ctx.saved_tensors, gradient), None


_op.register_autograd(_backward, setup_context=_setup_context, composed=_composed)


def gelu(x: Tensor, approximate: str = "tanh") -> Tensor:
    """x Φ(x), elementwise: float32, float16 or bfloat16, any shape; computed in float32.

    ``approximate``: ``"tanh"`` for GPT-2's formula, ``"none"`` for the exact one of BERT (torch's
    default is ``"none"``). Raises ValueError for another, TypeError for other dtypes, RuntimeError
    where kernels cannot run. Lecture 07.
    """
    return _op(x, approximate)
