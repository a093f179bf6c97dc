"""Homework 6, one answer against another: tasks 6.8 to 6.11."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw6_oracle as oracle
from minissl.homework.assignments.differences import check_gradients
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error
from minissl.losses.contrastive import information_bound
from minissl.models.convolutional import NormalizedMLP
from minissl.nn.module import Module

# ---- 6.8 follow ----------------------------------------------------------------------------------

follow = Task(
    "6.8",
    "minissl.pretrain.images.byol:follow",
    "BYOL's slow average",
    "lectures/12, section 12",
)


def _networks(draw: Draw) -> tuple[Module, Module, dict[str, NDArray], dict[str, NDArray]]:
    """A slow copy and its network, which has moved on, and what both hold by name."""
    from minissl.pretrain.images.byol import slow_copy  # an eighth of a second, for this task only

    network = NormalizedMLP(3, 4, 2, normalize_output=True, generator=draw.generator)
    slow = slow_copy(network)
    network.train()
    network(draw.normal(6, 3, dtype=np.float32))  # BatchNorm's running means move
    for parameter in network.parameters():
        parameter.array = parameter.array + draw.normal(*parameter.shape, dtype=np.float32)
    return slow, network, _held(slow), _held(network)


def _held(module: Module) -> dict[str, NDArray]:
    """Copies of all arrays in a module, by their path."""
    return {
        f"{path}.{name}": np.array(value.numpy())
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, Tensor)
    }


def _trained(module: Module) -> set[str]:
    return {name for name, _ in module.named_parameters()}


@follow.check(2)
def a_step_behind(subject: Any, draw: Draw) -> None:
    """slow = decay · slow + (1 − decay) · module, for every parameter, also of parts of parts."""
    for decay in draw.cases(0.9, 0.5, 0.0, 1.0, more=lambda g: float(g.uniform(0.1, 0.95))):
        slow, network, before, now = _networks(draw)
        call(subject, slow, network, decay)
        got = _held(slow)
        for name in sorted(_trained(network)):
            old, new = before[name].astype(np.float64), now[name].astype(np.float64)
            symptoms = {
                "decay is the part that stays: slow and module are exchanged": (
                    (1 - decay) * old + decay * new
                ),
                "nothing has moved": old,
                "the copy was overwritten": new,
                "the module's part is missing": decay * old,
                "the module was added whole: its part is 1 − decay": decay * old + new,
                "the copy moved away from the module": (2 - decay) * old - (1 - decay) * new,
            }
            given = {"decay": decay, "parameter": name, "slow": old, "module": new}
            expect(
                np.asarray(got[name], np.float64),
                decay * old + (1 - decay) * new,
                given=given,
                symptoms={s: v for s, v in symptoms.items() if not np.allclose(old, new)},
                tolerance=1e-6,
            )


@follow.check(2)
def what_stays(subject: Any, draw: Draw) -> None:
    """The network stays as it is, and so do the copy's running means; float32 stays float32."""
    for decay in draw.cases(0.5, 0.0, more=lambda g: float(g.uniform(0.1, 0.9))):
        slow, network, before, now = _networks(draw)
        call(subject, slow, network, decay)
        for name, array in _held(network).items():
            sentence = "the network was changed: only the copy follows"
            expect(array, now[name], given={"decay": decay, "of": name}, otherwise=sentence)
        for name, array in _held(slow).items():
            if name not in _trained(network):
                sentence = "a buffer followed: only what is trained is averaged"
                expect(array, before[name], given={"decay": decay, "of": name}, otherwise=sentence)
            elif array.dtype != np.float32:
                sentence = "parameters of float32 became others"
                raise Wrong(sentence, {"of": name}, array.dtype, np.float32)


@follow.check(1)
def arrays_of_its_own(subject: Any, draw: Draw) -> None:
    """The copy keeps arrays of its own, without a gradient: training the network moves no copy."""
    slow, network, _, _ = _networks(draw)
    call(subject, slow, network, 0.0)
    kept = _held(slow)
    for parameter in network.parameters():
        parameter.array[...] = 7.0
    for name, array in _held(slow).items():
        sentence = "the copy shares its array with the network: with decay 0, too, it is a copy"
        expect(array, kept[name], given={"decay": 0.0, "of": name}, otherwise=sentence)
    if _trained(slow) or any(
        value.requires_grad
        for _, part in slow.named_modules()
        for value in vars(part).values()
        if isinstance(value, Tensor)
    ):
        sentence = "the copy has become trained: it needs no gradient, only arrays"
        raise Wrong(sentence, {}, sorted(_trained(slow)), "no parameter")


