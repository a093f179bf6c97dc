"""Homework 6, a batch with labels as a whole: tasks 6.6 and 6.7."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw6_oracle as oracle
from minissl.homework.assignments.differences import check_gradients
from minissl.homework.assignments.hw6_distances import check_reductions
from minissl.homework.assignments.manners import call_twice
from minissl.homework.guard import ENGINE
from minissl.homework.task import Draw, Task, expect, expect_error

HIDDEN = (
    "same_and_different", "labels_beside", "_reduced", "_check_rows", "with_temperature", "fused",
    "gpu", "namespace", "move",
)  # fmt: skip

supcon = Task(
    "6.6",
    "minissl.losses.supervised:supcon_loss",
    "contrast with labels",
    "lecture 12, section 14",
    hides=HIDDEN,
    allows=(*ENGINE, "reduced", "normalize"),
)
soft_nearest = Task(
    "6.7",
    "minissl.losses.supervised:soft_nearest_neighbor_loss",
    "how much of the softmax is one's own",
    "lecture 12, section 14",
    hides=HIDDEN,
    allows=(*ENGINE, "reduced"),
)


def batches(draw: Draw, *fixed: list[int], most: int = 3) -> Any:
    """(rows, labels), the smallest first; the last of several rows may be the first once more."""

    def more(generator: np.random.Generator) -> list[int]:
        labels: list[int] = generator.integers(0, most, 5).tolist()
        return labels

    for labels in draw.cases(*fixed, more=more):
        yield draw.normal(len(labels), 3), labels


ANY = "labels may be any integers, also below 0"


class Before:
    """The labels of the batches before, by their size: what a mask that is kept would know."""

    def __init__(self) -> None:
        self.labels: dict[int, list[int]] = {}

    def symptom(self, labels: list[int], loss: Any) -> dict[str, Any]:
        """What the loss is with the first labels of this size, if they were others."""
        first = self.labels.setdefault(len(labels), labels)
        value = loss(first) if first != labels else None
        return {"these are the labels of an earlier call: a mask was kept": value}


def loss_of(subject: Any, labels: Sequence[float], **options: Any) -> Any:
    """The loss as a function of the rows, and of further options."""
    return lambda rows, **more: subject(rows, np.array(labels), **options, **more)


def otherwise(labels: list[int]) -> str:
    return f"the values are wrong{f': {ANY}' if min(labels) < 0 else ''}"


# ---- 6.6 supcon_loss -----------------------------------------------------------------------------

BATCHES = ([0, 0], [0, 0, 1], [1, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 0, 1, 2], [2, -1, 2, 2, -1])


def _labels_means(losses: list[float | None], labels: list[int]) -> float:
    """The mean over the labels of each label's mean."""
    own = [
        [x for x, y in zip(losses, labels) if y == label and x is not None] for label in {*labels}
    ]
    means = [math.fsum(some) / len(some) for some in own if some]
    return math.fsum(means) / max(len(means), 1)


def _check_labelled(
    loss: Any, rows: NDArray, losses: list[float | None], given: dict[str, Any], **wrong: Any
) -> None:
    """The mean, each row by itself, and the sum; ``loss(rows, **options)``."""
    labels = given["labels"]
    symptoms = {
        **wrong["symptoms"],
        "the labels' means were averaged: the mean is over the rows": _labels_means(losses, labels),
    }
    got = call_twice(loss, Tensor(rows))
    right = oracle.counted(losses)
    expect(got, right, given=given, symptoms=symptoms, otherwise=otherwise(labels))
    each = oracle.all_rows(losses)
    check_reductions(lambda how: call_twice(loss, Tensor(rows), reduction=how), each, given)


def _with_twins(rows: NDArray) -> NDArray:
    """The rows with the first one twice."""
    rows = rows.copy()
    rows[-1] = rows[0]
    return rows


