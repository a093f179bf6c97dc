"""Homework 1, the rules: division, matrix product, maximum, softmax.

Oracles: NumPy in float64 and the formulas, written out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments.hw1_uses import summed
from minissl.homework.task import Draw, Task, Wrong, call, expect

HERE = "lectures/02, section 2"

divide = Task("1.1", "minissl.autograd.elementwise:divide", "a first rule", HERE)
matmul = Task("1.3", "minissl.autograd.matrices:_matmul", "the rule of the matrix product", HERE)
max = Task("1.4", "minissl.autograd.reductions:max", "the maximum, and who wins a tie", HERE)
softmax = Task("1.5", "minissl.autograd.reductions:softmax", "softmax, without overflow", HERE)


def value(operation: Any, *arrays: NDArray, **settings: Any) -> NDArray:
    """The output of an operation, as an array."""
    output = call(operation, *(Tensor(a) for a in arrays), **settings)
    if not isinstance(output, Tensor):
        sentence = "it gives no Tensor: is @differentiable still above it?"
        raise Wrong(sentence, {f"argument {i + 1}": a for i, a in enumerate(arrays)}, output, "")
    return output.numpy()


def gradients(operation: Any, arrays: Sequence[NDArray], g: NDArray, **settings: Any) -> Any:
    """The gradients of all inputs, for the gradient ``g`` of the output."""
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    given = {f"argument {i + 1}": a for i, a in enumerate(arrays)} | {"g": g}
    output = call(operation, *tensors, **settings)
    if not isinstance(output, Tensor) or output.shape != g.shape:
        raise Wrong("the output is wrong, so there is no gradient yet", given, output, g.shape)
    call(output.backward, g)
    return [tensor.grad for tensor in tensors]


# ---- 1.1 divide ----------------------------------------------------------------------------------


def _quotients(draw: Draw) -> Any:
    """Pairs a, b of one shape, and g; b is away from 0."""
    for shape in draw.cases((), (2,), (2, 3), more=lambda g: tuple(g.integers(1, 5, size=2))):
        a, b = draw.normal(*shape), draw.normal(*shape)
        yield a, np.sign(b) * (np.abs(b) + 0.5), draw.normal(*shape)


@divide.check(2)
def values(subject: Any, draw: Draw) -> None:
    """a / b, in the dtype of a and b."""
    for dtype in (np.float64, np.float32):
        for a, b, _ in _quotients(draw):
            a, b = np.asarray(a, dtype), np.asarray(b, dtype)
            swapped = {"it divides b by a": b / a}
            expect(value(subject, a, b), a / b, given={"a": a, "b": b}, symptoms=swapped)


@divide.check(2)
def numerator(subject: Any, draw: Draw) -> None:
    """The gradient of a."""
    for a, b, g in _quotients(draw):
        symptoms = {
            "1/b is the slope: multiply it by g": 1 / b + 0 * g,
            "the slope of a / b by a is 1/b, not 1": g,
            "the slope of a / b by a is 1/b, not b": g * b,
            "this is the gradient of b": -g * a / b**2,
        }
        got = gradients(subject, [a, b], g)[0]
        expect(got, g / b, given={"a": a, "b": b, "g": g}, symptoms=symptoms)


@divide.check(2)
def denominator(subject: Any, draw: Draw) -> None:
    """The gradient of b."""
    for a, b, g in _quotients(draw):
        symptoms = {
            "the sign is wrong: a larger b makes a / b smaller (for positive numbers)": g
            * a
            / b**2,
            "the slope is right: multiply it by g": -a / b**2,
            "b must be squared": -g * a / b,
            "the a is missing: the slope of a / b by b is −a / b²": -g / b**2,
            "this is the gradient of a": g / b,
        }
        got = gradients(subject, [a, b], g)[1]
        expect(got, -g * a / b**2, given={"a": a, "b": b, "g": g}, symptoms=symptoms)


@divide.check(2)
def broadcast(subject: Any, draw: Draw) -> None:
    """Shapes that broadcast: the walk back sums for you, the rule answers in g's shape."""
    for left, right in draw.cases(((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2,)), more=_two_shapes):
        a, b = draw.normal(*left), np.abs(draw.normal(*right)) + 0.5
        g = draw.normal(*np.broadcast_shapes(left, right))
        for got, full, like in zip(
            gradients(subject, [a, b], g), (g / b, -g * a / b**2), (a, b), strict=True
        ):
            expect(got, summed(full, like.shape), given={"a": a, "b": b, "g": g})


