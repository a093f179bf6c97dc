"""The losses of lecture 12 in float64 NumPy: what homework 4 is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unit(x: NDArray) -> NDArray:
    length = np.sqrt((x.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return x / np.where(length == 0, 1, length)


def losses(logits: NDArray, positives: NDArray, left_out: Any = False) -> NDArray:
    """−ln softmax at ``positives``, row by row; ``left_out`` are no candidates."""
    logits = np.where(left_out, -np.inf, logits)
    largest = logits.max(axis=1)
    lse = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    return lse - np.take_along_axis(logits, positives[:, None], axis=1)[:, 0]


def board(a: NDArray, b: NDArray) -> NDArray:
    """The rows of the lecture's loss."""
    return losses(a @ b.T, np.arange(len(a)))


def paper(
    a: NDArray, b: NDArray, temperature: float, *, cosine: bool = True, masked: bool = True
) -> NDArray:
    """The 2B rows of NT-Xent, without one of its parts if asked."""
    views = np.concatenate([a, b])
    views = unit(views) if cosine else views
    partners = np.roll(np.arange(len(views)), len(a))
    itself = np.eye(len(views), dtype=bool)
    return losses(views @ views.T / temperature, partners, itself & masked)
