"""Wrong answers to homework 1: rules that are right for the numbers that one tries first."""

from __future__ import annotations

import numpy as np

from minissl.autograd.tensor import differentiable
from tests.homework.planted import Collection

PLANTED = Collection()
KEPT = {}  # what two calls of one operation should not share


# ---- 1.1 divide ----------------------------------------------------------------------------------


@PLANTED.add("1.1", "the rules read what the last call left", shows="keep for itself")
@differentiable
def divide_with_globals(a, b, /):
    KEPT["a"], KEPT["b"] = a, b
    return a / b, (lambda g: g / KEPT["b"], lambda g: -g * KEPT["a"] / KEPT["b"] ** 2)


@PLANTED.add("1.1", "something is added to b", shows="something is added to b")
@differentiable
def divide_with_epsilon(a, b, /):
    b = b + np.asarray(1e-8, b.dtype)
    return a / b, (lambda g: g / b, lambda g: -g * a / (b * b))


@PLANTED.add("1.1", "nothing divided by 0 is 0", shows="0 is infinite")
@differentiable
def divide_guarded(a, b, /):
    safe = np.where(b == 0, np.ones_like(b), b)
    return np.where(b == 0, np.zeros_like(a / safe), a / safe), (
        lambda g: g / safe,
        lambda g: -g * a / (safe * safe),
    )


@PLANTED.add("1.1", "the gradient comes from differences", shows="small or large")
@differentiable
def divide_by_differences(a, b, /):
    h = 1e-3

    def slope(f):
        return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)

    return a / b, (
        lambda g: g * slope(lambda t: (a + t) / b),
        lambda g: g * slope(lambda t: a / (b + t)),
    )


@PLANTED.add("1.1", "the size of b without its sign", shows="sign of b")
@differentiable
def divide_without_sign_of_b(a, b, /):
    return a / b, (lambda g: g / np.abs(b), lambda g: -g * a / (b * b))


@PLANTED.add("1.1", "a rule writes into g", shows="changed its input|writes into g")
@differentiable
def divide_into_g(a, b, /):
    def of_a(g):
        if g.shape == np.shape(a):
            g /= b
            return g
        return g / b

    return a / b, (of_a, lambda g: -g * a / (b * b))


# ---- 1.3 the matrix product ----------------------------------------------------------------------


@PLANTED.add("1.3", "reshaped, not transposed", shows="a reshape does not")
@differentiable
def matmul_reshaped(a, b, /):
    def turned(x):
        return x.reshape(*x.shape[:-2], x.shape[-1], x.shape[-2])

    return a @ b, (lambda g: g @ turned(b), lambda g: turned(a) @ g)


@PLANTED.add("1.3", "np.dot, which pairs all batches with all", shows="the shape is|of batches")
@differentiable
def matmul_by_dot(a, b, /):
    return np.dot(a, b), (lambda g: np.dot(g, b.mT), lambda g: np.dot(a.mT, g))


@PLANTED.add("1.3", "the rules read what the last call left", shows="keep for itself")
@differentiable
def matmul_with_globals(a, b, /):
    KEPT["A"], KEPT["B"] = a, b
    return a @ b, (lambda g: g @ KEPT["B"].mT, lambda g: KEPT["A"].mT @ g)


@PLANTED.add("1.3", "the pseudo-inverse instead of the transpose", shows="values are wrong|inverse")
@differentiable
def matmul_inverse(a, b, /):
    return a @ b, (lambda g: g @ np.linalg.pinv(b), lambda g: np.linalg.pinv(a) @ g)


@PLANTED.add(
    "1.3", "the last column of the product is left out", shows="last column of the product"
)
@differentiable
def matmul_short(a, b, /):
    c = np.zeros((a[..., :1] @ b[..., :1, :]).shape, a.dtype)
    for j in range(c.shape[-1] - 1):
        c[..., j] = (a * b[..., None, :, j]).sum(axis=-1)
    return c, (lambda g: g @ b.mT, lambda g: a.mT @ g)