def _two_shapes(generator: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A shape, and one that broadcasts to it."""
    shape = tuple(int(n) for n in generator.integers(1, 4, size=3))
    smaller = tuple(1 if generator.random() < 0.5 else n for n in shape)
    return shape, smaller[int(generator.integers(0, 3)) :]


# ---- 1.3 the matrix product ----------------------------------------------------------------------


def _matrices(draw: Draw) -> Any:
    """Matrices A (rows, inner), B (inner, columns), and G (rows, columns); square ones first."""
    sizes = draw.cases((2, 2, 2), (1, 2, 3), (2, 3, 4), more=lambda g: tuple(g.integers(1, 6, 3)))
    for rows, inner, columns in sizes:
        yield draw.normal(rows, inner), draw.normal(inner, columns), draw.normal(rows, columns)


@matmul.check(2)
def product(subject: Any, draw: Draw) -> None:
    """The product itself."""
    for a, b, _ in _matrices(draw):
        elementwise = (
            {"* multiplies element by element: the matrix product is @": a * b}
            if (a.shape == b.shape)
            else {}
        )
        expected = np.einsum("ik,kj->ij", a, b)
        expect(value(subject, a, b), expected, given={"A": a, "B": b}, symptoms=elementwise)


@matmul.check(3)
def left(subject: Any, draw: Draw) -> None:
    """The gradient of A, of shape (rows, inner)."""
    for a, b, g in _matrices(draw):
        square = a.shape == b.shape
        symptoms = (
            {
                "B must be transposed": g @ b,
                "the factors stand in the wrong order": b.T @ g,
                "G is multiplied from the right: G Bᵀ, not B G": b @ g,
                "the gradients of A and B are exchanged": a.T @ g,
                "the matrix product is @, not *": g * b,
            }
            if square
            else {}
        )
        got = gradients(subject, [a, b], g)[0]
        expect(got, np.einsum("ij,kj->ik", g, b), given={"A": a, "B": b, "G": g}, symptoms=symptoms)


@matmul.check(3)
def right(subject: Any, draw: Draw) -> None:
    """The gradient of B, of shape (inner, columns)."""
    for a, b, g in _matrices(draw):
        square = a.shape == b.shape
        symptoms = (
            {
                "A must be transposed": a @ g,
                "the factors stand in the wrong order": g @ a.T,
                "A is multiplied from the left: Aᵀ G, not G A": g @ a,
                "this is the gradient of Bᵀ: transpose it": g.T @ a,
                "the gradients of A and B are exchanged": g @ b.T,
                "the matrix product is @, not *": g * a,
            }
            if square
            else {}
        )
        got = gradients(subject, [a, b], g)[1]
        expect(got, np.einsum("ik,ij->kj", a, g), given={"A": a, "B": b, "G": g}, symptoms=symptoms)


@matmul.check(2)
def batches(subject: Any, draw: Draw) -> None:
    """Axes before the last two are batches: only the last two are exchanged by a transpose."""
    batch = draw.cases(((2,), (2,)), ((2,), ()), ((), (3,)), ((2, 1), (1, 3)), more=_two_shapes)
    for left, right in batch:
        a, b = draw.normal(*left, 2, 3), draw.normal(*right, 3, 4)
        g = draw.normal(*np.broadcast_shapes(left, right), 2, 4)
        given = {"A": a, "B": b, "G": g}
        expect(value(subject, a, b), np.einsum("...ik,...kj->...ij", a, b), given=given)
        of_a, of_b = gradients(subject, [a, b], g)
        expect(of_a, summed(np.einsum("...ij,...kj->...ik", g, b), a.shape), given=given)
        expect(of_b, summed(np.einsum("...ik,...ij->...kj", a, g), b.shape), given=given)


# ---- 1.4 max -------------------------------------------------------------------------------------

AXES: tuple[Any, ...] = (None, 0, 1, -1, (0, 1))


def _tables(draw: Draw, *, ties: bool = False) -> Any:
    """Arrays (rows, columns) and an axis; ``ties``: of few different whole numbers."""
    shapes = draw.cases((1, 2), (2, 3), (3, 3), more=lambda g: tuple(g.integers(1, 6, size=2)))
    for shape in shapes:
        for axis in AXES:
            numbers = draw.generator.integers(0, 3, size=shape).astype(float)
            yield numbers if ties else draw.normal(*shape), axis


@max.check(3)
def largest(subject: Any, draw: Draw) -> None:
    """The largest element along each axis, with and without keepdims."""
    a = draw.normal(2, 3)
    expect(value(subject, a), np.asarray(a.max()), given={"a": a})
    for a, axis in _tables(draw):
        for keepdims in (False, True):
            given = {"a": a, "axis": axis, "keepdims": keepdims}
            expected = np.max(a, axis=axis, keepdims=keepdims)
            symptoms = {
                "this is the smallest": np.min(a, axis=axis, keepdims=keepdims),
                "this is the maximum over all axes": np.full_like(expected, a.max()),
                "this is the largest absolute value": np.abs(a).max(axis=axis, keepdims=keepdims),
            }
            got = value(subject, a, axis=axis, keepdims=keepdims)
            expect(got, np.asarray(expected), given=given, symptoms=symptoms)


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


@max.check(4)
def winner_takes_it(subject: Any, draw: Draw) -> None:
    """Without ties the gradient goes to the largest element, along any axis."""
    for a, axis in _tables(draw):
        _expect_shares(subject, a, axis, False, draw)


@max.check(3)
def ties(subject: Any, draw: Draw) -> None:
    """Equal maxima share the gradient equally: max(2, 2, 1) sends (½, ½, 0)."""
    _expect_shares(subject, np.array([2.0, 2.0, 1.0]), 0, False, draw)
    for a, axis in _tables(draw, ties=True):
        _expect_shares(subject, a, axis, False, draw)


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
    symptoms = {
        "the exponentials are not divided by their sum": e,
        "it normalises along another axis": _shares(a, 1 - axis % 2),
        "it normalises over all elements: the sum runs along the axis": e / e.sum(),
        "this is the logarithm of the softmax": np.log(p),
        "the exponential is missing: this divides the logits by their sum": (
            a / a.sum(axis=axis, keepdims=True)
        ),
    }
    got, tolerance = value(subject, a, axis=axis), 1e-9 if a.dtype == np.float64 else 1e-6
    given = {"a": a, "axis": axis}
    expected = p.astype(a.dtype)
    expect(got, expected, given=given, symptoms=symptoms, tolerance=tolerance)


@softmax.check(3)
def probabilities(subject: Any, draw: Draw) -> None:
    """eᵃ / Σ eᵃ along the last axis, in the dtype of a."""
    deep = draw.normal(2, 3, 4)
    for a in _logits(draw):
        _expect_shares_of(subject, a, -1)
        _expect_shares_of(subject, a.astype(np.float32), -1)
    expect(value(subject, deep), _shares(deep, -1), given={"a": deep})  # axis is the last one


@softmax.check(2)
def other_axes(subject: Any, draw: Draw) -> None:
    """The same along axis 0, and its gradient."""
    for a in _logits(draw):
        _expect_shares_of(subject, a, 0)
        _expect_softmax_gradient(subject, a, draw.normal(*a.shape), 0)


@softmax.check(4)
def large_logits(subject: Any, draw: Draw) -> None:
    """Logits of 1000 and −1000, of one row and of different rows, and −∞ for what is masked."""
    low = -np.inf
    fixed = ([[1000.0, 1000.0]], [[-1000.0, -1001.0]], [[0.0, low]], [[0.0, 1.0], [1000.0, 999.0]])
    more = [(draw.normal(3, 4) * 1000).tolist() for _ in range(draw.extra)]
    for rows in (*fixed, *more):
        a = np.array(rows)
        got, p = value(subject, a, axis=-1), _shares(a, -1)
        if got.shape == p.shape and not np.isfinite(got).all():
            sentence = "NaN or infinity: subtract the largest logit before the exponential"
            if len(rows) > 1:
                sentence = "NaN: subtract each row's own largest logit, not one for all rows"
            raise Wrong(sentence, {"a": a}, got, p)
        expect(got, p, given={"a": a})


def _expect_softmax_gradient(subject: Any, a: NDArray, g: NDArray, axis: int) -> None:
    p = _shares(a, axis)
    symptoms = {
        "the gradient is zero": 0 * p,
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


@softmax.check(3)
def coupling(subject: Any, draw: Draw) -> None:
    """The gradient c (g − Σ g c), in which every probability depends on every logit."""
    by_hand = np.array([[0.0, np.log(3.0)]])  # c = (¼, ¾)
    _expect_softmax_gradient(subject, by_hand, np.array([[1.0, 0.0]]), -1)
    for a in _logits(draw):
        _expect_softmax_gradient(subject, a, draw.normal(*a.shape), -1)
