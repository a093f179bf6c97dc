"""GELU, the activation of GPT and BERT (Hendrycks and Gimpel, 2016). Lecture 06."""

import math
from typing import Any

import numpy as np

from minissl.autograd import composed
from minissl.autograd.arrays import erf, is_half, require_floating
from minissl.autograd.fused import gpu
from minissl.autograd.fused.chunks import PIECE_BYTES, for_each_chunk
from minissl.autograd.half import in_single
from minissl.autograd.tensor import Tensor, differentiable

_ROOT = math.sqrt(2 / math.pi)


def gelu(x: Any, approximate: str = "tanh") -> Tensor:
    """x Φ(x), elementwise: a ReLU with a soft step.

    ``approximate``: ``"tanh"`` for GPT-2's formula ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))),
    ``"none"`` for BERT's exact ½ x (1 + erf(x/√2)). Raises ValueError for anything else.
    """
    if approximate not in ("tanh", "none"):
        raise ValueError(f"gelu: approximate must be 'tanh' or 'none', got {approximate!r}")
    require_floating("gelu", x)
    array = x.array if isinstance(x, Tensor) else x
    if gpu.runs_kernels(array):
        return gpu.gelu(x, approximate=approximate)
    if is_half(array):
        return in_single(gelu, x, approximate=approximate)
    if isinstance(array, np.ndarray):
        return _gelu(x, approximate=approximate)
    return composed.gelu(x, approximate)


@differentiable
def _gelu(x, /, approximate):
    """y = x Φ(x);  ∂L/∂x = g (Φ(x) + x Φ′(x)). The slope is computed now, so x can be forgotten."""
    flat = x.reshape(-1)
    y, slope = np.empty_like(flat), np.empty_like(flat)
    value_and_slope = _tanh_chunk if approximate == "tanh" else _erf_chunk
    if value_and_slope is _erf_chunk and x.dtype == np.float32:
        value_and_slope = _tail_chunk
    for_each_chunk(
        lambda _, i: value_and_slope(flat[i], y[i], slope[i]), flat, PIECE_BYTES // 2
    )  # of each of five arrays

    def vjp(g):
        g = g.reshape(-1)
        for_each_chunk(lambda _, i: np.multiply(slope[i], g[i], out=slope[i]), slope)
        return slope.reshape(x.shape)

    return y.reshape(x.shape), (vjp,)


def _tanh_chunk(x, y, slope):
    """With t = tanh(u), u = r (x + a x³), h = ½(1 + t): y = x h, y′ = h + x h′, h′ = h (1 − t) u′.

    1 − t before h: it has all the digits of t. And y (1 − t), which is 0 for large x, before u′.
    """
    squared = x * x
    h = squared * (0.044715 * _ROOT)
    h += _ROOT
    h *= x  # u
    np.tanh(h, out=h)
    np.subtract(1, h, out=slope)
    h += 1
    h *= 0.5
    np.multiply(x, h, out=y)
    slope *= y
    squared *= 3 * 0.044715 * _ROOT
    squared += _ROOT  # u′
    slope *= squared  # x h′
    slope += h


def _erf_chunk(x, y, slope):
    """With Φ = ½(1 + erf(x/√2)): y = xΦ, y′ = Φ + x e^(−x²/2) / √(2π)."""
    phi = erf(x * math.sqrt(0.5))
    phi += 1
    phi *= 0.5
    np.multiply(x, x, out=slope)
    slope *= -0.5
    np.exp(slope, out=slope)
    slope *= 1 / math.sqrt(2 * math.pi)
    slope *= x
    slope += phi
    np.multiply(x, phi, out=y)


# Mills' ratio of the normal distribution, (1 − Φ(a)) / Φ′(a), as a polynomial in t = 1 / (1 + a/4),
# the highest power first: fitted to √(π/2) erfcx(a/√2), relative error below 3e-7 for a ≤ 6.
_MILLS = (
    -0.23940781, 0.90679842, -0.77689176, 0.82730246, -0.01792818, 0.31113173, 0.24185125,
    0.00045794434,
)  # fmt: skip


def _tail_chunk(x, y, slope):
    """``_erf_chunk`` in float32, in a quarter of the time: erf is computed one by one, in double.

    With a = |x|, e = Φ′(a) and the tail q = 1 − Φ(a) = e · Mills(a): xΦ = max(x, 0) − a q, without
    the digits that 1 + erf loses below zero, and Φ = 1 − q, or q for a minus sign.
    """
    a = np.minimum(np.abs(x), 40)  # where q is 0, since ∞ · 0 is no number
    t = a * 0.25
    t += 1
    np.reciprocal(t, out=t)
    q = t * _MILLS[0]
    for coefficient in _MILLS[1:-1]:
        q += coefficient
        q *= t
    q += _MILLS[-1]
    np.multiply(x, x, out=slope)
    slope *= -0.5
    np.exp(slope, out=slope)
    slope *= 1 / math.sqrt(2 * math.pi)  # e
    q *= slope
    a *= q
    np.maximum(x, 0, out=y)
    y -= a
    slope *= x
    slope -= np.copysign(q, x, out=q)
    slope += ~np.signbit(x)
