"""Word vectors: neighbours by cosine, and analogies by both rules. Lecture 04.

A word has one vector, whatever stands around it. What is near in angle was used alike; differences
of vectors repeat themselves, so "man is to king as woman is to ?" can be asked as king − man +
woman (Mikolov, Yih and Zweig 2013). ``vector_files`` reads and writes them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.options import is_whole, several

RULES = ("add", "multiply")
EPSILON = 1e-3  # of 3CosMul, as in the paper: nothing is divided by 0
ROWS = 4096  # that are divided by their lengths at once
SPELLINGS = 50_000  # words, the first and so mostly the most frequent, that a typing error may mean

Scored = list[tuple[str, float]]
Float = TypeVar("Float", bound=np.floating)


class Mean(NamedTuple):
    """The mean vector (width,) of the words that are known, and how many these were."""

    vector: NDArray[np.float32]
    known: int


class WordVectors:
    """Words and their vectors: ``vectors["king"]``, ``"king" in vectors``, ``len(vectors)``.

    words: each once, by custom the most frequent first. matrix: (words, width), kept as float32; a
    copy is made unless it is float32 that cannot be written. ``place``: what a row is called in
    errors, for what was read from a file.

    Raises ValueError that names the word, and its row, when a vector is not finite, or a word is
    empty, stands twice or is half of a character.
    """

    def __init__(
        self,
        words: Iterable[str],
        matrix: ArrayLike,
        *,
        place: Callable[[int], str] = "row {}".format,
    ) -> None:
        self.words = several(words, "words")
        self.matrix = _as_matrix(matrix, len(self.words))
        self.rows = {word: row for row, word in enumerate(self.words)}
        _check_words(self.words, self.rows, place)
        if len(bad := np.flatnonzero(~np.isfinite(self.matrix).all(axis=1))):
            raise ValueError(
                f"{place(int(bad[0]))}: the vector of {self.words[bad[0]]!r:.60} is not finite (it "
                "has a NaN or an infinity): did the training diverge?"
            )

    @property
    def width(self) -> int:
        """How many numbers a vector has."""
        return self.matrix.shape[1]

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __getitem__(self, word: str) -> NDArray[np.float32]:
        """The vector of a word, (width,). KeyError with the nearest spellings for another."""
        return self.matrix[self.row(word)]

    def row(self, word: str) -> int:
        """The row of a word. KeyError with the nearest spellings for one that is not there."""
        try:
            return self.rows[word]
        except KeyError:
            pass
        if not isinstance(word, str):
            raise TypeError(f"a word is a text, got {type(word).__name__}: {word!r:.60}")
        near = self.spellings(word)
        like = f"; its nearest spellings are {', '.join(map(repr, near))}" if near else ""
        raise KeyError(f"no vector of the word {word!r:.60} among {len(self):,}{like}")

    def spellings(self, word: str, count: int = 3) -> list[str]:
        """Words that may have been meant: the same in small letters, then what is nearly it."""
        small = [word.lower()] if word.lower() in self.rows else []
        about = [one for one in self.words[:SPELLINGS] if abs(len(one) - len(word)) <= 2]
        near = difflib.get_close_matches(word[:100].lower(), about, count)
        return [*small, *(one for one in near if one not in small)][:count]

    @cached_property
    def units(self) -> NDArray[np.float32]:
        """The vectors at length 1, (words, width): the product of two is their cosine."""
        units = np.empty_like(self.matrix)
        for start in range(0, len(self), ROWS):
            units[start : start + ROWS] = at_length_1(self.matrix[start : start + ROWS])
        return units

    def similarity(self, first: str, second: str) -> float:
        """The cosine of two words' vectors, −1 to 1; 0 where one of them is zero."""
        a, b = (at_length_1(self[word].astype(np.float64)) for word in (first, second))
        return float(np.clip(a @ b, -1, 1))

    def neighbors(
        self, word: str | ArrayLike, count: int = 10, without: Iterable[str] = ()
    ) -> Scored:
        """The nearest words by cosine, the nearest first, each with its cosine.

        word: of the vocabulary (it is left out itself), or a vector (width,), of which nothing is
        left out. ``without``: further words to leave out. Equally near ones come in the order of
        the vocabulary. Raises KeyError for an unknown word, ValueError for no finite vector.
        """
        if isinstance(word, str):
            query, left_out = self.units[self.row(word)], {word}
        else:
            query, left_out = at_length_1(self._vector(word)).astype(np.float32), set()
        cosines = np.clip(self.units @ query, -1, 1)
        return self._best(cosines, count, left_out.union(several(without, "without")))

    def analogy(self, a: str, b: str, c: str, rule: str = "add", count: int = 10) -> Scored:
        """a is to b as c is to: the likeliest words, the likeliest first, with their scores.

        Man is to king as woman is to: ``analogy("man", "king", "woman")``. The three words are
        left out, since one of them, mostly b or c, would be the first. See ``combine``.
        """
        return self.combine((b, c), (a,), rule, count)

    def combine(
        self,
        plus: Sequence[str],
        minus: Sequence[str] = (),
        rule: str = "add",
        count: int = 10,
    ) -> Scored:
        """Words near to all of ``plus`` and far from ``minus``: see ``analogy_scores``.

        King − man + woman is ``combine(["king", "woman"], ["man"])``. The given words are left out.
        Raises ValueError without a word in ``plus`` and for one that is in both, KeyError for an
        unknown word.
        """
        given = [several(plus, "plus"), several(minus, "minus")]
        if not given[0]:
            raise ValueError("plus is empty: give at least one word that is added")
        if both := [word for word in given[0] if word in given[1]]:
            raise ValueError(f"{both[0]!r:.60} is added and taken away: leave it out on both sides")
        near, far = ([self.units @ self.units[self.row(w)] for w in words] for words in given)
        return self._best(analogy_scores(near, far, rule), count, {*given[0], *given[1]})

    def mean(self, words: Iterable[str]) -> Mean:
        """The mean vector of a text's words: unknown ones are passed over, repeated ones count.

        With ``known`` 0 it is zero: such a text has no vector.
        """
        rows = [self.rows[word] for word in several(words, "words") if word in self.rows]
        if not rows:
            return Mean(np.zeros(self.width, np.float32), 0)
        return Mean(self.matrix[rows].mean(axis=0, dtype=np.float64).astype(np.float32), len(rows))

    def _vector(self, values: ArrayLike) -> NDArray:
        vector = np.asarray(values)
        if vector.shape != (self.width,) or vector.dtype.kind not in "iuf":
            raise ValueError(
                f"expected a word or a vector ({self.width},) of numbers, got shape {vector.shape} "
                f"of {vector.dtype}"
            )
        if not np.isfinite(vector).all():
            raise ValueError("the vector is not finite: nothing is near to a NaN or an infinity")
        return vector.astype(np.float64)

    def _best(self, scores: NDArray, count: int, left_out: set[str]) -> Scored:
        """The words with the largest scores (words,), at most so many; of equal ones the first."""
        if not is_whole(count) or count < 1:
            raise ValueError(f"count must be a whole number ≥ 1, got {count!r:.60}")
        scores = scores.copy()
        scores[[self.rows[word] for word in left_out if word in self.rows]] = -np.inf
        count = min(count, int(np.sum(scores > -np.inf)))
        if not count:
            return []
        least = np.partition(scores, -count)[-count]
        candidates = np.flatnonzero(scores >= least)
        order = candidates[np.argsort(-scores[candidates], kind="stable")][:count]
        return [(self.words[row], float(scores[row])) for row in order]


