"""Homework 7, whole words and spans: tasks 7.9 to 7.11."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from minissl.homework.assignments import hw7_oracle as oracle
from minissl.homework.assignments.hw7_hiding import BY_HAND, check_generator, is_mask
from minissl.homework.task import Draw, Task, Wrong, call, expect

Case = tuple[list[int], int]  # sizes of words, a budget


def _some_words(generator: np.random.Generator) -> Case:
    sizes = generator.integers(1, 5, int(generator.integers(1, 15))).tolist()
    return sizes, int(generator.integers(1, 8))


def _hidden(subject: Any, draw: Draw, sizes: Sequence[int], budget: int, **how: Any) -> tuple:
    """The words that a function hides, as booleans."""
    given = {"sizes": np.array(sizes), "budget": budget, **how}
    got = call(subject, np.array(sizes), budget, draw.generator, **how)
    return is_mask(got, len(sizes), given)


# ---- 7.9 choose_words ----------------------------------------------------------------------------

choose_words = Task("7.9", f"{BY_HAND}:choose_words", "whole words", "lecture 08, section 7")


@choose_words.check(3)
def what_fits(subject: Any, draw: Draw) -> None:
    """The budget is kept, and no word that would still fit stays visible."""
    for sizes, budget in draw.cases(
        ([1, 1], 1), ([1, 2], 2), ([3, 1, 1, 2], 4), ([2, 2, 1], 3), ([2, 1], 9), more=_some_words
    ):
        given = {"sizes": np.array(sizes), "budget": budget}
        for _ in range(10):
            got = _hidden(subject, draw, sizes, budget)
            used = sum(s for s, h in zip(sizes, got) if h)
            shown = np.array(got)
            if used > budget and not (min(sizes) > budget and sum(got) == 1):
                sentence = f"{used} tokens are hidden, the budget is {budget}"
                raise Wrong(sentence, given, shown, f"at most {budget} tokens")
            fits = [s for s, h in zip(sizes, got) if not h and s <= budget - used]
            if fits:
                sentence = (
                    f"a word of {fits[0]} would still fit: one that does not is passed over, and "
                    "the next is tried"
                )
                raise Wrong(sentence, given, shown, "nothing more fits")


@choose_words.check(3)
def any_order(subject: Any, draw: Draw) -> None:
    """All orders of the words are equally likely."""
    for sizes, budget, draws in (([1, 2, 3, 1], 3, 400), ([1, 1, 1], 1, 12_000), ([1] * 4, 2, 300)):
        sizes = draw.generator.permutation(sizes).tolist()
        given = {"sizes": np.array(sizes), "budget": budget}
        rows = {_hidden(subject, draw, sizes, budget) for _ in range(120)}
        sentence = "some words are hidden too often, others too seldom"
        if len(rows) == 3 and len(set(sizes)) > 1 and {int(np.dot(r, sizes)) for r in rows} == {3}:
            sentence = "the budget is filled as well as can be: a random order does not look ahead"

        def words(order: Any = None, **how: Any) -> oracle.Outcomes:
            orders = [*permutations(range(len(sizes)))]  # noqa: B023
            kept = [o for o in orders if order is None or order(sizes, o)]  # noqa: B023
            return oracle.words(sizes, budget, kept, **how)  # noqa: B023

        oracle.expect_outcomes(
            lambda sizes=sizes, budget=budget: _hidden(  # type: ignore[misc]
                subject, draw, sizes, budget
            ),
            words,
            given=given,
            symptoms={
                "the words are gone through from the left: in a random order": {
                    "order": lambda sizes, o: [*o] == sorted(o)
                },
                "the words are sorted by their size: the order is random": {
                    "order": lambda sizes, o: [sizes[w] for w in o] == sorted(sizes)
                },
                "the first word that does not fit ends it: it is passed over": {
                    "passed_over": False
                },
                "a word that does not fit is hidden, too": {"over": True},
                "larger words come earlier: all orders are equally likely": {"by_size": True},
            },
            otherwise=sentence,
            draws=draws,
        )


@choose_words.check(2)
def words_too_large(subject: Any, draw: Draw) -> None:
    """If no word fits one is hidden, any of them; all randomness is the generator's."""
    sizes = (np.array([0, 1, 0]) + int(draw.generator.integers(3, 9))).tolist()
    given = {"sizes": np.array(sizes), "budget": 2}
    if not any(_hidden(subject, draw, sizes, 2)):
        sentence = "nothing is hidden: if no word fits, the first of the order is"
        raise Wrong(sentence, given, "nothing", "one word")

    def one_of(words: Sequence[int] = (0, 1, 2)) -> oracle.Outcomes:
        rows = [tuple(i == word for i in range(3)) for word in words]
        return dict.fromkeys(rows, 1 / len(rows))

    oracle.expect_outcomes(
        lambda: _hidden(subject, draw, sizes, 2),
        one_of,
        given=given,
        symptoms={
            "the first word of the row is hidden: take the first of the random order": {
                "words": (0,)
            },
            "one of the shortest words is hidden: take the first of the random order": {
                "words": (0, 2)
            },
        },
        otherwise="if no word fits, the first of the random order is hidden",
        draws=150,
    )
    many = draw.generator.integers(1, 3, 60)
    given = {"sizes": many, "budget": 9}
    check_generator(lambda g: is_mask(call(subject, many, 9, g), 60, given), given, draw)


