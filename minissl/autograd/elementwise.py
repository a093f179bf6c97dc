"""Elementwise operations: each a formula, and below it the same formula's derivative.

Every function takes Tensors, arrays or numbers and returns a Tensor; two inputs broadcast as in
NumPy. ``g`` is the gradient of the loss with respect to the output. Where a function has a kink,
the convention is in its docstring. NaN goes in and NaN comes out, of the function and of every
slope that depends on it: what is not a number must not look like one later. Lecture 02.
"""

import math
from typing import Any

import numpy as np

from minissl.autograd.arrays import dtype_name, is_floating, namespace, sign
from minissl.autograd.arrays import erf as array_erf
from minissl.autograd.devices import device_of, move, resolve_device
from minissl.autograd.half import rounded_once
from minissl.autograd.tensor import Tensor, differentiable
from minissl.autograd.threads import plus


@differentiable
def add(a, b, /):
    """c = a + b;  ∂L/∂a = g,  ∂L/∂b = g."""
    return plus(a, b), (lambda g: g, lambda g: g)


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
    """c = −a;  ∂L/∂a = −g. Raises TypeError for masks and unsigned integers, which have no sign."""
    if dtype_name(a).startswith(("bool", "uint")):
        raise TypeError(
            f"negative: {dtype_name(a)} has no negative numbers: convert with .astype(dtype) first"
        )
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
    """c = aⁿ for a number n;  ∂L/∂a = g n aⁿ⁻¹ (0 for n = 0, also at a = 0).

    a⁰ is 1 for every number, and NaN, unlike in C, for what is none.
    """
    if exponent == 2:  # the square, everywhere in losses, is ten times cheaper than a power
        return a * a, (lambda g: g * (2 * a),)
    if exponent == 0:
        return 1 + 0 * a, (lambda g: g * (0 * a),)
    return a**exponent, (lambda g: g * (exponent * a ** (exponent - 1)),)


@differentiable
def _power_of_tensors(a, b, /):
    """c = aᵇ;  ∂L/∂a = g b aᵇ⁻¹,  ∂L/∂b = g c ln a  (both 0 where a = 0 and the limit is 0)."""
    xp = namespace(a)
    c = xp.where((a == a) & (b == b), a**b, a + b)  # in C NaN⁰ and 1 to the power of NaN are 1

    def vjp_base(g):
        return xp.where(b == 0, 0 * g * c, g * b * a ** xp.where(b == 0, b + 1, b - 1))

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
    """c = tanh a;  ∂L/∂a = g (1 − c²), where 1 − c² = 4e / (1 + e)² with e = e^(−2|a|).

    So the slope is right also where c is so near to 1 that their difference is only rounding.
    """
    xp = namespace(a)

    def vjp(g):
        e = xp.exp(-2 * xp.abs(a))
        below = 1 + e
        return g * (4 * e / (below * below))

    return xp.tanh(a), (vjp,)


@differentiable
@rounded_once
def sigmoid(a, /):
    """c = 1 / (1 + e⁻ᵃ);  ∂L/∂a = g c (1 − c), where c (1 − c) = e / (1 + e)² with e = e^−|a|.

    e cannot overflow, and the slope is right also where c is so near to 1 that 1 − c is rounding.
    """
    xp = namespace(a)
    e = xp.exp(-xp.abs(a))
    c = xp.maximum(e, xp.astype(a >= 0, e.dtype)) / (1 + e)  # above 0: 1 / (1 + e)

    def vjp(g):
        below = 1 + e
        return g * (e / (below * below))

    return c, (vjp,)


@differentiable
@rounded_once
def log_sigmoid(a, /):
    """c = ln σ(a) = min(a, 0) − ln(1 + e^−|a|);  ∂L/∂a = g σ(−a)."""
    xp = namespace(a)
    e = xp.exp(-xp.abs(a))
    c = xp.minimum(a, xp.zeros_like(a)) - xp.log1p(e)
    return c, (lambda g: g * (xp.where(a >= 0, e, xp.ones_like(e)) / (1 + e)),)


@differentiable
def erf(a, /):
    """c = 2/√π ∫₀ᵃ e^(−t²) dt;  ∂L/∂a = g 2/√π e^(−a²)."""
    slope = 2 / math.sqrt(math.pi)
    return array_erf(a), (lambda g: g * (slope * namespace(a).exp(-a * a)),)


@differentiable
def relu(a, /):
    """c = max(a, 0);  ∂L/∂a = g where a > 0, else 0. Convention: relu′(0) = 0."""
    xp = namespace(a)
    c = xp.maximum(a, xp.zeros_like(a))
    return c, (lambda g: g * sign(c),)


@differentiable
def abs(a, /):
    """c = |a|;  ∂L/∂a = g sign(a). Convention: abs′(0) = 0."""
    return namespace(a).abs(a), (lambda g: g * sign(a),)


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
    """1 where a > b, ½ where they are equal, 0 where a < b, NaN where one of them is NaN."""
    xp = namespace(a)
    wins = (xp.astype(a > b, a.dtype) + xp.astype(a >= b, a.dtype)) * 0.5
    return xp.where((a == a) & (b == b), wins, a + b)


@differentiable
def where(condition, a, b, /):
    """c = a where condition, else b;  ∂L/∂a = g there, ∂L/∂b = g elsewhere.

    A number as condition counts as True unless it is 0; NaN, which is neither, gives NaN.
    """
    xp, numbers = namespace(condition), condition
    if dtype_name(condition) != "bool":
        condition = condition != 0
    c = xp.where(condition, a, b)
    if is_floating(numbers):
        c = xp.where(numbers == numbers, c, xp.full_like(c, math.nan))
    return c, (
        None,
        lambda g: xp.where(condition, g, xp.zeros_like(g)),
        lambda g: xp.where(condition, xp.zeros_like(g), g),
    )


@differentiable
def clip(a, /, min=None, max=None):
    """c = a cut to [min, max];  ∂L/∂a = g inside and on the borders, 0 outside.

    Raises ValueError when min > max, TypeError for integers with a border that is no integer.
    """
    low, high = (_border(a, value) for value in (min, max))
    if low is not None and high is not None and low > high:
        raise ValueError(f"clip: min {min} is larger than max {max}")
    xp = namespace(a)
    c = xp.clip(a, low, high)
    return c, (lambda g: g * xp.where(a == a, xp.astype(c == a, g.dtype), a),)


def _border(a, value):
    """A border of clip as a Python number: a NumPy number has a dtype, which may promote a's."""
    if value is None:
        return None
    number = float(value)
    if math.isnan(number):
        raise ValueError("clip: a border is NaN")
    if is_floating(a):
        return number
    if not number.is_integer():
        raise TypeError(
            f"clip: a {dtype_name(a)} tensor meets the border {number}: "
            "convert the tensor with .astype(dtype) first"
        )
    limits = namespace(a).iinfo(a.dtype)
    return int(sorted((limits.min, number, limits.max))[1])


@differentiable
def astype(a, /, *, dtype):
    """c = a in another dtype (an array library's, or its name);  ∂L/∂a = g, cast back."""
    xp = namespace(a)
    if isinstance(dtype, str):
        dtype = getattr(xp, dtype)
    return xp.astype(a, dtype), (lambda g: g,)


@differentiable
def to(a, /, *, device):
    """The same values on another device;  ∂L/∂a = g brought back."""
    target, home = resolve_device(device), device_of(a)
    return move(a, target), (lambda g: move(g, home),)
