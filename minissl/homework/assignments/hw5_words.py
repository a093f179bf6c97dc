"""Homework 5, words and their pieces: tasks 5.1 and 5.2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minissl.homework.assignments import hw5_oracle as oracle
from minissl.homework.assignments.manners import call_twice
from minissl.homework.task import Draw, Task, Wrong, expect, expect_error


class _OnlyIn:
    """Answers ``in``, and nothing else."""

    def __iter__(self) -> Any:
        sentence = "this container only answers `in`: it cannot be gone through"
        raise Wrong(sentence, {"the container": self}, "a loop over it", "word in container")

    def __repr__(self) -> str:
        return "a container that only answers `in`"


def only_in(words: Iterable[str]) -> Any:
    """A container of these words; ``in`` runs nothing that is written in Python."""
    contains = staticmethod(frozenset(words).__contains__)
    return type("OnlyIn", (_OnlyIn,), {"__contains__": contains})()


# ---- 5.1 unknown_rate ----------------------------------------------------------------------------

unknown_rate = Task(
    "5.1", "minissl.text.words:unknown_rate", "how much is unknown", "lecture 03, section 1"
)


def _check_unknown(subject: Any, counts: Mapping[str, int], known: Any) -> None:
    lost, total = len(oracle.unknown_words(counts, known)), sum(counts.values())
    types = len({word for word in counts if word not in known})
    symptoms = {
        "different words were counted, not running words: a word of count n counts n times": (
            types / len(counts)
        ),
        "this is the part that is known": 1 - lost / total,
        "it is a part, from 0 to 1, not a percentage": 100 * lost / total,
        "unknown words were divided by the known ones: divide by all": lost
        / max(total - lost, 1e-9),
        "unknown words were divided by the number of different words": lost / len(counts),
        "this is a number of words: divide by all of them": float(lost),
        "words are looked up as they stand there, in capitals too": (
            len(oracle.unknown_words({w: n for w, n in counts.items() if w.lower() not in known},
                                     known)) / total
        ),
    }  # fmt: skip
    given = {"counts": dict(counts), "known": known}
    expect(call_twice(subject, counts, known), lost / total, given=given, symptoms=symptoms)


def _few_words(generator: np.random.Generator) -> dict[str, int]:
    words = generator.choice(list("abcdefABX"), size=5, replace=False)
    return {str(word): int(generator.integers(1, 9)) for word in words}


@unknown_rate.check(3)
def running_words(subject: Any, draw: Draw) -> None:
    """Of all words of the text, each as often as it occurs, the part that is not known."""
    fixed: list[dict[str, int]] = [{"a": 1, "x": 1}, {"a": 3, "x": 1}, {"a": 5, "b": 2, "x": 1}]
    for counts in draw.cases(*fixed, {"x": 2}, {"a": 2}, {"A": 1, "a": 2}, more=_few_words):
        _check_unknown(subject, counts, {"a", "b", "c"})


@unknown_rate.check(2)
def any_container(subject: Any, draw: Draw) -> None:
    """``known`` is whatever answers ``in``, as the ids of a vocabulary do; no word is an error."""
    for known in ({"[UNK]": 0, "a": 1}, ["a", "b"], frozenset("a"), only_in("ab")):
        for counts in draw.cases({"a": 4, "b": 2, "x": 1}, more=_few_words):
            _check_unknown(subject, counts, known)
    for none in ({}, {"a": 0, "x": 0}):
        expect_error(ValueError, subject, none, {"a"})


# ---- 5.2 longest_pieces --------------------------------------------------------------------------

longest_pieces = Task(
    "5.2",
    "minissl.text.wordpiece:longest_pieces",
    "WordPiece: longest match first",
    "lecture 03, section 5",
)
PIECES = ["u", "un", "una", "aff", "able", "##a", "##aff", "##ff", "##ffa", "##able", "##ble"]
PIECES += ["##b", "##l", "##le", "##n", "a", "n", "ab", "##ab"]
RIVALS = {  # a word -> tokens of which another rule than the greedy one makes something else
    "abcd": ["a", "abc", "##b", "##cd", "##d"],  # from the right
    "aabcdef": ["aa", "aab", "##bcdef", "##c", "##def"],  # the fewest pieces
    "abcdefgh": ["ab", "abcdef", "##cd", "##cdef", "##ef", "##gh"],  # short pieces only
}


def _check_pieces(subject: Any, word: str, tokens: list[str]) -> None:
    expected = oracle.cut(word, tokens)
    bare = [piece.removeprefix("##") for piece in expected or []]
    starts = (oracle.cut(word[:size], tokens) for size in range(len(word), -1, -1))
    fitted = next(pieces for pieces in starts if pieces is not None)
    symptoms: dict[str, Any] = {
        "the shortest piece that fits was taken: begin with all of the word": (
            oracle.cut(word, tokens, longest=False)
        ),
        "pieces inside a word are written with ##": bare,
        "the first piece has no ##": [f"##{piece}" for piece in bare],
        "## is for pieces inside the word, and was only looked up without": oracle.cut(
            word, [t for t in tokens if not t.startswith("##")]
        ),
        "the answer must be a list, not a tuple": tuple(expected or ()),
        "these are the fewest pieces: from left to right always the longest that fits": (
            oracle.fewest_pieces(word, tokens)
        ),
        "it was cut from the right: begin from left to right": oracle.cut_from_the_right(
            word, tokens
        ),
        "a piece may be as long as the word: this stops at some length": oracle.cut(
            word, [t for t in tokens if len(t.removeprefix("##")) <= 4]
        ),
    }
    if expected is None:
        symptoms = {
            "the longest piece is never given back: this is a cut that begins with a shorter one": (
                oracle.cut_somehow(word, tokens)
            ),
            "a word that cannot be cut to its end is None, whatever fitted before": fitted or None,
            "a word that cannot be cut is None here: [UNK] is what the tokenizer makes of it": [
                "[UNK]"
            ],
            "a word that cannot be cut is None, not an empty list": [],
            "a word is looked up as it stands there: it was lower-cased": oracle.cut(
                word.lower(), tokens
            ),
            "pieces that fitted, and [UNK]: one unknown piece makes all of the word unknown": [
                *fitted,
                "[UNK]",
            ],
        }
    given = {"word": word, "tokens": " ".join(tokens)}
    for container in (dict.fromkeys(tokens, 0), set(tokens), only_in(tokens)):
        got = call_twice(subject, word, container)
        if got and not all(piece.removeprefix("##") for piece in got):
            sentence = "## with no letter is no piece: every piece takes something off the word"
            raise Wrong(sentence, given, got, expected)
        expect(got, expected, given=given, symptoms=symptoms)


def _fitting(generator: np.random.Generator) -> str:
    """Seven letters that can be cut."""
    words = ("".join(generator.choice(list("unabl"), size=7)) for _ in range(10_000))
    return next(word for word in words if oracle.cut(word, PIECES) is not None)


@longest_pieces.check(5)
def longest_first(subject: Any, draw: Draw) -> None:
    """From left to right always the longest token that fits, with ## inside the word."""
    for word in draw.cases("a", "un", "una", "unable", "unaffable", "unaffa", "", more=_fitting):
        _check_pieces(subject, word, PIECES)
    for word, tokens in RIVALS.items():
        _check_pieces(subject, word, tokens)


@longest_pieces.check(4)
def nothing_fits(subject: Any, draw: Draw) -> None:
    """None when somewhere nothing fits, also where shorter pieces would have reached the end."""
    for word in draw.cases("ax", "x", "unx", more=lambda g: "".join(g.choice(list("anx"), 5))):
        _check_pieces(subject, word, PIECES)
        _check_pieces(subject, word, [*PIECES, "", "##"])
    _check_pieces(subject, "Una", PIECES)
    _check_pieces(subject, "abc", ["a", "ab", "##bc"])
    _check_pieces(subject, "aab", ["a", "##a", "##ab", "##aab"])
