"""The tile loops in Triton: log-sum-exp of similarities that exist one tile at a time.

Both kernels hold a block of rows and walk over all columns. The forward kernel keeps per row, as an
online softmax does, the largest logit so far, m, and sums relative to it:

    total = Σⱼ 2^(lᵢⱼ − m),   positive = Σ_{j positive} (lᵢⱼ − m),   loss = log₂ total − positive,

in logits l = s log₂e / τ, because GPUs have exp2, and for the temperature's gradient the moment
Σⱼ 2^(lᵢⱼ − m) (lᵢⱼ − m). When m rises, each is moved to the new m: no result is the difference of
two large numbers.

The gradient kernel computes the tiles again. The gradient of a similarity is a probability minus
the share of a positive, from softmaxes over rows, over columns, or both (when row i and column i
are the same embedding, or when the loss looks both ways, as CLIP's): one kernel for all of them.

Which entries are positive, and which are left out, is decided from indices in the tile.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from minissl_kernels import launch

LOWEST = tl.constexpr(-1e38)  # the first maximum: finite, because −inf − −inf is NaN


class Configuration(NamedTuple):
    """How a kernel is cut: rows and columns of a tile, width per step, width of a gradient's slice.

    ``chunk`` at least the width: a tile's embeddings are loaded whole, the rows' stay in place, and
    a gradient has one slice.
    """

    rows: int
    columns: int
    chunk: int
    slice: int
    num_warps: int
    num_stages: int


def forward_configuration(dtype: torch.dtype, width: int) -> Configuration:
    """Tiles of the forward kernel.

    128 x 128: each key that is read serves 128 queries, so the cache keeps up with the matrix
    units. At width 256 in half precision the queries take 64 KB of shared memory and two tiles of
    keys 64 KB each, one of which arrives while the other is used. Elsewhere there is less room.
    """
    padded, gpu = max(16, triton.next_power_of_2(width)), launch.architecture()
    if dtype == torch.float32:
        return Configuration(64, 64, min(padded, 64 if gpu == "hopper" else 32), padded, 4, 2)
    if padded > 256:
        return Configuration(128, 64 if gpu == "amd" else 128, 64, 256, 8, 3)
    if gpu == "hopper":
        return Configuration(128, 128, padded, padded, 8, 3 if padded <= 128 else 2)
    return Configuration(128, 64, padded, padded, 8, 1 if gpu == "amd" else 2)


def gradient_configuration(dtype: torch.dtype, width: int) -> Configuration:
    """Tiles of the gradient kernel.

    128 rows x 256 of the width are the sums that fill half of the registers of 8 warps; 64 columns
    leave enough for the rest. A wider gradient is made in slices of 256, and each slice forms the
    similarities again.
    """
    padded, gpu = max(16, triton.next_power_of_2(width)), launch.architecture()
    if dtype == torch.float32 and gpu == "ampere":
        return Configuration(64, 32, min(padded, 32), min(padded, 128), 8, 2)
    if dtype == torch.float32:
        return Configuration(64, 32, min(padded, 64), min(padded, 128), 4, 2)
    columns = 32 if gpu == "ampere" and padded > 128 else 64
    chunk = 64 if gpu == "amd" or padded > 256 else padded
    stages = 2 if chunk == 256 else 3
    return Configuration(128, columns, min(chunk, padded), min(padded, 256), 8, stages)


# Alternatives worth measuring on Hopper, in half precision.
FORWARD_CANDIDATES = (
    Configuration(128, 64, 256, 256, 8, 3),  # a deeper pipeline of smaller tiles
    Configuration(128, 64, 256, 256, 8, 1),  # two programs at a time instead of a pipeline
    Configuration(64, 64, 256, 256, 4, 2),  # two small programs, of which one multiplies
    Configuration(128, 128, 128, 256, 8, 2),  # wide, in larger chunks
)
GRADIENT_CANDIDATES = (
    Configuration(128, 64, 256, 256, 8, 3),
    Configuration(128, 32, 256, 256, 8, 3),
    Configuration(64, 64, 256, 256, 4, 2),
    Configuration(64, 64, 64, 512, 8, 2),  # wide: each similarity for fewer slices
)


@triton.jit
def load_tile(
    base, row, rows, first,
    STRIDE: tl.constexpr, WIDTH: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Embeddings of some rows after ``base``, CHUNK of the width from ``first``; else zeros."""
    column = first + tl.arange(0, CHUNK)
    mask = (row < rows)[:, None]
    if WIDTH % CHUNK != 0:
        mask = mask & (column < WIDTH)[None, :]
    return tl.load(base + row[:, None] * STRIDE + column[None, :], mask=mask, other=0.0)


