"""Predict the words around a word: skip-gram with negative sampling, word2vec.

Mikolov, Sutskever, Chen, Corrado and Dean (2013), Distributed Representations of Words and Phrases.
Lecture 04. Each word has a vector as a center and one as a context; their dot product says whether
the pair was seen or drawn from noise. Noise is shared by the 16 centers of a block, and may be a
word that was really there. The step is AdaGrad's, over batches of some 10,000 centers, where the
published program moves after every pair. Not here: phrases, hierarchical softmax, vectors of the
parts of a word (fastText).
"""

from typing import Any

import numpy as np

from minissl.autograd import fused
from minissl.autograd.tensor import Tensor
from minissl.pretrain.windows import PairWindows, WindowSettings


class SkipGram(PairWindows):
    """Each center predicts every word in its window."""

    Settings = WindowSettings

    def loss(self, batch: tuple[Any, ...], generator: np.random.Generator) -> Tensor:
        """The mean over pairs of −log σ(w·c) − Σₖ log σ(−w·nₖ), in nats."""
        centers, words, seen, noise = batch
        total = fused.logistic_loss(self.scores(centers, words), seen, noise)
        return total / max(1.0, self.count(batch))


METHOD = SkipGram