# ---- 6.9 consistency_loss ------------------------------------------------------------------------

consistency = Task(
    "6.9",
    "minissl.losses.consistency:consistency_loss",
    "the same image, the same answer",
    "lectures/12, section 15",
)


def _logits(draw: Draw) -> Any:
    def more(generator: np.random.Generator) -> tuple[int, int]:
        batch, classes = generator.integers(2, 5, 2).tolist()
        return batch, classes

    for shape in draw.cases((1, 2), (2, 3), more=more):
        yield 2 * draw.normal(*shape), 2 * draw.normal(*shape)


def _check_agreement(subject: Any, target: NDArray, logits: NDArray, **how: Any) -> None:
    right = oracle.agreement(target, logits, **how)

    def wrong(**changed: Any) -> float:
        return float(oracle.agreement(target, logits, **{**how, **changed}).mean())

    counted = oracle.agreement(target, logits, confidence=how.get("confidence", 0.0))
    kept = int((counted != 0).sum())
    symptoms = {
        "KL(q ‖ p) was computed: the fixed answer p stands in front": wrong(turned=True),
        "this is the cross-entropy of p and q: take p's entropy off": wrong(entropy=False),
        "first and second are exchanged": float(oracle.agreement(logits, target, **how).mean()),
        "the sum over the images was taken, not the mean": right.sum(),
        "the mean is over all images, those that do not count too": right.sum() / max(kept, 1),
        "the mean over the classes was taken, not the sum": right.mean() / target.shape[1],
        "divided by the batch twice": right.mean() / len(target),
        "it was not sharpened": wrong(sharpen=1.0),
        "multiplied by ``sharpen``: a temperature divides": wrong(
            sharpen=1 / how.get("sharpen", 1.0)
        ),
        "the changed image's answer was sharpened, too": wrong(sharpen_both=True),
        "how sure it is, is asked before sharpening": wrong(sharpen_first=True),
        "every image counted: the confidence is missing": wrong(confidence=0.0),
    }
    given = {"target_logits": target, "logits": logits, **how}
    got = call(subject, Tensor(target), Tensor(logits), **how)
    expect(got, right.mean(), given=given, symptoms=symptoms)
    got = call(subject, Tensor(target), Tensor(logits), **how, reduction="none")
    expect(got, right, given={**given, "reduction": "none"})


@consistency.check(2)
def divergence_of_answers(subject: Any, draw: Draw) -> None:
    """KL(p ‖ q) = Σ p (ln p − ln q), p of the first logits; the mean over all images."""
    for target, logits in _logits(draw):
        _check_agreement(subject, target, logits)


@consistency.check(2)
def sharper_and_sure(subject: Any, draw: Draw) -> None:
    """``sharpen`` divides the first logits; ``confidence`` asks before that."""
    sure = np.array([[4.0, 0, 0], [3, 0, 0], [0, 1, 0.5]]), np.array([[0.0, 1, 0]] * 3)
    for target, logits in [sure, *_logits(draw)]:
        for how in ({"sharpen": 0.4}, {"confidence": 0.6}, {"sharpen": 0.4, "confidence": 0.7}):
            largest = [math.exp(max(oracle.log_softmax(row))) for row in target]
            if min(abs(p - how.get("confidence", 0.0)) for p in largest) > 1e-6:
                _check_agreement(subject, target, logits, **how)


@consistency.check(3)
def held_still(subject: Any, draw: Draw) -> None:
    """No gradient goes into the first logits; that of the second is softmax(q) − p."""
    for target, logits in _logits(draw):
        for how in ({}, {"sharpen": 0.5}, {"sharpen": 0.5, "confidence": 0.3}):
            check_gradients(
                lambda q, p=target, how=how: subject(Tensor(p), q, **how),
                lambda q, p=target, how=how: oracle.agreement(p, q, **how).mean(),
                {"logits": logits},
            )
            first, second = (Tensor(x, requires_grad=True) for x in (target, logits))
            call(subject, first, second, **how).backward()
            if first.grad is not None and np.any(first.grad):
                sentence = "a gradient goes into the answer that should be held still"
                given = {"target_logits": target, "logits": logits, **how}
                raise Wrong(sentence, given, first.grad, "None")


