"""Homework 1, the check of a rule: it must accept right gradients and refuse wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor, differentiable
from minissl.homework.guard import ENGINE
from minissl.homework.task import Draw, Task, Wrong, expect_error, unwritten

gradcheck = Task(
    "1.9",
    "minissl.autograd.gradcheck:gradcheck",
    "a check that can fail",
    "lecture 02, section 6",
    hides=("_check_input",),
    allows=(*ENGINE, "minissl.autograd.rows:Rows", "Rows.*"),
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
def _not_a_number(a, /):
    return np.sin(a), (lambda g: g * np.nan,)


@differentiable
def _slightly_steep(a, /):
    """One part in 10,000 too steep: between two tolerances."""
    return 2 * a, (lambda g: 2.0002 * g,)


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
    ("sin with NaN for its slope: a comparison with NaN is never true", _not_a_number, (2,)),
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
    ("a constant, whose slope is 0: 0 / 0 is no error", lambda x: ops.softmax(x), ((3, 1),)),
]


def _verdict(subject: Any, name: str, function: Any, arrays: list[NDArray], **options: Any) -> str:
    """ "accepted", or why it was refused. Raises Wrong for any other exception."""
    given = {"function": name, **{f"input {i}": a for i, a in enumerate(arrays)}}
    before = [a.copy() if isinstance(a, np.ndarray) else a for a in arrays]
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
    if any(isinstance(b, np.ndarray) and not np.array_equal(a, b) for a, b in zip(arrays, before)):
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


@gradcheck.check(2)
def accepts_what_is_right(subject: Any, draw: Draw) -> None:
    """Right rules pass, whatever the size of their values."""
    for name, function, shapes in RIGHT:
        for scale in (1.0, 1e-6, 1e6):
            arrays = [draw.normal(*shape) for shape in shapes]
            scaled = f"{scale:g} ({name})" if scale != 1 else name
            _expect(subject, True, scaled, lambda *x: function(*x) * scale, arrays)  # noqa: B023
    for _ in range(draw.extra):
        seed = int(draw.generator.integers(1000))
        _expect(
            subject, True, "softmax(x)", lambda a: ops.softmax(a), [draw.normal(3, 4)], seed=seed
        )
    table, indices = draw.normal(3, 2), np.array([2, 0, 2])
    looked_up = "rows of a table, looked up"
    _expect(subject, True, looked_up, lambda a, i: ops.take(a, i), [table, indices])


@gradcheck.check(3)
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


@gradcheck.check(1)
def every_input(subject: Any, draw: Draw) -> None:
    """A product whose second rule is wrong; integers among the inputs are left alone."""
    name = "a product with the rule of its second input wrong"
    _expect(
        subject, False, name, lambda a, b: _second_input(a, b), [draw.normal(2), draw.normal(2)]
    )
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


def _points(subject: Any, **options: Any) -> list[NDArray]:
    """Where a function of one input is evaluated by a check with these options."""
    seen: list[NDArray] = []

    def noting(x: Tensor) -> Tensor:
        seen.append(x.numpy().copy())
        return ops.exp(x)

    _expect(subject, True, "exp x", noting, [np.zeros(3)], **options)
    return seen


@gradcheck.check(2)
def options(subject: Any, draw: Draw) -> None:
    """seed, step, directions and tolerance do what the docstring says."""
    seed = int(draw.generator.integers(1000))
    first, again, other = (_points(subject, seed=s) for s in (seed, seed, seed + 1))
    given = {"function": "exp x", "input 0": np.zeros(3), "seed": seed}
    if len(first) != len(again) or not np.array_equal(first, again):
        sentence = "the same seed gives other directions: draw from np.random.default_rng(seed)"
        raise Wrong(sentence, given, again, first)
    if len(first) == len(other) and np.array_equal(first, other):
        raise Wrong("another seed gives the same directions: hand it on", given, other, first)
    few, many = (len(_points(subject, directions=n)) for n in (1, 6))
    if many < 2 * few:
        sentence = "directions is not handed on: six need more calls of the function than one"
        raise Wrong(sentence, {"function": "exp x"}, f"{many} calls", f"{few} calls for one")
    near, far = (
        float(np.max(np.abs(_points(subject, step=step, directions=1)))) for step in (1e-4, 1e-3)
    )
    if not 5 < far / near < 20:
        sentence = "step is not handed on: ten times the step goes ten times as far"
        raise Wrong(sentence, {"function": "exp x", "step": "1e-4, then 1e-3"}, far, 10 * near)
    name = "2 x, whose rule is wrong by one part in 10,000"
    for tolerance, accepted in ((1e-6, False), (1e-2, True)):
        options = {"tolerance": tolerance, "seed": seed}
        try:
            _expect(
                subject, accepted, name, lambda a: _slightly_steep(a), [draw.normal(3)], **options
            )
        except Wrong as wrong:
            sentence = f"with tolerance={tolerance:g} {wrong.symptom}"
            raise Wrong(sentence, wrong.given, wrong.got, wrong.expected) from wrong


class _Failure(Exception):
    """What a function of the caller's may raise."""


@gradcheck.check(2)
def what_it_is_given(subject: Any, draw: Draw) -> None:
    """TypeError for float32, and without any floating input; Tensors are inputs as well."""
    expect_error(TypeError, subject, lambda a: ops.exp(a), [draw.normal(2, dtype=np.float32)])
    mixed = [draw.normal(2), draw.normal(2, dtype=np.float32)]
    expect_error(TypeError, subject, lambda a, b: a + b.astype(np.float64), mixed)
    expect_error(TypeError, subject, lambda i: Tensor(i.numpy() * 1.0), [np.array([1, 2])])
    for needs in (False, True):
        x = Tensor(draw.normal(2), requires_grad=needs)
        _expect(
            subject, True, f"exp x of a Tensor, requires_grad={needs}", lambda a: ops.exp(a), [x]
        )
        if x.grad is not None:
            sentence = "it leaves a gradient in the caller's Tensors: work on Tensors of your own"
            raise Wrong(sentence, {"input 0": x}, x.grad, None)

    def fails(x: Tensor) -> Tensor:
        raise _Failure("this function cannot be computed")

    try:
        subject(fails, [draw.normal(2)])
    except _Failure:
        return
    except Exception as error:
        sentence = f"a function that fails raises its own error, not {type(error).__name__}"
        raise Wrong(sentence, {}, type(error).__name__, "the function's own error") from error
    raise Wrong("a function that raises an error is accepted", {}, "accepted", "its error")
