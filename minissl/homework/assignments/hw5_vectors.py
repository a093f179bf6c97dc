"""Homework 5, a step of training and what the vectors are good for: tasks 5.10 and 5.11."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.rows import Rows
from minissl.homework.assignments import hw5_oracle as oracle
from minissl.homework.assignments.manners import alike, call_twice
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error
from minissl.nn.module import Parameter

# ---- 5.10 AdaGrad.update -------------------------------------------------------------------------

adagrad = Task(
    "5.10",
    "minissl.optim.adagrad:AdaGrad.update",
    "a step of AdaGrad",
    "lecture 04, section 7",
    hides=("for_each_chunk", "stored", "namespace", "PIECE_BYTES"),
)
Given = Sequence[NDArray | Rows]
OTHER_RATE = 9.0


def _after(subject: Any, start: NDArray, given: Given, lr: float, **options: float) -> NDArray:
    """The parameter after a step with each of the gradients; what is kept has to be right, too.

    A second parameter has gradients of its own, and each step is told its learning rate, which is
    not the one that the optimizer began with.
    """
    parameter, other = Parameter(start.copy()), Parameter(np.ones_like(start))
    array, squares = parameter.array, np.zeros(start.shape)
    optimizer = call(subject, [("other", other), ("table", parameter)], OTHER_RATE, **options)
    for gradient in given:
        parameter.grad, other.grad = copy.deepcopy(gradient), np.full_like(start, 5.0)
        for name, moving in optimizer._about_to_step().items():  # as ``step``, with another rate
            call(lambda one=(name, moving): optimizer.update(*one, lr))
        shown = {"p": start, "gradient": gradient, **options}
        if not alike(np.asarray(parameter.grad), np.asarray(gradient)):
            sentence = "the gradient was changed: only the parameter and the state may be"
            raise Wrong(sentence, shown, parameter.grad, gradient)
        if parameter.array is not array:
            sentence = (
                "parameter.array is changed in place (p -= ..., p[rows] -= ...), not replaced"
            )
            raise Wrong(sentence, shown, "another array", "the same array")
        squares += np.asarray(gradient, np.float64) ** 2
        kept = optimizer.state["sum_of_squares"].get("table")
        if kept is None or not np.allclose(kept, squares, rtol=1e-5):
            _check_kept(kept, squares, optimizer, shown)
    return array


def _check_kept(kept: Any, squares: NDArray, optimizer: Any, shown: dict[str, Any]) -> None:
    """Why ``self.state`` is not what a saved optimizer would need; a wrong step says it better."""
    if kept is not None and np.allclose(kept, squares + optimizer.initial_sum):
        sentence = 'initial_sum is not in self.state["sum_of_squares"]: it is added under the root'
        raise Wrong(sentence, shown, kept, squares)
    if kept is None or not np.any(kept):
        of_other = optimizer.state["sum_of_squares"]["other"]
        if of_other.any() and not np.allclose(of_other, right := 25.0 * optimizer.steps["other"]):
            sentence = "each parameter has its own sum of squares, by its name"
            raise Wrong(sentence, {**shown, "sums of": "another parameter"}, of_other, right)
        sentence = 'the sums are kept in self.state["sum_of_squares"][name], to be saved with it'
        raise Wrong(sentence, shown, kept, squares)


def _check_steps(
    subject: Any, start: NDArray, steps: Sequence[NDArray], given: Given, **options: float
) -> None:
    """``steps``: the gradients written out, as the oracle takes them; ``given``: as they are."""
    numbers = {"initial_sum": 0.0, "eps": 1e-10, **options}

    def after(**changes: Any) -> NDArray:
        return oracle.adagrad(start, steps, 0.1, **{**numbers, **changes})

    def formula(step: Callable[[float, float, float], float]) -> NDArray:
        return after(step=step)

    symptoms: dict[str, Any] = {
        "the squares are not added up: every step begins anew": after(add=False),
        "g² is added to the sum before the step, not after it": after(
            late=True, step=lambda g, s, eps: g / (math.sqrt(s) + eps) if s or eps else math.inf
        ),
        "the square root is missing": formula(lambda g, s, eps: g / (s + eps)),
        "ε is added to the root, not under it": formula(lambda g, s, eps: g / math.sqrt(s + eps)),
        "the step goes uphill: p ← p − ...": 2 * start - after(),
        "this is plain gradient descent": formula(lambda g, s, eps: g),
        "initial_sum is left out: the sum begins with it": after(
            initial_sum=0.0 if numbers["eps"] else 1e-300
        ),
        "the parameter has not moved: it is changed in place": start,
        "a step is as long as the lr that it is given, not as self.lr": (
            start + (after() - start) * OTHER_RATE / 0.1
        ),
        "|g| was added up, not g²": _root_of_absolutes(start, steps, **numbers),
    }
    shown = {"p": start, "gradients": list(steps), "lr": 0.1, **options}
    got = _after(subject, start, given, 0.1, **options)
    expect(got, after(), given=shown, symptoms=symptoms)


def _root_of_absolutes(
    start: NDArray, steps: Sequence[NDArray], initial_sum: float, eps: float
) -> NDArray:
    values, total = start.copy(), np.full(start.shape, initial_sum)
    for g in steps:
        total = total + np.abs(g)
        values = values - 0.1 * np.where(g == 0, 0, g / (np.sqrt(total) + eps + (total == 0)))
    return values


def _shape(generator: np.random.Generator) -> Any:
    return int(generator.integers(2, 5)), int(generator.integers(1, 4))


@adagrad.check(4)
def sums_of_squares(subject: Any, draw: Draw) -> None:
    """s ← s + g², then p ← p − lr g / (√s + ε), s beginning with initial_sum."""
    shapes: Any = ((1, 1), (2, 2), (3,))
    for shape in draw.cases(*shapes, more=_shape):
        for options in ({"eps": 0.5}, {"initial_sum": 1.0, "eps": 0.0}, {}):
            start, steps = draw.normal(*shape), [draw.normal(*shape) for _ in range(3)]
            _check_steps(subject, start, steps, steps, **options)


@adagrad.check(2)
def some_rows(subject: Any, draw: Draw) -> None:
    """A gradient that has some rows only moves these, as the same one written out would."""
    for shape in draw.cases((2, 1), (3, 2), more=_shape):
        start, rows = draw.normal(*shape), []
        for _ in range(3):
            size = int(draw.generator.integers(1, shape[0] + 1))
            at = np.sort(draw.generator.permutation(shape[0])[:size])
            rows.append(Rows(shape, at, draw.normal(size, *shape[1:])))
        _check_steps(subject, start, [r.whole() for r in rows], rows, initial_sum=0.5)


# ---- 5.11 analogy_scores -------------------------------------------------------------------------

analogy = Task("5.11", "minissl.data.vectors:analogy_scores", "analogies", "lecture 04, section 8")


def _cosines(draw: Draw) -> list[tuple[list[NDArray], list[NDArray]]]:
    sizes: Any = draw.cases(
        (2, 1, 1), (2, 1, 4), (1, 1, 3), (3, 2, 3), (2, 0, 2), (1, 0, 2), (2, 1, (2, 3)), (5, 4, 2),
        more=lambda g: (*g.integers(1, 4, 2).tolist(), int(g.integers(2, 7))),
    )  # fmt: skip
    return [
        (
            [draw.generator.uniform(-1, 1, size) for _ in range(plus)],
            [draw.generator.uniform(-1, 1, size) for _ in range(minus)],
        )
        for plus, minus, size in sizes
    ]


@analogy.check(3)
def sums_of_cosines(subject: Any, draw: Draw) -> None:
    """Rule "add": what is added minus what is taken away; another rule is an error."""
    for plus, minus in _cosines(draw):
        above, below = (_summed(given, plus[0].shape) for given in (plus, minus))
        first = _summed(plus[:2], above.shape) - _summed(minus[:1], above.shape)
        symptoms = {
            "what is taken away was added": above + below,
            "the sign is wrong": below - above,
            "what is taken away was left out": above,
            "means were taken, not sums": above / len(plus) - below / max(len(minus), 1),
            "however many words are given, all of them count": first,
            "more than three words were given, and all of them count": (
                _summed(plus[:3], above.shape) - _summed(minus[:3], above.shape)
            ),
            "cosines count as they are, also below 0": (
                _summed([np.maximum(c, 0) for c in plus], above.shape)
                - _summed([np.maximum(c, 0) for c in minus], above.shape)
            ),
            "this is the rule of products": oracle.multiplied(plus, minus),
        }
        given = {"plus": plus, "minus": minus, "rule": "add"}
        expect(call_twice(subject, plus, minus), above - below, given=given, symptoms=symptoms)
    expect_error(ValueError, subject, plus, minus, "divide")


def _summed(given: Sequence[NDArray], shape: tuple[int, ...]) -> NDArray:
    """Σ of arrays, number by number; 0 of none."""
    found = np.zeros(shape)
    for at in np.ndindex(shape):
        found[at] = math.fsum(float(array[at]) for array in given)
    return found


@analogy.check(3)
def products_of_cosines(subject: Any, draw: Draw) -> None:
    """Rule "multiply": Π c / Π (c + 0.001) with c = (1 + cos) / 2, and nothing is divided by 0."""
    opposite = ([np.array([0.5]), np.array([-0.25])], [np.array([-1.0])])
    for plus, minus in [opposite, *_cosines(draw)]:
        symptoms = {
            "cosines are from −1 to 1: make them (1 + cos) / 2 first": oracle.multiplied(
                plus, minus, shift=float
            ),
            "half is missing: c = (1 + cos) / 2": oracle.multiplied(
                plus, minus, shift=lambda cosine: 1 + cosine
            ),
            "0.001 is missing: a cosine of −1 divides by 0": oracle.multiplied(
                plus, minus, epsilon=0.0
            ),
            "0.001 is added to what divides, not to what is divided": oracle.multiplied(
                plus, minus, above=1e-3
            ),
            "what is taken away divides": oracle.multiplied([*plus, *minus], []),
            "this is the rule of sums": _summed(plus, plus[0].shape)
            - _summed(minus, plus[0].shape),
            "this is the logarithm: its order is the same, the numbers are others": np.log(
                np.maximum(oracle.multiplied(plus, minus), 1e-300)
            ),
        }
        given = {"plus": plus, "minus": minus, "rule": "multiply"}
        got = call_twice(subject, plus, minus, "multiply")
        expect(got, oracle.multiplied(plus, minus), given=given, symptoms=symptoms)
