"""Homework 6, the experiment: what the checker repeats of it, and what a person judges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw6_oracle as oracle
from minissl.homework.assignments.hw6_experiment import TripletNetwork
from minissl.homework.assignments.manners import call_twice
from minissl.homework.assignments.plots import add_plot_check
from minissl.homework.experiment import Experiment, Handed, Item, Row
from minissl.homework.task import Draw, Wrong, expect
from minissl.optim.adamw import AdamW
from minissl.training.plain import plain_loop
from minissl.vision.images import LabelledSplit

TEST_IMAGES = 597  # of ``load_digits``
experiment = Experiment(
    "6.12",
    "minissl.homework.assignments.hw6_experiment:measure",
    "which triplets?",
    "lecture 12, section 13",
    writes=("active_share", "recall_at_1", "measure", "draw"),
    measures=("active", "recall", "apart"),
    rubric=(
        Item(1, "Expected: for each setting a guess that could turn out wrong, and the reason"),
        Item(2, "the plot: axes named, all seeds to be seen, readable in print without colours"),
        Item(1, "the table: means and spread over the seeds, and they are those of results.json"),
        Item(2, "Measured: what the three numbers together say of each setting, and of a "
                "difference whether it is more than the seeds differ among themselves"),
        Item(1, "Not shown: one thing that these numbers do not tell, and what would"),
    ),
)  # fmt: skip


# ---- the two shares, on numbers that are given ---------------------------------------------------


def _share(d: NDArray, labels: Sequence[int], margin: float, triplets: Any = None) -> float:
    """The part of these triplets, or of all, that has a loss."""
    triplets = oracle.every_triplet(labels) if triplets is None else triplets
    return sum(d[a, p] - d[a, n] + margin > 0 for a, p, n in triplets) / max(len(triplets), 1)


@experiment.check(2)
def triplets_with_a_loss(handed: Handed, draw: Draw) -> None:
    """active_share, on distances that are given: of all triplets, which count alike."""
    for labels in draw.cases(
        [0, 1, 0, 1, 0],
        [2, 0, 0, 1, 0, 0],
        more=lambda g: [0, 0, *g.integers(0, 3, 5).tolist(), 1],
    ):
        for _ in range(100):
            margin, rows = float(draw.generator.uniform(0.2, 0.6)), draw.normal(len(labels), 2)
            d = oracle.distances(rows, rows)
            right, symptoms = _share(d, labels, margin), _wrong_shares(d, labels, margin)
            if len({right, *symptoms.values()}) > len(symptoms):  # no mistake is right by chance
                break
        given = {"distances": d, "labels": labels, "margin": margin}
        got = call_twice(handed.function("active_share"), d, np.array(labels), margin)
        expect(float(got), right, given=given, symptoms=symptoms)
    d = np.array([[0.0, 1, 2], [1, 0, 3], [2, 3, 0]])
    given = {"distances": d, "labels": [0, 0, 1], "margin": 1.0}
    sentence = "a triplet has a loss where d(a, p) − d(a, n) + margin is above 0, not where it is 0"
    got = call_twice(handed.function("active_share"), d, np.array([0, 0, 1]), 1.0)
    expect(float(got), 0.0, given=given, otherwise=sentence)


def _wrong_shares(d: NDArray, labels: Sequence[int], margin: float) -> dict[str, float]:
    """What well-known mistakes give."""
    everything, right = oracle.every_triplet(labels), _share(d, labels, margin)
    by_anchor = [
        _share(d, labels, margin, [t for t in everything if t[0] == a])
        for a in sorted({t[0] for t in everything})
    ]
    return {
        "a row is no positive of itself": _share(
            d, labels, margin, oracle.every_triplet(labels, itself=True)
        ),
        "the margin is missing: also a triplet that is right by less has a loss": _share(
            d, labels, 0.0
        ),
        "the margin is on the wrong side": _share(d, labels, -margin),
        "these are the triplets that are done: 1 minus the share is asked for": 1 - right,
        "this is a number of triplets: divide by how many there are": right * len(everything),
        "positive and negative are exchanged": _share(-d, labels, margin),
        "the share of each anchor was averaged: all triplets count alike": float(
            np.mean(by_anchor)
        ),
        "only the hardest triplet of each anchor was looked at": _share(
            d, labels, margin, oracle.hard(d, labels)
        ),
    }


def _recall(
    rows: NDArray,
    labels: Sequence[int],
    near: Any = math.dist,
    itself: bool = False,
    first: int = 1,
    of_labels: bool = False,
) -> float:
    """The part of the rows that have their label among the ``first`` nearest."""
    hits: dict[int, list[bool]] = {}
    for i, row in enumerate(rows.tolist()):
        others = [j for j in range(len(rows)) if itself or j != i]
        nearest = sorted(others, key=lambda j: near(row, rows[j].tolist()))[:first]
        hit = any(labels[j] == labels[i] for j in nearest)
        hits.setdefault(labels[i] if of_labels else 0, []).append(hit)
    return math.fsum(sum(each) / len(each) for each in hits.values()) / len(hits)


@experiment.check(1)
def nearest_rows(handed: Handed, draw: Draw) -> None:
    """recall_at_1, on rows that are given: the nearest *other* row, by Euclidean distance."""
    for size in draw.cases(7, 8, more=lambda g: int(g.integers(7, 12))):
        for _ in range(1000):
            rows, labels = draw.normal(size, 2), draw.generator.integers(0, 2, size).tolist()
            right = _recall(rows, labels)
            symptoms = {
                "each row is its own nearest: leave it out": _recall(rows, labels, itself=True),
                "the largest inner product was taken, not the smallest distance": _recall(
                    rows, labels, lambda a, b: -math.fsum(x * y for x, y in zip(a, b))
                ),
                "the farthest row was taken": _recall(rows, labels, lambda a, b: -math.dist(a, b)),
                "this is a number of rows: divide by how many there are": right * size,
                "the shares of the labels were averaged: all rows count alike": _recall(
                    rows, labels, of_labels=True
                ),
                "the nearest alone counts, not the three nearest": _recall(rows, labels, first=3),
            }
            if len({right, *symptoms.values()}) == 7:  # no mistake is right by chance
                break
        given = {"embeddings": rows, "labels": labels}
        got = call_twice(handed.function("recall_at_1"), rows, np.array(labels))
        expect(float(got), right, given=given, symptoms=symptoms)
    first, second = np.array([0.0, 0.0]), draw.normal(2)
    rows, labels = np.array([first, first, second, second + 9]), np.array([0, 0, 1, 0])
    got = call_twice(handed.function("recall_at_1"), rows, labels)
    sentence = "another row may be equal, at a distance of 0: leave out the row itself alone"
    given = {"embeddings": rows, "labels": labels}
    expect(float(got), _recall(rows, labels.tolist()), given=given, otherwise=sentence)


# ---- training, in small --------------------------------------------------------------------------


def _patterns(draw: Draw) -> LabelledSplit:
    """Images 4 x 4 of three noisy patterns."""
    patterns = draw.normal(3, 4, 4, 1)

    def some(count: int) -> tuple[NDArray, NDArray]:
        labels = np.arange(count) % 3
        images = patterns[labels] + 0.7 * draw.normal(count, 4, 4, 1)
        return images.astype(np.float32), labels

    return LabelledSplit(*some(45), *some(30))


def _trained(split: LabelledSplit, options: dict[str, Any], seed: int, **how: Any) -> dict:
    """The three numbers, with something to get wrong."""
    method = TripletNetwork(
        split.train_images, split.train_labels, options, seed=how.get("network", seed)
    )
    optimizer = AdamW(method.model.named_parameters(), lr=options["learning_rate"])
    plain_loop(method, optimizer, how.get("steps", options["steps"]), seed=how.get("loop", seed))
    images, labels = split.test_images, split.test_labels.tolist()
    if how.get("of_training"):
        images, labels = split.train_images, split.train_labels.tolist()
    rows = method.represent(images)
    margin = how.get("margin", options["margin"])
    d = oracle.distances(rows.tolist(), rows.tolist()) ** (1 if how.get("plain") else 2)
    apart = np.not_equal.outer(labels, labels) | how.get("all", False)
    return {
        "active": _share(d, labels, margin),
        "recall": _recall(rows, labels),
        "apart": float(d[apart].mean()),
    }


@experiment.check(2)
def training_in_small(handed: Handed, draw: Draw) -> None:
    """measure, on 45 small images: its three numbers are those of the recipe, for every seed."""
    split, function = _patterns(draw), handed.function("measure")
    options: dict[str, Any] = {"steps": 6, "width": 3, "margin": 0.2, "batch_size": 15}
    some, another, third = draw.generator.choice(1000, 3, replace=False).tolist()
    before: dict[str, dict[str, float]] = {}
    for seed, mining in ((some, "semi-hard"), (another, "semi-hard"), (third, "all")):
        options |= {"learning_rate": 3e-3, "mining": mining}
        given = {"options": dict(options), "seed": seed, "images": "45 and 30 of 4 x 4 pixels"}
        got = experiment.numbers_twice(function, split, dict(options), seed, given=given)
        right = _trained(split, options, seed)
        for name in ("apart", "active", "recall"):
            tolerance = 0.1 if name == "recall" else 1e-4  # a near tie may fall either way
            if abs(got[name] - right[name]) <= tolerance * right[name]:
                continue
            symptoms = _wrong_numbers(split, options, seed, name)
            if mining in before:
                sentence = "these are the numbers of the seed before: each seed has its own"
                symptoms[sentence] = before[mining][name]
            sentence = f"{name!r} is another than that of the recipe"
            expect(
                float(got[name]), right[name], given=given, symptoms=symptoms,
                otherwise=sentence, tolerance=tolerance,
            )  # fmt: skip
        before[mining] = right


def _wrong_numbers(
    split: LabelledSplit, options: dict[str, Any], seed: int, name: str
) -> dict[str, float]:
    """What well-known mistakes give."""
    mistakes: dict[str, dict[str, Any]] = {
        "these are the training images: measure on the test images": {"of_training": True},
        "the loss looks at squared distances": {"plain": True},
        "only pairs of different labels are apart": {"all": True},
        "it was not trained": {"steps": 0},
        "the loop has a seed, too": {"loop": 0},
        "the network is not that of the seed: hand it on": {"network": 0},
        "the margin is that of the options, also for the share": {"margin": 0.0},
    }
    changed: dict[str, dict[str, Any]] = {
        f"the mining of the options was not handed on: this is {other!r}": {"mining": other}
        for other in ("all", "semi-hard", "hard")
        if other != options["mining"]
    }
    for rate in (1e-3, 1e-2, 1e-4):
        sentence = f"the learning rate of the options was not handed on: this is {rate}"
        changed[sentence] = {"learning_rate": rate}
    found = {s: _trained(split, options, seed, **how)[name] for s, how in mistakes.items()}
    for sentence, other in changed.items():
        found[sentence] = _trained(split, {**options, **other}, seed)[name]
    return found


def _check_numbers(rows: list[Row]) -> None:
    """Raise Wrong for numbers that nothing can have measured on the test digits."""
    for row in rows:
        for name in ("active", "recall"):
            if not 0 <= row[name] <= 1:
                raise Wrong(f"{name!r} is a share, from 0 to 1", row, row[name], "a share")
        if not 0 <= row["apart"] <= 4:
            sentence = "squared distances of unit vectors are from 0 to 4"
            raise Wrong(sentence, row, row["apart"], "'apart' from 0 to 4")
        hits = row["recall"] * TEST_IMAGES
        if abs(hits - round(hits)) > 1e-6:
            sentence = f"'recall' is no share of {TEST_IMAGES} images, which the test has"
            raise Wrong(sentence, row, row["recall"], f"{round(hits)} / {TEST_IMAGES}")


experiment.check_files(results=1, report=1, also=_check_numbers)
add_plot_check(experiment, 1)
