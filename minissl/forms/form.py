"""What every form has: a head, a batch, a loss, answers and their score. Lecture 11."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.data.classes import as_in_the_run
from minissl.data.labels import Labelled, pick
from minissl.nn.evaluating import evaluating
from minissl.nn.module import Module
from minissl.pretrain.method import Represents

BATCH = 32  # examples that are answered together


class Form(ABC):
    """How a network answers one kind of question.

    ``class_names``: of the classes or tags, () where there are none. ``metrics``: what a published
    task is judged by besides (``adapt.metrics``). A head is a Module that is made by ``head``; the
    network below is any ``Represents``, ``base`` in all that follows.
    """

    kind: ClassVar[str]  # of the labels, a key of ``FORMS``
    needs: ClassVar[type] = Represents  # what the base must be

    def __init__(self, class_names: Sequence[str] = (), metrics: Sequence[str] = ()):
        self.class_names, self.metrics = tuple(class_names), tuple(metrics)

    @abstractmethod
    def head(self, width: int, generator: np.random.Generator, train: Labelled | None) -> Module:
        """A layer with random weights on states of this width.

        ``train``: what is learned from, None for a head whose weights are loaded afterwards.
        """

    @classmethod
    def labels_of(cls, labelled: Labelled, class_names: Sequence[str]) -> Any:
        """Other labels by the numbers of these classes. ValueError for a class that is none."""
        return as_in_the_run(labelled.labels, labelled.class_names, class_names)

    def collate(self, base: Any, inputs: Any) -> Any:
        """Examples as the arrays that ``outputs`` takes."""
        return base.collate(inputs)

    def batch(self, base: Any, inputs: Any, labels: Any) -> tuple[Any, Any]:
        """Collated examples, and their labels as ``loss`` takes them."""
        return self.collate(base, inputs), np.asarray(labels)

    def standardized(self, head: Any, labels: Any) -> Any:
        """Labels in the unit in which the head is to learn them; as they are unless a form says."""
        return labels

    def outputs(
        self, base: Any, head: Module, collated: Any, generator: np.random.Generator | None = None
    ) -> Tensor:
        """What is said of a batch, in the mode that network and head are in."""
        return head(base.encode(collated, generator))

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Any) -> Tensor:
        """The mean loss of a batch, one element."""

    @abstractmethod
    def predict(self, base: Any, head: Module, inputs: Any) -> Any:
        """An answer for each example, in evaluation mode."""

    @abstractmethod
    def evaluate(self, base: Any, head: Module, held_out: Labelled) -> dict[str, float]:
        """By name, what the answers are worth: "loss" and the metrics of the form."""

    def probabilities(self, base: Any, head: Module, inputs: Any) -> NDArray:
        """Of each class, for forms with classes: (examples, classes)."""
        raise ValueError(f"labels of the kind {self.kind!r} have no classes with probabilities")

    @abstractmethod
    def table(self, base: Any, head: Module, inputs: Any) -> tuple[list[str], list[list[str]]]:
        """For a person: names of columns, and a row of texts for each example."""

    def in_batches(
        self, base: Any, head: Module, inputs: Any
    ) -> Iterator[tuple[NDArray[np.int64], Any, NDArray]]:
        """Which examples, collated, and their outputs, in evaluation mode; of like lengths."""
        sizes = [0 if isinstance(inputs, np.ndarray) else len(one) for one in inputs]
        order = np.argsort(sizes, kind="stable")
        with evaluating(base.model), evaluating(head):
            for start in range(0, len(order), BATCH):
                chosen = order[start : start + BATCH]
                collated = self.collate(base, pick(inputs, chosen))
                yield chosen, collated, self.outputs(base, head, collated).numpy()
