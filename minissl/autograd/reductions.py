"""Reductions: many elements become one, and the gradient of the one goes back to the many.

``axis``: None (all), an int or a tuple of ints; ``keepdims``: keep the reduced axes with size 1.
Lecture 02.
"""

import math

import numpy as np

from minissl.autograd.arrays import is_floating, namespace, normalized_axes, single, total
from minissl.autograd.half import rounded_once
from minissl.autograd.tensor import differentiable


def _expanded(g, shape, axis):
    """A reduced gradient with its lost axes back (size 1), ready to broadcast against ``shape``."""
    axes = normalized_axes(axis, len(shape))
    return g.reshape(tuple(1 if i in axes else n for i, n in enumerate(shape)))


@differentiable
def sum(a, /, axis=None, keepdims=False):
    """c = Σ a;  ∂L/∂a = g at every element that was summed. The sum of a mask counts."""
    xp, shape = namespace(a), a.shape
    c = total(a, axis, keepdims)
    return c, (lambda g: xp.broadcast_to(_expanded(g, shape, axis), shape),)


@differentiable
@rounded_once
def mean(a, /, axis=None, keepdims=False):
    """c = (Σ a) / n;  ∂L/∂a = g / n. The mean of nothing is NaN."""
    xp = namespace(a)
    shape, count = a.shape, math.prod(a.shape[i] for i in normalized_axes(axis, a.ndim))
    c = total(a, axis, keepdims)
    c = c / count if count else c * math.nan
    return c, (lambda g: xp.broadcast_to(_expanded(g / (count or 1), shape, axis), shape),)


@differentiable
def max(a, /, axis=None, keepdims=False):
    """c = max a;  ∂L/∂a = g where a is the maximum. Convention: ties share the gradient equally."""
    xp = namespace(a)
    axes = normalized_axes(axis, a.ndim)
    c = _largest(a, axes)

    def vjp(g):
        winners = xp.astype(a == c, g.dtype)  # where the maximum is NaN, nobody: 0 / 0 is NaN
        with np.errstate(invalid="ignore"):
            share = single(winners) / total(single(winners), axes, keepdims=True)
        return share * _expanded(g, a.shape, axis)

    return (c if keepdims else c.reshape(_kept(a.shape, axes))), (vjp,)


@differentiable
def min(a, /, axis=None, keepdims=False):
    """c = min a;  ∂L/∂a = g where a is the minimum. Convention: ties share the gradient equally."""
    if not is_floating(a):  # which may have no negatives
        axes = normalized_axes(axis, a.ndim)
        _require_elements(a, axes)
        return namespace(a).min(a, axis=axes, keepdims=keepdims), (None,)
    negated, (vjp,) = max.__wrapped__(-a, axis=axis, keepdims=keepdims)
    return -negated, (vjp,)  # two signs, which cancel


def _largest(a, axes):
    """The maximum over the axes, which stay with size 1."""
    _require_elements(a, axes)
    return namespace(a).max(a, axis=axes, keepdims=True)


def _require_elements(a, axes):
    if a.ndim and not math.prod(a.shape[i] for i in axes):
        raise ValueError(f"shape {tuple(a.shape)} has no elements along {axes} to choose from")


def _kept(shape, axes):
    return tuple(n for i, n in enumerate(shape) if i not in axes)


@differentiable
@rounded_once
def cumsum(a, /, axis):
    """cᵢ = Σ_{j ≤ i} aⱼ;  ∂L/∂aⱼ = Σ_{i ≥ j} gᵢ: the same sum, from the other end."""
    xp = namespace(a)
    (axis,) = normalized_axes(axis, a.ndim)

    def sums(x):  # in float64: one by one, float32 loses digits
        if not is_floating(x):
            return xp.cumulative_sum(x, axis=axis)
        return xp.astype(xp.cumulative_sum(x, axis=axis, dtype=xp.float64), x.dtype)

    return sums(a), (lambda g: xp.flip(sums(xp.flip(g, axis=axis)), axis=axis),)


@differentiable
@rounded_once
def norm(a, /, axis=None, keepdims=False):
    """c = √Σ a²;  ∂L/∂a = g a / c. Convention: 0 at a = 0, where the slope of √ is infinite.

    a is divided by its largest element first: the square of 1e20 is beyond float32, that of 1e-30
    is 0.
    """
    xp = namespace(a)
    axes = normalized_axes(axis, a.ndim)
    scaled, scale = scaled_by_largest(a, axes)
    length = xp.sqrt(total(scaled * scaled, axes, keepdims=True))
    c = scale * length

    def vjp(g):
        safe = xp.where(length == 0, xp.ones_like(length), length)
        return _expanded(g, a.shape, axis) * (scaled / safe)

    return (c if keepdims else c.reshape(_kept(a.shape, axes))), (vjp,)


def scaled_by_largest(a, axes):
    """a divided by its largest absolute value, and that value (1 where it is 0 or not finite)."""
    xp = namespace(a)
    if not math.prod(a.shape):
        return a, 1
    largest = xp.max(xp.abs(a), axis=axes, keepdims=True)
    usable = xp.isfinite(largest) & (largest > 0)
    scale = xp.where(usable, largest, xp.ones_like(largest))
    return a / scale, scale


@differentiable
@rounded_once
def logsumexp(a, /, axis=-1, keepdims=False):
    """c = ln Σ eᵃ = m + ln Σ eᵃ⁻ᵐ with m = max a;  ∂L/∂a = g softmax(a), 0 where all are −∞."""
    xp = namespace(a)
    axes = normalized_axes(axis, a.ndim)
    m = _largest(a, axes)
    m = xp.where(xp.isfinite(m), m, xp.zeros_like(m))  # all −∞: the answer is −∞, not NaN
    with np.errstate(divide="ignore"):  # ln 0 is meant
        c = m + xp.log(total(xp.exp(a - m), axes, keepdims=True))

    def vjp(g):
        shift = xp.where(c == -math.inf, xp.zeros_like(c), c)
        return _expanded(g, a.shape, axis) * xp.exp(a - shift)

    return (c if keepdims else c.reshape(_kept(a.shape, axes))), (vjp,)


@differentiable
@rounded_once
def softmax(a, /, axis=-1):
    """c = eᵃ / Σ eᵃ;  ∂L/∂a = c (g − Σ g c)."""
    axes = normalized_axes(axis, a.ndim)
    e = namespace(a).exp(a - _largest(a, axes))
    c = e / total(e, axes, keepdims=True)
    return c, (lambda g: c * (g - total(g * c, axes, keepdims=True)),)


@differentiable
@rounded_once
def log_softmax(a, /, axis=-1):
    """c = a − ln Σ eᵃ;  ∂L/∂a = g − softmax(a) Σ g."""
    xp = namespace(a)
    axes = normalized_axes(axis, a.ndim)
    shifted = a - _largest(a, axes)
    c = shifted - xp.log(total(xp.exp(shifted), axes, keepdims=True))
    return c, (lambda g: g - xp.exp(c) * total(g, axes, keepdims=True),)