def analogy_scores(plus: Sequence[NDArray], minus: Sequence[NDArray], rule: str = "add") -> NDArray:
    """How well words fit, from their cosines with what is added and what is taken away.

    plus, minus: of each given word its cosines with all candidates, arrays of one shape.

    "add", 3CosAdd: Σ cos − Σ cos. Its order is that of the cosine with the sum of the vectors at
    length 1 (Mikolov, Yih and Zweig 2013). "multiply", 3CosMul: Π c / Π (c + 0.001) with c = (1 +
    cos) / 2: no word can outweigh the others (Levy and Goldberg 2014). Raises ValueError for
    another rule.
    """
    check_rule(rule)
    if rule == "add":
        return np.asarray(sum(plus) - sum(minus))
    near, far = ([(1 + cosines) / 2 for cosines in given] for given in (plus, minus))
    return np.asarray(math.prod(near) / math.prod(one + EPSILON for one in far))


def check_rule(rule: str) -> None:
    """Raise ValueError unless it is one of the two rules of analogies."""
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {rule!r:.60}")


def at_length_1(vectors: NDArray[Float]) -> NDArray[Float]:
    """Vectors (..., width) divided by their lengths; those that are zero stay zero.

    Each is first divided by its largest number, so that no square is too large or too small.
    """
    largest = np.abs(vectors).max(axis=-1, keepdims=True)
    scaled = vectors / np.where(largest > 0, largest, largest.dtype.type(1))
    length = np.sqrt(np.sum(scaled * scaled, axis=-1, keepdims=True))
    return scaled / np.where(length > 0, length, length.dtype.type(1))


def _as_matrix(matrix: ArrayLike, count: int) -> NDArray[np.float32]:
    """(words, width) in float32 that cannot be written."""
    array = np.asarray(matrix)
    if array.dtype.kind not in "iuf" or array.ndim != 2 or len(array) != count or not array.size:
        raise ValueError(
            f"expected numbers (words, width), a vector for each of {count:,} words and at least "
            f"one, got shape {array.shape} of {array.dtype}"
        )
    if array.dtype != np.float32 or array.flags.writeable:
        with np.errstate(over="ignore"):  # an infinity is told with its word
            array = array.astype(np.float32)
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array


def _check_words(words: list[str], rows: dict[str, int], place: Callable[[int], str]) -> None:
    """Raise ValueError with its row for a word that could not be told from others, or written."""
    for row, word in enumerate(words):
        if not isinstance(word, str):
            raise ValueError(f"{place(row)}: a word is a text, got {word!r:.60}")
        if not word:
            raise ValueError(f"{place(row)}: the word is empty")
        if len(rows) < len(words) and rows[word] != row:
            raise ValueError(
                f"{place(row)} and {place(rows[word])} both are the vector of {word!r:.60}: leave "
                "one of them out"
            )
    try:
        "".join(words).encode()
    except UnicodeEncodeError:
        row = next(r for r, w in enumerate(words) if w != w.encode("utf-8", "ignore").decode())
        raise ValueError(f"{place(row)}: {words[row]!r:.60} has half of a character") from None
