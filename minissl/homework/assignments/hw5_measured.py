"""Homework 5, the experiment: what the checker repeats of it, and what a person judges."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.data import Kept
from minissl.data.vectors import WordVectors
from minissl.data.words import WordOptions, WordTexts
from minissl.homework.assignments import hw5_oracle as oracle
from minissl.homework.assignments.manners import call_twice
from minissl.homework.assignments.plots import add_plot_check
from minissl.homework.experiment import Experiment, Handed, Item, Row
from minissl.homework.task import Draw, Wrong, call, expect
from minissl.pretrain.run import pretrain
from minissl.pretrain.words.skipgram import SkipGram
from minissl.text.documents import Document

experiment = Experiment(
    "5.12",
    "minissl.homework.assignments.hw5_experiment:measure",
    "how wide is the company that a word keeps?",
    "lecture 04, section 1",
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


class Shares(NamedTuple):
    """A case: what the function is given, and the rows and labels that it has to find in it."""

    arguments: tuple[Any, ...]
    given: dict[str, Any]
    rows: NDArray
    labels: list[str]
    mistakes: dict[str, float]  # beside those that both functions have

    @property
    def right(self) -> float:
        return _alike(self.labels, _nearest(self.rows, _cosine))

    def symptoms(self, what: str) -> dict[str, float]:
        """What well-known mistakes give."""
        itself = _nearest(self.rows, _cosine, itself=True)
        products = _nearest(self.rows, lambda a, b: float(a @ b))
        farthest = _nearest(self.rows, lambda a, b: -_cosine(a, b))
        return {
            **self.mistakes,
            f"each {what} is its own nearest: leave it out": _alike(self.labels, itself),
            "the largest dot product was taken, not the largest cosine": (
                _alike(self.labels, products)
            ),
            "the smallest cosine was taken": _alike(self.labels, farthest),
            f"this is a number of {what}s: divide by how many there are": (
                len(self.labels) * self.right
            ),
        }

    def tells(self) -> bool:
        """No near tie decides, and no mistake gives by chance what is right, or what another does.

        Vectors are float32: of two cosines that are nearly equal either may be the larger.
        """
        cosines = np.array([[_cosine(a, b) for b in self.rows] for a in self.rows])
        first, second = np.sort(cosines - 9 * np.eye(len(cosines)), axis=1)[:, :-3:-1].T
        values = [self.right, *self.symptoms("one").values()]
        return bool((first - second).min() > 1e-3 and len({*values}) == len(values))


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


def _check_shares(function: Any, what: str, draw: Draw, make: Callable[[int], Shares]) -> None:
    """Compare in cases that tell, of several sizes; ``make`` draws one of a size."""
    for size in draw.cases(7, 8, more=lambda g: int(g.integers(7, 11))):
        tries = (make(size) for _ in range(2000))
        case = next(case for case in tries if case.tells())
        got = call_twice(function, *case.arguments)
        expect(got, case.right, given=case.given, symptoms=case.symptoms(what))


@experiment.check(2)
def nearest_documents(handed: Handed, draw: Draw) -> None:
    """same_topic, on vectors that are given: means of words, cosines, the nearest other one."""
    words = list("abcdefgh")

    def make(size: int) -> Shares:
        matrix = draw.normal(len(words), 3) * draw.generator.uniform(0.2, 5, (len(words), 1))
        texts = ["A x, a!", *(" ".join(draw.generator.choice(words, 4)) for _ in range(size - 1))]
        sources = ["p" if i % 2 else "q" for i in range(size)]
        means = [matrix[[words.index(w) for w in t.lower() if w in words]].mean(0) for t in texts]
        documents = [Document(str(i), s, t) for i, (s, t) in enumerate(zip(sources, texts))]
        types = [
            matrix[[words.index(w) for w in sorted({*t.lower()} & {*words})]].mean(0) for t in texts
        ]
        right = _alike(sources, _nearest(np.array(means), _cosine))
        mistakes = {
            "a word of a document counts as often as it stands there": _alike(
                sources, _nearest(np.array(types), _cosine)
            ),
            "documents of which no word has a vector are left out: they do not count as wrong": (
                right * size / (size + 1)
            ),
        }
        given = {"vectors": matrix, "of the words": words, "documents": list(zip(sources, texts))}
        unknown = Document("unknown", "p", "x y z")
        return Shares(
            (WordVectors(words, matrix), [*documents, unknown]),
            {**given, "and one": "whose words all have no vector"},
            np.array(means),
            sources,
            mistakes,
        )

    _check_shares(handed.function("same_topic"), "document", draw, make)


@experiment.check(1)
def nearest_endings(handed: Handed, draw: Draw) -> None:
    """same_ending, on vectors that are given: only words with an ending, and its three letters."""
    words = ["seeing", "reading", "walked", "seemed", "nicely", "hardly", "the", "thing", "red"]
    words += [
        "only",
        "using",
        "called",
        "lately",
        "a",
        "being",
        "need",
        "walking",
        "added",
        "badly",
    ]
    labels = {w: e for w in words for e in ("ing", "ed", "ly") if w.endswith(e)}
    long = {w: e for w, e in labels.items() if len(w) - len(e) >= 3}

    def make(size: int) -> Shares:
        matrix = draw.normal(len(words), size - 4) * draw.generator.uniform(0.2, 5, (len(words), 1))

        def rows_of(chosen: Iterable[str]) -> NDArray:
            return matrix[[words.index(word) for word in chosen]]

        short = _alike([*labels.values()], _nearest(rows_of(labels), _cosine))
        longer = {w: e for w, e in long.items() if len(w) - len(e) > 3}
        four = _alike([*longer.values()], _nearest(rows_of(longer), _cosine))
        ends, nearest = [*long.values()], _nearest(rows_of(long), _cosine)
        hits = {e: [e == ends[j] for i, j in enumerate(nearest) if ends[i] == e] for e in ends}
        everything = _alike([long.get(word, "") for word in words], _nearest(matrix, _cosine))
        mistakes = {
            "a word like 'red' has no ending: three letters have to stand before it": short,
            "three letters before an ending are enough": four,
            "the shares of the endings were averaged: all words count alike": float(
                np.mean([np.mean(each) for each in hits.values()])
            ),
            "words without an ending are not looked at, also not as neighbours": everything,
        }
        given = {"words": words, "vectors": matrix}
        arguments = (WordVectors(words, matrix),)
        return Shares(arguments, given, rows_of(long), [*long.values()], mistakes)

    _check_shares(handed.function("same_ending"), "word", draw, make)


# ---- training, in small --------------------------------------------------------------------------


def _two_topics(generator: np.random.Generator, mixed: float = 0.0) -> list[Document]:
    """Texts of two topics without a common word, so that any training tells them apart.

    ``mixed``: the share of the words that come from the other topic all the same.
    """
    documents = []
    for number in range(60):
        topics = ("bdfgk", "lmnpr") if number % 2 else ("lmnpr", "bdfgk")
        words, others = (
            [f"{a}{b}o{e}" for a in first for b in "aeu" for e in ("ing", "ed", "ly", "")]
            for first in topics
        )
        text = generator.choice(words, int(generator.integers(20, 40)))
        swapped = generator.random(len(text)) < mixed
        text[swapped] = generator.choice(others, int(swapped.sum()))
        documents.append(Document(str(number), topics[0], " ".join(text)))
    return documents


def _small(
    handed: Handed,
    documents: list[Document],
    window: int,
    seed: int,
    labelled: list[Document] | None = None,
    **more: int,
) -> dict[str, float]:
    labelled = documents if labelled is None else labelled
    options = {"window": window, "width": 8, "steps": 20, "batch_size": 640, "min_count": 2, **more}
    got = call(handed.function("measure"), documents, labelled, options, seed)
    given = {"options": options, "seed": seed}
    return {name: float(value) for name, value in experiment.numbers(got, given).items()}


def _recipe(
    documents: list[Document], labelled: list[Document], options: dict[str, int], seed: int
) -> dict[str, tuple[float, float]]:
    """Both shares after the training that is asked for, and what near ties may make of each."""
    settings = SkipGram.Settings(**options)
    trained = pretrain(SkipGram, WordTexts(documents), settings, seed=seed, progress=False)
    vectors = trained.method.vectors()
    rows = np.array([np.mean([vectors[w] for w in d.text.split()], axis=0) for d in labelled])
    long = {w: e for w in vectors.words for e in ("ing", "ed", "ly") if w.endswith(e)}
    of_long = np.array([vectors[w] for w in long], float)
    sources = [document.source for document in labelled]
    return {
        "topic": _share_of(sources, rows.astype(float)),
        "ending": _share_of([*long.values()], of_long),
    }


def _share_of(labels: list[str], rows: NDArray) -> tuple[float, float]:
    """The share whose nearest is alike, and the share of the rows with two that are as near."""
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    second, first = np.sort(units @ units.T - 9 * np.eye(len(rows)), axis=1)[:, -2:].T
    return _alike(labels, _nearest(rows, _cosine)), float(np.mean(first - second < 1e-5))


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
    first, again = (_small(handed, documents, 3, 1) for _ in range(2))
    given: dict[str, Any] = {"documents": "60 random texts of two topics without a common word"}
    if first != again:
        raise Wrong("the same seed gave other numbers", given, again, first)
    others = (_small(handed, documents, 3, seed) for seed in range(2, 10))  # one may be equal
    if all(other == first for other in others):
        raise Wrong("other seeds gave the same numbers: hand them on", given, first, "others")
    for name in ("topic", "ending"):
        if not 0 <= first[name] <= 1:
            raise Wrong(f"{name!r} is a share, from 0 to 1", given, first, "a share")
    if first["topic"] < 0.9:
        sentence = "after training a document's nearest should nearly always be of its topic"
        raise Wrong(sentence, given, first["topic"], "0.9 or more")

    labelled = _two_topics(draw.generator, mixed=0.35)
    options = {"window": 2, "width": 8, "steps": 5, "batch_size": 640, "min_count": 1}
    for seed in draw.generator.integers(0, 1000, 2).tolist():
        got = _small(handed, documents, seed=seed, labelled=labelled, **options)
        given = {"options": options, "seed": seed}
        given |= {"documents": "60 random texts, and 60 labelled"}
        _compare(got, documents, labelled, options, seed, given)


def _compare(
    got: dict[str, float],
    documents: list[Document],
    labelled: list[Document],
    options: dict[str, int],
    seed: int,
    given: dict[str, Any],
) -> None:
    """Raise Wrong unless these are the numbers of this training, but for near ties."""
    right = _recipe(documents, labelled, options, seed)
    for name, (share, ties) in right.items():
        if abs(got[name] - share) <= ties + 1e-9:
            continue
        sentence = f"{name!r} is not what the training of the recipe gives with these options"
        of_trained, _ = _recipe(documents, documents, options, seed)["topic"]
        if name == "topic" and abs(got[name] - of_trained) < 1e-9:
            sentence = "'topic' is asked of the labelled documents, not of those it was trained on"
        raise Wrong(sentence, given, got[name], share)


def _check_numbers(rows: list[Row]) -> None:
    """Raise Wrong for numbers that nothing can have measured."""
    pairs: dict[str, set[float]] = {}
    for row in rows:
        pairs.setdefault(row["setting"], set()).add(row["pairs"])
        for name in ("topic", "ending"):
            if not 0 <= row[name] <= 1:
                raise Wrong(f"{name!r} is a share, from 0 to 1", row, row[name], "a share")
    for setting, numbers in pairs.items():
        if len(numbers) > 1:
            sentence = f"the pairs of {setting!r} do not depend on the seed: the text is the same"
            raise Wrong(sentence, {}, sorted(numbers), "one number")
    windows = [pairs[name] for name in ("narrow", "middle", "wide") if name in pairs]
    if any(min(far) <= max(near) for near, far in pairwise(windows)):
        sentence = "a wider window has more pairs: these are not counted"
        raise Wrong(sentence, {}, pairs, "numbers that rise from 'narrow' to 'wide'")


experiment.check_files(results=1, report=1, also=_check_numbers)
add_plot_check(experiment, 1)
