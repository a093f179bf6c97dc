"""What both kinds of target share: how a row is cut, and a soft maximum that meets it in pieces."""

import triton
import triton.language as tl
from torch import Tensor

LOG2E = tl.constexpr(1.4426950408889634)
# The running maximum starts here, not at -inf, so that -inf - -inf (NaN) cannot appear.
LOWEST = tl.constexpr(-3.4028234663852886e38)

# (repeat, warps) worth timing on a GPU in configuration(); the first is shipped.
CANDIDATES = ((4, 4), (4, 8), (8, 4), (2, 8))


def configuration(classes: int, itemsize: int, aligned: bool = True) -> dict[str, int]:
    """How a program reads a row: tiles of ``REPEAT`` x ``LANES`` x ``VECTOR`` logits.

    A lane is a thread: it reads 16 bytes at once (``VECTOR`` logits), ``REPEAT`` times before it
    waits. With 4 repeats, 4 warps and about 50 registers, ten programs share a multiprocessor of
    an H100 and have up to 80 KB of reads under way, twice what its memory needs to stay busy. Rows
    that are not aligned have a second, masked way to load a tile, which takes as many registers.
    """
    vector = 16 // itemsize
    repeat, warps = CANDIDATES[0]
    repeat = repeat if aligned else repeat // 2
    while warps > 1 and warps * 16 * vector >= classes:
        warps //= 2
    while repeat > 1 and (repeat // 2) * warps * 32 * vector >= classes:
        repeat //= 2
    return {
        "REPEAT": repeat,
        "LANES": warps * 32,
        "VECTOR": vector,
        "num_warps": warps,
        "num_stages": 1,
    }


def flat_configuration(
    classes: int, itemsize: int, aligned: bool = True
) -> tuple[int, dict[str, int]]:
    """How the backward cuts a row: the block of one program, and its launch options."""
    cut = configuration(classes, itemsize, aligned)
    block = cut["REPEAT"] * cut["LANES"] * cut["VECTOR"]
    return block, {"num_warps": cut["num_warps"], "num_stages": 1}


@triton.jit
def tile_columns(REPEAT: tl.constexpr, LANES: tl.constexpr, VECTOR: tl.constexpr):
    """Columns of a tile, (REPEAT, LANES, VECTOR): each lane's vectors lie LANES vectors apart."""
    vector = tl.arange(0, REPEAT)[:, None, None] * LANES + tl.arange(0, LANES)[None, :, None]
    return vector * VECTOR + tl.arange(0, VECTOR)[None, None, :]


def aligned(rows: Tensor) -> bool:
    """Whether every row begins where a vector of 16 bytes does."""
    vector = 16 // rows.element_size()
    return rows.data_ptr() % 16 == 0 and rows.stride(0) % vector == 0


def in_step(first: Tensor, second: Tensor) -> bool:
    """Whether row i of both begins equally far behind a vector, for every i."""
    vector = 16 // first.element_size()
    return (first.data_ptr() - second.data_ptr()) % 16 == 0 and (
        first.stride(0) - second.stride(0)
    ) % vector == 0


@triton.jit
def before(row):
    """How many numbers before a row the vector of 16 bytes begins in which the row does.

    A vocabulary of 50,257 has odd rows, and a vector must not be read from its middle: read one
    number at a time, such rows cost three times the instructions.
    """
    size: tl.constexpr = row.dtype.element_ty.primitive_bitwidth // 8
    return (row.to(tl.int64) % 16 // size).to(tl.int32)


@triton.jit
def load_tile(row, start, columns, end, BLOCK: tl.constexpr, ALIGNED: tl.constexpr):
    """The logits at start + columns (0 to BLOCK − 1) as float32, −∞ before the row or from ``end``.

    Where rows are not ALIGNED, ``start`` is a vector's: only tiles at an end of the row are masked.
    """
    at = start + columns
    if ALIGNED:
        x = tl.load(row + at, mask=at < end, other=float("-inf"))
    else:
        vectors = tl.multiple_of(row + start, 16) + columns
        if (start >= 0) & (start + BLOCK <= end):
            x = tl.load(vectors)
        else:
            x = tl.load(vectors, mask=(at >= 0) & (at < end), other=float("-inf"))
    return x.to(tl.float32)


@triton.jit
def store_tile(
    row,
    values,
    start,
    columns,
    end,
    BLOCK: tl.constexpr,
    ALIGNED: tl.constexpr,
    TOGETHER: tl.constexpr,
):
    """Write what ``load_tile`` read. TOGETHER: this row begins as that one did, within a vector."""
    at = start + columns
    values = values.to(row.dtype.element_ty)
    if ALIGNED:
        tl.store(row + at, values, mask=at < end)
    else:
        vectors = row + start
        if TOGETHER:
            vectors = tl.multiple_of(vectors, 16)
        if (start >= 0) & (start + BLOCK <= end):
            tl.store(vectors + columns, values)
        else:
            tl.store(vectors + columns, values, mask=(at >= 0) & (at < end))


@triton.jit
def lane_sum(tile):
    """Sum of a tile within each lane: (LANES,), no exchange between threads."""
    return tl.sum(tl.sum(tile, 2), 0)


@triton.jit
def online_softmax(largest, total, x):
    """Take a tile into each lane's running maximum and Σ exp(x − maximum).

    The lanes keep their own maximum and meet only at the end of the row, so the loop over a row
    has no barrier, and one exponential per logit (plus one per lane to rescale the total).
    """
    new = tl.maximum(largest, tl.max(tl.max(x, 2), 0))
    terms = tl.exp2((x - new[None, :, None]) * LOG2E)
    return new, total * tl.exp(largest - new) + lane_sum(terms)


@triton.jit
def online_expectation(expected, mass, amount, x, old, new):
    """Add Σ amount · (x − new), after moving what was summed relative to ``old`` to ``new``.

    Relative to the maximum the sum stays small however large the logits are. A class of amount 0
    says nothing, even when its logit is −∞.
    """
    terms = amount * tl.where(amount != 0, x - new[None, :, None], 0.0)
    moved = mass * tl.where(mass != 0, old - new, 0.0)
    return expected + moved + lane_sum(terms), mass + lane_sum(amount)


@triton.jit
def merge_lanes(largest, total):
    """The row's maximum and Σ exp(x − maximum) from those of its lanes."""
    top = tl.max(largest, 0)
    return top, tl.sum(total * tl.exp(largest - top), 0)


@triton.jit
def merge_expectation(expected, mass, largest, top):
    """Σ amount · (x − top) and Σ amount from those of the lanes."""
    moved = mass * tl.where(mass != 0, largest - top, 0.0)
    return tl.sum(expected + moved, 0), tl.sum(mass, 0)


@triton.jit
def log1p_exp(x):
    """ln(1 + exp(x)), accurate to rounding also where exp(x) is far below the last digit of 1."""
    small = tl.exp(-tl.abs(x))
    one_plus = 1.0 + small  # Kahan: the rounding of 1 + small cancels in log(w) / (w − 1)
    lost = one_plus == 1.0
    log1p = tl.where(lost, small, small * (tl.log(one_plus) / tl.where(lost, 1.0, one_plus - 1.0)))
    return tl.maximum(x, 0.0) + log1p


@triton.jit
def sigmoids(x):
    """1 / (1 + exp(−x)) and 1 / (1 + exp(x)), each to all its digits, without overflow."""
    small = tl.exp(-tl.abs(x))
    larger, smaller = 1.0 / (1.0 + small), small / (1.0 + small)
    return tl.where(x > 0, larger, smaller), tl.where(x > 0, smaller, larger)


@triton.jit
def not_zero(divisor):
    """NaN for 0: a mean whose weights sum to 0 is no number, as in torch, and says so."""
    return tl.where(divisor != 0, divisor, float("nan"))


@triton.jit
def row_upstream(upstream, upstream_stride, divisor, row):
    """The gradient that arrives at a kept row's loss, divided by the divisor of a mean."""
    g = tl.load(upstream + row * upstream_stride)
    if divisor is not None:
        g /= not_zero(tl.load(divisor))
    return g
