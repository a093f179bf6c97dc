"""Wrong answers to the kernels of homework 4."""

import functools

import numpy as np
import torch
import triton
import triton.language as tl
from minissl_kernels.attention import forward
from minissl_kernels.contrastive import reference
from minissl_kernels.layer_norm import layer_norm_kernel

from tests.homework.planted import Collection
from tests.homework.planted.hw4_delegates import NOT_ALLOWED, OWN

PLANTED = Collection()
add = PLANTED.add

# ---- 4.6 layer normalization ---------------------------------------------------------------------
# One kernel with a constant for each mistake, so that they are easy to compare.


@triton.jit
def _wrong(
    x, weight, bias, y, statistics, rows, x_stride, eps,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, MISTAKE: tl.constexpr,
):  # fmt: skip
    if MISTAKE == "one row":
        row = tl.program_id(0) + tl.arange(0, ROWS) * 0
    elif MISTAKE == "all rows":
        row = tl.arange(0, 32)
    elif MISTAKE == "rows":
        row = tl.program_id(0) * 2 + tl.arange(0, ROWS)
    else:
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (column < WIDTH)[None, :]
    stride = WIDTH if MISTAKE == "stride" else x_stride
    at = x + row[:, None] * stride + column[None, :]
    if MISTAKE == "other":
        value = tl.load(at, mask=inside)
    elif MISTAKE == "no mask":
        value = tl.where(inside, tl.load(at), 0.0)
    elif MISTAKE == "column mask":
        value = tl.load(at, mask=(row < rows + 8)[:, None] & (column < WIDTH)[None, :], other=0.0)
    elif MISTAKE == "lowest":
        value = tl.load(at, mask=inside, other=-1e4)
    else:
        value = tl.load(at, mask=inside, other=0.0)
    if MISTAKE != "half":
        value = value.to(tl.float32)
    count = BLOCK if MISTAKE == "block" else WIDTH
    average = tl.sum(value, axis=1) / count
    centred = value if MISTAKE == "root mean square" else value - average[:, None]
    if MISTAKE == "squares":  # E[x²] − E[x]²
        variance = tl.sum(value * value, axis=1) / WIDTH - average * average
    elif MISTAKE == "padding":
        variance = tl.sum(centred * centred, axis=1) / WIDTH
    elif MISTAKE == "absolute":
        variance = tl.sum(tl.where(inside, tl.abs(centred), 0.0), axis=1) / WIDTH
        variance = variance * variance
    elif MISTAKE == "unbiased":
        centred = tl.where(inside, centred, 0.0)
        variance = tl.sum(centred * centred, axis=1) / tl.maximum(WIDTH - 1, 1)
    else:
        if MISTAKE != "other":
            centred = tl.where(inside, centred, 0.0)
        variance = tl.sum(centred * centred, axis=1) / count
    r = 1 / (tl.sqrt(variance) + eps) if MISTAKE == "eps" else 1 / tl.sqrt(variance + eps)
    if MISTAKE == "no eps":
        r = 1 / tl.sqrt(variance)
    elif MISTAKE == "no root":
        r = 1 / (variance + eps)
    elif MISTAKE == "own eps":
        r = 1 / tl.sqrt(variance + 1e-5)
    result = centred * r[:, None]
    if MISTAKE == "loose weight":
        w = tl.load(weight + column)
    elif MISTAKE == "first weight":
        w = tl.load(weight + column * 0)
    else:
        w = tl.load(weight + column, mask=column < WIDTH, other=0.0)
    if MISTAKE != "weight":
        result *= w[None, :]
    if bias is not None and MISTAKE != "bias":
        b = tl.load(bias + column, mask=column < WIDTH, other=0.0)[None, :]
        result += b * w[None, :] if MISTAKE == "bias first" else b
    elif MISTAKE == "needs bias":
        result += tl.load(bias + column, mask=column < WIDTH, other=0.0)[None, :]
    if MISTAKE == "into x":
        tl.store(at, centred, mask=inside)
    if MISTAKE == "dtype of x":
        result = result.to(x.dtype.element_ty)
    apart = x_stride if MISTAKE == "stride of y" else WIDTH
    out = y + row[:, None] * apart + column[None, :]
    if MISTAKE == "store":
        tl.store(out, result, mask=(row < rows)[:, None] & (column < BLOCK)[None, :])
    else:
        tl.store(out, result, mask=inside)
    second = ROWS if MISTAKE == "place" else rows
    if MISTAKE == "no statistics":
        return
    if MISTAKE == "deviation":
        r = 1 / r
    elif MISTAKE == "variance":
        r = variance
    if MISTAKE == "first mean":
        tl.store(statistics + rows + row, average, mask=row < rows)
        tl.store(statistics + row, r, mask=row < rows)
    elif MISTAKE == "loose statistics":
        tl.store(statistics + row, average)
        tl.store(statistics + second + row, r)
    else:
        tl.store(statistics + row, average, mask=row < rows)
        tl.store(statistics + second + row, r, mask=row < rows)