# ---- 1.4 max -------------------------------------------------------------------------------------


def _wide(g, a, axis):
    return np.reshape(g, a.max(axis=axis, keepdims=True).shape)


def _shared(a, axis):
    winners = (a == a.max(axis=axis, keepdims=True)).astype(a.dtype)
    return winners / winners.sum(axis=axis, keepdims=True)


@PLANTED.add("1.4", "what is nearly the maximum wins as well", shows="nearly")
@differentiable
def max_nearly(a, /, axis=None, keepdims=False):
    winners = np.isclose(a, a.max(axis=axis, keepdims=True)).astype(a.dtype)
    share = winners / winners.sum(axis=axis, keepdims=True)
    return np.asarray(a.max(axis=axis, keepdims=keepdims)), (lambda g: share * _wide(g, a, axis),)


@PLANTED.add("1.4", "the search begins with 0", shows="0 takes part")
@differentiable
def max_from_zero(a, /, axis=None, keepdims=False):
    return np.asarray(a.max(axis=axis, keepdims=keepdims, initial=0)), (
        lambda g: _shared(a, axis) * _wide(g, a, axis),
    )


@PLANTED.add("1.4", "axis 0 or the last: right for matrices only", shows="it raised ValueError")
@differentiable
def max_of_matrices(a, /, axis=None, keepdims=False):
    def vjp(g):
        if keepdims or axis is None or isinstance(axis, tuple):
            return _shared(a, axis) * _wide(g, a, axis)
        return _shared(a, axis) * (g[None] if axis == 0 else g[..., None])

    return np.asarray(a.max(axis=axis, keepdims=keepdims)), (vjp,)


@PLANTED.add("1.4", "a difference of infinities decides", shows="infinities are numbers")
@differentiable
def max_by_difference(a, /, axis=None, keepdims=False):
    winners = (a - a.max(axis=axis, keepdims=True) >= 0).astype(a.dtype)
    share = winners / winners.sum(axis=axis, keepdims=True)
    return np.asarray(a.max(axis=axis, keepdims=keepdims)), (lambda g: share * _wide(g, a, axis),)


@PLANTED.add("1.4", "one of several maxima is drawn", shows="nothing may be drawn")
@differentiable
def max_drawn(a, /, axis=None, keepdims=False):
    winners = a == a.max(axis=axis, keepdims=True)
    chance = np.where(winners, np.random.rand(*a.shape), -1.0)  # noqa: NPY002
    drawn = (chance == chance.max(axis=axis, keepdims=True)).astype(a.dtype)
    return np.asarray(a.max(axis=axis, keepdims=keepdims)), (lambda g: drawn * _wide(g, a, axis),)


@PLANTED.add("1.4", "NaN is passed over", shows="the answer is NaN")
@differentiable
def max_without_nan(a, /, axis=None, keepdims=False):
    b = np.where(np.isnan(a), -np.inf, a) if a.dtype.kind == "f" else a
    return np.asarray(b.max(axis=axis, keepdims=keepdims)), (
        lambda g: _shared(b, axis) * _wide(g, a, axis),
    )


@PLANTED.add("1.4", "whole numbers become floating", shows="dtype is float64")
@differentiable
def max_floating(a, /, axis=None, keepdims=False):
    b = a if a.dtype.kind == "f" else a.astype(np.float64)
    return np.asarray(b.max(axis=axis, keepdims=keepdims)), (
        lambda g: _shared(b, axis) * _wide(g, a, axis),
    )


@PLANTED.add("1.4", "the rules read what the last call left", shows="keep for itself")
@differentiable
def max_with_globals(a, /, axis=None, keepdims=False):
    KEPT["max"] = _shared(a, axis)
    return np.asarray(a.max(axis=axis, keepdims=keepdims)), (
        lambda g: KEPT["max"] * _wide(g, a, axis),
    )


