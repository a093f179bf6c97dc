"""Labelled examples to look at while a method is pretrained: is what it learns of any use yet?

The loss of a pretraining says little of its representation; these numbers do, at the price of
labels. The training never meets them: nothing random is drawn, and the weights stay bit for bit
what they are without. Lecture 12.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minissl.adapt.heads.neighbors import NeighborSettings, nearest_neighbor_accuracy
from minissl.adapt.heads.probe import linear_probe
from minissl.adapt.representations import split_with_classes, why_no_classes
from minissl.training.diagnostics import effective_rank

NAMES = ("watched_knn_accuracy", "watched_probe_accuracy", "watched_effective_rank")


@dataclass(frozen=True)
class Watch:
    """Raw labelled data of the method's kind, of which at most so many examples are looked at.

    Called with a method and its prepared data it gives the function that measures: ``pretrain``
    takes it as ``watch``, and the log gets its numbers at every evaluation. They are the accuracies
    of the nearest neighbours and of a linear probe, 0 to 1, and the effective rank on the test
    examples; NaN where a feature is not finite, since a look must not end a training.

    most_train, most_test: random examples of more, the same ones in every run. ``place``: where
    they were read from, for errors.
    """

    raw: Any
    most_train: int = 2000
    most_test: int = 1000
    place: str = "the examples to watch"

    def __call__(self, method: Any, data: Any) -> Callable[[], dict[str, float]]:
        """Read the examples as the method does. Raises ValueError where there are no classes."""
        labelled = data.labelled(self.raw)
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
        for part, use in ((train, "learn from"), (test, "test on")):
            if len(np.unique(part.labels)) < 2:
                raise ValueError(
                    f"{self.place} cannot be watched: of {len(labelled)} examples one class is "
                    f"left to {use}: give more of the others"
                )
        k = NeighborSettings().neighbors(len(train))

        def look() -> dict[str, float]:
            features = method.represent(train.inputs), method.represent(test.inputs)
            if not all(np.isfinite(side).all() for side in features):
                return dict.fromkeys(NAMES, math.nan)
            sides = features[0], train.labels, features[1], test.labels
            return dict(zip(NAMES, (nearest_neighbor_accuracy(*sides, k=k), _probe(*sides),
                                    effective_rank(features[1]))))  # fmt: skip

        return look


def _probe(features: Any, labels: Any, test_features: Any, test_labels: Any) -> float:
    """The accuracy of a probe, NaN where it cannot be fitted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table of ``evaluate`` tells it, once
        try:
            probe = linear_probe(features, labels)
        except RuntimeError:
            return math.nan
    return probe.accuracy(test_features, test_labels)
