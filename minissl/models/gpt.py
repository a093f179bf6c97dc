"""GPT: a decoder that predicts the next token. Lectures 06 and 10.

Radford et al. (2018, GPT; 2019, GPT-2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor, as_array
from minissl.nn.attention import KeyValueCache
from minissl.nn.evaluating import evaluating
from minissl.nn.layers import Dropout, Embedding, Linear
from minissl.nn.module import Module
from minissl.nn.positions import LearnedPositions
from minissl.nn.transformer import Transformer, TransformerConfig


@dataclass(frozen=True, kw_only=True)
class GPTConfig(TransformerConfig):
    """A Transformer's choices, and those of the tokens it reads."""

    vocab_size: int  # how many different tokens
    context_length: int  # how many tokens it sees at once
    tied_output: bool = True  # the output multiplies by the token vectors, as in every GPT

    def num_parameters(self) -> int:
        """V d + T d + L (12 d² + 13 d) + 2 d: 124.4 million for GPT-2's smallest."""
        tables = (1 if self.tied_output else 2) * self.vocab_size + self.context_length
        return tables * self.width + super().num_parameters()


class GPT(Module):
    """Token and position vectors, a causal Transformer, and the token vectors again as output.

    The output embedding is tied to the input's (Press and Wolf, 2017): the logit of a token is the
    product of its vector with the last hidden state. With ``tied_output=False`` it is a Linear of
    its own, ``output``, as in some published weights.
    """

    def __init__(self, config: GPTConfig, *, generator: np.random.Generator):
        self.config = config
        self.tokens = Embedding(
            config.vocab_size, config.width, init_std=config.init_std, generator=generator
        )
        self.positions = LearnedPositions(
            config.context_length, config.width, init_std=config.init_std, generator=generator
        )
        self.dropout = Dropout(config.dropout)
        self.transformer = Transformer(config, generator=generator)
        self.output: Linear | None = None
        if not config.tied_output:
            self.output = Linear(
                config.width,
                config.vocab_size,
                bias=False,
                init_std=config.init_std,
                generator=generator,
            )

    @property
    def context_length(self) -> int:
        """How many tokens it sees at once."""
        return self.config.context_length

    def forward(self, tokens: Any, *, generator: np.random.Generator | None = None) -> Tensor:
        """Logits of the token after each: tokens (batch, time) integers -> (batch, time, vocab)."""
        return self.logits(self.hidden(tokens, generator=generator))

    def hidden(
        self,
        tokens: Any,
        *,
        caches: Sequence[KeyValueCache] | None = None,
        generator: np.random.Generator | None = None,
    ) -> Tensor:
        """The last hidden state of each token: (batch, time) -> (batch, time, width).

        ``caches`` (one per layer, see ``new_caches``) hold the tokens that came before these.
        Raises ValueError for more tokens than the context has.
        """
        x = self.dropout(self._embed(tokens, caches[0].length if caches else 0), generator)
        return self.transformer(x, causal=True, caches=caches, generator=generator)

    def states(self, tokens: Any, *, generator: np.random.Generator | None = None) -> list[Tensor]:
        """Token and position vectors, and what each layer makes of them.

        num_layers + 1 times (batch, time, width), the last as in ``hidden``.
        """
        x = self.dropout(self._embed(tokens), generator)
        return self.transformer.states(x, causal=True, generator=generator)

    def _embed(self, tokens: Any, start: int = 0) -> Tensor:
        tokens = as_array(tokens)
        if tokens.ndim != 2:
            raise ValueError(f"GPT: expected tokens (batch, time), got shape {tuple(tokens.shape)}")
        return self.tokens(tokens) + self.positions(tokens.shape[1], start)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., width) -> (..., vocab_size)."""
        if self.output is not None:
            return self.output(hidden)
        return ops.linear(hidden, self.tokens.weight)

    def new_caches(self) -> list[KeyValueCache]:
        """Empty caches for generation, one per layer."""
        return [KeyValueCache(self.config.context_length) for _ in self.transformer.blocks]

    def attention_weights(self, tokens: Any) -> np.ndarray:
        """Who looks at whom, without dropout: (layers, batch, heads, time, time)."""
        with evaluating(self):
            return self.transformer.attention_weights(self._embed(tokens), causal=True)
