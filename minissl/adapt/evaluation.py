"""What representations are worth, side by side: all is measured on all of them. Lectures 11 and 12.

The same split, the same draws of labelled examples, the same views and the same pairs for each; the
networks in evaluation mode.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.heads import neighbors, probe
from minissl.adapt.heads.finetune import Finetune, FinetuneSettings
from minissl.adapt.method import Task
from minissl.adapt.representations import (
    ADAPTED,
    Representation,
    Split,
    copies,
    few_label_counts,
    networks_of,
    raw,
    represent,
    split_with_classes,
    split_without_classes,
    why_no_classes,
)
from minissl.data.labels import Labelled
from minissl.pretrain.run import train
from minissl.training import diagnostics
from minissl.training.progress import patiently
from minissl.training.verification import Roc, verification

FINETUNED = "fine-tuned network"
Scores = dict[str, float | None]


@dataclass(frozen=True)
class Measures:
    """How it is measured. ``k``: 0 for a tenth of the training examples, at most 200."""

    labels_per_class: tuple[int, ...] = (1, 5, 10, 50)
    draws: int = 10
    k: int = 0
    temperature: float = 0.1
    standardize: bool = False
    most_pairs: int = 200_000
    seed: int = 0

    def neighbors(self, examples: int) -> int:
        """How many vote, of so many training examples."""
        return neighbors.NeighborSettings(k=self.k).neighbors(examples)


@dataclass
class Row:
    """What was measured of one representation.

    scores: by name, None for what could not be; accuracies and rates from 0 to 1. few: accuracies
    (draws,) by the number of labels per class. ``notes``: why something is missing.
    """

    name: str
    scores: Scores = field(default_factory=dict)
    few: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    roc: Roc | None = None
    pairs: tuple[int, int, bool] | None = None  # same, different, whether they were drawn
    notes: list[str] = field(default_factory=list)


# ---- measuring -----------------------------------------------------------------------------------


def measure(one: Representation, split: Split, counts: Sequence[int], measures: Measures) -> Row:
    """All that can be measured of a representation; what cannot be is None, and a note says why."""
    row = Row(one.name)
    if one.bad:
        row.notes.append(
            f"the features of {one.bad:,} of {len(one.features):,} examples are not finite: "
            "nothing is measured. Look at their inputs, and whether the training diverged"
        )
        return row
    if split.classes:
        _try(row, lambda: _read_off(row, one.features, split, counts, measures))
        _try(row, lambda: _verify(row, one.features, split, measures))
    _try(row, lambda: _look_at(row, one, split))
    return row


def _try(row: Row, measuring: Callable[[], None]) -> None:
    """What cannot be measured, and what is warned of, becomes a note of the row, once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            measuring()
        except (ValueError, RuntimeError) as error:
            row.notes.append(str(error))
    told = [str(warning.message) for warning in caught if warning.category is UserWarning]
    row.notes.extend(note for note in dict.fromkeys(told) if note not in row.notes)


def _read_off(
    row: Row, features: NDArray, split: Split, counts: Sequence[int], measures: Measures
) -> None:
    row.scores["knn"], row.few = neighbors_and_few(features, split, counts, measures)
    train, test = split.train, split.test
    fitted = probe.linear_probe(
        features[train], split.labels[train], standardize=measures.standardize
    )
    row.scores["probe"] = fitted.accuracy(features[test], split.labels[test])


def neighbors_and_few(
    features: NDArray, split: Split, counts: Sequence[int], measures: Measures
) -> tuple[float, dict[int, NDArray[np.float64]]]:
    """Accuracies of the nearest neighbours, and (draws,) of probes by their labels per class."""
    train, test = split.train, split.test
    parts = features[train], split.labels[train], features[test], split.labels[test]
    vote = neighbors.nearest_neighbor_accuracy(
        *parts, k=measures.neighbors(len(train)), temperature=measures.temperature
    )
    few = probe.few_label_curve(
        *parts, labels_per_class=counts, draws=measures.draws, seed=measures.seed,
        standardize=measures.standardize,
    )  # fmt: skip
    return vote, {point.labels_per_class: point.accuracies for point in few}


def _verify(row: Row, features: NDArray, split: Split, measures: Measures) -> None:
    found = verification(
        features[split.pairs], split.labels[split.pairs],
        most_pairs=measures.most_pairs, seed=measures.seed,
    )  # fmt: skip
    row.roc, row.pairs = found.roc, (found.same, found.different, found.sampled)
    row.scores |= found.scores()


