"""Predict the next word and the word before, with one LSTM in each direction: ELMo.

Peters, Neumann, Iyyer, Gardner, Clark, Lee and Zettlemoyer (2018), Deep contextualized word
representations. Lecture 05. A word is represented by what both networks say where it stands, the
mean over the layers; ``minissl adapt mixture`` learns weights of the layers instead. The words of a
text have vectors of their own, unknown ones share one. Not here: words made of their characters
(the paper's convolutions), a projection below the state, and a residual connection between layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.data.words import WordOptions, WordSequences, WordSequenceTexts, WordStream
from minissl.losses.language_modeling import IGNORE, next_token_loss, perplexity, teacher_forcing
from minissl.models.bidirectional import BidirectionalLM, turn
from minissl.models.held_out import carried_nats
from minissl.models.recurrent import RecurrentConfig
from minissl.nn.module import Module
from minissl.options import option
from minissl.pretrain.layered import LONGEST, Layered
from minissl.pretrain.method import Pretraining, Training

UNKNOWN = 0


@dataclass(frozen=True, kw_only=True)
class ELMoSettings(Training, WordOptions):
    """Two LSTMs over words, and how they are trained: about two minutes on two cores."""

    num_layers: int = option(2, "recurrent layers of each direction", least=1, most=1000)
    width: int = option(128, "numbers per word and in a state", least=1, most=1 << 14)
    context_length: int = option(32, "words of a window", least=1, most=1 << 16)
    dropout: float = option(
        0.0, "below the first layer, between layers and above the last", least=0, most=0.99
    )
    batch_size: int = option(32, "windows of text per step", least=1, most=1 << 20)
    steps: int = option(600, "updates", least=1, most=10**9)
    learning_rate: float = option(
        1e-2, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )
    weight_decay: float = option(0.01, "of matrices and embeddings", least=0, most=100)
    clip: float = option(1.0, "largest norm of the gradient; 0: no limit", least=0)
    evaluations: int = option(6, "how often the held-out loss is measured", least=1, free=True)

    def config(self, vocab_size: int) -> RecurrentConfig:
        """The sizes of each of the two networks."""
        return RecurrentConfig(
            vocab_size=vocab_size, width=self.width, num_layers=self.num_layers,
            dropout=self.dropout,
        )  # fmt: skip


class ELMo(Layered, Pretraining):
    """Both networks on windows of one stream of words.

    ``stream``, ``held_out``: (time,) ids of words, 0 for unknown ones, which are read but not
    predicted, and ``boundary`` before, between and after documents. The stream is empty in a run
    that is only used. Raises ValueError for a stream that is shorter than a window.
    """

    Settings = ELMoSettings
    Data = WordSequenceTexts
    model: BidirectionalLM

    def __init__(
        self,
        model: BidirectionalLM,
        stream: NDArray,
        *,
        boundary: int,
        length: int = 32,
        batch_size: int = 32,
        held_out: NDArray | None = None,
    ):
        if 0 < len(stream) <= length:
            raise ValueError(
                f"{len(stream)} words and boundaries, expected {length + 1} or more: give more "
                "text, or a smaller context_length"
            )
        self.model, self.stream, self.boundary = model, stream, boundary
        self.length, self.batch_size, self.held_out = length, batch_size, held_out

    @classmethod
    def build(cls, settings: ELMoSettings, data: WordSequences, *, seed: int = 0) -> "ELMo":
        """Two networks of the settings; one word more than the vocabulary is the boundary."""
        boundary = data.vocabulary.vocab_size
        model = BidirectionalLM(
            settings.config(boundary + 1), generator=np.random.default_rng(seed)
        )
        return cls(
            model,
            with_boundaries(data.stream, boundary),
            boundary=boundary,
            length=settings.context_length,
            batch_size=settings.batch_size,
            held_out=with_boundaries(data.held_out, boundary),
        )

    def batch(self, generator: np.random.Generator) -> tuple[NDArray, ...]:
        """Inputs and targets forwards, inputs and targets backwards: each (batch, length)."""
        if not len(self.stream):
            raise ValueError("there is no text to train on: this method was opened to be used")
        starts = generator.integers(len(self.stream) - self.length, size=self.batch_size)
        windows = self.stream[starts[:, None] + np.arange(self.length + 1)]
        inputs, targets = teacher_forcing(windows)
        turned, before = teacher_forcing(windows[:, ::-1])
        return inputs, _known(targets), turned, _known(before)

    def loss(self, batch: tuple[Any, ...], generator: np.random.Generator) -> Tensor:
        """The mean nats per predicted word, over both directions."""
        inputs, targets, turned, before = batch
        total = self._nats(self.model.ahead, inputs, targets, generator)
        total = total + self._nats(self.model.behind, turned, before, generator)
        return total / max(1.0, self.count(batch))

    def _nats(self, network: Any, inputs: Any, targets: Any, generator: Any) -> Tensor:
        logits = network(inputs, generator=generator)
        return next_token_loss(logits, targets, reduction="sum", overwrite_logits=True)

    def count(self, batch: tuple[Any, ...]) -> float:
        """How many words are predicted: the unknown ones are not."""
        return float((batch[1] != IGNORE).sum() + (batch[3] != IGNORE).sum())

    @property
    def encoder(self) -> Module:
        """Both networks without the output."""
        part = Module()
        for name in ("ahead", "behind"):
            setattr(part, name, getattr(self.model, name).below_output())
        return part

    @property
    def longest(self) -> int:
        """How many words of a text are represented."""
        return LONGEST

    @property
    def width(self) -> int:
        """Of what represents a word: both directions."""
        return 2 * self.model.config.width

    def padded(self, examples: Sequence[Sequence[int]]) -> tuple[NDArray, ...]:
        """Words between boundaries (batch, time), the same turned round, the way back, weights."""
        rows = [[self.boundary, *example, self.boundary] for example in examples]
        lengths = np.array([len(row) for row in rows])
        places = np.arange(lengths.max())
        tokens = np.full((len(rows), len(places)), self.boundary, np.int64)
        tokens[places < lengths[:, None]] = np.concatenate(rows)
        words = (places > 0) & (places < lengths[:, None] - 1)
        dtype = self.model.ahead.tokens.weight[:0].numpy().dtype
        weights = words / np.maximum(words.sum(axis=1, keepdims=True), 1)
        return tokens, *turn(tokens, lengths), weights.astype(dtype)

    @property
    def num_states(self) -> int:
        """The vectors of the words, and those of each layer."""
        return self.model.config.num_layers + 1

    def states(self, batch: Any, generator: np.random.Generator | None = None) -> list[Tensor]:
        """Both directions side by side: each layer (batch, time, width)."""
        return self.model.states(*batch[:3], generator=generator)

    def each(self, batch: Any, generator: np.random.Generator | None = None) -> Tensor:
        """The mean over the layers: (batch, time, width)."""
        return ops.mean(ops.stack(self.states(batch, generator)), axis=0)

    def evaluate(self) -> dict[str, float]:
        """Held-out nats per known word, of each direction and of both, and the perplexity.

        Nothing where no word is known.
        """
        if self.held_out is None:
            return {}
        words = self.held_out[self.held_out != self.boundary]
        if not (words != UNKNOWN).any():
            return {}  # a perplexity of boundaries alone would look wonderful
        both = {"forward": (self.model.ahead, self.held_out)}
        both["backward"] = (self.model.behind, self.held_out[::-1])
        losses = {}
        for name, (network, stream) in both.items():
            known = max(1, int((stream[1:] != UNKNOWN).sum()))
            nats = carried_nats(network, stream, lanes=self.batch_size, ignore=UNKNOWN)
            losses[f"held_out_{name}_loss"] = nats / known
        loss = float(np.mean(list(losses.values())))
        return {
            "held_out_loss": loss,
            **losses,
            "held_out_perplexity": perplexity(loss),
            "held_out_unknown_share": float(np.mean(words == UNKNOWN)),
        }


def with_boundaries(stream: WordStream, boundary: int) -> NDArray[np.int64]:
    """The words with a boundary before, between and after documents; nothing for no words."""
    if not len(stream):
        return np.zeros(0, np.int64)
    changes = np.flatnonzero(np.diff(stream.documents)) + 1
    places = np.concatenate([[0], changes, [len(stream)]])
    return np.insert(stream.words.astype(np.int64), places, boundary)


def _known(targets: NDArray) -> NDArray:
    """Targets without the unknown words."""
    return np.where(targets == UNKNOWN, IGNORE, targets)


METHOD = ELMo
