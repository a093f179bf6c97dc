"""Homework 7, pairs of texts: tasks 7.4 and 7.5."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from minissl.homework.assignments import hw7_oracle as oracle
from minissl.homework.assignments.hw7_hiding import BY_HAND, check_generator
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error

# ---- 7.4 pack ------------------------------------------------------------------------------------

pack = Task("7.4", f"{BY_HAND}:pack", "a row of two texts", "lectures/08, section 4")
CLS, SEP = 101, 102
SPECIAL = {"cls": CLS, "sep": SEP}


def _packed(subject: Any, a: list[int], b: list[int], room: int) -> tuple[Any, dict[str, Any]]:
    """Tokens and segments, and the case."""
    given = {"first": a, "second": b, "room": room, **SPECIAL}
    got = call(subject, list(a), list(b), **SPECIAL, room=room)
    if not isinstance(got, tuple) or len(got) != 2:
        raise Wrong("expected two arrays, tokens and segments", given, got, "(tokens, segments)")
    return got, given


def _texts(draw: Draw) -> Any:
    """Two texts: ids that tell where they are from."""

    def more(generator: np.random.Generator) -> tuple[int, int]:
        first, second = generator.integers(1, 12, 2).tolist()
        return first, second

    for first, second in draw.cases((1, 1), (3, 2), (2, 5), more=more):
        yield list(range(1, 1 + first)), list(range(51, 51 + second))


@pack.check(3)
def tokens_of_the_row(subject: Any, draw: Draw) -> None:
    """[CLS] first [SEP] second [SEP] of texts that fit."""
    for a, b in _texts(draw):
        (tokens, _), given = _packed(subject, a, b, 30)
        symptoms = {
            "the [SEP] at the end is missing": np.array([CLS, *a, SEP, *b]),
            "the [SEP] between the texts is missing": np.array([CLS, *a, *b, SEP]),
            "[CLS] is missing in front": np.array([*a, SEP, *b, SEP]),
            "the second text begins with a [CLS] of its own": np.array(
                [CLS, *a, SEP, CLS, *b, SEP]
            ),
            "the texts are exchanged": np.array([CLS, *b, SEP, *a, SEP]),
        }
        right = np.array([CLS, *a, SEP, *b, SEP])
        expect(tokens, right, given=given, symptoms=symptoms, otherwise="these are other tokens")


@pack.check(2)
def segments_of_the_row(subject: Any, draw: Draw) -> None:
    """0 up to the first [SEP], itself too, then 1, up to the last [SEP], itself too."""
    for a, b in _texts(draw):
        (_, segments), given = _packed(subject, a, b, 30)

        def numbers(zeros: int, ones: int) -> Any:
            return np.repeat([0, 1], [zeros, ones])

        first, second = len(a), len(b)
        symptoms = {
            "the [SEP] between the texts belongs to the first": numbers(first + 1, second + 2),
            "[CLS] has a segment, too: 0": numbers(first + 1, second + 1),
            "the [SEP] at the end belongs to the second text": np.append(
                numbers(first + 2, second), 0
            ),
            "segments are 0 and 1": numbers(first + 2, second + 1) + 1,
            "all tokens are of one segment": numbers(first + second + 3, 0),
            "segments are exchanged: the first text's is 0": 1 - numbers(first + 2, second + 1),
        }
        expect(
            segments, numbers(first + 2, second + 1), given=given, symptoms=symptoms,
            otherwise="these are other segments",
        )  # fmt: skip


@pack.check(2)
def what_is_cut(subject: Any, draw: Draw) -> None:
    """The longer text loses its last token until the row fits; no room for 5 is an error."""
    sizes = ((2, 6, 7), (6, 2, 7), (2, 2, 6), (5, 5, 10), (1, 9, 5), (4, 3, 10))

    def more(generator: np.random.Generator) -> tuple[int, int, int]:
        first, second, room = generator.integers([1, 1, 5], [12, 12, 20]).tolist()
        return first, second, room

    for first, second, room in draw.cases(*sizes, more=more):
        a, b = list(range(1, 1 + first)), list(range(51, 51 + second))
        (tokens, segments), given = _packed(subject, a, b, room)

        def row(**how: Any) -> Any:
            one, two = oracle.cut(a, b, room, **how)  # noqa: B023
            return np.array([CLS, *one, SEP, *two, SEP])

        symptoms = {
            "nothing was cut": row(special=-99),
            "the three special tokens need room, too": row(special=0),
            "more was cut than has to be": row(special=4),
            "of equally long texts the second loses a token": row(
                which=lambda a, b: len(b) > len(a)
            ),
            "always the second text was cut: the longer one loses": row(
                which=lambda a, b: len(b) > 1
            ),
            "always the first text was cut: the longer one loses": row(
                which=lambda a, b: len(a) < 2
            ),
            "a token in front was lost, not the last one": row(end=0),
            "the row was cut, at its end: the texts are, so that the [SEP]s stay": row(special=-99)[
                :room
            ],
        }
        expect(tokens, row(), given=given, symptoms=symptoms, otherwise="another row was cut")
        sentence = "there is not one segment for each token that is left"
        if np.shape(segments) != np.shape(tokens):
            raise Wrong(sentence, given, segments, tokens)
    expect_error(ValueError, subject, [1], [2], **SPECIAL, room=4)


# ---- 7.5 next_sentence ---------------------------------------------------------------------------

next_sentence = Task("7.5", f"{BY_HAND}:next_sentence", "does it follow?", "lectures/08, section 4")
DOCUMENTS = (("a0", "a1", "a2", "a3"), ("b0",), tuple(f"c{i}" for i in range(8)))


def _pairs(subject: Any, draw: Draw, documents: Sequence[Sequence[str]], count: int) -> list:
    found = []
    for _ in range(count):
        got = call(subject, documents, draw.generator)
        if not isinstance(got, tuple) or len(got) != 3:
            sentence = "expected a sentence, another, and a label"
            raise Wrong(sentence, {"documents": documents}, got, "(first, second, label)")
        if got[2] not in (0, 1):
            raise Wrong("a label is 0 or 1", {"documents": documents}, got, "0 or 1")
        found.append((got[0], got[1], int(got[2])))
    return found


def _follows(documents: Sequence[Sequence[str]]) -> set[tuple[str, str]]:
    return {pair for document in documents for pair in itertools.pairwise(document)}


@next_sentence.check(3)
def zero_is_next(subject: Any, draw: Draw) -> None:
    """Label 0: the second is the one behind the first. Label 1: it is of another document."""
    for documents in (DOCUMENTS, (("d0", "d1"), ("e0", "e1", "e2"))):
        given = {"documents": documents}
        found = _pairs(subject, draw, documents, 60)
        follows = _follows(documents)
        turned = all(((a, b) in follows) == bool(label) for a, b, label in found)
        for a, b, label in found:
            sentence = ""
            same = any(a in document and b in document for document in documents)
            if turned:
                sentence = "0 is the label of a text that follows, 1 of one that does not"
            elif a == b:
                sentence = "a sentence was paired with itself"
            elif label == 0 and (b, a) in follows:
                sentence = "the second is the sentence in front of the first, not behind it"
            elif label == 0 and (a, b) not in follows:
                sentence = "label 0, and the second does not follow the first"
            elif label == 1 and same:
                sentence = "label 1, and the second is of the same document"
            if sentence:
                raise Wrong(sentence, given, (a, b, label), sorted(follows))


@next_sentence.check(3)
def how_often(subject: Any, draw: Draw) -> None:
    """Half of them follow; all first sentences are alike, all other documents, all in these."""
    found = _pairs(subject, draw, DOCUMENTS, 1000)

    def kind(pair: tuple[str, str, int]) -> Any:
        """The document of the first, and the second if it is of another."""
        return pair[0][0], pair[1] if pair[2] else "next", pair[2]

    def first(pair: tuple[str, str, int]) -> Any:
        return pair[0]

    for seen in (kind, first):
        order = iter(found)
        oracle.expect_outcomes(
            lambda seen=seen, order=order: seen(next(order)),  # type: ignore[misc]
            lambda seen=seen, **how: oracle.seen_as(seen, oracle.pairs(DOCUMENTS, **how)),
            given={"documents": DOCUMENTS},
            symptoms={
                "all pairs follow": {"half": 1.0},
                "no pair follows": {"half": 0.0},
                "a document is drawn first: all sentences with one behind them are alike": {
                    "by_document": True
                },
                "all sentences of other documents are alike: draw the document first": {
                    "all_sentences": True
                },
                "the last sentence of a document may be first: nothing can follow it": {
                    "last_too": True
                },
            },
            otherwise="some pairs come too often, others too seldom",
            draws=len(found),
        )


@next_sentence.check(1)
def draws_of_this_generator(subject: Any, draw: Draw) -> None:
    """The same generator gives the same pair; without a sentence that follows it is an error."""
    check_generator(lambda g: call(subject, DOCUMENTS, g), {"documents": DOCUMENTS})
    expect_error(ValueError, subject, (("a0",), ("b0",)), draw.generator)
