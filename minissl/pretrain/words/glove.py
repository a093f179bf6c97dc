"""Predict how often two words stand near each other: GloVe.

Pennington, Socher and Manning (2014), GloVe: Global Vectors for Word Representation. Lecture 04.
The pairs of the whole text are counted once, words that are d apart as 1/d; then w·w̃ + b + b̃ is
fitted to the logarithm of each count, rare counts weighing less. A word's vector is the sum of its
two, w + w̃. A step moves by the mean over 20,000 pairs, where the published program moves after
each. Not here: counts that are larger than memory.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.data.words import WordOptions, Words, WordStream
from minissl.losses.words import glove
from minissl.models.word_tables import RowTable, WordTables
from minissl.nn.evaluating import evaluating
from minissl.nn.module import Module
from minissl.optim.optimizer import Optimizer
from minissl.options import option
from minissl.pretrain.method import Training
from minissl.pretrain.word_vectors import Passes, WordMethod, adagrad_over_pairs
from minissl.text.cooccurrence import Cooccurrences, cooccurrences

MEASURED = 100_000  # pairs that are measured at once


@dataclass(frozen=True, kw_only=True)
class GloVeSettings(Training, WordOptions):
    """Vectors and the counts they are fitted to: about a minute on two cores."""

    width: int = option(100, "numbers per word", least=1, most=1 << 16)
    window: int = option(10, "words to each side that are counted", least=1, most=100)
    largest: float = option(
        100.0, "count from which on a pair weighs as much as any", above=0, most=1e9
    )
    power: float = option(0.75, "a rarer pair weighs (count / largest) to this", above=0, most=10)
    batch_size: int = option(20_000, "pairs per step", least=1, most=1 << 20)
    steps: int = option(1500, "updates", least=1, most=10**9)
    learning_rate: float = option(0.3, "of AdaGrad, from beginning to end", above=0, most=100)
    weight_decay: float = option(
        0.0, "there is none: rare words would be forgotten", least=0, most=0
    )
    evaluations: int = option(5, "how often the fit is measured", least=1, free=True)

    def optimizer(self, model: Module) -> Optimizer:
        """AdaGrad, as the paper's."""
        return adagrad_over_pairs(model, self.batch_size)

    def schedule(self, step: int) -> float:
        """The learning rate, always: AdaGrad's steps become shorter by themselves."""
        return self.learning_rate


class BiasedTables(WordTables):
    """Vectors and a bias for each word, as a center and as a word of the context."""

    def __init__(self, vocab_size: int, width: int, *, generator: np.random.Generator):
        super().__init__(vocab_size, width, both=True, generator=generator)
        self.center_biases, self.context_biases = (RowTable(vocab_size, 1) for _ in range(2))

    def forward(self, rows: Any, columns: Any) -> Tensor:
        """w·w̃ + b + b̃ of each pair: (pairs,)."""
        products = ops.sum(self.centers(rows) * self.contexts(columns), axis=1)
        biases = self.center_biases(rows) + self.context_biases(columns)
        return products + ops.squeeze(biases, axis=1)


class GloVe(WordMethod):
    """Two vectors and two biases of each word, fitted to the logarithms of counts."""

    Settings = GloVeSettings
    Model = BiasedTables

    def __init__(self, model: BiasedTables, data: Words, settings: GloVeSettings, *, seed: int = 0):
        super().__init__(model, data, settings, seed=seed)
        self.pairs = self._count(data.stream)
        self.passes = Passes(max(1, len(self.pairs.counts)), seed)
        self.held_out = self._count(data.held_out)

    def _count(self, stream: WordStream) -> Cooccurrences:
        size = self.data.vocabulary.vocab_size
        return cooccurrences(stream.words, stream.documents, size, self.settings.window)

    def batch(
        self, generator: np.random.Generator, number: int | None = None
    ) -> tuple[NDArray, NDArray, NDArray]:
        """The next pairs of a pass: their rows, columns and counts, all (pairs,)."""
        self.require_text()
        number = int(generator.integers(1 << 30)) if number is None else number
        parts = self.passes.places(number, self.settings.batch_size)
        chosen = np.concatenate([places for _, places in parts])
        counts = self.pairs.counts[chosen].astype(np.float32)
        return self.pairs.rows[chosen], self.pairs.columns[chosen], counts

    def loss(self, batch: tuple[Any, Any, Any], generator: np.random.Generator) -> Tensor:
        """The mean over pairs of ½ f(x) (w·w̃ + b + b̃ − log x)²."""
        rows, columns, counts = batch
        return glove(self.model(rows, columns), counts, self.settings.largest, self.settings.power)

    def evaluate(self) -> dict[str, float]:
        """The correlation of predictions with the logarithms of the counts of the held-out text.

        −1 to 1, each pair weighing its count. A shorter text has smaller counts, all by the same
        factor, which a correlation does not see.
        """
        if not len(self.held_out.counts):
            return {}
        rows, columns, counts = self.held_out
        parts = [slice(i, i + MEASURED) for i in range(0, len(counts), MEASURED)]
        with evaluating(self.model):
            predicted = np.concatenate(
                [self.model(rows[part], columns[part]).numpy() for part in parts]
            )
        table = np.cov(predicted, np.log(counts), aweights=counts, ddof=0)
        spread = np.sqrt(table[0, 0] * table[1, 1])
        return {"held_out_correlation": float(table[0, 1] / spread) if spread else 0.0}


METHOD = GloVe
