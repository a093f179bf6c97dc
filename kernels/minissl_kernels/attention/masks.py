"""Which keys a query sees, and what is added to its scores: one set of functions for every kernel.

Rows are queries, columns are keys. Both are index tensors that broadcast against each other, such
as (block, 1) and (1, block), so that a kernel which computes the transposed tile hands them over
the other way round and nothing here changes.

Query i stands at the aligned position i + shift, shift = key_time − query_time: the last query is
level with the last key. It sees the keys from ``left`` before to ``right`` after that position;
``None`` means no limit. Causal attention is right = 0, a sliding window has both.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

# A bias below this hides its key as −inf does. Beside other keys its weight is 0 by itself;
# in a row of nothing else the scores would have lost their digits, and the log-sum-exp that the
# backward pass subtracts would be wrong by more than 1.
HIDDEN: tl.constexpr = tl.constexpr(-1e6)


class Terms(NamedTuple):
    """What a kernel is told beside query, key and value. An option that is None costs nothing:
    ``None`` is a constant to Triton, and the lines that ask for it are not compiled.

    No field is a tuple: where a stride in it is 1, hence a constant, triton 3.6 may lose it.
    """

    shift: int  # key_time − query_time
    left: int | None
    right: int | None
    key_lengths: Any  # (batch,) integers
    bias: Any  # (batch, heads, query_time, key_time); its strides are 0 where it was broadcast
    bias_batch_stride: int | None
    bias_head_stride: int | None
    bias_row_stride: int | None
    bias_column_stride: int | None
    slopes: Any  # (heads,) float32, of ALiBi
    seed: Any  # (1,) int64, of dropout
    threshold: int | None  # a weight is kept where its random 32 bits are at least this
    keep_scale: float | None  # 1 / (1 − dropout)


@triton.jit
def key_limit(terms, batch, key_time):
    """The first key of this example that nobody sees."""
    limit = key_time
    if terms.key_lengths is not None:
        limit = tl.load(terms.key_lengths + batch).to(tl.int32)
    return limit


@triton.jit
def of_head(terms, batch, head):
    """Where the bias of one example and head begins, and the head's ALiBi slope."""
    bias_at = 0
    slope = 0.0
    if terms.bias is not None:
        bias_at = batch * terms.bias_batch_stride + head * terms.bias_head_stride
    if terms.slopes is not None:
        slope = tl.load(terms.slopes + head)
    return bias_at, slope


@triton.jit
def visible(row, column, limit, terms):
    """Whether the query of the row sees the key of the column."""
    seen = column < limit
    if terms.right is not None:
        seen = seen & (column <= row + (terms.shift + terms.right))
    if terms.left is not None:
        seen = seen & (column >= row + (terms.shift - terms.left))
    return seen


@triton.jit
def sees_no_key(row, limit, terms):
    """Whether the masks leave the query of the row no key."""
    first = 0
    last = limit - 1
    if terms.right is not None:
        last = tl.minimum(last, row + (terms.shift + terms.right))
    if terms.left is not None:
        first = tl.maximum(row + (terms.shift - terms.left), 0)
    return last < first


@triton.jit
def bias_hides_all(row, query_time, limit, bias_at, terms, ROWS: tl.constexpr, KEYS: tl.constexpr):
    """Whether the bias hides every key that the masks leave a query: (ROWS,). NaN hides none."""
    left = tl.zeros((ROWS,), tl.int32)
    for start in tl.range(0, limit, KEYS):
        column = start + tl.arange(0, KEYS)[None, :]
        seen = visible(row[:, None], column, limit, terms) & (row < query_time)[:, None]
        at = terms.bias + bias_at + row[:, None].to(tl.int64) * terms.bias_row_stride
        at += column.to(tl.int64) * terms.bias_column_stride
        bias = tl.load(at, mask=seen, other=0.0).to(tl.float32)
        left = tl.maximum(left, tl.max((seen & ~(bias < HIDDEN)).to(tl.int32), 1))
    return left == 0


