"""Homework 1, the check of a rule: it must accept right gradients and refuse wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor, differentiable
from minissl.homework.task import Draw, Task, Wrong, expect_error, unwritten

gradcheck = Task(
    "1.9",
    "minissl.autograd.gradcheck:gradcheck",
    "a check that can fail",
    "lectures/02, section 6",
    hides=("_check_input",),
)


# ---- rules with a mistake ------------------------------------------------------------------------


@differentiable
def _softmax_zero(a, /):
    return _shares(a), (lambda g: g * 0,)


@differentiable
def _softmax_uncoupled(a, /):
    c = _shares(a)
    return c, (lambda g: g * c * (1 - c),)


@differentiable
def _centered_uncoupled(a, /):
    """Subtract the mean; the rule forgets that the mean moves as well."""
    return a - a.mean(), (lambda g: g,)


@differentiable
def _transposed(a, /):
    """Cyclic: the rule uses the permutation again, not its inverse."""
    return a.transpose(1, 2, 0), (lambda g: g.transpose(1, 2, 0),)


@differentiable
def _too_steep(a, /):
    c = np.exp(a)
    return c, (lambda g: 1.005 * g * c,)


@differentiable
def _one_element(a, /):
    slope = 2 * a
    slope.flat[-1] *= 1.01
    return a * a, (lambda g: g * slope,)


@differentiable
def _sign(a, /):
    return np.sin(a), (lambda g: -g * np.cos(a),)


@differentiable
def _second_input(a, b, /):
    """The product, with the rule of b wrong."""
    return a * b, (lambda g: g * b, lambda g: g * b)


def _shares(a: NDArray) -> NDArray:
    e = np.exp(a)
    return e / e.sum(axis=-1, keepdims=True)


WRONG: list[tuple[str, Callable[..., Tensor], tuple[int, ...]]] = [
    ("sin with the sign of its slope wrong", _sign, (2,)),
    ("exp half a per cent too steep", _too_steep, (2, 2)),
    ("a softmax whose gradient is always zero (its sum never changes)", _softmax_zero, (2, 3)),
    ("a softmax whose probabilities see only their own logit", _softmax_uncoupled, (2, 3)),
    ("x − mean(x) with the slope of x (the sum never changes)", _centered_uncoupled, (4,)),
    ("a permutation of axes instead of its inverse", _transposed, (2, 2, 2)),
    ("a² with one element one per cent wrong", _one_element, (2, 3)),
    ("a result that left the graph", lambda a: Tensor(a.numpy() * 2) + 0 * a, (2,)),
]
RIGHT: list[tuple[str, Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = [
    ("3 x", lambda x: 3 * x, ((2,),)),
    ("exp x", ops.exp, ((2, 3),)),
    ("softmax(x)", ops.softmax, ((2, 3),)),
    ("x² y", lambda x, y: x * x * y, ((2, 3), (3,))),
    ("A B", ops.matmul, ((2, 3), (3, 2))),
    ("the sum of sin-like tanh(x), a number", lambda x: ops.sum(ops.tanh(x)), ((3,),)),
    ("x³ of a number", lambda x: x**3, ((),)),
]


def _verdict(subject: Any, name: str, function: Any, arrays: list[NDArray], **options: Any) -> str:
    """ "accepted", or why it was refused. Raises Wrong for any other exception."""
    given = {"function": name, **{f"input {i}": a for i, a in enumerate(arrays)}}
    before = [a.copy() for a in arrays]
    try:
        subject(function, arrays, **options)
        verdict = "accepted"
    except AssertionError as error:
        verdict = f"refused: {error}"
    except Exception as error:
        if unwritten(error):
            raise
        sentence = f"it raised {type(error).__name__}: {error}"
        raise Wrong(sentence, given, type(error).__name__, "AssertionError, or nothing") from error
    if not all(np.array_equal(a, b) for a, b in zip(arrays, before)):
        raise Wrong("it changed its inputs: step on a copy", given, arrays, before)
    return verdict


def _expect(
    subject: Any, accepted: bool, name: str, function: Any, arrays: Any, **options: Any
) -> None:
    verdict = _verdict(subject, name, function, arrays, **options)
    if (verdict == "accepted") == accepted:
        return
    given = {"function": name, **{f"input {i}": a for i, a in enumerate(arrays)}}
    sentence = f"it refuses a right gradient: {name}" if accepted else f"it accepts {name}"
    raise Wrong(sentence, given, verdict, "accepted" if accepted else "AssertionError")


@gradcheck.check(3)
def accepts_what_is_right(subject: Any, draw: Draw) -> None:
    """Right rules pass, whatever the size of their values."""
    for name, function, shapes in RIGHT:
        for scale in (1.0, 1e-6, 1e6):
            arrays = [draw.normal(*shape) for shape in shapes]
            scaled = f"{scale:g} ({name})" if scale != 1 else name
            _expect(subject, True, scaled, lambda *x: function(*x) * scale, arrays)  # noqa: B023
    for _ in range(draw.extra):
        seed = int(draw.generator.integers(1000))
        _expect(subject, True, "softmax(x)", ops.softmax, [draw.normal(3, 4)], seed=seed)
    table, indices = draw.normal(3, 2), np.array([2, 0, 2])
    _expect(subject, True, "rows of a table, looked up", ops.take, [table, indices])


@gradcheck.check(5)
def refuses_what_is_wrong(subject: Any, draw: Draw) -> None:
    """Wrong rules raise AssertionError, with every seed, whatever the size of their values."""
    for name, function, shape in WRONG:
        for scale in (1.0, 1e-6):
            for _ in range(2 + draw.extra):
                seed = int(draw.generator.integers(1000))
                scaled = f"{scale:g} times {name}" if scale != 1 else name
                _expect(
                    subject,
                    False,
                    scaled,
                    lambda x: function(x) * scale,  # noqa: B023
                    [draw.normal(*shape)],
                    seed=seed,
                )


@gradcheck.check(2)
def every_input(subject: Any, draw: Draw) -> None:
    """A product whose second rule is wrong; integers among the inputs are left alone."""
    name = "a product with the rule of its second input wrong"
    _expect(subject, False, name, _second_input, [draw.normal(2), draw.normal(2)])
    swapped = "a product with the rule of its first input wrong"
    _expect(
        subject, False, swapped, lambda b, a: _second_input(a, b), [draw.normal(2), draw.normal(2)]
    )
    indices = np.array([0, 1])
    later = "a product with its third input's rule wrong, beside integers"
    _expect(
        subject,
        False,
        later,
        lambda i, a, b: _second_input(a, b),
        [indices, draw.normal(2), draw.normal(2)],
    )


@gradcheck.check(2)
def float32(subject: Any, draw: Draw) -> None:
    """float32 inputs, and inputs without any number to step on, raise TypeError."""
    expect_error(TypeError, subject, ops.exp, [draw.normal(2, dtype=np.float32)])
    mixed = [draw.normal(2), draw.normal(2, dtype=np.float32)]
    expect_error(TypeError, subject, lambda a, b: a + b.astype(np.float64), mixed)
    expect_error(TypeError, subject, lambda i: Tensor(i.numpy() * 1.0), [np.array([1, 2])])
