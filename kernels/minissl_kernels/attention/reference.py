"""Attention and its gradients in NumPy float64, in closed form: what the kernels must compute."""

from typing import Any, NamedTuple

import numpy as np

from minissl_kernels.philox import dropout_threshold, philox

HIDDEN = -1e6  # a bias below it hides its key


class Gradients(NamedTuple):
    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    bias: np.ndarray | None


def keep_mask(shape: tuple[int, int, int, int], probability: float, seed: int) -> np.ndarray:
    """Which weights are kept: booleans (batch, heads, query_time, key_time), the kernels' bits.

    The four numbers of one call of Philox are for four neighbouring keys.
    """
    batch, heads, query_time, key_time = shape
    plane = np.arange(batch * heads).reshape(batch, heads, 1, 1)
    four = np.arange(-(-key_time // 4))
    bits = philox(seed, four, np.arange(query_time)[:, None], plane, 0)
    in_order = np.moveaxis(bits, 0, -1).reshape(batch, heads, query_time, -1)
    return in_order[..., :key_time] >= dropout_threshold(probability)


def visible(
    batch: int,
    query_time: int,
    key_time: int,
    left: int | None = None,
    right: int | None = None,
    key_lengths: Any = None,
) -> np.ndarray:
    """Which keys each query sees: booleans (batch, 1, query_time, key_time)."""
    position = np.arange(query_time)[:, None] + key_time - query_time
    key = np.arange(key_time)
    seen = np.ones((batch, 1, query_time, key_time), bool)
    if right is not None:
        seen &= key <= position + right
    if left is not None:
        seen &= key >= position - left
    if key_lengths is not None:
        seen &= key < np.asarray(key_lengths).reshape(-1, 1, 1, 1)
    return seen


def _weights(query, key, scale, seen, bias, alibi_slopes):
    """softmax(scale · Q Kᵀ + bias − slope · distance) over the keys seen, and its log-sum-exp."""
    group, query_time, key_time = query.shape[1] // key.shape[1], query.shape[2], key.shape[2]
    scores = scale * query @ np.repeat(key, group, axis=1).swapaxes(-1, -2)
    scores = np.where(np.isneginf(scores), np.nan, scores)  # −∞ means hidden, not overflow
    if bias is not None:
        scores = scores + np.where(np.asarray(bias) < HIDDEN, -np.inf, bias)
    if alibi_slopes is not None:
        position = np.arange(query_time)[:, None] + key_time - query_time
        distance = np.abs(position - np.arange(key_time))
        scores = scores - np.asarray(alibi_slopes, np.float64).reshape(-1, 1, 1) * distance
    scores = np.where(seen, scores, -np.inf)
    largest = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    largest = np.where(np.isneginf(largest), 0, largest)  # a query that sees no key
    exponentials = np.exp(scores - largest)
    total = exponentials.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = (largest + np.log(total))[..., 0]
    return exponentials / np.where(total == 0, 1, total), lse


def forward(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    scale: float,
    seen: Any = True,
    bias: np.ndarray | None = None,
    alibi_slopes: Any = None,
    mask: Any = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """The output (batch, heads, query_time, width) and the log-sum-exp (batch, heads, query_time).

    ``seen`` from ``visible``; ``mask``: what dropout multiplies the weights by, that is
    ``keep_mask(...) / (1 − probability)``.
    """
    weights, lse = _weights(query, key, scale, seen, bias, alibi_slopes)
    values = np.repeat(_read(value, seen), query.shape[1] // value.shape[1], axis=1)
    return (weights * mask) @ values, lse


def backward(
    out_gradient: np.ndarray,
    lse_gradient: np.ndarray,
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    scale: float,
    seen: Any = True,
    bias: np.ndarray | None = None,
    alibi_slopes: Any = None,
    mask: Any = 1.0,
) -> Gradients:
    """∂V = (P ∘ M)ᵀ ∂O;  ∂S = P ∘ (M ∘ ∂O Vᵀ − rowsum(∂O ∘ O) + ∂lse);  ∂Q = ∂S K, ∂K = ∂Sᵀ Q."""
    batch, key_heads = key.shape[:2]
    group = query.shape[1] // key_heads
    weights, _ = _weights(query, key, scale, seen, bias, alibi_slopes)
    keys, values = (np.repeat(_read(array, seen), group, axis=1) for array in (key, value))
    out = (weights * mask) @ values
    delta = (out_gradient * out).sum(-1) - lse_gradient
    weight_gradient = mask * (out_gradient @ values.swapaxes(-1, -2))
    score_gradient = weights * (weight_gradient - delta[..., None])

    def of_group(gradient):  # heads that share a key add up
        return gradient.reshape(batch, key_heads, group, *gradient.shape[2:]).sum(2)

    return Gradients(
        scale * score_gradient @ keys,
        of_group(scale * score_gradient.swapaxes(-1, -2) @ query),
        of_group((weights * mask).swapaxes(-1, -2) @ out_gradient),
        None if bias is None else _sum_to(score_gradient, bias.shape),
    )


def _read(array, seen):
    """Keys or values, 0 where no query sees them: 0 · NaN is NaN."""
    return np.where(np.any(seen, axis=-2)[..., None] if np.ndim(seen) else seen, array, 0)


def _sum_to(array, shape):
    """Undo broadcasting: add up along every axis that ``shape`` lacks or has as 1."""
    array = array.sum(axis=tuple(range(array.ndim - len(shape))))
    short = tuple(i for i, size in enumerate(shape) if size != array.shape[i])
    return array.sum(axis=short, keepdims=True)
