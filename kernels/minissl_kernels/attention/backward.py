"""The backward pass: the weights are computed again from the log-sum-exp, never stored.

With P = softmax(S), and D = the sum of ∂O ∘ O along a row, minus the gradient of its log-sum-exp:

    ∂V = Pᵀ ∂O        ∂P = ∂O Vᵀ        ∂S = P ∘ (∂P − D)        ∂Q = scale ∂S K,  ∂K = scale ∂Sᵀ Q

Two kernels, so that nothing is added by two programs at once and every run gives the same bits: one
owns a tile of keys and walks along the queries, for ∂K and ∂V; the other owns a tile of queries and
walks along the keys, for ∂Q. The first computes the transposed tiles Sᵀ and ∂Sᵀ, which are then
already the left factors of its products. Scores are in bits (times log2 e), as in the forward pass.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from minissl_kernels import launch
from minissl_kernels.attention.masks import (
    Terms,
    edge_tile,
    finish_scores,
    kept,
    key_limit,
    key_span,
    of_head,
    query_span,
)
from minissl_kernels.attention.row_sums import load_statistics, row_sums_kernel, score_gradient
from minissl_kernels.attention.tiles import (
    Blocks,
    empty_like_heads,
    hopper,
    load_rows,
    padded,
    store_rows,
    strides,
)


@triton.jit
def walk_queries(
    key_gradient,
    value_gradient,
    key_tile,
    value_tile,
    query,
    out_gradient,
    bits,
    delta,
    query_stride,
    gradient_stride,
    span,
    first_column,
    query_time,
    limit,
    bias_at,
    slope,
    plane,
    terms,
    scale,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK_QUERY: tl.constexpr,
    BLOCK_KEY: tl.constexpr,
    PRECISION: tl.constexpr,
    EDGE: tl.constexpr,
):
    """Add to ∂K and ∂V of a tile of keys what the queries ``first`` to ``end`` contribute."""
    column = first_column + tl.arange(0, BLOCK_KEY)[:, None]
    first, full, full_end, end = span
    for step in tl.range(
        first if EDGE else full, end - (full_end - full) if EDGE else full_end, BLOCK_QUERY
    ):
        start = edge_tile(step, span) if EDGE else step
        row = start + tl.arange(0, BLOCK_QUERY)[None, :]
        query_tile = load_rows(
            query, start, query_stride, query_time, WIDTH, PADDED, BLOCK_QUERY, EDGE
        )
        scores = tl.dot(key_tile, tl.trans(query_tile), input_precision=PRECISION)
        scores = finish_scores(
            scores, row, column, query_time, limit, bias_at, slope, 1 / scale, terms, EDGE
        )
        lse, d = load_statistics(bits, delta, row, query_time, EDGE)
        out_tile = load_rows(
            out_gradient, start, gradient_stride, query_time, WIDTH, PADDED, BLOCK_QUERY, EDGE
        )
        weight_gradient = tl.dot(value_tile, tl.trans(out_tile), input_precision=PRECISION)
        keep = None
        if terms.seed is not None:
            keep = tl.trans(kept(start, first_column, plane, terms, BLOCK_QUERY, BLOCK_KEY))
        weights, gradient = score_gradient(scores, weight_gradient, lse, d, keep, terms, scale)
        value_gradient = tl.dot(
            weights.to(out_tile.dtype), out_tile, value_gradient, input_precision=PRECISION
        )
        key_gradient = tl.dot(
            gradient.to(query_tile.dtype), query_tile, key_gradient, input_precision=PRECISION
        )
    return key_gradient, value_gradient


@triton.jit
def key_value_kernel(
    query,
    key,
    value,
    out_gradient,
    key_gradient,
    value_gradient,
    bits,
    delta,
    query_strides,
    key_strides,
    value_strides,
    gradient_strides,
    key_gradient_strides,
    value_gradient_strides,
    terms,
    scale,
    heads,
    group,
    query_time,
    key_time,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK_QUERY: tl.constexpr,
    BLOCK_KEY: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """∂K and ∂V of one tile of keys, over all queries and all query heads that share the key."""
    tiles = tl.cdiv(key_time, BLOCK_KEY)
    key_plane = tl.program_id(0) // tiles
    # In causal attention the first keys are seen by the most queries: the longest work first.
    first_column = (tl.program_id(0) % tiles) * BLOCK_KEY
    key_heads = heads // group
    batch, key_head = (key_plane // key_heads).to(tl.int64), (key_plane % key_heads).to(tl.int64)
    key += batch * key_strides[0] + key_head * key_strides[1]
    value += batch * value_strides[0] + key_head * value_strides[1]

    limit = key_limit(terms, batch, key_time)
    key_tile = load_rows(key, first_column, key_strides[2], limit, WIDTH, PADDED, BLOCK_KEY, True)
    value_tile = load_rows(
        value, first_column, value_strides[2], limit, WIDTH, PADDED, BLOCK_KEY, True
    )
    dk = tl.zeros((BLOCK_KEY, PADDED), tl.float32)
    dv = tl.zeros((BLOCK_KEY, PADDED), tl.float32)
    span = query_span(first_column, limit, query_time, terms, BLOCK_QUERY, BLOCK_KEY)
    for member in tl.range(0, group):
        head = key_head * group + member
        plane = (batch * heads + head).to(tl.int32)
        at = (batch * heads + head) * query_time
        bias_at, slope = of_head(terms, batch, head)
        q = query + batch * query_strides[0] + head * query_strides[1]
        do = out_gradient + batch * gradient_strides[0] + head * gradient_strides[1]
        for EDGE in tl.static_range(2):
            dk, dv = walk_queries(
                dk, dv, key_tile, value_tile, q, do, bits + at, delta + at, query_strides[2],
                gradient_strides[2], span, first_column, query_time, limit, bias_at, slope, plane,
                terms, scale, WIDTH, PADDED, BLOCK_QUERY, BLOCK_KEY, PRECISION, EDGE,
            )  # fmt: skip

    if terms.seed is not None:
        dv *= terms.keep_scale
    key_gradient += batch * key_gradient_strides[0] + key_head * key_gradient_strides[1]
    value_gradient += batch * value_gradient_strides[0] + key_head * value_gradient_strides[1]
    store_rows(
        key_gradient, dk * scale, first_column, key_gradient_strides[2], key_time,
        WIDTH, PADDED, BLOCK_KEY,
    )  # fmt: skip
    store_rows(
        value_gradient, dv, first_column, value_gradient_strides[2], key_time,
        WIDTH, PADDED, BLOCK_KEY,
    )  # fmt: skip


@triton.jit
def walk_keys(
    query_gradient,
    query_tile,
    out_tile,
    lse,
    d,
    key,
    value,
    key_stride,
    value_stride,
    span,
    first_row,
    query_time,
    limit,
    bias_at,
    slope,
    plane,
    terms,
    scale,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK_QUERY: tl.constexpr,
    BLOCK_KEY: tl.constexpr,
    PRECISION: tl.constexpr,
    EDGE: tl.constexpr,
):
    """Add to ∂Q of a tile of queries what the keys ``first`` to ``end`` contribute."""
    row = first_row + tl.arange(0, BLOCK_QUERY)[:, None]
    first, full, full_end, end = span
    for step in tl.range(
        first if EDGE else full, end - (full_end - full) if EDGE else full_end, BLOCK_KEY
    ):
        start = edge_tile(step, span) if EDGE else step
        column = start + tl.arange(0, BLOCK_KEY)[None, :]
        key_tile = load_rows(key, start, key_stride, limit, WIDTH, PADDED, BLOCK_KEY, EDGE)
        scores = tl.dot(query_tile, tl.trans(key_tile), input_precision=PRECISION)
        scores = finish_scores(
            scores, row, column, query_time, limit, bias_at, slope, 1 / scale, terms, EDGE
        )
        value_tile = load_rows(value, start, value_stride, limit, WIDTH, PADDED, BLOCK_KEY, EDGE)
        weight_gradient = tl.dot(out_tile, tl.trans(value_tile), input_precision=PRECISION)
        keep = None
        if terms.seed is not None:
            keep = kept(first_row, start, plane, terms, BLOCK_QUERY, BLOCK_KEY)
        _, gradient = score_gradient(
            scores, weight_gradient, lse[:, None], d[:, None], keep, terms, scale
        )
        query_gradient = tl.dot(
            gradient.to(key_tile.dtype), key_tile, query_gradient, input_precision=PRECISION
        )
    return query_gradient


@triton.jit
def query_kernel(
    query,
    key,
    value,
    out_gradient,
    query_gradient,
    bits,
    delta,
    query_strides,
    key_strides,
    value_strides,
    gradient_strides,
    query_gradient_strides,
    terms,
    scale,
    heads,
    group,
    query_time,
    key_time,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK_QUERY: tl.constexpr,
    BLOCK_KEY: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """∂Q of one tile of queries, over all keys: the walk of the forward pass once more."""
    tiles = tl.cdiv(query_time, BLOCK_QUERY)
    plane = tl.program_id(0) // tiles
    first_row = (tiles - 1 - tl.program_id(0) % tiles) * BLOCK_QUERY
    batch, head = (plane // heads).to(tl.int64), (plane % heads).to(tl.int64)
    query += batch * query_strides[0] + head * query_strides[1]
    key += batch * key_strides[0] + head // group * key_strides[1]
    value += batch * value_strides[0] + head // group * value_strides[1]
    out_gradient += batch * gradient_strides[0] + head * gradient_strides[1]
    query_gradient += batch * query_gradient_strides[0] + head * query_gradient_strides[1]

    limit = key_limit(terms, batch, key_time)
    bias_at, slope = of_head(terms, batch, head)
    end_row = tl.minimum(first_row + BLOCK_QUERY, query_time)
    span = key_span(first_row, end_row, limit, terms, BLOCK_KEY)

    query_tile = load_rows(
        query, first_row, query_strides[2], query_time, WIDTH, PADDED, BLOCK_QUERY, True
    )
    out_tile = load_rows(
        out_gradient, first_row, gradient_strides[2], query_time, WIDTH, PADDED, BLOCK_QUERY, True
    )
    at = plane.to(tl.int64) * query_time
    row = first_row + tl.arange(0, BLOCK_QUERY)
    lse, d = load_statistics(bits + at, delta + at, row, query_time, True)
    dq = tl.zeros((BLOCK_QUERY, PADDED), tl.float32)
    for EDGE in tl.static_range(2):
        dq = walk_keys(
            dq, query_tile, out_tile, lse, d, key, value, key_strides[2], value_strides[2], span,
            first_row, query_time, limit, bias_at, slope, plane, terms, scale,
            WIDTH, PADDED, BLOCK_QUERY, BLOCK_KEY, PRECISION, EDGE,
        )  # fmt: skip
    store_rows(
        query_gradient, dq * scale, first_row, query_gradient_strides[2], query_time,
        WIDTH, PADDED, BLOCK_QUERY,
    )  # fmt: skip


# Each of the three TF32 products of a float32 product holds its own half of the operands in
# registers, so tiles are small; above width 64 some registers still go to memory.
FLOAT32_KEY_VALUE = {128: Blocks(32, 16, 4, 1), 256: Blocks(16, 16, 4, 1)}
FLOAT32_QUERY = {128: Blocks(16, 32, 4, 1), 256: Blocks(16, 16, 4, 1)}


def key_value_configuration(width: int, dtype: torch.dtype, dropout: bool = False) -> Blocks:
    """Tile sizes of the ∂K, ∂V kernel, which holds two accumulators (key block, width).

    Dropout draws its random numbers in registers: less room for the rest. On Hopper two or three
    small programs share a multiprocessor; at width 128 they keep some registers in memory outside
    the loop of full tiles, and were still faster on an H200 than tiles that do not.
    """
    if dtype == torch.float32:
        return FLOAT32_KEY_VALUE.get(width, Blocks(32, 32, 4, 1))
    if torch.version.hip:
        return Blocks(32, 64, 4, 1) if width <= 64 else Blocks(16, 32, 4, 1)
    if dropout and width <= 128:
        return Blocks(32, 64, 4, 2) if width <= 64 else Blocks(16, 64, 4, 3)
    if width <= 64:
        return Blocks(32, 64, 4, 3) if hopper() else Blocks(64, 128, 8, 2)
    if width == 128:
        return Blocks(64, 64, 4, 2) if hopper() else Blocks(64, 64, 8, 2)
    return Blocks(64, 32, 8, 1) if hopper() else Blocks(32, 64, 8, 1)


def query_configuration(width: int, dtype: torch.dtype, dropout: bool = False) -> Blocks:
    """Tile sizes of the ∂Q kernel, which holds one accumulator (query block, width)."""
    if dtype == torch.float32:
        return FLOAT32_QUERY.get(width, Blocks(32, 32, 4, 1))
    if torch.version.hip:
        return Blocks(64, 32, 4, 1) if width <= 64 else Blocks(32, 16, 4, 1)
    if dropout and width <= 128:
        return Blocks(64, 32, 4, 3) if width <= 64 else Blocks(64, 32, 4, 2)
    if width <= 64:
        return Blocks(64, 64, 4, 3) if hopper() else Blocks(128, 64, 8, 2)
    if width == 128:
        return Blocks(64, 64, 4, 2) if hopper() else Blocks(64, 64, 8, 2)
    return Blocks(64, 32, 8, 2)


# Worth measuring on a GPU, by padded width.
KEY_VALUE_CANDIDATES = {
    64: [Blocks(32, 64, 4, 2), Blocks(32, 128, 8, 3, 128), Blocks(64, 64, 4, 3)],
    128: [Blocks(32, 64, 4, 3), Blocks(32, 64, 4, 2), Blocks(64, 128, 8, 2)],
}
QUERY_CANDIDATES = {
    64: [
        Blocks(64, 64, 4, 2),
        Blocks(64, 64, 4, 2, 128),
        Blocks(128, 64, 8, 3, 128),
        Blocks(64, 32, 4, 3),
    ],
    128: [Blocks(64, 32, 4, 2), Blocks(128, 32, 8, 3, 128), Blocks(128, 64, 8, 3)],
}


def backward(
    out_gradient: Tensor,
    lse_gradient: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    log_sum_exp: Tensor,
    terms: Terms,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Launch: ∂Q, ∂K, ∂V and the two numbers of each row (for the gradient of a bias)."""
    batch, heads, query_time, width = query.shape
    key_heads, key_time = key.shape[1:3]
    dq, dk, dv = empty_like_heads(query), empty_like_heads(key), empty_like_heads(value)
    bits, delta = torch.empty_like(log_sum_exp), torch.empty_like(log_sum_exp)
    sizes = (heads, heads // key_heads, query_time, key_time)
    constants = {
        "WIDTH": width,
        "PADDED": padded(width),
        "PRECISION": launch.dot_precision(query.dtype),
    }
    with launch.on_device(query):
        if batch * heads * query_time:
            row_sums_kernel[(triton.cdiv(query_time, 64) * batch * heads,)](
                out, out_gradient, log_sum_exp, lse_gradient, bits, delta,
                strides(out), strides(out_gradient), heads, query_time,
                WIDTH=width, PADDED=padded(width), BLOCK=64, num_warps=4,
            )  # fmt: skip
            blocks = query_configuration(padded(width), query.dtype, terms.seed is not None)
            query_kernel[(triton.cdiv(query_time, blocks.query) * batch * heads,)](
                query, key, value, out_gradient, dq, bits, delta,
                strides(query), strides(key), strides(value), strides(out_gradient), strides(dq),
                terms, scale, *sizes, BLOCK_QUERY=blocks.query, BLOCK_KEY=blocks.key, **constants,
                **blocks.options(),
            )  # fmt: skip
        if batch * key_heads * key_time:
            blocks = key_value_configuration(padded(width), query.dtype, terms.seed is not None)
            key_value_kernel[(triton.cdiv(key_time, blocks.key) * batch * key_heads,)](
                query, key, value, out_gradient, dk, dv, bits, delta,
                strides(query), strides(key), strides(value), strides(out_gradient),
                strides(dk), strides(dv), terms, scale, *sizes,
                BLOCK_QUERY=blocks.query, BLOCK_KEY=blocks.key, **constants,
                **blocks.options(),
            )  # fmt: skip
    return dq, dk, dv, bits, delta