def _look_at(row: Row, one: Representation, split: Split) -> None:
    features = one.features[split.looked_at]
    row.scores["effective_rank"] = diagnostics.effective_rank(features)
    if len(features) > 1:
        row.scores["uniformity"] = diagnostics.uniformity(features)
    if one.views is not None:
        if not np.isfinite(one.views).all():
            raise ValueError("the features of changed examples are not finite: no alignment")
        row.scores["alignment"] = diagnostics.alignment(*one.views)


# ---- fine-tuning ---------------------------------------------------------------------------------


def finetune(
    opened: Any, data: Labelled, split: Split, counts: Sequence[int], measures: Measures,
    *, steps: int, device: str = "cpu", progress: bool = False,
) -> Row:  # fmt: skip
    """All weights go on learning: from all labels, and for every count anew from so few.

    Its accuracies are those of its own classifier, in the place of the probe; its features are
    those that all labels made. One draw for each count, the first one of the probes.
    """
    base = getattr(opened, "base", None) or opened
    task = Task(
        base.data.kept, base.data, data.class_names, len(split.train),
        train=data.take(split.train), held_out=data.take(split.test),
    )  # fmt: skip
    accuracies: dict[int, float] = {}
    found: dict[int, Any] = {}
    for count in (0, *counts):
        settings = FinetuneSettings(steps=steps, labels_per_class=count, evaluations=1)
        found[count] = Finetune.build(settings, base, task, seed=measures.seed)
        found[count].to(device)
        label = f"{FINETUNED}, {count or 'all'} labels" if progress else False
        train(found[count], settings, seed=measures.seed, progress=label)
        accuracies[count] = found[count].evaluate()["held_out_accuracy"]
    one = represent(
        FINETUNED, found[0].base, data, split, seed=measures.seed, device=device, progress=progress
    )
    row = measure(one, split, [], measures)
    row.scores["probe"] = accuracies.pop(0)
    row.few = {count: np.array([accuracy]) for count, accuracy in accuracies.items()}
    return row


# ---- all of it -----------------------------------------------------------------------------------


@dataclass
class Comparison:
    """Rows, the representations that they are of, and how it was measured.

    ``counts``: the numbers of labels per class that every class has. ``representations``: without
    that of a fine-tuned network. ``notes``: what a reader should know of all rows.
    """

    rows: list[Row]
    representations: list[Representation]
    split: Split
    counts: list[int]
    notes: list[str]


def compare(
    opened: Any, data: Labelled, measures: Measures, *, hold_out: int = 0, finetune_steps: int = 0,
    device: str = "cpu", progress: bool = False,
) -> Comparison:  # fmt: skip
    """The raw examples and the networks of an opened run or adaptation, on labelled examples.

    Examples without classes (see ``why_no_classes``) are measured by what needs no label. hold_out:
    classes left to the verification. finetune_steps: 0 for no row after fine-tuning.

    Raises ValueError where classes cannot be held out.
    """
    networks, seed = networks_of(opened, seed=measures.seed), measures.seed
    counts: list[int] = []
    if why := why_no_classes(data):
        split, notes = split_without_classes(data, seed), []
        if hold_out or finetune_steps:
            raise ValueError(f"no classes can be held out, and no labels learned: {why}")
    else:
        learned = _learned(opened, networks)
        split = split_with_classes(data, hold_out=hold_out, learned=learned, seed=seed)
        counts, note = few_label_counts(data, split, measures.labels_per_class)
        notes = [*split.notes, *([note] if note else [])]
        if same := copies(data, split):
            notes.append(f"{same:,} of the test examples are also trained on, byte for byte")
    options: dict[str, Any] = {"seed": seed, "device": device, "progress": progress}
    found = [represent(name, network, data, split, **options) for name, network in networks.items()]
    if (one := raw(data, split, next(iter(networks.values())), seed)) is not None:
        found.insert(0, one)
    rows = [
        measure(one, split, counts, measures)
        for one in patiently(found, "measuring" if progress else "")
    ]
    if finetune_steps:
        told: dict[str, Any] = {"device": device, "progress": progress}
        rows.append(finetune(opened, data, split, counts, measures, steps=finetune_steps, **told))
    return Comparison(rows, found, split, counts, notes)


def _learned(opened: Any, networks: dict[str, Any]) -> list[str]:
    """The classes whose labels one of the networks has learned from."""
    base = getattr(opened, "base", None) or opened
    adapted = opened.data.class_names if ADAPTED in networks else ()
    return [*getattr(base.data, "class_names", ()), *adapted]
