"""Predict the words around a word: skip-gram with negative sampling, word2vec.

Mikolov, Sutskever, Chen, Corrado and Dean (2013), Distributed Representations of Words and Phrases.
Lecture 04. Each word has a vector as a center and one as a context; their dot product says whether
the pair was seen or drawn from noise. Noise is shared by the 32 centers of a block, and may be a
word that was really there. The step is AdaGrad's, over batches of some 10,000 centers, where the
published program moves after every pair. Not here: phrases, hierarchical softmax, vectors of the
parts of a word (fastText).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.pretrain.windows import BLOCK, SHARED, Windows, WindowSettings, WordWindows


class SkipGram(WordWindows):
    """Each center predicts every word in its window."""

    Settings = WindowSettings

    def arrays(self, windows: Windows) -> tuple[NDArray, ...]:
        """Ids of centers and of what is scored with them, and what counts as seen and as noise.

        Shapes: (blocks, BLOCK), (blocks, words), twice (blocks, words, BLOCK). Of ``SHARED`` noise
        words each stands for negatives / SHARED words for each word in the window.
        """
        words = np.concatenate([windows.around, windows.noise], axis=1)
        seen = np.zeros((*words.shape, BLOCK), np.float32)
        noise = np.zeros_like(seen)
        near = windows.around.shape[1]
        seen[:, :near] = windows.seen
        noise[:, near:] = self.settings.negatives / SHARED * seen.sum(axis=1, keepdims=True)
        return windows.centers, words, seen, noise

    def scores(self, centers: Any, words: Any) -> Tensor:
        """The dot products of a block's words with its centers: (blocks, words, BLOCK)."""
        return ops.matmul(self.model.contexts(words), self.model.centers(centers).mT)

    def loss(self, batch: tuple[Any, ...], generator: np.random.Generator) -> Tensor:
        """The mean over pairs of −log σ(w·c) − Σₖ log σ(−w·nₖ), in nats."""
        centers, words, seen, noise = batch
        total = fused.logistic_loss(self.scores(centers, words), seen, noise)
        return total / max(1.0, self.count(batch))

    def count(self, batch: tuple[Any, ...]) -> float:
        """How many words stand in the windows of the batch."""
        return float(batch[2].sum())


METHOD = SkipGram
