"""Scaled dot-product attention (Vaswani et al., 2017). Lecture 06."""

import math
from typing import Any

import numpy as np

from minissl.autograd import composed
from minissl.autograd.composed import allowed_keys, dropout_mask
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
    """O = P V, P = softmax(S), S = scale Q Kᵀ, one example at a time so that P stays in cache.

    dV = Pᵀ dO,  dP = dO Vᵀ,  dS = P (dP − Σ dO O),  dQ = scale dS K,  dK = scale dSᵀ Q.
    """
    batch, heads, query_time, _ = query.shape
    shape = (batch, heads, query_time, key.shape[2])
    allowed = allowed_keys(shape, causal, key_lengths)
    penalty = None  # 0 where a key may be seen, −inf where not
    if allowed is not None:
        penalty = np.where(allowed, 0, -np.inf).astype(query.dtype)
        penalty = np.broadcast_to(
            penalty, (batch, *np.broadcast_shapes(penalty.shape[-3:], (1, 1, 1)))
        )
    kept = dropout_mask(shape, dropout, seed) if dropout else None
    weights = np.empty(shape, query.dtype)
    output = _heads_inside((*shape[:3], value.shape[3]), query.dtype)
    for i in range(batch):
        p = np.matmul(query[i], key[i].mT, out=weights[i])
        p *= scale
        if penalty is not None:
            p += penalty[i]
        _softmax_in_place(p)
        np.matmul(p if kept is None else p * kept[i] / (1 - dropout), value[i], out=output[i])

    def vjp(g):
        dq, dk, dv = (_heads_inside(x.shape, x.dtype) for x in (query, key, value))
        delta = np.einsum("bhqd,bhqd->bhq", g, output)[..., None]
        for i in range(batch):
            p = weights[i]
            dropped = p if kept is None else p * kept[i] / (1 - dropout)
            np.matmul(dropped.mT, g[i], out=dv[i])
            ds = g[i] @ value[i].mT
            if kept is not None:
                ds *= kept[i] / query.dtype.type(1 - dropout)
            ds -= delta[i]
            ds *= p
            ds *= scale
            np.matmul(ds, key[i], out=dq[i])
            np.matmul(ds.mT, query[i], out=dk[i])
        return dq, dk, dv

    return output, vjp


def _heads_inside(shape, dtype):
    """Room for (batch, heads, time, dim) that lies in memory as (batch, time, heads, dim).

    So that joining the heads into (batch, time, heads * dim) afterwards copies nothing.
    """
    batch, heads, time, dim = shape
    return np.empty((batch, time, heads, dim), dtype).transpose(0, 2, 1, 3)


def _softmax_in_place(scores):
    """Softmax over the last axis; a row of nothing but −inf becomes zeros."""
    largest = scores.max(axis=-1, keepdims=True, initial=np.finfo(scores.dtype).min)
    scores -= largest
    np.exp(scores, out=scores)
    total = scores.sum(axis=-1, keepdims=True)
    scores *= 1 / np.where(total == 0, 1, total)
