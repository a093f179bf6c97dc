"""Wrong answers to homework 4."""

import importlib.util
import math

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from tests.homework.planted import Collection
from tests.homework.planted.hw4_delegates import PLANTED as DELEGATES
from tests.homework.planted.hw4_experiment import PLANTED as EXPERIMENT
from tests.homework.planted.hw4_losses import PLANTED as LOSSES

PLANTED = Collection([*LOSSES, *DELEGATES, *EXPERIMENT])
add = PLANTED.add

if importlib.util.find_spec("triton"):
    from tests.homework.planted.hw4_kernels import PLANTED as KERNELS

    PLANTED.extend(KERNELS)


# ---- 4.1 normalize -------------------------------------------------------------------------------


@add("4.1", "the norm is taken down the columns", shows="columns were scaled")
def down_the_columns(x):
    return x / ops.norm(x, axis=0, keepdims=True)


@add("4.1", "one norm for the whole matrix", shows="whole array")
def one_norm(x):
    return x / ops.norm(x)


@add("4.1", "the square root is forgotten", shows="squared length")
def squared_length(x):
    return x / ops.sum(x * x, axis=-1, keepdims=True)


@add("4.1", "the sum of absolute values", shows="absolute values")
def absolute_values(x):
    return x / ops.sum(ops.abs(x), axis=-1, keepdims=True)


@add("4.1", "a row of zeros becomes NaN", shows="NaN")
def divides_by_zero(x):
    return x / ops.norm(x, axis=-1, keepdims=True)


@add("4.1", "the length is a constant to the graph", shows="gradient by x is wrong.*length")
def constant_length(x):
    length = np.linalg.norm(x.array, axis=-1, keepdims=True)
    return x / np.where(length == 0, 1, length)


@add("4.1", "the result leaves the graph", shows="there is no gradient")
def leaves_the_graph(x):
    length = np.linalg.norm(x.array, axis=-1, keepdims=True)
    return Tensor(x.array / np.where(length == 0, 1, length))


# ---- 4.2 simclr_cs229 ----------------------------------------------------------------------------


def _unit(x):
    length = ops.norm(x, axis=-1, keepdims=True)
    return x / ops.where(length.array == 0, 1.0, length)


def _rows(logits, targets=None, left_out=None):
    """−ln softmax at the targets, by primitives."""
    if left_out is not None:
        logits = ops.where(left_out, -1e30, logits)
    targets = np.arange(logits.shape[0]) if targets is None else targets
    return ops.logsumexp(logits, axis=1) - logits[np.arange(logits.shape[0]), targets]


def _reduced(rows, reduction):
    if reduction == "none":
        return rows
    return ops.sum(rows) if reduction == "sum" else ops.mean(rows)


@add("4.2", "the mean by default", shows="mean over the rows was taken")
def mean_by_default(first, second, *, gather=False, reduction="mean"):
    return _reduced(_rows(first @ ops.matrix_transpose(second)), reduction)


@add("4.2", "cosines", shows="cosines were used")
def cosines(first, second, *, gather=False, reduction="sum"):
    return _reduced(_rows(_unit(first) @ ops.matrix_transpose(_unit(second))), reduction)


@add("4.2", "the softmax over the first views", shows="wrong axis")
def wrong_axis(first, second, *, gather=False, reduction="sum"):
    return _reduced(_rows(second @ ops.matrix_transpose(first)), reduction)


@add("4.2", "both directions", shows="both directions")
def both_directions(first, second, *, gather=False, reduction="sum"):
    there = _rows(first @ ops.matrix_transpose(second))
    return _reduced(there + _rows(second @ ops.matrix_transpose(first)), reduction)


@add("4.2", "the minus is forgotten", shows="sign is wrong")
def no_minus(first, second, *, gather=False, reduction="sum"):
    return _reduced(-_rows(first @ ops.matrix_transpose(second)), reduction)


@add("4.2", "softmax without the maximum", shows="NaN")
def without_the_maximum(first, second, *, gather=False, reduction="sum"):
    exponentials = ops.exp(first @ ops.matrix_transpose(second))
    own = exponentials[np.arange(first.shape[0]), np.arange(first.shape[0])]
    return _reduced(-ops.log(own / ops.sum(exponentials, axis=1)), reduction)


