"""Predict the next token of a text: the pretraining of GPT.

Radford et al. (2018, GPT; 2019, GPT-2). Lectures 05 and 10. Texts become one stream of tokens, of
which every window is an example. Not here: the network (``models/gpt.py``), sampling
(``models/generate.py``), and the schedules and data of the papers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.data.texts import Streams, TextOptions, Texts
from minissl.losses.language_modeling import (
    IGNORE,
    next_token_loss,
    perplexity,
    teacher_forcing,
)
from minissl.models.generate import generate
from minissl.models.gpt import GPT, GPTConfig
from minissl.nn.evaluating import evaluating
from minissl.nn.module import Module
from minissl.optim import AdamW, warmup_cosine
from minissl.optim.optimizer import Optimizer
from minissl.options import option
from minissl.pretrain.method import Pretraining, Training
from minissl.text import Tokenizer
from minissl.text.baselines import bits_per_byte
from minissl.text.documents import SEPARATOR


@dataclass(frozen=True, kw_only=True)
class GPTSettings(Training, TextOptions):
    """A GPT with its tokenizer, and how it is trained: about a minute on two cores."""

    num_layers: int = option(2, "Transformer blocks", least=1, most=1000)
    width: int = option(128, "numbers per token between the blocks", least=1, most=1 << 16)
    num_heads: int = option(4, "attention heads per block; must divide the width", least=1)
    context_length: int = option(128, "tokens the model sees at once", least=1, most=1 << 20)
    dropout: float = option(0.0, "of each branch, in training", least=0, most=0.99)
    init_std: float = option(
        0.05, "of the initial weights; GPT-2's 0.02 is slow at small widths", above=0, most=10
    )
    batch_size: int = option(8, "windows of text per step", least=1, most=1 << 20)
    steps: int = option(1600, "updates", least=1, most=10**9)
    cross_documents: bool = option(
        True, "predict a document's first token too, from the separator and the document before"
    )
    bpe_dropout: float = option(
        0.0, "merges that are left out at random, so that a word comes in many spellings; 0.1 is "
        "usual", least=0, most=0.99,
    )  # fmt: skip
    weight_decay: float = option(0.1, "of matrices and embeddings", least=0, most=100)
    clip: float = option(1.0, "largest norm of the gradient; 0: no limit", least=0)
    evaluations: int = option(6, "how often the held-out loss is measured", least=1, free=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.num_heads:
            raise ValueError(f"num_heads must divide width {self.width}, got {self.num_heads}")

    def config(self, vocab_size: int) -> GPTConfig:
        """The sizes of the model that the settings describe."""
        return GPTConfig(
            vocab_size=vocab_size,
            context_length=self.context_length,
            num_layers=self.num_layers,
            width=self.width,
            num_heads=self.num_heads,
            dropout=self.dropout,
            init_std=self.init_std,
        )

    def optimizer(self, model: Module) -> Optimizer:
        """AdamW with a shorter memory of squares than usual, as GPT-3's."""
        return AdamW(model.named_parameters(), betas=(0.9, 0.95), weight_decay=self.weight_decay)

    def schedule(self, step: int) -> float:
        """A warm-up of a twentieth, then half a cosine to a twentieth of the peak."""
        return warmup_cosine(
            step,
            peak=self.learning_rate,
            warmup_steps=self.steps // 20,
            total_steps=self.steps,
            final=self.learning_rate / 20,
        )


