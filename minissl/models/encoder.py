"""BERT's network: an encoder that reads in both directions, and the heads that pretrain it.

Devlin, Chang, Lee and Toutanova (2019); the boundary head: Joshi et al. (2020, SpanBERT). Lecture
08.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor, as_array
from minissl.nn.evaluating import evaluating
from minissl.nn.layers import Dropout, Embedding, LayerNorm, Linear, activation_function
from minissl.nn.module import Module, Parameter
from minissl.nn.positions import LearnedPositions
from minissl.nn.transformer import Transformer, TransformerConfig


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(TransformerConfig):
    """A Transformer's choices as in BERT, and those of the tokens it reads.

    One is not BERT's: the weights that write into x begin smaller (``output_init_std``), as in
    GPT-2; there all begin with ``init_std``.
    """

    vocab_size: int  # how many different tokens
    context_length: int  # how many tokens it sees at once
    segments: int = 2  # how many texts can be told apart; 0: no segment vectors
    norm_first: bool = False
    activation: str = "gelu_exact"
    norm_eps: float = 1e-12

    def num_parameters(self) -> int:
        """Of the encoder: V d + T d + S d + 2 d + L (12 d² + 13 d); BERT-base 108.9 million."""
        rows = self.vocab_size + self.context_length + self.segments
        return (rows + 2) * self.width + super().num_parameters()


class Encoder(Module):
    """Token, position and segment vectors added up, normalised, and a Transformer without a mask.

    Every token sees every token, padding aside.
    """

    def __init__(self, config: EncoderConfig, *, generator: np.random.Generator):
        self.config = config
        std = config.init_std
        self.tokens = Embedding(config.vocab_size, config.width, init_std=std, generator=generator)
        self.positions = LearnedPositions(
            config.context_length, config.width, init_std=std, generator=generator
        )
        self.segments: Embedding | None = None
        if config.segments:
            self.segments = Embedding(
                config.segments, config.width, init_std=std, generator=generator
            )
        self.norm = LayerNorm(config.width, config.norm_eps)
        self.dropout = Dropout(config.dropout)
        self.transformer = Transformer(config, generator=generator)

    @property
    def context_length(self) -> int:
        """How many tokens it sees at once."""
        return self.config.context_length

    def forward(
        self,
        tokens: Any,
        *,
        lengths: Any = None,
        segments: Any = None,
        generator: np.random.Generator | None = None,
    ) -> Tensor:
        """The last hidden state of each token: (batch, time) integers -> (batch, time, width).

        lengths: (batch,) how many tokens of a row are no padding, all of them unless given;
        segments: (batch, time) numbers of the text that each token is of, 0 unless given. Raises
        ValueError for more tokens than the context has, and for segments of another shape, or
        other than 0 where ``config.segments`` is 0.
        """
        x = self.embed(tokens, segments, generator)
        return self.transformer(x, key_lengths=lengths, generator=generator)

    def states(
        self,
        tokens: Any,
        *,
        lengths: Any = None,
        segments: Any = None,
        generator: np.random.Generator | None = None,
    ) -> list[Tensor]:
        """What is embedded, and each layer's states: num_layers + 1 times (batch, time, width)."""
        x = self.embed(tokens, segments, generator)
        return self.transformer.states(x, key_lengths=lengths, generator=generator)

    def embed(
        self, tokens: Any, segments: Any = None, generator: np.random.Generator | None = None
    ) -> Tensor:
        """norm(token + position + segment), elementwise: (batch, time) -> (batch, time, width)."""
        tokens = as_array(tokens)
        if tokens.ndim != 2:
            raise ValueError(f"expected tokens (batch, time), got shape {tuple(tokens.shape)}")
        x = self.tokens(tokens) + self.positions(tokens.shape[1])
        segments = self._checked(segments, tokens)
        if self.segments is not None:
            x = x + self.segments(tokens * 0 if segments is None else segments)
        return self.dropout(self.norm(x), generator)

    def _checked(self, segments: Any, tokens: Any) -> Any:
        """None, or one number for each token; ValueError for segments that would be lost."""
        if segments is None:
            return None
        segments = as_array(segments)
        if self.segments is None and (segments != 0).any():
            raise ValueError(
                "got segments other than 0, but this encoder has none (config.segments is 0)"
            )
        if segments.shape != tokens.shape:
            raise ValueError(
                f"expected segments of the tokens' shape {tuple(tokens.shape)}, "
                f"got {tuple(segments.shape)}"
            )
        return segments

    def attention_weights(
        self, tokens: Any, *, lengths: Any = None, segments: Any = None
    ) -> np.ndarray:
        """Who looks at whom, without dropout: (layers, batch, heads, time, time)."""
        with evaluating(self):
            x = self.embed(tokens, segments)
            return self.transformer.attention_weights(x, key_lengths=lengths)


