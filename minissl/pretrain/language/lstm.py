"""Predict the next token of a text with an LSTM or a GRU that carries its state along.

Sundermeyer, Schlüter and Ney (2012), LSTM Neural Networks for Language Modeling; truncated
back-propagation through time: Williams and Peng (1990). Lecture 05. The text is read in lanes, side
by side; each window goes on where the one before stopped, and the state goes with it, but no
gradient. Not here: a state that forgets at the end of a document, and the dropout of recurrent
weights.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import no_grad
from minissl.autograd import operations as ops
from minissl.autograd.processes import gather_rows, world
from minissl.autograd.tensor import Tensor
from minissl.data.streams import consecutive_windows
from minissl.data.texts import Streams
from minissl.losses.language_modeling import next_token_loss, teacher_forcing
from minissl.models.held_out import carried_nats
from minissl.models.recurrent import RecurrentConfig, RecurrentLM, StateCache
from minissl.nn.module import Module
from minissl.options import option
from minissl.pretrain.language_model import LanguageModel, LanguageSettings
from minissl.text import Tokenizer


@dataclass(frozen=True, kw_only=True)
class LSTMSettings(LanguageSettings):
    """A recurrent language model with its tokenizer: about a minute on two cores."""

    cell: str = option("lstm", "what carries the state", choices=("lstm", "gru"))
    num_layers: int = option(2, "recurrent layers, one above the other", least=1, most=1000)
    width: int = option(256, "numbers per token and in a state", least=1, most=1 << 14)
    context_length: int = option(
        64, "tokens of a window: as far back as a gradient reaches", least=1, most=1 << 20
    )
    dropout: float = option(
        0.0, "below the first layer, between layers and above the last", least=0, most=0.99
    )
    batch_size: int = option(16, "lanes of text that are read side by side", least=1, most=1 << 20)
    steps: int = option(800, "updates", least=1, most=10**9)
    learning_rate: float = option(
        1e-2, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )
    weight_decay: float = option(0.01, "of matrices and embeddings", least=0, most=100)

    def config(self, vocab_size: int) -> RecurrentConfig:
        """The sizes of the model that the settings describe."""
        return RecurrentConfig(
            vocab_size=vocab_size, width=self.width, num_layers=self.num_layers, cell=self.cell,
            dropout=self.dropout,
        )  # fmt: skip


class Carried(Module):
    """A network, and the state in which each lane stands between two windows.

    ``state``: (lanes, layers, parts, width), a buffer: it is saved, so that a run goes on bit for
    bit. Lanes of all processes, in order.
    """

    def __init__(self, network: RecurrentLM, lanes: int):
        config = network.config
        self.network = network
        shape = lanes, config.num_layers, config.parts, config.width
        self.state = Tensor(np.zeros(shape, np.float32))


class LSTMPretraining(LanguageModel):
    """Pretrain a recurrent network on lanes of one token stream, window after window.

    ``length``: tokens of a window. In several processes each reads ``batch_size`` lanes of its own.
    The others: see ``LanguageModel``.
    """

    Settings = LSTMSettings
    model: Carried
    in_passes = True  # see ``training.method.InPasses``
    of_the_run = ("state",)

    def __init__(
        self,
        network: RecurrentLM,
        stream: NDArray,
        *,
        length: int = 64,
        batch_size: int = 16,
        held_out: NDArray | None = None,
        held_out_bytes: int | None = None,
        tokenizer: Tokenizer | None = None,
    ):
        self.length, self.lanes = length, batch_size * world().size
        super().__init__(
            Carried(network, self.lanes), stream, least=max(length + 1, self.lanes),
            batch_size=batch_size, held_out=held_out, held_out_bytes=held_out_bytes,
            tokenizer=tokenizer,
        )  # fmt: skip
        self._next: tuple[int, Any] = (-1, None)  # the window last read, and the state after it

    @classmethod
    def build(cls, settings: LSTMSettings, data: Streams, *, seed: int = 0) -> "LSTMPretraining":
        """A network of the settings on the streams of the data."""
        config = settings.config(data.tokenizer.vocab_size)
        return cls(
            RecurrentLM(config, generator=np.random.default_rng(seed)),
            data.stream,
            length=settings.context_length,
            batch_size=settings.batch_size,
            held_out=data.held_out_stream if len(data.held_out_stream) else None,
            held_out_bytes=len(data.held_out_text),
            tokenizer=data.tokenizer,
        )

    @property
    def network(self) -> RecurrentLM:
        """The language model alone."""
        return self.model.network

    @property
    def encoder(self) -> Module:
        """The network, without the state of the lanes."""
        return self.network

    def batch(
        self, generator: np.random.Generator, number: int | None = None
    ) -> tuple[NDArray, NDArray, int]:
        """Inputs and targets, both (batch, length), of this process's lanes; and which window."""
        self.require_text()
        rank, size = world()
        if number is None:
            number = int(generator.integers(len(self.stream)))
        windows = consecutive_windows(self.stream, self.lanes, self.length, number // size)
        own = windows[rank * self.batch_size : (rank + 1) * self.batch_size]
        return *teacher_forcing(own), number // size

    def loss(self, batch: tuple[NDArray, NDArray, int], generator: np.random.Generator) -> Tensor:
        """The mean nats per token; the state after the window waits for ``after_step``."""
        inputs, targets, number = batch
        caches = self._caches(number)
        hidden = self.network.hidden(inputs, caches=caches, generator=generator)
        with no_grad():
            self._next = number, ops.stack([c.state for c in caches], axis=1).array
        return next_token_loss(self.network.logits(hidden), targets, overwrite_logits=True)

    def _caches(self, number: int) -> list[StateCache]:
        """What was carried here: from the step before, or from a window of the same step."""
        state = self.model.state.array
        rank = world().rank
        own = state[rank * self.batch_size : (rank + 1) * self.batch_size]
        if self._next[1] is not None and self._next[0] == number - 1:
            own = self._next[1]
        if number == 0:  # a method may be trained a second time, and then begins anew
            own = own * 0
        own = ops.astype(Tensor(own), dtype=self.network.tokens.weight.dtype)
        return [StateCache(own[:, i]) for i in range(self.network.config.num_layers)]

    def after_step(self, done: int) -> None:
        """The state after the window is where the next one begins; processes tell each other."""
        dtype, rank = self.model.state.dtype, world().rank
        with no_grad():
            own = ops.astype(Tensor(self._next[1]), dtype=dtype)
            turned = gather_rows(own)  # our own lanes first
            first = self.lanes - rank * self.batch_size  # where those of process 0 are
            straight = ops.concatenate([turned[first:], turned[:first]])
            self.model.state.array = straight.array
        self._next = -1, None

    def nats(self, stream: NDArray) -> float:
        """The state has read all that came before, or 256 tokens at least."""
        return carried_nats(self.network, stream, lanes=self.batch_size, window=self.length)


METHOD = LSTMPretraining
