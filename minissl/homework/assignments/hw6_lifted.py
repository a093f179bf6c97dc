"""Homework 6, a pair and all that both should be far from: task 6.5."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw6_oracle as oracle
from minissl.homework.assignments.differences import check_gradients
from minissl.homework.assignments.hw6_distances import check_reductions
from minissl.homework.assignments.hw6_groups import HIDDEN, Before, batches, loss_of, otherwise
from minissl.homework.assignments.manners import call_twice
from minissl.homework.guard import ENGINE
from minissl.homework.task import Draw, Task, Wrong, expect, expect_error

# ---- 6.5 lifted_structured_loss ------------------------------------------------------------------

lifted = Task(
    "6.5",
    "minissl.losses.metric:lifted_structured_loss",
    "a pair against all its negatives",
    "lecture 12, section 13",
    hides=HIDDEN,
    allows=ENGINE,
)
WITH_PAIRS = ([0, 0, 1], [0, 1, 0, 2, 0], [0, 1, 0, 1], [-1, 2, 2, -1])


@lifted.check(3)
def a_pair_and_its_negatives(subject: Any, draw: Draw) -> None:
    """½ max(0, J)² of every pair i < j of one label; the mean over these pairs."""
    before = Before()
    for rows, labels in batches(draw, *WITH_PAIRS):
        for margin, scale in ((1.0, 0.4), (2.5, 0.4), (0.5, 2.0)):
            rows = scale * draw.normal(*rows.shape)  # near ones have a loss, far ones often none
            right = oracle.lifted(rows, labels, margin)

            def wrong(rows: NDArray = rows, labels: Any = labels, m: float = margin, **how: Any):
                found = oracle.lifted(rows, labels, m, **how)
                return float(found.mean()) if len(found) else 0.0

            symptoms = {
                "only the negatives of i were taken: those of j push, too": wrong(both_ends=False),
                "plain distances are meant, not squares": wrong(measure=oracle.square),
                "the half is missing": wrong(finish=lambda j: max(0.0, j) ** 2),
                "the square is missing": wrong(finish=lambda j: max(0.0, j) / 2),
                "max(0, ...) is missing: a pair whose J is below 0 has no loss": wrong(
                    finish=lambda j: j**2 / 2
                ),
                "the margin is given: it need not be 1": wrong(m=1.0),
                "ln Σ e of all negatives is asked for, not the largest of them alone": wrong(
                    pushed=max
                ),
                "the sum over the pairs was taken, not the mean": right.sum(),
                "divided by the rows, not by the pairs": right.sum() / len(rows),
                "divided by twice the pairs: i < j, each once": right.sum()
                / max(2 * len(right), 1),
                **before.symptom(labels, lambda kept, wrong=wrong: wrong(labels=kept)),
            }
            given = {"embeddings": rows, "labels": labels, "margin": margin}
            loss = loss_of(subject, labels, margin=margin)
            got = call_twice(loss, Tensor(rows))
            expect(got, wrong(), given=given, symptoms=symptoms, otherwise=otherwise(labels))
    rows, labels = draw.normal(5, 2), [1, 0, 1, 0, 1]
    right = np.sort(oracle.lifted(rows, labels, 1.0))
    got = call_twice(loss_of(subject, labels, reduction="none"), Tensor(rows))
    if np.shape(got) != right.shape:
        sentence = "reduction='none' gives a number for each pair i < j of one label"
        raise Wrong(sentence, {"labels": labels}, got, right)
    given = {"embeddings": rows, "labels": labels, "reduction": "none, sorted here"}
    expect(np.sort(np.asarray(got.numpy())), right, given=given)
    check_reductions(
        lambda how: Tensor(right) if how == "none" else call_twice(
            loss_of(subject, labels, reduction="sum"), Tensor(rows)
        ),
        right,
        {"embeddings": rows, "labels": labels},
    )  # fmt: skip
    single = rows.astype(np.float32)
    expected = np.float32(oracle.lifted(single, labels, 1.0).mean())
    got = call_twice(loss_of(subject, labels), Tensor(single))
    expect(got, expected, given={"embeddings": single, "labels": labels}, tolerance=1e-4)


@lifted.check(2)
def without_a_pair(subject: Any, draw: Draw) -> None:
    """Without a pair of one label the mean is 0; a pair without any negative has no loss."""
    for rows, labels in batches(draw, [4], [0, 1], [2, 2], [1, 1, 1], most=9):
        found = oracle.lifted(rows, labels, 1.0)
        right = float(found.mean()) if len(found) else 0.0
        given = {"embeddings": rows, "labels": labels}
        sentence = "what is the mean of no pair, and the logarithm of no negative?"
        got = call_twice(loss_of(subject, labels), Tensor(rows))
        expect(got, right, given=given, otherwise=sentence)
    for margin in (0.0, -1.0, math.inf):
        expect_error(ValueError, loss_of(subject, [0, 0], margin=margin), Tensor(np.ones((2, 1))))
    expect_error(ValueError, loss_of(subject, [0]), Tensor(np.ones((2, 1))))


@lifted.check(1)
def far_negatives(subject: Any, draw: Draw) -> None:
    """Where e^(margin − d) has no digits left, J has: on a line at 0, 1000 and 2000."""
    sentence = "e^(−1000) is 0 and its logarithm −∞: use logsumexp, which takes the largest out"
    for gap in draw.cases(1000.0, more=lambda g: float(g.uniform(900, 2000))):
        rows = np.array([[0.0], [gap], [2 * gap]])
        for labels, right in (([0, 0, 1], 0.5), ([0, 1, 0], (gap + 1 + math.log(2)) ** 2 / 2)):
            given = {"embeddings": rows, "labels": labels}
            got = call_twice(loss_of(subject, labels), Tensor(rows))
            expect(got, right, given=given, otherwise=sentence)


@lifted.check(2)
def slopes_of_the_liftedloss_of(subject: Any, draw: Draw) -> None:
    """The gradient is right, also with an example twice in the batch and with singletons."""
    for rows, labels in batches(draw, *WITH_PAIRS, [0, 0], [0, 1]):
        while any(0 < abs(x) < 0.02 for x in oracle.lifted(rows, labels, 2.0)):
            rows = rows + draw.normal(*rows.shape)  # away from the kink

        def right(rows: NDArray, labels: list[int] = labels) -> float:
            found = oracle.lifted(rows, labels, 2.0)
            return float(found.mean()) if len(found) else 0.0

        for twice in (False, True):
            rows = rows.copy()
            if twice:
                rows[-1] = rows[0]
            hint = "a distance of 0 has no slope, it must not have NaN" if twice else ""
            check_gradients(
                loss_of(subject, labels, margin=2.0), right, {"embeddings": rows}, hint=hint,
                tolerance=1e-4 if twice else 1e-6,  # beside the kink of a distance of 0
            )  # fmt: skip
