"""Homework 7, whole words and spans: tasks 7.9 to 7.12."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

choose_words = Task("7.9", f"{BY_HAND}:choose_words", "whole words", "lectures/08, section 7")


@choose_words.check(3)
def what_fits(subject: Any, draw: Draw) -> None:
    """The budget is kept, and no word that would still fit stays visible."""
    for sizes, budget in draw.cases(
        ([1, 1], 1), ([1, 2], 2), ([3, 1, 1, 2], 4), ([2, 2, 1], 3), more=_some_words
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
    for sizes, budget in (([1, 1, 1], 1), ([1, 2, 3, 1], 3)):
        given = {"sizes": np.array(sizes), "budget": budget}

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
            },
            otherwise="some words are hidden too often, others too seldom",
        )


@choose_words.check(2)
def words_too_large(subject: Any, draw: Draw) -> None:
    """If no word fits one is hidden, any of them; all randomness is the generator's."""
    given = {"sizes": np.array([3, 4, 3]), "budget": 2}
    if not any(_hidden(subject, draw, [3, 4, 3], 2)):
        sentence = "nothing is hidden: if no word fits, the first of the order is"
        raise Wrong(sentence, given, "nothing", "one word")

    def one_of(words: Sequence[int] = (0, 1, 2)) -> oracle.Outcomes:
        rows = [tuple(i == word for i in range(3)) for word in words]
        return dict.fromkeys(rows, 1 / len(rows))

    oracle.expect_outcomes(
        lambda: _hidden(subject, draw, [3, 4, 3], 2),
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
    sizes = np.ones(60, np.int64)
    check_generator(
        lambda g: is_mask(call(subject, sizes, 9, g), 60, given), {"sizes": sizes, "budget": 9}
    )


# ---- 7.10 length_probabilities -------------------------------------------------------------------

length_probabilities = Task(
    "7.10", f"{BY_HAND}:length_probabilities", "how long is a span?", "lectures/08, section 7"
)


def _check_lengths(got: Any, p: float, longest: int, given: dict[str, Any]) -> None:
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
    }
    expect(np.asarray(got), np.array(oracle.lengths(p, longest)), given=given, symptoms=symptoms)


@length_probabilities.check(2)
def of_the_paper(subject: Any, draw: Draw) -> None:
    """p = 0.2 and 10 words: 3.80 words on average."""
    got = call(subject)
    _check_lengths(got, 0.2, 10, {"p": 0.2, "longest": 10})
    mean = float(np.sum(np.asarray(got) * np.arange(1, 11)))
    expect(round(mean, 2), 3.8, given={}, otherwise="the mean is not 3.80 words")


@length_probabilities.check(2)
def of_any_p(subject: Any, draw: Draw) -> None:
    """Any p and any longest: each length is 1 − p times as likely as the one before it."""
    for p, longest in draw.cases(
        (0.5, 1), (0.5, 3), more=lambda g: (float(g.uniform(0.05, 0.95)), int(g.integers(2, 12)))
    ):
        _check_lengths(call(subject, p, longest), p, longest, {"p": p, "longest": longest})


# ---- 7.11 choose_spans ---------------------------------------------------------------------------

choose_spans = Task("7.11", f"{BY_HAND}:choose_spans", "spans of words", "lectures/08, section 7")


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


def _of_spans(subject: Any, draw: Draw, case: Case, seen: Any = tuple, **how: Any) -> None:
    """Compare the outcomes, or what is seen of them, with those of the rule."""
    (sizes, budget), p, longest = case, how["p"], how["longest"]

    def spans(**changed: Any) -> oracle.Outcomes:
        changed = {"tries": how["tries"], **changed}
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
            "spans have one word each": {"of": [1.0]},
            "p is that of ending, not that of going on": {"of": oracle.lengths(1 - p, longest)},
            "p is not handed on": {"of": oracle.lengths(0.2, longest)},
            "lengths above the longest were given to it: they are drawn again": {
                "of": oracle.lengths(p, longest, clipped=True)
            },
            "a span has a word too many": {"of": [0.0, *oracle.lengths(p, longest)]},
        },
        otherwise="some words are hidden too often, others too seldom: another rule was followed",
        draws=250,
    )


@choose_spans.check(3)
def places_and_lengths(subject: Any, draw: Draw) -> None:
    """First words and lengths are drawn as they should be, and what is drawn in vain is dropped."""
    _of_spans(subject, draw, ([1] * 8, 20), sum, p=0.7, longest=4, tries=1)
    _of_spans(subject, draw, ([1] * 8, 20), sum, p=0.2, longest=3, tries=1)
    _of_spans(subject, draw, ([2, 2, 2, 2], 3), p=0.4, longest=3, tries=1)
    _of_spans(subject, draw, ([1, 2, 1, 1, 3], 3), p=0.4, longest=3, tries=12)


