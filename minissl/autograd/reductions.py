"""Reductions: many elements become one, and the gradient of the one goes back to the many.

``axis``: None (all), an int or a tuple of ints; ``keepdims``: keep the reduced axes with size 1.
Lecture 02.
"""

import math

import numpy as np

from minissl.autograd.arrays import namespace, normalized_axes
from minissl.autograd.tensor import differentiable


def _expanded(g, shape, axis):
    """A reduced gradient with its lost axes back (size 1), ready to broadcast against ``shape``."""
    axes = normalized_axes(axis, len(shape))
    return g.reshape(tuple(1 if i in axes else n for i, n in enumerate(shape)))


@differentiable
def sum(a, /, axis=None, keepdims=False):
    """c = Σ a;  ∂L/∂a = g at every element that was summed. The sum of a mask counts."""
    xp = namespace(a)
    c = xp.sum(a, axis=normalized_axes(axis, a.ndim), keepdims=keepdims)
    shape = a.shape
    return c, (lambda g: xp.broadcast_to(_expanded(g, shape, axis), shape),)


@differentiable
def mean(a, /, axis=None, keepdims=False):
    """c = (Σ a) / n;  ∂L/∂a = g / n. The mean of nothing is NaN."""
    xp = namespace(a)
    axes = normalized_axes(axis, a.ndim)
    shape, count = a.shape, math.prod(a.shape[i] for i in axes)
    c = xp.sum(a, axis=axes, keepdims=keepdims)
    c = c / count if count else c * math.nan
    return c, (lambda g: xp.broadcast_to(_expanded(g / (count or 1), shape, axis), shape),)


@differentiable
def max(a, /, axis=None, keepdims=False):
    """c = max a;  ∂L/∂a = g where a is the maximum. Convention: ties share the gradient equally."""
    xp = namespace(a)
    axes = normalized_axes(axis, a.ndim)
    c = xp.max(a, axis=axes, keepdims=True)

    def vjp(g):
        winners = xp.astype(a == c, g.dtype)
        share = winners / xp.sum(winners, axis=axes, keepdims=True, dtype=g.dtype)
        return share * _expanded(g, a.shape, axis)

    return (c if keepdims else c.reshape(_kept(a.shape, axes))), (vjp,)


@differentiable
def min(a, /, axis=None, keepdims=False):
    """c = min a;  ∂L/∂a = g where a is the minimum. Convention: ties share the gradient equally."""
    negated, (vjp,) = max.__wrapped__(-a, axis=axis, keepdims=keepdims)
    return -negated, (vjp,)  # two signs, which cancel


def _kept(shape, axes):
    return tuple(n for i, n in enumerate(shape) if i not in axes)


@differentiable
def cumsum(a, /, axis):
    """cᵢ = Σ_{j ≤ i} aⱼ;  ∂L/∂aⱼ = Σ_{i ≥ j} gᵢ: the same sum, from the other end."""
    xp = namespace(a)
    (axis,) = normalized_axes(axis, a.ndim)

    def vjp(g):
        from_the_end = xp.cumulative_sum(xp.flip(g, axis=axis), axis=axis, dtype=g.dtype)
        return xp.flip(from_the_end, axis=axis)

    return xp.cumulative_sum(a, axis=axis), (vjp,)


@differentiable
def norm(a, /, axis=None, keepdims=False):
    """c = √Σ a²;  ∂L/∂a = g a / c. Convention: 0 at a = 0, where the slope of √ is infinite."""
    xp = namespace(a)
    axes = normalized_axes(axis, a.ndim)
    c = xp.sqrt(xp.sum(a * a, axis=axes, keepdims=True, dtype=a.dtype))

    def vjp(g):
        safe = xp.where(c == 0, xp.ones_like(c), c)
        return _expanded(g, a.shape, axis) * a / safe

    return (c if keepdims else c.reshape(_kept(a.shape, axes))), (vjp,)


@differentiable
def logsumexp(a, /, axis=-1, keepdims=False):
    """c = ln Σ eᵃ = m + ln Σ eᵃ⁻ᵐ with m = max a;  ∂L/∂a = g softmax(a), 0 where all are −∞."""
    xp = namespace(a)
    axes = normalized_axes(axis, a.ndim)
    m = xp.max(a, axis=axes, keepdims=True)
    m = xp.where(xp.isfinite(m), m, xp.zeros_like(m))  # all −∞: the answer is −∞, not NaN
    with np.errstate(divide="ignore"):  # ln 0 is meant
        c = m + xp.log(xp.sum(xp.exp(a - m), axis=axes, keepdims=True, dtype=a.dtype))

    def vjp(g):
        shift = xp.where(c == -math.inf, xp.zeros_like(c), c)
        return _expanded(g, a.shape, axis) * xp.exp(a - shift)

    return (c if keepdims else c.reshape(_kept(a.shape, axes))), (vjp,)


@differentiable
def softmax(a, /, axis=-1):
    """c = eᵃ / Σ eᵃ;  ∂L/∂a = c (g − Σ g c)."""
    xp = namespace(a)
    e = xp.exp(a - xp.max(a, axis=axis, keepdims=True))
    c = e / xp.sum(e, axis=axis, keepdims=True, dtype=e.dtype)
    return c, (lambda g: c * (g - xp.sum(g * c, axis=axis, keepdims=True, dtype=g.dtype)),)


@differentiable
def log_softmax(a, /, axis=-1):
    """c = a − ln Σ eᵃ;  ∂L/∂a = g − softmax(a) Σ g."""
    xp = namespace(a)
    shifted = a - xp.max(a, axis=axis, keepdims=True)
    total = xp.sum(xp.exp(shifted), axis=axis, keepdims=True, dtype=a.dtype)
    c = shifted - xp.log(total)
    return c, (lambda g: g - xp.exp(c) * xp.sum(g, axis=axis, keepdims=True, dtype=g.dtype),)
