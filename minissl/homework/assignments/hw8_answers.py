"""Homework 8, what is asked of a text: tasks 8.7 and 8.8."""

from __future__ import annotations

from typing import Any

import numpy as np

from minissl.homework.assignments import hw8_oracle as oracle
from minissl.homework.assignments.hw8_lora import BY_HAND, FORMS
from minissl.homework.task import Draw, Task, Wrong, call, expect

# ---- 8.7 best_span -------------------------------------------------------------------------------

best_span = Task("8.7", f"{BY_HAND}:best_span", "where the answer stands", FORMS)


def _scored(draw: Draw, longest: int = 100) -> Any:
    """start, end, context, longest: [CLS], a question, [SEP], the context, [SEP]."""

    def more(generator: np.random.Generator) -> tuple[int, int]:
        return int(generator.integers(1, 4)), int(generator.integers(2, 12))

    for question, text in draw.cases((1, 1), (1, 3), (2, 6), (3, 9), more=more):
        time = question + text + 3
        context = (np.arange(time) >= question + 2) & (np.arange(time) < time - 1)
        start, end = draw.normal(time), draw.normal(time)
        start[0] = end[0] = -9.0
        yield start, end, context, longest


def _asked(subject: Any, case: Any, threshold: float, sentences: dict[str, dict[str, Any]]) -> None:
    """Compare one answer with that of trying all spans. ``sentences``: mistake -> flags."""
    start, end, context, longest = case
    right = oracle.best_span(start, end, context, longest, threshold)
    given = {"start": start, "end": end, "context": context.astype(int), "longest": longest,
             "threshold": threshold}  # fmt: skip
    got = call(subject, start, end, context, longest=longest, threshold=threshold)
    if got is not None and (not isinstance(got, tuple) or len(got) != 2):
        raise Wrong("expected two places, or None", given, got, right)
    got = got if got is None else tuple(int(place) for place in got)
    if got == right:
        return
    for sentence, how in sentences.items():
        if got == oracle.best_span(start, end, context, longest, threshold, **how):
            raise Wrong(sentence, given, got, right)
    raise Wrong("another span is better", given, got, right)


def _alone(case: Any) -> tuple[int, int]:
    """The best start, and the best end, each for itself, in the context."""
    start, end, context, _ = case
    return tuple(int(np.where(context, x, -np.inf).argmax()) for x in (start, end))  # type: ignore[return-value]


@best_span.check(4)
def the_best_of_all(subject: Any, draw: Draw) -> None:
    """The largest start[i] + end[j] with i <= j, in the context alone."""
    for case in _scored(draw):
        start, end, context, _ = case
        for turned in (False, True):
            if turned:  # so that the best start is behind the best end
                start[-2], end[np.argmax(context)] = 6.0, 6.0
            given = {"start": start, "end": end, "context": context.astype(int)}
            got = call(subject, start, end, context, longest=100)
            right = oracle.best_span(start, end, context, 100, 0.0)
            if got is not None and got != right and tuple(map(int, got)) == _alone(case):
                sentence = "start and end were taken each for itself: look at all i <= j together"
                raise Wrong(sentence, given, got, right)
            _asked(subject, case, 0.0, {
                "the answer ends before it begins: i <= j": {"first_end": lambda i: 0},
                "an answer of one place is one, too": {"first_end": lambda i: i + 1},
                "the question, [SEP] or padding was taken: only the context": {"everywhere": True},
                "the sum of the scores counts, not their product": {"product": True},
            })  # fmt: skip
            start[~context], end[~context] = start[~context] + 20, end[~context] + 20
            start[0] = end[0] = -40.0
            _asked(subject, case, 0.0, {
                "the question, [SEP] or padding was taken: only the context": {"everywhere": True},
            })  # fmt: skip


