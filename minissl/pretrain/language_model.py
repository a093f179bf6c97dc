"""What language models that read from left to right share: a stream, samples, scores, texts.

Lectures 05 and 10. Texts become one stream of tokens, of which every window is an example. A text
is represented by the mean of its last hidden states.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.data.texts import TextOptions, Texts
from minissl.losses.language_modeling import IGNORE, next_token_loss, perplexity
from minissl.models.generate import generate
from minissl.models.held_out import log_probabilities
from minissl.nn.module import Module
from minissl.optim import AdamW, warmup_cosine
from minissl.optim.optimizer import Optimizer
from minissl.options import option
from minissl.pretrain.layered import LONGEST, Layered
from minissl.pretrain.method import Pretraining, Training
from minissl.text import Tokenizer
from minissl.text.baselines import bits_per_byte
from minissl.text.documents import SEPARATOR


@dataclass(frozen=True, kw_only=True)
class LanguageSettings(Training, TextOptions):
    """How a language model is trained on windows of text."""

    context_length: int = option(128, "tokens of a window", least=1, most=1 << 20)
    dropout: float = option(0.0, "of each branch, in training", least=0, most=0.99)
    batch_size: int = option(8, "windows of text per step", least=1, most=1 << 20)
    steps: int = option(1600, "updates", least=1, most=10**9)
    weight_decay: float = option(0.1, "of matrices and embeddings", least=0, most=100)
    clip: float = option(1.0, "largest norm of the gradient; 0: no limit", least=0)
    evaluations: int = option(6, "how often the held-out loss is measured", least=1, free=True)

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


class LanguageModel(Layered, Pretraining):
    """A method whose network predicts each token of a stream from those before it.

    ``stream``: (time,) integers, see ``data.texts.pack``; empty in a run that is only used.
    ``held_out``: the stream for ``evaluate``; ``held_out_bytes``: the bytes of its text in UTF-8.
    ``tokenizer``: for ``sample`` and ``score``.

    A subclass says how its batches are made, and with ``nats`` what a stream costs. Raises
    ValueError for a stream that is too short, or not of integers.
    """

    Data = Texts

    def __init__(
        self,
        model: Any,
        stream: np.ndarray,
        *,
        least: int,
        batch_size: int,
        held_out: np.ndarray | None = None,
        held_out_bytes: int | None = None,
        tokenizer: Tokenizer | None = None,
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        if len(stream):
            _check_stream("stream", stream, least)
        if held_out is not None:
            _check_stream("held_out", held_out, 2)
        self.model, self.stream, self.batch_size = model, stream, batch_size
        self.held_out, self.held_out_bytes = held_out, held_out_bytes
        self.tokenizer = tokenizer

    @property
    def network(self) -> Any:
        """What predicts: a ``GPT`` or a ``RecurrentLM``."""
        return self.model

    def nats(self, stream: np.ndarray) -> float:
        """−ln p of all tokens of a stream but the first."""
        raise NotImplementedError

    def require_text(self) -> None:
        """Raise ValueError where there is no stream to train on."""
        if not len(self.stream):
            raise ValueError("there is no text to train on: this method was opened to be used")

    def count(self, batch: tuple[Any, ...]) -> float:
        """How many targets are predicted: those after a separator may not be."""
        return float((batch[1] != IGNORE).sum())

    @property
    def longest(self) -> int:
        """How many tokens of a text are represented: a context, or ``LONGEST``."""
        length = self.network.context_length
        return LONGEST if length == math.inf else length

    @property
    def width(self) -> int:
        """Of a hidden state."""
        return self.network.config.width

    def padded(self, examples: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Token sequences that were cut: tokens (batch, time) and weights of their mean.

        The weights (batch, time) are 1 / tokens inside a sequence and 0 behind its end.
        Raises ValueError for a sequence without tokens.
        """
        cut = [np.asarray(example, dtype=np.int64) for example in examples]
        sizes = np.array([len(example) for example in cut])
        if not all(sizes):
            raise ValueError(f"example {int(np.argmin(sizes))} of the batch has no tokens")
        tokens = np.zeros((len(cut), sizes.max()), np.int64)
        inside = np.arange(tokens.shape[1]) < sizes[:, None]
        tokens[inside] = np.concatenate(cut)
        dtype = self.network.tokens.weight[:0].numpy().dtype
        return tokens, (inside / sizes[:, None]).astype(dtype)

    @property
    def num_states(self) -> int:
        """The token vectors, and those of each layer."""
        return self.network.config.num_layers + 1

    def states(self, batch: Any, generator: np.random.Generator | None = None) -> list[Tensor]:
        """Of each layer (batch, time, width); causal, so that no padding is seen."""
        return self.network.states(batch[0], generator=generator)

    def each(self, batch: Any, generator: np.random.Generator | None = None) -> Tensor:
        """The last hidden states: (batch, time, width)."""
        return self.network.hidden(batch[0], generator=generator)

    def text_loss(self, states: Tensor, collated: Any) -> Tensor:
        """The mean nats of the next token of collated texts, whose states ``each`` has given."""
        tokens, inside = Tensor(collated[0]).numpy(), Tensor(collated[-1] > 0).numpy()
        targets = np.where(inside, tokens, IGNORE)[:, 1:]
        return next_token_loss(self.network.logits(states[:, :-1]), targets, overwrite_logits=True)

    def represent(self, examples: Any, *, batch_size: int = 32, progress: str = "") -> np.ndarray:
        """The mean of the last hidden states: token sequences -> (examples, width).

        A sequence longer than ``longest`` is cut at its end. Raises ValueError for an empty one.
        """
        if not all(len(example) for example in examples):
            empty = next(i for i, example in enumerate(examples) if not len(example))
            raise ValueError(f"example {empty} has no tokens to represent")
        return super().represent(examples, batch_size=batch_size, progress=progress)

    def evaluate(self) -> dict[str, float]:
        """Held-out loss in nats per token, its perplexity, and bits per byte if bytes were given.

        Every token but the first is predicted once, what follows a separator too. Nothing is drawn:
        the same model gives the same numbers.
        """
        if self.held_out is None:
            return {}
        loss = self.nats(self.held_out) / (len(self.held_out) - 1)
        metrics = {"held_out_loss": loss, "held_out_perplexity": perplexity(loss)}
        if self.held_out_bytes is not None:
            metrics["held_out_bits_per_byte"] = bits_per_byte(
                loss, len(self.held_out) - 1, self.held_out_bytes
            )
        return metrics

    def score(self, prompts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        """ln p(answer | the document begins with prompt), in nats, of each pair: (pairs,).

        Both are encoded by themselves, and special tokens in them are ordinary text. A prompt that
        the context has no room for loses its first tokens. Raises ValueError without a tokenizer,
        for numbers of prompts and answers that differ, and for an answer that is longer than the
        context; TypeError for one text instead of several.
        """
        for name, texts in (("prompts", prompts), ("answers", answers)):
            if isinstance(texts, str | bytes):
                raise TypeError(f"{name} must be several texts, got one: [{texts!r:.40}]")
        if len(prompts) != len(answers):
            raise ValueError(f"{len(prompts)} prompts have {len(answers)} answers: give pairs")
        tokenizer = self._knows_text()
        separator = tokenizer.special_tokens[SEPARATOR]
        encode = tokenizer.encode
        before = [[separator, *encode(prompt, allow_special="none")] for prompt in prompts]
        after = [list(encode(answer, allow_special="none")) for answer in answers]
        for answer, tokens in zip(answers, after):
            if len(tokens) > (room := self.network.context_length):
                raise ValueError(
                    f"the answer {answer!r:.40} has {len(tokens)} tokens, and the context of the "
                    f"model has room for {room}: give a shorter one"
                )
        return log_probabilities(self.network, before, after)

    def answer_lengths(
        self, prompts: Sequence[str], answers: Sequence[str]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Of each pair of ``score`` the tokens of the answer, and whether the prompt is cut."""
        encode = self._knows_text().encode
        before, after = (
            np.array([len(encode(text, allow_special="none")) for text in texts], np.int64)
            for texts in (prompts, answers)
        )
        return after, before + after > self.network.context_length + 1  # the last is not read

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
        allow_special: str = "all",
    ) -> None:
        """Continue a text, from the beginning of a document; see ``models.generate``.

        ``write`` gets the bytes of each token as it comes, up to ``count`` tokens or the end of the
        document. A special token in the prompt is taken as one, unless ``allow_special`` says
        something else. Raises ValueError without a tokenizer.
        """
        tokenizer = self._knows_text()
        separator = tokenizer.special_tokens[SEPARATOR]

        def shown(token: int) -> bytes:  # a published table may be longer than its vocabulary
            known = token < tokenizer.vocab_size
            return tokenizer.token_bytes(token) if known else "\ufffd".encode()

        generate(
            self.network,
            [separator, *tokenizer.encode(prompt, allow_special=allow_special)],
            count,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            generator=generator,
            stop=[separator],
            on_token=lambda token: None if token == separator else write(shown(token)),
        )

    def _knows_text(self) -> Tokenizer:
        if self.tokenizer is None:
            raise ValueError("this method was built without a tokenizer: it knows no text")
        return self.tokenizer


def _check_stream(name: str, tokens: np.ndarray, least: int) -> None:
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: expected integers in one axis, got shape {tokens.shape} of {tokens.dtype}"
        )
    if len(tokens) < least:
        raise ValueError(
            f"{name}: expected {least:,} or more tokens, got {len(tokens):,}: give more text, or a "
            "smaller context_length or batch_size"
        )
