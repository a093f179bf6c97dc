"""What a PyTorch user calls: checks, the ``torch.library`` operators and their autograd."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from minissl_kernels import launch
from minissl_kernels.attention.backward import backward
from minissl_kernels.attention.bias import bias_backward
from minissl_kernels.attention.forward import forward
from minissl_kernels.attention.masks import Terms
from minissl_kernels.attention.tiles import empty_like_heads
from minissl_kernels.operators import operator
from minissl_kernels.philox import dropout_threshold


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    causal: bool = False,
    window: int | tuple[int | None, int | None] | None = None,
    key_lengths: Tensor | None = None,
    bias: Tensor | None = None,
    alibi_slopes: Tensor | None = None,
    dropout: float = 0.0,
    seed: int | Tensor | None = None,
    scale: float | None = None,
    return_lse: bool = False,
) -> Any:
    """softmax(scale · query keyᵀ + bias) value, never storing the scores. Lectures 07 and 12.

    Shapes: query (batch, heads, query_time, width), key and value (batch, key_heads, key_time,
    width) with heads a multiple of key_heads: query heads h · g to h · g + g − 1 share key head h
    (grouped-query attention). All float32, float16 or bfloat16; sums are float32. Width up to 256.
    Transposed views of (batch, time, heads, width) are read where they are, and answered in kind.

    Query i stands at the position i + key_time − query_time, level with the keys at the end.
    ``causal``: it sees the keys up to there. ``window`` (left, right): it sees the keys from
    ``left`` before to ``right`` after, None for no limit; w means (w, w).
    ``key_lengths`` (batch,) integers: only the first so many keys of an example exist.
    ``bias``: added to the scores, broadcastable to (batch, heads, query_time, key_time), float32
    or the query's dtype; −inf, or anything below −10⁶ such as torch.finfo(torch.float32).min, hides
    a key (torch takes such numbers literally: the mean of all values where a row has no other).
    ``alibi_slopes`` (heads,): adds −slope · distance (Press, Smith and Lewis, 2022); not
    differentiated.
    ``dropout``: the probability that a weight is set to 0; the others are divided by 1 − dropout.
    The mask is a function of ``seed`` (an integer, or an int64 tensor of one element on the
    device), see ``keep_mask``; None draws the seed from torch's generator.
    ``scale``: 1 / √width if None.

    Returns the output, shaped as the query; with ``return_lse`` also the log of the sum of
    exponentials of each row's scores, (batch, heads, query_time) float32, differentiable too. A
    query that sees no key gets output 0, log-sum-exp −inf and no gradient. What ``key_lengths``
    leaves out is not read; a value that is not finite and hidden in another way makes NaN (0 · NaN)
    of the rows that are computed beside it. Gradients for query,
    key, value and bias are the same bits in every run.

    Raises RuntimeError (no device for kernels), TypeError (dtypes), ValueError (shapes and
    settings) and IndexError (a key length out of range; on a GPU at the next synchronisation).

    FlashAttention: Dao et al., 2022; Dao, 2023.
    """
    _check(query, key, value, key_lengths, bias, alibi_slopes, seed)
    left, right = _limits(causal, window)
    threshold = dropout_threshold(dropout)  # refuses what is no probability
    scale = 1 / math.sqrt(query.shape[3]) if scale is None else scale
    if not 0 < scale < math.inf:
        raise ValueError(f"attention: scale must be positive, got {scale}; negate the query")
    out, lse = attention_op(
        query,
        key,
        value,
        bias,
        key_lengths,
        None if alibi_slopes is None else alibi_slopes.to(torch.float32),
        _seed_tensor(seed, query.device) if threshold else None,
        left,
        right,
        dropout,
        scale,
    )
    return (out, lse) if return_lse else out


def _check(query, key, value, key_lengths, bias, alibi_slopes, seed):
    name = "attention"
    for label, tensor in (("query", query), ("key", key), ("value", value)):
        if tensor.dim() != 4:
            raise ValueError(
                f"{name}: {label} must have 4 axes (batch, heads, time, width), "
                f"got shape {tuple(tensor.shape)}"
            )
    seed = seed if isinstance(seed, Tensor) else None
    launch.check_device(
        name, query=query, key=key, value=value, key_lengths=key_lengths, bias=bias,
        alibi_slopes=alibi_slopes, seed=seed,
    )  # fmt: skip
    launch.check_floating(name, query=query, key=key, value=value)
    batch, heads, query_time, width = query.shape
    key_heads, key_time = key.shape[1:3]
    axes = "(batch, key_heads, key_time, width)"
    launch.check_shape(name, "key", key, (batch, key_heads, key_time, width), axes)
    launch.check_shape(name, "value", value, (batch, key_heads, key_time, width), axes)
    if not 1 <= width <= 256:
        raise ValueError(f"{name}: the width of a head must be 1 to 256, got {width}")
    if key_heads == 0 or heads % key_heads:
        raise ValueError(
            f"{name}: the query's heads must be a multiple of the key's, "
            f"got {heads} and {key_heads}"
        )
    if key_lengths is not None:
        launch.check_shape(name, "key_lengths", key_lengths, (batch,), "(batch,)")
        if key_lengths.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"{name}: key_lengths must be int32 or int64, got {key_lengths.dtype}")
    if bias is not None:
        _check_bias(name, bias, (batch, heads, query_time, key_time), query.dtype)
    if alibi_slopes is not None:
        launch.check_shape(name, "alibi_slopes", alibi_slopes, (heads,), "(heads,)")
        if alibi_slopes.requires_grad:
            raise ValueError(f"{name}: alibi_slopes have no gradient; detach them, or use a bias")
    if seed is not None and (seed.dtype != torch.int64 or seed.numel() != 1):
        raise TypeError(
            f"{name}: a seed tensor must hold one int64, got {seed.dtype} {tuple(seed.shape)}"
        )


def _check_bias(name, bias, full, dtype):
    fits = bias.dim() <= 4 and all(
        size in (1, expected) for size, expected in zip(bias.shape[::-1], full[::-1], strict=False)
    )
    if not fits:
        raise ValueError(
            f"{name}: bias must broadcast to (batch, heads, query_time, key_time) = {full}, "
            f"got {tuple(bias.shape)}"
        )
    if bias.dtype not in (torch.float32, dtype):
        raise TypeError(f"{name}: bias must be float32 or {dtype}, got {bias.dtype}")


def _limits(causal: bool, window) -> tuple[int | None, int | None]:
    """Causal attention and windows as one pair: how far a query sees to the left and right."""
    left, right = (window, window) if window is None or isinstance(window, int) else window
    for side in (left, right):
        if side is not None and side < 0:
            raise ValueError(f"attention: a window reaches 0 or more keys, got {window}; None: all")
    return left, 0 if causal else right


def _seed_tensor(seed: int | Tensor | None, device: torch.device) -> Tensor:
    """The seed on the device, where a replayed CUDA graph or a compiled program can renew it."""
    if isinstance(seed, Tensor):
        return seed
    if seed is None:
        return torch.randint(2**63 - 1, (1,), dtype=torch.int64, device=device)
    return torch.full((1,), seed, dtype=torch.int64, device=device)


def _terms(query, key, bias, key_lengths, slopes, seed, left, right, dropout) -> Terms:
    batch, heads, query_time = query.shape[:3]
    bias_strides: Sequence[int | None] = (None,) * 4
    if bias is not None:
        bias = bias.expand(batch, heads, query_time, key.shape[2])
        bias_strides = bias.stride()
    return Terms(
        shift=key.shape[2] - query_time,
        left=left,
        right=right,
        key_lengths=None if key_lengths is None else key_lengths.contiguous(),
        bias=bias,
        bias_batch_stride=bias_strides[0],
        bias_head_stride=bias_strides[1],
        bias_row_stride=bias_strides[2],
        bias_column_stride=bias_strides[3],
        slopes=None if slopes is None else slopes.contiguous(),
        seed=seed,
        threshold=None if seed is None else dropout_threshold(dropout),
        keep_scale=None if seed is None else 1 / (1 - dropout),
    )


def _check_lengths(key_lengths: Tensor | None, key_time: int) -> None:
    if key_lengths is None:
        return
    allowed = (key_lengths >= 0) & (key_lengths <= key_time)
    if key_lengths.device.type != "cpu":
        torch._assert_async(allowed.all(), f"attention: a key length is not in 0 to {key_time}")
    elif not bool(allowed.all()):
        wrong = int(key_lengths[~allowed][0])
        raise IndexError(f"attention: key length {wrong} is not in 0 to {key_time}")


def _rows(*tensors: Tensor) -> list[Tensor]:
    """The tensors, copied where the kernels cannot walk along their rows."""
    return [launch.walkable(tensor) for tensor in tensors]


@operator("minissl::attention")
def attention_op(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    key_lengths: Tensor | None,
    slopes: Tensor | None,
    seed: Tensor | None,
    left: int | None,
    right: int | None,
    dropout: float,
    scale: float,
) -> tuple[Tensor, Tensor]:
    _check_lengths(key_lengths, key.shape[2])
    query, key, value = _rows(query, key, value)
    terms = _terms(query, key, bias, key_lengths, slopes, seed, left, right, dropout)
    return forward(query, key, value, terms, scale)


@attention_op.register_fake
def _(query, key, value, *_):
    (query,) = _rows(query)
    return empty_like_heads(query), query.new_empty(query.shape[:3], dtype=torch.float32)


@operator("minissl::attention_backward")
def attention_backward_op(
    out_gradient: Tensor,
    lse_gradient: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    log_sum_exp: Tensor,
    bias: Tensor | None,
    key_lengths: Tensor | None,
    slopes: Tensor | None,
    seed: Tensor | None,
    left: int | None,
    right: int | None,
    dropout: float,
    scale: float,
    bias_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    query, key, value, out_gradient, out = _rows(query, key, value, out_gradient, out)
    lse_gradient = None if lse_gradient is None else lse_gradient.contiguous()
    terms = _terms(query, key, bias, key_lengths, slopes, seed, left, right, dropout)
    dq, dk, dv, bits, delta = backward(
        out_gradient, lse_gradient, query, key, value, out, log_sum_exp, terms, scale
    )
    if bias is None or not bias_gradient:
        return dq, dk, dv, query.new_empty(0)
    return dq, dk, dv, bias_backward(
        out_gradient, query, key, value, bits, delta, bias, terms, scale
    )  # fmt: skip


@attention_backward_op.register_fake
def _(out_gradient, lse_gradient, query, key, value, out, log_sum_exp, bias, *others):
    gradients = [empty_like_heads(tensor) for tensor in _rows(query, key, value)]
    if bias is None or not others[-1]:
        return *gradients, query.new_empty(0)
    return *gradients, torch.empty(bias.shape, dtype=bias.dtype, device=bias.device)


def _setup_context(ctx, inputs, output):
    *tensors, ctx.left, ctx.right, ctx.dropout, ctx.scale = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.set_materialize_grads(False)


def _backward(ctx, out_gradient, lse_gradient):
    query, key, value, bias, key_lengths, slopes, seed, out, log_sum_exp = ctx.saved_tensors
    out_gradient = torch.zeros_like(out) if out_gradient is None else out_gradient
    wanted = ctx.needs_input_grad[3]
    dq, dk, dv, db = attention_backward_op(
        out_gradient, lse_gradient, query, key, value, out, log_sum_exp,
        bias, key_lengths, slopes, seed, ctx.left, ctx.right, ctx.dropout, ctx.scale, wanted,
    )  # fmt: skip
    return dq, dk, dv, db if wanted else None, *[None] * 7


attention_op.register_autograd(_backward, setup_context=_setup_context)

OPERATORS = (attention_op, attention_backward_op)
