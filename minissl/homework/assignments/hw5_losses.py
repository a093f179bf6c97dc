"""Homework 5, the losses of word vectors: tasks 5.7 to 5.9."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw5_oracle as oracle
from minissl.homework.assignments.differences import check_gradients, differences
from minissl.homework.assignments.manners import call_twice
from minissl.homework.guard import ENGINE
from minissl.homework.task import Draw, Task, Wrong, expect, expect_error

LOSSES = "minissl.losses.words"

# ---- 5.7 negative_sampling_gradients -------------------------------------------------------------

gradients = Task(
    "5.7",
    f"{LOSSES}:negative_sampling_gradients",
    "skip-gram's loss and its gradients",
    "lecture 04, section 3",
)
Case = tuple[NDArray, NDArray, NDArray]


def _batches(draw: Draw, dtype: Any = np.float64) -> list[Case]:
    def more(generator: np.random.Generator) -> tuple[int, int, int]:
        batch, k, width = generator.integers(2, 6, 3).tolist()
        return batch, k, width

    shapes = draw.cases((1, 1, 1), (1, 2, 2), (3, 2, 2), more=more)
    return [
        (
            draw.normal(b, w, dtype=dtype),
            draw.normal(b, w, dtype=dtype),
            draw.normal(b, k, w, dtype=dtype),
        )
        for b, k, w in shapes
    ]


def _answer(subject: Any, case: Case) -> tuple[dict[str, NDArray], Any]:
    given = dict(zip(("center", "context", "negatives"), case))
    got = call_twice(subject, *case)
    if not isinstance(got, tuple) or len(got) != 4:
        sentence = "expected the loss and three gradients: of center, context and negatives"
        raise Wrong(sentence, given, got, "a tuple of four")
    return given, got


@gradients.check(4)
def loss_of_the_pairs(subject: Any, draw: Draw) -> None:
    """The mean over the batch of −log σ(w·c) − Σₖ log σ(−w·nₖ)."""
    for case in _batches(draw):
        center, context, negatives = case
        losses = oracle.sampling_losses(*case)
        k = negatives.shape[1]
        symptoms = {
            "the sum over the batch was taken, not the mean": losses.sum(),
            "the mean over the noise was taken: each of the k pairs counts in full": (
                (losses[:, 0] + losses[:, 1:].mean(axis=1)).mean()
            ),
            "the noise is missing: this is −log σ(w·c)": losses[:, 0].mean(),
            "the mean over all pairs was taken: divide by the batch, not by its pairs": (
                losses.mean()
            ),
            "the sign is wrong: this is Σ log σ": -losses.sum(axis=1).mean(),
            "noise is −log σ(−w·n): it was scored as if it had been seen": (
                oracle.sampling_losses(center, context, -negatives).sum(axis=1).mean()
            ),
            "seen and noise are exchanged": (
                oracle.sampling_losses(center, -context, -negatives).sum(axis=1).mean()
            ),
            "one noise word too few was scored": losses[:, :k].sum(axis=1).mean(),
            "each center has noise words of its own: those of the first were taken for all": (
                oracle.sampling_losses(
                    center, context, np.broadcast_to(negatives[:1], negatives.shape)
                )
                .sum(axis=1)
                .mean()
            ),
        }
        given, got = _answer(subject, case)
        expect(np.asarray(got[0]), losses.sum(axis=1).mean(), given=given, symptoms=symptoms)


def _check_gradient(subject: Any, draw: Draw, which: int) -> None:
    """Against finite differences of the loss by ``which`` of the three arguments."""
    for case in _batches(draw):
        batch = len(case[0])

        def loss(x: NDArray, case: Case = case) -> float:
            center, context, negatives = (x if i == which else a for i, a in enumerate(case))
            return float(oracle.sampling_losses(center, context, negatives).sum() / len(case[0]))

        right = differences(loss, case[which])
        center, context, negatives = case
        seen = _sigmoid(np.sum(center * context, axis=1, keepdims=True))
        noise = _sigmoid(np.sum(center[:, None] * negatives, axis=2, keepdims=True))
        of_seen, of_noise = (seen - 1) * context, (noise * negatives).sum(axis=1)
        wrong: dict[str, Any] = {
            "it was not divided by the batch: the loss is a mean": right * batch,
            "the sign is wrong: a step against the gradient must lower the loss": -right,
            "it was divided by the batch twice": right / batch,
        }
        if which == 0:
            wrong |= {
                "the noise pulls at the center, too": of_seen / batch,
                "the pair that was seen pulls at the center, too": of_noise / batch,
                "of a pair that was seen the score's gradient is σ(s) − 1, not σ(s)": (
                    (seen * context + of_noise) / batch
                ),
                "noise pushes by σ(s), not by σ(s) − 1": (
                    (of_seen + ((noise - 1) * negatives).sum(axis=1)) / batch
                ),
            }
        elif which == 1:
            wrong |= {
                "of a pair that was seen the score's gradient is σ(s) − 1, not σ(s)": (
                    seen * center / batch
                ),
                "the gradient of w·c by c is w, not c": (seen - 1) * context / batch,
                "the factor σ(s) − 1 is missing": -center / batch,
            }
        else:
            wrong |= {
                "of noise the score's gradient is σ(s), not σ(s) − 1": (
                    (noise - 1) * center[:, None] / batch
                ),
                "the gradient of w·n by n is w, not n": noise * negatives / batch,
                "the noise words were added up: each has its own gradient": (
                    (noise * center[:, None]).sum(axis=1) / batch
                ),
            }
        given, got = _answer(subject, case)
        expect(got[1 + which], right, given=given, symptoms=wrong, tolerance=1e-6)


def _sigmoid(x: NDArray) -> NDArray:
    return 1 / (1 + np.exp(-x))


@gradients.check(4)
def gradient_of_the_center(subject: Any, draw: Draw) -> None:
    """∂L/∂w agrees with finite differences of the loss."""
    _check_gradient(subject, draw, 0)


@gradients.check(3)
def gradient_of_the_context(subject: Any, draw: Draw) -> None:
    """∂L/∂c agrees with finite differences of the loss."""
    _check_gradient(subject, draw, 1)


@gradients.check(2)
def gradient_of_the_negatives(subject: Any, draw: Draw) -> None:
    """∂L/∂n agrees with finite differences of the loss, for each noise word."""
    _check_gradient(subject, draw, 2)


@gradients.check(2)
def large_scores(subject: Any, draw: Draw) -> None:
    """Scores of ±1000 give finite numbers, the right ones; float32 stays float32."""
    one, many = np.ones((1, 1)), np.array([[[1000.0], [-1000.0]]])
    for case, loss, center in [
        ((one, -1000 * one, many), 2000.0, np.array([[2000.0]])),
        ((one, 1000 * one, -many[:, :1]), 0.0, np.array([[0.0]])),
    ]:
        given, got = _answer(subject, case)
        sentence = "large scores overflow: log(1 + eˢ) is s for a large s"
        if np.isfinite(got[0]) and got[0] < loss:
            sentence = "a score of 1000 counts in full: it was clipped"
        expect(np.asarray(got[0], np.float64) + 1, loss + 1, given=given, otherwise=sentence)
        expect(np.asarray(got[1]) + 1, center + 1, given=given, otherwise="σ of a large score")
    far = (np.array([[0.5]]), np.array([[1e9]]), np.array([[[0.25]]]))
    given, got = _answer(subject, (-far[0], far[1], far[2]))
    sentence = (
        "the digits are lost where the loss is large: a gradient found by differences? Derive it"
    )
    expect(got[2], np.array([[0.5]]), given=given, otherwise=sentence)
    for case in _batches(draw, np.float32):
        given, got = _answer(subject, case)
        exact = subject(*(array.astype(np.float64) for array in case))
        for part, right in zip(got[1:], exact[1:]):
            if np.asarray(part).dtype != np.float32:
                sentence = "the gradients of float32 arrays are float32"
                raise Wrong(sentence, given, np.asarray(part).dtype, np.dtype(np.float32))
            sentence = "the gradients of float32 arrays differ from those of float64"
            right = np.asarray(right, np.float32)
            expect(part, right, given=given, otherwise=sentence, tolerance=1e-4)


# ---- 5.8 glove_weights, 5.9 glove ----------------------------------------------------------------

glove_weights = Task(
    "5.8",
    f"{LOSSES}:glove_weights",
    "how much a count matters",
    "lecture 04, section 7",
    hides=("_require_counts",),
)
glove = Task(
    "5.9",
    f"{LOSSES}:glove",
    "GloVe's loss",
    "lecture 04, section 7",
    hides=("_require_counts", "_tensor", "constant", "require_floating", "namespace"),
    allows=ENGINE,
)


def _counts(generator: np.random.Generator) -> list[float]:
    return (generator.integers(1, 40, 5) / 2).tolist()


@glove_weights.check(2)
def rising_and_capped(subject: Any, draw: Draw) -> None:
    """(x / largest)^power, but at most 1."""
    fixed = [[10.0], [1.0, 10.0, 16.0], [0.0, 2.5, 40.0]]
    for counts in draw.cases(*fixed, more=_counts):
        for options in ({"largest": 10.0}, {"largest": 10.0, "power": 0.5}, {"power": 1.5}, {}):
            largest, power = options.get("largest", 100.0), options.get("power", 0.75)
            ratios = [x / largest for x in counts]
            symptoms = {
                "it is at most 1: what is seen all the time counts no more": np.array(
                    [r**power for r in ratios]
                ),
                "the power is missing": np.array([min(1.0, r) for r in ratios]),
                "the power is given: it need not be 0.75": np.array(
                    [min(1.0, r**0.75) for r in ratios]
                ),
                "the count is divided by ``largest`` before the power": np.array(
                    [min(1.0, x**power / largest) for x in counts]
                ),
                "large counts get 1, not 0": np.array([r**power if r < 1 else 0 for r in ratios]),
                "``largest`` is given: it need not be 100": np.array(
                    [min(1.0, (x / 100) ** power) for x in counts]
                ),
            }
            expected = np.array([min(1.0, r**power) for r in ratios])
            given = {"counts": counts, **options}
            got = call_twice(subject, np.array(counts), **options)
            expect(got, expected, given=given, symptoms=symptoms)
    below = np.array([0.25, 0.5])
    got = call_twice(subject, below, 1.0, 1.0)
    expect(got, below.copy(), given={"counts": below, "largest": 1.0, "power": 1.0})


@glove_weights.check(2)
def types_and_errors(subject: Any, draw: Draw) -> None:
    """float32 stays float32, integers give floats; counts below 0 and NaN are errors, as others."""
    counts = np.array([0.0, 6.25, 200.0], np.float32)
    expected = np.array([0.0, 0.125, 1.0], np.float32)
    expect(call_twice(subject, counts), expected, given={"counts": counts})
    for whole in draw.cases([1, 16, 100], more=lambda g: g.integers(0, 120, 4).tolist()):
        expected = np.array([min(1.0, (x / 100) ** 0.75) for x in whole])
        sentence = "counts that are integers give floats: 16 of 100 is no 0"
        got = call_twice(subject, np.array(whole))
        if np.asarray(got).dtype.kind != "f":
            raise Wrong(sentence, {"counts": np.array(whole)}, got, expected)
        expect(got, expected, given={"counts": np.array(whole)}, otherwise=sentence)
    for wrong in ([1.0, -1.0], [1.0, math.nan]):
        expect_error(ValueError, subject, np.array(wrong))
    for largest, power in ((0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (math.nan, 1.0), (math.inf, 1.0)):
        expect_error(ValueError, subject, np.array([1.0]), largest, power)


@glove.check(4)
def weighted_squares(subject: Any, draw: Draw) -> None:
    """The mean over pairs of ½ f(x) (predicted − log x)²."""
    for counts in draw.cases([1.0], [2.0, 30.0, 5.0], [0.001, 0.25], more=_counts):
        predicted, largest, power = draw.normal(len(counts)), 10.0, 0.5
        f = np.array([min(1.0, (x / largest) ** power) for x in counts])
        error = predicted - np.array([math.log(x) for x in counts])
        squares = f * error * error
        symptoms = {
            "the half is missing: this is the paper's formula": squares.mean(),
            "the sum over the pairs was taken, not the mean": squares.sum() / 2,
            "the weights are missing": (error * error).mean() / 2,
            "the logarithm is missing: the prediction is that of log x": (
                (f * (predicted - np.array(counts)) ** 2).mean() / 2
            ),
            "this is log(1 + x): the count's own logarithm is meant": (
                (f * (predicted - np.log1p(counts)) ** 2).mean() / 2
            ),
            "small counts, here below 0.01, have their own logarithm, too": (
                (f * (predicted - np.log(np.maximum(counts, 0.01))) ** 2).mean() / 2
                if min(counts) < 0.01
                else None
            ),
            "the square is missing": (f * np.abs(error)).mean() / 2,
            "the weights stand in the square: f(x)² is too little": (((f * error) ** 2).mean() / 2),
            "divided by the sum of the weights, not by the number of pairs": (
                squares.sum() / f.sum() / 2
            ),
            "largest and power are not handed on": (
                (np.minimum(1, np.array(counts) / 100) ** 0.75 * error * error).mean() / 2
            ),
            "the prediction is a logarithm already: no second one is taken of it": (
                (f * (np.log(np.abs(predicted)) - np.log(counts)) ** 2).mean() / 2
            ),
        }
        given: dict[str, Any] = {"predicted": predicted, "counts": counts}
        given |= {"largest": largest, "power": power}
        got = call_twice(subject, Tensor(predicted), np.array(counts), largest, power)
        expect(got, squares.mean() / 2, given=given, symptoms=symptoms)
        expected = _glove(predicted, counts)
        sentence = "without being told, largest is 100 and power 0.75"
        got = call_twice(subject, Tensor(predicted), np.array(counts))
        given = {"predicted": predicted, "counts": counts}
        expect(got, expected, given=given, otherwise=sentence)


def _glove(predicted: NDArray, counts: list[float]) -> float:
    """The loss with the numbers of the paper, pair by pair."""
    pairs = list(zip(predicted.tolist(), counts))
    return math.fsum(
        min(1.0, (x / 100) ** 0.75) * (p - math.log(x)) ** 2 / 2 for p, x in pairs
    ) / len(pairs)


@glove.check(2)
def gradient_and_errors(subject: Any, draw: Draw) -> None:
    """The gradient is right; a pair that was never seen has no logarithm: an error."""
    for counts in draw.cases([3.0], [2.0, 30.0], more=_counts):
        check_gradients(
            lambda x, counts=counts: subject(x, np.array(counts)),
            lambda x, counts=counts: _glove(x, counts),
            {"predicted": draw.normal(len(counts))},
        )
    two = Tensor(np.ones(2))
    for wrong in ([1.0, 0.0], [1.0, -1.0], [1.0]):
        expect_error(ValueError, subject, two, np.array(wrong))
