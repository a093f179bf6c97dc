"""Scaled dot-product attention (Vaswani et al., 2017). Lecture 06."""

import math
from itertools import pairwise
from typing import Any

import numpy as np

from minissl.autograd import composed
from minissl.autograd import operations as ops
from minissl.autograd.arrays import is_half, namespace, require_floating
from minissl.autograd.checked import is_finite
from minissl.autograd.composed import (
    allowed_keys,
    check_dropout,
    check_key_lengths,
    dropout_mask,
)
from minissl.autograd.fused import gpu
from minissl.autograd.fused.chunks import for_each_chunk
from minissl.autograd.half import in_single
from minissl.autograd.tensor import Tensor, as_array, differentiable

BLOCK = 64  # queries: few enough that causal masks save work, enough for a good matrix product


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
    NaN in what a query may not see does not reach it; in what it sees, it does.

    Raises ValueError for shapes that do not fit, and for dropout without a seed.
    """
    require_floating("attention", query, key, value)
    _check(query, key, value)
    check_dropout(dropout, seed)
    if key_lengths is not None:
        check_key_lengths(key_lengths, query.shape[0])
    settings: dict[str, Any] = {"causal": causal, "key_lengths": key_lengths, "dropout": dropout}
    settings |= {"seed": seed, "scale": 1 / math.sqrt(query.shape[-1]) if scale is None else scale}
    array = as_array(query)
    if gpu.attends(query, value, settings["scale"]):
        return gpu.attention(query, key, value, **settings)
    if is_half(array):
        return in_single(attention, query, key, value, **settings)
    if key_lengths is not None and not _all_finite(key, value):  # a weight of 0 times NaN is NaN
        inside = np.arange(key.shape[2])[:, None] < _numpy(key_lengths)[:, None, None, None]
        key, value = (ops.where(inside, x, 0.0) for x in (key, value))
    if causal and not _all_finite(key, value):
        return _query_by_query(query, key, value, **settings)
    compute: Any = _attention if isinstance(array, np.ndarray) else composed.attention
    return compute(query, key, value, **settings)


def _all_finite(*parts: Any) -> bool:
    return all(is_finite(as_array(part)) for part in parts)


def _numpy(numbers: Any) -> np.ndarray:
    return Tensor(numbers).numpy()


def _query_by_query(query, key, value, *, causal, key_lengths, dropout, seed, scale):
    """Causal attention where keys or values are not finite: no query is near what it may not see.

    In a block of queries a later key has weight 0 for the earlier ones, but 0 times NaN is NaN.
    """
    (batch, heads, query_time, _), key_time = query.shape, key.shape[2]
    blind = min(max(query_time - key_time, 0), query_time)
    zeros = namespace(as_array(value)).zeros_like(as_array(value)[:, :, :1])
    outputs = [ops.broadcast_to(zeros, (batch, heads, blind, value.shape[3]))]
    query, key, value = (x if isinstance(x, Tensor) else Tensor(x) for x in (query, key, value))
    for i in range(blind, query_time):
        seen = i + 1 + key_time - query_time
        settings: dict[str, Any] = {"dropout": dropout, "scale": scale}
        settings["seed"] = None if seed is None else seed + i
        if key_lengths is not None:
            settings["key_lengths"] = np.minimum(_numpy(key_lengths), seen)
        parts = query[:, :, i : i + 1], key[:, :, :seen], value[:, :, :seen]
        outputs.append(attention(*parts, **settings))
    return ops.concatenate(outputs, axis=2)


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
    """O = P V, P = softmax(S), S = scale Q Kᵀ, a block of queries at a time.

    dV = Pᵀ dO,  dP = dO Vᵀ,  dS = P (dP − Σ dO O),  dQ = scale dS K,  dK = scale dSᵀ Q.
    P becomes dS in place. Blocks above the diagonal of a causal mask are never computed. ``rooms``:
    where the rule writes its three gradients.
    """
    shape = (*query.shape[:3], key.shape[2])
    allowed = allowed_keys(shape, causal, key_lengths)
    penalty = None if allowed is None else _penalty(allowed, shape, query.dtype)
    blind = None if allowed is None else _broadcast(~allowed.any(-1, keepdims=True), shape)
    kept = dropout_mask(shape, dropout, seed) if dropout else None
    blocks = _blocks(query.shape[2], key.shape[2], causal)
    weights = np.empty(shape, query.dtype)
    output = _heads_inside((*shape[:3], value.shape[3]), query.dtype)

    def forward(_, i):
        q = query[i] * scale
        for rows, seen in blocks:
            p = np.matmul(q[..., rows, :], key[i, :, :seen].mT, out=weights[i, :, rows, :seen])
            if penalty is not None:
                p += penalty[i, :, rows, :seen]
            _softmax_in_place(p, None if blind is None else blind[i, :, rows])
            dropped = p if kept is None else _drop(p, kept[i, :, rows, :seen], dropout)
            np.matmul(dropped, value[i, :, :seen], out=output[i, :, rows])

    def vjp(g, rooms=None):
        if rooms is None:
            rooms = [_heads_inside(x.shape, x.dtype) for x in (query, key, value)]
        dq, dk, dv = rooms

        def backward(_, i):
            p, go, q = weights[i], g[i], query[i] * scale
            dropped = p if kept is None else _drop(p, kept[i], dropout)
            delta = np.vecdot(go, output[i])[..., None]
            for seen_by, columns in _columns(blocks, key.shape[2]):
                np.matmul(
                    dropped[..., seen_by, columns].mT, go[..., seen_by, :], out=dv[i, :, columns]
                )
            for rows, seen in blocks:
                ds = go[..., rows, :] @ value[i, :, :seen].mT
                if kept is not None:
                    ds = _drop(ds, kept[i, :, rows, :seen], dropout)
                ds -= delta[..., rows, :]
                ds *= p[..., rows, :seen]
                np.matmul(ds, key[i, :, :seen], out=dq[i, :, rows])
                p[..., rows, :seen] = ds
            for seen_by, columns in _columns(blocks, key.shape[2]):
                np.matmul(p[..., seen_by, columns].mT, q[..., seen_by, :], out=dk[i, :, columns])
            dq[i] *= scale

        for_each_chunk(backward, weights)
        return dq, dk, dv

    for_each_chunk(forward, weights)
    return output, vjp


def self_attention(
    qkv: Any,
    num_heads: int,
    *,
    causal: bool = False,
    key_lengths: Any = None,
    dropout: float = 0.0,
    seed: int | None = None,
    scale: float | None = None,
) -> Tensor:
    """``attention`` of a sequence to itself, with queries, keys and values side by side.

    Shapes: qkv (batch, time, 3 width), the first third of the last axis the queries, then keys and
    values -> (batch, time, width), the heads joined. The settings are those of ``attention``.
    The three are views, and so are their gradients: nothing is copied to take qkv apart, and no
    gradients are put together afterwards.

    Raises ValueError when num_heads does not divide the width.
    """
    array = as_array(qkv)
    if len(array.shape) != 3 or num_heads < 1 or array.shape[2] % (3 * num_heads):
        raise ValueError(
            f"self_attention: expected (batch, time, 3 width) with a width that {num_heads} heads "
            f"share equally, got shape {tuple(array.shape)}"
        )
    check_dropout(dropout, seed)
    if key_lengths is not None:
        check_key_lengths(key_lengths, array.shape[0])
    settings: dict[str, Any] = {"causal": causal, "key_lengths": key_lengths, "dropout": dropout}
    settings |= {"seed": seed, "scale": scale}
    if isinstance(array, np.ndarray) and array.dtype.kind == "f" and not is_half(array):
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(array.sum()):  # NaN behind a mask takes the longer way
                return _self_attention(qkv, num_heads=num_heads, **settings)
    return composed.self_attention(qkv, num_heads, attend=attention, **settings)


@differentiable
def _self_attention(qkv, /, num_heads, causal, key_lengths, dropout, seed, scale):
    """``_attention`` on three views of one array; its gradients are written into three of one."""
    query, key, value = _three_views(qkv, num_heads)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    output, vjp = _attention.__wrapped__(
        query, key, value, causal, key_lengths, dropout, seed, scale
    )
    batch, heads, time, dim = query.shape

    def vjp_qkv(g):
        gradient = np.empty_like(qkv, order="C")
        g = g.reshape(batch, time, heads, dim).transpose(0, 2, 1, 3)
        vjp(g, _three_views(gradient, num_heads))
        return gradient

    return output.transpose(0, 2, 1, 3).reshape(batch, time, heads * dim), (vjp_qkv,)


def _three_views(qkv, num_heads):
    """(batch, time, 3 width) -> (3, batch, heads, time, head_dim)."""
    batch, time, width = qkv.shape
    parts = qkv.reshape(batch, time, 3, num_heads, width // (3 * num_heads))
    return parts.transpose(2, 0, 3, 1, 4)


def _blocks(query_time, key_time, causal):
    """Blocks of queries, each with the number of keys that its last query may see."""
    blocks = []
    for start in range(0, query_time, BLOCK):
        end = min(start + BLOCK, query_time)
        seen = min(max(end + key_time - query_time, 0), key_time) if causal else key_time
        blocks.append((slice(start, end), seen))
    return blocks


def _columns(blocks, key_time):
    """The same blocks from the keys' side: (queries that see any of these keys, the keys)."""
    steps = sorted({0, key_time, *(seen for _, seen in blocks)})
    for start, end in pairwise(steps):
        first = min((rows.start for rows, seen in blocks if seen >= end), default=None)
        last = blocks[-1][0].stop if blocks else 0
        yield slice(last if first is None else first, last), slice(start, end)


