"""Homework 5, the experiment: what the checker repeats of it, and what a person judges."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.data import Kept
from minissl.data.vectors import WordVectors
from minissl.data.words import WordOptions, WordTexts
from minissl.homework.assignments import hw5_oracle as oracle
from minissl.homework.experiment import Experiment, Handed, Item
from minissl.homework.task import Draw, Wrong, call, expect
from minissl.text.documents import Document

experiment = Experiment(
    "5.12",
    "minissl.homework.assignments.hw5_experiment:measure",
    "how wide is the company that a word keeps?",
    "lectures/04, section 1",
    writes=("same_topic", "same_ending", "measure", "draw"),
    measures=("pairs", "topic", "ending"),
    rubric=(
        Item(1, "Expected: a guess for both shares that could turn out wrong, and a reason for it"),
        Item(2, "the plot: axes named, all seeds to be seen, readable in print without colours"),
        Item(1, "the table: means and spread over the seeds, and they are those of results.json"),
        Item(2, "Measured: what follows from the numbers, and of a difference whether it is more "
                "than the seeds differ among themselves"),
        Item(1, "Not shown: one thing that these numbers do not tell, and what would"),
    ),
)  # fmt: skip


# ---- nearest neighbours, on vectors that are given -----------------------------------------------


def _nearest(rows: NDArray, near: Any, itself: bool = False) -> list[int]:
    """For each row the other one with the largest ``near``."""
    found = []
    for i, row in enumerate(rows):
        others = [j for j in range(len(rows)) if itself or j != i]
        found.append(max(others, key=lambda j: near(row, rows[j])))
    return found


def _cosine(a: NDArray, b: NDArray) -> float:
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def _alike(labels: Sequence[str], nearest: Sequence[int]) -> float:
    return sum(labels[i] == labels[j] for i, j in enumerate(nearest)) / len(labels)


def _symptoms(rows: NDArray, labels: Sequence[str], what: str) -> dict[str, float]:
    """What well-known mistakes give for rows and their labels."""
    return {
        f"each {what} is its own nearest: leave it out": _alike(
            labels, _nearest(rows, _cosine, itself=True)
        ),
        "the largest dot product was taken, not the largest cosine": _alike(
            labels, _nearest(rows, lambda a, b: float(a @ b))
        ),
        "the smallest cosine was taken": _alike(
            labels, _nearest(rows, lambda a, b: -_cosine(a, b))
        ),
        f"this is a number of {what}s: divide by how many there are": (
            len(labels) * _alike(labels, _nearest(rows, _cosine))
        ),
    }


@experiment.check(2)
def nearest_documents(handed: Handed, draw: Draw) -> None:
    """same_topic, on vectors that are given: means of words, cosines, the nearest other one."""
    words = list("abcdefgh")
    for size in draw.cases(4, 6, more=lambda g: int(g.integers(5, 12))):
        matrix = draw.normal(len(words), 3) * draw.generator.uniform(0.2, 5, (len(words), 1))
        texts = [" ".join(draw.generator.choice(words, 4)) for _ in range(size)]
        texts = ["A x, a!", *texts]
        sources = ["p" if i % 2 else "q" for i in range(len(texts))]
        vectors = WordVectors(words, matrix)
        rows = np.array(
            [np.mean([matrix[words.index(w)] for w in text if w in words], axis=0)
             for text in (t.lower() for t in texts)]
        )  # fmt: skip
        documents = [Document(str(i), s, t) for i, (s, t) in enumerate(zip(sources, texts))]
        unknown = Document("unknown", "p", "x y z")
        given = {"vectors": matrix, "of the words": words, "documents": [(*d,) for d in documents]}
        got = call(handed.function("same_topic"), vectors, [*documents, unknown])
        expect(
            got,
            _alike(sources, _nearest(rows, _cosine)),
            given={**given, "and one": "whose words all have no vector"},
            symptoms=_symptoms(rows, sources, "document"),
        )


@experiment.check(2)
def nearest_endings(handed: Handed, draw: Draw) -> None:
    """same_ending, on vectors that are given: only words with an ending, and its three letters."""
    words = ["seeing", "reading", "walked", "seemed", "nicely", "hardly", "the", "thing", "red"]
    words += ["only", "using", "called", "lately", "a", "being", "need"]
    labels = {w: e for w in words for e in ("ing", "ed", "ly") if w.endswith(e)}
    long = {w: e for w, e in labels.items() if len(w) - len(e) >= 3}
    for width in draw.cases(2, 3, more=lambda g: int(g.integers(2, 6))):
        matrix = draw.normal(len(words), width) * draw.generator.uniform(0.2, 5, (len(words), 1))

        def rows_of(chosen: Any, matrix: NDArray = matrix) -> NDArray:
            return matrix[[words.index(word) for word in chosen]]

        rows, endings = rows_of(long), list(long.values())
        short = _alike(list(labels.values()), _nearest(rows_of(labels), _cosine))
        everything = [labels.get(word, "") for word in words]
        symptoms = {
            "a word like 'red' has no ending: three letters have to stand before it": short,
            "words without an ending are not looked at, also not as neighbours": _alike(
                everything, _nearest(matrix, _cosine)
            ),
            **_symptoms(rows, endings, "word"),
        }
        got = call(handed.function("same_ending"), WordVectors(words, matrix))
        given = {"words": words, "vectors": matrix}
        expect(got, _alike(endings, _nearest(rows, _cosine)), given=given, symptoms=symptoms)


# ---- training, in small --------------------------------------------------------------------------


def _two_topics(generator: np.random.Generator) -> list[Document]:
    """Texts of two topics without a common word, so that any training tells them apart."""
    documents = []
    for number in range(60):
        first = "bdfgk" if number % 2 else "lmnpr"
        words = [f"{a}{b}o{e}" for a in first for b in "aeu" for e in ("ing", "ed", "ly", "")]
        text = " ".join(generator.choice(words, int(generator.integers(20, 40))))
        documents.append(Document(str(number), first, text))
    return documents


def _small(handed: Handed, documents: list[Document], window: int, seed: int) -> dict[str, float]:
    options = {"window": window, "width": 8, "steps": 20, "batch_size": 640, "min_count": 2}
    got = call(handed.function("measure"), documents, documents, options, seed)
    given = {"options": options, "seed": seed}
    if not isinstance(got, dict) or got.keys() != {*experiment.measures}:
        raise Wrong("measure gives a dictionary of three numbers", given, got, experiment.measures)
    for name, value in got.items():
        if not isinstance(value, float | int) or not math.isfinite(value):
            raise Wrong(f"{name!r} is no finite number", given, got, "a finite number")
    return {name: float(value) for name, value in got.items()}


@experiment.check(1)
def pairs_in_the_window(handed: Handed, draw: Draw) -> None:
    """measure, "pairs": what stands within the window in the words that were trained on."""
    documents = _two_topics(draw.generator)
    stream = WordTexts(documents).prepare(Kept(), WordOptions(min_count=2)).stream
    words, of = stream.words.tolist(), stream.documents.tolist()
    for window in (1, 3):

        def total(window: int = window, **how: Any) -> float:
            return math.fsum(oracle.near(words, of, window, how.pop("share", _one), **how).values())

        sizes = Counter(of)
        symptoms = {
            "both directions count": total(both=False),
            "each pair counts 1, not 1/d": total(share=lambda distance: 1 / distance),
            "no pair crosses from one document into the next": total(cross=True),
            "how often a pair stands there counts: this is the number of different pairs": float(
                len(oracle.near(words, of, window, _one))
            ),
            "the window is not handed on": total(window=5),
            "this is the number of words": float(sizes.total()),
        }
        got = _small(handed, documents, window, 0)["pairs"]
        given = {"words": sizes.total(), "documents": len(sizes), "window": window}
        expect(got, total(), given=given, symptoms=symptoms)


def _one(distance: int) -> float:
    return 1.0


@experiment.check(1)
def training_in_small(handed: Handed, draw: Draw) -> None:
    """measure: the same seed twice gives the same, another seed not; two topics are told apart."""
    documents = _two_topics(draw.generator)
    first, again, other = (_small(handed, documents, 3, seed) for seed in (1, 1, 2))
    given = {"documents": "60 random texts of two topics without a common word"}
    if first != again:
        raise Wrong("the same seed gave other numbers", given, again, first)
    if first == other:
        raise Wrong("another seed gave the same numbers: hand it on", given, other, "others")
    for name in ("topic", "ending"):
        if not 0 <= first[name] <= 1:
            raise Wrong(f"{name!r} is a share, from 0 to 1", given, first, "a share")
    if first["topic"] < 0.9:
        sentence = "after training a document's nearest should nearly always be of its topic"
        raise Wrong(sentence, given, first["topic"], "0.9 or more")


experiment.check_files(results=1, report=1)
