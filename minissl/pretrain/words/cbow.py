"""Predict a word from the mean of those around it: CBOW with negative sampling, word2vec.

Mikolov, Chen, Corrado and Dean (2013), Efficient Estimation of Word Representations. Lecture 04.
The mean of the vectors of the words in a window is scored with the vector of the word in the
middle, and with noise. A window gives one prediction where skip-gram's gives one for each word in
it, so that it takes less time and learns rare words less well. Not here: hierarchical softmax.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.pretrain.windows import BLOCK, SHARED, Windows, WindowSettings, WordWindows


class CBOW(WordWindows):
    """The words of a window predict their center."""

    Settings = WindowSettings

    def arrays(self, windows: Windows) -> tuple[NDArray, ...]:
        """Ids of the words around and of what is scored, weights of the means, seen and noise.

        Shapes: (blocks, around), (blocks, words), (blocks, BLOCK, around), twice (blocks, words,
        BLOCK), where the first BLOCK of the words are the centers. A center without a word in its
        window predicts nothing.
        """
        near = windows.seen.transpose(0, 2, 1).astype(np.float32)
        pairs = near.sum(axis=2, keepdims=True)
        near /= np.maximum(pairs, 1)
        words = np.concatenate([windows.centers, windows.noise], axis=1)
        seen = np.zeros((*words.shape, BLOCK), np.float32)
        noise = np.zeros_like(seen)
        there = (pairs > 0)[:, None, :, 0]
        seen[:, :BLOCK] = np.eye(BLOCK, dtype=bool) & there
        noise[:, BLOCK:] = self.settings.negatives / SHARED * there
        return windows.around, words, near, seen, noise

    def loss(self, batch: tuple[Any, ...], generator: np.random.Generator) -> Tensor:
        """The mean over centers of −log σ(m·c) − Σₖ log σ(−m·nₖ), m the mean, in nats."""
        around, words, near, seen, noise = batch
        means = ops.matmul(near, self.model.centers(around))  # (blocks, BLOCK, width)
        scores = ops.matmul(self.model.contexts(words), means.mT)
        return fused.logistic_loss(scores, seen, noise) / max(1.0, self.count(batch))

    def count(self, batch: tuple[Any, ...]) -> float:
        """How many centers have a word in their window."""
        return float(batch[3].sum())


METHOD = CBOW