def _penalty(allowed, shape, dtype):
    """0 where a key may be seen, −inf where not: (batch, 1, query, key), without copies."""
    return _broadcast(np.where(allowed, dtype.type(0), dtype.type(-np.inf)), shape)


def _broadcast(of_queries, shape):
    """(batch or 1, 1, query, n) or (query, n) as (batch, 1, query, n), without copies."""
    of_queries = of_queries.reshape((-1, 1, *of_queries.shape[-2:]))
    return np.broadcast_to(of_queries, (shape[0], 1, shape[2], of_queries.shape[-1]))


def _softmax_in_place(scores, blind):
    """Softmax over the last axis; zeros for the ``blind`` rows, where no key may be seen.

    Other rows of nothing but −inf become NaN: their scores were too large for the dtype.
    """
    scores -= scores.max(axis=-1, keepdims=True, initial=np.finfo(scores.dtype).min)
    np.exp(scores, out=scores)
    total = scores.sum(axis=-1, keepdims=True)
    if blind is not None:
        total += blind
    with np.errstate(divide="ignore", invalid="ignore"):
        scores *= 1 / total


def _drop(weights, kept, probability):
    """What is kept grows by 1 / (1 − probability), so that the expected sum stays."""
    dropped = weights * kept
    dropped *= 1 / (1 - probability)
    return dropped


def _heads_inside(shape, dtype):
    """Room for (batch, heads, time, dim) that lies in memory as (batch, time, heads, dim).

    So that joining the heads into (batch, time, heads * dim) afterwards copies nothing.
    """
    batch, heads, time, dim = shape
    return np.empty((batch, time, heads, dim), dtype).transpose(0, 2, 1, 3)
