"""The cloze zoo: which of two words goes on with a text, asked of a language model. Lecture 05.

A pair is a prompt, a right answer and a wrong one that differs from it only in what is asked. It is
counted as right when ln p(right | prompt) > ln p(wrong | prompt). Nothing is trained for it: what
comes out is what predicting the next word has taught. Warstadt et al. (2020, BLiMP) compare whole
sentences in this way.

The pairs made here are about a small world of which the data set ``small-world`` tells: see
``text/small_world.py`` for what a model must conclude and what it has read. Your own pairs are a
file: ``read_pairs``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minissl.reading import reading
from minissl.text.files import read_text
from minissl.text.small_world import minimal_pairs

COLUMNS = ("kind", "prompt", "right", "wrong")
REPAIR = "Change it, or see `minissl cloze --write-pairs FILE` for the form of a file"
BATCH = 64  # pairs that are scored at once


class CanScore(Protocol):
    """What is asked: see ``pretrain.method.Scores``, which stands above this module."""

    def score(self, prompts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        """ln p(answer | the document begins with prompt), in nats, of each pair: (pairs,)."""


@dataclass(frozen=True)
class ClozePair:
    """A prompt and two answers, as they stand in a text: the space before a word is the answer's.

    ``kind``: what the pair is about, for the table. An empty prompt is the beginning of a document.
    Raises ValueError for answers that are empty or equal, and for spaces that would be compared in
    place of words: a prompt that ends in one, or answers that do not begin and end with the same.
    """

    kind: str
    prompt: str
    right: str
    wrong: str

    def __post_init__(self) -> None:
        if not self.kind.strip() or not self.right.strip() or not self.wrong.strip():
            raise ValueError(f"the {COLUMNS[0]} or an answer is empty: {self.line()!r:.80}")
        if self.right == self.wrong:
            raise ValueError(f"both answers are {self.right!r:.60}: one must be wrong")
        if self.prompt[-1:].isspace():
            raise ValueError(
                f"the prompt {self.prompt[-40:]!r} ends with a space: let both answers begin with "
                "it, as words do in a text"
            )
        if _spaces(self.right) != _spaces(self.wrong):
            raise ValueError(
                f"the answers {self.right!r:.40} and {self.wrong!r:.40} begin or end with other "
                "spaces: give the same to both"
            )

    def line(self) -> str:
        """The pair as a line of a file, without the line's end."""
        return "\t".join((self.kind, self.prompt, self.right, self.wrong))


@dataclass(frozen=True)
class KindScore:
    """How the pairs of one kind came out.

    ``right``: the share for which the right answer is likelier, 0 to 1, where equals count as half.
    ``nats``: the mean of ln p(right) − ln p(wrong).
    """

    kind: str
    pairs: int
    right: float
    nats: float


def _spaces(answer: str) -> tuple[str, str]:
    """The white space before and behind the words."""
    return answer[: -len(answer.lstrip())], answer[len(answer.rstrip()) :]


# ---- pairs ---------------------------------------------------------------------------------------


def small_zoo(count: int = 100, seed: int = 0) -> list[ClozePair]:
    """``count`` pairs of each of the seven kinds about the small world, the same for each seed.

    Raises ValueError for a count that is odd, or more than there are (132, for trivia).
    """
    return [ClozePair(*row) for row in minimal_pairs(count, seed)]


def read_pairs(path: str | os.PathLike[str]) -> list[ClozePair]:
    """A pair a line, four columns with tabs between them: kind, prompt, right, wrong.

    The first line may be these names, also in capitals; empty lines are passed over. Spaces count:
    the answers begin with the space that stands before them in a text. Raises FileError with the
    file and the line.
    """
    with reading(path, "cloze pairs", advice=REPAIR):
        pairs: list[ClozePair] = []
        lines = read_text(Path(path), any_kind=True).replace("\r\n", "\n").split("\n")
        for number, line in enumerate(lines, 1):
            fields = line.split("\t")
            if not line.strip() or (not pairs and _plain(fields) == COLUMNS):
                continue
            if len(fields) != len(COLUMNS):
                raise ValueError(
                    f"line {number} has {len(fields)} column(s), expected {len(COLUMNS)} with tabs "
                    f"between them, {', '.join(COLUMNS)}: {line!r:.60}"
                )
            try:
                pairs.append(ClozePair(*fields))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
        if not pairs:
            raise ValueError("it has no pair, a line of four columns with tabs between them")
    return pairs


def _plain(fields: Sequence[str]) -> tuple[str, ...]:
    return tuple(field.strip().lower() for field in fields)


def to_tsv(pairs: Iterable[ClozePair]) -> str:
    """The text of a file that ``read_pairs`` reads. Raises ValueError for a tab or a line's end."""
    lines = ["\t".join(COLUMNS), *(pair.line() for pair in pairs)]
    if bad := next((line for line in lines if line.count("\t") != 3 or set("\r\n") & {*line}), ""):
        raise ValueError(f"a tab or the end of a line cannot be written in a pair: {bad!r:.80}")
    return "\n".join([*lines, ""])


# ---- scores --------------------------------------------------------------------------------------


def answer_scores(
    method: CanScore,
    pairs: Sequence[ClozePair],
    each: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> NDArray[np.float64]:
    """ln p of the right and of the wrong answer of each pair, in nats: (pairs, 2).

    ``each``: goes through the batches, perhaps with a bar. Raises ValueError for a score that is no
    finite number, of which none could be called the larger.
    """
    batches = [pairs[i : i + BATCH] for i in range(0, len(pairs), BATCH)]
    scores = np.zeros((0, 2))
    for batch in each(batches):
        answers = [answer for pair in batch for answer in (pair.right, pair.wrong)]
        prompts = [pair.prompt for pair in batch for _ in range(2)]
        found = np.asarray(method.score(prompts, answers), np.float64).reshape(len(batch), 2)
        if not np.isfinite(found).all():
            bad = batch[int(np.argmin(np.isfinite(found).all(axis=1)))]
            raise ValueError(f"the model gives no finite score to {bad.line()!r:.120}")
        scores = np.concatenate([scores, found])
    return scores


def by_kind(pairs: Sequence[ClozePair], scores: NDArray[np.float64]) -> list[KindScore]:
    """The kinds in the order in which they come; ``scores`` (pairs, 2): see ``answer_scores``."""
    differences = scores[:, 0] - scores[:, 1]
    right = (differences > 0) + (differences == 0) / 2
    kinds = np.array([pair.kind for pair in pairs])
    return [
        KindScore(kind, int(own.sum()), float(right[own].mean()), float(differences[own].mean()))
        for kind in dict.fromkeys(pair.kind for pair in pairs)
        for own in [kinds == kind]
    ]


def score_pairs(method: CanScore, pairs: Sequence[ClozePair]) -> list[KindScore]:
    """How a language model does in each kind of pairs. ``method``: a method that has ``score``."""
    return by_kind(pairs, answer_scores(method, pairs))
