"""Homework 4: contrastive losses and kernels. Lectures 07 and 12.

Oracles: the formulas of lecture 12 in float64 NumPy, finite differences of them, and softmax
written out. Values of well-known mistakes are computed beside them, so that a student who makes
one is told which.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.gradcheck import gradcheck
from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw4_oracle as oracle
from minissl.homework.assignments.differences import differences
from minissl.homework.assignments.hw4_kernels import KERNELS, layer_norm, online_softmax
from minissl.homework.task import Assignment, Draw, Task, Wrong, call, expect, unwritten

LOSSES = "minissl.losses.contrastive"

normalize = Task("4.1", f"{LOSSES}:normalize", "unit vectors", "lectures/12, section 4")
HIDDEN = ("fused", "gather_rows")  # the library's own softmax over candidates
simclr_cs229 = Task(
    "4.2",
    f"{LOSSES}:simclr_cs229",
    "the board's loss",
    "lectures/12, section 3",
    hides=HIDDEN,
)
nt_xent = Task(
    "4.3",
    f"{LOSSES}:nt_xent",
    "the SimCLR paper's loss",
    "lectures/12, section 4",
    hides=HIDDEN,
)
z_std = Task(
    "4.4",
    "minissl.training.diagnostics:z_std",
    "is it collapsed?",
    "lectures/12, section 2",
    hides=("_unit_rows",),
)
gradients = Task(
    "4.5",
    "minissl_kernels.contrastive.reference:backward",
    "the gradient by hand",
    "lectures/12, section 4",
    requires=KERNELS,
)


def _pairs(draw: Draw) -> Any:
    """Batches of two views, the smallest first: (a, b)."""
    shapes = draw.cases(
        (2, 2), (3, 5), more=lambda g: (int(g.integers(2, 9)), int(g.integers(2, 12)))
    )
    return ((draw.normal(*shape), draw.normal(*shape)) for shape in shapes)


# ---- 4.1 normalize -------------------------------------------------------------------------------


@normalize.check(4)
def rows_have_length_one(normalize: Any, draw: Draw) -> None:
    """Every row is divided by its own length."""
    for x, _ in _pairs(draw):
        expect(
            call(normalize, Tensor(x)),
            oracle.unit(x),
            given={"x": x},
            symptoms={
                "the columns were scaled to length 1, not the rows": oracle.unit(x.T).T,
                "the whole matrix was divided by one length": x / np.linalg.norm(x),
                "divided by the squared length": x / (x**2).sum(axis=1, keepdims=True),
                "divided by the sum of absolute values": x / np.abs(x).sum(axis=1, keepdims=True),
            },
        )


@normalize.check(2)
def zero_stays_zero(normalize: Any, draw: Draw) -> None:
    """A row of zeros stays zero, without NaN; float32 stays float32."""
    x = np.array([[3, 4], [0, 0]], np.float32)
    expected = np.array([[0.6, 0.8], [0, 0]], np.float32)
    with np.errstate(all="ignore"):
        expect(call(normalize, Tensor(x)), expected, given={"x": x}, tolerance=1e-6)


@normalize.check(2)
def gradient_of_directions(normalize: Any, draw: Draw) -> None:
    """The gradient passes the gradient check: it must flow through the length too."""
    for x, _ in _pairs(draw):
        _gradcheck(normalize, [x], "x", radial=True)


def _gradcheck(function: Any, inputs: list[NDArray], names: str, *, radial: bool = False) -> None:
    """``gradcheck`` of a student's function, as a case."""
    given = dict(zip(names.split(), inputs))
    try:
        gradcheck(function, inputs, seed=1)
    except Exception as error:
        if unwritten(error):
            raise
        symptom = f"the gradient is wrong: {str(error).splitlines()[0]}"
        if radial and "backward says" in str(error):
            symptom += " (does it flow through the length too?)"
        raise Wrong(symptom, given, "see above", "finite differences") from error


