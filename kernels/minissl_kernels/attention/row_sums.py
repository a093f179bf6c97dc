"""What the backward kernels share: two numbers of each row, and ∂S of a tile from them."""

import triton
import triton.language as tl

from minissl_kernels.attention.tiles import LOG2E, load_rows


@triton.jit
def row_sums_kernel(
    out,
    out_gradient,
    log_sum_exp,
    lse_gradient,
    bits,
    delta,
    out_strides,
    gradient_strides,
    heads,
    query_time,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """What both kernels need of each row: its log-sum-exp in bits, and D.

    A query that sees no key gets +inf for −inf, so that its weights come out as 0, not NaN.
    """
    tiles = tl.cdiv(query_time, BLOCK)
    plane = tl.program_id(0) // tiles
    first = (tl.program_id(0) % tiles) * BLOCK
    batch, head = (plane // heads).to(tl.int64), (plane % heads).to(tl.int64)
    out += batch * out_strides[0] + head * out_strides[1]
    out_gradient += batch * gradient_strides[0] + head * gradient_strides[1]
    row = first + tl.arange(0, BLOCK)
    at = plane.to(tl.int64) * query_time + row
    inside = row < query_time

    o = load_rows(out, first, out_strides[2], query_time, WIDTH, PADDED, BLOCK, True)
    do = load_rows(out_gradient, first, gradient_strides[2], query_time, WIDTH, PADDED, BLOCK, True)
    d = tl.sum(o.to(tl.float32) * do.to(tl.float32), 1)
    if lse_gradient is not None:
        d -= tl.load(lse_gradient + at, mask=inside, other=0.0)
    lse = tl.load(log_sum_exp + at, mask=inside, other=0.0)
    empty = lse == float("-inf")
    tl.store(bits + at, tl.where(empty, float("inf"), lse * LOG2E), mask=inside)
    tl.store(delta + at, tl.where(empty, 0.0, d), mask=inside)


@triton.jit
def load_statistics(bits, delta, row, query_time, EDGE: tl.constexpr):
    """The two numbers of each row; beyond the last row such that all its weights are 0."""
    if EDGE:
        inside = row < query_time
        lse = tl.load(bits + row, mask=inside, other=float("inf"))
        d = tl.load(delta + row, mask=inside, other=0.0)
    else:
        lse = tl.load(bits + row)
        d = tl.load(delta + row)
    return lse, d


@triton.jit
def score_gradient(scores, weight_gradient, lse, delta, keep, terms, scale):
    """A tile's weights, after dropout, and the gradient of its scores. Any orientation.

    ``keep``: which weights dropout keeps, or None where there is no dropout.
    """
    weights = tl.exp2(scores * (scale * LOG2E) - lse)
    if keep is not None:
        weight_gradient = tl.where(keep, weight_gradient * terms.keep_scale, 0.0)
        gradient = weights * (weight_gradient - delta)
        weights = tl.where(keep, weights, 0.0)
    else:
        gradient = weights * (weight_gradient - delta)
    return weights, gradient