@triton.jit
def similarities(
    x, x_row, y, columns, width,
    X_STRIDE: tl.constexpr, Y_STRIDE: tl.constexpr, WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr, CHUNK: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Inner products of rows of x with the next COLUMNS rows of y, in chunks of the width.

    ``width`` equals WIDTH; of a loop whose length the compiler knows, it would unroll too much.
    """
    column = tl.arange(0, COLUMNS)
    products = tl.zeros((x_row.shape[0], COLUMNS), tl.float32)
    for first in tl.range(0, width, CHUNK, num_stages=STAGES):
        x_tile = load_tile(x, x_row, x_row.shape[0], first, X_STRIDE, WIDTH, CHUNK)
        y_tile = load_tile(y, column, columns, first, Y_STRIDE, WIDTH, CHUNK)
        products = tl.dot(x_tile, tl.trans(y_tile), products, input_precision=PRECISION)
    return products


@triton.jit
def forward_kernel(
    query, key, labels, temperature, partial,
    rows, columns, width, columns_per_split,
    WIDTH: tl.constexpr, QUERY_STRIDE: tl.constexpr, KEY_STRIDE: tl.constexpr,
    BY_LABEL: tl.constexpr, EXCLUDE_SELF: tl.constexpr, MOMENT: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHUNK: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """One block of queries and one part of the keys; writes ``partial`` (5, splits, rows)."""
    row_start = tl.program_id(0) * ROWS
    split = tl.program_id(1)
    x_row = tl.minimum(tl.arange(0, ROWS), rows - 1 - row_start)  # past the end: the last, again
    row = row_start + x_row
    label = tl.load(labels + row)
    if BY_LABEL:
        lowest, highest = 0, columns  # a positive may be anywhere
    else:
        lowest, highest = tl.min(label, 0), tl.max(label, 0)
    query += tl.cast(row_start, tl.int64) * QUERY_STRIDE
    if WIDTH <= CHUNK:
        x_tile = load_tile(query, x_row, ROWS, 0, QUERY_STRIDE, WIDTH, CHUNK)
    scale = 1.4426950408889634 / tl.load(temperature)

    column = tl.arange(0, COLUMNS)  # counted from the tile's start: cheaper than from 0
    maximum = tl.zeros((ROWS,), tl.float32) + LOWEST
    total = tl.zeros((ROWS,), tl.float32)
    moment = tl.zeros((ROWS,), tl.float32)
    positive = tl.zeros((ROWS,), tl.float32)
    count = tl.zeros((ROWS,), tl.float32)
    begin = split * columns_per_split
    stop = tl.minimum(begin + columns_per_split, columns)
    for start in tl.range(begin, stop, COLUMNS, num_stages=STAGES):
        y = key + tl.cast(start, tl.int64) * KEY_STRIDE
        if WIDTH <= CHUNK:
            y_tile = load_tile(y, column, columns - start, 0, KEY_STRIDE, WIDTH, CHUNK)
            s = tl.dot(x_tile, tl.trans(y_tile), input_precision=PRECISION)
        else:
            s = similarities(
                query, x_row, y, columns - start, width,
                QUERY_STRIDE, KEY_STRIDE, WIDTH, COLUMNS, CHUNK, PRECISION, STAGES,
            )  # fmt: skip
        end, left = start + COLUMNS, columns - start
        special = (end > columns) | ((start <= highest) & (end > lowest))
        if EXCLUDE_SELF:
            special = special | ((start < row_start + ROWS) & (end > row_start))
        if special:
            valid = (column < left)[None, :]
            if EXCLUDE_SELF:
                valid = valid & ((row - start)[:, None] != column[None, :])
            # −∞ is what is left out, and no product that has overflowed: 0 · ∞ is NaN.
            s = tl.where(valid, s + s * 0.0, float("-inf"))
        new = tl.maximum(maximum, tl.max(s, 1) * scale)
        logits = s * scale - new[:, None]
        exponentials = tl.exp2(logits)
        shrink = tl.exp2(maximum - new)
        positive += count * (maximum - new)
        if MOMENT:
            moment = shrink * (moment + total * (maximum - new))
            moment += tl.sum(exponentials * tl.maximum(logits, LOWEST), 1)
        total = total * shrink + tl.sum(exponentials, 1)
        maximum = new
        if special:
            if BY_LABEL:
                column_label = tl.load(labels + start + column, mask=column < left, other=0)
                hit = label[:, None] == column_label[None, :]
            else:
                hit = (label - start)[:, None] == column[None, :]
            hit = hit & ~(logits < LOWEST)  # not what is left out; but NaN is in
            positive += tl.sum(tl.where(hit, logits, 0.0), 1)
            count += tl.sum(hit.to(tl.float32), 1)

    splits = tl.num_programs(1)
    at = partial + tl.cast(split, tl.int64) * rows + row
    pitch = tl.cast(splits, tl.int64) * rows
    mask = row_start + tl.arange(0, ROWS) < rows
    tl.store(at, maximum, mask=mask)
    tl.store(at + pitch, total, mask=mask)
    tl.store(at + 2 * pitch, positive, mask=mask)
    tl.store(at + 3 * pitch, count, mask=mask)
    if MOMENT:
        tl.store(at + 4 * pitch, moment, mask=mask)


@triton.jit
def combine_kernel(partial, losses, stats, rows, splits, MOMENT: tl.constexpr, ROWS: tl.constexpr):
    """The parts of the keys together, as in the forward kernel relative to the larger maximum.

    Writes ``losses`` (rows,) and ``stats`` (4, rows): maximum, total, share of each positive in
    the row's target distribution, and −τ ∂loss/∂τ.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    mask = row < rows
    maximum = tl.zeros((ROWS,), tl.float32) + LOWEST
    total = tl.zeros((ROWS,), tl.float32)
    moment = tl.zeros((ROWS,), tl.float32)
    positive = tl.zeros((ROWS,), tl.float32)
    count = tl.zeros((ROWS,), tl.float32)
    pitch = tl.cast(splits, tl.int64) * rows
    for split in range(splits):
        at = partial + tl.cast(split, tl.int64) * rows + row
        part_maximum = tl.load(at, mask=mask, other=0.0)
        part_total = tl.load(at + pitch, mask=mask, other=1.0)
        part_count = tl.load(at + 3 * pitch, mask=mask, other=0.0)
        new = tl.maximum(maximum, part_maximum)
        old_by, part_by = maximum - new, part_maximum - new
        positive += count * old_by + part_count * part_by
        positive += tl.load(at + 2 * pitch, mask=mask, other=0.0)
        if MOMENT:
            part_moment = tl.load(at + 4 * pitch, mask=mask, other=0.0)
            moment = tl.exp2(old_by) * (moment + total * old_by)
            moment += tl.exp2(part_by) * (part_moment + part_total * part_by)
        total = total * tl.exp2(old_by) + part_total * tl.exp2(part_by)
        count += part_count
        maximum = new
    some = count > 0  # else a row without positives: loss 0
    count = tl.where(some, count, 1.0)
    positive = positive / count
    total = tl.where(total == 0, 1.0, total)  # a row without candidates
    ln2 = 0.6931471805599453
    loss = (tl.log2(total) - positive) * ln2
    nothing = total * 0.0  # 0, or NaN if a similarity was
    tl.store(losses + row, tl.where(some, loss, nothing), mask=mask)
    tl.store(stats + row, maximum, mask=mask)
    tl.store(stats + rows + row, total, mask=mask)
    tl.store(stats + 2 * rows + row, tl.where(some, 1 / count, 0.0), mask=mask)
    if MOMENT:
        slope = (moment / total - positive) * ln2
        tl.store(stats + 3 * rows + row, tl.where(some, slope, 0.0), mask=mask)


@triton.jit
def gradient_kernel(
    x, y, out, labels, x_stats, y_stats, temperature, scale,
    rows, columns, width, columns_per_split,
    WIDTH: tl.constexpr, X_STRIDE: tl.constexpr, Y_STRIDE: tl.constexpr,
    BY_LABEL: tl.constexpr, EXCLUDE_SELF: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, CHUNK: tl.constexpr, SLICE: tl.constexpr,
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """A slice of the gradient of a block of x: Σⱼ ∂L/∂sᵢⱼ yⱼ over one part of y's rows.

    Where x's rows are queries, ``x_stats`` (3, rows) hold their maximum, their weight / total, and
    their weight times the share of each positive; where y's rows are, ``y_stats``; else None.
    (Not the log-sum-exp, whose rounding error would be one of all probabilities in the row.)
    """
    OVER_ROWS: tl.constexpr = x_stats is not None
    OVER_COLUMNS: tl.constexpr = y_stats is not None
    row_start = tl.program_id(0) * ROWS
    slice_start = tl.program_id(1) * SLICE
    split = tl.program_id(2)
    x_row = tl.minimum(tl.arange(0, ROWS), rows - 1 - row_start)  # past the end: the last, again
    row = row_start + x_row
    lowest, highest = columns, -1  # where this block's positives may be: nowhere
    if OVER_ROWS:
        maximum = tl.load(x_stats + row)
        weight = tl.load(x_stats + rows + row)
        positive = tl.load(x_stats + 2 * rows + row)
    if BY_LABEL:
        label = tl.load(labels + row)
        lowest, highest = 0, columns  # anywhere
    elif OVER_ROWS:
        label = tl.load(labels + row)
        lowest, highest = tl.min(label, 0), tl.max(label, 0)
    x += tl.cast(row_start, tl.int64) * X_STRIDE
    if WIDTH <= CHUNK:
        x_tile = load_tile(x, x_row, ROWS, 0, X_STRIDE, WIDTH, CHUNK)
    to_logits = 1.4426950408889634 / tl.load(temperature)

    column = tl.arange(0, COLUMNS)  # counted from the tile's start: cheaper than from 0
    gradient = tl.zeros((ROWS, SLICE), tl.float32)
    begin = split * columns_per_split
    stop = tl.minimum(begin + columns_per_split, columns)
    for start in tl.range(begin, stop, COLUMNS, num_stages=STAGES):
        y_start = y + tl.cast(start, tl.int64) * Y_STRIDE
        end, left = start + COLUMNS, columns - start
        if WIDTH <= CHUNK:
            y_tile = load_tile(y_start, column, left, 0, Y_STRIDE, WIDTH, CHUNK)
            s = tl.dot(x_tile, tl.trans(y_tile), input_precision=PRECISION)
        else:
            s = similarities(
                x, x_row, y_start, left, width,
                X_STRIDE, Y_STRIDE, WIDTH, COLUMNS, CHUNK, PRECISION, STAGES,
            )  # fmt: skip
            y_tile = load_tile(y_start, column, left, slice_start, Y_STRIDE, WIDTH, SLICE)
        special = (end > columns) | ((start <= highest) & (end > lowest))
        if EXCLUDE_SELF:
            special = special | ((start < row_start + ROWS) & (end > row_start))
        # Loads need no mask: a column past the end repeats the last one, and is left out below.
        y_at = tl.minimum(start + column, columns - 1)
        if OVER_COLUMNS and not BY_LABEL:
            y_target = tl.load(labels + y_at)
            near = (y_target >= row_start) & (y_target < row_start + ROWS)
            special = special | (tl.max(near.to(tl.int32), 0) > 0)
        if special:
            valid = (column < left)[None, :]
            if EXCLUDE_SELF:
                valid = valid & ((row - start)[:, None] != column[None, :])
            s = tl.where(valid, s, float("-inf"))
        logits = s * to_logits
        if OVER_ROWS:
            coefficient = tl.exp2(logits - maximum[:, None]) * weight[:, None]
        if OVER_COLUMNS:
            y_maximum = tl.load(y_stats + y_at)
            y_weight = tl.load(y_stats + columns + y_at)
            by_column = tl.exp2(logits - y_maximum[None, :]) * y_weight[None, :]
            coefficient = coefficient + by_column if OVER_ROWS else by_column
        if special:
            if BY_LABEL:
                y_label = tl.load(labels + start + column, mask=column < left, other=0)
                hit = label[:, None] == y_label[None, :]
                hit = hit & ((row - start)[:, None] != column[None, :])
            if OVER_ROWS:
                if not BY_LABEL:
                    hit = (label - start)[:, None] == column[None, :]
                coefficient -= tl.where(hit, positive[:, None], 0.0)
            if OVER_COLUMNS:
                y_positive = tl.load(
                    y_stats + 2 * columns + start + column, mask=column < left, other=0.0
                )
                if not BY_LABEL:
                    y_label = tl.load(labels + start + column, mask=column < left, other=-1)
                    hit = y_label[None, :] == row[:, None]
                coefficient -= tl.where(hit, y_positive[None, :], 0.0)
        gradient = tl.dot(coefficient.to(y_tile.dtype), y_tile, gradient, input_precision=PRECISION)

    gradient *= tl.load(scale) / tl.load(temperature)
    column = slice_start + tl.arange(0, SLICE)
    at = out + (tl.cast(split, tl.int64) * rows + row_start) * WIDTH
    out_row = tl.arange(0, ROWS)
    at += out_row[:, None] * WIDTH + column[None, :]
    mask = (row_start + out_row < rows)[:, None] & (column < WIDTH)[None, :]
    tl.store(at, gradient.to(out.dtype.element_ty), mask=mask)
