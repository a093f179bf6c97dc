"""Wrong answers to homework 1: softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from minissl.autograd.tensor import differentiable
from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 1.5 softmax ---------------------------------------------------------------------------------


def _softmax_rule(c, axis):
    return (lambda g: c * (g - (g * c).sum(axis=axis, keepdims=True)),)


def _shares(a, axis):
    e = np.exp(a - a.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _softmax_with(rule: Any) -> Any:
    """softmax, with the gradient that ``rule(c, g, axis)`` says."""

    @differentiable
    def softmax(a, /, axis=-1):
        c = _shares(a, axis)
        return c, (lambda g: rule(c, g, axis),)

    return softmax


@PLANTED.add("1.5", "the maximum is not subtracted", shows="subtract the largest")
@differentiable
def softmax_without_maximum(a, /, axis=-1):
    e = np.exp(a)
    c = e / e.sum(axis=axis, keepdims=True)
    return c, _softmax_rule(c, axis)


@PLANTED.add("1.5", "one maximum for all rows", shows="each row's own")
@differentiable
def softmax_one_maximum(a, /, axis=-1):
    e = np.exp(a - a.max())
    c = e / e.sum(axis=axis, keepdims=True)
    return c, _softmax_rule(c, axis)


@PLANTED.add("1.5", "something is added to the sum", shows="NaN|values are wrong")
@differentiable
def softmax_with_epsilon(a, /, axis=-1):
    e = np.exp(a)
    c = e / (e.sum(axis=axis, keepdims=True) + 1e-6)
    return c, _softmax_rule(c, axis)


@PLANTED.add("1.5", "axis is ignored", shows="along another axis")
@differentiable
def softmax_last_axis(a, /, axis=-1):
    c = _shares(a, -1)
    return c, _softmax_rule(c, -1)


@PLANTED.add("1.5", "normalised over everything", shows="over all elements")
@differentiable
def softmax_of_everything(a, /, axis=-1):
    e = np.exp(a - a.max())
    c = e / e.sum()
    return c, (lambda g: c * (g - (g * c).sum()),)


PLANTED.add("1.5", "every logit alone", shows="own logit alone")(
    _softmax_with(lambda c, g, axis: g * c * (1 - c))
)
PLANTED.add("1.5", "the second term is missing", shows="second term is missing")(
    _softmax_with(lambda c, g, axis: g * c)
)
PLANTED.add("1.5", "a gradient of zero", shows="gradient is zero")(
    _softmax_with(lambda c, g, axis: g * 0)
)
PLANTED.add("1.5", "the sum is of g", shows="not of g")(
    _softmax_with(lambda c, g, axis: c * (g - g.sum(axis=axis, keepdims=True)))
)
PLANTED.add("1.5", "the rule sums over all axes", shows="not along the axis")(
    _softmax_with(lambda c, g, axis: c * (g - (g * c).sum()))
)
PLANTED.add("1.5", "the mean in the rule", shows="mean was taken")(
    _softmax_with(lambda c, g, axis: c * (g - (g * c).mean(axis=axis, keepdims=True)))
)


@PLANTED.add("1.5", "float64 inside", shows="dtype|float64")
@differentiable
def softmax_in_float64(a, /, axis=-1):
    c = _shares(a.astype(np.float64), axis)
    return c, _softmax_rule(c, axis)