@triton.jit
def finish_scores(
    products,
    row,
    column,
    query_time,
    limit,
    bias_at,
    slope,
    inverse_scale,
    terms,
    EDGE: tl.constexpr,
):
    """The tile query · key with bias and ALiBi added, −inf where the query does not see the key.

    Still to be multiplied by the scale, hence ``inverse_scale``: then the scale and the running
    maximum (or log-sum-exp) meet in one fused multiply-add, whatever was added. In a tile that is
    no EDGE every query sees every key.
    """
    if terms.bias is not None:
        at = terms.bias + bias_at + row.to(tl.int64) * terms.bias_row_stride
        at += column.to(tl.int64) * terms.bias_column_stride
        inside = (row < query_time) & (column < limit)  # in full tiles too, which may overhang
        products += tl.load(at, mask=inside, other=0.0).to(tl.float32) * inverse_scale
    if terms.slopes is not None:
        distance = tl.abs(row + terms.shift - column).to(tl.float32)
        products -= distance * (slope * inverse_scale)
    if EDGE:
        products = tl.where(visible(row, column, limit, terms), products, float("-inf"))
    return products


@triton.jit
def kept(first_row, first_column, plane, terms, ROWS: tl.constexpr, KEYS: tl.constexpr):
    """The dropout mask of a tile of weights, (ROWS, KEYS), drawn anew by every kernel.

    A function of the seed and the position alone: of no kernel's tiles. One call of Philox gives
    four numbers, for four neighbouring keys of a query. ``plane`` is batch · heads + head.
    """
    row = (first_row + tl.arange(0, ROWS))[:, None]
    four = (first_column // 4 + tl.arange(0, KEYS // 4))[None, :]
    a, b, c, d = tl.philox(
        tl.load(terms.seed), four.to(tl.uint32), row.to(tl.uint32), plane.to(tl.uint32), 0
    )
    bits = tl.interleave(tl.interleave(a, c), tl.interleave(b, d))  # a b c d, a b c d, ...
    return bits >= tl.cast(terms.threshold, tl.uint32)


@triton.jit
def key_span(first_row, end_row, limit, terms, BLOCK_KEY: tl.constexpr):
    """Which keys the queries first_row to end_row (not included) see: (first, full, full_end, end).

    They see none before ``first`` and none from ``end`` on; each of them sees all keys from
    ``full`` to ``full_end``, a whole number of tiles, which need no mask.
    """
    first = 0
    full = 0
    end = limit
    full_end = limit
    if terms.right is not None:
        end = tl.minimum(limit, end_row + terms.shift + terms.right)
        full_end = tl.minimum(limit, first_row + terms.shift + terms.right + 1)
    if terms.left is not None:
        first = first_row + terms.shift - terms.left
        full = end_row - 1 + terms.shift - terms.left
    return whole_tiles(first, full, full_end, end, BLOCK_KEY)


@triton.jit
def query_span(
    first_column, limit, query_time, terms, BLOCK_QUERY: tl.constexpr, BLOCK_KEY: tl.constexpr
):
    """Which queries see the tile of keys from first_column on, as ``key_span``.

    A tile that reaches beyond the last key needs masks everywhere.
    """
    end_column = tl.minimum(first_column + BLOCK_KEY, limit)
    query_time = tl.where(first_column < limit, query_time, 0)  # nobody sees a tile of padding
    first = 0
    full = 0
    end = query_time
    full_end = query_time
    if terms.right is not None:
        first = first_column - terms.shift - terms.right
        full = end_column - 1 - terms.shift - terms.right
    if terms.left is not None:
        end = tl.minimum(query_time, end_column - terms.shift + terms.left)
        full_end = tl.minimum(query_time, first_column - terms.shift + terms.left + 1)
    full_end = tl.where(first_column + BLOCK_KEY <= limit, full_end, 0)
    return whole_tiles(first, full, full_end, end, BLOCK_QUERY)


@triton.jit
def whole_tiles(first, full, full_end, end, BLOCK: tl.constexpr):
    """The span with its tiles at multiples of BLOCK, and full tiles only where there are any."""
    first = tl.maximum(first, 0) // BLOCK * BLOCK
    full = tl.cdiv(tl.maximum(full, 0), BLOCK) * BLOCK
    full = tl.maximum(tl.minimum(full, end), first)
    full_end = tl.maximum(full_end, 0) // BLOCK * BLOCK
    return first, full, tl.maximum(full_end, full), end


@triton.jit
def edge_tile(step, span):
    """Where the edge tile begins that stands ``step`` positions after the first: before the full
    tiles, or, once those are reached, behind them. One loop for both edges."""
    _, full, full_end, _ = span
    return step + tl.where(step < full, 0, full_end - full)