def _check_supcon(subject: Any, draw: Draw, logarithm: str, mean: Any, other: Any) -> None:
    name = {"outside": "L_out", "inside": "L_in"}
    last = "inside" if logarithm == "outside" else "outside"
    before = Before()
    for rows, labels in batches(draw, *BATCHES):
        temperature = float(draw.generator.uniform(0.2, 0.9))
        cosines = oracle.cosines(rows)

        def of(logits: NDArray, mean: Any = mean, labels: Any = labels, **how: Any) -> float:
            return oracle.counted(oracle.found(logits, labels, mean, **how))

        logits = cosines / temperature
        losses = oracle.found(logits, labels, mean)
        mistakes = {
            f"this is {name[last]}: where does the logarithm stand, before the mean over the "
            "positives or after it?": of(logits, other),
            "the positives were added up: divide by how many a row has": of(
                logits, math.fsum if logarithm == "outside" else oracle.log_sum
            ),
            "a row is no candidate of itself: mask the diagonal": of(logits, itself=True),
            "the other positives stand below the fraction, too: all rows but i": of(
                logits, own=False
            ),
            "the temperature was forgotten": of(cosines),
            "multiplied by the temperature instead of divided": of(cosines * temperature),
            "inner products were used, not cosines": of(rows @ rows.T / temperature),
            "a row without a positive does not count in the mean": float(
                oracle.all_rows(losses).mean()
            ),
            "the sum over the rows was taken, not the mean": float(oracle.all_rows(losses).sum()),
            "the sign is wrong": -oracle.counted(losses),
            "no factor τ / 0.07 stands in front": (oracle.counted(losses) * temperature / 0.07),
            **before.symptom(labels, lambda kept, of=of, x=logits: of(x, labels=kept)),
        }
        given = {"features": rows, "labels": labels, "temperature": temperature}
        given["logarithm"] = logarithm
        loss = loss_of(subject, labels, temperature=temperature, logarithm=logarithm)
        _check_labelled(loss, rows, losses, given, symptoms=mistakes)


@supcon.check(3)
def logarithm_outside(subject: Any, draw: Draw) -> None:
    """L_out, the default: minus the mean over the positives of ln softmax."""
    _check_supcon(subject, draw, "outside", oracle.outside, oracle.inside)
    rows = draw.normal(4, 3)
    right = oracle.counted(oracle.found(oracle.cosines(rows), [0, 0, 0, 1], oracle.outside))
    sentence = "without being told the logarithm stands outside"
    got = call_twice(loss_of(subject, [0, 0, 0, 1], temperature=1.0), Tensor(rows))
    given = {"features": rows, "labels": [0, 0, 0, 1], "temperature": 1.0}
    expect(got, right, given=given, otherwise=sentence)


@supcon.check(2)
def logarithm_inside(subject: Any, draw: Draw) -> None:
    """L_in: minus ln of the mean over the positives of the softmax."""
    _check_supcon(subject, draw, "inside", oracle.inside, oracle.outside)


@supcon.check(2)
def alone_with_a_label(subject: Any, draw: Draw) -> None:
    """A row without a positive: its loss is 0, it does not count in the mean, others see it."""
    for rows, labels in batches(draw, [5], [0, 1], [0, 1, 0], [0, 0, 1, 2], most=4):
        for logarithm, mean in (("outside", oracle.outside), ("inside", oracle.inside)):
            losses = oracle.found(oracle.cosines(rows) / 0.5, labels, mean)
            given = {"features": rows, "labels": labels, "logarithm": logarithm}
            seen = [i for i, loss in enumerate(losses) if loss is not None]
            symptoms = {"rows that are alone are candidates of the others": 0.0}
            if seen:
                kept = oracle.cosines(rows[seen]) / 0.5
                only = oracle.found(kept, [labels[i] for i in seen], mean)
                symptoms["rows that are alone are candidates of the others"] = oracle.counted(only)
                symptoms["a row without a positive does not count in the mean"] = float(
                    oracle.all_rows(losses).mean()
                )
            loss = loss_of(subject, labels, temperature=0.5, logarithm=logarithm)
            got = call_twice(loss, Tensor(rows))
            sentence = "what is 0 / 0, and the mean of no row? (it is 0 here)"
            right = oracle.counted(losses)
            expect(got, right, given=given, symptoms=symptoms, otherwise=sentence)
            check_gradients(
                loss,
                lambda x, y=labels, mean=mean: oracle.counted(
                    oracle.found(oracle.cosines(x) / 0.5, y, mean)
                ),
                {"features": rows},
                hint="of a row without a positive no gradient may be NaN",
            )