@consistency.check(1)
def certain_answers(subject: Any, draw: Draw) -> None:
    """Logits of ±1000 give no NaN; equal answers cost 0; what makes no sense is an error."""
    extreme = np.array([[1000.0, -1000.0]], np.float32)
    given = {"target_logits": extreme, "logits": extreme[:, ::-1]}
    got = call(subject, Tensor(extreme), Tensor(extreme[:, ::-1].copy()))
    sentence = "0 · ln 0 is NaN in floats: a class of probability 0 adds nothing"
    expect(got, np.float32(2000), given=given, otherwise=sentence, tolerance=1e-5)
    for target, _ in _logits(draw):
        got = call(subject, Tensor(target), Tensor(target.copy())) + 1.0
        sentence = "the same answer twice costs 0 (+ 1 here)"
        expect(got, 1.0, given={"both": target}, otherwise=sentence)
    two = Tensor(np.ones((2, 3)))
    expect_error(ValueError, subject, two, Tensor(np.ones((2, 2))))
    for how in ({"sharpen": 0.0}, {"sharpen": 1.5}, {"confidence": 1.0}, {"confidence": -0.1}):
        expect_error(ValueError, subject, two, two, **how)


# ---- 6.10 info_nce, 6.11 bilinear_info_nce -------------------------------------------------------

CONTRASTIVE = "minissl.losses.contrastive"
info_nce = Task(
    "6.10",
    f"{CONTRASTIVE}:info_nce",
    "negatives of one's own",
    "lectures/12, section 16",
    hides=(
        "fused", "gather_rows", "_check", "_check_negatives", "_with_own_negatives",
        "_unit", "_single",
    ),
)  # fmt: skip
bilinear = Task(
    "6.11",
    f"{CONTRASTIVE}:bilinear_info_nce",
    "a critic that is learned",
    "lectures/12, section 16",
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
        got = call(subject, Tensor(query), Tensor(key), **options)
        expect(got, right.mean(), given=given, symptoms=symptoms)
        got = call(subject, Tensor(query), Tensor(key), **options, reduction="none")
        expect(got, right, given={**given, "reduction": "none"})


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
    """The gradient is right by queries, keys and negatives; what does not fit is an error."""
    for in_batch in (True, False):
        for kind in ("for all queries", "of each query"):
            given = {"query": draw.normal(2, 3), "key": draw.normal(2, 3)}
            given["negatives"] = draw.normal(*NEGATIVES[kind](2, 3))

            def loss(query: Any, key: Any, negatives: Any, in_batch: bool = in_batch) -> Any:
                options = {"negatives": negatives, "in_batch": in_batch}
                return subject(query, key, temperature=0.5, **options)

            def right(query: Any, key: Any, negatives: Any, in_batch: bool = in_batch) -> Any:
                return oracle.candidates(query, key, negatives, 0.5, in_batch=in_batch).mean()

            check_gradients(loss, right, given)
    query = 100 * np.eye(2, 3)
    options: dict[str, Any] = {"temperature": 1.0, "normalize": False}
    key = query[::-1].copy()
    given = {"query": query, "key": key, **options}
    sentence = "inner products of 10,000 overflow: take the largest out"
    got = call(subject, Tensor(query), Tensor(key), **options)
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
    return np.array([oracle.log_sum(scores[i]) - scores[i][i] for i in batch])


def _critics(draw: Draw) -> Any:
    for batch, own, other in draw.cases((1, 1, 1), (3, 2, 3), (4, 3, 3), more=lambda g: (4, 2, 3)):
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
        }
        if weight.shape[0] == weight.shape[1]:
            symptoms["this is cᵀ W z: W belongs between the key, in front, and the context"] = (
                _bilinear(context, key, weight.T).mean()
            )
        given = {"context": context, "key": key, "weight": weight}
        arrays = [Tensor(x) for x in (context, key, weight)]
        got = call(subject, *arrays)
        expect(got, right.mean(), given=given, symptoms=symptoms, otherwise="it is no zᵀ W c")
        expect(call(subject, *arrays, reduction="none"), right, given=given)
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
