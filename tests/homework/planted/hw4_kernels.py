"""Wrong answers to the kernels of homework 4."""

import triton
import triton.language as tl

from tests.homework.planted import Collection

PLANTED = Collection()
add = PLANTED.add

# ---- 4.6 layer normalization ---------------------------------------------------------------------
# One kernel with a constant for each mistake, so that they are easy to compare.


@triton.jit
def _wrong(
    x, weight, bias, y, statistics, rows, x_stride, eps,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, MISTAKE: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (column < WIDTH)[None, :]
    stride = WIDTH if MISTAKE == "stride" else x_stride
    value = tl.load(x + row[:, None] * stride + column[None, :], mask=inside, other=0.0)
    count = BLOCK if MISTAKE == "block" else WIDTH
    average = tl.sum(value, axis=1) / count
    centred = value - average[:, None]
    if MISTAKE == "squares":  # E[x²] − E[x]²
        variance = tl.sum(value * value, axis=1) / WIDTH - average * average
    elif MISTAKE == "padding":
        variance = tl.sum(centred * centred, axis=1) / WIDTH
    else:
        centred = tl.where(inside, centred, 0.0)
        variance = tl.sum(centred * centred, axis=1) / count
    r = 1 / (tl.sqrt(variance) + eps) if MISTAKE == "eps" else 1 / tl.sqrt(variance + eps)
    result = centred * r[:, None]
    w = tl.load(weight + column, mask=column < WIDTH, other=0.0)
    if MISTAKE != "weight":
        result *= w[None, :]
    if bias is not None and MISTAKE != "bias":
        result += tl.load(bias + column, mask=column < WIDTH, other=0.0)[None, :]
    out = y + row[:, None] * WIDTH + column[None, :]
    if MISTAKE == "store":
        tl.store(out, result, mask=(row < rows)[:, None] & (column < BLOCK)[None, :])
    else:
        tl.store(out, result, mask=inside)
    second = ROWS if MISTAKE == "place" else rows
    tl.store(statistics + row, average, mask=row < rows)
    tl.store(statistics + second + row, r, mask=row < rows)


class _With:
    """The kernel above with one mistake, launched like any other."""

    def __init__(self, mistake: str):
        self.mistake = mistake

    def __getitem__(self, grid):
        return lambda *given, **sizes: _wrong[grid](*given, **sizes, MISTAKE=self.mistake)


for _mistake, _words, _shows in (
    ("block", "divides by BLOCK", "divided by BLOCK"),
    ("padding", "the padded columns are −mean", "padded columns count"),
    ("eps", "eps outside of the root", "eps belongs under the root"),
    ("bias", "no bias", "bias was not added"),
    ("weight", "no weight", "weight was not multiplied"),
    ("squares", "E[x²] − E[x]²", "digits are lost|NaN"),
    ("store", "stores whole blocks", "outside of y|y is wrong"),
    ("stride", "takes x for contiguous", "y is wrong"),
    ("place", "the second statistics in the wrong place", "statistics"),
):
    add("4.6", _words, shows=_shows)(_With(_mistake))


# ---- 4.7 online softmax --------------------------------------------------------------------------


@add("4.7", "the old total is not rescaled", shows="old total was not rescaled")
@triton.jit
def total_not_rescaled(scores, bits, maximum, total):
    new = tl.maximum(maximum, tl.max(scores, 1) * bits)
    weights = tl.exp2(scores * bits - new[:, None])
    return weights, tl.exp2(maximum - new), new, total + tl.sum(weights, 1)


@add("4.7", "no rescaling at all", shows="rescale is wrong")
@triton.jit
def no_rescale(scores, bits, maximum, total):
    new = tl.maximum(maximum, tl.max(scores, 1) * bits)
    weights = tl.exp2(scores * bits - new[:, None])
    return weights, tl.exp2(maximum * 0.0), new, total + tl.sum(weights, 1)


@add("4.7", "the maximum of this tile alone", shows="old maximum was forgotten")
@triton.jit
def only_this_tile(scores, bits, maximum, total):
    new = tl.max(scores, 1) * bits
    weights = tl.exp2(scores * bits - new[:, None])
    rescale = tl.exp2(maximum - new)
    return weights, rescale, new, total * rescale + tl.sum(weights, 1)


@add("4.7", "rescale upside down", shows="upside down")
@triton.jit
def upside_down(scores, bits, maximum, total):
    new = tl.maximum(maximum, tl.max(scores, 1) * bits)
    weights = tl.exp2(scores * bits - new[:, None])
    rescale = tl.exp2(new - maximum)
    return weights, rescale, new, total * rescale + tl.sum(weights, 1)


@add("4.7", "e instead of 2", shows="e was used as the base")
@triton.jit
def base_e(scores, bits, maximum, total):
    new = tl.maximum(maximum, tl.max(scores, 1) * bits)
    weights = tl.exp(scores * bits - new[:, None])
    rescale = tl.exp(maximum - new)
    return weights, rescale, new, total * rescale + tl.sum(weights, 1)


@add("4.7", "the old total is dropped", shows="old total was forgotten")
@triton.jit
def old_total_dropped(scores, bits, maximum, total):
    new = tl.maximum(maximum, tl.max(scores, 1) * bits)
    weights = tl.exp2(scores * bits - new[:, None])
    return weights, tl.exp2(maximum - new), new, tl.sum(weights, 1)


@add("4.7", "the maximum without bits", shows="multiplied by bits too")
@triton.jit
def maximum_without_bits(scores, bits, maximum, total):
    new = tl.maximum(maximum, tl.max(scores, 1))
    weights = tl.exp2(scores * bits - new[:, None])
    rescale = tl.exp2(maximum - new)
    return weights, rescale, new, total * rescale + tl.sum(weights, 1)


@add("4.7", "no maximum is subtracted", shows="new maximum was not subtracted")
@triton.jit
def no_maximum(scores, bits, maximum, total):
    new = tl.maximum(maximum, tl.max(scores, 1) * bits)
    weights = tl.exp2(scores * bits)
    rescale = tl.exp2(maximum - new)
    return weights, rescale, new, total * rescale + tl.sum(weights, 1)


@add("4.7", "the new weights are rescaled too", shows="new weights were rescaled too")
@triton.jit
def all_rescaled(scores, bits, maximum, total):
    new = tl.maximum(maximum, tl.max(scores, 1) * bits)
    weights = tl.exp2(scores * bits - new[:, None])
    rescale = tl.exp2(maximum - new)
    return weights, rescale, new, (total + tl.sum(weights, 1)) * rescale