class _With:
    """The kernel above with one mistake, launched like any other."""

    def __init__(self, mistake: str):
        self.mistake = mistake

    def __getitem__(self, grid):
        return functools.partial(_wrong[grid], MISTAKE=self.mistake)


for _mistake, _words, _shows in (
    ("block", "divides by BLOCK", "divided by BLOCK"),
    ("padding", "the padded columns are −mean", "padded columns count"),
    ("eps", "eps outside of the root", "eps belongs under the root"),
    ("bias", "no bias", "bias was not added"),
    ("weight", "no weight", "weight was not multiplied"),
    ("squares", "E[x²] − E[x]²", "digits are lost|NaN"),
    ("store", "stores whole blocks", "outside of y|y is wrong"),
    ("stride", "takes x for contiguous", "reads .* x|y is wrong"),
    ("place", "the second statistics in the wrong place", "statistics"),
    ("other", "no other: what was not loaded is undefined", "not loaded"),
    ("half", "float16 all along", "float32"),
    ("no mask", "a load without a mask", "reads outside of x"),
    ("column mask", "a mask that lets rows in", "reads outside of x"),
    ("lowest", "padded with −10⁴", "y is wrong|statistics"),
    ("loose weight", "a weight without a mask", "reads outside of weight"),
    ("first weight", "one weight for all columns", "one weight"),
    ("one row", "a row for each program, whatever ROWS", "never written|another program|two lanes"),
    ("all rows", "each program does all rows", "another program"),
    ("rows", "ROWS is taken to be 2", "never written|another program"),
    ("root mean square", "not centred", "mean was not subtracted"),
    ("absolute", "mean absolute deviations", "absolute"),
    ("unbiased", "WIDTH − 1", "WIDTH − 1"),
    ("no eps", "no eps", "eps was forgotten"),
    ("own eps", "an eps of its own", "eps was forgotten|eps is an argument"),
    ("no root", "no square root", "square root"),
    ("bias first", "the bias is multiplied too", "bias was multiplied"),
    ("needs bias", "a bias of None", "None|raised"),
    ("into x", "it stores into x", "writes into x|changed x"),
    ("dtype of x", "y in the dtype of x", "dtype of y"),
    ("stride of y", "y has the stride of x", "outside of y|y is wrong"),
    ("no statistics", "no statistics", "statistics was never written"),
    ("deviation", "the deviation for r", "1 / r"),
    ("variance", "the variance for r", "variance"),
    ("first mean", "r, then the mean", "exchanged"),
    ("loose statistics", "statistics without a mask", "(outside of|into) statistics"),
):
    add("4.6", _words, shows=_shows)(_With(_mistake))