@best_span.check(2)
def at_most_so_long(subject: Any, draw: Draw) -> None:
    """At most ``longest`` places from i to j, and all of them of the context."""
    for start, end, context, _ in _scored(draw):
        for longest in (1, 2, 3):
            start[np.argmax(context)], end[-2] = 5.0, 5.0  # the whole context would be best
            _asked(subject, (start, end, context, longest), 0.0, {
                "j − i + 1 places are from i to j: one too many": {"one": 0},
                "j − i + 1 places are from i to j: one too few": {"one": 2},
                "longer than longest": {"one": -1000},
            })  # fmt: skip
        time = len(context)
        context = np.arange(time) % 3 > 0
        start[1], end[np.flatnonzero(context)[-1]] = 5.0, 5.0
        _asked(subject, (start, end, context, time), 0.0, {
            "the span goes over a place that is not of the context": {"ends_alone": True},
        })  # fmt: skip


@best_span.check(3)
def no_answer(subject: Any, draw: Draw) -> None:
    """None where [CLS] is more than ``threshold`` above the best span, and where there is none."""
    _check_both_of_cls(subject, draw)
    for case in _scored(draw):
        start, end, context, _ = case
        best = max(start[i] + end[j] for i in range(len(start)) for j in range(i, len(end))
                   if context[i : j + 1].all())  # fmt: skip
        for threshold, above in THRESHOLDS:
            end[0] = float(draw.generator.normal())
            start[0] = best + threshold + above - end[0]
            _asked(subject, case, threshold, {
                "the threshold is not looked at": {"sign": 0},
                "the threshold has the other sign: [CLS] must be more than so much above it": {
                    "sign": -1
                },
                "None is an answer, too": {"always": True},
            })  # fmt: skip
        start[0], end[0] = -5.0, -5.0
        nothing = (start, end, np.zeros(len(start), bool), 5)
        _asked(subject, nothing, 0.0, {})
        start[0] = end[0] = (best + 0.2) / 2
        got = call(subject, start, end, context, longest=100)
        if got is not None:
            given = {"start": start, "end": end, "context": context.astype(int)}
            raise Wrong("without a threshold it is 0", given, got, None)


# How far [CLS] is above best + threshold: each mistake shows where the ones before it do not.
THRESHOLDS = (
    (0.0, 0.7),
    (0.0, -0.7),
    (1.5, -2.0),
    (1.5, -0.7),
    (1.5, 0.7),
    (-1.5, 0.7),
    (-1.5, -0.7),
)


def _check_both_of_cls(subject: Any, draw: Draw) -> None:
    """The two scores of [CLS] disagree, and their sum decides."""
    size = float(draw.generator.uniform(5, 9))
    pairs = ((size, size), (size, -size - 1), (-size - 1, size), (0.3, 0.3), (0.25, 0.25))
    for pair in pairs:
        start, end = (np.array([score, -9.0, 0.25]) for score in pair)
        context = np.array([False, False, True])
        _asked(subject, (start, end, context, 3), 0.0, {
            "of [CLS] the mean was taken: it is the sum": {"nothing": sum(pair) / 2},
            "of [CLS] one of the two scores was looked at: it is their sum": {"nothing": max(pair)},
            "None is an answer, too": {"always": True},
            "[CLS] has to be above the best span, not as good": {"nothing": np.inf},
        })  # fmt: skip


@best_span.check(1)
def equal_and_minus_infinity(subject: Any, draw: Draw) -> None:
    """Of equal spans the first; scores of thousands, or −∞ where an answer cannot be."""
    for case in _scored(draw):
        start, end, context, longest = case
        flat = float(draw.generator.integers(-3, 3))
        level = (np.where(context, flat, -9.0), np.where(context, flat, -9.0), context, longest)
        _asked(subject, level, 0.0, {"of equal spans the first is taken": {"last": True}})
        large = (1000 * start, 1000 * end, context, longest)
        _asked(subject, large, 0.0, {})
        start[context], end[context] = -np.inf, -np.inf
        i = int(draw.generator.choice(np.flatnonzero(context)))
        start[i], end[i:] = -50.0, -60.0
        start[0] = end[0] = -np.inf
        _asked(subject, case, 0.0, {})
        _asked(subject, (-3000 + np.abs(draw.normal(len(start))), end * 0 - 3000, context, 100),
               1e9, {"sums may be far below 0: begin with −∞": {"always": False}})  # fmt: skip


# ---- 8.8 tagged_row ------------------------------------------------------------------------------

tagged_row = Task("8.8", f"{BY_HAND}:tagged_row", "tags of words, on pieces", FORMS)