# ---- 7.10 length_probabilities -------------------------------------------------------------------

length_probabilities = Task(
    "7.10", f"{BY_HAND}:length_probabilities", "how long is a span?", "lecture 08, section 7"
)


def _check_lengths(
    subject: Any, asked: Mapping[str, Any], p: float = 0.2, longest: int = 10, before: float = 0.5
) -> None:
    """``asked``: what of the two is handed on; ``before``: the p of another call."""
    got, given = call(subject, **asked), {"p": p, "longest": longest}
    symptoms = {
        "what is above the longest was given to it: it is drawn again, so all are divided by their "
        "sum": np.array(oracle.lengths(p, longest, clipped=True)),
        "the sum is not 1: divide by it": np.array(oracle.lengths(p, longest, whole=False)),
        "the sum is not 1, and p is missing": np.array(
            oracle.lengths(p, longest, whole=False, factor=False)
        ),
        "length 1 has the exponent 0": np.array(oracle.lengths(p, longest, shift=1, whole=False)),
        "there is no span of 0 words": np.array(oracle.lengths(p, longest + 1)),
        "p and 1 − p are exchanged": np.array(oracle.lengths(1 - p, longest)),
        "all lengths are alike here": np.full(longest, 1 / longest),
        "the longest is the most likely here": np.array(oracle.lengths(p, longest))[::-1],
        "the ratio of neighbours is 1 − p, not e to the −p": np.array(
            oracle.lengths(1 - math.exp(-p), longest)
        ),
        "these are the numbers of another p: were they kept from a call before?": np.array(
            oracle.lengths(before, longest)
        ),
    }
    got, right = np.asarray(got), np.array(oracle.lengths(p, longest))
    sentence = "the values are wrong"
    if got.shape == right.shape and np.allclose(got, right, rtol=0, atol=0.02):
        sentence = "nearly: these are counts of draws, or a rounded table; the numbers are exact"
    expect(got, right, given=given, symptoms=symptoms, otherwise=sentence)


@length_probabilities.check(2)
def of_the_paper(subject: Any, draw: Draw) -> None:
    """p = 0.2 and 10 words: 3.80 words on average."""
    _check_lengths(subject, {})
    p, longest = float(draw.generator.uniform(0.1, 0.9)), int(draw.generator.integers(3, 9))
    _check_lengths(subject, {"p": p}, p=p, before=0.2)
    _check_lengths(subject, {"longest": longest}, longest=longest)
    one, other = (call(subject, p, longest) for _ in range(2))
    if (
        isinstance(one, np.ndarray)
        and isinstance(other, np.ndarray)
        and np.shares_memory(one, other)
    ):
        sentence = "two calls gave the same array: what is written into one is in the other"
        raise Wrong(sentence, {"p": p, "longest": longest}, "the same array", "two arrays")


@length_probabilities.check(2)
def of_any_p(subject: Any, draw: Draw) -> None:
    """Any p and any longest: each length is 1 − p times as likely as the one before it."""
    for p, longest in draw.cases(
        (0.5, 1), (0.5, 3), (0.3, 3), (0.001, 3000),
        more=lambda g: (float(g.uniform(0.05, 0.95)), int(g.integers(2, 12))),
    ):  # fmt: skip
        _check_lengths(subject, {"p": p, "longest": longest}, p, longest)


# ---- 7.11 choose_spans ---------------------------------------------------------------------------

choose_spans = Task("7.11", f"{BY_HAND}:choose_spans", "spans of words", "lecture 08, section 7")


@choose_spans.check(3)
def spans_apart(subject: Any, draw: Draw) -> None:
    """No two spans touch, and none is longer than ``longest`` words."""
    for words, longest in draw.cases((6, 1), (9, 2), more=lambda g: (int(g.integers(5, 20)), 2)):
        sizes, budget = [1] * words, words // 2
        given = {"sizes": np.array(sizes), "budget": budget, "longest": longest}
        for _ in range(8):
            got = _hidden(subject, draw, sizes, budget, longest=longest)
            lengths = [stop - start for start, stop in oracle.runs(got)]
            if max(lengths, default=0) > longest:
                sentence = (
                    f"{max(lengths)} neighbours are hidden, a span has at most {longest} here: two "
                    "of them touch, or one is too long"
                )
                raise Wrong(sentence, given, np.array(got), "a visible word between two spans")