@supcon.check(2)
def closed_forms(subject: Any, draw: Draw) -> None:
    """Collapsed it is ln(batch − 1); small temperatures do not overflow; float32 stays float32."""
    for size in draw.cases(2, 5, more=lambda g: int(g.integers(3, 8))):
        rows = np.tile(draw.normal(1, 3), (size, 1))
        given = {"features": rows, "labels": "all equal"}
        sentence = "where all rows are equal, each other row has the probability 1 / (batch − 1)"
        for logarithm in ("outside", "inside"):
            loss = loss_of(subject, [7] * size, temperature=0.1, logarithm=logarithm)
            got = call_twice(loss, Tensor(rows)) + 1.0
            expect(got, 1 + math.log(size - 1), given=given, otherwise=sentence)
    twins, labels = _with_twins(draw.normal(4, 3)), [0, 1, 1, 0]
    losses = oracle.found(oracle.cosines(twins) / 0.5, labels, oracle.outside)
    given = {"features": twins, "labels": labels, "temperature": 0.5}
    sentence = "what is twice in the batch is a candidate all the same: only the row itself is none"
    got = call_twice(loss_of(subject, labels, temperature=0.5), Tensor(twins))
    expect(got, oracle.counted(losses), given=given, otherwise=sentence)
    rows, labels = np.array([[1.0, 0], [0, 1], [-1, 0], [1, 0]], np.float32), [0, 1, 0, 2]
    given = {"features": rows, "labels": labels, "temperature": 1e-3}
    sentence = "e^1000 has no room: take the largest logit out (log_softmax does)"
    got = call_twice(loss_of(subject, labels, temperature=1e-3), Tensor(rows))
    expect(got, np.float32(1500), given=given, otherwise=sentence)
    for wrong in (np.ones((3, 2, 1)), np.ones((2, 2))):
        expect_error(ValueError, loss_of(subject, [0, 1, 0], temperature=1.0), Tensor(wrong))
    options: dict[str, Any] = {"temperature": 1.0, "logarithm": "between"}
    expect_error(ValueError, loss_of(subject, labels, **options), Tensor(rows))
    _check_refused(subject, rows)


def _check_refused(subject: Any, rows: NDArray) -> None:
    """Errors for labels that are no integers, and for a temperature that is none."""
    labels = list(range(len(rows)))
    for temperature in (0.0, -1.0, math.inf):
        expect_error(ValueError, loss_of(subject, labels, temperature=temperature), Tensor(rows))
    halves = [0.5 * label for label in labels]
    expect_error(ValueError, loss_of(subject, halves, temperature=1.0), Tensor(rows))


@supcon.check(1)
def without_lengths(subject: Any, draw: Draw) -> None:
    """``normalize=False`` takes inner products as they are."""
    for rows, labels in batches(draw, [0, 0, 1]):
        losses = oracle.found(rows @ rows.T / 2, labels, oracle.outside)
        given = {"features": rows, "labels": labels, "temperature": 2.0, "normalize": False}
        got = call_twice(loss_of(subject, labels, temperature=2.0, normalize=False), Tensor(rows))
        expect(got, oracle.counted(losses), given=given)


@supcon.check(2)
def slopes_of_supcon(subject: Any, draw: Draw) -> None:
    """The gradient is right by the features and by a temperature that is learned."""
    for rows, labels in batches(draw, [0, 0], [0, 0, 1], [0, 1, 0, 1]):
        for logarithm, mean in (("outside", oracle.outside), ("inside", oracle.inside)):

            def loss(rows: Any, temperature: Any, y: Any = labels, how: str = logarithm) -> Any:
                return subject(rows, np.array(y), temperature=temperature, logarithm=how)

            def right(rows: Any, temperature: Any, y: Any = labels, mean: Any = mean) -> float:
                logits = oracle.cosines(rows) / float(temperature)
                return oracle.counted(oracle.found(logits, y, mean))

            check_gradients(loss, right, {"features": rows, "temperature": np.array(0.6)})


# ---- 6.7 soft_nearest_neighbor_loss --------------------------------------------------------------


def _soft(rows: NDArray, labels: list[int], temperature: Any, **how: Any) -> list[float | None]:
    measure = how.pop("measure", oracle.square)
    logits = -oracle.distances(rows, rows, measure) / float(temperature)
    return oracle.found(logits, labels, how.pop("mean", oracle.log_sum), **how)