# ---- 4.2 the board's loss ------------------------------------------------------------------------


@simclr_cs229.check(6)
def values_of_the_board(simclr_cs229: Any, draw: Draw) -> None:
    """The sum over i of −ln softmax of the inner products, at j = i."""
    for a, b in _pairs(draw):
        rows = oracle.board(a, b)
        expect(
            call(simclr_cs229, Tensor(a), Tensor(b)),
            rows.sum(),
            given={"first": a, "second": b},
            symptoms={
                "the mean over the rows was taken; the board sums": rows.mean(),
                "cosines were used; the board has raw inner products": oracle.board(
                    oracle.unit(a), oracle.unit(b)
                ).sum(),
                "the second views look for the first: a softmax over the wrong axis": oracle.board(
                    b, a
                ).sum(),
                "both directions were added; the board has one": (
                    oracle.board(a, b) + oracle.board(b, a)
                ).sum(),
                "the sign is wrong: this is Σ ln p": -rows.sum(),
            },
        )


@simclr_cs229.check(2)
def reductions_of_the_board(simclr_cs229: Any, draw: Draw) -> None:
    """``reduction`` "mean" and "none" are the same rows."""
    for a, b in _pairs(draw):
        rows, given = oracle.board(a, b), {"first": a, "second": b}
        for reduction, value in {"none": rows, "mean": rows.mean()}.items():
            got = call(simclr_cs229, Tensor(a), Tensor(b), reduction=reduction)
            expect(got, value, given={**given, "reduction": reduction})


@simclr_cs229.check(2)
def large_inner_products(simclr_cs229: Any, draw: Draw) -> None:
    """Inner products of 10,000 neither overflow nor lose the gradient."""
    a, b = 100 * np.eye(2, 3), 100 * np.eye(2, 3)[::-1]
    with np.errstate(all="ignore"):
        expect(call(simclr_cs229, Tensor(a), Tensor(b)), 20000.0, given={"first": a, "second": b})
        _gradcheck(simclr_cs229, [draw.normal(3, 4), draw.normal(3, 4)], "first second")


# ---- 4.3 the paper's loss ------------------------------------------------------------------------


@nt_xent.check(8)
def values_of_the_paper(nt_xent: Any, draw: Draw) -> None:
    """The mean over 2B views of −ln softmax at the partner, among the 2B − 1 others."""
    for a, b in _pairs(draw):
        temperature = float(draw.generator.uniform(0.2, 0.9))
        views = np.concatenate([oracle.unit(a), oracle.unit(b)])
        itself, logits = np.eye(len(views), dtype=bool), views @ views.T / temperature
        partners = np.roll(np.arange(len(views)), len(a))
        neighbours = np.arange(len(views)) ^ 1
        expect(
            call(nt_xent, Tensor(a), Tensor(b), temperature),
            oracle.paper(a, b, temperature).mean(),
            given={"first": a, "second": b, "temperature": temperature},
            symptoms={
                "the temperature was forgotten": oracle.paper(a, b, 1.0).mean(),
                "multiplied by the temperature instead of divided": oracle.paper(
                    a, b, 1 / temperature
                ).mean(),
                "the similarity of a view with itself was not masked": oracle.paper(
                    a, b, temperature, masked=False
                ).mean(),
                "the masked similarity was set to 0, but e⁰ is 1: it must be −∞": oracle.losses(
                    np.where(itself, 0, logits), partners
                ).mean(),
                "inner products were used, not cosines": oracle.paper(
                    a, b, temperature, cosine=False
                ).mean(),
                "views of the own side are negatives too: all 2B − 1 others": oracle.losses(
                    logits[: len(a), len(a) :], np.arange(len(a))
                ).mean(),
                "only the first views' rows were counted": oracle.paper(a, b, temperature)[
                    : len(a)
                ].mean(),
                "the sum over the rows was taken, not the mean": oracle.paper(
                    a, b, temperature
                ).sum(),
                "the means of both sides were added: this is twice the loss": 2
                * oracle.paper(a, b, temperature).mean(),
                "the partner of view i is i + B, not its neighbour in the stack": oracle.losses(
                    logits, neighbours, itself
                ).mean(),
            },
        )