def _sentences(draw: Draw, empty: bool = False) -> Any:
    """Words of one to four pieces, or of none, and their tags."""

    def more(generator: np.random.Generator) -> list[int]:
        return generator.integers(1, 5, int(generator.integers(1, 9))).tolist()

    for sizes in draw.cases([1, 4], [1], [2, 1], [1, 3, 1, 2], more=more):
        if empty:
            sizes = [*sizes, *[0] * 2]
            sizes = [sizes[i] for i in draw.generator.permutation(len(sizes))]
        words = [draw.generator.integers(10, 99, size).tolist() for size in sizes]
        yield words, draw.generator.integers(7, size=len(sizes)).tolist()


def _check_row(subject: Any, words: Any, tags: Any, room: int, more: dict[str, Any]) -> None:
    given = {"words": words, "tags": tags, "cls": 1, "sep": 2, "room": room}
    got = call(subject, words, tags, cls=1, sep=2, room=room)
    if not isinstance(got, tuple) or len(got) != 2:
        raise Wrong("expected the tokens and the targets", given, got, "(tokens, targets)")
    right = oracle.tagged_row(words, tags, 1, 2, room)
    flags = {
        **more,
        "a word is asked at its last token: at its first": {"asked": lambda p, n: p == n - 1},
        "every token of a word is asked: its first alone": {"asked": lambda p, n: True},
        "where nothing is asked −1 stands, not −100": {"nothing": -100},
        "where nothing is asked −1 stands: 0 is a tag": {"nothing": 0},
        "room is for all tokens, [CLS] and [SEP] too": {"special": 0},
        "room is for [SEP], too": {"special": 1},
        "there was room for one more token": {"special": 3},
    }
    wrong = {s: oracle.tagged_row(words, tags, 1, 2, room, **how) for s, how in flags.items()}
    for part, name in enumerate(("tokens", "targets")):
        symptoms = {f"{name}: {sentence}": found[part] for sentence, found in wrong.items()}
        if name == "targets":
            own = right[1]
            symptoms |= {
                "targets: one for each word: one for each token": np.array(tags),
                "targets: [CLS] and [SEP] have none: −1 at both ends": own[1:-1],
                "targets: [CLS] comes first, and moves all others": np.array([*own[1:], -1]),
            }
        expect(got[part], right[part], given=given, symptoms=symptoms,
               otherwise=f"the {name} are others")  # fmt: skip


@tagged_row.check(3)
def whole_sentences(subject: Any, draw: Draw) -> None:
    """All tokens between [CLS] and [SEP]; the tag at the first of each word, −1 elsewhere."""
    for words, tags in _sentences(draw):
        size = sum(map(len, words)) + 2
        for room in (size, size + 1, size + 50):
            _check_row(subject, words, tags, room, {})


@tagged_row.check(2)
def words_of_nothing(subject: Any, draw: Draw) -> None:
    """A word without a token is not asked, and its tag goes nowhere."""
    for words, tags in _sentences(draw, empty=True):
        kept = [tag for word, tag in zip(words, tags) if word]
        right = oracle.tagged_row(words, tags, 1, 2, 99)[1]
        given = {"words": words, "tags": tags, "cls": 1, "sep": 2, "room": 99}
        got = call(subject, words, tags, cls=1, sep=2, room=99)
        asked = np.asarray(got[1])
        if asked.shape == right.shape and asked[asked >= 0].tolist() != kept:
            sentence = "the tag of a word without a token came to another word"
            raise Wrong(sentence, given, asked, right)
        _check_row(subject, words, tags, 99, {})
    nothing: list[list[int]] = [[], []]
    _check_row(subject, nothing, [3, int(draw.generator.integers(7))], 9, {})


@tagged_row.check(3)
def cut_sentences(subject: Any, draw: Draw) -> None:
    """What is too long loses its last tokens, also in the middle of a word; [SEP] stays."""
    for words, tags in _sentences(draw):
        size = sum(map(len, words)) + 2
        for room in range(3, size):
            _check_row(subject, words, tags, room, {
                "a word may be cut in its middle: its first token still asks": {
                    "whole_words": True
                },
            })  # fmt: skip
