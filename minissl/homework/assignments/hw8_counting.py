"""Homework 8, experts and bytes: tasks 8.10 and 8.11."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw8_oracle as oracle
from minissl.homework.assignments.hw8_lora import BY_HAND, PARTS
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error

# ---- 8.10 gate -----------------------------------------------------------------------------------

gate = Task("8.10", f"{BY_HAND}:gate", "which experts, and are all in use", PARTS)


def _logits(draw: Draw) -> Any:
    """Logits, and how many experts are kept."""

    def more(generator: np.random.Generator) -> tuple[int, int, int]:
        tokens, experts = generator.integers(2, 7, 2).tolist()
        return tokens, experts, int(generator.integers(1, experts + 1))

    for tokens, experts, top in draw.cases(
        (3, 4, 2), (1, 2, 1), (4, 4, 1), (6, 5, 3), (4, 2, 2), more=more
    ):
        yield draw.normal(tokens, experts) * 1.5, top


def _answer(subject: Any, logits: NDArray, top: int) -> tuple[Any, Any]:
    got = call(subject, logits, top)
    if not isinstance(got, tuple) or len(got) != 2:
        given = {"logits": logits, "top": top}
        raise Wrong("expected the weights and the balance", given, got, "(weights, balance)")
    return got


@gate.check(3)
def weights_of_the_top(subject: Any, draw: Draw) -> None:
    """The softmax's largest ones of each token, divided by their sum; the others are 0."""
    for logits, top in _logits(draw):
        right, _ = oracle.gate(logits, top)
        p = np.array([oracle.softmax(row) for row in logits])
        kept = right > 0
        largest = np.where(kept, p, 0)
        symptoms = {
            "the weights that are kept are divided by their sum": largest,
            "all experts were kept": p,
            "the smallest were kept: the largest": oracle.gate(logits, top, smallest=True)[0],
            "all that are kept count alike: their P divided by their sum": kept / top,
            "these are logits: of their softmax": np.where(kept, logits, 0),
            "the softmax is over the experts of a token, not over the tokens": (
                e := np.exp(logits - logits.max())
            ) / e.sum(axis=0),
            "a softmax of logits that were set to 0 leaves e⁰ to each of the others": np.array(
                [oracle.softmax(row) for row in np.where(kept, logits, 0)]
            ),
        }  # fmt: skip
        got, _ = _answer(subject, logits, top)
        given = {"logits": logits, "top": top}
        expect(got, right, given=given, symptoms=symptoms)


@gate.check(3)
def the_balance(subject: Any, draw: Draw) -> None:
    """experts · Σ (share of the choices) · (mean of P), which is 1 where all are used alike."""
    for logits, top in _logits(draw):
        tokens, experts = logits.shape
        weights, right = oracle.gate(logits, top)

        def of(**how: Any) -> float:
            return oracle.gate(logits, top, **how)[1]  # noqa: B023

        symptoms = {
            "the factor experts is missing": of(factor=1),
            "the factor is the number of experts, not that of the tokens": of(factor=tokens),
            "the factor is the number of experts, not top": of(factor=top),
            "f are shares, which add up to 1: of tokens · top choices": of(count=tokens),
            "f are shares, not counts": of(count=1),
            "P is that of the whole softmax, before anything is left out": of(
                means=lambda p, weights: weights
            ),
            "P is not divided by what is kept, and nothing of it is left out": of(
                means=lambda p, weights: np.where(weights > 0, p, 0)
            ),
            "f are shares of the choices, not means of the weights": experts
            * float(weights.mean(axis=0) @ np.array([oracle.softmax(r) for r in logits]).mean(0)),
            "the likeliest expert was counted alone: all that are kept are choices": of(
                choices=np.bincount(logits.argmax(axis=1), minlength=experts), count=tokens
            ),
        }
        _, got = _answer(subject, logits, top)
        given = {"logits": logits, "top": top}
        expect(float(got), right, given=given, symptoms=symptoms,
               otherwise="the balance is another")  # fmt: skip


@gate.check(2)
def equal_and_thousands(subject: Any, draw: Draw) -> None:
    """Of equal ones the first are kept, exactly ``top``; logits of ±1000 are no overflow."""
    for experts, top in draw.cases((3, 1), (4, 2), more=lambda g: (6, int(g.integers(1, 6)))):
        logits = np.repeat(draw.normal(3, 1), experts, axis=1)
        logits[1, -1] += 1
        got, balance = _answer(subject, logits, top)
        right, even = oracle.gate(logits, top)
        given, sentence = {"logits": logits, "top": top}, "of equal ones the first are kept"
        got = np.asarray(got)
        if got.shape == right.shape and ((got > 0).sum(axis=1) > top).any():
            raise Wrong("more than top experts are kept: some are equal", given, got, right)
        expect(got, right, given=given, otherwise=sentence,
               symptoms={"of equal ones the first, not the last": oracle.gate(
                   logits, top, turn=-1)[0]})  # fmt: skip
        expect(float(balance), even, given=given, otherwise="the balance is another here")
    size = float(draw.generator.integers(800, 1000))
    logits = np.array([[size, -size, 0.0], [-size, -size - 1, -size - 2], [1.0, 2.0, 0.5]])
    for top in (1, 2):
        logits = logits if top == 1 else logits[1:]  # where no P that is kept is 0
        right, even = oracle.gate(logits, top)
        got, balance = _answer(subject, logits, top)
        given = {"logits": logits, "top": top}
        if not np.isfinite(got).all():
            raise Wrong("e¹⁰⁰⁰ is too large for a float: take the largest logit of each token off "
                        "first", given, got, right)  # fmt: skip
        expect(got, right, given=given, otherwise="a token's P became 0: take the largest logit of "
               "each token off, not that of all")  # fmt: skip
        expect(float(balance), even, given=given, otherwise="the balance is another here")


