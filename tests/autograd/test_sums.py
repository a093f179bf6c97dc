"""Sums are accurate: every reduction, and every place that adds up gradients, against float64.

Added one by one, float32 has lost its third digit after 300,000 times .1, and stops at 2²⁴ ones.
"""

import inspect
import math

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor, fused, reductions
from minissl.autograd import operations as ops
from minissl.autograd.arrays import dtype_name, scatter_add, total, unbroadcast
from minissl.autograd.fused import gpu
from minissl.nn import LSTM, BatchNorm, Embedding
from minissl.optim import grad_norm
from tests.autograd.compare import ours, random_like, to_float64, torchs
from tests.autograd.fused_cases import FUSED_CASES

MANY = 300_000
EXACT = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 3e-6}  # the dtype's own rounding
DTYPES = [("numpy", "float32"), ("numpy", "float16"), ("torch", "float32"), ("torch", "bfloat16")]
each_dtype = pytest.mark.parametrize(("library", "dtype"), DTYPES)


def array(values, library, dtype):
    if library == "numpy":
        return np.asarray(values).astype(dtype)
    return torch.tensor(np.asarray(values, np.float64)).to(getattr(torch, dtype))


def close(actual, expected, dtype):
    np.testing.assert_allclose(to_float64(actual), expected, rtol=EXACT[dtype])


def values(*shape, size=0.01):
    """Positive, all much alike: the rounding of every addition goes the same way."""
    return np.full(shape, size) + np.random.default_rng(0).random(shape) * size / 100


# ---- 20 million rows, once for each function that sums ------------------------------------------


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_twenty_million_rows(library):
    rows = library(np.full((20_000_000, 2), 0.1, np.float32))
    nowhere = library(np.zeros(20_000_000, np.int64))
    exact = 20_000_000 * np.float64(np.float32(0.1))
    for found in (
        total(rows, 0)[0],
        total(rows[:, :1]),
        unbroadcast(rows, (1, 2))[0, 1],
        scatter_add(2, nowhere, rows[:, 0])[0],
        scatter_add(2, nowhere[:5_000_000], rows[:5_000_000])[0, 0] * 4,
    ):
        assert float(found) == pytest.approx(exact, rel=3e-6)


# ---- reductions ---------------------------------------------------------------------------------

SUMMING = {  # what each is in float64
    "sum": np.sum,
    "mean": np.mean,
    "norm": lambda a, axis: np.sqrt(np.sum(a * a, axis=axis)),
    "logsumexp": lambda a, axis: np.log(np.sum(np.exp(a), axis=axis)),
    "softmax": lambda a, axis: np.exp(a) / np.sum(np.exp(a), axis=axis, keepdims=True),
    "log_softmax": lambda a, axis: a - np.log(np.sum(np.exp(a), axis=axis, keepdims=True)),
    "cumsum": np.cumsum,
}
COMPARING = {"max", "min"}


def test_every_reduction_has_a_row():
    found = {
        n for n, f in inspect.getmembers(reductions) if f in map(ops.__dict__.get, ops.__all__)
    }
    assert found == SUMMING.keys() | COMPARING


@each_dtype
@pytest.mark.parametrize("name", SUMMING)
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((MANY, 2), 0),
        ((2, MANY), -1),
        ((3, MANY // 3, 2), 1),
        ((600, 500, 2), (0, 1)),
        ((2, 600, 500), (1, 2)),
    ],
    ids=str,
)
def test_reductions(name, shape, axis, library, dtype):
    if isinstance(axis, tuple) and name in ("cumsum", "softmax", "log_softmax"):
        return
    x = array(values(*shape), library, dtype)
    for given in (x, x.T if library == "numpy" else x.permute(*reversed(range(x.ndim)))):
        axes = axis if given is x else _mirrored(axis, len(shape))
        found = getattr(ops, name)(Tensor(given), axis=axes).array
        exact = SUMMING[name](to_float64(given), axis=axes)
        if name == "softmax" and dtype == "float16":  # 1 / 300,000 has only a few digits there
            np.testing.assert_allclose(to_float64(found), exact, rtol=0.02)
        else:
            close(found, exact, dtype)


