"""A recurrent language model: an LSTM or a GRU that predicts the next token. Lecture 05.

Mikolov et al. (2010) for recurrent networks, Sundermeyer, Schlüter and Ney (2012) for LSTMs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor, as_array
from minissl.nn.layers import Dropout, Embedding, Linear
from minissl.nn.module import Module
from minissl.nn.recurrent import GRU, LSTM

CELLS: dict[str, type[LSTM] | type[GRU]] = {"lstm": LSTM, "gru": GRU}


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig:
    """The sizes of a recurrent language model."""

    vocab_size: int  # how many different tokens
    width: int  # numbers per token and in each state
    num_layers: int = 1
    cell: str = "lstm"  # or "gru"
    dropout: float = 0.0  # between the layers, below the first and above the last
    init_std: float = 1.0  # of the token vectors; with much less the gates hardly see the token

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"cell must be one of {sorted(CELLS)}, got {self.cell!r}")
        if self.num_layers < 1:
            raise ValueError(f"num_layers must be 1 or more, got {self.num_layers}")

    @property
    def parts(self) -> int:
        """Of a layer's state: an LSTM's has two, h and c."""
        return 2 if self.cell == "lstm" else 1

    def num_parameters(self) -> int:
        """V (2 d + 1) + L (8 d² + 8 d) for an LSTM, with 6 instead of 8 for a GRU."""
        layer = 2 * CELLS[self.cell].gates * (self.width**2 + self.width)
        return self.vocab_size * (2 * self.width + 1) + self.num_layers * layer


class StateCache:
    """What one layer remembers of the ``length`` tokens so far: its state (batch, parts, width).

    It is to a recurrent network what a KeyValueCache is to a Transformer, and does not grow.
    """

    def __init__(self, state: Tensor | None = None, length: int = 0):
        self.state, self.length = state, length


class RecurrentLM(Module):
    """Token vectors, layers of an LSTM or a GRU, and a Linear to the logits.

    It sees all that it has read, as far as its state remembers: ``context_length`` is infinite.
    """

    context_length = math.inf

    def __init__(self, config: RecurrentConfig, *, generator: np.random.Generator):
        self.config, width = config, config.width
        self.tokens = Embedding(
            config.vocab_size, width, init_std=config.init_std, generator=generator
        )
        self.dropout = Dropout(config.dropout)
        kind = CELLS[config.cell]
        self.layers = [kind(width, width, generator=generator) for _ in range(config.num_layers)]
        self.output = Linear(width, config.vocab_size, generator=generator)

    def forward(self, tokens: Any, *, generator: np.random.Generator | None = None) -> Tensor:
        """Logits of the token after each: tokens (batch, time) integers -> (batch, time, vocab)."""
        return self.logits(self.hidden(tokens, generator=generator))

    def hidden(
        self,
        tokens: Any,
        *,
        caches: Sequence[StateCache] | None = None,
        generator: np.random.Generator | None = None,
    ) -> Tensor:
        """What the last layer says after each token: (batch, time) -> (batch, time, width).

        ``caches`` (one per layer, see ``new_caches``) hold the state before these tokens, and get
        the one after them.
        """
        return self.states(tokens, caches=caches, generator=generator)[-1]

    def states(
        self,
        tokens: Any,
        *,
        caches: Sequence[StateCache] | None = None,
        generator: np.random.Generator | None = None,
    ) -> list[Tensor]:
        """The token vectors and what each layer says: num_layers + 1 times (batch, time, width)."""
        tokens = as_array(tokens)
        if tokens.ndim != 2:
            raise ValueError(
                f"RecurrentLM: expected tokens (batch, time), got shape {tuple(tokens.shape)}"
            )
        if caches is not None and len(caches) != len(self.layers):
            raise ValueError(f"RecurrentLM: {len(caches)} caches for {len(self.layers)} layers")
        found = [self.dropout(self.tokens(tokens), generator)]
        for cache, layer in zip(caches or self.new_caches(), self.layers):
            y, state = layer(found[-1], _as_told(cache.state, layer))
            found.append(self.dropout(y, generator))
            if caches is not None:
                parts = state if isinstance(state, tuple) else (state,)
                cache.state = ops.stack([part[0] for part in parts], axis=1)
                cache.length += tokens.shape[1]
        return found

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., width) -> (..., vocab_size)."""
        return self.output(hidden)

    def new_caches(self) -> list[StateCache]:
        """States that have read nothing, one per layer."""
        return [StateCache() for _ in self.layers]


def _as_told(state: Tensor | None, layer: LSTM | GRU) -> Any:
    """A state (batch, parts, width) as the layer takes it: an LSTM's h and c, or a GRU's h."""
    if state is None:
        return None
    parts = tuple(state[None, :, i] for i in range(state.shape[1]))
    return parts if isinstance(layer, LSTM) else parts[0]
