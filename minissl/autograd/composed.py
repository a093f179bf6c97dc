"""What each fused operation means: the same function as a composition of primitives.

Slow, short, and right on any array library: the lectures derive these, the tests compare the fused
operations with them, and ``minissl.autograd.fused`` falls back on them where it has nothing faster.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.arrays import Array, dtype_name, int64_on_torch, is_array, namespace
from minissl.autograd.cells import lstm_step
from minissl.autograd.tensor import Tensor, as_array


def gelu(x: Any, approximate: str = "tanh") -> Tensor:
    """x Φ(x), with Φ the normal distribution function, or GPT-2's tanh formula for it."""
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * ops.power(x, 3))
        return 0.5 * x * (1 + ops.tanh(inner))
    return 0.5 * x * (1 + ops.erf(x / math.sqrt(2)))


def layer_norm(x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> Tensor:
    """(x − mean) / √(variance + eps) · weight + bias, over the last axis."""
    centered = x - ops.mean(x, axis=-1, keepdims=True)
    variance = ops.mean(centered * centered, axis=-1, keepdims=True)
    return centered / ops.sqrt(variance + eps) * weight + bias


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

    ``scale``: 1/√head_dim unless given. ``causal``, ``key_lengths``: which keys a query may see,
    see ``allowed_keys``; a key that is not allowed has weight 0, and a query that may see none
    gives zeros, and sends no gradient. ``dropout``: this share of the weights becomes 0, where
    ``dropout_mask(scores.shape, dropout, seed)`` is False, and the others grow by
    1 / (1 − dropout). Vaswani et al. (2017). Lecture 06.
    """
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = ops.matmul(query, ops.matrix_transpose(key)) * scale  # (batch, heads, query, key)
    array, xp = scores.array, namespace(scores.array)
    allowed = allowed_keys(scores.shape, causal, key_lengths)
    if allowed is not None:
        allowed = xp.asarray(np.broadcast_to(allowed, scores.shape).copy(), device=array.device)
        scores = ops.where(allowed, scores, float(xp.finfo(array.dtype).min))
    weights = ops.softmax(scores, axis=-1)
    if allowed is not None:  # a query that may see nothing: all weights 0, not all equal
        weights = ops.where(allowed, weights, 0.0)
    if dropout:
        kept = dropout_mask(scores.shape, dropout, seed) / (1 - dropout)
        weights = weights * xp.asarray(kept, dtype=array.dtype, device=array.device)
    return ops.matmul(weights, value)


def self_attention(
    qkv: Any, num_heads: int, *, attend: Callable[..., Tensor] = attention, **settings: Any
) -> Tensor:
    """``attend`` to the sequence itself: (batch, time, 3 width) -> (batch, time, width).

    See ``fused.self_attention``.
    """
    batch, time, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    parts = ops.reshape(qkv, (batch, time, 3, num_heads, width // num_heads))
    query, key, value = ops.permute_dims(parts, (2, 0, 3, 1, 4))  # (batch, heads, time, head_dim)
    mixed = attend(query, key, value, **settings)
    return ops.reshape(ops.permute_dims(mixed, (0, 2, 1, 3)), (batch, time, width))


def allowed_keys(shape: tuple[int, ...], causal: bool, key_lengths: Any) -> np.ndarray | None:
    """Which key each query may see, broadcastable to (batch, heads, query, key); None for all.

    ``shape``: (batch, heads, query_time, key_time). Causal: query i sees key j only if
    j ≤ i + (key_time − query_time), so the last query sees the last key. ``key_lengths``: (batch,)
    integers, how many keys of each example are not padding: only those may be seen. Returns True
    where a key may be seen. Raises ValueError for other key_lengths (``check_key_lengths``).
    """
    query_time, key_time = shape[-2:]
    allowed = None
    if causal:
        last = np.arange(query_time)[:, None] + (key_time - query_time)
        allowed = np.arange(key_time)[None, :] <= last  # (query, key)
    if key_lengths is not None:
        check_key_lengths(key_lengths, shape[0])
        lengths = np.asarray(key_lengths)
        inside = np.arange(key_time) < lengths[:, None, None, None]  # (batch, 1, 1, key)
        allowed = inside if allowed is None else allowed & inside
    return allowed


def check_key_lengths(key_lengths: Any, batch: int) -> None:
    """Raise ValueError unless there is one integer for each example; torch arrays stay there."""
    lengths = key_lengths if is_array(key_lengths) else np.asarray(key_lengths)
    if tuple(lengths.shape) != (batch,) or not namespace(lengths).isdtype(
        lengths.dtype, "integral"
    ):
        raise ValueError(
            f"attention: key_lengths must be {batch} integers, one per example, "
            f"got shape {tuple(lengths.shape)} of {dtype_name(lengths)}"
        )


def check_dropout(probability: float, seed: int | None) -> None:
    """Raise ValueError for a probability that is none, and where there is no seed to draw from."""
    if not 0 <= probability < 1:
        raise ValueError(f"dropout must be in [0, 1), got {probability}")
    if probability and seed is None:
        raise ValueError("dropout needs a seed: pass seed=int(generator.integers(2**63))")


def dropout_mask(shape: tuple[int, ...], probability: float, seed: int | None) -> np.ndarray:
    """True where a value is kept: the same seed gives the same mask, in forward and backward."""
    check_dropout(probability, seed)
    generator = np.random.Generator(np.random.Philox(seed))
    return generator.random(shape, dtype=np.float32) >= probability


def logistic_loss(logits: Any, positive: Any, negative: Any) -> Tensor:
    """Σ positive · (−log σ(x)) + negative · (−log σ(−x)), over all logits x.

    Shapes: all three alike; where both weights are 0 the logit may be anything, NaN too.
    """
    x = ops.where((positive != 0) | (negative != 0), logits, 0.0)
    x = x * (0 * x.array + 1)  # an infinite logit is no limit, but a mistake: NaN, both ways
    return -ops.sum(ops.log_sigmoid(x) * positive + ops.log_sigmoid(-x) * negative)


def cross_entropy(
    logits: Any,
    targets: Any,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """−log softmax(logits)[target], in nats, however large the logits are.

    Shapes: logits (..., classes) floating, targets (...) integers in [0, classes) or
    ``ignore_index``. ``label_smoothing`` s: the target distribution is (1 − s) on the target plus
    s / classes everywhere (Szegedy et al., 2016). ``reduction``: ``"none"`` gives (...), 0 where
    the target is ignored; ``"sum"`` and ``"mean"`` a number; the mean is over the targets that are
    not ignored, and 0 when all are. Lectures 05 and 12.
    """
    targets = int64_on_torch(targets.array if isinstance(targets, Tensor) else targets)
    xp = namespace(targets)
    kept = targets != ignore_index
    if not math.prod(kept.shape):  # no rows: nothing to choose the largest logit of
        return _reduce(ops.sum(logits, axis=-1), reduction, count=0)
    safe = xp.where(kept, targets, xp.zeros_like(targets))
    logits = ops.where(kept[..., None], logits, 0.0)  # what is ignored may be anything, NaN too
    log_probabilities = ops.log_softmax(logits, axis=-1)
    chosen = ops.take_along_axis(log_probabilities, safe[..., None], axis=-1)
    loss = -ops.squeeze(chosen, axis=-1)
    if label_smoothing:
        uniform = -ops.mean(log_probabilities, axis=-1)
        loss = (1 - label_smoothing) * loss + label_smoothing * uniform
    loss = ops.where(kept, loss, 0.0)
    return _reduce(loss, reduction, count=int(xp.sum(xp.astype(kept, targets.dtype))))


def _reduce(loss: Tensor, reduction: str, count: int) -> Tensor:
    """ "none": the losses; "sum"; "mean": the sum over ``count``, and 0 when there is nothing."""
    if reduction == "none":
        return loss
    if reduction == "sum":
        return ops.sum(loss)
    if reduction == "mean":
        return ops.sum(loss) / max(count, 1)
    raise ValueError(f"reduction must be 'none', 'sum' or 'mean', got {reduction!r}")


def contrastive_cross_entropy(
    query: Any,
    key: Any,
    targets: Any = None,
    *,
    temperature: Any = 1.0,
    exclude_self: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of picking the positive key; see ``fused.contrastive_cross_entropy``."""
    logits = ops.matmul(query, ops.matrix_transpose(key)) / temperature  # (rows, columns)
    xp = namespace(logits.array)
    lost = [~xp.all(xp.isfinite(as_array(x)), axis=1) for x in (query, key)]
    zeros = xp.zeros_like(logits.array)
    logits = logits + xp.where(lost[0][:, None] | lost[1][None, :], math.nan, zeros)
    if exclude_self:
        itself = xp.eye(*logits.shape, dtype=xp.bool, device=logits.array.device)
        logits = ops.where(itself, float(xp.finfo(logits.dtype).min), logits)
    if targets is None:
        targets = xp.arange(logits.shape[0], device=logits.array.device)
    return cross_entropy(logits, targets, reduction=reduction)


def lstm(
    x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, h: Any, c: Any
) -> tuple[Tensor, Tensor]:
    """One LSTM layer, step by step: h of every step, and the last c; see ``fused.lstm``."""
    # Everything that does not wait for h: one large product for all time steps.
    from_input = ops.linear(x, weight_ih, ops.add(bias_ih, bias_hh))  # (batch, time, 4 hidden)
    outputs = []
    for t in range(x.shape[1]):
        h, c = lstm_step(from_input[:, t] + ops.linear(h, weight_hh), c)
        outputs.append(h)
    return ops.stack(outputs, axis=1), c


def gru(x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, h: Any) -> Tensor:
    """One GRU layer, step by step: h of every step; see ``fused.gru``."""
    outputs = []
    from_input = ops.linear(x, weight_ih, bias_ih)
    for t in range(x.shape[1]):
        r_input, z_input, n_input = ops.split(from_input[:, t], 3, axis=1)
        r_state, z_state, n_state = ops.split(ops.linear(h, weight_hh, bias_hh), 3, axis=1)
        r, z = ops.sigmoid(r_input + r_state), ops.sigmoid(z_input + z_state)
        n = ops.tanh(n_input + r * n_state)
        h = (1 - z) * n + z * h
        outputs.append(h)
    return ops.stack(outputs, axis=1)


def adamw_update(
    parameter: Array,
    gradient: Array,
    first_moment: Array,
    second_moment: Array,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """One step of AdamW, written into ``parameter``, ``first_moment`` and ``second_moment``.

        m ← β₁ m + (1 − β₁) g       v ← β₂ v + (1 − β₂) g²
        p ← (1 − lr λ) p − lr m̂ / (√v̂ + ε)   with  m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)

    m and v are the moments, λ is ``weight_decay``, t is ``step``, which counts from 1. Shapes: all
    four arrays the same, of one floating dtype, which stays. The gradient is only read.

    Kingma and Ba (2015), Adam; Loshchilov and Hutter (2019), Decoupled Weight Decay Regularization.
    """
    beta1, beta2 = betas
    first_moment += (1 - beta1) * (gradient - first_moment)
    second_moment += (1 - beta2) * (gradient * gradient - second_moment)
    mean = first_moment / (1 - beta1**step)  # as the moments begin with 0, they are too small
    mean_square = second_moment / (1 - beta2**step)
    parameter *= 1 - lr * weight_decay
    parameter -= lr * mean / (namespace(parameter).sqrt(mean_square) + eps)


def one_hot(indices: Array, size: int) -> np.ndarray:
    """(..., size) float32: 1 at each index. What an embedding multiplies with, in principle."""
    return (np.asarray(indices)[..., None] == np.arange(size)).astype(np.float32)
