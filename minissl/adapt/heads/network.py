"""Word vectors of a run below a random LSTM or Transformer, which is learned from labels.

Collobert and Weston (2008), A Unified Architecture for Natural Language Processing, put vectors
learned without labels below a network; Lai, Xu, Liu and Zhao (2015) a recurrent one for classes of
texts. Lectures 04 and 11. Only the lowest layer is pretrained: what a word means beside others is
learned from the labels alone, which is what pretraining of whole networks changed. ``vectors``
"random" is the same network without any pretraining. Not here: a network that reads in both
directions (other than the Transformer), and learning rates of their own for the vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.method import Task
from minissl.adapt.trained import OnTop, Trained, TrainedSettings, new_head
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.nn.layers import Dropout, Linear
from minissl.nn.module import Module, Parameter
from minissl.nn.positions import LearnedPositions
from minissl.nn.recurrent import LSTM
from minissl.nn.transformer import Transformer, TransformerConfig
from minissl.options import option
from minissl.pretrain.method import HasVectors, Represents


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(TrainedSettings):
    """A network with random weights on word vectors, and what of both is learned."""

    network: str = option("lstm", "what reads the vectors", choices=("lstm", "transformer"))
    hidden: int = option(64, "width of the network", least=1, most=1 << 14)
    layers: int = option(1, "of the network, one above the other", least=1, most=1000)
    heads: int = option(4, "attention patterns per layer of a Transformer", least=1, most=1 << 10)
    context_length: int = option(
        128, "words of a text that are read, from its beginning", least=1, most=1 << 16
    )
    read: str = option(
        "mean", "what a text is: the mean of all states, or the last", choices=("mean", "last")
    )
    vectors: str = option(
        "pretrained", "those of the run; or random ones, for comparison",
        choices=("pretrained", "random"),
    )  # fmt: skip
    learn_vectors: bool = option(True, "the vectors go on learning; else they stay as they are")
    dropout: float = option(0.1, "of words' vectors and in a Transformer", least=0, most=0.99)
    learning_rate: float = option(
        3e-3, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )


def word_table(
    matrix: NDArray[np.float32], kind: str, generator: np.random.Generator
) -> NDArray[np.float32]:
    """What a network begins with: (words + 1, width), of vectors (words, width).

    All are divided by one number, so that the mean square is 1, as networks expect it. Row 0, of
    all unknown words, is random; with "random" every row is.
    """
    words, width = matrix.shape
    table = generator.standard_normal((words + 1, width)).astype(np.float32)
    if kind == "pretrained":
        size = np.sqrt(np.mean(matrix.astype(np.float64) ** 2))
        table[1:] = matrix / (size or 1)
    return table


class Encoder(Module):
    """Ids of words to states, by vectors and a network on them.

    Shapes: ids (batch, time) integers, lengths (batch,) how many of each are no padding -> (batch,
    time, hidden).
    """

    def __init__(self, settings: NetworkSettings, matrix: NDArray, generator: np.random.Generator):
        table = word_table(matrix, settings.vectors, generator)
        self.vectors = Parameter(table) if settings.learn_vectors else Tensor(table)
        self.dropout = Dropout(settings.dropout)
        width, hidden = matrix.shape[1], settings.hidden
        self.lstm: LSTM | None = None
        if settings.network == "lstm":
            self.lstm = LSTM(width, hidden, settings.layers, generator=generator)
            return
        config = TransformerConfig(
            num_layers=settings.layers, width=hidden, num_heads=settings.heads,
            dropout=settings.dropout,
        )  # fmt: skip
        self.into = Linear(width, hidden, generator=generator)
        self.positions = LearnedPositions(
            settings.context_length, hidden, init_std=0.1, generator=generator
        )
        self.transformer = Transformer(config, generator=generator)

    def forward(
        self, ids: Any, lengths: Any, *, generator: np.random.Generator | None = None
    ) -> Tensor:
        x = self.dropout(ops.take(self.vectors, ids), generator)
        if self.lstm is not None:
            return self.lstm(x)[0]  # what comes after a word does not change its state
        x = self.into(x) + self.positions(x.shape[1])
        return self.transformer(x, key_lengths=lengths, generator=generator)


class Reader(Represents):
    """Texts, as lists of word ids, as means of states or as their last."""

    model: Encoder

    def __init__(self, settings: NetworkSettings, matrix: NDArray, generator: np.random.Generator):
        self.settings, self.model = settings, Encoder(settings, matrix, generator)

    @property
    def width(self) -> int:
        """Of a state."""
        return self.settings.hidden

    @property
    def longest(self) -> int:
        """How many words of a text are read."""
        return self.settings.context_length

    def collate(self, examples: Sequence[Sequence[int]]) -> tuple[NDArray, NDArray, NDArray]:
        """ids (batch, time), lengths (batch,) and the weights (batch, time) of the states.

        A text is cut to ``context_length``; one without a word is read as an unknown word.
        """
        cut = [list(example[: self.settings.context_length]) or [0] for example in examples]
        lengths = np.array([len(example) for example in cut])
        places = np.arange(lengths.max())
        ids = np.zeros((len(cut), len(places)), np.int64)
        ids[places < lengths[:, None]] = np.concatenate(cut)
        if self.settings.read == "last":
            weights = places == lengths[:, None] - 1
        else:
            weights = (places < lengths[:, None]) / lengths[:, None]
        return ids, lengths, weights.astype(self.model.vectors[:0].numpy().dtype)

    def encode(
        self, batch: tuple[Any, Any, Any], generator: np.random.Generator | None = None
    ) -> Tensor:
        """The weighted states of each text: (batch, hidden)."""
        ids, lengths, weights = batch
        states = self.model(ids, lengths, generator=generator)
        return ops.squeeze(ops.matmul(weights[:, None], states), axis=1)


class Network(Trained):
    """Classification by a Linear on what a network makes of word vectors."""

    Settings = NetworkSettings
    needs = HasVectors
    forms = ("class", "number")

    @classmethod
    def build(cls, settings: NetworkSettings, opened: Any, task: Task, *, seed: int = 0) -> Self:
        """On the vectors of the run; the network and the Linear on top are random.

        Raises ValueError for a Transformer whose width its heads do not divide.
        """
        generator = np.random.default_rng([seed, 1])
        base = Reader(settings, opened.method.vectors().matrix, generator)
        model = OnTop(base.model, new_head(task, base, generator))
        return cls(base, task, model, settings, seed=seed)


ADAPTATION = Network
