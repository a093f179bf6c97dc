"""GPT: a decoder that predicts the next token, and its pretraining. Lectures 05 and 10.

Radford et al. (2018, GPT; 2019, GPT-2).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor, as_array
from minissl.losses.language_modeling import (
    IGNORE,
    next_token_loss,
    perplexity,
    teacher_forcing,
)
from minissl.nn.attention import KeyValueCache
from minissl.nn.evaluating import evaluating
from minissl.nn.layers import Dropout, Embedding
from minissl.nn.module import Module
from minissl.nn.positions import LearnedPositions
from minissl.nn.transformer import Transformer, TransformerConfig
from minissl.text.baselines import bits_per_byte


@dataclass(frozen=True, kw_only=True)
class GPTConfig(TransformerConfig):
    """A Transformer's choices, and those of the tokens it reads."""

    vocab_size: int  # how many different tokens
    context_length: int  # how many tokens it sees at once

    def num_parameters(self) -> int:
        """V d + T d + L (12 d² + 13 d) + 2 d: 124.4 million for GPT-2's smallest."""
        embeddings = (self.vocab_size + self.context_length) * self.width
        return embeddings + super().num_parameters()


class GPT(Module):
    """Token and position vectors, a causal Transformer, and the token vectors again as output.

    The output embedding is tied to the input's (Press and Wolf, 2017): the logit of a token is the
    product of its vector with the last hidden state.
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

    def _embed(self, tokens: Any, start: int = 0) -> Tensor:
        tokens = as_array(tokens)
        if tokens.ndim != 2:
            raise ValueError(f"GPT: expected tokens (batch, time), got shape {tuple(tokens.shape)}")
        return self.tokens(tokens) + self.positions(tokens.shape[1], start)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., width) -> (..., vocab_size)."""
        return ops.linear(hidden, self.tokens.weight)

    def new_caches(self) -> list[KeyValueCache]:
        """Empty caches for generation, one per layer."""
        return [KeyValueCache(self.config.context_length) for _ in self.transformer.blocks]

    def attention_weights(self, tokens: Any) -> np.ndarray:
        """Who looks at whom, without dropout: (layers, batch, heads, time, time)."""
        with evaluating(self):
            return self.transformer.attention_weights(self._embed(tokens), causal=True)


def pack(documents: Iterable[Sequence[int]], separator: int) -> np.ndarray:
    """All documents in one stream of tokens, a separator before, between and after them.

    Example: [[5, 6], [7]] with separator 0 -> [0, 5, 6, 0, 7, 0]. So every token of every document,
    and its end, is predicted once. Int64 (time,). Raises ValueError for a separator in a document.
    """
    pieces = [np.array([separator])]
    for number, document in enumerate(documents):
        tokens = np.asarray(document, dtype=np.int64)
        if (tokens == separator).any():
            raise ValueError(f"document {number} holds the separator {separator} itself")
        pieces += [tokens, pieces[0]]
    return np.concatenate(pieces)


