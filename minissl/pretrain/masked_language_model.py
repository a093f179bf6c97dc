"""What BERT and its kin share: hidden tokens, what is said of them, representations, samples.

Lecture 08. A batch is rows of text with special tokens, of which some are hidden
(``text/masking.py``); the loss is only where something is hidden. What a row is made of, and what
else is predicted, each method says.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.data.passages import PassageOptions, Passages, PassageTexts, PieceStream
from minissl.losses.language_modeling import next_token_loss, perplexity
from minissl.models.encoder import EncoderConfig, MaskedEncoder
from minissl.models.filling import FillsIn
from minissl.nn.evaluating import evaluating
from minissl.nn.module import Module
from minissl.options import option
from minissl.pretrain.layered import Layered
from minissl.pretrain.method import Pretraining, Training
from minissl.text.masking import choose, replace

EVALUATED = 256  # rows of held-out text


@dataclass(frozen=True, kw_only=True)
class MaskedSettings(Training, PassageOptions):
    """An encoder with its tokenizer, and how it is trained."""

    num_layers: int = option(2, "Transformer blocks", least=1, most=1000)
    width: int = option(128, "numbers per token between the blocks", least=1, most=1 << 16)
    num_heads: int = option(4, "attention heads per block; must divide the width", least=1)
    context_length: int = option(64, "tokens of a row, the special ones too", least=8, most=1 << 20)
    dropout: float = option(0.0, "of each branch, in training; BERT's 0.1", least=0, most=0.99)
    init_std: float = option(
        0.05, "of the initial weights; BERT's 0.02 is slow at small widths", above=0, most=10
    )
    masking: str = option(
        "pieces", "what is hidden: pieces of words, whole words, or spans of words",
        choices=("pieces", "words", "spans"),
    )  # fmt: skip
    mask_share: float = option(0.15, "how much of the text is hidden", above=0, most=1)
    mask_tokens: float = option(0.8, "of what is hidden, that [MASK] stands for", least=0, most=1)
    random_tokens: float = option(
        0.1, "of what is hidden, that a random token stands for; the rest is left as it is",
        least=0, most=1,
    )  # fmt: skip
    fixed_batches: int = option(
        0, "make so many batches once and repeat them, as BERT's data files; 0: always new ones",
        least=0, most=10**9,
    )  # fmt: skip
    batch_size: int = option(32, "rows of text per step", least=1, most=1 << 20)
    steps: int = option(1500, "updates", least=1, most=10**9)
    learning_rate: float = option(
        2e-3, "at its highest, after a warm-up of a twentieth", above=0, most=100
    )
    weight_decay: float = option(0.01, "of matrices and embeddings", least=0, most=100)
    clip: float = option(1.0, "largest norm of the gradient; 0: no limit", least=0)
    evaluations: int = option(6, "how often the held-out loss is measured", least=1, free=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.num_heads:
            raise ValueError(f"num_heads must divide width {self.width}, got {self.num_heads}")
        if self.mask_tokens + self.random_tokens > 1 + 1e-9:
            raise ValueError(
                f"mask_tokens {self.mask_tokens} and random_tokens {self.random_tokens} are shares "
                "of what is hidden: together at most 1"
            )

    def config(self, vocab_size: int, segments: int) -> EncoderConfig:
        """The sizes of the network that the settings describe."""
        return EncoderConfig(
            vocab_size=vocab_size,
            context_length=self.context_length,
            num_layers=self.num_layers,
            width=self.width,
            num_heads=self.num_heads,
            segments=segments,
            dropout=self.dropout,
            attention_dropout=self.dropout,
            init_std=self.init_std,
        )


class Row(NamedTuple):
    """What becomes a row: one text or two, as pieces. ``label``: see ``MaskedBatch``."""

    first: NDArray
    second: NDArray | None = None
    label: int = 0


class MaskedBatch(NamedTuple):
    """Rows with hidden tokens; all arrays (batch, time) but two.

    tokens: what the model reads. segments: 0 for [CLS], the first text and its [SEP], 1 for the
    second and its. hidden: where a token is predicted. originals: what stood there.
    lengths (batch,): how many tokens are no padding. labels (batch,): 0 the second text follows the
    first, 1 it does not.
    """

    tokens: NDArray[np.int64]
    lengths: NDArray[np.int64]
    segments: NDArray[np.int64]
    hidden: NDArray[np.bool_]
    originals: NDArray[np.int64]
    labels: NDArray[np.int64]


class MaskedLanguageModel(FillsIn, Layered, Pretraining):
    """A method whose network says what stood at hidden places of a text.

    A subclass says with ``rows`` what a row is made of. Raises ValueError for text of which no row
    can be made.
    """

    Settings: ClassVar[type[MaskedSettings]] = MaskedSettings
    Data = PassageTexts
    segments: ClassVar[int] = 2  # that the network can tell apart
    model: MaskedEncoder

    def __init__(self, model: MaskedEncoder, data: Passages, settings: Any):
        self.model, self.data, self.settings = model, data, settings
        self.tokenizer, self.begins = data.tokenizer, data.begins()
        self.cls, self.sep, self.pad, self.mask = (
            data.special(name) for name in ("[CLS]", "[SEP]", "[PAD]", "[MASK]")
        )
        if len(data.stream):
            self.rows(data.stream, 1, np.random.default_rng(0))  # says what is wrong with the text

    @classmethod
    def build(cls, settings: Any, data: Passages, *, seed: int = 0) -> Any:
        """An encoder of the settings, with the heads that the method needs."""
        config = settings.config(data.tokenizer.vocab_size, cls.segments)
        generator = np.random.default_rng(seed)
        return cls(cls.new_model(config, settings, generator), data, settings)

    @classmethod
    def new_model(
        cls, config: EncoderConfig, settings: Any, generator: np.random.Generator
    ) -> MaskedEncoder:
        """With the head for masked tokens alone."""
        return MaskedEncoder(config, generator=generator)

    @property
    def room(self) -> int:
        """How many pieces fit between [CLS] and [SEP]."""
        return self.settings.context_length - 2

    # ---- batches -----------------------------------------------------------------------------

    @abstractmethod
    def rows(self, stream: PieceStream, count: int, generator: np.random.Generator) -> list[Row]:
        """So many rows from random places of a stream that is not empty."""

    def batch(self, generator: np.random.Generator) -> MaskedBatch:
        """``batch_size`` rows with hidden tokens, made anew or one of the ``fixed_batches``."""
        if not len(self.data.stream):
            raise ValueError("there is no text to train on: this method was opened to be used")
        if self.settings.fixed_batches:
            generator = np.random.default_rng(generator.integers(self.settings.fixed_batches))
        return self.masked(self.data.stream, self.settings.batch_size, generator)

    def masked(
        self, stream: PieceStream, count: int, generator: np.random.Generator, masking: str = ""
    ) -> MaskedBatch:
        """So many rows of a stream, some of it hidden: as the settings say, or by ``masking``."""
        settings = self.settings
        kind = masking or settings.masking
        originals, lengths, segments, labels = self.assembled(self.rows(stream, count, generator))
        allowed = self.is_text(originals)
        begins = self.begins[originals]
        hidden = choose(kind, allowed, begins, generator, settings.mask_share)
        tokens = replace(
            originals, hidden, generator, mask=self.mask, vocab_size=len(self.begins),
            shares=(settings.mask_tokens, settings.random_tokens), together=kind == "spans",
        )  # fmt: skip
        return MaskedBatch(tokens, lengths, segments, hidden, originals, labels)

    def is_text(self, tokens: NDArray) -> NDArray[np.bool_]:
        """Which tokens may be hidden: no [CLS], [SEP] and padding."""
        return (tokens != self.cls) & (tokens != self.sep) & (tokens != self.pad)

    def assembled(self, rows: Sequence[Row]) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """[CLS] first [SEP] second [SEP], padded: originals, lengths, segments and labels."""
        found = []
        for row in rows:
            ids: list[Any] = [[self.cls], row.first, [self.sep]]
            size = len(row.first) + 2
            if row.second is not None:
                ids += [row.second, [self.sep]]
            found.append((np.concatenate(ids).astype(np.int64), size))
        lengths = np.array([len(ids) for ids, _ in found])
        originals = np.full((len(found), lengths.max()), self.pad, np.int64)
        segments = np.zeros_like(originals)
        for i, (tokens, size) in enumerate(found):
            originals[i, : len(tokens)] = tokens
            segments[i, size : len(tokens)] = 1
        return originals, lengths, segments, np.array([row.label for row in rows])

    # ---- the loss ----------------------------------------------------------------------------

    def loss(self, batch: MaskedBatch, generator: np.random.Generator) -> Tensor:
        """The mean nats per hidden token."""
        return self.masked_loss(batch, self.states_of(batch, generator))

    def states_of(self, batch: MaskedBatch, generator: Any = None) -> Tensor:
        """The last hidden states: (batch, time, width)."""
        return self.model(
            batch.tokens, lengths=batch.lengths, segments=batch.segments, generator=generator
        )

    def masked_loss(self, batch: MaskedBatch, states: Tensor, reduction: str = "mean") -> Tensor:
        """-ln p(original | what is read) of the hidden tokens, whose states alone are needed."""
        logits = self.hidden_logits(batch, states)
        originals = batch.originals[batch.hidden]
        return next_token_loss(logits, originals, reduction=reduction, overwrite_logits=True)

    def hidden_logits(self, batch: MaskedBatch, states: Tensor) -> Tensor:
        """Of the hidden tokens, row by row: (hidden tokens, vocab_size)."""
        flat = ops.reshape(states, (-1, self.model.config.width))
        return self.model.word_logits(ops.take(flat, np.flatnonzero(batch.hidden), axis=0))

    def count(self, batch: MaskedBatch) -> float:
        """How many tokens are predicted."""
        return float(batch.hidden.sum())

    def evaluate(self) -> dict[str, float]:
        """Of held-out rows, hidden by a fixed seed: loss, perplexity, accuracy of hidden tokens.

        Nothing where no row can be made of what is held out.
        """
        sums: dict[str, float] = {}
        counts = dict(sums)
        with evaluating(self.model):
            for batch in self.held_out_batches():
                for name, (value, count) in self.measured(batch, self.states_of(batch)).items():
                    sums[name] = sums.get(name, 0.0) + value
                    counts[name] = counts.get(name, 0.0) + count
        found = {f"held_out_{name}": sums[name] / max(counts[name], 1) for name in sums}
        if "held_out_loss" in found:
            found["held_out_perplexity"] = perplexity(found["held_out_loss"])
        return found

    def held_out_batches(self, masking: str = "", rows: int = EVALUATED) -> list[MaskedBatch]:
        """The same rows with the same hidden tokens at every call."""
        size, stream = self.settings.batch_size, self.data.held_out
        generator = np.random.default_rng(0)
        if not len(stream):
            return []
        try:
            return [
                self.masked(stream, min(size, rows - start), generator, masking)
                for start in range(0, rows, size)
            ]
        except NoRow:  # the held-out text may be too short where the other is not
            return []

    def measured(self, batch: MaskedBatch, states: Tensor) -> dict[str, tuple[float, float]]:
        """Sums over a batch and of how many: "loss" and "accuracy" of hidden tokens."""
        logits = self.hidden_logits(batch, states)
        originals = batch.originals[batch.hidden]
        right = float((logits.numpy().argmax(axis=1) == originals).sum())
        nats = next_token_loss(logits, originals, reduction="sum", overwrite_logits=True).item()
        return {"loss": (nats, len(originals)), "accuracy": (right, len(originals))}

    # ---- representations ---------------------------------------------------------------------

    @property
    def encoder(self) -> Module:
        """The network without its heads."""
        return self.model.encoder

    @property
    def network(self) -> Any:
        """What reads a text: an ``Encoder``."""
        return self.model.encoder

    @property
    def longest(self) -> int:
        """How many tokens of a text are represented, [CLS] and [SEP] included."""
        return self.settings.context_length

    @property
    def width(self) -> int:
        """Of a hidden state."""
        return self.model.config.width

    @property
    def num_states(self) -> int:
        """What is embedded, and the states of each layer."""
        return self.model.config.num_layers + 1

    def padded(self, examples: Sequence[Sequence[int]]) -> tuple[NDArray, NDArray, NDArray]:
        """[CLS], pieces, [SEP], that were cut: tokens, lengths, weights of their mean.

        Raises ValueError for an example without tokens.
        """
        cut = [np.asarray(example, np.int64) for example in examples]
        lengths = np.array([len(example) for example in cut])
        if not all(lengths):
            raise ValueError(f"example {int(np.argmin(lengths))} of the batch has no tokens")
        tokens = np.full((len(cut), lengths.max()), self.pad, np.int64)
        inside = np.arange(tokens.shape[1]) < lengths[:, None]
        tokens[inside] = np.concatenate(cut)
        dtype = self.model.encoder.tokens.weight[:0].numpy().dtype
        return tokens, lengths, (inside / lengths[:, None]).astype(dtype)

    def cut(self, example: Sequence[Any]) -> Sequence[Any]:
        """At most ``longest`` tokens; the last one, [SEP], stays the last.

        Of two texts always the longer one loses its end, as in BERT's program.
        """
        if (over := len(example) - self.longest) <= 0:
            return example
        middle = next((i for i, token in enumerate(example) if token == self.sep), 0)
        if not 0 < middle < len(example) - 1:
            return [*example[: self.longest - 1], example[-1]]
        first, second = [*example[:middle]], [*example[middle + 1 : -1]]
        for _ in range(over):
            (first if len(first) > len(second) + 1 else second).pop()  # first begins with [CLS]
        return [*first, example[middle], *second, example[-1]]

    def segments_of(self, tokens: NDArray, lengths: NDArray) -> NDArray | None:
        """1 at a second text and its [SEP], 0 elsewhere; None where the network has no segments."""
        if self.model.config.segments < 2:
            return None
        tokens, lengths = Tensor(tokens).numpy(), Tensor(lengths).numpy()
        ends = tokens == self.sep
        inside = np.arange(tokens.shape[1]) < lengths[:, None]
        return ((np.cumsum(ends, axis=1) - ends > 0) & inside).astype(np.int64)

    def states(self, batch: Any, generator: np.random.Generator | None = None) -> list[Tensor]:
        """Of each layer (batch, time, width)."""
        about = {"lengths": batch[1], "segments": self.segments_of(batch[0], batch[1])}
        return self.model.encoder.states(batch[0], **about, generator=generator)

    def each(self, batch: Any, generator: np.random.Generator | None = None) -> Tensor:
        """The last hidden states: (batch, time, width)."""
        about = {"lengths": batch[1], "segments": self.segments_of(batch[0], batch[1])}
        return self.model.encoder(batch[0], **about, generator=generator)


class NoRow(ValueError):
    """Of this text no row can be made; the message says why, and what to do."""
