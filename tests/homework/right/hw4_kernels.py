"""The kernels of homework 4, written in other styles."""

import triton
import triton.language as tl


@triton.jit
def one_by_one(
    x, weight, bias, y, statistics, rows, x_stride, eps,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A loop over the program's rows; nothing beside the row is loaded, and 0 comes later."""
    column = tl.arange(0, BLOCK)
    there = column < WIDTH
    w = tl.load(weight + column, mask=there)
    for i in range(ROWS):
        row = tl.program_id(0) * ROWS + i
        if row < rows:
            value = tl.load(x + row * x_stride + column, mask=there)
            value = tl.where(there, value.to(tl.float32), 0.0)
            average = tl.sum(value) / WIDTH
            squares = tl.where(there, (value - average) * (value - average), 0.0)
            r = tl.rsqrt(tl.sum(squares) / WIDTH + eps)
            result = (value - average) * (r * w)
            if bias is not None:
                result = result + tl.load(bias + column, mask=there)
            tl.store(y + row * WIDTH + column, result, mask=there)
            tl.store(statistics + row, average)
            tl.store(statistics + rows + row, r)


@triton.jit
def twice_loaded(
    x, weight, bias, y, statistics, rows, x_stride, eps,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The mean from one load, the deviations from another whose padding is the mean."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, BLOCK)[None, :]
    mask = (row < rows) & (column < WIDTH)
    at = x + row * x_stride + column
    mean = tl.sum(tl.load(at, mask, 0).to(tl.float32), 1, keep_dims=True) / WIDTH
    off = tl.load(at, mask).to(tl.float32) - mean
    off = tl.where(mask, off, 0)
    variance = tl.sum(off * off, 1, keep_dims=True) * (1 / WIDTH)
    r = 1 / tl.sqrt(variance + eps)
    result = off * r * tl.load(weight + column, column < WIDTH, 1)
    if bias is not None:
        result += tl.load(bias + column, column < WIDTH, 0)
    tl.store(y + row * WIDTH + column, result, mask)
    tl.store(statistics + row, mean, row < rows)
    tl.store(statistics + rows + row, r, row < rows)


@triton.jit
def by_tiles(scores, bits, maximum, total):
    """The tile alone first, then both are brought to the larger maximum."""
    scores = scores * bits
    own = tl.max(scores, axis=1)
    larger = tl.where(own > maximum, own, maximum)
    weights = tl.exp2(scores - larger[:, None])
    rescale = tl.exp2(maximum - larger)
    total *= rescale
    total += tl.sum(weights, axis=1)
    return weights, rescale, larger, total


@triton.jit
def by_e(scores, bits, maximum, total):
    """Powers of e, of differences times ln 2."""
    new = tl.maximum(maximum, tl.max(scores * bits, 1))
    rescale = tl.exp((maximum - new) * 0.6931471805599453)
    weights = tl.exp((scores * bits - tl.expand_dims(new, 1)) * 0.6931471805599453)
    return weights, rescale, new, tl.fma(total, rescale, tl.sum(weights, 1))


RIGHT = {
    "4.6 row by row": one_by_one,
    "4.6 loaded twice": twice_loaded,
    "4.7 by tiles": by_tiles,
    "4.7 powers of e": by_e,
}