def _mirrored(axis, ndim):
    return tuple(ndim - 1 - a for a in axis) if isinstance(axis, tuple) else ndim - 1 - axis % ndim


@each_dtype
def test_a_mean_fits_where_its_sum_does_not(library, dtype):
    x = array(np.full((MANY, 2), 3.0), library, dtype)
    assert float(ops.mean(Tensor(x)).array) == 3
    assert to_float64(ops.mean(Tensor(x), axis=0).array).tolist() == [3, 3]


def test_running_statistics():
    norm, x = BatchNorm(2, momentum=1.0), values(MANY, 2, size=1.0).astype(np.float32)
    norm(Tensor(x))
    close(norm.running_mean.numpy(), x.mean(axis=0, dtype=np.float64), "float32")
    variance = x.astype(np.float64).var(axis=0, ddof=1)
    np.testing.assert_allclose(norm.running_variance.numpy(), variance, rtol=1e-4)


# ---- gradients that are added up ----------------------------------------------------------------


ADDING = {  # how it is used, with the zeros that it meets, and its shape
    "a broadcast bias": (lambda b, zeros: b + zeros(MANY, 1), (1, 2)),
    "broadcast_to": (lambda b, zeros: ops.broadcast_to(b, (MANY, 2)), (2,)),
    "w[zeros]": (lambda w, zeros: w[np.zeros(MANY, int)], (2,)),
    "rows of w[zeros]": (lambda w, zeros: w[np.zeros(MANY, int)], (2, 2)),
    "an embedding": (lambda w, zeros: ops.take(w, np.zeros(MANY, int)), (2, 2)),
    "a sparse embedding": (lambda w, zeros: ops.take(w, np.zeros(MANY, int), sparse=True), (2, 2)),
    "sparse and dense uses": (
        lambda w, zeros: ops.concatenate([w, *(ops.take(w, [1], sparse=True) for _ in range(600))]),
        (2, 2),
    ),
    "take, last axis": (lambda w, zeros: ops.take(w, np.zeros(MANY, int), axis=-1), (2, 2)),
    "take_along_axis": (
        lambda w, zeros: ops.take_along_axis(w, np.zeros((2, MANY), int)),
        (2, 2),
    ),
    "a linear bias": (lambda b, zeros: ops.linear(zeros(MANY, 1), zeros(2, 1), b), (2,)),
    "cumsum": (
        lambda w, zeros: ops.cumsum(ops.broadcast_to(w, (MANY, 2)), axis=0)[-1:] * 1.0,
        (1, 2),
    ),
    "repeated parents": (lambda w, zeros: ops.concatenate([w] * 3000), (100, 2)),
    "a convolution's bias": (
        lambda b, zeros: fused.conv2d(zeros(30, 100, 100, 1), zeros(2, 1, 1, 1), b),
        (2,),
    ),
    "a layer norm's bias": (lambda b, zeros: fused.layer_norm(zeros(MANY, 2), zeros(2), b), (2,)),
}


@each_dtype
@pytest.mark.parametrize("name", ADDING)
def test_gradients_that_are_added_up(name, library, dtype):
    function, shape = ADDING[name]
    if library == "torch" and name == "a layer norm's bias":
        return  # a kernel's, which is tested with the kernels

    def zeros(*shape):
        return array(np.zeros(shape), library, dtype)

    def wide_zeros(*shape):
        return array(np.zeros(shape), library, "float64")

    output = function(Tensor(zeros(*shape)), zeros)
    cotangent = array(values(*output.shape, size=0.001), library, dtype)
    _, (exact,) = ours(
        lambda w: function(w, wide_zeros),
        [wide_zeros(*shape)],
        array(to_float64(cotangent), library, "float64"),
    )
    _, (found,) = ours(lambda w: function(w, zeros), [zeros(*shape)], cotangent)
    close(found, to_float64(exact), dtype)