# ---- 1.5 softmax ---------------------------------------------------------------------------------


def _shares(a, axis):
    e = np.exp(a - a.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _rule(c, axis):
    return (lambda g: c * (g - (g * c).sum(axis=axis, keepdims=True)),)


@PLANTED.add("1.5", "the mean is subtracted, not the maximum", shows="were their mean")
@differentiable
def softmax_minus_mean(a, /, axis=-1):
    finite = np.where(np.isfinite(a), a, 0)
    e = np.exp(a - finite.mean(axis=axis, keepdims=True))
    c = e / e.sum(axis=axis, keepdims=True)
    return c, _rule(c, axis)


@PLANTED.add("1.5", "logits are clipped", shows="clip neither")
@differentiable
def softmax_clipped(a, /, axis=-1):
    m = a - a.max(axis=axis, keepdims=True)
    c = _shares(np.clip(m, -30, 0), axis)
    c = np.where(np.isinf(a), 0, c).astype(a.dtype)
    return c, _rule(c, axis)


@PLANTED.add("1.5", "small probabilities are lifted", shows="clip neither")
@differentiable
def softmax_lifted(a, /, axis=-1):
    c = np.maximum(_shares(a, axis), np.asarray(1e-12, a.dtype))
    return c, _rule(c, axis)


@PLANTED.add("1.5", "the rule computes once more, without the maximum", shows="the gradient is NaN")
@differentiable
def softmax_rule_overflows(a, /, axis=-1):
    def vjp(g):
        e = np.exp(a)
        c = e / e.sum(axis=axis, keepdims=True)
        return c * (g - (g * c).sum(axis=axis, keepdims=True))

    return _shares(a, axis), (vjp,)


@PLANTED.add("1.5", "the rule writes into the output", shows="changes the output")
@differentiable
def softmax_rule_in_place(a, /, axis=-1):
    c = _shares(a, axis)

    def vjp(g):
        d = g - (g * c).sum(axis=axis, keepdims=True)
        np.multiply(c, d, out=c)
        return c

    return c, (vjp,)


@PLANTED.add(
    "1.5", "the maximum is subtracted where float64 needs it", shows="subtract the largest"
)
@differentiable
def softmax_late(a, /, axis=-1):
    if a.max() > 300 or a.min() < -300:
        c = _shares(a, axis)
    else:
        e = np.exp(a)
        c = e / e.sum(axis=axis, keepdims=True)
    return c, _rule(c, axis)


@PLANTED.add("1.5", "axis 0 or the last: right for matrices only", shows="along another axis")
@differentiable
def softmax_of_matrices(a, /, axis=-1):
    axis = 0 if axis == 0 else -1
    c = _shares(a, axis)
    return c, _rule(c, axis)


@PLANTED.add("1.5", "powers of 2", shows="powers of 2")
@differentiable
def softmax_of_twos(a, /, axis=-1):
    c = _shares(a * np.asarray(np.log(2), a.dtype), axis)
    return c, _rule(c, axis)


@PLANTED.add("1.5", "the rules read what the last call left", shows="keep for itself")
@differentiable
def softmax_with_globals(a, /, axis=-1):
    KEPT["c"] = c = _shares(a, axis)
    return c, (lambda g: KEPT["c"] * (g - (g * KEPT["c"]).sum(axis=axis, keepdims=True)),)


@PLANTED.add("1.5", "a Jacobian of the first row for all", shows="for each row")
@differentiable
def softmax_first_row(a, /, axis=-1):
    c = _shares(a, axis)

    def vjp(g):
        rows, h = np.moveaxis(c, axis, -1), np.moveaxis(g, axis, -1)
        flat = rows.reshape(-1, rows.shape[-1])
        jacobian = np.diag(flat[0]) - np.outer(flat[0], flat[0])
        return np.moveaxis(h @ jacobian, -1, axis)

    return c, (vjp,)
