"""Homework 4, the loss of the paper. Lecture 12."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw4_oracle as oracle
from minissl.homework.assignments.differences import check_gradients
from minissl.homework.assignments.hw4_losses import HIDDEN, LOSSES, pairs, refuses_shapes, scalar
from minissl.homework.guard import ENGINE
from minissl.homework.task import Draw, Task, expect, expect_error

nt_xent = Task(
    "4.3",
    f"{LOSSES}:nt_xent",
    "the SimCLR paper's loss",
    "lecture 12, section 4",
    hides=HIDDEN,
    allows=ENGINE,
)


@nt_xent.check(6)
def values_of_the_paper(nt_xent: Any, draw: Draw) -> None:
    """The mean over 2B views of −ln softmax at the partner, among the 2B − 1 others."""
    for a, b in pairs(draw):
        temperature = float(draw.generator.uniform(0.2, 0.9))
        expect(
            scalar(nt_xent, Tensor(a), Tensor(b), temperature),
            oracle.paper(a, b, temperature).mean(),
            given={"first": a, "second": b, "temperature": temperature},
            symptoms=oracle.wrong_papers(a, b, temperature),
        )


@nt_xent.check(2)
def known_values(nt_xent: Any, draw: Draw) -> None:
    """Collapsed embeddings give ln(2B − 1), a batch of 1 gives 0, and the length does not count."""
    for batch in (1, 2, 5):
        direction, lengths = draw.normal(3), draw.generator.uniform(1, 2, (2, batch, 1))
        first, second = lengths * direction
        temperature = float(draw.generator.uniform(0.3, 2))
        level = float(np.log(2 * batch - 1))
        expect(
            scalar(nt_xent, Tensor(first), Tensor(second), temperature) + 1.0,  # the first is 0
            level + 1,
            given={"first": first, "second": second, "temperature": temperature},
            otherwise=f"all directions are equal: the loss is ln(2B − 1) = {level:.4f} (+ 1 here)",
            symptoms={
                "ln 2B: the view itself is still a candidate": float(np.log(2 * batch)) + 1,
            },
        )


@nt_xent.check(2)
def sums_and_rows(nt_xent: Any, draw: Draw) -> None:
    """``reduction`` "none" gives 2B rows, the first views' on top, and "sum" their sum."""
    for a, b in pairs(draw):
        rows = oracle.paper(a, b, 0.5)
        given = {"first": a, "second": b, "temperature": 0.5}
        in_turn = rows.reshape(2, -1).T.ravel()
        expect(
            scalar(nt_xent, Tensor(a), Tensor(b), 0.5, reduction="none"),
            rows,
            given={**given, "reduction": "none"},
            symptoms={"the rows come in pairs a₁, b₁, a₂, ...: first views on top": in_turn},
        )
        expect(
            scalar(nt_xent, Tensor(a), Tensor(b), 0.5, reduction="sum"),
            rows.sum(),
            given={**given, "reduction": "sum"},
            symptoms={"the mean was taken where the sum is asked for": rows.mean()},
        )


@nt_xent.check(3)
def small_temperatures(nt_xent: Any, draw: Draw) -> None:
    """float32 at temperatures down to 0.002: no overflow, no NaN, and no mask that is too weak."""
    for temperature in draw.cases(0.005, 0.002, more=lambda g: float(g.uniform(0.002, 0.01))):
        a, b = draw.normal(3, 4, dtype=np.float32), draw.normal(3, 4, dtype=np.float32)
        expected = np.asarray(oracle.paper(a, b, temperature).mean(), np.float32)
        given = {"first": a, "second": b, "temperature": temperature}
        expect(
            scalar(nt_xent, Tensor(a), Tensor(b), temperature), expected, given=given,
            tolerance=1e-4, otherwise="the value is wrong at a small temperature: is the own term "
            "subtracted from a sum that it dominates, or the mask not −∞?",
        )  # fmt: skip
        _against(nt_xent, a[:1], temperature)


def _against(nt_xent: Any, a: NDArray, temperature: float) -> None:
    """A view whose only candidate is its opposite finds it all the same: the loss is 0."""
    expect(
        scalar(nt_xent, Tensor(a), Tensor(-a), temperature) + np.float32(1),
        np.asarray(1.0, np.float32),
        given={"first": a, "second": -a, "temperature": temperature},
        otherwise="the mask must be −∞ (or −10⁹): here a cosine divided by the temperature is "
        f"{-1 / temperature:g}, and the masked view wins (1 is added to the loss)",
    )


@nt_xent.check(2)
def both_views_learn(nt_xent: Any, draw: Draw) -> None:
    """The gradients of both views are right."""
    for a, b in pairs(draw):
        check_gradients(
            lambda a, b: nt_xent(a, b, 0.5, reduction="none"),
            lambda a, b: oracle.paper(a, b, 0.5),
            {"first": a, "second": b},
        )


@nt_xent.check(2)
def learned_temperatures(nt_xent: Any, draw: Draw) -> None:
    """A temperature that is a Tensor gets its gradient, too."""
    for a, b in pairs(draw):
        temperature = np.array(draw.generator.uniform(0.3, 0.8))
        check_gradients(
            nt_xent,
            lambda a, b, t: oracle.paper(a, b, float(t)).mean(),
            {"first": a, "second": b, "temperature": temperature},
        )


@nt_xent.check(1)
def what_is_refused(nt_xent: Any, draw: Draw) -> None:
    """Two shapes, and a temperature that is not positive and finite, are ValueErrors."""
    refuses_shapes(nt_xent, draw, 0.5)
    a, b = Tensor(draw.normal(2, 3)), Tensor(draw.normal(2, 3))
    for temperature in (0.0, -0.5, math.nan, math.inf):
        expect_error(ValueError, nt_xent, a, b, temperature)