def test_a_layer_norms_gain_and_a_convolutions_weight():
    x = np.random.default_rng(0).standard_normal((MANY, 2)).astype(np.float32)
    c = values(MANY, 2, size=1.0).astype(np.float32) * np.sign(x - x.mean(axis=1, keepdims=True))
    inputs = [x, np.ones(2, np.float32), np.zeros(2, np.float32)]
    _, found = ours(fused.layer_norm, inputs, c)
    _, exact = torchs(
        lambda x, w, b: torch.nn.functional.layer_norm(x, (2,), w, b),
        [a.astype(np.float64) for a in inputs],
        c.astype(np.float64),
    )
    for mine, theirs in zip(found[1:], exact[1:]):
        np.testing.assert_allclose(mine, theirs, rtol=3e-6)
    images = values(30, 100, 100, 2, size=1.0).astype(np.float32)
    _, (weight,) = ours(
        lambda w: fused.conv2d(images, w), [np.zeros((1, 1, 1, 2), np.float32)],
        np.full((30, 100, 100, 1), 0.1, np.float32),
    )  # fmt: skip
    close(
        weight[0, 0, 0], images.sum(axis=(0, 1, 2), dtype=np.float64) * np.float32(0.1), "float32"
    )


@pytest.mark.parametrize(
    ("library", "dtype", "uses"),
    [("numpy", "float32", 20_000), ("numpy", "float16", 60), ("torch", "bfloat16", 60)],
)
def test_a_parameter_used_many_times(library, dtype, uses):
    """Gradients that arrive one after the other, each too small for half of the running sum."""
    w = Tensor(array(0.0, library, dtype), requires_grad=True)
    parts = [(w + 0.0).reshape(1) for _ in range(uses)]
    cotangent = array(values(uses), library, dtype)
    ops.concatenate(parts).backward(cotangent)
    close(w.grad, to_float64(cotangent).sum(), dtype)
    assert w.grad.dtype == w.array.dtype


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_a_parameter_used_three_times(library):
    """1 + ε/2 is 1 in half precision, from whichever end one adds."""
    w = Tensor(library(np.zeros(1, np.float16)), requires_grad=True)
    small = 2.0**-11
    given = library(np.array([small, 1, small], np.float16))
    ops.concatenate([w + 0.0, w + 0.0, w + 0.0]).backward(given)
    assert float(w.grad[0]) == 1 + 2 * small


def test_a_recurrent_layers_weights():
    layer = LSTM(1, 2, generator=np.random.default_rng(0)).astype(np.float16)
    x = values(4, 300, 1, size=0.1)
    gradients = {}
    for dtype in (np.float16, np.float64):
        layer.astype(dtype).zero_grad()
        layer(Tensor(x.astype(dtype)))[0].mean().backward()
        gradients[dtype] = [p.grad.astype(np.float64) for p in layer.parameters()]
    for narrow, wide in zip(gradients[np.float16], gradients[np.float64]):
        assert np.abs(narrow - wide).max() <= 0.02 * np.abs(wide).max()


