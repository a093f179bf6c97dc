"""Adaptations of frozen features: the network is used as it is, something small is read off it.

Lecture 11. The same is read off the raw inputs and off the network before its pretraining, since a
number for a representation means nothing without these two beside it.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.adapt.method import Adaptation, Task
from minissl.adapt.metrics import score
from minissl.data.labels import Labelled, feature_rows
from minissl.nn.module import Module
from minissl.options import Options

Shape = tuple[int, ...]  # of what is read off for one example


def centre_and_scale(
    pool: ArrayLike, *, standardize: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean (width,) and scale (width,) of features (examples, width), in float64.

    All columns get the same scale, the root of their mean variance, which keeps their ratios. With
    few labels that is the safe choice: pixels in the corners that are nearly always black have a
    tiny deviation, and each divided by its own they would count most (on digits that costs raw
    pixels 5 points). ``standardize``: each column by its own deviation (1 where it is constant),
    for columns whose units have nothing to do with one another.

    Warns (UserWarning) where a sixteenth of the columns or less has 99 % of the variance, and all
    are scaled alike: a linear readout with a penalty would hardly see the others.
    """
    pool = feature_rows(pool)
    unit = np.abs(pool).max() or 1.0  # squares of 1e200 would be infinite
    pool = pool / unit
    mean = pool.mean(axis=0)
    variance = np.mean((pool - mean) ** 2, axis=0)
    if not standardize:
        largest = np.cumsum(np.sort(variance)[::-1])
        few = 1 + int(np.searchsorted(largest, 0.99 * largest[-1]))  # they have 99 % of it
        if few <= len(variance) // 16 and largest[-1] > 0:
            warnings.warn(
                f"{few} of {len(variance)} columns of the features have 99 % of their variance and "
                "hide the others: standardize=True (--standardize) divides each by its own "
                "deviation",
                stacklevel=3,
            )
        scale = np.full_like(mean, np.sqrt(variance.mean()))
    else:
        scale = np.sqrt(variance)
        scale[scale <= 1e-12 * np.abs(mean)] = 0  # what is left of a constant is rounding
    return unit * mean, unit * np.where(scale == 0, 1 / unit, scale)


class Readout(Module):
    """What is learned on features (examples, ...): arrays whose shapes are known beforehand."""

    @abstractmethod
    def learn(self, features: NDArray, labels: NDArray, pool: NDArray) -> None:
        """From labelled features; ``pool``: all features of the training part, without labels."""

    @abstractmethod
    def predict(self, features: NDArray) -> NDArray:
        """(examples, width) -> the number of a class, or a number, for each."""


class Frozen(Adaptation):
    """A ``Readout`` on what a pretrained method makes of examples, in evaluation mode.

    A subclass says how its readout begins (``new_readout``) and has settings with ``choose``.
    """

    Settings: ClassVar[type[Options]]

    def __init__(self, base: Any, task: Task, readout: Readout, settings: Any, *, seed: int = 0):
        self.base, self.task, self.model = base, task, readout
        self.settings, self.seed = settings, seed

    @classmethod
    def build(cls, settings: Any, opened: Any, task: Task, *, seed: int = 0) -> Self:
        """With a readout that knows nothing yet."""
        readout = cls.new_readout(settings, cls.shape(opened.method), task)
        return cls(opened.method, task, readout, settings, seed=seed)

    @classmethod
    @abstractmethod
    def new_readout(cls, settings: Any, shape: Shape, task: Task) -> Readout:
        """For features (examples, *shape)."""

    @classmethod
    def shape(cls, method: Any) -> Shape:
        """Of what ``read`` gives for an example."""
        return (method.width,)

    @classmethod
    def read(cls, method: Any, examples: Any, progress: str = "") -> NDArray:
        """What of a method is read off: its representation, (examples, width)."""
        return method.represent(examples, progress=progress)

    def to(self, device: str) -> None:
        """The network computes there; what is read off it is float64 on the processor."""
        self.base.model.to(device)

    def solve(self, progress: str = "") -> None:
        """Learn from the examples that the settings choose."""
        train = self.task.to_learn_from()
        chosen = self.settings.choose(train.labels, self.seed)
        features = self.read(self.base, train.inputs, progress)
        self.model.learn(features[chosen], train.labels[chosen], features)

    def predict(self, inputs: Any) -> NDArray:
        """What is read off the representation of each example."""
        return self.model.predict(self.read(self.base, inputs))


@dataclass(frozen=True)
class Row:
    """Scores (draws,) by name, of one representation."""

    name: str
    scores: dict[str, NDArray[np.float64]]


def compare(
    kind: type[Frozen], settings: Any, opened: Any, task: Task,
    *, seed: int = 0, draws: int = 1, device: str = "cpu", progress: bool = False,
) -> list[Row]:  # fmt: skip
    """The same readout on the raw inputs, on the network before its pretraining, and after it.

    Held-out scores of ``draws`` choices of the labelled examples, for all rows the same choices:
    a single one where all examples are learned from.
    """
    if task.train is None or task.held_out is None:
        raise ValueError("there are no labelled examples to compare on")
    untrained = type(opened.method).build(opened.settings, opened.data, seed=seed)
    rows = [_row(kind, settings, task, task.train.raw_name, lambda part: part.raw, seed, draws)]
    for name, method in (("random network", untrained), (opened.name, opened.method)):
        method.model.to(device)

        def represent(part: Labelled, method: Any = method, label: str = name) -> NDArray:
            return kind.read(method, part.inputs, label if progress else "")

        rows.append(_row(kind, settings, task, name, represent, seed, draws))
    return rows


def _row(
    kind: type[Frozen], settings: Any, task: Task, name: str, represent: Any, seed: int, draws: int
) -> Row:
    assert task.train is not None
    assert task.held_out is not None
    features, test = represent(task.train), represent(task.held_out)
    found: list[dict[str, float]] = []
    if len(settings.choose(task.train.labels, seed)) == len(task.train):
        draws = 1  # of all there is one choice
    for draw in range(draws):
        chosen = settings.choose(task.train.labels, seed, draw)
        readout = kind.new_readout(settings, features.shape[1:], task)
        readout.learn(features[chosen], task.train.labels[chosen], features)
        predicted = readout.predict(test)
        found.append(score(predicted, task.held_out.labels, kind.labels, task.metrics))
    return Row(name, {key: np.array([one[key] for one in found]) for key in found[0]})
