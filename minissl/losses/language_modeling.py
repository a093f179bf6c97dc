"""The loss of a language model: −log p(next token), and the units it is reported in. Lecture 05."""

import math
from typing import Any

import numpy as np

from minissl.autograd import fused
from minissl.autograd.tensor import Tensor

IGNORE = -100  # a target that is not predicted (torch's convention)


def teacher_forcing(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut windows into what the model reads and what it must say: the same, one step later.

    Every position is a training example, and reads the true past, not the model's own guesses.
    Example: [[5, 6, 7]] -> inputs [[5, 6]], targets [[6, 7]]. Shapes: (..., time + 1) -> two
    (..., time). Raises ValueError for windows shorter than 2.
    """
    if windows.shape[-1] < 2:
        raise ValueError(f"a window needs two tokens or more to predict one, got {windows.shape}")
    return windows[..., :-1], windows[..., 1:]


def next_token_loss(
    logits: Any, targets: Any, *, reduction: str = "mean", overwrite_logits: bool = False
) -> Tensor:
    """−log softmax(logits)[target] in nats, over all targets that are not ``IGNORE``.

    Shapes: logits (batch, time, vocab_size), targets (batch, time) integers. ``reduction``:
    ``"mean"``, ``"sum"`` or ``"none"``. It is the maximum-likelihood loss −log p(x₁ ... x_T) by the
    chain rule. A model that knows nothing has loss ln(vocab_size). ``overwrite_logits``: see
    ``fused.cross_entropy``.
    """
    return fused.cross_entropy(
        logits,
        targets,
        ignore_index=IGNORE,
        reduction=reduction,
        overwrite_logits=overwrite_logits,
    )


def perplexity(nats_per_token: float) -> float:
    """e^loss: how many equally likely tokens the model hesitates between."""
    return math.inf if nats_per_token > 700 else math.exp(nats_per_token)
