"""The gradient of the bias: ∂S summed over everything the bias was broadcast along.

One program owns one tile of the gradient and adds up the tiles of ∂S that fall on it: those of all
examples for a relative position bias (1, heads, query_time, key_time), those of all heads and
queries for a bias per key (batch, 1, 1, key_time). Always in the same order, hence the same bits.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from minissl_kernels import launch
from minissl_kernels.attention.masks import Terms, finish_scores, kept, key_limit, key_span, of_head
from minissl_kernels.attention.row_sums import load_statistics, score_gradient
from minissl_kernels.attention.tiles import Blocks, load_rows, padded, strides


@triton.jit
def bias_kernel(
    query,
    key,
    value,
    out_gradient,
    bias_gradient,
    bits,
    delta,
    query_strides,
    key_strides,
    value_strides,
    gradient_strides,
    terms,
    scale,
    batches,
    heads,
    group,
    query_time,
    key_time,
    batches_added,
    heads_added,
    ALL_ROWS: tl.constexpr,
    ALL_COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK_QUERY: tl.constexpr,
    BLOCK_KEY: tl.constexpr,
    PRECISION: tl.constexpr,
):
    row_tiles = tl.cdiv(query_time, BLOCK_QUERY)
    column_tiles = tl.cdiv(key_time, BLOCK_KEY)
    rows_added = row_tiles if ALL_ROWS else 1
    columns_added = column_tiles if ALL_COLUMNS else 1

    owned_columns = 1 if ALL_COLUMNS else column_tiles
    owned_rows = 1 if ALL_ROWS else row_tiles
    column_tile = tl.program_id(0) % owned_columns
    row_tile = tl.program_id(0) // owned_columns % owned_rows
    plane = tl.program_id(0) // (owned_columns * owned_rows)
    first_batch = plane // (heads // heads_added) * batches_added
    first_head = plane % (heads // heads_added) * heads_added

    count = batches_added * heads_added * rows_added * columns_added
    if not ALL_ROWS and not ALL_COLUMNS:
        first_row = row_tile * BLOCK_QUERY
        end_row = tl.minimum(first_row + BLOCK_QUERY, query_time)
        first, _full, _full_end, end = key_span(first_row, end_row, key_time, terms, BLOCK_KEY)
        seen = (column_tile * BLOCK_KEY < end) & ((column_tile + 1) * BLOCK_KEY > first)
        count = tl.where(seen, count, 0)

    total = tl.zeros((BLOCK_QUERY, BLOCK_KEY), tl.float32)
    for step in tl.range(0, count):
        first_column = (column_tile + step % columns_added) * BLOCK_KEY
        first_row = (row_tile + step // columns_added % rows_added) * BLOCK_QUERY
        rest = step // (columns_added * rows_added)
        head = tl.cast(first_head + rest % heads_added, tl.int64)
        batch = tl.cast(first_batch + rest // heads_added, tl.int64)
        column = first_column + tl.arange(0, BLOCK_KEY)[None, :]
        row = first_row + tl.arange(0, BLOCK_QUERY)[:, None]
        limit = key_limit(terms, batch, key_time)
        bias_at, slope = of_head(terms, batch, head)

        query_tile = load_rows(
            query + batch * query_strides[0] + head * query_strides[1],
            first_row, query_strides[2], query_time, WIDTH, PADDED, BLOCK_QUERY, True,
        )  # fmt: skip
        key_tile = load_rows(
            key + batch * key_strides[0] + head // group * key_strides[1],
            first_column, key_strides[2], limit, WIDTH, PADDED, BLOCK_KEY, True,
        )  # fmt: skip
        scores = tl.dot(query_tile, tl.trans(key_tile), input_precision=PRECISION)
        scores = finish_scores(
            scores, row, column, query_time, limit, bias_at, slope, 1 / scale, terms, True
        )
        value_tile = load_rows(
            value + batch * value_strides[0] + head // group * value_strides[1],
            first_column, value_strides[2], limit, WIDTH, PADDED, BLOCK_KEY, True,
        )  # fmt: skip
        out_tile = load_rows(
            out_gradient + batch * gradient_strides[0] + head * gradient_strides[1],
            first_row, gradient_strides[2], query_time, WIDTH, PADDED, BLOCK_QUERY, True,
        )  # fmt: skip
        weight_gradient = tl.dot(out_tile, tl.trans(value_tile), input_precision=PRECISION)
        plane_of_step = batch * heads + head
        at = plane_of_step * query_time
        lse, d = load_statistics(bits + at, delta + at, row, query_time, True)
        keep = None
        if terms.seed is not None:
            in_32_bits = plane_of_step.to(tl.int32)
            keep = kept(first_row, first_column, in_32_bits, terms, BLOCK_QUERY, BLOCK_KEY)
        _weights, gradient = score_gradient(scores, weight_gradient, lse, d, keep, terms, scale)
        total += gradient

    row = row_tile * BLOCK_QUERY + tl.arange(0, BLOCK_QUERY)
    column = column_tile * BLOCK_KEY + tl.arange(0, BLOCK_KEY)
    dtype = bias_gradient.dtype.element_ty
    plane = tl.cast(plane, tl.int64)
    if ALL_ROWS and ALL_COLUMNS:
        tl.store(bias_gradient + plane, tl.sum(tl.sum(total, 1), 0).to(dtype))
    elif ALL_ROWS:
        at = plane * key_time + column
        tl.store(bias_gradient + at, tl.sum(total, 0).to(dtype), mask=column < key_time)
    elif ALL_COLUMNS:
        at = plane * query_time + row
        tl.store(bias_gradient + at, tl.sum(total, 1).to(dtype), mask=row < query_time)
    else:
        at = (plane * query_time + row[:, None]) * key_time + column[None, :]
        inside = (row[:, None] < query_time) & (column[None, :] < key_time)
        tl.store(bias_gradient + at, total.to(dtype), mask=inside)


def configuration(width: int, dtype: torch.dtype) -> Blocks:
    """Tile sizes by the padded width."""
    if dtype == torch.float32:
        return Blocks(64, 32, 4, 1)
    return Blocks(64, 64, 8, 1) if width <= 128 else Blocks(64, 32, 8, 1)


def bias_backward(
    out_gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bits: Tensor,
    delta: Tensor,
    bias: Tensor,
    terms: Terms,
    scale: float,
) -> Tensor:
    """Launch: the gradient of a bias of the shape that was given, from D and log-sum-exp."""
    batch, heads, query_time, width = query.shape
    key_heads, key_time = key.shape[1:3]
    gradient = torch.empty(bias.shape, dtype=bias.dtype, device=bias.device)
    shape = (1,) * (4 - bias.dim()) + tuple(bias.shape)
    if not batch * heads * query_time * key_time:
        return gradient.zero_()
    blocks = configuration(padded(width), query.dtype)
    all_rows, all_columns = shape[2] < query_time, shape[3] < key_time
    programs = shape[0] * shape[1]
    programs *= 1 if all_rows else triton.cdiv(query_time, blocks.query)
    programs *= 1 if all_columns else triton.cdiv(key_time, blocks.key)
    with launch.on_device(query):
        bias_kernel[(programs,)](
            query, key, value, out_gradient, gradient, bits, delta,
            strides(query), strides(key), strides(value), strides(out_gradient), terms, scale,
            batch, heads, heads // key_heads, query_time, key_time,
            batch // shape[0], heads // shape[1], ALL_ROWS=all_rows, ALL_COLUMNS=all_columns,
            WIDTH=width, PADDED=padded(width), BLOCK_QUERY=blocks.query, BLOCK_KEY=blocks.key,
            PRECISION=launch.dot_precision(query.dtype),
            **blocks.options(),
        )  # fmt: skip
    return gradient
