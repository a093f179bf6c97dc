"""What the claims about GPT share: English that the seed splits, and a GPT kept in memory.

No downloads: the text is the English inside Python (``minissl.text.corpora``). The seed decides
which documents are held out, the initial weights and the batches.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from minissl.claims.claim import Setup
from minissl.data.texts import Streams, encode_documents
from minissl.models.gpt import GPT
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.pretrain.run import train
from minissl.text import Tokenizer
from minissl.text.corpora import python_english
from minissl.text.documents import SEPARATOR, Document
from minissl.training import History

HELD_OUT = 0.04  # of the documents
OWN = ("documents",)  # what these functions read in a scale, beside the settings of a GPT

# What the scales "quick" (for tests) and "full" (for a GPU) change in every experiment here.
QUICK = {
    "documents": 300,
    "vocab_size": 300,
    "steps": 30,
    "batch_size": 4,
    "num_layers": 1,
    "width": 32,
    "context_length": 32,
}
FULL = {
    "vocab_size": 4096,
    "steps": 1500,
    "batch_size": 32,
    "dropout": 0.2,
    "num_layers": 6,
    "width": 384,
    "num_heads": 6,
    "context_length": 256,
    "learning_rate": 1e-3,
}


@functools.cache
def _all_english() -> tuple[Document, ...]:
    return tuple(python_english())


def english(setup: Setup) -> tuple[list[Document], list[Document]]:
    """Training and held-out documents; the seed shuffles them.

    The setting ``documents``, where there is one, is how many are taken in all.
    """
    documents = _all_english()
    order = np.random.default_rng(setup.seed).permutation(len(documents))
    order = order[: setup.settings.get("documents", len(order))]
    held_out = max(1, round(HELD_OUT * len(order)))
    return [documents[i] for i in order[held_out:]], [documents[i] for i in order[:held_out]]


def encoded(train: Sequence[Document], held_out: Sequence[Document], vocab_size: int) -> Streams:
    """Both parts in tokens of a BPE learned from the training part; 257 are the bytes alone."""
    texts = [document.text for document in train]
    tokenizer = Tokenizer.train(texts, vocab_size, special_tokens=[SEPARATOR])
    return encode_documents(train, held_out, tokenizer)


def new_gpt(
    setup: Setup,
    settings: GPTSettings,
    vocab_size: int,
    *,
    kind: type[GPT] = GPT,
    number: int = 0,
) -> GPT:
    """A model on the device of the setup; another ``number`` gives other initial weights."""
    generator = np.random.default_rng([setup.seed, number])
    model = kind(settings.config(vocab_size), generator=generator)
    model.to(setup.device)
    return model


def trained(
    setup: Setup,
    model: GPT,
    data: Streams,
    settings: GPTSettings,
    *,
    separator: int | None = None,
    held_out: bool = True,
) -> History:
    """Train on the stream of the data; with ``held_out`` also measure on its held-out text."""
    method = GPTPretraining(
        model,
        data.stream,
        batch_size=settings.batch_size,
        separator=separator,
        held_out=data.held_out_stream if held_out else None,
        held_out_bytes=len(data.held_out_text),
    )
    return train(method, settings, seed=setup.seed, progress=False)


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """ln softmax over the last axis, in float64."""
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
