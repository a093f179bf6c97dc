"""Two vectors for each word: one as a center, one as a word of the context. Lecture 04."""

from typing import Any

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.nn.layers import Embedding
from minissl.nn.module import Module


class WordTables(Module):
    """``centers`` and ``contexts``, both (vocab_size, width), with gradients of few rows.

    ``biases``: a number for each context besides, (vocab_size, 1). As word2vec begins: centers
    uniform in ±½/width, contexts and biases 0. The row 0, of unknown words, is never trained.
    """

    def __init__(
        self, vocab_size: int, width: int, *, biases: bool = False, generator: np.random.Generator
    ):
        self.centers = _zeros(vocab_size, width)
        self.centers.weight.array[1:] = (generator.random((vocab_size - 1, width)) - 0.5) / width
        self.contexts = _zeros(vocab_size, width)
        self.biases = _zeros(vocab_size, 1) if biases else None

    @property
    def width(self) -> int:
        """Of a vector."""
        return self.centers.weight.shape[1]

    def mean(self, ids: Any, weights: Any) -> Tensor:
        """The weighted sum of center vectors of texts: ids and weights (batch, time)."""
        vectors = ops.take(self.centers.weight, ids)  # whole gradients: any optimizer takes them
        return ops.squeeze(ops.matmul(weights[:, None], vectors), axis=1)


def _zeros(rows: int, width: int) -> Embedding:
    return Embedding(rows, width, init_std=0.0, sparse=True, generator=np.random.default_rng(0))
