"""Homework 8, what is asked of a text: task 8.9, how many names are right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minissl.homework.assignments import hw8_oracle as oracle
from minissl.homework.assignments.hw8_lora import BY_HAND, FORMS
from minissl.homework.task import Draw, Task, Wrong, call, expect

# ---- 8.9 span_f1 ---------------------------------------------------------------------------------

span_f1 = Task("8.9", f"{BY_HAND}:span_f1", "how many names are right", FORMS)
KINDS = ("person", "place", "work-of-art")


def _tags(generator: np.random.Generator, size: int, odd: bool) -> list[str]:
    """A sentence's tags; odd: "I-" stands where it likes."""
    tags: list[str] = []
    while len(tags) < size:
        kind = KINDS[generator.integers(3)]
        if generator.random() < 0.4:
            tags.append("O")
        elif odd:
            tags.append(f"{'BI'[generator.integers(2)]}-{kind}")
        else:
            tags += [f"B-{kind}", *[f"I-{kind}"] * int(generator.integers(3))]
    return tags[:size]


def _nearly(generator: np.random.Generator, right: list[list[str]], odd: bool) -> list[list[str]]:
    """Tags of which about half are those that are right."""
    found = []
    for tags in right:
        other = _tags(generator, len(tags), odd)
        cut = int(generator.integers(len(tags) + 1))
        found.append([*tags[:cut], *other[cut:]])
    return found


def _check_f1(subject: Any, right: Any, found: Any, symptoms: dict[str, float]) -> None:
    given = {"right": right, "found": found}
    got = call(subject, right, found)
    expect(float(got), oracle.span_f1(right, found), given=given, symptoms=symptoms,
           otherwise="the F1 is another")  # fmt: skip


def _f1_mistakes(right: Any, found: Any) -> dict[str, float]:
    """Numbers that are no F1 of whole names."""
    ours, theirs = oracle.names(right), oracle.names(found)
    common = len({*ours} & {*theirs})
    flat = [(r, f) for rs, fs in zip(right, found) for r, f in zip(rs, fs)]
    tagged = [(r, f) for r, f in flat if r != "O" or f != "O"]
    by_sentence = [oracle.span_f1([r], [f]) for r, f in zip(right, found)]
    return {
        "an I- of another type begins a new name": oracle.span_f1(right, found, any_type=True),
        "a name begins at B- alone: an I- behind O begins one, too": oracle.span_f1(
            right, found, only_b=True
        ),
        "a B- begins a new name, also behind one of its type": oracle.span_f1(
            right, found, no_b=True
        ),
        "this is the share of tags that are right: count names": np.mean([r == f for r, f in flat]),
        "this is the precision: F1 has the recall as well": common / max(len(theirs), 1),
        "this is the recall: F1 has the precision as well": common / max(len(ours), 1),
        "this is the mean of precision and recall: 2 p r / (p + r)": (
            common / max(len(theirs), 1) + common / max(len(ours), 1)
        ) / 2,
        "names were counted without their type": oracle.span_f1(right, found, lambda n: n[:3]),
        "names were counted by their last word alone": oracle.span_f1(
            right, found, lambda n: (n[0], *n[2:])
        ),
        "names were counted by their first word alone": oracle.span_f1(
            right, found, lambda n: (*n[:2], n[3])
        ),
        "names of other sentences were counted as right": oracle.span_f1(
            right, found, lambda n: n[1:]
        ),
        "the mean over the sentences was taken: all names together": float(np.mean(by_sentence)),
        "tags were counted, not whole names": (
            2 * sum(r == f for r, f in tagged)
            / max(sum((r != "O") + (f != "O") for r, f in flat), 1)
        ),
        "names go on into the next sentence": oracle.span_f1(right, found, one_line=True),
        "F1 is from 0 to 1, not in percent": 100 * oracle.span_f1(right, found),
    }  # fmt: skip


@span_f1.check(4)
def whole_names(subject: Any, draw: Draw) -> None:
    """Names that begin with B-: right with both ends and the type, all sentences together."""
    person, place = ["B-person", "I-person"], ["B-place"]
    fixed = (
        ([person], [["B-person", "O"]]), ([[*person, "O", *place]], [[*person, "O", "B-person"]]),
        ([["O", *person], place], [["B-person", *person], place]),
        ([["B-place", "B-place", "O", "O"]], [["B-place", "I-place", "O", "O"]]),
    )  # fmt: skip
    for right, found in fixed:
        _check_f1(subject, right, found, _f1_mistakes(right, found))
    for sizes in draw.cases(
        [3], [4, 5], [9, 1, 7], [6] * 5, more=lambda g: g.integers(1, 12, 4).tolist()
    ):
        right = [_tags(draw.generator, int(size), odd=False) for size in sizes]
        found = _nearly(draw.generator, right, odd=False)
        found = [_repaired(tags) for tags in found]
        _check_f1(subject, right, found, _f1_mistakes(right, found))


def _repaired(tags: Sequence[str]) -> list[str]:
    """An I- that goes on with nothing begins with B-."""
    kept: list[str] = []
    for tag in tags:
        before = kept[-1] if kept else "O"
        kept.append(f"B{tag[1:]}" if tag[0] == "I" and before[2:] != tag[2:] else tag)
    return kept


@span_f1.check(3)
def odd_tags(subject: Any, draw: Draw) -> None:
    """An I- begins a name behind O, behind another type, and at the beginning of a sentence."""
    fixed = (
        ([["O", "B-place"]], [["O", "I-place"]]),
        ([["B-person", "B-place"]], [["B-person", "I-place"]]),
        ([["B-place"], ["B-place", "O"]], [["B-place"], ["I-place", "O"]]),
        ([["I-place", "I-place"]], [["B-place", "I-place"]]),
    )
    for right, found in fixed:
        _check_f1(subject, right, found, _f1_mistakes(right, found))
    for sizes in draw.cases([4], [5, 3], [6] * 4, more=lambda g: g.integers(1, 9, 6).tolist()):
        right = [_tags(draw.generator, int(size), odd=True) for size in sizes]
        found = _nearly(draw.generator, right, odd=True)
        _check_f1(subject, right, found, _f1_mistakes(right, found))


@span_f1.check(2)
def nothing_right(subject: Any, draw: Draw) -> None:
    """0 where no name is right, also where there are none, or none was found."""
    for size in draw.cases(1, 4, more=lambda g: int(g.integers(1, 9))):
        names = _tags(draw.generator, size, odd=True)
        names[0] = f"B-{KINDS[draw.generator.integers(3)]}"
        other = [tag if tag == "O" else f"{tag}-2" for tag in names]
        empty = ["O"] * size
        for right, found in ((empty, empty), (names, empty), (empty, names), (names, other)):
            got = call(subject, [right], [found])
            given = {"right": [right], "found": [found]}
            if isinstance(got, float) and math.isnan(got):
                raise Wrong("0/0: without a right name it is 0", given, got, 0.0)
            expect(float(got), 0.0, given=given, otherwise="no name is right, so it is 0")
        expect(float(call(subject, [names], [names])), 1.0, given={"right": [names], "found":
               [names]}, otherwise="all names are right, so it is 1")  # fmt: skip
