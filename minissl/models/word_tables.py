"""Two vectors for each word: one as a center, one as a word of the context. Lecture 04."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.nn.module import Module, Parameter


class WordTables(Module):
    """``centers`` and ``contexts``, both (vocab_size, width), with gradients of few rows.

    As word2vec begins: centers uniform in ±½/width, contexts 0. ``both``: a word's vector is the
    sum of its two, which then both begin at random, as GloVe's do; else it is that of the center.
    Row 0, of unknown words, is 0 and never trained.
    """

    def __init__(
        self, vocab_size: int, width: int, *, both: bool = False, generator: np.random.Generator
    ):
        self.both = both
        self.centers, self.contexts = (RowTable(vocab_size, width) for _ in range(2))
        for table in (self.centers, self.contexts) if both else (self.centers,):
            table.weight.array[1:] = (generator.random((vocab_size - 1, width)) - 0.5) / width

    @property
    def width(self) -> int:
        """Of a vector."""
        return self.centers.weight.shape[1]

    def vectors(self) -> NDArray:
        """The vector of each word, (vocab_size, width)."""
        centers, contexts = (t.weight.numpy() for t in (self.centers, self.contexts))
        return centers + contexts if self.both else centers

    def mean(self, ids: Any, weights: Any) -> Tensor:
        """The weighted sums of the vectors of texts, (batch, width): both (batch, time).

        The gradient is that of whole tables, which every optimizer takes.
        """
        vectors = ops.take(self.centers.weight, ids)
        if self.both:
            vectors = vectors + ops.take(self.contexts.weight, ids)
        return ops.squeeze(ops.matmul(weights[:, None], vectors), axis=1)


class RowTable(Module):
    """An Embedding that begins with zeros, and whose gradient has the rows that were looked up."""

    def __init__(self, rows: int, width: int):
        self.weight = Parameter(np.zeros((rows, width), np.float32))

    def forward(self, indices: Any) -> Tensor:
        return ops.take(self.weight, indices, sparse=True)