class GPTPretraining(Pretraining):
    """Pretrain a GPT on windows of one token stream: predict each token from those before it.

    ``stream``: (time,) integers, see ``data.texts.pack``; empty in a run that is only used. A batch
    is ``batch_size`` windows of context_length tokens (and one more, to predict) from random
    places. ``separator``: when given, no target crosses a document: what follows a separator is not
    predicted, since the model could know it only from another text. ``held_out``: the stream for
    ``evaluate``; ``held_out_bytes``: the bytes of its text in UTF-8.
    ``bpe_dropout``: each window is read in a spelling of its own, see ``respelled``.
    ``tokenizer``: for that and for ``sample``.

    Raises ValueError for a stream that is shorter than one window, or not of integers.
    """

    Settings = GPTSettings
    Data = Texts

    def __init__(
        self,
        model: GPT,
        stream: np.ndarray,
        *,
        batch_size: int = 16,
        separator: int | None = None,
        held_out: np.ndarray | None = None,
        held_out_bytes: int | None = None,
        tokenizer: Tokenizer | None = None,
        bpe_dropout: float = 0.0,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        if bpe_dropout and tokenizer is None:
            raise ValueError("bpe_dropout needs the tokenizer, which cuts the text in other ways")
        if len(stream):
            _check_stream("stream", stream, model.config.context_length + 1)
        if held_out is not None:
            _check_stream("held_out", held_out, 2)
        self.model, self.stream, self.batch_size = model, stream, batch_size
        self.separator, self.tokenizer = separator, tokenizer
        self.held_out, self.held_out_bytes = held_out, held_out_bytes
        self.bpe_dropout = bpe_dropout

    @classmethod
    def build(cls, settings: GPTSettings, data: Streams, *, seed: int = 0) -> "GPTPretraining":
        """A GPT of the settings on the streams of the data."""
        model = GPT(
            settings.config(data.tokenizer.vocab_size), generator=np.random.default_rng(seed)
        )
        return cls(
            model,
            data.stream,
            batch_size=settings.batch_size,
            separator=None if settings.cross_documents else data.separator,
            held_out=data.held_out_stream if len(data.held_out_stream) else None,
            held_out_bytes=len(data.held_out_text),
            tokenizer=data.tokenizer,
            bpe_dropout=settings.bpe_dropout,
        )

    def batch(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets, both (batch, context_length)."""
        length = self.model.config.context_length
        if len(self.stream) <= length:
            raise ValueError("there is no text to train on: this method was opened to be used")
        starts = generator.integers(len(self.stream) - length, size=self.batch_size)
        windows = self.stream[starts[:, None] + np.arange(length + 1)].astype(np.int64)
        if self.bpe_dropout and self.tokenizer is not None:
            respell = partial(respelled, self.tokenizer, self.bpe_dropout, generator)
            windows = np.array([respell(window) for window in windows])
        inputs, targets = teacher_forcing(windows)
        if self.separator is not None:
            targets = np.where(inputs == self.separator, IGNORE, targets)
        return inputs, targets

    def loss(self, batch: tuple[np.ndarray, np.ndarray], generator: np.random.Generator) -> Tensor:
        """The mean nats per predicted token."""
        inputs, targets = batch
        logits = self.model(inputs, generator=generator)
        return next_token_loss(logits, targets, overwrite_logits=True)

    def count(self, batch: tuple[np.ndarray, np.ndarray]) -> float:
        """How many targets are predicted: those after a separator may not be."""
        return float((batch[1] != IGNORE).sum())

    @property
    def width(self) -> int:
        """Of a hidden state."""
        return self.model.config.width

    def collate(self, examples: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Token sequences, cut to the context: tokens (batch, time) and weights of their mean.

        The weights (batch, time) are 1 / tokens inside a sequence and 0 behind its end.
        Raises ValueError for a sequence without tokens.
        """
        length = self.model.config.context_length
        cut = [np.asarray(example, dtype=np.int64)[:length] for example in examples]
        sizes = np.array([len(example) for example in cut])
        if not all(sizes):
            raise ValueError(f"example {int(np.argmin(sizes))} of the batch has no tokens")
        tokens = np.zeros((len(cut), sizes.max()), np.int64)
        inside = np.arange(tokens.shape[1]) < sizes[:, None]
        tokens[inside] = np.concatenate(cut)
        dtype = self.model.tokens.weight[:0].numpy().dtype
        return tokens, (inside / sizes[:, None]).astype(dtype)

    def encode(
        self,
        batch: tuple[np.ndarray, np.ndarray],
        generator: np.random.Generator | None = None,
    ) -> Tensor:
        """The mean of a text's last hidden states: (batch, width). See ``collate``."""
        tokens, weights = batch
        hidden = self.model.hidden(tokens, generator=generator)  # causal: no padding is seen
        mean = ops.matmul(weights[:, None], hidden)  # (batch, 1, width)
        return mean.reshape(mean.shape[0], self.width)

    def represent(self, examples: Any, *, batch_size: int = 32, progress: str = "") -> np.ndarray:
        """The mean of the last hidden states: token sequences -> (examples, width).

        A sequence longer than the context is cut at its end. Raises ValueError for an empty one.
        """
        if not all(len(example) for example in examples):
            empty = next(i for i, example in enumerate(examples) if not len(example))
            raise ValueError(f"example {empty} has no tokens to represent")
        return super().represent(examples, batch_size=batch_size, progress=progress)

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

    def sample(
        self,
        prompt: bytes,
        count: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        generator: np.random.Generator | None = None,
        write: Callable[[bytes], None],
    ) -> None:
        """Continue a text, from the beginning of a document; see ``models.generate``.

        ``write`` gets the bytes of each token as it comes, up to ``count`` tokens or the end of the
        document. A special token in the prompt is taken as one. Raises ValueError without a
        tokenizer.
        """
        if self.tokenizer is None:
            raise ValueError("this method was built without a tokenizer: it knows no text")
        separator = self.tokenizer.special_tokens[SEPARATOR]
        decode = self.tokenizer.token_bytes
        generate(
            self.model,
            [separator, *self.tokenizer.encode(prompt, allow_special="all")],
            count,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            generator=generator,
            stop=[separator],
            on_token=lambda token: None if token == separator else write(decode(token)),
        )


def respelled(
    tokenizer: Tokenizer, probability: float, generator: np.random.Generator, window: np.ndarray
) -> np.ndarray:
    """As many tokens (time,) of the same text, cut with BPE-dropout: the end of it falls away.

    Provilkov, Emelianenko and Voita (2020). Special tokens stay.
    """
    special = set(tokenizer.special_tokens.values())
    ids: list[int] = []
    for stays, run in groupby(window.tolist(), special.__contains__):
        if stays:
            ids += run
            continue
        text = tokenizer.decode_bytes(run)
        ids += tokenizer.encode_with_dropout(text, probability, generator, allow_special="none")
    # A window that begins inside a word may need fewer tokens than that word's end did.
    return np.array(ids[: len(window)]) if len(ids) >= len(window) else window


def _check_stream(name: str, tokens: np.ndarray, least: int) -> None:
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu" or len(tokens) < least:
        raise ValueError(
            f"{name}: expected {least} or more integers in one axis, got shape {tokens.shape} of "
            f"{tokens.dtype}: give more text, or a smaller context_length"
        )


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


METHOD = GPTPretraining