@soft_nearest.check(3)
def share_of_the_own(subject: Any, draw: Draw) -> None:
    """−ln of the share that the own label has of Σ e^(−d²/T) over all others."""
    before = Before()
    for rows, labels in batches(draw, *BATCHES):
        temperature = float(draw.generator.uniform(0.5, 3))
        right = _soft(rows, labels, temperature)

        def wrong(
            t: float = temperature, rows: NDArray = rows, labels: Any = labels, **how: Any
        ) -> float:
            return oracle.counted(_soft(rows, labels, t, **how))

        symptoms = {
            "the distances are not squared": wrong(measure=math.dist),
            "the temperature was forgotten": wrong(1.0),
            "multiplied by the temperature instead of divided": wrong(1 / temperature),
            "divided by T²: here it is e^(−d²/T)": wrong(temperature**2),
            "divided by 2 T: here it is e^(−d²/T)": wrong(2 * temperature),
            "a row is no neighbour of itself: e⁰ = 1 is the largest of all": wrong(itself=True),
            "the mean over the own label was taken: here it is its sum": wrong(mean=oracle.inside),
            "the logarithm stands before the sum: this is supervised contrastive": wrong(
                mean=oracle.outside
            ),
            "the rows were made unit vectors: they are taken as they are": oracle.counted(
                _soft(oracle.unit(rows), labels, temperature)
            ),
            "a row without a positive does not count in the mean": float(
                oracle.all_rows(right).mean()
            ),
            "the logarithm is missing: this is the share, averaged": float(
                np.mean([math.exp(-loss) for loss in right if loss is not None] or [0])
            ),
            "the sum over the rows was taken, not the mean": float(oracle.all_rows(right).sum()),
            **before.symptom(labels, lambda kept, wrong=wrong: wrong(labels=kept)),
        }
        given = {"embeddings": rows, "labels": labels, "temperature": temperature}
        loss = loss_of(subject, labels, temperature=temperature)
        _check_labelled(loss, rows, right, given, symptoms=symptoms)
    twins, labels = _with_twins(draw.normal(4, 2)), [0, 1, 1, 0]
    given = {"embeddings": twins, "labels": labels, "temperature": 1.5}
    sentence = "what is twice in the batch is a neighbour all the same: only the row itself is none"
    got = call_twice(loss_of(subject, labels, temperature=1.5), Tensor(twins))
    expect(got, oracle.counted(_soft(twins, labels, 1.5)), given=given, otherwise=sentence)


@soft_nearest.check(2)
def limits_of_the_temperature(subject: Any, draw: Draw) -> None:
    """A tiny T sees the nearest, a huge one all; who is alone with a label does not count."""
    rows, labels = np.array([[0.0], [1.0], [3.0], [20.0]]), [0, 1, 0, 2]
    given = {"embeddings": rows, "labels": labels, "temperature": 1e-3}
    sentence = "e^(−1000) is 0 and its logarithm −∞: work with logarithms (logsumexp)"
    got = call_twice(loss_of(subject, labels, temperature=1e-3), Tensor(rows))
    expect(got, (8000.0 + 5000.0) / 2, given=given, otherwise=sentence)
    got = call_twice(loss_of(subject, labels, temperature=1e12), Tensor(rows))
    given = {**given, "temperature": 1e12}
    expect(got, math.log(3), given=given, tolerance=1e-6, otherwise="all others count alike")
    for rows, alone in batches(draw, [0], [0, 1], [0, 1, 0], most=9):
        right = oracle.counted(_soft(rows, alone, 1.0))
        got = call_twice(loss_of(subject, alone, temperature=1.0), Tensor(rows))
        given = {"embeddings": rows, "labels": alone}
        sentence = "what is the mean of no row? (it is 0 here)"
        expect(got, right, given=given, otherwise=sentence)
    _check_refused(subject, draw.normal(3, 2))


@soft_nearest.check(3)
def learned_temperature(subject: Any, draw: Draw) -> None:
    """The gradient is right by the rows, an example twice among them, and by the temperature."""
    for rows, labels in batches(draw, [0, 0], [0, 0, 1], [0, 1, 0, 2], [3]):
        for twice in (False, True):
            rows = rows.copy()
            if twice:
                rows[-1] = rows[0]

            def loss(rows: Any, temperature: Any, y: Any = labels) -> Any:
                return subject(rows, np.array(y), temperature=temperature)

            def right(rows: Any, temperature: Any, y: Any = labels) -> float:
                return oracle.counted(_soft(rows, y, temperature))

            given = {"embeddings": rows, "temperature": np.array(1.5)}
            hint = "two equal rows have d² = 0, whose gradient is 0" if twice else ""
            check_gradients(loss, right, given, hint=hint)
