"""Homework 7, whole words and spans: task 7.12, what is beside a span."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw7_oracle as oracle
from minissl.homework.assignments.hw7_hiding import BY_HAND
from minissl.homework.task import Draw, Task, Wrong, call, expect

# ---- 7.12 boundaries -----------------------------------------------------------------------------

boundaries = Task("7.12", f"{BY_HAND}:boundaries", "what is beside a span", "lecture 08, section 7")


Three = tuple[NDArray, NDArray, NDArray]


def _beside(hidden: NDArray) -> tuple[Three, tuple[dict[str, NDArray], ...]]:
    """left, right and place, and for each what well-known mistakes give."""
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
    return right, (
        {
            "a span that begins the row has −1 in front": np.maximum(right[0], 0),
            "this is the token before, which may be hidden: the one before its span": ints(
                place - 1 for _, _, place in tokens
            ),
            "this is the first of the span: the visible one before it": right[0] + 1,
            "there is one for each span: one for each hidden token": ints(s - 1 for s, _ in found),
            "the row is no ring: −1 where nothing is before": right[0] % len(hidden),
        },
        {
            "a span that ends the row has −1 behind": behind,
            "what is behind a span that ends the row is −1": np.minimum(behind, len(hidden) - 1),
            "this is the token behind, which may be hidden: the one behind its span": ints(
                place + 1 for _, _, place in tokens
            ),
            "this is the last of the span: the visible one behind it": behind - 1,
            "there is one for each span: one for each hidden token": ints(s for _, s in found),
            "the row is no ring: −1 where nothing is behind": behind % len(hidden),
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


def _check_boundaries(subject: Any, hidden: NDArray, which: Sequence[int]) -> None:
    right, symptoms = _beside(hidden)
    given = {"hidden": hidden.astype(int)}
    got = call(subject, hidden)
    if not isinstance(got, tuple) or len(got) != 3:
        raise Wrong("expected three arrays", given, got, "(left, right, place)")
    for i in which:
        name = ("left", "right", "place")[i]
        wrong = {f"{name}: {sentence}": value for sentence, value in symptoms[i].items()}
        wrong[f"{name}: the tokens come in the order of the row"] = right[i][::-1]
        first = [stop - start for start, stop in oracle.runs(hidden.tolist())][:1]
        wrong[f"{name}: only the first span was looked at"] = right[i][: sum(first)]
        expect(got[i], right[i], given=given, symptoms=wrong, otherwise=f"{name} is another")


def _rows(draw: Draw) -> Any:
    """Rows whose ends are visible."""

    def more(generator: np.random.Generator) -> list[int]:
        return [0, *(generator.random(int(generator.integers(3, 15))) < 0.6).astype(int), 0]

    for row in draw.cases([0, 0, 1, 0], [0, 1, 1, 1, 0], [0, 1, 0, 1, 1, 0, 0], more=more):
        yield np.array(row, bool)
    long = draw.generator.random(1500) < 0.3
    long[100:1300], long[[0, -1]] = True, False
    yield long


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
    rows: tuple[list[int], ...] = ([0], [0, 0], [1, 1, 0], [0, 1], [1], [1, 0, 1])
    for row in draw.cases(*rows, more=lambda g: [1, *g.integers(0, 2, 9).tolist(), 1]):
        _check_boundaries(subject, np.array(row, bool), (0, 1, 2))
