"""Homework 6, the own key among others: tasks 6.10 and 6.11."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw6_oracle as oracle
from minissl.homework.assignments.differences import check_gradients
from minissl.homework.assignments.hw6_distances import check_reductions
from minissl.homework.assignments.manners import call_twice
from minissl.homework.guard import ENGINE
from minissl.homework.task import Draw, Task, Wrong, expect, expect_error
from minissl.losses.contrastive import information_bound

# ---- 6.10 info_nce, 6.11 bilinear_info_nce -------------------------------------------------------

CONTRASTIVE = "minissl.losses.contrastive"
info_nce = Task(
    "6.10",
    f"{CONTRASTIVE}:info_nce",
    "negatives of one's own",
    "lecture 12, section 16",
    hides=(
        "fused", "gather_rows", "_check", "_check_negatives", "_with_own_negatives",
        "_unit", "_single", "beside", "as_array",
    ),
    allows=(*ENGINE, "reduced", "normalize"),
)  # fmt: skip
bilinear = Task(
    "6.11",
    f"{CONTRASTIVE}:bilinear_info_nce",
    "a critic that is learned",
    "lecture 12, section 16",
    allows=(*ENGINE, "reduced", "information_bound", "normalize"),
)
NEGATIVES: dict[str, Any] = {  # name -> their shape, for a batch and a width
    "none": lambda batch, width: None,
    "for all queries": lambda batch, width: (2, width),
    "of each query": lambda batch, width: (batch, 3, width),
}


def _check_candidates(subject: Any, draw: Draw, kind: str, in_batch: bool) -> None:
    shapes = draw.cases((1, 2), (2, 3), (3, 2), more=lambda g: (int(g.integers(2, 5)), 3))
    for batch, width in shapes:
        query, key = draw.normal(batch, width), draw.normal(batch, width)
        shape = NEGATIVES[kind](batch, width)
        negatives = None if shape is None else draw.normal(*shape)
        temperature = float(draw.generator.uniform(0.2, 0.9))

        def losses(negatives: Any = negatives, t: float = temperature, **how: Any) -> NDArray:
            how = {"in_batch": in_batch, **how}
            return oracle.candidates(query, key, negatives, t, **how)  # noqa: B023

        right = losses()
        symptoms = {
            "the temperature was forgotten": losses(t=1.0).mean(),
            "inner products were used, not cosines": losses(cosine=False).mean(),
            "the sum over the queries was taken, not the mean": right.sum(),
            "negatives are made unit vectors, too": _long_negatives(
                query, key, negatives, temperature, in_batch
            ),
            "the keys look for their queries: a softmax over the wrong axis": (
                oracle.candidates(key, query, negatives, temperature, in_batch=in_batch).mean()
            ),
        }
        if negatives is not None:
            turned = "with" if in_batch else "without"
            symptoms |= {
                f"in_batch={in_batch}: {turned} the other keys as candidates": losses(
                    in_batch=not in_batch
                ).mean(),
                "the negatives are missing": losses(None, in_batch=True).mean(),
            }
        if kind == "none":
            back = oracle.candidates(key, query, None, temperature)
            symptoms["one direction: only queries look for keys"] = (right + back).mean() / 2
        if kind == "for all queries" and negatives is not None and len(negatives) == batch:
            symptoms[
                "negatives (count, width) are candidates of every query, also if count = batch"
            ] = losses(negatives[:, None]).mean()
        if kind == "of each query" and negatives is not None:
            everyone = negatives.reshape(-1, width)
            symptoms |= {
                "each query has its own negatives: those of the others are no candidates": (
                    losses(everyone).mean()
                ),
                "all queries were given the first one's negatives": losses(negatives[0]).mean(),
            }
        given: dict[str, Any] = {"query": query, "key": key, "negatives": negatives}
        given |= {"temperature": temperature, "in_batch": in_batch}
        others = None if negatives is None else Tensor(negatives)
        options = {"temperature": temperature, "negatives": others, "in_batch": in_batch}
        got = call_twice(subject, Tensor(query), Tensor(key), **options)
        expect(got, right.mean(), given=given, symptoms=symptoms)

        def reduced(how: str, case: Any = (query, key, options)) -> Any:
            return call_twice(subject, Tensor(case[0]), Tensor(case[1]), **case[2], reduction=how)

        check_reductions(reduced, right, given)


def _long_negatives(
    query: NDArray, key: NDArray, negatives: NDArray | None, temperature: float, in_batch: bool
) -> float | None:
    """The loss where only queries and keys were divided by their lengths."""
    if negatives is None:
        return None
    rows = oracle.unit(query), oracle.unit(key), negatives
    losses = oracle.candidates(*rows, temperature, in_batch=in_batch, cosine=False)
    return float(losses.mean())


@info_nce.check(2)
def keys_of_the_batch(subject: Any, draw: Draw) -> None:
    """All keys are candidates, and ``negatives`` (count, width) are so for all queries."""
    _check_candidates(subject, draw, "none", True)
    _check_candidates(subject, draw, "for all queries", True)
    _check_candidates(subject, draw, "for all queries", False)


@info_nce.check(2)
def negatives_of_its_own(subject: Any, draw: Draw) -> None:
    """``negatives`` (batch, count, width): each query has its own; in_batch=False: only they."""
    _check_candidates(subject, draw, "of each query", True)
    _check_candidates(subject, draw, "of each query", False)


@info_nce.check(2)
def slopes_and_errors(subject: Any, draw: Draw) -> None:
    """The gradient is right by all three and by a temperature that is learned; errors."""
    for in_batch in (True, False):
        for kind in ("for all queries", "of each query"):
            given = {"query": draw.normal(2, 3), "key": draw.normal(2, 3)}
            given["negatives"] = draw.normal(*NEGATIVES[kind](2, 3))
            given["temperature"] = np.array(0.5)

            def loss(
                query: Any, key: Any, negatives: Any, temperature: Any, in_batch: bool = in_batch
            ) -> Any:
                options = {"negatives": negatives, "in_batch": in_batch}
                return subject(query, key, temperature=temperature, **options)

            def right(
                query: Any, key: Any, negatives: Any, temperature: Any, in_batch: bool = in_batch
            ) -> Any:
                t = float(temperature)
                return oracle.candidates(query, key, negatives, t, in_batch=in_batch).mean()

            check_gradients(loss, right, given)
    query = 100 * np.eye(2, 3)
    options: dict[str, Any] = {"temperature": 1.0, "normalize": False}
    key = query[::-1].copy()
    given = {"query": query, "key": key, **options}
    sentence = "inner products of 10,000 overflow: take the largest out"
    got = call_twice(subject, Tensor(query), Tensor(key), **options)
    expect(got, 10000.0, given=given, otherwise=sentence)
    two = Tensor(np.ones((2, 3)))
    for shape in ((2, 2), (3, 4, 3), (2, 4, 2), (3,)):
        wrong = Tensor(np.ones(shape))
        expect_error(ValueError, subject, two, two, temperature=1.0, negatives=wrong)
    expect_error(ValueError, subject, two, two, temperature=1.0, in_batch=False)
    expect_error(ValueError, subject, two, Tensor(np.ones((3, 3))), temperature=1.0)


def _bilinear(context: NDArray, key: NDArray, weight: NDArray, **how: Any) -> NDArray:
    """The rows of the loss, from all scores zᵀ W c one by one."""
    batch, turned = range(len(key)), how.get("turned", False)
    scores = [[math.fsum((z @ weight) * c) for z in key] for c in context]
    if turned:
        scores = np.array(scores).T.tolist()
    if not how.get("own", True) and len(key) > 1:
        return np.array(
            [oracle.log_sum(scores[i][:i] + scores[i][i + 1 :]) - scores[i][i] for i in batch]
        )
    return np.array([oracle.log_sum(scores[i]) - scores[i][i] for i in batch])


def _critics(draw: Draw) -> Any:
    for batch, own, other in draw.cases(
        (1, 1, 1), (3, 2, 3), (4, 3, 3), (4, 5, 5), more=lambda g: (4, 2, 3)
    ):
        yield draw.normal(batch, other), draw.normal(batch, own), draw.normal(own, other)


@bilinear.check(2)
def scores_of_the_critic(subject: Any, draw: Draw) -> None:
    """−ln softmax over the keys z of zᵀ W c, at the own key; ln batch − the loss is a bound."""
    for context, key, weight in _critics(draw):
        right = _bilinear(context, key, weight)
        units = oracle.unit(context), oracle.unit(key), weight
        symptoms = {
            "contexts and keys were made unit vectors: W has the length in it": _bilinear(
                *units
            ).mean(),
            "each key looks for its context: the softmax is over the keys": _bilinear(
                context, key, weight, turned=True
            ).mean(),
            "the sum over the batch was taken, not the mean": right.sum(),
            "the sign is wrong": -right.mean(),
            "nothing is divided: W has the length and the temperature in it": _bilinear(
                context, key, weight / math.sqrt(key.shape[1])
            ).mean(),
            "the own key is a candidate, too": _bilinear(context, key, weight, own=False).mean(),
        }
        if weight.shape[0] == weight.shape[1]:
            symptoms["this is cᵀ W z: W belongs between the key, in front, and the context"] = (
                _bilinear(context, key, weight.T).mean()
            )
        given = {"context": context, "key": key, "weight": weight}
        arrays = [Tensor(x) for x in (context, key, weight)]
        got = call_twice(subject, *arrays)
        expect(got, right.mean(), given=given, symptoms=symptoms, otherwise="it is no zᵀ W c")

        def reduced(how: str, arrays: Any = arrays) -> Any:
            return call_twice(subject, *arrays, reduction=how)

        check_reductions(reduced, right, given)
        if information_bound(got.item(), len(key)) > math.log(len(key)) + 1e-12:
            raise Wrong("the bound is above ln batch: a loss is below 0", given, got, right)


@bilinear.check(1)
def slopes_of_the_critic(subject: Any, draw: Draw) -> None:
    """The gradient is right by contexts, keys and W; a W of another shape is an error."""
    for context, key, weight in _critics(draw):
        given = {"context": context, "key": key, "weight": weight}
        check_gradients(subject, lambda c, z, w: _bilinear(c, z, w).mean(), given)
    wrong = [Tensor(np.ones(shape)) for shape in ((2, 3), (2, 2), (3, 2))]
    expect_error(ValueError, subject, *wrong)