@nt_xent.check(4)
def known_values(nt_xent: Any, draw: Draw) -> None:
    """Collapsed embeddings give ln(2B − 1), a batch of 1 gives 0, and the length does not count."""
    for batch in (1, 2, 5):
        same = np.ones((batch, 3))
        given = {"first": same, "second": same, "temperature": 0.5}
        level = float(np.log(2 * batch - 1))
        expect(
            call(nt_xent, Tensor(same), Tensor(same), 0.5) + 1.0,  # + 1: the first level is 0
            level + 1,
            given=given,
            otherwise=f"all embeddings are equal: the loss is ln(2B − 1) = {level:.4f} (+ 1 here)",
            symptoms={
                "ln 2B: the view itself is still a candidate": float(np.log(2 * batch)) + 1,
            },
        )


@nt_xent.check(4)
def small_temperatures(nt_xent: Any, draw: Draw) -> None:
    """float32 at a temperature of 0.005: no overflow, no NaN, and still float32."""
    a, b = draw.normal(3, 4, dtype=np.float32), draw.normal(3, 4, dtype=np.float32)
    expected = np.asarray(oracle.paper(a, b, 0.005).mean(), np.float32)
    with np.errstate(all="ignore"):
        got = call(nt_xent, Tensor(a), Tensor(b), 0.005)
        expect(got, expected, given={"first": a, "second": b, "temperature": 0.005}, tolerance=1e-4)


@nt_xent.check(4)
def both_views_learn(nt_xent: Any, draw: Draw) -> None:
    """The gradient check passes for both views, and each row of ``reduction="none"`` is right."""
    for a, b in _pairs(draw):
        rows = oracle.paper(a, b, 0.5)
        got = call(nt_xent, Tensor(a), Tensor(b), 0.5, reduction="none")
        expect(got, rows, given={"first": a, "second": b, "reduction": "none"})
        _gradcheck(lambda a, b: nt_xent(a, b, 0.5), [a, b], "first second")


# ---- 4.4 is it collapsed? ------------------------------------------------------------------------


@z_std.check(6)
def spread_of_directions(z_std: Any, draw: Draw) -> None:
    """Rows to length 1, the standard deviation of each column, their mean, times √width."""
    for x, _ in _pairs(draw):
        x = x + 0.5
        unit, root = oracle.unit(x), np.sqrt(x.shape[1])
        expect(
            call(z_std, x),
            float(unit.std(axis=0).mean() * root),
            given={"features": x},
            symptoms={
                "√width was forgotten": float(unit.std(axis=0).mean()),
                "the rows were not scaled to length 1": float(x.std(axis=0).mean() * root),
                "the deviation was taken along the rows: axis 1 instead of 0": float(
                    unit.std(axis=1).mean() * root
                ),
                "one deviation of all numbers together: it does not see a collapse": float(
                    unit.std() * root
                ),
                "divided by examples − 1; the convention here is examples": float(
                    unit.std(axis=0, ddof=1).mean() * root
                ),
            },
        )