@choose_spans.check(1)
def an_end(subject: Any, draw: Draw) -> None:
    """It ends where nothing more fits; all randomness is that of the generator."""
    for _ in range(3):
        _hidden(subject, draw, [3, 3, 3], 4)
    sizes = np.ones(80, np.int64)
    given = {"sizes": sizes, "budget": 12}
    check_generator(lambda g: is_mask(call(subject, sizes, 12, g), 80, given), given)
    given = {"sizes": np.ones(30, int), "budget": 9, "tries": 1}
    got = _hidden(subject, draw, [1] * 30, 9, p=0.9, tries=1)
    if len(oracle.runs(got)) > 1:
        raise Wrong("with one try there is one span", given, np.array(got), "one span")


# ---- 7.12 boundaries -----------------------------------------------------------------------------

boundaries = Task(
    "7.12", f"{BY_HAND}:boundaries", "what is beside a span", "lectures/08, section 7"
)


def _check_boundaries(subject: Any, hidden: NDArray, which: Sequence[int]) -> None:
    found = oracle.runs(hidden.tolist())
    tokens = [(start, stop, place) for start, stop in found for place in range(start, stop)]

    def ints(values: Any) -> NDArray:
        return np.array([*values], np.int64)

    behind = ints(stop for _, stop, _ in tokens)
    right = (
        ints(start - 1 for start, _, _ in tokens),
        np.where(behind < len(hidden), behind, -1),
        ints(place - start for start, _, place in tokens),
    )
    symptoms: tuple[dict[str, NDArray], ...] = (
        {
            "a span that begins the row has −1 in front": np.maximum(right[0], 0),
            "this is the token before, which may be hidden: the one before its span": ints(
                place - 1 for _, _, place in tokens
            ),
            "this is the first of the span: the visible one before it": right[0] + 1,
            "there is one for each span: one for each hidden token": ints(s - 1 for s, _ in found),
        },
        {
            "a span that ends the row has −1 behind": behind,
            "what is behind a span that ends the row is −1": np.minimum(behind, len(hidden) - 1),
            "this is the token behind, which may be hidden: the one behind its span": ints(
                place + 1 for _, _, place in tokens
            ),
            "this is the last of the span: the visible one behind it": behind - 1,
            "there is one for each span: one for each hidden token": ints(s for _, s in found),
        },
        {
            "the first token of a span has place 0": right[2] + 1,
            "counted from the end of the span": ints(stop - 1 - p for _, stop, p in tokens),
            "this is the place in the row: that in the span is asked for": ints(
                place for _, _, place in tokens
            ),
            "counted on through all spans: each begins with 0": ints(range(len(tokens))),
            "this is the number of the span": ints(
                i for i, (start, stop) in enumerate(found) for _ in range(start, stop)
            ),
        },
    )
    given = {"hidden": hidden.astype(int)}
    got = call(subject, hidden)
    if not isinstance(got, tuple) or len(got) != 3:
        raise Wrong("expected three arrays", given, got, "(left, right, place)")
    for i in which:
        name = ("left", "right", "place")[i]
        wrong = {f"{name}: {sentence}": value for sentence, value in symptoms[i].items()}
        expect(got[i], right[i], given=given, symptoms=wrong, otherwise=f"{name} is another")


def _rows(draw: Draw) -> Any:
    """Rows whose ends are visible."""

    def more(generator: np.random.Generator) -> list[int]:
        return [0, *(generator.random(int(generator.integers(3, 15))) < 0.6).astype(int), 0]

    for row in draw.cases([0, 0, 1, 0], [0, 1, 1, 1, 0], [0, 1, 0, 1, 1, 0, 0], more=more):
        yield np.array(row, bool)


@boundaries.check(3)
def both_sides(subject: Any, draw: Draw) -> None:
    """The visible places before and behind the span of each hidden token."""
    for hidden in _rows(draw):
        _check_boundaries(subject, hidden, (0, 1))


@boundaries.check(2)
def places_in_spans(subject: Any, draw: Draw) -> None:
    """The place of each hidden token in its span, from 0."""
    for hidden in _rows(draw):
        _check_boundaries(subject, hidden, (2,))


@boundaries.check(1)
def ends_of_the_row(subject: Any, draw: Draw) -> None:
    """Spans that begin or end the row: −1 there; nothing hidden: three empty arrays."""
    for row in ([0], [0, 0], [1], [1, 1, 0], [0, 1], [1, 0, 1]):
        _check_boundaries(subject, np.array(row, bool), (0, 1, 2))
