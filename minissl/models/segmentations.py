"""One text, cut in several ways, through one language model.

A model of tokens gives a probability to a *segmentation*. The text has the sum over all of them,
since each spells it (Cao and Rimell, 2021, "You should evaluate your language model on marginal
likelihood over tokenisations"). There are exponentially many, so a sum over some is what one has:
a lower bound, which the usual segmentation alone is as well. Lecture 03.

Not here: an estimate of the whole sum by importance sampling, which needs the probability with
which each segmentation was proposed.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.models import held_out
from minissl.text import Tokenizer


def several_segmentations(
    tokenizer: Tokenizer,
    text: str | bytes,
    count: int,
    probability: float,
    generator: np.random.Generator,
) -> list[list[int]]:
    """The usual segmentation of a text first, then those of ``count`` draws with BPE-dropout.

    Each is there once, so they may be fewer than count + 1. Special tokens are ordinary text.
    """
    draws = [
        tokenizer.encode_with_dropout(text, probability, generator, allow_special="none")
        for _ in range(count)
    ]
    usual = tokenizer.encode(text, allow_special="none")
    return [list(one) for one in dict.fromkeys(map(tuple, [usual, *draws]))]


def log_probabilities(
    model: Any,
    segmentations: Sequence[Sequence[int]],
    *,
    start: int,
    end: int | None = None,
    batch_size: int = 16,
) -> NDArray[np.float64]:
    """ln p(tokens | start) of each segmentation, in nats: float64 (segmentations,).

    ``start``: the token before them, which is given (the separator of documents). ``end``: when
    given, the token that must come after the last, so that it is the whole document which is
    scored, and not a beginning. Raises ValueError for one that the context has no room for.
    """
    last = [] if end is None else [end]
    after = [[*tokens, *last] for tokens in segmentations]
    room = model.context_length
    for number, row in enumerate(after):
        if len(row) > room:
            raise ValueError(
                f"segmentation {number} has {len(row)} tokens to predict, and the context of "
                f"the model has room for {room}: give a shorter text"
            )
    return held_out.log_probabilities(model, [[start]] * len(after), after, batch_size=batch_size)


def log_sum(segmentations: Sequence[Sequence[int]], log_p: NDArray[np.float64]) -> float:
    """ln Σ p over the different ones of these: a lower bound of ln p(text), in nats.

    ``log_p``: (segmentations,), of the same model for the same text; equal segmentations count
    once. The more ways are given the closer it comes. A model that was trained on one way only
    gives nearly all of the probability to that one. Raises ValueError for none at all.
    """
    if len(segmentations) != len(log_p):
        raise ValueError(f"{len(segmentations)} segmentations have {len(log_p)} probabilities")
    if not len(log_p):
        raise ValueError("a text has one segmentation at least: give some")
    different = np.array(list(dict(zip(map(tuple, segmentations), log_p)).values()))
    largest = different.max()
    if not math.isfinite(largest):  # impossible all, or no number
        return float(largest)
    return float(largest + np.log(np.exp(different - largest).sum()))
