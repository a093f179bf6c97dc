"""Homework 1, the rules of reductions: maximum and softmax.

Oracles: NumPy in float64 and the formulas, written out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments.hw1_rules import HERE, expect_own_rules, gradients, value
from minissl.homework.task import Draw, Task, Wrong, expect

max = Task("1.4", "minissl.autograd.reductions:max", "the maximum, and who wins a tie", HERE)
softmax = Task("1.5", "minissl.autograd.reductions:softmax", "softmax, without overflow", HERE)


# ---- 1.4 max -------------------------------------------------------------------------------------

AXES: tuple[Any, ...] = (None, 0, 1, -1, (0, 1))


def _tables(draw: Draw, *, ties: bool = False) -> Any:
    """Arrays of 2 axes, then of 3, and an axis; ``ties``: of few different whole numbers."""
    cases: list[tuple[tuple[int, ...], Any]]
    cases = [(shape, axis) for shape in ((1, 2), (3, 3)) for axis in AXES]
    cases += [((2, 3, 2), axis) for axis in (1, -2, (0, 2), (-1, 0))] + [((4,), 0)]
    for shape, axis in draw.cases(*cases, more=_table):
        numbers = draw.generator.integers(0, 3, size=shape).astype(float)
        yield numbers if ties else draw.normal(*shape), axis


def _table(generator: np.random.Generator) -> tuple[tuple[int, ...], Any]:
    return tuple(generator.integers(1, 6, size=2)), AXES[generator.integers(len(AXES))]


@max.check(2)
def largest(subject: Any, draw: Draw) -> None:
    """The largest element along each axis, with and without keepdims; NaN if there is one."""
    for a in (draw.normal(2, 3), np.array([[3, 1], [2, 7]]), -np.abs(draw.normal(2, 2)) - 1):
        initial = {"0 takes part, although it is not in a": np.zeros((), a.dtype)}
        expect(value(subject, a), np.asarray(a.max()), given={"a": a}, symptoms=initial)
    for a, axis in _tables(draw):
        for keepdims in (False, True):
            given = {"a": a, "axis": axis, "keepdims": keepdims}
            expected = np.max(a, axis=axis, keepdims=keepdims)
            symptoms = {
                "this is the smallest": np.min(a, axis=axis, keepdims=keepdims),
                "this is the maximum over all axes": np.full_like(expected, a.max()),
                "this is the largest absolute value": np.abs(a).max(axis=axis, keepdims=keepdims),
                "0 takes part, although it is not in a": np.maximum(expected, 0),
            }
            got = value(subject, a, axis=axis, keepdims=keepdims)
            expect(got, np.asarray(expected), given=given, symptoms=symptoms)
    a = np.array([[np.nan, 1.0, 2.0], [1.0, 0.0, 2.0]])
    expected, given = np.array([np.nan, 2.0]), {"a": a, "axis": 1}
    sentence = "where there is a NaN, the answer is NaN: it must not look like a number"
    expect(value(subject, a, axis=1), expected, given=given, otherwise=sentence)


def _expect_shares(subject: Any, a: NDArray, axis: Any, keepdims: bool, draw: Draw) -> None:
    """The gradient: g to the largest, shared equally where several are."""
    largest = a.max(axis=axis, keepdims=True)
    wide = draw.normal(*largest.shape)  # g, with the lost axes
    g = wide.reshape(np.max(a, axis=axis, keepdims=keepdims).shape)
    winners = (a == largest).astype(float)
    count = winners.sum(axis=axis, keepdims=True)
    along = axis if isinstance(axis, int) else None  # cumsum takes no tuple
    order = winners.cumsum(axis=along).reshape(a.shape)
    symptoms = {
        "each of several equal maxima gets the whole gradient: they must share it": winners * wide,
        "only the first of several equal maxima gets the gradient: they must share it": (
            winners * (order == 1) * wide
        ),
        "only the last of several equal maxima gets the gradient: they must share it": (
            winners * (order == count) * wide
        ),
        "ties are counted in the whole array: count them along the axis": (
            winners / winners.sum() * wide
        ),
        "every element gets the gradient: only the largest should": np.broadcast_to(wide, a.shape),
        "the slope is right: multiply it by g": winners / count,
        "the gradient is that of the smallest element": wide
        * (a == a.min(axis=axis, keepdims=True)),
    }
    given = {"a": a, "axis": axis, "keepdims": keepdims, "g": g}
    got = gradients(subject, [a], g, axis=axis, keepdims=keepdims)[0]
    expect(got, winners / count * wide, given=given, symptoms=symptoms)


@max.check(3)
def winner_takes_it(subject: Any, draw: Draw) -> None:
    """Without ties the gradient goes to the largest element, along any axis."""
    for a, axis in _tables(draw):
        _expect_shares(subject, a, axis, False, draw)
    g = draw.normal()
    a = g + np.array([1.0, 1.0 + 1e-9, 0.0])
    sentence = "what is nearly the maximum gets a share: only equal maxima share"
    got = gradients(subject, [a], g, axis=0)[0]
    expect(got, np.array([0, g, 0]), given={"a": a, "g": g}, otherwise=sentence)
    a, b, g = draw.normal(2, 3), -draw.normal(2, 3), draw.normal(2)
    expect_own_rules(subject, [a], [np.sort(b)], g, axis=1)
    expect_own_rules(subject, [a], [-a], g, axis=1)


@max.check(3)
def ties(subject: Any, draw: Draw) -> None:
    """Equal maxima share the gradient equally: max(2, 2, 1) sends (½, ½, 0)."""
    one, g = np.array([2.0, 2.0, 1.0, 2.0]), draw.normal()
    tries = [gradients(subject, [one], g, axis=0)[0] for _ in range(8)]
    if any(not np.array_equal(again, tries[0], equal_nan=True) for again in tries):
        sentence = "the same input gets another gradient with each call: nothing may be drawn"
        raise Wrong(sentence, {"a": one, "g": g}, tries, g * (one == 2) / 3)
    _expect_shares(subject, np.array([2.0, 2.0, 1.0]), 0, False, draw)
    for a, axis in _tables(draw, ties=True):
        _expect_shares(subject, a, axis, False, draw)
    low = np.array([[-np.inf, -np.inf], [np.inf, 0.0]])  # all is masked; nothing is larger
    given, wide = {"a": low, "axis": 1}, draw.normal(2)
    got = gradients(subject, [low], wide, axis=1)[0]
    expected = wide[:, None] * np.array([[0.5, 0.5], [1.0, 0.0]])
    sentence = "infinities are numbers that can be equal: compare them, ∞ − ∞ is NaN"
    if got.shape == expected.shape and not np.isfinite(got).all():
        raise Wrong(sentence, given | {"g": wide}, got, expected)
    expect(got, expected, given=given | {"g": wide}, otherwise=sentence)


@max.check(2)
def kept_axes(subject: Any, draw: Draw) -> None:
    """The gradient with keepdims, where g has the reduced axes, of size 1."""
    for a, axis in _tables(draw):
        _expect_shares(subject, a, axis, True, draw)


# ---- 1.5 softmax ---------------------------------------------------------------------------------


def _shares(a: NDArray, axis: int) -> NDArray:
    e = np.exp(a.astype(np.float64) - a.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _logits(draw: Draw) -> Any:
    shapes = draw.cases((1, 2), (2, 2), (2, 3), more=lambda g: tuple(g.integers(1, 6, size=2)))
    return (draw.normal(*shape) for shape in shapes)


def _expect_shares_of(subject: Any, a: NDArray, axis: int) -> None:
    p, e = _shares(a, axis), np.exp(a.astype(np.float64))
    got = value(subject, a, axis=axis)
    others = [_shares(a, k).astype(a.dtype) for k in range(a.ndim) if k != axis % a.ndim]
    taken = [k for k, other in enumerate(others) if np.array_equal(got.shape, a.shape)
             and np.allclose(got, other, rtol=1e-5)]  # fmt: skip
    symptoms = {
        "the exponentials are not divided by their sum": e,
        "it normalises along another axis": others[taken[0] if taken else 0],
        "it normalises over all elements: the sum runs along the axis": e / e.sum(),
        "this is the logarithm of the softmax": np.log(p),
        "powers of 2 are taken: powers of e are meant": _shares(a * np.log(2), axis),
        "the exponential is missing: this divides the logits by their sum": (
            a / a.sum(axis=axis, keepdims=True)
        ),
    }
    symptoms = {sentence: wrong.astype(a.dtype) for sentence, wrong in symptoms.items()}
    given = {"a": a, "axis": axis}
    expect(got, p.astype(a.dtype), given=given, symptoms=symptoms)


@softmax.check(2)
def probabilities(subject: Any, draw: Draw) -> None:
    """eᵃ / Σ eᵃ along the last axis, in the dtype of a."""
    deep = draw.normal(2, 3, 4)
    for a in _logits(draw):
        _expect_shares_of(subject, a, -1)
        _expect_shares_of(subject, a.astype(np.float32), -1)
    expect(value(subject, deep), _shares(deep, -1), given={"a": deep})  # axis is the last one


@softmax.check(2)
def other_axes(subject: Any, draw: Draw) -> None:
    """The same along any other axis, and its gradient."""
    for a in _logits(draw):
        _expect_shares_of(subject, a, 0)
        _expect_softmax_gradient(subject, a, draw.normal(*a.shape), 0)
    for axis in (0, 1, -2, 2):
        a = draw.normal(2, 3, 4)
        _expect_shares_of(subject, a, axis)
        _expect_softmax_gradient(subject, a, draw.normal(*a.shape), axis)


@softmax.check(3)
def large_logits(subject: Any, draw: Draw) -> None:
    """Logits of 1000 and −1000, of one row and of different rows, and −∞ for what is masked."""
    low = -np.inf
    fixed = ([[1000.0, 1000.0]], [[-1000.0, -1001.0]], [[0.0, low]], [[0.0, 1.0], [1000.0, 999.0]])
    more = [(draw.normal(3, 4) * 1000).tolist() for _ in range(draw.extra)]
    spread = [[1000.0, -1000.0, -1000.0]]
    for rows in (*fixed, spread, *more):
        a = np.array(rows)
        for b in (a, a.astype(np.float32), (0.1 * a).astype(np.float32)):
            _expect_finite(subject, b)
    a = np.array([[0.0, -40.0 - abs(float(draw.normal()))]])
    got, p = value(subject, a, axis=-1), _shares(a, -1)
    if got.shape == p.shape and not np.isclose(got[0, 1], p[0, 1], rtol=1e-6, atol=0):
        sentence = "a small probability is not small enough: clip neither logits nor probabilities"
        raise Wrong(sentence, {"a": a}, got[0, 1], p[0, 1])


def _expect_finite(subject: Any, a: NDArray) -> None:
    """Values and gradients of large logits, along the last axis."""
    got, p = value(subject, a, axis=-1), _shares(a, -1)
    if got.shape == p.shape and not np.isfinite(got).all():
        shift = np.where(np.isfinite(a), a, 0).mean(axis=-1, keepdims=True)
        middle = np.isfinite(np.exp(a - shift)).all(axis=-1)
        sentence = "NaN or infinity: subtract the largest logit before the exponential"
        if np.array_equal(middle, np.isfinite(got).all(axis=-1)) and not middle.all():
            sentence += " (this looks as if it were their mean)"
        elif len(a) > 1:
            sentence = "NaN: subtract each row's own largest logit, not one for all rows"
        raise Wrong(sentence, {"a": a}, got, p)
    expect(got, p.astype(a.dtype), given={"a": a})
    g = np.cos(np.arange(a.size).reshape(a.shape)).astype(a.dtype)
    slopes = gradients(subject, [a], g, axis=-1)[0]
    expected = (p * (g - (g * p).sum(axis=-1, keepdims=True))).astype(a.dtype)
    if slopes.shape == expected.shape and not np.isfinite(slopes).all():
        sentence = "the gradient is NaN: the rule needs an exponential that cannot overflow, too"
        raise Wrong(sentence, {"a": a, "g": g}, slopes, expected)
    apart = np.abs(slopes.astype(np.float64) - expected)
    if slopes.shape == expected.shape and apart.max() > (1e-9 if a.dtype == np.float64 else 1e-5):
        expect(slopes, expected, given={"a": a, "g": g})


def _expect_softmax_gradient(subject: Any, a: NDArray, g: NDArray, axis: int) -> None:
    p = _shares(a, axis)
    symptoms = {
        "the gradient is zero": 0 * p,
        "the Jacobian of the first row is used for each row": _of_first_row(p, g, axis),
        "each probability as if it depended on its own logit alone: the sum is missing": (
            g * p * (1 - p)
        ),
        "the second term is missing: raising one logit lowers all other probabilities": g * p,
        "the sum is of g c, not of g": p * (g - g.sum(axis=axis, keepdims=True)),
        "the sum runs over all elements, not along the axis": p * (g - (g * p).sum()),
        "the sign of the second term is wrong": p * (g + (g * p).sum(axis=axis, keepdims=True)),
        "the factor c is missing": g - (g * p).sum(axis=axis, keepdims=True),
        "this is the rule of log-softmax": g - p * g.sum(axis=axis, keepdims=True),
        "the mean was taken where the sum is needed": (
            p * (g - (g * p).mean(axis=axis, keepdims=True))
        ),
    }
    expected = p * (g - (g * p).sum(axis=axis, keepdims=True))
    given = {"a": a, "axis": axis, "g": g}
    got = gradients(subject, [a], g, axis=axis)[0]
    expect(got, expected, given=given, symptoms={} if a.shape[axis] == 1 else symptoms)


def _of_first_row(p: NDArray, g: NDArray, axis: int) -> NDArray:
    rows, h = np.moveaxis(p, axis, -1), np.moveaxis(g, axis, -1)
    first = rows.reshape(-1, rows.shape[-1])[0]
    return np.moveaxis(first * (h - (h * first).sum(axis=-1, keepdims=True)), -1, axis)


@softmax.check(3)
def coupling(subject: Any, draw: Draw) -> None:
    """The gradient c (g − Σ g c), in which every probability depends on every logit."""
    by_hand = np.array([[0.0, np.log(3.0)]])  # c = (¼, ¾)
    _expect_softmax_gradient(subject, by_hand, np.array([[1.0, 0.0]]), -1)
    for a in _logits(draw):
        _expect_softmax_gradient(subject, a, draw.normal(*a.shape), -1)
    a, b, g = draw.normal(2, 3), draw.normal(2, 3), draw.normal(2, 3)
    expect_own_rules(subject, [a], [b], g)