class MaskedWordHead(Module):
    """What stood at a masked place: Linear, GELU, norm, and the token vectors again as output.

    p(token | state h) ∝ exp(e · transform(h) + b): the vectors e are those that the encoder reads
    with (tied), the bias b is the output's own. Shapes: (..., width) and (vocab_size, width) ->
    (..., vocab_size).
    """

    def __init__(self, config: EncoderConfig, *, generator: np.random.Generator):
        self.transform = Linear(
            config.width, config.width, init_std=config.init_std, generator=generator
        )
        self.activation = activation_function(config.activation)
        self.norm = LayerNorm(config.width, config.norm_eps)
        self.bias = Parameter(np.zeros(config.vocab_size, np.float32))

    def forward(self, states: Tensor, token_vectors: Tensor) -> Tensor:
        return ops.linear(
            self.norm(self.activation(self.transform(states))), token_vectors, self.bias
        )


class BoundaryHead(Module):
    """SpanBERT: a masked token from the two visible ones around its span, and where it is in there.

    Twice Linear, GELU, norm on [left state; right state; vector of the place], and the token
    vectors as output. Shapes: left, right (places, width), place (places,) integers from 0 ->
    (places, vocab_size).
    """

    def __init__(
        self, config: EncoderConfig, longest: int, width: int, *, generator: np.random.Generator
    ):
        std = config.init_std
        self.places = Embedding(longest, width, init_std=std, generator=generator)
        self.first = Linear(
            2 * config.width + width, config.width, init_std=std, generator=generator
        )
        self.first_norm = LayerNorm(config.width, config.norm_eps)
        self.second = Linear(config.width, config.width, init_std=std, generator=generator)
        self.second_norm = LayerNorm(config.width, config.norm_eps)
        self.activation = activation_function(config.activation)
        self.bias = Parameter(np.zeros(config.vocab_size, np.float32))

    def forward(self, left: Tensor, right: Tensor, place: Any, token_vectors: Tensor) -> Tensor:
        x = ops.concatenate([left, right, self.places(place)], axis=-1)
        x = self.first_norm(self.activation(self.first(x)))
        x = self.second_norm(self.activation(self.second(x)))
        return ops.linear(x, token_vectors, self.bias)


class MaskedEncoder(Module):
    """An encoder with the heads it is pretrained by; each but the first may be missing (None).

    words: masked tokens. pooler, follows: tanh(W h + b) of the first state, and two logits of it,
    0 = the second text follows the first (BERT's polarity), 1 = it does not. boundary: SpanBERT's.
    """

    def __init__(
        self,
        config: EncoderConfig,
        *,
        next_sentence: bool = False,
        boundary: tuple[int, int] | None = None,
        generator: np.random.Generator,
    ):
        def linear(outputs: int) -> Linear:
            return Linear(config.width, outputs, init_std=config.init_std, generator=generator)

        self.config = config
        self.encoder = Encoder(config, generator=generator)
        self.words: MaskedWordHead | None = MaskedWordHead(config, generator=generator)
        self.pooler: Linear | None = linear(config.width) if next_sentence else None
        self.follows: Linear | None = linear(2) if next_sentence else None
        self.boundary: BoundaryHead | None = None
        if boundary is not None:
            self.boundary = BoundaryHead(config, *boundary, generator=generator)

    def forward(self, tokens: Any, **about: Any) -> Tensor:
        """The last hidden states; see ``Encoder``."""
        return self.encoder(tokens, **about)

    def word_logits(self, states: Tensor) -> Tensor:
        """What stood there: (..., width) -> (..., vocab_size). ValueError without such a head."""
        if self.words is None:
            raise ValueError("these weights have no output for masked words, only an encoder")
        return self.words(states, self.encoder.tokens.weight)

    def pooled(self, states: Tensor) -> Tensor:
        """tanh of a Linear on the first token's state: (batch, time, width) -> (batch, width)."""
        if self.pooler is None:
            raise ValueError("these weights have no pooler: they were pretrained without pairs")
        return ops.tanh(self.pooler(states[:, 0]))

    def follows_logits(self, states: Tensor) -> Tensor:
        """(batch, time, width) -> (batch, 2): 0 the second text follows, 1 it does not."""
        if self.follows is None:
            raise ValueError("these weights have no output that says whether a text follows")
        return self.follows(self.pooled(states))

    def boundary_logits(self, states: Tensor, left: Any, right: Any, place: Any) -> Tensor:
        """Tokens of spans from their boundaries: (places, vocab_size).

        states (batch, time, width); left, right (places,): where in all rows, one after the other,
        the visible tokens before and behind each span are; place: see ``BoundaryHead``.
        """
        if self.boundary is None:
            raise ValueError("these weights have no output for the boundaries of spans")
        flat = ops.reshape(states, (-1, self.config.width))
        pair = (ops.take(flat, where, axis=0) for where in (left, right))
        return self.boundary(*pair, place, self.encoder.tokens.weight)
