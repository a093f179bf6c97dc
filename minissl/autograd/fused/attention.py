"""Scaled dot-product attention (Vaswani et al., 2017). Lecture 06."""

import math
from typing import Any

import numpy as np

from minissl.autograd import composed
from minissl.autograd.composed import allowed_keys, dropout_mask
from minissl.autograd.fused.chunks import for_each_chunk
from minissl.autograd.tensor import Tensor, differentiable


def attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    causal: bool = False,
    key_lengths: Any = None,
    dropout: float = 0.0,
    seed: int | None = None,
    scale: float | None = None,
) -> Tensor:
    """softmax(Q Kᵀ · scale) V: every query takes a weighted mean of the values.

    Shapes: query (batch, heads, query_time, head_dim), key (batch, heads, key_time, head_dim),
    value (batch, heads, key_time, value_dim) -> (batch, heads, query_time, value_dim).

    ``causal``: query i sees key j only if j ≤ i + (key_time − query_time): the last query sees the
    last key, whatever the lengths (FlashAttention's convention; torch's ``is_causal`` aligns the
    first ones). ``key_lengths``: (batch,) integers, the number of keys of each example that are
    not padding. ``dropout``: probability of dropping a weight, drawn from ``seed``. ``scale``:
    1/√head_dim unless given. A query that may see no key gives zeros, and sends no gradient.

    Raises ValueError for shapes that do not fit, and for dropout without a seed.
    """
    _check(query, key, value)
    array = query.array if isinstance(query, Tensor) else query
    compute = _attention if isinstance(array, np.ndarray) else composed.attention
    return compute(
        query,
        key,
        value,
        causal=causal,
        key_lengths=key_lengths,
        dropout=dropout,
        seed=seed,
        scale=1 / math.sqrt(query.shape[-1]) if scale is None else scale,
    )


def _check(query, key, value):
    shapes = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    if not len(query.shape) == len(key.shape) == len(value.shape) == 4:
        raise ValueError(f"attention: expected four axes (batch, heads, time, dim), got {shapes}")
    same_batch = tuple(query.shape[:2]) == tuple(key.shape[:2]) == tuple(value.shape[:2])
    if not same_batch or query.shape[3] != key.shape[3] or key.shape[2] != value.shape[2]:
        raise ValueError(
            "attention: batch and heads must agree, query and key in head_dim, "
            f"key and value in time; got {shapes}"
        )


@differentiable
def _attention(query, key, value, /, causal, key_lengths, dropout, seed, scale):
    """O = P V, P = softmax(S), S = scale Q Kᵀ.

    dV = Pᵀ dO,  dP = dO Vᵀ,  dS = P (dP − Σ dO O),  dQ = scale dS K,  dK = scale dSᵀ Q.
    """
    shape = (*query.shape[:3], key.shape[2])
    allowed = allowed_keys(shape, causal, key_lengths)
    kept = dropout_mask(shape, dropout, seed) if dropout else None
    weights = query @ key.mT  # the scores, then in place the weights: (batch, heads, query, key)
    _softmax_in_place(weights, scale, allowed)
    output = _heads_inside((*shape[:3], value.shape[3]), query.dtype)
    dropped = weights if kept is None else _drop(weights, kept, dropout)
    np.matmul(dropped, value, out=output)

    def vjp(g):
        dq, dk, dv = (_heads_inside(x.shape, x.dtype) for x in (query, key, value))
        np.matmul(dropped.mT, g, out=dv)
        ds = g @ value.mT  # dP, then in place dS
        delta = np.einsum("bhqd,bhqd->bhq", g, output)

        def backward(_, i):
            if kept is not None:
                ds[i] = _drop(ds[i], kept[i], dropout)
            ds[i] -= delta[i][..., None]
            ds[i] *= weights[i]
            ds[i] *= scale

        for_each_chunk(backward, weights)
        np.matmul(ds, key, out=dq)
        np.matmul(ds.mT, query, out=dk)
        return dq, dk, dv

    return output, vjp


def _drop(weights, kept, probability):
    """What is kept grows by 1 / (1 − probability), so that the expected sum stays."""
    dropped = weights * kept
    dropped *= 1 / (1 - probability)
    return dropped


def _softmax_in_place(scores, scale, allowed):
    """Softmax of ``scale * scores`` over the last axis; a row without allowed keys becomes 0."""
    least = np.finfo(scores.dtype).min  # as the largest score it keeps −inf − largest from NaN
    penalty = None  # 0 where a key may be seen, −inf where not
    if allowed is not None:
        penalty = np.where(allowed, 0, -np.inf).astype(scores.dtype)
        penalty = penalty.reshape((-1, 1, *penalty.shape[-2:]))  # (batch or 1, 1, query or 1, key)
        penalty = np.broadcast_to(penalty, (len(scores), *penalty.shape[1:]))

    def softmax(_, i):
        s = scores[i]
        s *= scale
        if penalty is not None:
            s += penalty[i]
        s -= s.max(axis=-1, keepdims=True, initial=least)
        np.exp(s, out=s)
        total = s.sum(axis=-1, keepdims=True)
        s *= 1 / np.where(total == 0, 1, total)

    for_each_chunk(softmax, scores)


def _heads_inside(shape, dtype):
    """Room for (batch, heads, time, dim) that lies in memory as (batch, time, heads, dim).

    So that joining the heads into (batch, time, heads * dim) afterwards copies nothing.
    """
    batch, heads, time, dim = shape
    return np.empty((batch, time, heads, dim), dtype).transpose(0, 2, 1, 3)