@add("4.2", "reduction is not looked at", shows="shape is")
def always_sums(first, second, *, gather=False, reduction="sum"):
    return ops.sum(_rows(first @ ops.matrix_transpose(second)))


# ---- 4.3 nt_xent ---------------------------------------------------------------------------------


def _paper(
    first, second, temperature, reduction, *, cosine=True, left_out=True, partners=None,
):  # fmt: skip
    views = ops.concatenate([first, second])
    views = _unit(views) if cosine else views
    logits = views @ ops.matrix_transpose(views) / temperature
    count = views.shape[0]
    partners = np.roll(np.arange(count), count // 2) if partners is None else partners
    return _reduced(_rows(logits, partners, np.eye(count, dtype=bool) & left_out), reduction)


@add("4.3", "the temperature is forgotten", shows="temperature was forgotten")
def forgotten_temperature(first, second, temperature, *, gather=False, reduction="mean"):
    return _paper(first, second, 1.0, reduction)


@add("4.3", "times the temperature", shows="multiplied by the temperature")
def times_the_temperature(first, second, temperature, *, gather=False, reduction="mean"):
    return _paper(first, second, 1 / temperature, reduction)


@add("4.3", "the self-similarity is a candidate", shows="itself was not masked")
def self_not_masked(first, second, temperature, *, gather=False, reduction="mean"):
    return _paper(first, second, temperature, reduction, left_out=False)


@add("4.3", "masked with 0", shows="set to 0")
def masked_with_zero(first, second, temperature, *, gather=False, reduction="mean"):
    views = _unit(ops.concatenate([first, second]))
    count = views.shape[0]
    logits = views @ ops.matrix_transpose(views) / temperature
    logits = ops.where(np.eye(count, dtype=bool), 0.0, logits)
    return _reduced(_rows(logits, np.roll(np.arange(count), count // 2)), reduction)


@add("4.3", "masked with −9e15 after exp, so not at all", shows="itself was not masked|wrong")
def masked_too_late(first, second, temperature, *, gather=False, reduction="mean"):
    views = _unit(ops.concatenate([first, second]))
    count = views.shape[0]
    exponentials = ops.exp(views @ ops.matrix_transpose(views) / temperature)
    exponentials = ops.where(np.eye(count, dtype=bool), 1.0, exponentials)
    own = exponentials[np.arange(count), np.roll(np.arange(count), count // 2)]
    return _reduced(ops.log(ops.sum(exponentials, axis=1)) - ops.log(own), reduction)


@add("4.3", "inner products", shows="not cosines")
def inner_products(first, second, temperature, *, gather=False, reduction="mean"):
    return _paper(first, second, temperature, reduction, cosine=False)


@add("4.3", "only the other side's views", shows="own side are negatives too")
def other_side_only(first, second, temperature, *, gather=False, reduction="mean"):
    logits = _unit(first) @ ops.matrix_transpose(_unit(second)) / temperature
    return _reduced(_rows(logits), reduction)


@add("4.3", "only the first views' rows", shows="first views' rows")
def first_rows_only(first, second, temperature, *, gather=False, reduction="mean"):
    rows = _paper(first, second, temperature, "none")
    return _reduced(rows[: first.shape[0]], reduction)


@add("4.3", "the sum", shows="sum over the rows was taken")
def sums(first, second, temperature, *, gather=False, reduction="sum"):
    return _paper(first, second, temperature, "sum" if reduction == "mean" else reduction)


@add("4.3", "Google's twice the loss", shows="twice the loss")
def twice(first, second, temperature, *, gather=False, reduction="mean"):
    return 2 * _paper(first, second, temperature, reduction)


@add("4.3", "neighbours as partners", shows="not its neighbour")
def neighbours(first, second, temperature, *, gather=False, reduction="mean"):
    partners = np.arange(2 * first.shape[0]) ^ 1
    return _paper(first, second, temperature, reduction, partners=partners)


@add("4.3", "exponentials without the maximum", shows="NaN")
def overflows(first, second, temperature, *, gather=False, reduction="mean"):
    views = _unit(ops.concatenate([first, second]))
    count = views.shape[0]
    exponentials = ops.exp(views @ ops.matrix_transpose(views) / temperature)
    exponentials = ops.where(np.eye(count, dtype=bool), 0.0, exponentials)
    own = exponentials[np.arange(count), np.roll(np.arange(count), count // 2)]
    return _reduced(ops.log(ops.sum(exponentials, axis=1)) - ops.log(own), reduction)


@add("4.3", "the second view is detached", shows="no gradient reaches second")
def detached(first, second, temperature, *, gather=False, reduction="mean"):
    return _paper(first, Tensor(second.array), temperature, reduction)


# ---- 4.4 z_std -----------------------------------------------------------------------------------


def _unit_rows(x):
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length == 0, 1, length)


@add("4.4", "√width is forgotten", shows="√width was forgotten")
def no_root(features):
    return float(_unit_rows(features).std(axis=0).mean())


@add("4.4", "the rows keep their length", shows="not scaled to length 1")
def any_length(features):
    return float(features.std(axis=0).mean() * math.sqrt(features.shape[1]))


@add("4.4", "along the rows", shows="along the rows")
def along_the_rows(features):
    return float(_unit_rows(features).std(axis=1).mean() * math.sqrt(features.shape[1]))


@add("4.4", "one deviation for all", shows="does not see a collapse")
def one_deviation(features):
    return float(_unit_rows(features).std() * math.sqrt(features.shape[1]))


@add("4.4", "examples − 1", shows="examples − 1")
def minus_one(features):
    return float(_unit_rows(features).std(axis=0, ddof=1).mean() * math.sqrt(features.shape[1]))


@add("4.4", "NaN for a row of zeros", shows="NaN")
def divides_zero(features):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return float(unit.std(axis=0).mean() * math.sqrt(features.shape[1]))


@add("4.4", "it scales the caller's array", shows="changed its input")
def in_place(features):
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return float(features.std(axis=0).mean() * math.sqrt(features.shape[1]))


# ---- 4.5 the gradient ----------------------------------------------------------------------------


def _gradients(upstream, difference, query, key, temperature):
    g = np.asarray(upstream)[:, None] * difference
    dq, dk = g @ key / temperature, g.T @ query / temperature
    return dq, dk, -float(np.sum(query * dq)) / temperature


@add("4.5", "no 1/τ in the query's", shows="temperature was forgotten")
def query_without_temperature(upstream, difference, query, key, temperature):
    dq, dk, dt = _gradients(upstream, difference, query, key, temperature)
    return dq * temperature, dk, dt


@add("4.5", "no 1/τ in the key's", shows="temperature was forgotten")
def key_without_temperature(upstream, difference, query, key, temperature):
    dq, dk, dt = _gradients(upstream, difference, query, key, temperature)
    return dq, dk * temperature, dt


@add("4.5", "the upstream gradient is ignored", shows="upstream gradient was forgotten")
def no_upstream(upstream, difference, query, key, temperature):
    return _gradients(np.ones_like(upstream), difference, query, key, temperature)


@add("4.5", "the transposition is forgotten", shows="shape is|raised ValueError")
def not_transposed(upstream, difference, query, key, temperature):
    g = np.asarray(upstream)[:, None] * difference
    dq, _, dt = _gradients(upstream, difference, query, key, temperature)
    return dq, g @ query / temperature, dt


@add("4.5", "the sign of the temperature's", shows="sign is wrong")
def temperature_sign(upstream, difference, query, key, temperature):
    dq, dk, dt = _gradients(upstream, difference, query, key, temperature)
    return dq, dk, -dt


@add("4.5", "one 1/τ too few in the temperature's", shows="1/temperature is missing")
def temperature_factor(upstream, difference, query, key, temperature):
    dq, dk, dt = _gradients(upstream, difference, query, key, temperature)
    return dq, dk, dt * temperature


@add("4.5", "the mean over the rows", shows="values are wrong")
def mean_over_rows(upstream, difference, query, key, temperature):
    return _gradients(upstream / len(upstream), difference, query, key, temperature)


@add("4.5", "float32 inside, float64 outside", shows="computes in float32")
def narrow_inside(upstream, difference, query, key, temperature):
    narrow = [a.astype(np.float32) for a in (upstream, difference, query, key)]
    dq, dk, dt = _gradients(*narrow, np.float32(temperature))
    return dq.astype(query.dtype), dk.astype(key.dtype), float(dt)
