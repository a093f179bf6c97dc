"""From texts to a GPT in a run folder, and back from the folder: what every command shares.

The folder holds what ``fit`` writes, ``tokenizer.json``, and ``corpus.json``, the manifest of the
texts. Lecture 10.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minissl.optim import AdamW, warmup_cosine
from minissl.pretrain.gpt import GPT, GPTConfig, LanguageModeling, pack
from minissl.pretrain.opening import open_run
from minissl.pretrain.settings import GPTSettings
from minissl.text import Tokenizer, load_tokenizer, save_tokenizer
from minissl.text.corpora import describe_difference, make_manifest
from minissl.text.documents import Document, split_documents
from minissl.training import History, fit
from minissl.training.durable import replace_durably

SEPARATOR = "<|endoftext|>"


class GPTData(NamedTuple):
    """Texts made ready: streams of tokens, and the texts themselves for other baselines."""

    tokenizer: Tokenizer
    stream: np.ndarray  # (time,) training tokens, documents between separators
    held_out_stream: np.ndarray
    text: bytes
    held_out_text: bytes


class OpenedGPT(NamedTuple):
    """A pretrained GPT, with what turns text into its tokens and ends a document."""

    model: GPT
    tokenizer: Tokenizer
    separator: int


def prepare_gpt(
    documents: Sequence[Document], folder: Path, settings: GPTSettings, *, progress: bool = True
) -> GPTData:
    """Split the documents, train a tokenizer on the training part, and encode both parts.

    Writes ``tokenizer.json`` and ``corpus.json``. Raises ValueError when the folder was begun with
    other texts, or when the texts are too short for one window.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _pin_corpus(documents, folder / "corpus.json")
    train, held_out = split_documents(documents)
    texts = [document.text for document in train]
    tokenizer = Tokenizer.train(
        texts, settings.vocab_size, special_tokens=[SEPARATOR], progress=progress
    )
    save_tokenizer(tokenizer, folder / "tokenizer.json")
    return encode_documents(train, held_out, tokenizer)


def encode_documents(
    train: Sequence[Document], held_out: Sequence[Document], tokenizer: Tokenizer
) -> GPTData:
    """Both parts as streams of tokens; the tokenizer must have the special token SEPARATOR."""

    def stream(part: Sequence[Document]) -> np.ndarray:
        tokens = (tokenizer.encode(document.text, allow_special="none") for document in part)
        return pack(tokens, _separator(tokenizer))

    def joined(part: Sequence[Document]) -> bytes:
        return "\n".join(document.text for document in part).encode()

    return GPTData(tokenizer, stream(train), stream(held_out), joined(train), joined(held_out))


def pretrain_gpt(
    data: GPTData,
    folder: Path,
    settings: GPTSettings,
    *,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "float32",
    progress: bool | str = True,
) -> tuple[GPT, History]:
    """Pretrain in the folder, or continue what was begun there with the same settings."""
    config = gpt_config(settings, data.tokenizer.vocab_size)
    model = GPT(config, generator=np.random.default_rng(seed))
    model.to(device)
    method = LanguageModeling(
        model,
        data.stream,
        batch_size=settings.batch_size,
        held_out=data.held_out_stream,
        held_out_bytes=len(data.held_out_text),
    )
    history = train_gpt(
        method, settings, folder=folder, seed=seed, precision=precision, progress=progress
    )
    return model, history


def gpt_config(settings: GPTSettings, vocab_size: int) -> GPTConfig:
    """The sizes of the model that the settings describe."""
    return GPTConfig(
        vocab_size=vocab_size,
        context_length=settings.context_length,
        num_layers=settings.num_layers,
        width=settings.width,
        num_heads=settings.num_heads,
        dropout=settings.dropout,
        init_std=settings.init_std,
    )


def train_gpt(
    method: LanguageModeling,
    settings: GPTSettings,
    *,
    folder: Path | None = None,
    seed: int = 0,
    precision: str = "float32",
    progress: bool | str = True,
) -> History:
    """Run ``fit`` with the optimizer and the schedule of the settings; no folder: nothing is kept.

    The held-out loss is measured now and then if the method has held-out text.
    """
    model = method.model
    return fit(
        method,
        AdamW(model.named_parameters(), betas=(0.9, 0.95), weight_decay=settings.weight_decay),
        steps=settings.steps,
        schedule=lambda step: warmup_cosine(
            step,
            peak=settings.learning_rate,
            warmup_steps=settings.steps // 20,
            total_steps=settings.steps,
            final=settings.learning_rate / 20,
        ),
        clip=1.0,
        seed=seed,
        precision=precision,
        evaluate_every=(
            max(1, settings.steps // settings.evaluations) if method.held_out is not None else None
        ),
        run=folder,
        config={
            "method": "gpt",
            "batch_size": method.batch_size,
            "model": asdict(model.config),
        },
        progress=progress,
    )


def open_gpt(folder: str | Path) -> OpenedGPT:
    """The model of the newest good checkpoint of a run, ready to use, and its tokenizer.

    Raises CheckpointError when there is no checkpoint, ValueError for a run of another method.
    """
    folder = Path(folder)
    checkpoint = open_run(folder, "gpt")
    config = GPTConfig(**checkpoint.config["model"])
    model = GPT(config, generator=np.random.default_rng(0))
    model.load_state_dict(checkpoint.weights)
    model.eval()
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    return OpenedGPT(model, tokenizer, _separator(tokenizer))


def _separator(tokenizer: Tokenizer) -> int:
    return tokenizer.special_tokens[SEPARATOR]


def _pin_corpus(documents: Sequence[Document], path: Path) -> None:
    """Write the manifest in a new run; in an old one, require the same texts."""
    manifest = make_manifest(documents)
    if path.exists():
        difference = describe_difference(json.loads(path.read_bytes()), manifest)
        if difference:
            raise ValueError(
                f"{path.parent} was begun with other texts: {difference}. Use a new run folder"
            )
    replace_durably(path, json.dumps(manifest, indent=1).encode())
