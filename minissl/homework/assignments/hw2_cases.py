"""What the checks of homework 2 have in common: random words, and what holds for every answer."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

import numpy as np

from minissl.homework.assignments.hw2_oracle import Word
from minissl.homework.task import Wrong, call

SPARE = 200  # calls inside each other that an answer may need; a long case has more tokens


# ---- random cases --------------------------------------------------------------------------------


def tokens(text: str) -> Word:
    """ "ab c" -> (b"ab", b"c"): a word as the tasks take it."""
    return tuple(token.encode() for token in text.split())


def letters(generator: np.random.Generator, longest: int = 7, alphabet: str = "abc") -> str:
    """From a small alphabet, so that pairs repeat and counts are often equal."""
    return "".join(generator.choice(list(alphabet), size=generator.integers(1, longest + 1)))


def spaced(generator: np.random.Generator) -> str:
    """Two to six tokens, some of two bytes."""
    return " ".join(generator.choice(["a", "b", "ab"], size=generator.integers(2, 7)))


def odd_word(generator: np.random.Generator, longest: int = 8) -> Word:
    """Tokens of every kind of byte: a space, what means something elsewhere, what is no UTF-8."""
    kinds = [b" ", b"a", b",", b".", b"\x00", b"\xff", "é".encode(), b"a ", b"|"]
    chosen = generator.choice(len(kinds), size=generator.integers(2, longest + 1))
    return tuple(kinds[i] for i in chosen)


def counted(generator: np.random.Generator, alphabet: str = "abc") -> dict[bytes, int]:
    """A few words with small counts."""
    words = dict.fromkeys(letters(generator, 7, alphabet).encode("latin-1") for _ in range(5))
    return {word: int(generator.integers(1, 4)) for word in words}


# ---- what holds for every answer -----------------------------------------------------------------


def require_bytes(found: Sequence[Any], given: Mapping[str, Any]) -> None:
    """Raise Wrong for a token that looks like bytes and is none."""
    for token in found:
        if isinstance(token, int):
            sentence = "a token must be bytes: going through bytes gives numbers, use bytes([n])"
            raise Wrong(sentence, given, found, "bytes")
        if isinstance(token, bytearray | memoryview):
            kind = type(token).__name__
            raise Wrong(
                f"a token must be bytes, not a {kind}, which is no key", given, token, "bytes"
            )


def starts_anew(
    function: Callable[..., Any], *cases: tuple[tuple[Any, ...], Any], what: Sequence[str]
) -> None:
    """Raise Wrong when what was asked before changes an answer, or an answer changes it.

    Each case is the arguments and the answer; the first is asked again at the end. Answers that are
    wrong in another way are left to the other checks. ``what``: names of the arguments.
    """
    kept: list[tuple[Any, Any]] = []
    known: list[Any] = []  # answers that were right
    for arguments, expected in (*cases, cases[0]):
        got = call(function, *arguments)
        given = dict(zip(what, arguments))
        for old, was in kept:
            if old != was:
                sentence = "a later call changed the list that an earlier call gave: make a new one"
                raise Wrong(sentence, given, old, was)
        if len(kept) < len(cases) and got != expected and got in known:
            raise Wrong("this is the answer to an earlier call: forget it", given, got, expected)
        if len(kept) == len(cases) and got != kept[0][1] and kept[0][1] == expected:
            sentence = "an earlier call has changed the answer: every call has to start anew"
            raise Wrong(sentence, given, got, expected)
        kept.append((got, copy(got)))
        known += [copy(got)] if got == expected else []


def long_case(function: Callable[..., Any], *arguments: Any) -> Any:
    """``call`` with little room for calls inside calls, as a long word would leave.

    Python allows about a thousand of them; with fewer a case can be smaller.
    """
    try:
        with _shallow():
            return call(function, *arguments)
    except Wrong as error:
        if not isinstance(error.__cause__, RecursionError):
            raise
        sentence = (
            "it calls itself once for each token or merge, and Python ends that after about a "
            "thousand (RecursionError): write a loop"
        )
        raise Wrong(sentence, {"given": "a long case"}, "RecursionError", "a result") from error


@contextmanager
def _shallow() -> Iterator[None]:
    depth, frame = 0, sys._getframe()
    while (above := frame.f_back) is not None:
        depth, frame = depth + 1, above
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(min(limit, depth + SPARE))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
