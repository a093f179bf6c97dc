"""The table of token vectors of a network, and what prompts and prefixes begin as. Lecture 11."""

from __future__ import annotations

from typing import Any

import numpy as np

from minissl.nn.layers import Embedding
from minissl.nn.module import Module


def token_table(model: Module) -> Embedding:
    """The Embedding that a network reads its tokens with: the one called ``tokens``.

    Raises ValueError for a network without one, such as that of images.
    """
    for path, module in model.named_modules():
        if path.rpartition(".")[2] == "tokens" and isinstance(module, Embedding):
            return module
    raise ValueError(
        "this network reads no tokens: prompts and prefixes are for a run of texts (gpt, bert, ...)"
    )


def random_tokens(base: Any, count: int, generator: np.random.Generator) -> list[int]:
    """So many tokens of a network, each as likely as any; none that is special, such as [SEP]."""
    tokens = np.arange(token_table(base.model).weight.shape[0])
    special = getattr(getattr(base, "tokenizer", None), "special_tokens", {})
    return generator.choice(np.setdiff1d(tokens, [*special.values()]), size=count).tolist()


def as_tokens(base: Any, text: str, count: int) -> list[int]:
    """So many tokens of a text, which is repeated where it is too short.

    Raises ValueError for a text without any, and for a method that has no tokenizer.
    """
    tokenizer = getattr(base, "tokenizer", None)
    if tokenizer is None:
        raise ValueError("this run has no tokenizer, so no words can be given to begin with")
    tokens = list(tokenizer.encode(text, allow_special="none"))
    if not tokens:
        raise ValueError(f"the text {text!r:.40} has no token to begin with: give some words")
    return (tokens * count)[:count]
