"""Homework 5, words and their pieces: tasks 5.1 and 5.2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minissl.homework.assignments import hw5_oracle as oracle
from minissl.homework.task import Draw, Task, call, expect, expect_error

# ---- 5.1 unknown_rate ----------------------------------------------------------------------------

unknown_rate = Task(
    "5.1", "minissl.text.words:unknown_rate", "how much is unknown", "lectures/03, section 1"
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
    }
    given = {"counts": dict(counts), "known": known}
    expect(call(subject, counts, known), lost / total, given=given, symptoms=symptoms)


def _few_words(generator: np.random.Generator) -> dict[str, int]:
    words = generator.choice(list("abcdefgh"), size=5, replace=False)
    return {str(word): int(generator.integers(1, 9)) for word in words}


@unknown_rate.check(3)
def running_words(subject: Any, draw: Draw) -> None:
    """Of all words of the text, each as often as it occurs, the part that is not known."""
    fixed: list[dict[str, int]] = [{"a": 1, "x": 1}, {"a": 3, "x": 1}, {"a": 5, "b": 2, "x": 1}]
    for counts in draw.cases(*fixed, {"x": 2}, {"a": 2}, more=_few_words):
        _check_unknown(subject, counts, {"a", "b", "c"})


@unknown_rate.check(2)
def any_container(subject: Any, draw: Draw) -> None:
    """``known`` is whatever answers ``in``, as the ids of a vocabulary do; no word is an error."""
    for known in ({"[UNK]": 0, "a": 1}, ["a", "b"], frozenset("a")):
        _check_unknown(subject, {"a": 4, "b": 2, "x": 1}, known)
    expect_error(ValueError, subject, {}, {"a"})


# ---- 5.2 longest_pieces --------------------------------------------------------------------------

longest_pieces = Task(
    "5.2",
    "minissl.text.wordpiece:longest_pieces",
    "WordPiece: longest match first",
    "lectures/03, section 5",
)
PIECES = ["u", "un", "una", "aff", "able", "##a", "##aff", "##ff", "##ffa", "##able", "##ble"]
PIECES += ["##b", "##l", "##le", "##n", "a", "n", "ab", "##ab"]


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
            "pieces that fitted, and [UNK]: one unknown piece makes all of the word unknown": [
                *fitted,
                "[UNK]",
            ],
        }
    given = {"word": word, "tokens": " ".join(tokens)}
    for container in (dict.fromkeys(tokens, 0), set(tokens)):
        got = call(subject, word, container)
        expect(got, expected, given=given, symptoms=symptoms)


@longest_pieces.check(5)
def longest_first(subject: Any, draw: Draw) -> None:
    """From left to right always the longest token that fits, with ## inside the word."""
    fixed = ["a", "un", "una", "unable", "unaffable", "unaffa", ""]
    for word in draw.cases(*fixed, more=lambda g: "".join(g.choice(list("unabl"), size=7))):
        if oracle.cut(word, PIECES) is not None:
            _check_pieces(subject, word, PIECES)


@longest_pieces.check(4)
def nothing_fits(subject: Any, draw: Draw) -> None:
    """None when somewhere nothing fits, also where shorter pieces would have reached the end."""
    for word in draw.cases("ax", "x", "unx", more=lambda g: "".join(g.choice(list("anx"), 5))):
        _check_pieces(subject, word, PIECES)
    _check_pieces(subject, "abc", ["a", "ab", "##bc"])
    _check_pieces(subject, "aab", ["a", "##a", "##ab", "##aab"])
