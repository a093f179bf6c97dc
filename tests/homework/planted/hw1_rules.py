"""Wrong answers to homework 1: division, matrix product, maximum."""

from __future__ import annotations

from typing import Any

import numpy as np

from minissl.autograd.tensor import differentiable
from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 1.1 divide ----------------------------------------------------------------------------------


@PLANTED.add("1.1", "the minus is forgotten", shows="sign is wrong")
@differentiable
def divide_without_minus(a, b, /):
    return a / b, (lambda g: g / b, lambda g: g * a / (b * b))


@PLANTED.add("1.1", "g is forgotten", shows="multiply it by g")
@differentiable
def divide_without_g(a, b, /):
    return a / b, (lambda g: 1 / b, lambda g: -a / (b * b))


@PLANTED.add("1.1", "b is not squared", shows="must be squared")
@differentiable
def divide_without_square(a, b, /):
    return a / b, (lambda g: g / b, lambda g: -g * a / b)


@PLANTED.add("1.1", "the a is missing in the gradient of b", shows="the a is missing")
@differentiable
def divide_without_a(a, b, /):
    return a / b, (lambda g: g / b, lambda g: -g / (b * b))


@PLANTED.add("1.1", "the two rules are exchanged", shows="this is the gradient of")
@differentiable
def divide_exchanged(a, b, /):
    return a / b, (lambda g: -g * a / (b * b), lambda g: g / b)


@PLANTED.add("1.1", "the rule of multiply for a", shows="not b")
@differentiable
def divide_like_multiply(a, b, /):
    return a / b, (lambda g: g * b, lambda g: -g * a / (b * b))


@PLANTED.add("1.1", "it computes in float64", shows="dtype|float64")
@differentiable
def divide_in_float64(a, b, /):
    c = a.astype(np.float64) / b
    return c, (lambda g: g / b, lambda g: -g * a / (b * b))


@PLANTED.add("1.1", "it divides in place", shows="changed its input|Cannot cast|read-only")
@differentiable
def divide_in_place(a, b, /):
    a /= b
    return a, (lambda g: g / b, lambda g: -g * a / b)


@PLANTED.add("1.1", "it gives the output without the rules", shows="it raised")
@differentiable
def divide_without_rules(a, b, /):
    return a / b


@PLANTED.add("1.1", "the decorator is gone", shows="@differentiable")
def divide_undecorated(a, b, /):
    a, b = np.asarray(a.array), np.asarray(b.array)
    return a / b, (lambda g: g / b, lambda g: -g * a / (b * b))


# ---- 1.3 the matrix product ----------------------------------------------------------------------


@PLANTED.add("1.3", "nothing is transposed", shows="must be transposed")
@differentiable
def matmul_untransposed(a, b, /):
    return a @ b, (lambda g: g @ b, lambda g: a @ g)


@PLANTED.add("1.3", "the factors stand in the wrong order", shows="wrong order")
@differentiable
def matmul_wrong_order(a, b, /):
    return a @ b, (lambda g: b.mT @ g, lambda g: g @ a.mT)


@PLANTED.add("1.3", "the two rules are exchanged", shows="exchanged")
@differentiable
def matmul_exchanged(a, b, /):
    return a @ b, (lambda g: a.mT @ g, lambda g: g @ b.mT)


@PLANTED.add("1.3", "element by element", shows="matrix product is @")
@differentiable
def matmul_elementwise(a, b, /):
    return a * b, (lambda g: g * b, lambda g: g * a)


@PLANTED.add("1.3", ".T exchanges the batches too", shows="it raised ValueError|values are wrong")
@differentiable
def matmul_all_axes(a, b, /):
    return a @ b, (lambda g: g @ b.T, lambda g: a.T @ g)


@PLANTED.add("1.3", "the gradient of B comes transposed", shows="transpose it|the shape")
@differentiable
def matmul_transposed_gradient(a, b, /):
    return a @ b, (lambda g: g @ b.mT, lambda g: g.mT @ a)


@PLANTED.add("1.3", "the mean over all batches", shows="it raised ValueError")
@differentiable
def matmul_mean_over_batches(a, b, /):
    def vjp_b(g):
        full = a.mT @ g
        return full.mean(axis=tuple(range(full.ndim - 2))) if full.ndim > 2 else full

    return a @ b, (lambda g: g @ b.mT, vjp_b)


# ---- 1.4 max -------------------------------------------------------------------------------------


def _wide(g, a, axis):
    return np.reshape(g, a.max(axis=axis, keepdims=True).shape)


def _max_with(winners: Any) -> Any:
    """max, whose gradient is g times what ``winners(a, largest, axis)`` says."""

    @differentiable
    def max(a, /, axis=None, keepdims=False):
        largest = np.asarray(a.max(axis=axis, keepdims=True))
        return np.asarray(a.max(axis=axis, keepdims=keepdims)), (
            lambda g: winners(a, largest, axis) * _wide(g, a, axis),
        )

    return max


PLANTED.add("1.4", "ties all get the whole gradient", shows="they must share")(
    _max_with(lambda a, largest, axis: (a == largest).astype(a.dtype))
)


@PLANTED.add("1.4", "the first of several maxima gets all", shows="only the first")
@differentiable
def max_first(a, /, axis=None, keepdims=False):
    def vjp(g):
        order = (a == a.max(axis=axis, keepdims=True)).astype(a.dtype)
        flat = order.reshape(-1) if not isinstance(axis, int) else order
        seen = np.cumsum(flat, axis=0 if flat.ndim == 1 else axis).reshape(a.shape)
        return order * (seen == 1) * _wide(g, a, axis)

    return np.asarray(a.max(axis=axis, keepdims=keepdims)), (vjp,)


PLANTED.add("1.4", "ties are counted everywhere", shows="count them along the axis")(
    _max_with(lambda a, largest, axis: (a == largest) / (a == largest).sum())
)
PLANTED.add("1.4", "everybody gets the gradient", shows="every element gets")(
    _max_with(lambda a, largest, axis: np.ones_like(a))
)
PLANTED.add("1.4", "the smallest gets the gradient", shows="smallest")(
    _max_with(lambda a, largest, axis: (a == a.min(axis=axis, keepdims=True)).astype(a.dtype))
)


@PLANTED.add("1.4", "g does not get its lost axis back", shows="it raised|wrong")
@differentiable
def max_without_axis(a, /, axis=None, keepdims=False):
    def vjp(g):
        winners = (a == a.max(axis=axis, keepdims=True)).astype(a.dtype)
        return winners / winners.sum(axis=axis, keepdims=True) * g

    return np.asarray(a.max(axis=axis, keepdims=keepdims)), (vjp,)


@PLANTED.add("1.4", "keepdims is ignored", shows="the shape is")
@differentiable
def max_without_keepdims(a, /, axis=None, keepdims=False):
    def vjp(g):
        winners = (a == a.max(axis=axis, keepdims=True)).astype(a.dtype)
        return winners / winners.sum(axis=axis, keepdims=True) * _wide(g, a, axis)

    return np.asarray(a.max(axis=axis)), (vjp,)


@PLANTED.add("1.4", "g is forgotten", shows="multiply it by g")
@differentiable
def max_without_g(a, /, axis=None, keepdims=False):
    def vjp(g):
        winners = (a == a.max(axis=axis, keepdims=True)).astype(a.dtype)
        return winners / winners.sum(axis=axis, keepdims=True)

    return np.asarray(a.max(axis=axis, keepdims=keepdims)), (vjp,)
