"""Homework 7, the network: tasks 7.6 and 7.7."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw7_oracle as oracle
from minissl.homework.assignments.differences import differences
from minissl.homework.assignments.hw7_hiding import BY_HAND, unless_near
from minissl.homework.task import Draw, Task, Wrong, call, expect

# ---- 7.6 attend ----------------------------------------------------------------------------------

attend = Task("7.6", f"{BY_HAND}:attend", "padding is not read", "lecture 08, section 5")


def _ragged(draw: Draw, full: bool = False) -> Any:
    """Queries, keys and values of rows of different lengths."""

    def more(generator: np.random.Generator) -> tuple[list[int], int]:
        lengths = generator.integers(1, 6, int(generator.integers(1, 4)))
        return lengths.tolist(), int(generator.integers(1, 5))

    for lengths, width in draw.cases(([1], 2), ([2, 2], 3), ([3, 1], 2), more=more):
        if full:
            lengths = [max(lengths)] * len(lengths)
        time = max(lengths) + (0 if full else 2)
        arrays = [draw.normal(len(lengths), time, width) for _ in range(3)]
        yield arrays, np.array(lengths)


def _case(arrays: Sequence[NDArray], lengths: NDArray) -> dict[str, Any]:
    return dict(zip(("query", "key", "value", "lengths"), (*arrays, lengths)))


@attend.check(3)
def rows_without_padding(subject: Any, draw: Draw) -> None:
    """Full rows: every token attends to all, itself and those behind it too."""
    for arrays, lengths in _ragged(draw, full=True):
        width, time = arrays[0].shape[2], arrays[0].shape[1]

        def of(**how: Any) -> NDArray:
            return oracle.attend(arrays, lengths, **how)  # noqa: B023

        symptoms = {
            "only tokens before it are seen: an encoder looks in both directions": of(
                seen=lambda t, length, time: range(t + 1)
            ),
            "a token does not see itself": (
                of(seen=lambda t, length, time: [j for j in range(length) if j != t])
                if time > 1 else np.zeros(0)
            ),
            "the scores were not divided by √width": of(root=1.0),
            "the scores were divided by the width, not by its root": of(root=float(width)),
            "divided by √time: the width of the keys counts": of(root=math.sqrt(time)),
            "queries and keys are exchanged": oracle.attend(
                [arrays[1], arrays[0], arrays[2]], lengths
            ),
            "the softmax is over the keys of a query, not over the queries": of(over_queries=True),
        }  # fmt: skip
        expect(call(subject, *arrays, lengths), of(), given=_case(arrays, lengths),
               symptoms=symptoms)  # fmt: skip


def _misread(arrays: Sequence[NDArray], lengths: NDArray, real: NDArray) -> dict[str, NDArray]:
    """What well-known mistakes make of rows with padding: a sentence -> outputs of real tokens."""
    cleaned = [np.where(real[..., None], x, 0.0) for x in arrays]

    def of(seen: Any, given: Sequence[NDArray] = arrays) -> NDArray:
        outputs = oracle.attend(given, lengths, seen=seen)
        return np.asarray(outputs[real])

    def everything(t: int, length: int, time: int) -> range:
        return range(time)

    def first_row(t: int, length: int, time: int) -> range:
        return range(lengths[0])

    return {
        "padding was attended to": of(everything),
        "a score of 0 is no mask: it counts e⁰ = 1 in the softmax": of(everything, cleaned),
        "the weights of the real tokens do not sum to 1: mask before the softmax": of(
            everything, [*arrays[:2], cleaned[2]]
        ),
        "the first row's length was taken for all rows": of(first_row),
        "the first row's length was taken for all rows, and padding was 0": of(first_row, cleaned),
        "the last real token is not seen": of(lambda t, length, time: range(max(length - 1, 1))),
        "one token of the padding is seen": of(lambda t, length, time: range(length + 1)),
    }


@attend.check(3)
def padding_changes_nothing(subject: Any, draw: Draw) -> None:
    """The outputs of real tokens are those of the row without padding, whatever the padding is."""
    for arrays, lengths in _ragged(draw):
        right = oracle.attend(arrays, lengths)
        real = np.arange(right.shape[1]) < lengths[:, None]
        given, symptoms = _case(arrays, lengths), _misread(arrays, lengths, real)
        got = np.asarray(call(subject, *arrays, lengths))
        if got.shape != right.shape:
            expect(got, right, given=given)
        expect(got[real], right[real], given=given, symptoms=symptoms)
        for strange in (1e9, np.nan):
            for x in arrays:
                x[~real] = strange
            got = np.asarray(call(subject, *arrays, lengths))
            sentence = f"padding of {strange} came through: a weight of 0 times NaN is NaN"
            if not np.isfinite(got[real]).all():
                raise Wrong(sentence, _case(arrays, lengths), got, right)
            expect(got[real], right[real], given=_case(arrays, lengths), otherwise=sentence)


@attend.check(2)
def zeros_and_thousands(subject: Any, draw: Draw) -> None:
    """Outputs of padding are 0; scores of ±100,000 are no overflow, and no mask is above them."""
    for arrays, lengths in _ragged(draw):
        got = np.asarray(call(subject, *arrays, lengths))
        padding = np.arange(got.shape[1]) >= lengths[:, None]
        sentence = "the outputs of padding are to be 0"
        expect(got[padding], np.zeros_like(got[padding]), given=_case(arrays, lengths),
               otherwise=sentence)  # fmt: skip
    large = float(draw.generator.integers(320, 400))
    value = draw.normal(1, 3, 1)
    sentences = {
        "e¹⁰⁰⁰⁰⁰ is too large for a float: take the largest score off first": (
            [large, -large, large], [large, -large, 0.0], 3
        ),
        "all weights of a query became 0: take the largest score of each query off, not of all": (
            [large, 1.0, -0.5], [large, 1.0, -0.5], 3
        ),
        "the real scores are far below that of the padding: set it to −∞ before the softmax": (
            [large, large, 0.0], [-large, 1.0 - large, 0.0], 2
        ),
    }  # fmt: skip
    for sentence, (query, key, length) in sentences.items():
        arrays = [np.array(x).reshape(1, 3, 1) for x in (query, key)]
        row, lengths = [*arrays, value], np.array([length])
        right, got = oracle.attend(row, lengths), np.asarray(call(subject, *row, lengths))
        if not np.isfinite(got).all():
            raise Wrong(sentence, _case(row, lengths), got, right)
        expect(got, right, given=_case(row, lengths), otherwise=sentence)


# ---- 7.7 tied_loss -------------------------------------------------------------------------------

tied_loss = Task("7.7", f"{BY_HAND}:tied_loss", "one matrix, two uses", "lecture 08, section 5")


def _tied(draw: Draw, repeated: bool) -> Any:
    """Vectors, weight, tokens, targets; tokens several times or each once."""
    for places, vocab, width in draw.cases(
        (1, 2, 1), (3, 4, 2), more=lambda g: (int(g.integers(2, 5)), 5, int(g.integers(1, 4)))
    ):
        tokens = draw.generator.permutation(vocab)[:places]
        if repeated:
            tokens = np.repeat(tokens, 2)
        targets = draw.generator.integers(vocab, size=len(tokens))
        yield draw.normal(vocab, width), draw.normal(width, width), tokens, targets


def _check_tied(subject: Any, case: Any, *, gradient: bool) -> None:
    vectors, weight, tokens, targets = case
    given = dict(zip(("vectors", "weight", "tokens", "targets"), case))
    got = call(subject, *case)
    if not isinstance(got, tuple) or len(got) != 2:
        raise Wrong("expected the loss and a gradient", given, got, "(loss, gradient)")
    right = oracle.tied(*case)
    if not gradient:
        symptoms = {
            "the sum was taken, not the mean": right * len(tokens),
            "the sign is wrong": -right,
            "the weight is turned: h = vectors[token] · weight": oracle.tied(
                vectors, weight.T, tokens, targets
            ),
            "the weight is missing": oracle.tied(vectors, np.eye(len(weight)), tokens, targets),
            "tokens and targets are exchanged": oracle.tied(vectors, weight, targets, tokens),
        }
        loss = float(got[0])
        expect(loss, right, given=given, symptoms=symptoms, otherwise=unless_near(loss, right))
        return
    slopes, mistakes = _both_uses(*case)
    expect(np.asarray(got[1]), slopes, given=given, symptoms=mistakes,
           otherwise="the gradient is wrong", tolerance=1e-6)  # fmt: skip


def _both_uses(
    vectors: NDArray, weight: NDArray, tokens: NDArray, targets: NDArray
) -> tuple[NDArray, dict[str, NDArray]]:
    """The gradient by differences, and what well-known mistakes give."""
    as_output = differences(lambda e: oracle.tied(vectors, weight, tokens, targets, e), vectors)
    as_input = differences(lambda e: oracle.tied(e, weight, tokens, targets, vectors), vectors)
    by_states = differences(
        lambda h: float(np.mean(oracle.cross_entropy(h @ vectors.T, targets))),
        vectors[tokens] @ weight,
    )
    last = np.zeros_like(vectors)
    for token, row in zip(tokens, by_states @ weight.T):
        last[token] = row

    def without_ones(e: NDArray) -> float:
        own = math.fsum(e[token] @ weight @ e[target] for token, target in zip(tokens, targets))
        return oracle.tied(e, weight, tokens, targets) + own / len(tokens)

    right, seen = as_output + as_input, np.isin(np.arange(len(vectors)), tokens)[:, None]
    return right, {
        "a token that is there twice gets both gradients: += with an index adds only one": (
            as_output + last
        ),
        "the gradient by the logits is p − 1 at the target: the 1 of the target is missing": (
            differences(without_ones, vectors)
        ),
        "the use as input is missing": as_output,
        "the use as output is missing": as_input,
        "the sum of both uses is asked for, not their mean": right / 2,
        "what came from the output was overwritten by what came from the input": np.where(
            seen, as_input, as_output
        ),
        "the gradient of the sum over the places, not of their mean": right * len(tokens),
        "the sign is wrong": -right,
        "this is the gradient by the states, not by the vectors": by_states,
    }


@tied_loss.check(2)
def loss_of_the_tied(subject: Any, draw: Draw) -> None:
    """The loss: the mean of −ln softmax(vectors[token] · weight · vectorsᵀ) at the targets."""
    for case in _tied(draw, repeated=True):
        _check_tied(subject, case, gradient=False)
    size = float(draw.generator.integers(38, 42))
    vectors, sentence = np.array([[size], [-size], [0.5]]), (
        "logits of 1600 overflow, or their probability is 0 and has no logarithm"
    )  # fmt: skip
    for tokens in ([0], [0, 2]):
        case = (vectors, np.ones((1, 1)), np.array(tokens), np.array([1, 0][: len(tokens)]))
        loss, right = float(call(subject, *case)[0]), oracle.tied(*case)
        given = dict(zip(("vectors", "weight", "tokens", "targets"), case))
        if not math.isfinite(loss):
            raise Wrong(sentence, given, loss, right)
        expect(loss, right, given=given, otherwise=sentence)
        sentence = "a p became 0: take the largest logit of each place off, not that of all"


SHARP = (
    "this is not the derivative: finite differences are far off where a softmax is as sharp as here"
)


def _check_sharp(subject: Any, draw: Draw, copies: int) -> None:
    """All vectors alike: all p are 1/vocab, and the use as input has no gradient."""
    (vocab, places), width = draw.generator.integers([3, 2], 6).tolist(), 2
    vectors = np.repeat(1 + draw.generator.random((1, width)), vocab, axis=0)
    weight = 1e4 * (1 + draw.generator.random((width, width)))
    tokens = np.repeat(draw.generator.integers(vocab, size=places), copies)
    targets = np.repeat(draw.generator.integers(vocab, size=1), len(tokens))
    shares = 1 / vocab - (np.arange(vocab) == targets[0])
    right = np.outer(shares, [math.fsum(vectors[0] * column) for column in weight.T])
    given = {"vectors": vectors, "weight": weight, "tokens": tokens, "targets": targets}
    got = np.asarray(call(subject, *given.values())[1])
    expect(got, right, given=given, otherwise=SHARP, tolerance=1e-8)


@tied_loss.check(3)
def both_uses(subject: Any, draw: Draw) -> None:
    """The gradient, of tokens that are there once: the sum of what both uses give."""
    for case in _tied(draw, repeated=False):
        _check_tied(subject, case, gradient=True)
    _check_sharp(subject, draw, copies=1)


@tied_loss.check(2)
def tokens_that_come_twice(subject: Any, draw: Draw) -> None:
    """The gradient, of tokens that are there several times."""
    for case in _tied(draw, repeated=True):
        _check_tied(subject, case, gradient=True)
    _check_sharp(subject, draw, copies=2)