class LanguageModeling:
    """Pretrain a GPT on windows of one token stream: predict each token from those before it.

    ``stream``: (time,) integers, see ``pack``. A batch is ``batch_size`` windows of context_length
    tokens (and one more, to predict) from random places. ``separator``: when given, no target
    crosses a document: what follows a separator is not predicted, since the model could know it
    only from another text. ``held_out``: the stream for ``evaluate``; ``held_out_bytes``: the
    bytes of its text in UTF-8.

    Raises ValueError for a stream that is shorter than one window, or not of integers.
    """

    def __init__(
        self,
        model: GPT,
        stream: np.ndarray,
        *,
        batch_size: int = 16,
        separator: int | None = None,
        held_out: np.ndarray | None = None,
        held_out_bytes: int | None = None,
    ):
        length = model.config.context_length
        for name, tokens, least in (("stream", stream, length + 1), ("held_out", held_out, 2)):
            if tokens is None:
                continue
            if tokens.ndim != 1 or tokens.dtype.kind not in "iu" or len(tokens) < least:
                raise ValueError(
                    f"{name}: expected {least} or more integers in one axis, "
                    f"got shape {tokens.shape} of {tokens.dtype}"
                )
        self.model, self.stream, self.batch_size = model, stream, batch_size
        self.separator = separator
        self.held_out, self.held_out_bytes = held_out, held_out_bytes

    def batch(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets, both (batch, context_length)."""
        length = self.model.config.context_length
        starts = generator.integers(len(self.stream) - length, size=self.batch_size)
        windows = self.stream[starts[:, None] + np.arange(length + 1)].astype(np.int64)
        inputs, targets = teacher_forcing(windows)
        if self.separator is not None:
            targets = np.where(inputs == self.separator, IGNORE, targets)
        return inputs, targets

    def loss(self, batch: tuple[np.ndarray, np.ndarray], generator: np.random.Generator) -> Tensor:
        """The mean nats per predicted token."""
        inputs, targets = batch
        logits = self.model(inputs, generator=generator)
        return next_token_loss(logits, targets, overwrite_logits=True)

    def represent(self, examples: Sequence[Sequence[int]]) -> np.ndarray:
        """The mean of the last hidden states: token sequences -> (examples, width).

        A sequence longer than the context is cut at its end. Raises ValueError for an empty one.
        """
        length = self.model.config.context_length
        cut = [np.asarray(example, dtype=np.int64)[:length] for example in examples]
        sizes = np.array([len(example) for example in cut], dtype=np.int64)
        if not all(sizes):
            raise ValueError(f"example {int(np.argmin(sizes))} has no tokens to represent")
        rows = np.empty(
            (len(cut), self.model.config.width), self.model.tokens.weight[:0].numpy().dtype
        )
        by_length = np.argsort(sizes, kind="stable")  # little padding inside a batch
        with evaluating(self.model):
            for start in range(0, len(cut), self.batch_size):
                chosen = by_length[start : start + self.batch_size]
                tokens = np.zeros((len(chosen), sizes[chosen].max()), np.int64)
                inside = np.arange(tokens.shape[1]) < sizes[chosen, None]
                tokens[inside] = np.concatenate([cut[i] for i in chosen])
                hidden = self.model.hidden(tokens).numpy()  # causal: padding changes nothing before
                rows[chosen] = (hidden * inside[..., None]).sum(axis=1) / sizes[chosen, None]
        return rows

    def evaluate(self) -> dict[str, float]:
        """Held-out loss in nats per token, its perplexity, and bits per byte if bytes were given.

        Every token but the first is predicted once, from at least half a context where there is
        one; what follows a separator too. Nothing is drawn: the same model gives the same numbers.
        """
        if self.held_out is None:
            return {}
        total = stream_nats(self.model, self.held_out, batch_size=self.batch_size)
        loss = total / (len(self.held_out) - 1)
        metrics = {"held_out_loss": loss, "held_out_perplexity": perplexity(loss)}
        if self.held_out_bytes is not None:
            metrics["held_out_bits_per_byte"] = bits_per_byte(
                loss, len(self.held_out) - 1, self.held_out_bytes
            )
        return metrics


def stream_nats(
    model: GPT, stream: np.ndarray, *, stride: int | None = None, batch_size: int = 16
) -> float:
    """−ln p(x₂ ... x_n | x₁) of a whole stream, by windows of context_length that overlap.

    Windows begin every ``stride`` tokens (half a context unless given), and each predicts only
    what the one before has not: so each token is counted once, and those after the first window
    see at least context_length − stride tokens. Raises ValueError for a stride out of range.
    """
    targets = len(stream) - 1
    length = min(model.config.context_length, targets)
    stride = max(length // 2, 1) if stride is None else stride
    if not 1 <= stride <= model.config.context_length:
        raise ValueError(
            f"stride must be from 1 to the context length {model.config.context_length}, "
            f"got {stride}"
        )
    last = targets - length  # where the last window begins
    starts = np.append(np.arange(0, last, stride), last)
    counted = np.append(0, starts[:-1] + length)  # how far the windows before have come
    total = 0.0
    with evaluating(model):
        for i in range(0, len(starts), batch_size):
            places = starts[i : i + batch_size, None] + np.arange(length)  # (batch, time)
            inputs, after = stream[places], stream[places + 1].astype(np.int64)
            after = np.where(places < counted[i : i + batch_size, None], IGNORE, after)
            loss = next_token_loss(model(inputs), after, reduction="sum", overwrite_logits=True)
            total += loss.item()
    return total
