"""Homework 8, a prefix: task 8.4."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw8_oracle as oracle
from minissl.homework.assignments.hw8_lora import BY_HAND, PARTS
from minissl.homework.task import Draw, Task, Wrong, call, expect

attend = Task("8.4", f"{BY_HAND}:attend_with_prefix", "keys and values before a text", PARTS)
Case = tuple[list[NDArray], tuple[NDArray, NDArray], NDArray]


def _cases(draw: Draw, padding: int = 0, places: int | None = None) -> Any:
    """Queries, keys and values; a prefix; lengths."""

    def more(generator: np.random.Generator) -> tuple[list[int], int, int]:
        lengths = generator.integers(1, 5, int(generator.integers(1, 4)))
        return lengths.tolist(), int(generator.integers(1, 4)), int(generator.integers(1, 4))

    for lengths, own, width in draw.cases(
        ([4], 2, 2), ([3, 3], 2, 1), ([1, 4], 3, 2), ([4, 2, 1], 1, 3), more=more
    ):
        if not padding:
            lengths = [max(lengths)] * len(lengths)
        time = max(lengths) + padding
        texts = [draw.normal(len(lengths), time, width) for _ in range(3)]
        count = own if places is None else places
        prefix = (draw.normal(count, width), draw.normal(count, width))
        yield texts, prefix, np.array(lengths)


def _given(case: Case, causal: bool) -> dict[str, Any]:
    texts, prefix, lengths = case
    names = ("query", "key", "value", "prefix", "lengths", "causal")
    return dict(zip(names, (*texts, prefix, lengths, causal)))


def _asked(subject: Any, case: Case, causal: bool) -> NDArray:
    texts, prefix, lengths = case
    return np.asarray(call(subject, *texts, prefix, lengths, causal=causal))


def _mistakes(case: Case, causal: bool) -> dict[str, NDArray]:
    """What well-known mistakes give, of rows without padding."""
    texts, prefix, lengths = case
    width, places = texts[0].shape[2], len(prefix[0])
    none = tuple(p[:0] for p in prefix)

    def of(**how: Any) -> NDArray:
        return np.asarray(oracle.attend(texts, prefix, lengths, causal, **how))

    found = {
        "the prefix is not read": of(before=none),
        "keys and values of the prefix are exchanged": of(before=prefix[::-1]),
        "only the first place of the prefix is seen": of(before=tuple(p[:1] for p in prefix)),
        "the scores were not divided by √width": of(root=1.0),
        "the scores were divided by the width, not by its root": of(root=float(width)),
        "prefix and text have a softmax each: it is one, over both together": of(apart=True),
        "the text is not read: the softmax is over prefix and text": of(end=lambda t, n: 0),
        "queries and keys are exchanged": np.asarray(
            oracle.attend((texts[1], texts[0], texts[2]), prefix, lengths, causal)
        ),
        "lengths count the text alone: the prefix took places of it": of(
            end=lambda t, n: max(n - places, 0)
        ),
        "the prefix took the places of the first tokens": of(begin=places),
    }
    return found | _causal_mistakes(case, causal)


def _causal_mistakes(case: Case, causal: bool) -> dict[str, NDArray]:
    """What a mask does wrong."""
    texts, prefix, lengths = case
    places = len(prefix[0])

    def of(**how: Any) -> NDArray:
        return np.asarray(oracle.attend(texts, prefix, lengths, causal, **how))

    if causal:
        return {
            "tokens behind are seen: causal means itself and those before": np.asarray(
                oracle.attend(texts, prefix, lengths, False)
            ),
            "not all of the prefix is seen: it stands before every text, whole": of(
                prefix_causal=True
            ),
            "a token does not see itself": of(ahead=-1),
            "the mask is off by the prefix: token t sees tokens up to t + places": of(ahead=places),
            "tokens see the next one": of(ahead=1),
            "token t sees t + 1 keys in all: those of the prefix come on top": np.asarray(
                _first_keys(case)
            ),
        }
    return {
        "tokens behind are not seen, though it is not causal": np.asarray(
            oracle.attend(texts, prefix, lengths, True)
        )
    }


def _first_keys(case: Case) -> NDArray:
    """Query t over the first t + 1 of prefix and text together."""
    texts, prefix, _ = case
    query, *both = texts
    whole = [np.stack([np.concatenate([p, row]) for row in x]) for p, x in zip(prefix, both)]
    outputs = np.zeros(query.shape)
    for i, t in np.ndindex(*query.shape[:2]):
        scores = [
            math.fsum(query[i, t] * k) / math.sqrt(query.shape[2]) for k in whole[0][i, : t + 1]
        ]
        outputs[i, t] = oracle.softmax(scores) @ whole[1][i, : t + 1]
    return outputs


def _check(subject: Any, draw: Draw, causal: bool) -> None:
    for case in _cases(draw):
        texts, prefix, lengths = case
        right = oracle.attend(texts, prefix, lengths, causal)
        expect(_asked(subject, case, causal), right, given=_given(case, causal),
               symptoms=_mistakes(case, causal))  # fmt: skip


@attend.check(3)
def in_both_directions(subject: Any, draw: Draw) -> None:
    """Not causal: every token attends to the whole prefix and to the whole text."""
    _check(subject, draw, causal=False)


@attend.check(3)
def causal_behind_a_prefix(subject: Any, draw: Draw) -> None:
    """Causal: the whole prefix, the token itself, and those of the text before it."""
    _check(subject, draw, causal=True)


@attend.check(2)
def with_padding(subject: Any, draw: Draw) -> None:
    """Rows of different lengths: padding is not read, also NaN, and its outputs are 0."""
    for case in _cases(draw, padding=2):
        texts, prefix, lengths = case
        real = np.arange(texts[0].shape[1]) < lengths[:, None]
        for causal, strange in ((False, None), (True, None), (False, np.nan), (True, np.nan)):
            if strange is not None:
                for x in texts:
                    x[~real] = strange
            right, given = oracle.attend(texts, prefix, lengths, causal), _given(case, causal)
            got = _asked(subject, case, causal)
            symptoms = _lengths_mistaken(case, causal) if strange is None else {}
            sentence = "another text came in: padding, or another row of the batch"
            if got.shape == right.shape and not np.isfinite(got[real]).all():
                raise Wrong("padding of NaN came through: 0 times NaN is NaN", given, got, right)
            if got.shape == right.shape and np.abs(np.nan_to_num(got[~real], nan=1.0)).max() > 0:
                raise Wrong("the outputs of padding are to be 0", given, got, right)
            expect(got, right, given=given, symptoms=symptoms, otherwise=sentence)


def _lengths_mistaken(case: Case, causal: bool) -> dict[str, NDArray]:
    texts, prefix, lengths = case

    def of(end: Any) -> NDArray:
        return np.asarray(oracle.attend(texts, prefix, lengths, causal, end=end))

    time, places = texts[0].shape[1], len(prefix[0])
    return {
        "padding is read": of(lambda t, n: time),
        "lengths are of the text: the prefix comes on top, and the last tokens were lost": of(
            lambda t, n: max(n - places, 0)
        ),
        "one token of padding is read": of(lambda t, n: n + 1),
        "the first row's length was taken for all": of(lambda t, n: lengths[0]),
    }


def _overflowing(large: float) -> Sequence[tuple[str, list[float], list[float], list[float]]]:
    """A sentence; queries, keys of the text and of the prefix, all of width 1."""
    return (
        ("e¹⁰⁰⁰⁰⁰ is too large for a float: take the largest score of each query off first",
         [large, -large], [large, -large], [large, 0.0]),
        ("all weights of a query became 0: take the largest score of each query off, not of all",
         [large, 1.0], [large, 1.0], [0.5, large]),
        ("the real scores are far below that of a mask: set it to −∞ before the softmax",
         [large, large], [-large, 1.0 - large], [-large, 0.5 - large]),
    )  # fmt: skip


@attend.check(2)
def no_places_and_thousands(subject: Any, draw: Draw) -> None:
    """A prefix of no places is plain attention; scores of ±100,000 are no overflow."""
    for case in _cases(draw, padding=1, places=0):
        for causal in (False, True):
            right = oracle.attend(case[0], case[1], case[2], causal)
            expect(_asked(subject, case, causal), right, given=_given(case, causal),
                   otherwise="without a prefix this is plain attention")  # fmt: skip
    for sentence, query, key, own in _overflowing(float(draw.generator.integers(320, 400))):
        texts = [np.array(x).reshape(1, 2, 1) for x in (query, key)] + [draw.normal(1, 2, 1)]
        case = (texts, (np.array(own).reshape(2, 1), draw.normal(2, 1)), np.array([2]))
        for causal in (False, True):
            right, got = (
                oracle.attend(case[0], case[1], case[2], causal),
                _asked(subject, case, causal),
            )
            if not np.isfinite(got).all():
                raise Wrong(sentence, _given(case, causal), got, right)
            expect(got, right, given=_given(case, causal), otherwise=sentence)
