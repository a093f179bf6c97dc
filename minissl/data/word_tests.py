"""What word vectors are asked: how alike two words are, and a is to b as c is to ? Lecture 04.

Pairs that people have scored are compared by Spearman's rank correlation (WordSim-353: Finkelstein
et al. 2001), questions by how many are answered right (Mikolov, Chen, Corrado and Dean 2013). Both
count only what the vectors have words for, so the coverage is part of every result. A word that has
no vector is looked for in small letters.

The toy sets here were written for this library, some words of everyday life: they say whether
anything was learned, and compare with no published number.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from minissl.data.labels import rank_correlation
from minissl.data.vectors import WordVectors, analogy_scores, at_length_1, check_rule
from minissl.options import is_whole
from minissl.reading import reading
from minissl.text.files import read_text

SYNTACTIC = "gram"  # begins the names of the sections about forms of a word, in the published file
COLUMNS, QUESTIONS = 4096, 64  # candidates and questions that are scored at once: in the cache
WORDS = 4  # of a question


# ---- pairs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """Spearman's correlation of cosines and human scores over the pairs that are known.

    None where fewer than two of the ``total`` pairs have vectors for both words.
    """

    spearman: float | None
    known: int
    total: int


@dataclass(frozen=True)
class WordPairs:
    """Pairs of words, and how alike people find them: (pairs,) float64, the more the liker."""

    pairs: tuple[tuple[str, str], ...]
    scores: NDArray[np.float64]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """A pair a line: word, word, score, separated by tabs, commas or spaces.

        The first line may name the columns; further columns, empty lines and lines with "#" at
        their beginning are passed over. Raises FileError with the file and the line.
        """
        with reading(path, "pairs of words with scores"):
            return cls.parse(read_text(Path(path), any_kind=True))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The pairs in the text of a file. Raises ValueError with the line."""
        pairs: list[tuple[str, str]] = []
        scores: list[float] = []
        for row, (number, fields) in enumerate(_rows(text)):
            if len(fields) < 3 or not all(fields[:2]):
                raise ValueError(
                    f"line {number} has {' | '.join(fields)!r:.60}, expected two words and a score "
                    "with tabs, commas or spaces between them"
                )
            score = _number(fields[2])
            if not row and score is None and not any(c.isdigit() for c in fields[2]):
                continue  # the names of the columns
            if score is None or not np.isfinite(score):
                raise ValueError(
                    f"line {number} has the score {fields[2]!r:.40}, expected a number"
                )
            pairs.append((fields[0], fields[1]))
            scores.append(score)
        if not pairs:
            raise ValueError("it has no pair of words with a score")
        return cls(tuple(pairs), np.array(scores))

    @classmethod
    def toy(cls) -> Self:
        """Some pairs of everyday words, scored by those who wrote this."""
        return cls.parse(TOY_PAIRS)

    def measure(self, vectors: WordVectors) -> Agreement:
        """How well the cosines agree with the scores."""
        rows = [[_row(vectors, word) for word in pair] for pair in self.pairs]
        known = [number for number, pair in enumerate(rows) if None not in pair]
        if len(known) < 2:
            return Agreement(None, len(known), len(rows))
        chosen = vectors.matrix[np.array([rows[number] for number in known])].astype(np.float64)
        first, second = np.moveaxis(at_length_1(chosen), 1, 0)
        cosines = np.sum(first * second, axis=1).round(12)  # a word with itself: 1, whatever word
        return Agreement(rank_correlation(cosines, self.scores[known]), len(known), len(rows))


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The fields of each line with its number; the first line tells what separates them."""
    separator, quotes = "", ""
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not separator:
            separator = next((mark for mark in "\t," if mark in line), " ")
            quotes = '"' if separator == "," else ""
        fields = line.split() if separator == " " else line.split(separator)
        yield number, [field.strip().strip(quotes) for field in fields]


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _row(vectors: WordVectors, word: str, most: int | None = None) -> int | None:
    """The row of a word, or of it in small letters; None for one that is not among the first."""
    row = vectors.rows.get(word, vectors.rows.get(word.lower()))
    return row if row is None or most is None or row < most else None


# ---- questions -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answered:
    """How many of some questions were answered right, of those whose four words are known."""

    section: str
    right: int
    known: int
    total: int

    @property
    def accuracy(self) -> float | None:
        """The part of the known ones that is right, 0 to 1; None where none is known."""
        return self.right / self.known if self.known else None

    @classmethod
    def together(cls, section: str, several: Iterable[Answered]) -> Answered:
        """The sum of several sections."""
        counts = [(one.right, one.known, one.total) for one in several]
        return cls(section, *(sum(column) for column in zip(*counts, (0, 0, 0))))


Question = tuple[str, ...]  # a, b, c, and the right answer


@dataclass(frozen=True)
class AnalogyQuestions:
    """Questions by section: a is to b as c is to the fourth word."""

    sections: tuple[tuple[str, tuple[Question, ...]], ...]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Lines of four words, below lines ": name" of sections, as in Google's file.

        Empty lines and lines with "//" at their beginning are passed over. Raises FileError with
        the file and the line.
        """
        with reading(path, "analogy questions"):
            return cls.parse(read_text(Path(path), any_kind=True))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The questions in the text of a file. Raises ValueError with the line."""
        found: dict[str, list[Question]] = {}
        section = "questions"
        for number, line in enumerate(io.StringIO(text, newline=None), 1):
            words = tuple(line.split())
            if not words or line.startswith("//"):
                continue
            if line.startswith(":"):
                section = line[1:].strip() or f"section of line {number}"
            elif len(words) == WORDS:
                found.setdefault(section, []).append(words)
            else:
                raise ValueError(
                    f"line {number} has {len(words)} word(s), expected four (a b c d: a is to b as "
                    f"c is to d), or a colon and the name of a section: {line.strip()!r:.60}"
                )
        if not found:
            raise ValueError("it has no question, a line of four words")
        return cls(tuple((name, tuple(questions)) for name, questions in found.items()))

    @classmethod
    def toy(cls) -> Self:
        """Questions about everyday words: every pair of a line below with every other."""
        sections = []
        for line in TOY_PAIRINGS.strip().splitlines():
            name, *pairs = line.split()
            both = permutations([pair.split("-") for pair in pairs], 2)
            sections.append((name, tuple((*one, *other) for one, other in both)))
        return cls(tuple(sections))

    def measure(
        self, vectors: WordVectors, rule: str = "add", most: int | None = None
    ) -> list[Answered]:
        """How many of each section are answered right, by one of the rules of analogies.

        most: only the first words of the vocabulary are known and may be an answer, as published
        results have it (30,000, 300,000); None: all. Raises ValueError for another rule.
        """
        check_rule(rule)
        if most is not None and not (is_whole(most) and most >= 1):
            raise ValueError(f"most must be a whole number ≥ 1, or None, got {most!r:.60}")
        asked = [
            [[_row(vectors, word, most) for word in question] for question in questions]
            for _, questions in self.sections
        ]
        known = [[rows for rows in section if None not in rows] for section in asked]
        flat = np.array([rows for section in known for rows in section], np.int64)
        right = np.zeros(0, bool)
        if len(flat):
            right = _answers(vectors.units[:most], flat[:, :3], rule) == flat[:, 3]
        ends = np.cumsum([len(section) for section in known])[:-1]
        return [
            Answered(name, int(part.sum()), len(part), len(questions))
            for (name, questions), part in zip(self.sections, np.split(right, ends))
        ]


def summary(sections: Sequence[Answered]) -> list[Answered]:
    """Semantic sections, syntactic ones, and all; the first two only where there are both."""
    parts: dict[str, list[Answered]] = {"semantic": [], "syntactic": []}
    for one in sections:
        parts["syntactic" if one.section.startswith(SYNTACTIC) else "semantic"].append(one)
    both = parts if all(parts.values()) else {}
    return [Answered.together(name, some) for name, some in {**both, "all": sections}.items()]


def _answers(units: NDArray[np.float32], asked: NDArray[np.int64], rule: str) -> NDArray[np.int64]:
    """The row that fits each question best, (questions,); a, b and c are no answers.

    units: (candidates, width). asked: (questions, 3), rows of a, b, c. The cosines of all words
    that are asked about with some candidates are one product; every question then takes three rows.
    """
    best, answers = np.full(len(asked), -np.inf), np.zeros(len(asked), np.int64)
    used, place = np.unique(asked, return_inverse=True)
    place = place.reshape(asked.shape)
    for start in range(0, len(units), COLUMNS):
        cosines = units[used] @ units[start : start + COLUMNS].T
        for first in range(0, len(asked), QUESTIONS):
            some = slice(first, first + QUESTIONS)
            a, b, c = (cosines[place[some, i]] for i in range(3))
            scores = analogy_scores([b, c], [a], rule)
            question, word = np.nonzero((asked[some] - start) // COLUMNS == 0)
            scores[question, asked[some][question, word] - start] = -np.inf
            top = scores.argmax(axis=1)
            highest = scores[np.arange(len(top)), top]
            better = highest > best[some]
            best[some] = np.where(better, highest, best[some])
            answers[some] = np.where(better, start + top, answers[some])
    return answers


TOY_PAIRS = """\
word word score
large big 9.4
begin start 9.3
small little 9.2
happy glad 9.0
house home 8.8
father mother 8.3
king queen 8.3
brother sister 8.1
son daughter 8.1
boy girl 8.0
man woman 7.9
money bank 7.6
winter snow 7.5
river water 7.5
sea ship 7.2
fire smoke 7.2
sun moon 7.1
school teacher 7.1
dog cat 7.0
church prayer 7.0
day night 6.9
morning evening 6.9
table chair 6.8
doctor illness 6.7
bread butter 6.6
door window 6.5
pen paper 6.4
walk run 6.3
hand arm 6.2
horse carriage 6.1
eye face 5.8
good bad 5.4
book letter 5.3
love hate 5.0
head heart 4.4
road garden 3.6
friend dinner 2.9
doctor carriage 1.9
summer question 1.4
church dog 1.3
moon teacher 1.1
river letter 1.0
horse paper 1.0
king table 0.9
bread window 0.8
chair snow 0.7
brother smoke 0.5
butter night 0.5
"""
TOY_PAIRINGS = """
family man-woman king-queen boy-girl father-mother brother-sister son-daughter husband-wife
whole-and-part day-hour year-month house-room hand-finger week-day
gram-plural day-days house-houses hand-hands eye-eyes door-doors year-years
gram-past look-looked walk-walked ask-asked turn-turned call-called
gram-comparative large-larger small-smaller old-older young-younger long-longer
"""
