"""Homework 7, pairs of texts: tasks 7.4 and 7.5."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw7_oracle as oracle
from minissl.homework.assignments.hw7_hiding import BY_HAND, check_generator
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error

# ---- 7.4 pack ------------------------------------------------------------------------------------

pack = Task("7.4", f"{BY_HAND}:pack", "a row of two texts", "lecture 08, section 4")


@dataclass(frozen=True)
class Texts:
    """Two texts, and the ids of [CLS] and [SEP]."""

    first: list[int]
    second: list[int]
    cls: int
    sep: int

    @classmethod
    def drawn(cls, draw: Draw, first: int, second: int) -> Texts:
        """Of so many tokens; in a longer text one comes twice."""
        texts = [draw.generator.integers(1, 100, size).tolist() for size in (first, second)]
        for text in texts:
            text[-1] = text[len(text) // 2 - 1] if len(text) > 1 else text[-1]
        special = 200 + draw.generator.permutation(900)[:2]
        return cls(*texts, *special.tolist())

    def row(self, **how: Any) -> NDArray:
        """[CLS] first [SEP] second [SEP]; each piece may be another."""
        own = {"first": self.first, "second": self.second, "cls": [self.cls], "sep": [self.sep]}
        pieces = {"between": own["sep"], "more": [], "end": own["sep"], **own, **how}
        names = ("cls", "first", "between", "more", "second", "end")
        return np.array([token for name in names for token in pieces[name]], np.int64)

    def cut(self, room: int, **how: Any) -> tuple[Any, Any]:
        """The row and its segments, of what there is room for."""
        first, second = oracle.cut(self.first, self.second, room, **how)
        return self.row(first=first, second=second), _segments(len(first) + 2, len(second) + 1)


def _segments(zeros: int, ones: int) -> NDArray:
    return np.repeat([0, 1], [zeros, ones])


def _packed(subject: Any, texts: Texts, room: int) -> tuple[Any, dict[str, Any]]:
    """Tokens and segments, and the case."""
    special = {"cls": texts.cls, "sep": texts.sep, "room": room}
    given = {"first": list(texts.first), "second": list(texts.second), **special}
    got = call(subject, list(texts.first), list(texts.second), **special)
    if not isinstance(got, tuple) or len(got) != 2:
        raise Wrong("expected two arrays, tokens and segments", given, got, "(tokens, segments)")
    return got, given


def _texts(draw: Draw) -> Iterator[Texts]:
    def more(generator: np.random.Generator) -> tuple[int, int]:
        first, second = generator.integers(1, 12, 2).tolist()
        return first, second

    for first, second in draw.cases((1, 1), (3, 2), (2, 5), more=more):
        yield Texts.drawn(draw, first, second)


@pack.check(3)
def tokens_of_the_row(subject: Any, draw: Draw) -> None:
    """[CLS] first [SEP] second [SEP] of texts that fit."""
    for texts in _texts(draw):
        (tokens, _), given = _packed(subject, texts, 30)
        once = {"first": [*dict.fromkeys(texts.first)], "second": [*dict.fromkeys(texts.second)]}
        symptoms = {
            "the [SEP] at the end is missing": texts.row(end=[]),
            "the [SEP] between the texts is missing": texts.row(between=[]),
            "[CLS] is missing in front": texts.row(cls=[]),
            "the second text begins with a [CLS] of its own": texts.row(more=[texts.cls]),
            "the texts are exchanged": texts.row(first=texts.second, second=texts.first),
            "101 and 102 are BERT's ids: take those that are given": texts.row(
                cls=[101], between=[102], end=[102]
            ),
            "a token that comes twice stays twice": texts.row(**once),
        }
        expect(
            tokens, texts.row(), given=given, symptoms=symptoms, otherwise="these are other tokens"
        )


@pack.check(2)
def segments_of_the_row(subject: Any, draw: Draw) -> None:
    """0 up to the first [SEP], itself too, then 1, up to the last [SEP], itself too."""
    for texts in _texts(draw):
        (_, segments), given = _packed(subject, texts, 30)
        first, second = len(texts.first), len(texts.second)
        right = _segments(first + 2, second + 1)
        symptoms = {
            "the [SEP] between the texts belongs to the first": _segments(first + 1, second + 2),
            "[CLS] has a segment, too: 0": _segments(first + 1, second + 1),
            "the [SEP] at the end belongs to the second text": np.append(
                _segments(first + 2, second), 0
            ),
            "segments are 0 and 1": right + 1,
            "all tokens are of one segment": _segments(first + second + 3, 0),
            "segments are exchanged: the first text's is 0": 1 - right,
        }
        expect(
            segments, right, given=given, symptoms=symptoms, otherwise="these are other segments"
        )
    texts.first[:], texts.second[0] = [texts.sep, *texts.first[1:]], texts.sep
    (_, segments), given = _packed(subject, texts, 30)
    sentence = "a text may hold the id of [SEP], too: count tokens, do not look for it"
    expect(segments, _segments(first + 2, second + 1), given=given, otherwise=sentence)


@pack.check(2)
def what_is_cut(subject: Any, draw: Draw) -> None:
    """The longer text loses its last token until the row fits; no room for 5 is an error."""
    sizes = ((8, 4, 9), (4, 8, 9), (2, 2, 6), (5, 5, 10), (1, 9, 8), (1, 9, 5), (4, 3, 10))

    def more(generator: np.random.Generator) -> tuple[int, int, int]:
        first, second, room = generator.integers([1, 1, 5], [12, 12, 20]).tolist()
        return first, second, room

    large = (1500, 1400, 60), (700, 640, int(draw.generator.integers(500, 1200)))
    for first, second, room in (*draw.cases(*sizes, more=more), *large):
        texts = Texts.drawn(draw, first, second)
        (tokens, segments), given = _packed(subject, texts, room)
        row, right = texts.cut(room)
        _check_tokens(tokens, texts, room, given)
        sentence = "there is not one segment for each token that is left"
        if np.shape(segments) != np.shape(tokens):
            raise Wrong(sentence, given, segments, tokens)
        symptoms = {
            "these are the segments of the texts before they were cut": _segments(
                first + 2, second + 1
            )[: len(row)]
        }
        sentence = "the segments of a row that was cut are wrong"
        expect(segments, right, given=given, symptoms=symptoms, otherwise=sentence)
    for room in (4, int(draw.generator.integers(4))):
        special = {"cls": texts.cls, "sep": texts.sep, "room": room}
        expect_error(ValueError, subject, texts.first[:1], texts.second[:1], **special)


def _check_tokens(tokens: Any, texts: Texts, room: int, given: dict[str, Any]) -> None:
    """Raise Wrong unless that is what is left of the row."""
    first, second, left = len(texts.first), len(texts.second), room - 3

    def row(**how: Any) -> NDArray:
        return texts.cut(room, **how)[0]

    def sized(m: int, n: int) -> NDArray:
        m, n = (m, n) if first + second > left else (first, second)
        return texts.row(first=texts.first[:m], second=texts.second[:n])

    part = min(max(round(left * first / (first + second)), 1), left - 1)
    symptoms = {
        "nothing was cut": row(special=-9999),
        "the three special tokens need room, too": row(special=0),
        "more was cut than has to be": row(special=4),
        "of equally long texts the second loses a token": row(which=lambda a, b: len(b) > len(a)),
        "always the second text was cut: the longer one loses, which is asked anew for every token":
            row(which=lambda a, b: len(b) > 1),
        "always the first text was cut: the longer one loses, which is asked anew for every token":
            row(which=lambda a, b: len(a) < 2),
        "each text got half of the room: what the shorter one leaves is the other's": sized(
            min(first, (left + 1) // 2), min(second, left // 2)
        ),
        "the texts were cut in proportion: the longer one loses, token by token": sized(
            part, left - part
        ),
        "a token in front was lost, not the last one": row(end=0),
        "the row was cut, at its end: the texts are, so that the [SEP]s stay": row(special=-9999)[
            :room
        ],
    }  # fmt: skip
    expect(tokens, row(), given=given, symptoms=symptoms, otherwise="another row was cut")


# ---- 7.5 next_sentence ---------------------------------------------------------------------------

next_sentence = Task("7.5", f"{BY_HAND}:next_sentence", "does it follow?", "lecture 08, section 4")
SIZES = (4, 1, 8)  # sentences of the documents


def _documents(draw: Draw, *sizes: int) -> list[list[str]]:
    """Documents of so many sentences, in any order; a sentence tells where it stands."""
    first = int(draw.generator.integers(20))
    letters = [chr(ord("a") + i) for i in range(first % 7, first % 7 + len(sizes))]
    ordered = draw.generator.permutation(sizes).tolist()
    return [[f"{name}{first + i}" for i in range(n)] for name, n in zip(letters, ordered)]


def _pairs(subject: Any, draw: Draw, documents: list[list[str]], count: int) -> list:
    found = []
    sentences = {sentence for document in documents for sentence in document}
    for _ in range(count):
        got = call(subject, documents, draw.generator)
        if not isinstance(got, tuple) or len(got) != 3:
            sentence = "expected a sentence, another, and a label"
            raise Wrong(sentence, {"documents": documents}, got, "(first, second, label)")
        if not all(isinstance(text, str) and text in sentences for text in got[:2]):
            sentence = "expected a sentence of the documents, another one, and a label"
            raise Wrong(sentence, {"documents": documents}, got, "(first, second, label)")
        if got[2] not in (0, 1):
            raise Wrong("a label is 0 or 1", {"documents": documents}, got, "0 or 1")
        found.append((str(got[0]), str(got[1]), int(got[2])))
    return found


def _follows(documents: Sequence[Sequence[str]]) -> set[tuple[str, str]]:
    return {pair for document in documents for pair in itertools.pairwise(document)}


@next_sentence.check(3)
def zero_is_next(subject: Any, draw: Draw) -> None:
    """Label 0: the second is the one behind the first. Label 1: it is of another document."""
    for documents in (_documents(draw, *SIZES), _documents(draw, 2, 3)):
        given = {"documents": documents}
        found = _pairs(subject, draw, documents, 60)
        follows = _follows(documents)
        turned = all(((a, b) in follows) == bool(label) for a, b, label in found)
        wrong: dict[str, tuple[str, str, int]] = {}
        for a, b, label in found:
            same = any(a in document and b in document for document in documents)
            if a == b:
                sentence = "a sentence was paired with itself"
            elif label == 0 and (b, a) in follows:
                sentence = "the second is the sentence in front of the first, not behind it"
            elif label == 0 and (a, b) not in follows:
                sentence = "label 0, and the second does not follow the first"
            elif label == 1 and same:
                sentence = "label 1, and the second is of the same document"
            else:
                continue
            wrong.setdefault(sentence, (a, b, label))
        if turned:
            sentence = "0 is the label of a text that follows, 1 of one that does not"
            raise Wrong(sentence, given, found[0], "the other label")
        if wrong:
            sentence = next((s for s in wrong if "in front" in s), next(iter(wrong)))
            raise Wrong(sentence, given, wrong[sentence], sorted(follows))


@next_sentence.check(3)
def how_often(subject: Any, draw: Draw) -> None:
    """Half of them follow; all first sentences are alike, all other documents, all in these."""
    documents = _documents(draw, *SIZES)
    found = _pairs(subject, draw, documents, 1000)

    def kind(pair: tuple[str, str, int]) -> Any:
        """The document of the first, and the second if it is of another."""
        return pair[0][0], pair[1] if pair[2] else "next", pair[2]

    def first(pair: tuple[str, str, int]) -> Any:
        return pair[0]

    for seen in (kind, first):
        order = iter(found)
        oracle.expect_outcomes(
            lambda seen=seen, order=order: seen(next(order)),  # type: ignore[misc]
            lambda seen=seen, **how: oracle.seen_as(seen, oracle.pairs(documents, **how)),
            given={"documents": documents},
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
                "the last sentence of another document is never the second: it may be": {
                    "not_last": True
                },
                "the document behind it is always taken: all others are alike": {"behind": True},
            },
            otherwise="some pairs come too often, others too seldom",
            draws=len(found),
        )
    _check_many(subject, draw, documents)


def _check_many(subject: Any, draw: Draw, documents: list[list[str]]) -> None:
    """The share of label 0 to two digits; and whether the two draws have to do with each other."""
    draws = 12_000
    found = [subject(documents, draw.generator) for _ in range(draws)]
    views: tuple[tuple[Any, str], ...] = (
        (lambda pair: pair[2], "nearly: with probability ½ the second follows"),
        (
            lambda pair: (pair[0], pair[1][0], pair[2]),
            "the other document depends on which sentence is first: draw both by themselves",
        ),
    )
    for view, sentence in views:
        counts = Counter(map(view, found))
        for seen, p in oracle.seen_as(view, oracle.pairs(documents)).items():
            often, right = counts[seen], draws * p
            if abs(often - right) > 6.3 * math.sqrt(right * (1 - p)) + (25 if p < 0.5 else 0):
                got = f"{seen}: {often} times in {draws} draws"
                raise Wrong(sentence, {"documents": documents}, got, f"about {right:.0f} times")


@next_sentence.check(1)
def draws_of_this_generator(subject: Any, draw: Draw) -> None:
    """The same generator gives the same pair; without a sentence that follows it is an error."""
    documents = _documents(draw, *SIZES)
    check_generator(lambda g: call(subject, documents, g), {"documents": documents}, draw)
    twice = [_documents(draw, 3)[0] for _ in range(2)]
    twice[1][:] = twice[0]
    try:
        labels = {label for _, _, label in _pairs(subject, draw, twice, 40)}
    except Wrong as error:
        labels, got = set(), error.got
    else:
        got = sorted(labels)
    if labels != {0, 1}:
        sentence = "two documents may have the same sentences: ask which one it is, not what is in"
        raise Wrong(sentence, {"documents": twice}, got, "both labels")
    expect_error(ValueError, subject, _documents(draw, 1, 1), draw.generator)