@add("4.6", "the library's kernel, called", shows=OWN)
@triton.jit
def delegated(
    x, weight, bias, y, statistics, rows, x_stride, eps,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    layer_norm_kernel(x, weight, bias, y, statistics, rows, x_stride, eps, WIDTH, ROWS, BLOCK)


class _Torch:
    """No kernel at all: torch's operation behind the same brackets."""

    def __getitem__(self, grid):
        def launch(x, weight, bias, y, statistics, rows, x_stride, eps, **sizes):
            mean = x.float().mean(dim=1)
            r = torch.rsqrt(x.float().var(dim=1, unbiased=False) + eps)
            y.copy_(torch.nn.functional.layer_norm(x.float(), x.shape[1:], weight, bias, eps))
            statistics.copy_(torch.stack([mean, r]))

        return launch


add("4.6", "torch's layer norm", shows=NOT_ALLOWED)(_Torch())


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


library_step = forward.online_softmax


@add("4.7", "the library's step, called", shows=OWN)
@triton.jit
def step_of_the_library(scores, bits, maximum, total):
    return library_step(scores, bits, maximum, total)


@triton.jit
def _step(scores, bits, maximum, total, MISTAKE: tl.constexpr):
    old = maximum
    if MISTAKE == "first rows":
        tile = tl.max(scores, 0) * bits
    elif MISTAKE == "all":
        tile = tl.max(tl.max(scores, 1), 0) * bits + maximum * 0
    elif MISTAKE == "zero":
        tile = tl.maximum(tl.max(scores, 1) * bits, 0.0)
    else:
        tile = tl.max(scores, 1) * bits
    new = tl.maximum(maximum, tile)
    if MISTAKE == "old maximum":
        weights = tl.exp2(scores * bits - old[:, None])
    elif MISTAKE == "padding":
        weights = tl.where(scores == 0, 0.0, tl.exp2(scores * bits - new[:, None]))
    elif MISTAKE == "clipped":
        weights = tl.exp2(tl.maximum(scores * bits - new[:, None], -30.0))
    elif MISTAKE == "hidden":
        weights = tl.exp2(tl.maximum(scores, -1e4) * bits - new[:, None])
    else:
        weights = tl.exp2(scores * bits - new[:, None])
    rescale = tl.exp2(maximum - new)
    if MISTAKE == "only larger":
        rescale = tl.where(tile > maximum, rescale, 0.0)
    added = tl.sum(weights, 1)
    if MISTAKE == "mean":
        added = added / 4
    elif MISTAKE == "largest":
        added = tl.max(weights, 1)
    after = total * rescale + added
    if MISTAKE == "normalized":
        weights = weights / after[:, None]
    elif MISTAKE == "old returned":
        return weights, rescale, old, after
    elif MISTAKE == "order":
        return weights, new, rescale, after
    elif MISTAKE == "three":
        return weights, new, after
    elif MISTAKE == "logarithm":
        after = new + tl.log2(after)
    return weights, rescale, new, after


@triton.jit
def _first_rows(scores, bits, maximum, total):
    return _step(scores, bits, maximum, total, "first rows")


@triton.jit
def _all(scores, bits, maximum, total):
    return _step(scores, bits, maximum, total, "all")


@triton.jit
def _zero(scores, bits, maximum, total):
    return _step(scores, bits, maximum, total, "zero")


@triton.jit
def _old_maximum(scores, bits, maximum, total):
    return _step(scores, bits, maximum, total, "old maximum")


@triton.jit
def _padding(scores, bits, maximum, total):
    return _step(scores, bits, maximum, total, "padding")


@triton.jit
def _clipped(scores, bits, maximum, total):
    return _step(scores, bits, maximum, total, "clipped")


@triton.jit
def _hidden(scores, bits, maximum, total):
    return _step(scores, bits, maximum, total, "hidden")


@triton.jit
def _only_larger(scores, bits, maximum, total):
    return _step(scores, bits, maximum, total, "only larger")


@triton.jit
def _mean(scores, bits, maximum, total):
    return _step(scores, bits, maximum, total, "mean")


@triton.jit
def _largest(scores, bits, maximum, total):
    return _step(scores, bits, maximum, total, "largest")


@triton.jit
def _normalized(scores, bits, maximum, total):
    return _step(scores, bits, maximum, total, "normalized")


@triton.jit
def _old_returned(scores, bits, maximum, total):
    return _step(scores, bits, maximum, total, "old returned")


@triton.jit
def _order(scores, bits, maximum, total):
    return _step(scores, bits, maximum, total, "order")


@triton.jit
def _three(scores, bits, maximum, total):
    return _step(scores, bits, maximum, total, "three")


@triton.jit
def _logarithm(scores, bits, maximum, total):
    return _step(scores, bits, maximum, total, "logarithm")


for _words, _shows, _kernel in (
    ("the largest of each column", "along the keys|raised", _first_rows),
    ("one maximum for the tile", "one maximum", _all),
    ("no maximum below 0", "below 0", _zero),
    ("weights under the old maximum", "under the old maximum", _old_maximum),
    ("a score of 0 taken for padding", "score of 0", _padding),
    ("differences clipped", "clipped", _clipped),
    ("scores clipped: a hidden key is seen", "hidden|−∞|infinities", _hidden),
    ("nothing is kept when no larger score comes", "no larger", _only_larger),
    ("the mean of the weights", "mean of the weights", _mean),
    ("the largest weight", "largest weight", _largest),
    ("weights divided by the total", "divided by the total", _normalized),
    ("the old maximum is returned", "old maximum was returned", _old_returned),
    ("another order", "order", _order),
    ("three of the four", "raised|four", _three),
    ("the log-sum-exp for the total", "log", _logarithm),
):
    add("4.7", _words, shows=_shows)(_kernel)


# ---- 4.5, by what needs torch --------------------------------------------------------------------


@add("4.5", "the library's", shows=OWN)
def gradients_of_the_library(upstream, difference, query, key, temperature):
    return reference.backward(upstream, difference, query, key, temperature)


@add("4.5", "torch's autograd", shows=NOT_ALLOWED)
def by_torch(upstream, difference, query, key, temperature):
    q, k, t = (torch.tensor(np.asarray(x), requires_grad=True) for x in (query, key, temperature))
    weights = torch.tensor(upstream[:, None] * difference)
    (weights * (q @ k.T / t)).sum().backward()
    return q.grad.numpy(), k.grad.numpy(), t.grad.item()
