"""Homework 1, the rules: division and the matrix product.

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

HERE = "lecture 02, section 2"

divide = Task("1.1", "minissl.autograd.elementwise:divide", "a first rule", HERE)
matmul = Task("1.3", "minissl.autograd.matrices:_matmul", "the rule of the matrix product", HERE)


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
    before = output.numpy().copy()
    call(output.backward, g)
    if not np.array_equal(output.numpy(), before, equal_nan=True):
        sentence = "the rule changes the output of its operation, which others may still need"
        raise Wrong(sentence, given, output, before)
    return [tensor.grad for tensor in tensors]


def expect_own_rules(
    operation: Any, first: Sequence[NDArray], then: Sequence[NDArray], g: NDArray, **settings: Any
) -> None:
    """The gradients of the ``first`` inputs are the same when others are given in between.

    A network calls an operation many times before it walks back.
    """
    alone = gradients(operation, first, g, **settings)
    tensors = [Tensor(a, requires_grad=True) for a in first]
    output = call(operation, *tensors, **settings)
    call(operation, *(Tensor(a, requires_grad=True) for a in then), **settings)
    output.backward(g)
    given = {f"argument {i + 1}": a for i, a in enumerate(first)}
    given |= {f"argument {i + 1} of the second call": a for i, a in enumerate(then)} | {"g": g}
    for tensor, expected in zip(tensors, alone):
        if tensor.grad is None or not np.array_equal(tensor.grad, expected):
            sentence = (
                "a second call of the operation changes the gradients of the first: what a rule "
                "needs it must keep for itself"
            )
            raise Wrong(sentence, given, tensor.grad, expected)


# ---- 1.1 divide ----------------------------------------------------------------------------------


def _quotients(draw: Draw, sizes: Sequence[float] = (1.0,)) -> Any:
    """Pairs a, b of one shape, and g; b is away from 0, and of these sizes one after another."""
    for size in sizes:
        for shape in draw.cases((), (2,), (2, 3), more=lambda g: tuple(g.integers(1, 5, size=2))):
            a, b = draw.normal(*shape), draw.normal(*shape)
            yield a, size * np.sign(b) * (np.abs(b) + 0.5), draw.normal(*shape)


_SIZES = {1e-4: "small", 1e4: "large"}  # differences with a step of their own see neither


def _expect_slope(subject: Any, which: int, slope: Any, mistakes: Any, draw: Draw) -> None:
    """The gradient of one input is g times its slope, for numbers of ordinary and other sizes."""
    for a, b, g in _quotients(draw):
        symptoms = {sentence: np.asarray(wrong) for sentence, wrong in mistakes(a, b, g).items()}
        got = gradients(subject, [a, b], g)[which]
        expect(got, g * slope(a, b), given={"a": a, "b": b, "g": g}, symptoms=symptoms)
    for a, b, g in _quotients(draw, [*_SIZES]):
        got = gradients(subject, [a, b], g)[which]
        sentence = "right for numbers near 1, wrong for small or large b: is this the exact slope?"
        expect(got, g * slope(a, b), given={"a": a, "b": b, "g": g}, otherwise=sentence)
    a, b, g = draw.normal(3, 2), np.abs(draw.normal(3, 2)) + 0.5, draw.normal(2)
    expect_own_rules(subject, [a[0], b[0]], [a[1], b[1]], g)


@divide.check(2)
def values(subject: Any, draw: Draw) -> None:
    """a / b, in the dtype of a and b."""
    for dtype in (np.float64, np.float32):
        for a, b, _ in _quotients(draw):
            a, b = np.asarray(a, dtype), np.asarray(b, dtype)
            symptoms = {
                "it divides b by a": b / a,
                "something is added to b: a / b is meant": a / (b + np.asarray(1e-8, dtype)),
                "the sign of b is lost": a / np.abs(b),
            }
            expect(value(subject, a, b), a / b, given={"a": a, "b": b}, symptoms=symptoms)
    a, b = draw.normal(2) + 3, np.array([0.0, 2.0])
    got = value(subject, a, b)
    if got.shape == b.shape and not np.isinf(got[0]):
        sentence = "a / 0 is infinite: a zero in its place hides that something went wrong"
        raise Wrong(sentence, {"a": a, "b": b}, got, a / b)
    expect(got, a / b, given={"a": a, "b": b})


@divide.check(2)
def numerator(subject: Any, draw: Draw) -> None:
    """The gradient of a."""

    def mistakes(a: NDArray, b: NDArray, g: NDArray) -> dict[str, NDArray]:
        return {
            "1/b is the slope: multiply it by g": 1 / b + 0 * g,
            "the slope of a / b by a is 1/b, not 1": g,
            "the slope of a / b by a is 1/b, not b": g * b,
            "the sign of b is lost": g / np.abs(b),
            "something is added to b: the slope is 1/b": g / (b + 1e-8),
            "this is the gradient of b": -g * a / b**2,
        }

    _expect_slope(subject, 0, lambda a, b: 1 / b, mistakes, draw)


@divide.check(2)
def denominator(subject: Any, draw: Draw) -> None:
    """The gradient of b."""

    def mistakes(a: NDArray, b: NDArray, g: NDArray) -> dict[str, NDArray]:
        return {
            "the sign is wrong: a larger b makes a / b smaller (for positive numbers)": (
                g * a / b**2
            ),
            "the slope is right: multiply it by g": -a / b**2,
            "b must be squared": -g * a / b,
            "the a is missing: the slope of a / b by b is −a / b²": -g / b**2,
            "the sign of b is lost": -g * a / (b * np.abs(b)),
            "something is added to b: the slope is −a / b²": -g * a / (b + 1e-8) ** 2,
            "this is the gradient of a": g / b,
        }

    _expect_slope(subject, 1, lambda a, b: -a / b**2, mistakes, draw)


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
    yield draw.normal(3, 2).T, draw.normal(4, 3).T, draw.normal(2, 4)  # columns lie together


def _of_shape(expected: NDArray, candidates: dict[str, Any]) -> dict[str, NDArray]:
    """The mistakes that have a shape to be compared; each is a function, some fail."""
    found = {}
    for sentence, compute in candidates.items():
        try:
            wrong = compute()
        except ValueError:
            continue
        if wrong.shape == expected.shape:
            found[sentence] = wrong
    return found


def _turned(x: NDArray) -> NDArray:
    """Reshaped to the shape of the transpose, which is another thing."""
    return x.reshape(x.shape[::-1])


@matmul.check(1)
def product(subject: Any, draw: Draw) -> None:
    """The product itself."""
    for a, b, _ in (*_matrices(draw), (draw.normal(2, 0), draw.normal(0, 3), 0)):
        expected = np.einsum("ik,kj->ij", a, b)
        candidates = {
            "* multiplies element by element: the matrix product is @": lambda: a * b,  # noqa: B023
            "the last column of the product is missing": lambda: (
                expected * (np.arange(expected.shape[1]) < expected.shape[1] - 1)  # noqa: B023
            ),
            "the last element of each sum is missing": lambda: a[:, :-1] @ b[:-1],  # noqa: B023
        }
        symptoms = _of_shape(expected, candidates) if a.size else {}
        expect(value(subject, a, b), expected, given={"A": a, "B": b}, symptoms=symptoms)


def _expect_factor(subject: Any, which: int, rule: str, mistakes: Any, draw: Draw) -> None:
    """The gradient of one of the matrices, by its formula in indices."""
    for a, b, g in _matrices(draw):
        expected = np.einsum(rule, *((g, b) if which == 0 else (a, g)))
        symptoms = _of_shape(expected, mistakes(a, b, g))
        got = gradients(subject, [a, b], g)[which]
        expect(got, expected, given={"A": a, "B": b, "G": g}, symptoms=symptoms)
    a, b, g = draw.normal(2, 2, 3), draw.normal(2, 3, 2), draw.normal(2, 2)
    expect_own_rules(subject, [a[0], b[0]], [a[1], b[1]], g)


@matmul.check(3)
def left(subject: Any, draw: Draw) -> None:
    """The gradient of A, of shape (rows, inner)."""

    def mistakes(a: NDArray, b: NDArray, g: NDArray) -> dict[str, Any]:
        return {
            "B must be transposed (a reshape does not do that)": lambda: g @ _turned(b),
            "the factors stand in the wrong order": lambda: b.T @ g,
            "G is multiplied from the right: G Bᵀ, not B G": lambda: b @ g,
            "the gradients of A and B are exchanged": lambda: a.T @ g,
            "the matrix product is @, not *": lambda: g * b,
        }

    _expect_factor(subject, 0, "ij,kj->ik", mistakes, draw)


@matmul.check(3)
def right(subject: Any, draw: Draw) -> None:
    """The gradient of B, of shape (inner, columns)."""

    def mistakes(a: NDArray, b: NDArray, g: NDArray) -> dict[str, Any]:
        return {
            "A must be transposed (a reshape does not do that)": lambda: _turned(a) @ g,
            "the factors stand in the wrong order": lambda: g @ a.T,
            "A is multiplied from the left: Aᵀ G, not G A": lambda: g @ a,
            "this is the gradient of Bᵀ: transpose it": lambda: g.T @ a,
            "the gradients of A and B are exchanged": lambda: g @ b.T,
            "the matrix product is @, not *": lambda: g * a,
        }

    _expect_factor(subject, 1, "ik,ij->kj", mistakes, draw)


@matmul.check(2)
def batches(subject: Any, draw: Draw) -> None:
    """Axes before the last two are batches: only the last two are exchanged by a transpose."""
    batch = draw.cases(((2,), (2,)), ((2,), ()), ((), (3,)), ((2, 1), (1, 3)), more=_two_shapes)
    for left, right in batch:
        a, b = draw.normal(*left, 2, 3), draw.normal(*right, 3, 4)
        g = draw.normal(*np.broadcast_shapes(left, right), 2, 4)
        _expect_batches(subject, a, b, g)
    a, b, g = (draw.normal(2, 3, 3) for _ in range(3))
    _expect_batches(subject, a, b, g, "matrices that are square are transposed, too")


def _expect_batches(subject: Any, a: NDArray, b: NDArray, g: NDArray, sentence: str = "") -> None:
    given = {"A": a, "B": b, "G": g}
    expect(value(subject, a, b), np.einsum("...ik,...kj->...ij", a, b), given=given)
    of_a, of_b = gradients(subject, [a, b], g)
    expect(
        of_a,
        summed(np.einsum("...ij,...kj->...ik", g, b), a.shape),
        given=given,
        otherwise=sentence,
    )
    expect(
        of_b,
        summed(np.einsum("...ik,...ij->...kj", a, g), b.shape),
        given=given,
        otherwise=sentence,
    )