@z_std.check(4)
def collapsed_and_spread(z_std: Any, draw: Draw) -> None:
    """0 for a collapsed encoder whatever the lengths, about 1 for random directions, no NaN."""
    collapsed = np.outer([1.0, 2.0, 5.0], [1.0, -1.0, 2.0])
    if abs(got := call(z_std, collapsed)) > 1e-6:
        raise Wrong("all rows have one direction: collapsed", {"features": collapsed}, got, 0.0)
    with np.errstate(all="ignore"):
        zeros = np.array([[0.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
        expect(call(z_std, zeros), float(np.sqrt(2 / 9) / np.sqrt(2)), given={"features": zeros})
    even = draw.normal(2000, 16)
    if not 0.97 < (got := call(z_std, even)) < 1.03:
        raise Wrong("random directions should have about 1", {"features": even}, got, "about 1")


# ---- 4.5 the gradient by hand --------------------------------------------------------------------


def _case(draw: Draw, rows: int, columns: int, width: int) -> tuple[NDArray, ...]:
    """upstream, P − T, query, key, and the logits, of random positives."""
    query, key = draw.normal(rows, width), draw.normal(columns, width)
    return draw.normal(rows), query, key, draw.generator.integers(0, columns, rows)


def _difference(query: NDArray, key: NDArray, positives: NDArray, temperature: float) -> NDArray:
    logits = query @ key.T / temperature
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p - np.eye(len(key))[positives]


def _gradient_cases(draw: Draw) -> Any:
    def more(generator: np.random.Generator) -> tuple[int, int, int]:
        rows, columns, width = generator.integers(2, 8, 3).tolist()
        return rows, columns, width

    for rows, columns, width in draw.cases((1, 2, 1), (3, 4, 2), more=more):
        upstream, query, key, positives = _case(draw, rows, columns, width)
        temperature = float(draw.generator.uniform(0.3, 0.8))
        yield upstream, query, key, positives, temperature


def _check_gradient(backward: Any, draw: Draw, which: int) -> None:
    for w, query, key, positives, temperature in _gradient_cases(draw):
        difference = _difference(query, key, positives, temperature)

        def loss(*, q: Any = query, k: Any = key, t: Any = temperature) -> float:
            return float(np.sum(w * oracle.losses(q @ k.T / t, positives)))  # noqa: B023

        given = {
            "upstream": w, "difference": difference, "query": query, "key": key,
            "temperature": temperature,
        }  # fmt: skip
        got = call(backward, w, difference, query, key, temperature)
        if not isinstance(got, tuple) or len(got) != 3:
            raise Wrong("expected three gradients: query, key, temperature", given, got, "a tuple")
        logit_gradient = w[:, None] * difference
        if which == 0:
            right = differences(lambda x: loss(q=x), query)
            wrong = {
                "the temperature was forgotten": logit_gradient @ key,
                "the upstream gradient was forgotten": difference @ key / temperature,
            }
        elif which == 1:
            right = differences(lambda x: loss(k=x), key)
            wrong = {
                "the temperature was forgotten": logit_gradient.T @ query,
                "the upstream gradient was forgotten": difference.T @ query / temperature,
            }
        else:
            right = differences(lambda x: loss(t=x.item()), np.array(temperature))
            wrong = {
                "the sign is wrong: a larger temperature makes logits smaller": -right,
                "one factor 1/temperature is missing": right * temperature,
                "the upstream gradient was forgotten": -(query * (difference @ key)).sum()
                / temperature**2,
            }
        expect(
            got[which],
            right if which < 2 else float(right),
            given=given,
            symptoms=wrong,
            tolerance=1e-5,
        )


@gradients.check(6)
def gradient_of_the_query(backward: Any, draw: Draw) -> None:
    """∂L/∂Q agrees with finite differences of the loss."""
    _check_gradient(backward, draw, 0)


@gradients.check(6)
def gradient_of_the_key(backward: Any, draw: Draw) -> None:
    """∂L/∂K agrees with finite differences of the loss."""
    _check_gradient(backward, draw, 1)


@gradients.check(4)
def gradient_of_the_temperature(backward: Any, draw: Draw) -> None:
    """∂L/∂τ agrees with finite differences of the loss."""
    _check_gradient(backward, draw, 2)


ASSIGNMENT = Assignment(
    4,
    "contrastive losses and kernels",
    (normalize, simclr_cs229, nt_xent, z_std, gradients, layer_norm, online_softmax),
)
