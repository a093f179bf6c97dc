"""The forward pass: one program owns a tile of queries and walks along the keys.

It holds, for each of its queries, the largest score so far, the sum of the exponentials and the
weighted sum of the values. A larger score in a later tile only rescales the two sums ("online
softmax", Milakov and Gimelshein, 2018), so no row of scores is ever complete anywhere. Scores are
in bits, that is times log2 e: the hardware's exponential is 2^x.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from minissl_kernels import launch
from minissl_kernels.attention.masks import (
    HIDDEN,
    Terms,
    bias_hides_all,
    edge_tile,
    finish_scores,
    kept,
    key_limit,
    key_span,
    of_head,
    sees_no_key,
)
from minissl_kernels.attention.tiles import (
    LN2,
    LOG2E,
    Blocks,
    empty_like_heads,
    hopper,
    load_rows,
    padded,
    store_rows,
    strides,
)

# Below every finite score, yet finite: (-inf) − LOWEST is −inf, whose exponential is 0, where
# (-inf) − (-inf) would be NaN. Rows that see no key need no other care.
LOWEST: tl.constexpr = tl.constexpr(-1e38)


@triton.jit
def online_softmax(scores, bits, maximum, total):
    """Take a tile of scores into each row's running maximum and sum of exponentials.

    scores: (rows, keys), to be multiplied by ``bits`` = scale · log2 e, so that e^(scale · s) is
    2^(bits · s). maximum: (rows,), the largest bits · s so far. total: (rows,), Σ 2^(bits · s −
    maximum) so far. Returns the tile's weights 2^(bits · s − new maximum), (rows, keys); the factor
    (rows,) that takes every sum made under the old maximum to the new one; the new maximum; and the
    new total.
    """
    new_maximum = tl.maximum(maximum, tl.max(scores, 1) * bits)
    weights = tl.exp2(scores * bits - new_maximum[:, None])
    rescale = tl.exp2(maximum - new_maximum)
    return weights, rescale, new_maximum, total * rescale + tl.sum(weights, 1)


@triton.jit
def attend(
    accumulator,
    maximum,
    total,
    query_tile,
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
    """Walk along the full tiles of keys, or along those at the EDGE of what the queries see."""
    row = first_row + tl.arange(0, BLOCK_QUERY)[:, None]
    bits = scale * LOG2E
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
        weights, rescale, maximum, total = online_softmax(scores, bits, maximum, total)
        if terms.seed is not None:  # after the sum: dropout does not touch the normalisation
            keep = kept(first_row, start, plane, terms, BLOCK_QUERY, BLOCK_KEY)
            weights = tl.where(keep, weights, 0.0)
        value_tile = load_rows(value, start, value_stride, limit, WIDTH, PADDED, BLOCK_KEY, EDGE)
        accumulator = tl.dot(
            weights.to(value_tile.dtype),
            value_tile,
            accumulator * rescale[:, None],
            input_precision=PRECISION,
        )
    return accumulator, maximum, total


@triton.jit
def forward_kernel(
    query,
    key,
    value,
    out,
    log_sum_exp,
    query_strides,
    key_strides,
    value_strides,
    out_strides,
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
    tiles = tl.cdiv(query_time, BLOCK_QUERY)
    # Programs that run together share a head's keys in the cache. The last tile comes first: in
    # causal attention it has the most keys, and work that starts late should be short.
    plane = tl.program_id(0) // tiles
    first_row = (tiles - 1 - tl.program_id(0) % tiles) * BLOCK_QUERY
    batch, head = (plane // heads).to(tl.int64), (plane % heads).to(tl.int64)
    query += batch * query_strides[0] + head * query_strides[1]
    key += batch * key_strides[0] + head // group * key_strides[1]
    value += batch * value_strides[0] + head // group * value_strides[1]
    out += batch * out_strides[0] + head * out_strides[1]

    limit = key_limit(terms, batch, key_time)
    bias_at, slope = of_head(terms, batch, head)
    end_row = tl.minimum(first_row + BLOCK_QUERY, query_time)
    span = key_span(first_row, end_row, limit, terms, BLOCK_KEY)

    query_tile = load_rows(
        query, first_row, query_strides[2], query_time, WIDTH, PADDED, BLOCK_QUERY, True
    )
    accumulator = tl.zeros((BLOCK_QUERY, PADDED), tl.float32)
    maximum = tl.full((BLOCK_QUERY,), LOWEST, tl.float32)
    total = tl.zeros((BLOCK_QUERY,), tl.float32)
    for EDGE in tl.static_range(2):
        accumulator, maximum, total = attend(
            accumulator, maximum, total, query_tile, key, value, key_strides[2], value_strides[2],
            span, first_row, query_time, limit, bias_at, slope, plane, terms, scale,
            WIDTH, PADDED, BLOCK_QUERY, BLOCK_KEY, PRECISION, EDGE,
        )  # fmt: skip

    # A query that sees no key has sums of 0, and so is its output. Any other sum is at least 1,
    # unless every product has overflowed to −∞.
    row = first_row + tl.arange(0, BLOCK_QUERY)
    empty = (total == 0) & sees_no_key(row, limit, terms)
    if terms.bias is not None:
        if tl.min(maximum, 0) < HIDDEN:  # seldom: then look whether it was the bias
            empty = bias_hides_all(row, query_time, limit, bias_at, terms, BLOCK_QUERY, BLOCK_KEY)
        accumulator = tl.where(empty[:, None], 0.0, accumulator)
    total = tl.where(empty, 1.0, tl.where(total == 0, float("nan"), total))
    accumulator /= total[:, None]
    if terms.seed is not None:
        accumulator *= terms.keep_scale
    store_rows(out, accumulator, first_row, out_strides[2], query_time, WIDTH, PADDED, BLOCK_QUERY)
    lse = tl.where(empty, float("-inf"), (maximum + tl.log2(total)) * LN2)
    tl.store(log_sum_exp + plane.to(tl.int64) * query_time + row, lse, mask=row < query_time)


def configuration(width: int, dtype: torch.dtype, query_time: int, terms: Terms) -> Blocks:
    """Tile sizes by the padded width: the accumulator of a tile lives in registers.

    A program's products and exponentials wait for one another, so the multiprocessor must have
    other programs: on Hopper two to four of 64 queries, measured against one or two of 128. Where
    some programs are shorter (causal), a fourth helps at width 64. Dropout draws its random numbers
    in registers: fewer keys at once.
    """
    dropout, ragged = terms.seed is not None, terms.right is not None or terms.left is not None
    if dtype == torch.float32:
        blocks = {128: Blocks(32, 32, 4, 1), 256: Blocks(16, 16, 4, 1)}.get(
            width, Blocks(64, 32, 4, 1)
        )
    elif torch.version.hip:  # 64 KB of shared memory
        blocks = Blocks(128, 64, 4, 1) if width <= 64 else Blocks(64, 32, 4, 1)
    elif width <= 128 and dropout:
        blocks = Blocks(64, 32, 4, 3)
    elif width <= 128 and hopper():
        alone = terms.bias is None and terms.slopes is None
        blocks = Blocks(64, 64, 4, 3, 128 if width <= 64 and ragged and alone else None)
    elif width <= 128:
        blocks = Blocks(128, 64, 8, 3)
    else:
        blocks = Blocks(64, 64, 8, 2)
    rows = max(16, triton.next_power_of_2(query_time))  # decoding has one query
    fits = rows >= blocks.query
    return blocks if fits else blocks._replace(query=rows, warps=4, most_registers=None)


# Worth measuring on a GPU, by padded width.
CANDIDATES = {
    64: [Blocks(128, 64, 8, 3), Blocks(64, 64, 4, 3), Blocks(64, 64, 4, 4, 128)],
    128: [Blocks(64, 32, 4, 3), Blocks(64, 64, 4, 4), Blocks(128, 64, 8, 3)],
}


def forward(
    query: Tensor, key: Tensor, value: Tensor, terms: Terms, scale: float
) -> tuple[Tensor, Tensor]:
    """Launch: the output, of the query's shape and dtype, and the log-sum-exp."""
    batch, heads, query_time, width = query.shape
    out = empty_like_heads(query)
    log_sum_exp = torch.empty((batch, heads, query_time), dtype=torch.float32, device=query.device)
    blocks = configuration(padded(width), query.dtype, query_time, terms)
    programs = triton.cdiv(query_time, blocks.query) * batch * heads
    if programs:
        with launch.on_device(query):
            forward_kernel[(programs,)](
                query, key, value, out, log_sum_exp,
                strides(query), strides(key), strides(value), strides(out),
                terms, scale, heads, heads // key.shape[1], query_time, key.shape[2],
                WIDTH=width, PADDED=padded(width), BLOCK_QUERY=blocks.query, BLOCK_KEY=blocks.key,
                PRECISION=launch.dot_precision(query.dtype),
                **blocks.options(),
            )  # fmt: skip
    return out, log_sum_exp
