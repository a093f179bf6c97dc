"""Examples to look at while a method is pretrained: is what it learns of any use yet?

The loss of a pretraining says little of its representation; these numbers do. ``Watch`` looks at
labelled examples, ``WatchRank`` at any, ``usual_watch`` at what there is when nobody asked. A look
teaches nothing: nothing random is drawn, and the weights stay bit for bit what they are without.
Lecture 12.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minissl.adapt.heads.neighbors import NeighborSettings, nearest_neighbor_accuracy
from minissl.adapt.heads.probe import linear_probe
from minissl.adapt.representations import split_with_classes, why_no_classes
from minissl.data import FIELDS, Fields
from minissl.data.labels import Labelled
from minissl.text.files import TABLES
from minissl.training.diagnostics import effective_rank

KNN, PROBE, RANK = (
    f"watched_{name}" for name in ("knn_accuracy", "probe_accuracy", "effective_rank")
)
NAMES = (KNN, PROBE, RANK)
MOST, LEAST = 3000, 20  # examples of a look that nobody asked for
LARGE = 1 << 29  # bytes of data that is not read a second time for its labels


@dataclass(frozen=True)
class Watch:
    """Raw labelled data of the method's kind, of which at most so many examples are looked at.

    Called with a method and its prepared data it gives the function that measures: ``pretrain``
    takes it as ``watch``, and the log gets its numbers at every evaluation. They are the accuracies
    of the nearest neighbours and of a linear probe, 0 to 1, and the effective rank on the test
    examples; NaN where a feature is not finite, since a look must not end a training.

    most_train, most_test: random examples of more, the same ones in every run. ``place``: where
    they were read from, for errors. ``probe``: False without it, which takes the longest.
    """

    raw: Any
    most_train: int = 2000
    most_test: int = 1000
    place: str = "the examples to watch"
    probe: bool = True

    def __call__(self, method: Any, data: Any) -> Callable[[], dict[str, float]]:
        """Read the examples as the method does. Raises ValueError where there are no classes."""
        labelled = self._examples(data)
        if why := why_no_classes(labelled):
            raise ValueError(f"{self.place} cannot be watched: {why}")
        split, generator = split_with_classes(labelled), np.random.default_rng(0)
        parts = []
        for part, most in ((split.train, self.most_train), (split.test, self.most_test)):
            some = part
            if len(part) > most:
                some = np.sort(generator.choice(part, most, replace=False))
            parts.append(labelled.take(some))
        train, test = parts
        for side, use in ((train, "learn from"), (test, "test on")):
            if len(np.unique(side.labels)) < 2:
                raise ValueError(
                    f"{self.place} cannot be watched: of {len(labelled)} examples one class is "
                    f"left to {use}: give more of the others"
                )
        k = NeighborSettings().neighbors(len(train))
        names = [name for name in NAMES if self.probe or name != PROBE]

        def look() -> dict[str, float]:
            features = method.represent(train.inputs), method.represent(test.inputs)
            if not all(np.isfinite(side).all() for side in features):
                return dict.fromkeys(names, math.nan)
            sides = features[0], train.labels, features[1], test.labels
            seen = {KNN: nearest_neighbor_accuracy(*sides, k=k), RANK: effective_rank(features[1])}
            if self.probe:
                seen[PROBE] = _probe(*sides)
            return {name: seen[name] for name in names}

        return look

    def _examples(self, data: Any) -> Labelled:
        """As ``data.labelled``, without features of its own: a whole vocabulary for each text."""
        raw, (inputs, names) = self.raw, data.examples(self.raw)
        none = np.zeros((len(names), 0), np.float32)
        return Labelled(
            inputs, tuple(names), raw.labels, raw.class_names, none, "none", raw.held_out
        )


@dataclass(frozen=True)
class WatchRank:
    """Raw data without labels: the effective rank of its representation, NaN if not finite."""

    raw: Any

    def __call__(self, method: Any, data: Any) -> Callable[[], dict[str, float]]:
        """Read the examples as the method does."""
        inputs = data.examples(self.raw).inputs

        def look() -> dict[str, float]:
            features = method.represent(inputs)
            return {RANK: effective_rank(features) if np.isfinite(features).all() else math.nan}

        return look


def usual_watch(
    kind: Any, settings: Any, data: Any, path: Path | None, fields: Fields = FIELDS
) -> Watch | WatchRank | None:
    """What is looked at when nobody asked, and costs little: neighbours and the rank.

    ``data``: raw, as ``kind.Data`` has read it at the path. A look takes a tenth as many examples
    as are trained on between two, ``MOST`` at most; with fewer than ``LEAST`` there is none. Where
    the data has labels (a folder for each class, a column, what comes with every machine) their
    neighbors vote, else there is the rank alone.
    """
    most = min(MOST, settings.batch_size * settings.steps // settings.evaluations // 10)
    if most < LEAST:
        return None
    some = labelled_if_any(kind, settings, data, path, fields, most)
    return WatchRank(data.some(most)) if some is None else Watch(some, MOST, MOST, probe=False)


def labelled_if_any(
    kind: Any, settings: Any, data: Any, path: Path | None, fields: Fields, most: int
) -> Any:
    """At most so many examples with classes, raw; None where the path has none to tell apart."""
    labelled = data if isinstance(data, kind.Data.with_labels) else None
    try:
        if labelled is None and may_have_labels(path) and not _is_large(data):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # the first reading has told them
                labelled = kind.Data.with_labels.read(path, settings.settled(data), fields)
        if labelled is None or not labelled.class_names:
            return None
        some = labelled.some(most)
    except (ValueError, OSError):  # there are none: nobody has asked for them
        return None
    return some if _can_be_told_apart(some) else None


def may_have_labels(path: Path | None) -> bool:
    """Whether it is worth the time to read a path once more, for its labels."""
    if path is None or not path.exists():  # the name of a data set
        return True
    if path.is_dir():
        return any(place.is_dir() and place.name[0] != "." for place in path.iterdir())
    return path.suffix.lower() in (*TABLES, ".npz")


def _is_large(data: Any) -> bool:
    letters = sum(len(document.text) for document in getattr(data, "documents", ()))
    return max(letters, getattr(getattr(data, "images", None), "nbytes", 0)) > LARGE


def _can_be_told_apart(labelled: Any) -> bool:
    """Whether there are two classes to learn from, and two to test on.

    Not where most examples are of a class of their own: a column of numbers or names, in which a
    neighbor cannot be right.
    """
    tested = np.isin(np.arange(len(labelled.labels)), labelled.held_out)
    classes = [len(np.unique(labelled.labels[side])) for side in (tested, ~tested)]
    return min(classes) > 1 and 2 * classes[1] <= (~tested).sum()


def _probe(features: Any, labels: Any, test_features: Any, test_labels: Any) -> float:
    """The accuracy of a probe, NaN where it cannot be fitted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table of ``evaluate`` tells it, once
        try:
            probe = linear_probe(features, labels)
        except RuntimeError:
            return math.nan
    return probe.accuracy(test_features, test_labels)
