"""Predict the next token of a text: the pretraining of GPT.

Radford et al. (2018, GPT; 2019, GPT-2). Lectures 05 and 10. Texts become one stream of tokens, of
which every window is an example. Not here: the network (``models/gpt.py``), sampling
(``models/generate.py``), and the schedules and data of the papers.
"""

from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np

from minissl.autograd.tensor import Tensor
from minissl.data.texts import Streams
from minissl.losses.language_modeling import IGNORE, next_token_loss, teacher_forcing
from minissl.models.gpt import GPT, GPTConfig
from minissl.models.held_out import stream_nats
from minissl.options import option
from minissl.pretrain.language_model import LanguageModel, LanguageSettings
from minissl.text import Tokenizer


@dataclass(frozen=True, kw_only=True)
class GPTSettings(LanguageSettings):
    """A GPT with its tokenizer, and how it is trained: about a minute on two cores."""

    num_layers: int = option(2, "Transformer blocks", least=1, most=1000)
    width: int = option(128, "numbers per token between the blocks", least=1, most=1 << 16)
    num_heads: int = option(4, "attention heads per block; must divide the width", least=1)
    context_length: int = option(128, "tokens the model sees at once", least=1, most=1 << 20)
    init_std: float = option(
        0.05, "of the initial weights; GPT-2's 0.02 is slow at small widths", above=0, most=10
    )
    cross_documents: bool = option(
        True, "predict a document's first token too, from the separator and the document before"
    )
    bpe_dropout: float = option(
        0.0, "merges that are left out at random, so that a word comes in many spellings; 0.1 is "
        "usual", least=0, most=0.99,
    )  # fmt: skip

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


class GPTPretraining(LanguageModel):
    """Pretrain a GPT on windows of one token stream: predict each token from those before it.

    A batch is ``batch_size`` windows of context_length tokens (and one more, to predict) from
    random places. ``separator``: when given, no target crosses a document: what follows a separator
    is not predicted, since the model could know it only from another text. ``bpe_dropout``: each
    window is read in a spelling of its own, see ``respelled``. The others: see ``LanguageModel``.
    """

    Settings = GPTSettings

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
        if bpe_dropout and tokenizer is None:
            raise ValueError("bpe_dropout needs the tokenizer, which cuts the text in other ways")
        super().__init__(
            model, stream, least=model.context_length + 1, batch_size=batch_size,
            held_out=held_out, held_out_bytes=held_out_bytes, tokenizer=tokenizer,
        )  # fmt: skip
        self.separator, self.bpe_dropout = separator, bpe_dropout

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
        self.require_text()
        length = self.model.context_length
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

    def nats(self, stream: np.ndarray) -> float:
        """By windows, each token but the first ones from at least half a context."""
        return stream_nats(self.model, stream, batch_size=self.batch_size)


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


METHOD = GPTPretraining