@choose_spans.check(3)
def budget_of_spans(subject: Any, draw: Draw) -> None:
    """Not more tokens than the budget, but for a first word that is larger than it."""
    for sizes, budget in draw.cases(([1], 3), ([4], 2), ([1, 2, 2, 1], 3), more=_some_words):
        given = {"sizes": np.array(sizes), "budget": budget}
        for _ in range(5):
            got = _hidden(subject, draw, sizes, budget)
            used, shown = sum(s for s, h in zip(sizes, got) if h), np.array(got)
            if not used:
                sentence = "nothing is hidden: the first span has one word at least"
                raise Wrong(sentence, given, shown, "a span")
            if used > budget and sum(got) > 1:
                sentence = f"{used} tokens are hidden, the budget is {budget}: cut the span"
                raise Wrong(sentence, given, shown, f"at most {budget} tokens")


ANOTHER = "some words are hidden too often, others too seldom: another rule was followed"


def _of_spans(
    subject: Any, draw: Draw, case: Case, seen: Any = tuple, *, draws: int = 250,
    otherwise: str = ANOTHER, **how: Any,
) -> None:  # fmt: skip
    """Compare the outcomes, or what is seen of them, with those of the rule."""
    (sizes, budget), p, longest = case, how.get("p", 0.2), how.get("longest", 10)

    def spans(**changed: Any) -> oracle.Outcomes:
        changed = {"tries": how.get("tries", 60), **changed}
        return oracle.seen_as(seen, oracle.spans(sizes, budget, p, longest, **changed))

    oracle.expect_outcomes(
        lambda: seen(_hidden(subject, draw, sizes, budget, **how)),
        spans,
        given={"sizes": np.array(sizes), "budget": budget, **how},
        symptoms={
            "spans may touch: the words beside one stay visible": {"apart": False},
            "all lengths are alike: the short ones are likelier": {"of": [1 / longest] * longest},
            "only one span was hidden: go on while some of the budget is left": {"tries": 1},
            "a span that is too large is dropped whole: cut it": {"cut": False},
            "the last word goes over the budget: cut the span before it": {"over": True},
            "a length is in words, not in tokens": {"in_tokens": True},
            "spans have one word each": {"of": [1.0]},
            "p is that of ending, not that of going on": {"of": oracle.lengths(1 - p, longest)},
            "p is not handed on": {"of": oracle.lengths(0.2, longest)},
            "lengths above the longest were given to it: they are drawn again": {
                "of": oracle.lengths(p, longest, clipped=True)
            },
            "a span has a word too many": {"of": [0.0, *oracle.lengths(p, longest)]},
            "longest is not handed on": {"of": oracle.lengths(p, 10)},
            "a span at the end of the row was moved to the left: it is cut": {"moved": True},
            "a span goes round the end of the row: it is cut there": {"round_the_end": True},
            "only words that are free begin a span: any may, and a try may be in vain": {
                "free": True
            },
        },
        otherwise=otherwise,
        draws=draws,
    )


@choose_spans.check(3)
def places_and_lengths(subject: Any, draw: Draw) -> None:
    """First words and lengths are drawn as they should be, and what is drawn in vain is dropped."""
    words = int(draw.generator.integers(7, 10))
    _of_spans(subject, draw, ([1] * 4, 9), p=0.2, longest=3, tries=1, draws=600)
    _of_spans(subject, draw, ([1] * words, 20), sum, p=0.7, longest=4, tries=1)
    _of_spans(subject, draw, ([1] * words, 20), sum, p=0.2, longest=3, tries=1)
    _of_spans(subject, draw, ([2, 2, 2, 2], 3), p=0.4, longest=3, tries=1)
    _of_spans(subject, draw, ([2] * 2, 9), p=0.3, longest=2, tries=1, draws=300)
    _of_spans(subject, draw, ([1] * 5, 2), p=0.6, longest=2, tries=2, draws=400)
    sizes = draw.generator.permutation([1, 2, 1, 1, 3]).tolist()
    _of_spans(subject, draw, (sizes, 3), p=0.4, longest=3, tries=12)


@choose_spans.check(1)
def an_end(subject: Any, draw: Draw) -> None:
    """It ends where nothing more fits; all randomness is the generator's; p, longest and tries."""
    for _ in range(3):
        _hidden(subject, draw, [3, 3, 3], 4)
    sizes = draw.generator.integers(1, 3, 80)
    given = {"sizes": sizes, "budget": 12}
    check_generator(lambda g: is_mask(call(subject, sizes, 12, g), 80, given), given, draw)
    words = [1] * int(draw.generator.integers(35, 50))
    _of_spans(subject, draw, (words, 30), sum, tries=1, draws=1000, p=0.2, longest=10)
    sentence = "without p it is 0.2, and without longest it is 10"
    _of_spans(subject, draw, (words, 30), sum, tries=1, draws=1000, otherwise=sentence)
    _of_spans(subject, draw, ([1] * 6, 3), sum, p=0.5, longest=1, tries=60)
    sentence = "without tries it is 60"
    _of_spans(subject, draw, ([1] * 6, 3), sum, p=0.5, longest=1, otherwise=sentence)
    given = {"sizes": np.ones(30, int), "budget": 9, "tries": 1}
    got = _hidden(subject, draw, [1] * 30, 9, p=0.9, tries=1)
    if len(oracle.runs(got)) > 1:
        raise Wrong("with one try there is one span", given, np.array(got), "one span")