def test_an_embedding_module_and_the_norm_of_all_gradients():
    table = Embedding(3, 2, generator=np.random.default_rng(0))
    table(np.zeros((3, MANY // 3), np.int64)).backward(np.full((3, MANY // 3, 2), 0.1, np.float32))
    exact = MANY * np.float64(np.float32(0.1))
    close(table.weight.grad[0], np.full(2, exact), "float32")
    assert grad_norm([table.weight]) == pytest.approx(math.sqrt(2) * exact, rel=1e-6)


# ---- half precision of small arrays -------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [[[300.0, 400.0]], [[6e-7, 8e-7]], [[45000.0, 60000.0]], [[0.5] * 70_000]],
    ids=["squares overflow", "squares vanish", "large", "their sum overflows"],
)
def test_unit_vectors_of_any_length(rows):
    for dtype in (np.float16, np.float32, np.float64):
        x = np.array(rows).astype(dtype)
        exact = x.astype(np.float64) / np.sqrt(np.sum(x.astype(np.float64) ** 2))
        y = fused.unit_vectors(Tensor(x)).array
        assert y.dtype == dtype
        np.testing.assert_allclose(y, exact, rtol=1e-3)
    for size in (1e-30, 1e30):
        for library in (np.float32, torch.tensor):
            x = library([[3.0, 4.0]]) * size
            x = x.astype(np.float32) if library is np.float32 else x
            y, (back,) = ours(fused.unit_vectors, [x], library([[1.0, 0.0]]))
            np.testing.assert_allclose(to_float64(y), [[0.6, 0.8]], rtol=1e-6)
            np.testing.assert_allclose(to_float64(back) * size, [[0.128, -0.096]], rtol=1e-5)
            length, (back,) = ours(ops.norm, [x])
            assert float(length) == pytest.approx(5 * size, rel=1e-6)
            np.testing.assert_allclose(to_float64(back), [[0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("name", ["sigmoid", "log_sigmoid"])
def test_formulas_of_several_steps_are_rounded_once(name):
    x = np.linspace(-14, 14, 2001).astype(np.float16)
    exact = x.astype(np.float64)
    found, (gradient,) = ours(getattr(ops, name), [x], np.ones_like(x))
    right, (right_gradient,) = ours(getattr(ops, name), [exact], np.ones_like(exact))
    np.testing.assert_array_max_ulp(found, right.astype(np.float16), 1)
    np.testing.assert_array_max_ulp(gradient, right_gradient.astype(np.float16), 1)


def test_ties_that_float16_cannot_count():
    x = np.zeros(70_000, np.float16)
    for reduction in (ops.max, ops.min):
        gradient = ours(reduction, [x], np.float16(700))[1][0]
        np.testing.assert_allclose(gradient, np.float16(0.01), rtol=1e-3)


@pytest.mark.parametrize("case", FUSED_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(("library", "dtype"), DTYPES[1::2])
def test_fused_operations_in_half_precision(case, library, dtype, monkeypatch):
    """Result and gradients have the dtype and are as right as it; cross-entropies are float32."""
    monkeypatch.setattr(gpu, "runs_kernels", lambda array: False)  # they round as a GPU does
    exact = [to_float64(array(a, library, dtype)) for a in case.inputs(seed=3)]
    given = [array(a, library, dtype) for a in exact]
    single = "cross_entropy" in case.name
    cotangent = array(random_like(case.run(*map(Tensor, exact))), library, dtype)
    if single:
        cotangent = array(to_float64(cotangent), library, "float32")
    found, gradients = ours(case.run, given, cotangent)
    right, right_gradients = ours(case.run, exact, to_float64(cotangent))
    assert dtype_name(found) == ("float32" if single else dtype)
    for a, b in zip([found, *gradients], [right, *right_gradients]):
        tolerance = EXACT["float32"] if a is found and single else EXACT[dtype]
        np.testing.assert_allclose(to_float64(a), b, rtol=tolerance, atol=tolerance / 8)
    assert {dtype_name(g) for g in gradients} == {dtype}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("repeats", [[1], [2, 1, 3], [0, 7, 0, 129, 1], []], ids=str)
def test_rows_that_meet_at_one_position_are_added_up(dtype, repeats):
    generator = np.random.default_rng(len(repeats))
    positions = generator.permutation(np.repeat(np.arange(len(repeats)), repeats))
    values = generator.normal(size=(len(positions), 3, 2)).astype(dtype)
    expected = np.zeros((len(repeats) + 1, 3, 2))
    np.add.at(expected, positions, values.astype(np.float64))
    before = values.copy()
    result = scatter_add(len(repeats) + 1, positions, values)
    assert result.dtype == dtype
    assert np.array_equal(values, before)
    np.testing.assert_allclose(result, expected, rtol=4 * np.finfo(dtype).eps, atol=1e-6)
