"""Whole words, characters and bytes as tokens: what subwords are a compromise between.

All have the interface of ``Tokenizer`` and ``WordPiece``: ``encode(text)`` gives ids, ``decode``
text, ``vocab_size`` is how many ids there are. Words lose most (case, punctuation, every word that
is not in the vocabulary), characters only those that were not in the training text, bytes nothing.
Lecture 03; word vectors (lecture 04) have a row for each word of such a vocabulary.

Not here: the pieces that models of whole texts read, which are ``Tokenizer`` and ``WordPiece``.
"""

import operator
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import regex
from numpy.typing import NDArray

from minissl.durable import replace_durably
from minissl.options import is_whole
from minissl.reading import read_bytes, reading
from minissl.text.patterns import without_surrogates

UNKNOWN = "[UNK]"  # id 0: every word that the vocabulary does not have
UNKNOWN_CHARACTER = "\ufffd"  # id 0 of characters, and Unicode's own sign for "unknown"

_SPELLING = str.maketrans({"\u2019": "'", "\u00ad": None})  # one apostrophe; no soft hyphens
_RUN = r"[\p{L}\p{N}][\p{L}\p{M}\p{N}]*"
_WORD = regex.compile(rf"{_RUN}(?:['\u200c\u200d]{_RUN})*")
_ASCII_WORD = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")  # the same in ASCII, in a third of the time


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, in order.

    A word is a run of letters, their accents and digits; an apostrophe (straight or curved, written
    as "'") or a zero-width joiner between two of them is inside it. Everything else, hyphens and
    underscores too, stands between words and is lost. Letters and accents are composed (NFC), so
    that é is one spelling. A language without spaces is not cut: 你好吗 is one word.

    Example: "Don't re-read the Café's 2nd_page!" gives don't re read the café's 2nd page.
    """
    _require_text(text, "words_of")
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    text = unicodedata.normalize("NFC", text.translate(_SPELLING).lower())
    return _WORD.findall(text)


def count_words(texts: str | Iterable[str]) -> Counter[str]:
    """How often each word occurs in one text or several."""
    counts: Counter[str] = Counter()
    for text in [texts] if isinstance(texts, str) else texts:
        counts.update(words_of(text))
    return counts


def unknown_rate(counts: Mapping[str, int], known: Container[str]) -> float:
    """The part of the running words that is not known, from 0 to 1: what becomes [UNK].

    ``counts``: how often each word occurs in the text, as ``count_words`` has it; a word that
    occurs n times counts n times. Raises ValueError when there is no word at all. Lecture 03.
    """
    total = sum(counts.values())
    if not total:
        raise ValueError("the texts have no word, so none that could be unknown: give others")
    return sum(count for word, count in counts.items() if word not in known) / total


# ---- words ---------------------------------------------------------------------------------------


class WordVocabulary:
    """Words as tokens: id 0 is [UNK], then the words, the most frequent first.

    Of equally frequent words the smaller string has the smaller id, so the ids depend on the counts
    alone and not on the order of the texts. ``tokens[i]`` is the word with id i, ``ids`` the way
    back, ``counts`` (vocab,) int64 how often each was met in training: ``counts[0]`` is how many
    words were unknown there, all of those too rare together.

    counts: of words as ``words_of`` writes them. unknown: how many words were left out.

    Raises ValueError when there is no word, for what is no word, and for a count that is no
    positive whole number, or all of them beyond int64.
    """

    def __init__(self, counts: Mapping[str, int], unknown: int = 0) -> None:
        ranked = sorted(counts, key=lambda word: (-_count(counts[word], word), word))
        if not ranked:
            raise ValueError("there is no word: every text would be nothing but [UNK]")
        if words_of(" ".join(ranked)) != ranked:
            wrong = next(word for word in ranked if words_of(word) != [word])
            raise ValueError(
                f"{wrong!a:.60} is not one word as words_of writes it, which makes it "
                f"{words_of(wrong)!a:.60}: no text would ever have it"
            )
        numbers = [_count(unknown, UNKNOWN, least=0), *(int(counts[word]) for word in ranked)]
        if sum(numbers) >= 2**63:
            raise ValueError(f"{sum(numbers):,} words in all are more than any text has")
        self.tokens = [UNKNOWN, *ranked]
        self.ids = {token: number for number, token in enumerate(self.tokens)}
        self.counts: NDArray[np.int64] = np.array(numbers, np.int64)

    def __repr__(self) -> str:
        return f"WordVocabulary(vocab_size={self.vocab_size}, words={self.tokens[1:4]}...)"

    @property
    def vocab_size(self) -> int:
        """How many ids there are, [UNK] included: the rows of an embedding."""
        return len(self.tokens)

    @classmethod
    def train(cls, texts: str | Iterable[str], min_count: int = 5, most: int | None = None) -> Self:
        """The words that occur ``min_count`` times or more, the ``most`` most frequent of them.

        ``texts``: one text or several. [UNK] is not counted in ``most``; None: no limit. Raises
        ValueError when no word is left.
        """
        for name, value in (("min_count", min_count), ("most", most)):
            if value is not None and not (is_whole(value) and value >= 1):
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
        found = count_words(texts)
        kept = sorted(((-n, word) for word, n in found.items() if n >= min_count))[:most]
        if not kept:
            most_frequent = max(found.values(), default=0)
            raise ValueError(
                f"no word occurs min_count={min_count} times, of {len(found):,} words the most "
                f"frequent comes {most_frequent:,} times: give more text or a smaller min_count"
            )
        counts = {word: -n for n, word in kept}
        return cls(counts, found.total() - sum(counts.values()))

    def encode(self, text: str) -> list[int]:
        """The id of every word of the text; 0 for those that the vocabulary does not have."""
        return [self.ids.get(word, 0) for word in words_of(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """The words of the ids, a space between them. Raises ValueError for what is no id."""
        return " ".join(self.tokens[number] for number in _checked(ids, self.vocab_size))

    def unknown_rate(self, texts: str | Iterable[str]) -> float:
        """The part of the running words that is unknown, from 0 to 1. ValueError without a word."""
        return unknown_rate(count_words(texts), self.ids)

    # ---- files -----------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """As UTF-8 text, "word count" a line: [UNK], then the words in the order of their ids."""
        lines = (f"{token} {count}\n" for token, count in zip(self.tokens, self.counts.tolist()))
        return "".join(lines).encode()

    @classmethod
    def from_bytes(cls, data: bytes, name: str | os.PathLike[str]) -> Self:
        """What ``to_bytes`` gave. ``name``: of the file, for the FileError of what is damaged."""
        with reading(name, 'a word vocabulary, "word count" a line'):
            lines = data.decode("utf-8").split("\n")
            if lines.pop():
                raise ValueError("its last line has no end: it is cut off")
            counts: dict[str, int] = {}
            for number, line in enumerate(lines, 1):
                fields = _LINE.fullmatch(line)
                if not fields:
                    raise ValueError(f'line {number} is {line!r:.60}, expected "word count"')
                if fields[1] in counts:
                    raise ValueError(f"line {number} has {fields[1]!r:.60} a second time")
                counts[fields[1]] = int(fields[2])
            tokens = list(counts)
            if tokens[:1] != [UNKNOWN]:
                raise ValueError(f"line 1 must be {UNKNOWN} and how many words were unknown")
            found = cls(counts, counts.pop(UNKNOWN))
            if tokens != found.tokens:
                number = next(i for i, (a, b) in enumerate(zip(tokens, found.tokens)) if a != b)
                raise ValueError(
                    f"line {number + 1} has {tokens[number]!r:.60} where {found.tokens[number]!r} "
                    "belongs: by falling count, equal ones by their letters."
                )
            return found

    def write(self, path: str | os.PathLike[str]) -> None:
        """To a text file, replaced whole: see ``to_bytes``."""
        replace_durably(Path(path), self.to_bytes())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """From a file that ``write`` wrote. FileError with its name when it is damaged."""
        return cls.from_bytes(read_bytes(Path(path)), path)


_LINE = re.compile(r"([^ ]+) ([0-9]{1,18})\r?")


def _count(count: Any, word: str, least: int = 1) -> int:
    if not is_whole(count) or count < least:
        raise ValueError(f"the count of {word!r:.60} is {count!r:.40}, expected {least} or more")
    return int(count)


# ---- characters and bytes ------------------------------------------------------------------------


class Characters:
    """Each character of a text is a token; id 0 is for those that are not in the vocabulary.

    ``tokens[i]`` is the character with id i, in the order of Unicode after ``"\\ufffd"`` with id 0,
    which is what ``decode`` writes for it. Nothing is cleaned: case, spaces and line ends are kept.

    characters: a text; every character of it is in the vocabulary.
    """

    def __init__(self, characters: str) -> None:
        _require_text(characters, "Characters")
        known = set(without_surrogates(characters)) - {UNKNOWN_CHARACTER}
        self.tokens = [UNKNOWN_CHARACTER, *sorted(known)]
        self.ids = {token: number for number, token in enumerate(self.tokens)}

    @property
    def vocab_size(self) -> int:
        """How many ids there are: the rows of an embedding."""
        return len(self.tokens)

    @classmethod
    def train(cls, texts: str | Iterable[str]) -> Self:
        """Every character of one text or several."""
        known: set[str] = set()
        for text in [texts] if isinstance(texts, str) else texts:
            _require_text(text, "train")
            known.update(without_surrogates(text))
        return cls("".join(known))

    def encode(self, text: str) -> list[int]:
        """The id of every character; half of one (a lone surrogate) is unknown."""
        _require_text(text, "encode")
        return [self.ids.get(character, 0) for character in without_surrogates(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids. Raises ValueError for what is no id."""
        return "".join(self.tokens[number] for number in _checked(ids, self.vocab_size))


class Bytes:
    """Each byte of a text in UTF-8 is a token, its value the id: nothing to learn, none unknown.

    The ids of a ``Tokenizer`` without merges; a vocabulary of 257 with a separator is what a GPT of
    bytes has (lecture 05). A lone surrogate, which has no bytes, becomes U+FFFD.
    """

    vocab_size = 256

    def encode(self, text: str) -> list[int]:
        """The bytes of the text."""
        _require_text(text, "encode")
        return list(without_surrogates(text).encode())

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """The text of the bytes; ``errors`` as for ``bytes.decode`` where they are not UTF-8."""
        return bytes(_checked(ids, self.vocab_size)).decode("utf-8", errors)


# ---- checks --------------------------------------------------------------------------------------


def _require_text(text: object, by: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{by} takes a text, got {type(text).__name__}: {text!r:.40}")


def _checked(ids: Iterable[int], vocab_size: int) -> list[int]:
    """The ids as Python's numbers. TypeError for a fraction, ValueError for what is no id."""
    numbers = [operator.index(number) for number in ids]
    if wrong := [number for number in numbers if not 0 <= number < vocab_size]:
        raise ValueError(f"{wrong[0]} is no id: the vocabulary has 0 to {vocab_size - 1}")
    return numbers
