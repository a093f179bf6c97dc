"""Elementwise operations: each a formula, and below it the same formula's derivative.

Every function takes Tensors, arrays or numbers and returns a Tensor; two inputs broadcast as in
NumPy. ``g`` is the gradient of the loss with respect to the output. Where a function has a kink,
the convention is in its docstring. Lecture 02.
"""

import math
from typing import Any

import numpy as np

from minissl.autograd.arrays import erf as array_erf
from minissl.autograd.arrays import namespace
from minissl.autograd.devices import device_of, move, resolve_device
from minissl.autograd.tensor import Tensor, differentiable


@differentiable
def add(a, b, /):
    """c = a + b;  ∂L/∂a = g,  ∂L/∂b = g."""
    return a + b, (lambda g: g, lambda g: g)


@differentiable
def subtract(a, b, /):
    """c = a − b;  ∂L/∂a = g,  ∂L/∂b = −g."""
    return a - b, (lambda g: g, lambda g: -g)


@differentiable
def multiply(a, b, /):
    """c = a b;  ∂L/∂a = g b,  ∂L/∂b = g a."""
    return a * b, (lambda g: g * b, lambda g: g * a)


@differentiable
def divide(a, b, /):
    """c = a / b;  ∂L/∂a = g / b,  ∂L/∂b = −g a / b²."""
    return a / b, (lambda g: g / b, lambda g: -g * a / (b * b))


@differentiable
def negative(a, /):
    """c = −a;  ∂L/∂a = −g."""
    return -a, (lambda g: -g,)


def power(base: Any, exponent: Any) -> Tensor:
    """``base ** exponent``, elementwise; a number as exponent takes the shorter rule."""
    if isinstance(exponent, np.generic):
        exponent = exponent.item()  # as np.float64 it would promote float32
    if isinstance(exponent, int | float):
        return _power(base, exponent=exponent)
    return _power_of_tensors(base, exponent)


@differentiable
def _power(a, /, exponent):
    """c = aⁿ for a number n;  ∂L/∂a = g n aⁿ⁻¹ (0 for n = 0, also at a = 0)."""
    if exponent == 2:  # the square, everywhere in losses, is ten times cheaper than a power
        return a * a, (lambda g: g * (2 * a),)
    if exponent == 0:
        return a**0, (lambda g: g * 0,)
    return a**exponent, (lambda g: g * (exponent * a ** (exponent - 1)),)


@differentiable
def _power_of_tensors(a, b, /):
    """c = aᵇ;  ∂L/∂a = g b aᵇ⁻¹,  ∂L/∂b = g c ln a  (both 0 where a = 0 and the limit is 0)."""
    xp = namespace(a)
    c = a**b

    def vjp_base(g):
        return xp.where(b == 0, xp.zeros_like(c), g * b * a ** xp.where(b == 0, b + 1, b - 1))

    def vjp_exponent(g):
        return g * c * xp.log(xp.where(a == 0, xp.ones_like(a), a))

    return c, (vjp_base, vjp_exponent)


@differentiable
def exp(a, /):
    """c = eᵃ;  ∂L/∂a = g c."""
    c = namespace(a).exp(a)
    return c, (lambda g: g * c,)


@differentiable
def log(a, /):
    """c = ln a;  ∂L/∂a = g / a."""
    return namespace(a).log(a), (lambda g: g / a,)


@differentiable
def sqrt(a, /):
    """c = √a;  ∂L/∂a = g / 2c (infinite at 0; for distances see ``norm``, which is safe there)."""
    c = namespace(a).sqrt(a)
    return c, (lambda g: g / (2 * c),)


@differentiable
def tanh(a, /):
    """c = tanh a;  ∂L/∂a = g (1 − c²)."""
    c = namespace(a).tanh(a)
    return c, (lambda g: g * (1 - c * c),)


@differentiable
def sigmoid(a, /):
    """c = 1 / (1 + e⁻ᵃ) = (1 + tanh(a/2)) / 2, which never overflows;  ∂L/∂a = g c (1 − c)."""
    c = (namespace(a).tanh(a * 0.5) + 1) * 0.5
    return c, (lambda g: g * c * (1 - c),)


@differentiable
def log_sigmoid(a, /):
    """c = ln σ(a) = min(a, 0) − ln(1 + e^−|a|);  ∂L/∂a = g σ(−a)."""
    xp = namespace(a)
    zero = xp.zeros_like(a)
    c = xp.minimum(a, zero) - xp.log1p(xp.exp(-xp.abs(a)))
    return c, (lambda g: g * ((1 - xp.tanh(a * 0.5)) * 0.5),)


@differentiable
def erf(a, /):
    """c = 2/√π ∫₀ᵃ e^(−t²) dt;  ∂L/∂a = g 2/√π e^(−a²)."""
    slope = 2 / math.sqrt(math.pi)
    return array_erf(a), (lambda g: g * (slope * namespace(a).exp(-a * a)),)


@differentiable
def relu(a, /):
    """c = max(a, 0);  ∂L/∂a = g where a > 0, else 0. Convention: relu′(0) = 0."""
    xp = namespace(a)
    c = xp.maximum(a, xp.zeros_like(a))  # NaN stays NaN
    return c, (lambda g: g * xp.astype(c > 0, g.dtype),)


@differentiable
def abs(a, /):
    """c = |a|;  ∂L/∂a = g sign(a). Convention: abs′(0) = 0."""
    xp = namespace(a)
    return xp.abs(a), (lambda g: g * xp.sign(a),)


@differentiable
def maximum(a, b, /):
    """c = max(a, b), elementwise. Convention: at a tie each gets half of the gradient."""
    xp = namespace(a)
    return xp.maximum(a, b), (lambda g: g * _wins(a, b), lambda g: g * _wins(b, a))


@differentiable
def minimum(a, b, /):
    """c = min(a, b), elementwise. Convention: at a tie each gets half of the gradient."""
    xp = namespace(a)
    return xp.minimum(a, b), (lambda g: g * _wins(b, a), lambda g: g * _wins(a, b))


def _wins(a, b):
    """1 where a > b, ½ where they are equal, 0 elsewhere."""
    xp = namespace(a)
    return (xp.astype(a > b, a.dtype) + xp.astype(a >= b, a.dtype)) * 0.5


@differentiable
def where(condition, a, b, /):
    """c = a where condition, else b;  ∂L/∂a = g there, ∂L/∂b = g elsewhere."""
    xp = namespace(condition)
    c = xp.where(condition, a, b)
    return c, (
        None,
        lambda g: xp.where(condition, g, xp.zeros_like(g)),
        lambda g: xp.where(condition, xp.zeros_like(g), g),
    )


@differentiable
def clip(a, /, min=None, max=None):
    """c = a cut to [min, max];  ∂L/∂a = g inside and on the borders, 0 outside."""
    if min is not None and max is not None and min > max:
        raise ValueError(f"clip: min {min} is larger than max {max}")
    xp = namespace(a)
    c = xp.clip(a, min, max)
    return c, (lambda g: g * xp.astype(c == a, g.dtype),)


@differentiable
def astype(a, /, *, dtype):
    """c = a in another dtype;  ∂L/∂a = g, cast back."""
    return namespace(a).astype(a, dtype), (lambda g: g,)


@differentiable
def to(a, /, *, device):
    """The same values on another device;  ∂L/∂a = g brought back."""
    target, home = resolve_device(device), device_of(a)
    return move(a, target), (lambda g: move(g, home),)
