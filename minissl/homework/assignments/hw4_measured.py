"""Homework 4, the experiment: what the checker repeats of it, and what a person judges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw4_oracle as oracle
from minissl.homework.assignments.hw4_experiment import AUGMENT, ViewNetwork
from minissl.homework.experiment import Experiment, Handed, Item
from minissl.homework.task import Draw, call, expect
from minissl.optim.adamw import AdamW
from minissl.training.plain import plain_loop
from minissl.vision.images import LabelledSplit

experiment = Experiment(
    "4.8",
    "minissl.homework.assignments.hw4_experiment:measure",
    "which temperature?",
    "lecture 12, section 6",
    writes=("alignment", "neighbors", "measure", "draw"),
    measures=("spread", "alignment", "neighbors"),
    rubric=(
        Item(1, "Expected: for each setting a guess that could turn out wrong, and the reason"),
        Item(2, "the plot: axes named, all seeds to be seen, readable in print without colours"),
        Item(1, "the table: means and spread over the seeds, and they are those of results.json"),
        Item(2, "Measured: what the three numbers together say of each temperature, where one of "
                "them alone misleads, and whether a difference is more than the seeds differ"),
        Item(1, "Not shown: one thing that these numbers do not tell, and what would"),
    ),
)  # fmt: skip


# ---- what is exact -------------------------------------------------------------------------------


def _alignment(a: NDArray, b: NDArray) -> float:
    return float(np.mean([math.dist(p, q) ** 2 for p, q in zip(oracle.unit(a), oracle.unit(b))]))


@experiment.check(1)
def two_views_of_one(handed: Handed, draw: Draw) -> None:
    """alignment, on rows that are given: squared distances of vectors of length 1."""
    for rows, width in draw.cases((2, 3), (4, 2), more=lambda g: (*g.integers(3, 9, 2).tolist(),)):
        a, b = draw.normal(rows, width), draw.normal(rows, width)
        u, v = oracle.unit(a), oracle.unit(b)
        right = _alignment(a, b)
        symptoms = {
            "these are distances, not their squares": np.linalg.norm(u - v, axis=1).mean(),
            "the rows were not scaled to length 1": ((a - b) ** 2).sum(axis=1).mean(),
            "this is the mean cosine; the distance is 2 − 2 cos": 1 - right / 2,
            "this is the sum over the images, not their mean": right * rows,
            "the mean over the columns was taken: a distance sums them": right / width,
            "every image was compared with every other: only row i with row i": float(
                (2 - 2 * u @ v.T).mean()
            ),
        }  # fmt: skip
        got = call(handed.function("alignment"), a, b)
        expect(float(got), right, given={"first": a, "second": b}, symptoms=symptoms)


def _found(
    a: NDArray, b: NDArray, labels: Sequence[int], *, partner: bool = False, cosine: bool = True,
    nearest: Any = max,
) -> float:  # fmt: skip
    """The share of rows whose nearest has their label."""
    a, b = (oracle.unit(a), oracle.unit(b)) if cosine else (a, b)
    hits = 0
    for i, row in enumerate(a):
        others = [j for j in range(len(b)) if partner or j != i]
        hits += labels[nearest(others, key=lambda j: float(row @ b[j]))] == labels[i]
    return hits / len(a)


@experiment.check(2)
def nearest_views(handed: Handed, draw: Draw) -> None:
    """neighbors, on rows that are given: the nearest view of *another* image, by the cosine."""
    for size in draw.cases(7, more=lambda g: int(g.integers(8, 12))):
        for _ in range(300):
            a = draw.normal(size, 2) * draw.generator.uniform(0.3, 3, (size, 1))
            b = (a + 0.7 * draw.normal(size, 2)) * draw.generator.uniform(0.3, 3, (size, 1))
            labels = draw.generator.integers(0, 2, size).tolist()
            right = _found(a, b, labels)
            symptoms = {
                "the view of the same image was found: leave it out": _found(
                    a, b, labels, partner=True
                ),
                "inner products were used, not cosines": _found(a, b, labels, cosine=False),
                "the farthest view was taken": _found(a, b, labels, nearest=min),
                "both views were looked for among the first ones": _found(a, a, labels),
                "this is a number of rows: divide by how many there are": right * size,
            }
            if len({right, *symptoms.values()}) == 6:  # no mistake is right by chance
                break
        given = {"first": a, "second": b, "labels": labels}
        got = call(handed.function("neighbors"), a, b, np.array(labels))
        expect(float(got), right, given=given, symptoms=symptoms)


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
    method = ViewNetwork(split.train_images, options, seed=how.get("network", seed))
    optimizer = AdamW(method.model.named_parameters(), lr=options["learning_rate"])
    plain_loop(method, optimizer, how.get("steps", options["steps"]), seed=how.get("loop", seed))
    images, labels = split.test_images, split.test_labels.tolist()
    if how.get("of_training"):
        images, labels = split.train_images, split.train_labels.tolist()
    generator = np.random.default_rng(how.get("views", seed))
    views = [images if how.get("plain") else AUGMENT(images, generator) for _ in range(2)]
    if how.get("one_view"):
        views[1] = views[0]
    first, second = (method.represent(v).astype(np.float64) for v in views)
    spread = oracle.unit(first).std(axis=0).mean() * math.sqrt(first.shape[1])
    return {
        "spread": float(spread),
        "alignment": _alignment(first, second),
        "neighbors": _found(first, second, labels),
    }


@experiment.check(2)
def training_in_small(handed: Handed, draw: Draw) -> None:
    """measure, on 45 small images: its three numbers are those of the recipe, for every seed."""
    split, function = _patterns(draw), handed.function("measure")
    options: dict[str, Any] = {"steps": 5, "width": 4, "batch_size": 15, "learning_rate": 3e-3}
    for seed, temperature in ((0, 0.5), (1, 0.1)):
        options |= {"temperature": temperature}
        given = {"options": dict(options), "seed": seed, "images": "45 and 30 of 4 x 4 pixels"}
        got = experiment.numbers_twice(function, split, dict(options), seed, given=given)
        right = _trained(split, options, seed)
        for name in ("spread", "alignment", "neighbors"):
            tolerance = 0.1 if name == "neighbors" else 1e-3  # a near tie may fall either way
            if abs(got[name] - right[name]) <= tolerance * right[name]:
                continue
            expect(
                float(got[name]), right[name], given=given, tolerance=tolerance,
                symptoms=_wrong_numbers(split, options, seed, name),
                otherwise=f"{name!r} is another than that of the recipe (with your own nt_xent or "
                "z_std? Then look at 4.3 and 4.4 first)",
            )  # fmt: skip


def _wrong_numbers(
    split: LabelledSplit, options: dict[str, Any], seed: int, name: str
) -> dict[str, float]:
    """What well-known mistakes give."""
    mistakes: dict[str, dict[str, Any]] = {
        "these are the training images: measure on the test images": {"of_training": True},
        "both views are the same: the generator has to go on": {"one_view": True},
        "the test images themselves were measured, not views of them": {"plain": True},
        "it was not trained": {"steps": 0},
        "the loop has a seed, too": {"loop": 1 - seed},
        "the network is not that of the seed: hand it on": {"network": 1 - seed},
        "the views are not those of the seed: hand it on": {"views": 1 - seed},
        "the seed is handed on to nothing": {
            "loop": 1 - seed, "network": 1 - seed, "views": 1 - seed
        },
    }  # fmt: skip
    return {s: _trained(split, options, seed, **how)[name] for s, how in mistakes.items()}


experiment.check_files(results=1, report=1)
