"""Predict the words around a word, as probabilities: noise-contrastive estimation.

Gutmann and Hyvärinen (2010); Mnih and Teh (2012), A Fast and Simple Algorithm for Training Neural
Probabilistic Language Models. Lecture 04. Skip-gram whose score s is compared with the noise that
was drawn: the logit is s − log(k q(c)), with q the noise and k negatives. Then eˢ is p(c | w): its
sum over the vocabulary, which nobody computes, is taken to be 1 and becomes so. Negative sampling
leaves the correction out, and its eˢ is no probability. Not here: a language model that predicts
the next word alone.
"""

from typing import Any, Self

import numpy as np

from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.data.words import Words
from minissl.models.word_tables import RowTable
from minissl.pretrain.windows import PairWindows, WindowSettings

MEASURED = 200  # centers, the most frequent words, whose probabilities are added up


class NoiseContrastive(PairWindows):
    """Each center predicts every word in its window, with a probability."""

    Settings = WindowSettings
    model: Any

    def __init__(self, model: Any, data: Words, settings: Any, *, seed: int = 0):
        super().__init__(model, data, settings, seed=seed)
        with np.errstate(divide="ignore"):  # words without a count are never drawn
            self.log_noise = np.log(settings.negatives * self.noise)

    @classmethod
    def build(cls, settings: Any, data: Words, *, seed: int = 0) -> Self:
        """Random vectors; the biases begin at the logarithm of each word's share of the text."""
        method = super().build(settings, data, seed=seed)
        counts = data.vocabulary.counts[1:]
        method.model.biases = RowTable(len(counts) + 1, 1)
        method.model.biases.weight.array[1:, 0] = np.log(counts / counts.sum())
        return method

    def arrays(self, windows: Any) -> tuple[Any, ...]:
        """Those of all pairs, and log(k q) of what is scored: (blocks, words, 1)."""
        centers, words, seen, noise = super().arrays(windows)
        log_noise = np.where(words > 0, self.log_noise[words], 0)  # of no word nothing counts
        return centers, words, seen, noise, log_noise[:, :, None].astype(np.float32)

    def loss(self, batch: tuple[Any, ...], generator: np.random.Generator) -> Tensor:
        """The mean over pairs of the logistic loss of s − log(k q(c)), in nats."""
        centers, words, seen, noise, log_noise = batch
        scores = self.scores(centers, words) + self.model.biases(words)
        return fused.logistic_loss(scores - log_noise, seen, noise) / max(1.0, self.count(batch))

    def log_probabilities(self, centers: Any) -> np.ndarray:
        """s of every word beside each center: (centers, words), log p(c | w) where it is one.

        Without [UNK]: row i of the ids is column i − 1.
        """
        tables = self.model
        w = tables.centers.weight.numpy()[np.asarray(centers)]
        return w @ tables.contexts.weight.numpy()[1:].T + tables.biases.weight.numpy()[1:, 0]

    def evaluate(self) -> dict[str, float]:
        """The held-out loss, and how far the probabilities of a center are from adding up to 1.

        ``log_normalizer``: the mean over frequent centers of log Σ eˢ, 0 for probabilities.
        """
        metrics = super().evaluate()
        count = min(MEASURED, len(self.noise) - 1)
        sums = ops.logsumexp(self.log_probabilities(np.arange(1, count + 1)), axis=1).numpy()
        return {**metrics, "log_normalizer": float(sums.mean(dtype=np.float64))} if metrics else {}


METHOD = NoiseContrastive
