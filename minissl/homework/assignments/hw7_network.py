"""Homework 7, the network: tasks 7.6 to 7.8."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw7_oracle as oracle
from minissl.homework.assignments.differences import differences
from minissl.homework.assignments.hw7_hiding import BY_HAND
from minissl.homework.task import Draw, Task, Wrong, call, expect

# ---- 7.6 attend ----------------------------------------------------------------------------------

attend = Task("7.6", f"{BY_HAND}:attend", "padding is not read", "lectures/08, section 5")


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
        }  # fmt: skip
        expect(call(subject, *arrays, lengths), of(), given=_case(arrays, lengths),
               symptoms=symptoms)  # fmt: skip


@attend.check(3)
def padding_changes_nothing(subject: Any, draw: Draw) -> None:
    """The outputs of real tokens are those of the row without padding, whatever the padding is."""
    for arrays, lengths in _ragged(draw):
        right = oracle.attend(arrays, lengths)
        real = np.arange(right.shape[1]) < lengths[:, None]
        given = _case(arrays, lengths)

        def of(**how: Any) -> NDArray:
            return oracle.attend(arrays, lengths, **how)[real]  # noqa: B023

        def as_zeros() -> NDArray:
            kept = [np.where(real[..., None], x, 0.0) for x in arrays]  # noqa: B023
            full = np.full(len(kept[0]), kept[0].shape[1])
            return oracle.attend(kept, full)[real]  # noqa: B023

        symptoms = {
            "padding was attended to": of(seen=lambda t, length, time: range(time)),
            "a score of 0 is no mask: it counts e⁰ = 1 in the softmax": as_zeros(),
            "the last real token is not seen": of(
                seen=lambda t, length, time: range(max(length - 1, 1))
            ),
            "one token of the padding is seen": of(seen=lambda t, length, time: range(length + 1)),
        }
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
    """Outputs of padding are 0; scores of 1000 are no overflow."""
    for arrays, lengths in _ragged(draw):
        got = np.asarray(call(subject, *arrays, lengths))
        padding = np.arange(got.shape[1]) >= lengths[:, None]
        sentence = "the outputs of padding are to be 0"
        expect(got[padding], np.zeros_like(got[padding]), given=_case(arrays, lengths),
               otherwise=sentence)  # fmt: skip
    query = np.array([[[100.0], [-100.0]]])
    value = np.array([[[1.0], [2.0]]])
    sentence = "e¹⁰⁰⁰⁰ is too large for a float: take the largest score off first"
    given = _case([query, query, value], np.array([2]))
    got = np.asarray(call(subject, query, query.copy(), value, np.array([2])))
    if not np.isfinite(got).all():
        raise Wrong(sentence, given, got, value)
    expect(got, value, given=given, otherwise=sentence)


# ---- 7.7 tied_loss -------------------------------------------------------------------------------

tied_loss = Task("7.7", f"{BY_HAND}:tied_loss", "one matrix, two uses", "lectures/08, section 5")


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
        expect(float(got[0]), right, given=given, symptoms=symptoms)
        return
    as_output = differences(lambda e: oracle.tied(vectors, weight, tokens, targets, e), vectors)
    as_input = differences(lambda e: oracle.tied(e, weight, tokens, targets, vectors), vectors)
    seen = np.isin(np.arange(len(vectors)), tokens)[:, None]
    wrong = {
        "the use as input is missing": as_output,
        "the use as output is missing": as_input,
        "the sum of both uses is asked for, not their mean": (as_output + as_input) / 2,
        "what came from the output was overwritten by what came from the input": np.where(
            seen, as_input, as_output
        ),
        "the gradient of the sum over the places, not of their mean": (as_output + as_input)
        * len(tokens),
        "the sign is wrong": -as_output - as_input,
    }
    hint = "the gradient is wrong"
    if len(set(tokens.tolist())) < len(tokens):
        hint = "a token that is there twice gets both gradients: += with an index adds only one"
    expect(np.asarray(got[1]), as_output + as_input, given=given, symptoms=wrong,
           otherwise=hint, tolerance=1e-6)  # fmt: skip


@tied_loss.check(2)
def loss_of_the_tied(subject: Any, draw: Draw) -> None:
    """The loss: the mean of −ln softmax(vectors[token] · weight · vectorsᵀ) at the targets."""
    for case in _tied(draw, repeated=True):
        _check_tied(subject, case, gradient=False)
    vectors = np.array([[40.0], [-40.0]])
    case = (vectors, np.ones((1, 1)), np.array([0]), np.array([1]))
    loss = float(call(subject, *case)[0])
    sentence = "logits of 1600 overflow, or their probability is 0 and has no logarithm"
    if not math.isfinite(loss):
        raise Wrong(sentence, {"vectors": vectors}, loss, 3200.0)
    expect(loss, 3200.0, given={"vectors": vectors}, otherwise=sentence)


@tied_loss.check(3)
def both_uses(subject: Any, draw: Draw) -> None:
    """The gradient, of tokens that are there once: the sum of what both uses give."""
    for case in _tied(draw, repeated=False):
        _check_tied(subject, case, gradient=True)


@tied_loss.check(2)
def tokens_that_come_twice(subject: Any, draw: Draw) -> None:
    """The gradient, of tokens that are there several times."""
    for case in _tied(draw, repeated=True):
        _check_tied(subject, case, gradient=True)


# ---- 7.8 classify --------------------------------------------------------------------------------

classify = Task("7.8", f"{BY_HAND}:classify", "a classifier on [CLS]", "lectures/08, section 5")
NAMES = ("states", "weight", "bias", "output")


def _classified(subject: Any, draw: Draw) -> Any:
    """The case by name, the loss and the gradients that were given, and the labels."""

    def more(generator: np.random.Generator) -> tuple[int, int, int, int]:
        batch, time, width, classes = generator.integers(2, 4, 4).tolist()
        return batch, time, width, classes

    for batch, time, width, classes in draw.cases((1, 2, 1, 2), (2, 3, 2, 3), more=more):
        shapes = ((batch, time, width), (width, width), (width,), (classes, width))
        arrays = dict(zip(NAMES, (draw.normal(*shape) for shape in shapes)))
        labels = draw.generator.integers(classes, size=batch)
        given = {**arrays, "labels": labels}
        got = call(subject, *arrays.values(), labels)
        if not isinstance(got, tuple) or len(got) != 2 or len(got[1]) != 4:
            sentence = "expected the loss, and a tuple of four gradients"
            raise Wrong(sentence, given, got, "(loss, (four gradients))")
        yield arrays, labels, given, got


@classify.check(1)
def loss_of_the_classifier(subject: Any, draw: Draw) -> None:
    """The mean of −ln softmax(tanh([CLS] · weightᵀ + bias) · outputᵀ) at the labels."""
    for arrays, labels, given, (loss, _) in _classified(subject, draw):
        states, weight, bias, output = arrays.values()

        def of(changed: Any = weight, **how: Any) -> float:
            return oracle.classified((states, changed, bias, output), labels, **how)  # noqa: B023

        symptoms = {
            "the last token's state was taken: [CLS] is the first": of(place=-1),
            "the mean of the states was taken: only that of [CLS]": oracle.classified(
                (states.mean(axis=1, keepdims=True), weight, bias, output), labels
            ),
            "the tanh is missing": of(squash=lambda x: x),
            "the weight is turned: state · weightᵀ": of(weight.T),
            "the bias is missing": of(squash=lambda x, b=bias: np.tanh(x - b)),
            "the sum was taken, not the mean": of() * len(labels),
            "the sign is wrong": -of(),
        }
        expect(float(loss), of(), given=given, symptoms=symptoms)


def _check_slopes(subject: Any, draw: Draw, names: Sequence[str]) -> None:
    for arrays, labels, given, (_, gradients) in _classified(subject, draw):
        for name, got in zip(NAMES, gradients):
            if name not in names:
                continue

            def loss(x: NDArray, name: str = name, squash: Any = np.tanh) -> float:
                changed = {**arrays, name: x}  # noqa: B023
                return oracle.classified(changed.values(), labels, squash=squash)  # noqa: B023

            right = differences(loss, arrays[name])
            symptoms = {
                "this is the gradient of the sum over the batch, not of the mean": right
                * len(labels),
                "the sign is wrong": -right,
                "it is turned": right.T,
                "the slope of tanh is missing: 1 − pooled²": _without_slope(arrays, labels)[name],
            }
            if name == "states":
                everywhere = np.repeat(right[:, :1], right.shape[1], axis=1)
                symptoms["only [CLS] was read: the other states have a gradient of 0"] = everywhere
                symptoms["this is the gradient of [CLS]: that of all states is asked for"] = right[
                    :, 0
                ]
            sentence = f"the gradient by {name} is wrong"
            expect(np.asarray(got), right, given=given, symptoms=symptoms, otherwise=sentence,
                   tolerance=1e-6)  # fmt: skip


def _without_slope(arrays: dict[str, NDArray], labels: NDArray) -> dict[str, NDArray]:
    """The gradients of the pooler as if tanh had the slope 1 everywhere."""
    states, weight, bias, output = arrays.values()
    pooled = np.tanh(states[:, 0] @ weight.T + bias)

    def loss(x: NDArray) -> float:
        return float(np.mean(oracle.cross_entropy(x @ output.T, labels)))

    back = differences(loss, pooled)
    by_states = np.zeros(states.shape)
    by_states[:, 0] = back @ weight
    none = np.zeros(0)
    return {
        "states": by_states, "weight": back.T @ states[:, 0], "bias": back.sum(axis=0),
        "output": none,
    }  # fmt: skip


@classify.check(3)
def slopes_of_the_heads(subject: Any, draw: Draw) -> None:
    """The gradients by weight, bias and output."""
    _check_slopes(subject, draw, ("weight", "bias", "output"))


@classify.check(2)
def slopes_of_the_states(subject: Any, draw: Draw) -> None:
    """The gradient by the states: 0 but for that of [CLS]."""
    _check_slopes(subject, draw, ("states",))
