"""Homework 6, one answer against another: tasks 6.8 and 6.9."""

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
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error
from minissl.models.convolutional import NormalizedMLP
from minissl.nn.module import Module

# ---- 6.8 follow ----------------------------------------------------------------------------------

follow = Task(
    "6.8",
    "minissl.pretrain.images.byol:follow",
    "BYOL's slow average",
    "lecture 12, section 12",
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

    slow, network, before, now = _networks(draw)
    for _ in range(2):
        call(subject, slow, network, 0.5)
    for name, array in _held(slow).items():
        if name in _trained(network):
            sentence = "a second call is a second step, with the decay that is given"
            right = (0.25 * before[name] + 0.75 * now[name]).astype(np.float32)
            given = {"decay": "0.5, two times", "parameter": name}
            expect(array, right, given=given, otherwise=sentence)


@follow.check(2)
def what_stays(subject: Any, draw: Draw) -> None:
    """The network stays as it is, and so do the copy's running means; float32 stays float32."""
    for decay in draw.cases(0.5, 0.0, more=lambda g: float(g.uniform(0.1, 0.9))):
        slow, network, before, now = _networks(draw)
        for parameter in network.parameters():
            parameter.grad = np.ones_like(parameter.array)
        call(subject, slow, network, decay)
        if any(p.grad is None or not np.all(p.grad == 1) for p in network.parameters()):
            sentence = "the gradients of the network were touched: they are its optimizer's"
            raise Wrong(sentence, {"decay": decay}, "other gradients", "those from before")
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
    "lecture 12, section 15",
    hides=("beside", "namespace", "as_array"),
    allows=ENGINE,
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
        "the confidence is asked of the image as it is, not of the changed one": wrong(
            asked_of_changed=True
        ),
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
        "the whole of p is the target, not its surest class alone": wrong(pseudo=True),
        "both directions were averaged: KL(p ‖ q) alone is asked for": (
            (right.mean() + wrong(turned=True)) / 2
        ),
        "these are squares of p − q, not a divergence": wrong(squares=True),
    }
    given = {"target_logits": target, "logits": logits, **how}
    got = call_twice(subject, Tensor(target), Tensor(logits), **how)
    expect(got, right.mean(), given=given, symptoms=symptoms)

    def reduced(reduction: str) -> Any:
        return call_twice(subject, Tensor(target), Tensor(logits), **how, reduction=reduction)

    check_reductions(reduced, right, given)


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
    got = call_twice(subject, Tensor(extreme), Tensor(extreme[:, ::-1].copy()))
    sentence = "0 · ln 0 is NaN in floats: a class of probability 0 adds nothing"
    expect(got, np.float32(2000), given=given, otherwise=sentence)
    for target, _ in _logits(draw):
        got = call_twice(subject, Tensor(target), Tensor(target.copy())) + 1.0
        sentence = "the same answer twice costs 0 (+ 1 here)"
        expect(got, 1.0, given={"both": target}, otherwise=sentence)
    two = Tensor(np.ones((2, 3)))
    expect_error(ValueError, subject, two, Tensor(np.ones((2, 2))))
    for how in ({"sharpen": 0.0}, {"sharpen": 1.5}, {"confidence": 1.0}, {"confidence": -0.1}):
        expect_error(ValueError, subject, two, two, **how)
