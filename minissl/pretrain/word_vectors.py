"""What all methods that learn word vectors share: the vectors, and texts as means of them.

Lecture 04. A text is represented by the mean of the vectors of its words, in whatever order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.processes import world
from minissl.autograd.tensor import Tensor
from minissl.data.vectors import WordVectors
from minissl.data.words import Words, WordTexts
from minissl.models.word_tables import WordTables
from minissl.nn.module import Module
from minissl.optim import AdaGrad
from minissl.optim.optimizer import Optimizer
from minissl.pretrain.method import Pretraining


def adagrad_over_pairs(model: Module, pairs: int) -> Optimizer:
    """AdaGrad that begins as GloVe's does, with a sum of 1, for a loss summed over pairs.

    The loss here is a mean over so many pairs: its gradients are smaller by their number, and the
    sum of the squares by the square of it. Raises ValueError in several processes, which would have
    to send each other parts of the tables.
    """
    if world().size > 1:
        raise ValueError(
            f"word vectors are trained by one process, here are {world().size}: start it without "
            "torchrun"
        )
    return AdaGrad(model.named_parameters(), initial_sum=1 / pairs**2, eps=0.0)


class Passes:
    """The numbers below ``size`` in random order, then in another one, and so on, by the seed."""

    def __init__(self, size: int, seed: int):
        self.size, self.seed = size, seed
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))  # of a pass

    def places(self, number: int, count: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Batch ``number`` of ``count`` each: the passes it falls into, and what of each."""
        first = number * count
        for index in range(first // self.size, (first + count - 1) // self.size + 1):
            if self._order[0] != index:
                generator = np.random.default_rng([self.seed, index, 1])
                self._order = index, generator.permutation(self.size)
            begin, end = first - index * self.size, first + count - index * self.size
            yield index, self._order[1][max(0, begin) : min(end, self.size)]


class WordMethod(Pretraining):
    """A method whose model is two tables of vectors for the words of ``data``."""

    in_passes = True  # see ``training.method.InPasses``
    in_processes = False  # see ``adagrad_over_pairs``
    Data = WordTexts
    Model: ClassVar[type[WordTables]] = WordTables
    model: Any  # a ``Model``
    data: Words

    def __init__(self, model: Any, data: Words, settings: Any, *, seed: int = 0):
        self.model, self.data, self.settings, self.seed = model, data, settings, seed

    @classmethod
    def build(cls, settings: Any, data: Words, *, seed: int = 0) -> Self:
        """Random vectors for the words of the vocabulary."""
        generator = np.random.default_rng(seed)
        model = cls.Model(data.vocabulary.vocab_size, settings.width, generator=generator)
        return cls(model, data, settings, seed=seed)

    def require_text(self) -> None:
        """Raise ValueError where no words are left to train on."""
        if not len(self.data.stream):
            raise ValueError("there is no text to train on: this method was opened to be used")

    def vectors(self) -> WordVectors:
        """The vector of each word of the vocabulary."""
        return WordVectors(self.data.vocabulary.tokens[1:], self.model.vectors()[1:])

    @property
    def width(self) -> int:
        """Of a vector."""
        return self.model.width

    def collate(self, examples: Sequence[Sequence[int]]) -> tuple[NDArray, NDArray]:
        """Texts as ids (batch, time), and weights (batch, time) that make the mean of known words.

        All weights of a text without a known word are 0, and so is what represents it.
        """
        ids = np.zeros((len(examples), max([1, *map(len, examples)])), np.int64)
        for row, example in zip(ids, examples):
            row[: len(example)] = example
        known = ids > 0
        weights = known / np.maximum(known.sum(axis=1, keepdims=True), 1)
        return ids, weights.astype(self.model.centers.weight.numpy().dtype)

    def encode(
        self, batch: tuple[Any, Any], generator: np.random.Generator | None = None
    ) -> Tensor:
        """The mean of the vectors of a text's known words: (batch, width)."""
        return self.model.mean(*batch)