# ---- 8.11 training_bytes -------------------------------------------------------------------------

training_bytes = Task("8.11", f"{BY_HAND}:training_bytes", "what it takes, in bytes", PARTS)
KINDS = ("weights", "gradients", "optimizer", "saved")
Trained = Callable[[str], bool]


def _networks(draw: Draw) -> Any:
    """Shapes by path: token vectors, blocks, and an image's kernel."""

    def more(generator: np.random.Generator) -> tuple[int, int, int]:
        blocks, width, vocab = generator.integers([1, 2, 3], [4, 9, 30]).tolist()
        return blocks, width, vocab

    for blocks, width, vocab in draw.cases((1, 2, 5), (2, 4, 7), more=more):
        wide = width * int(draw.generator.integers(2, 5))
        shapes: dict[str, tuple[int, ...]] = {"tokens.weight": (vocab, width)}
        for b in range(blocks):
            for name in ("query", "key", "value"):
                shapes[f"blocks.{b}.{name}.weight"] = (width, width)
                shapes[f"blocks.{b}.{name}.bias"] = (width,)
            shapes[f"blocks.{b}.mlp.weight"] = (wide, width)
            shapes[f"blocks.{b}.mlp.bias"] = (wide,)
        shapes["patches.weight"] = (width, 2, 2, 3)
        yield shapes


def _check_bytes(
    subject: Any, shapes: Any, where: str, rank: int, number: int, more: dict[str, Any]
) -> None:
    def trained(path: str) -> bool:
        return re.search(where, path) is not None

    given = {"shapes": shapes, "where": where, "rank": rank, "number": number}
    how = {"rank": rank, "number": number}
    got = call(subject, shapes, where, **how)
    if not isinstance(got, dict) or got.keys() != {*KINDS}:
        raise Wrong("expected a dictionary of four numbers", given, got, KINDS)
    right = oracle.counted(shapes, trained, rank, number)
    for kind in KINDS:
        symptoms = {
            f"{kind}: {sentence}": oracle.counted(
                shapes, flags.get("of", trained), flags.get("rank", rank), number,
                **{k: v for k, v in flags.items() if k not in ("of", "rank")},
            )[kind]
            for sentence, flags in more.items()
        }  # fmt: skip
        symptoms[f"{kind}: these are numbers, not bytes"] = right[kind] // number
        if type(got[kind]) is not int and not isinstance(got[kind], np.integer):
            raise Wrong(f"{kind} is {type(got[kind]).__name__}: bytes are whole", given, got, right)
        expect(int(got[kind]), right[kind], given={**given, "what": kind}, symptoms=symptoms,
               otherwise=f"{kind} has another number of bytes")  # fmt: skip


@training_bytes.check(2)
def weights_that_match(subject: Any, draw: Draw) -> None:
    """Rank 0: everything, biases alone, one block alone."""
    for shapes in _networks(draw):
        for where in ("", "tokens|bias", "bias$", r"blocks\.0\.", "query|value"):
            everything = sum(int(np.prod(shape)) for shape in shapes.values())
            _check_bytes(subject, shapes, where, 0, 4, {
                "of frozen weights there is no gradient": {"of_all": everything},
                "AdamW has two moments of each trained number": {"moments": 1},
                "two moments: the gradient and the weight are counted already": {"moments": 4},
                "of frozen weights nothing is learned": {"of": lambda path: True},
                "where is searched in the path: it may match in its middle": {
                    "of": lambda path, w=where: re.match(w, path) is not None
                },
                "where is a regular expression": {"of": lambda path, w=where: w in path},
            })  # fmt: skip


@training_bytes.check(3)
def thin_pairs(subject: Any, draw: Draw) -> None:
    """With a rank: all weights are frozen, and matrices that match get a pair each."""
    for shapes in _networks(draw):
        for where, rank in (("query|value", 1), ("", 2), (r"^blocks", 3), ("mlp", 4)):
            _check_bytes(subject, shapes, where, rank, 4, {
                "the pairs are weights, too": {"with_added": 0},
                "a pair has rank · (in + out) numbers": {
                    "pair": lambda rank, shape: rank * shape[0] * shape[1]
                },
                "both of a pair are counted: rank · in and out · rank": {
                    "pair": lambda rank, shape: rank * shape[1]
                },
                "the update has in · out numbers, and is never made": {
                    "pair": lambda rank, shape: shape[0] * shape[1]
                },
                "the frozen weights are not trained beside the pairs": {"rank": 0},
                "a bias, or a kernel of four axes, is no matrix": {"vectors_too": True},
                "AdamW has two moments of each trained number": {"moments": 1},
            })  # fmt: skip


@training_bytes.check(1)
def halves_and_nothing(subject: Any, draw: Draw) -> None:
    """float16 has weights and gradients of two bytes, and moments of four; nothing is an error."""
    for shapes in _networks(draw):
        for where, rank in (("", 0), ("query", 2)):
            _check_bytes(subject, shapes, where, rank, 2, {
                "AdamW's moments are float32, whatever the weights are": {"moment": 2},
            })  # fmt: skip
        expect(call(subject, shapes, "")["saved"], call(subject, shapes, "", number=4)["saved"],
               given={"shapes": shapes}, otherwise="without a number it is 4")  # fmt: skip
        expect_error(ValueError, subject, shapes, "nowhere")
        expect_error(ValueError, subject, shapes, "bias$", rank=2)
