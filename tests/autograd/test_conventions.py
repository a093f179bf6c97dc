"""Kinks, ties, infinities and empty arrays: what the docstrings promise there."""

import math

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor
from minissl.autograd import operations as ops
from tests.autograd.compare import assert_close, ours, random_like, torchs

inf = math.inf
libraries = pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])


def gradients(function, *arrays, library=np.asarray, cotangent=None):
    """The gradients as lists of Python numbers."""
    arrays = [library(np.asarray(a, np.float64)) for a in arrays]
    shape = tuple(function(*map(Tensor, arrays)).shape)
    cotangent = np.ones(shape) if cotangent is None else np.asarray(cotangent, np.float64)
    found = [g.tolist() for g in ours(function, arrays, library(cotangent))[1]]
    return found[0] if len(found) == 1 else found


@libraries
def test_kinks_at_zero(library):
    x = [-1.0, -0.0, 0.0, 2.0]
    assert gradients(ops.relu, x, library=library) == [0, 0, 0, 1]
    assert gradients(ops.abs, x, library=library) == [-1, 0, 0, 1]
    assert gradients(ops.norm, [0.0, 0.0], library=library) == [0, 0]
    norm = gradients(lambda a: ops.norm(a, axis=1), [[0.0, 0.0], [3.0, 4.0]], library=library)
    assert np.allclose(norm, [[0, 0], [0.6, 0.8]], rtol=1e-15, atol=0)


@libraries
def test_ties_share_the_gradient(library):
    row = [1.0, 3.0, 3.0, 2.0, 3.0]
    third = pytest.approx(2 / 3, rel=1e-15)
    assert gradients(ops.max, row, library=library, cotangent=2.0) == [0, third, third, 0, third]
    low = [-v for v in row]
    assert gradients(ops.min, low, library=library, cotangent=2.0) == [0, third, third, 0, third]
    a, b = [1.0, 2.0, 3.0], [2.0, 2.0, 2.0]
    assert gradients(ops.maximum, a, b, library=library) == [[0, 0.5, 1], [1, 0.5, 0]]
    assert gradients(ops.minimum, a, b, library=library) == [[1, 0.5, 0], [0, 0.5, 1]]


@libraries
def test_clip_passes_the_gradient_on_its_borders(library):
    x = [-2.0, -1.0, 0.0, 1.0, 2.0]
    assert gradients(lambda a: ops.clip(a, -1, 1), x, library=library) == [0, 1, 1, 1, 0]
    assert gradients(lambda a: ops.clip(a, min=1), x, library=library) == [0, 0, 0, 1, 1]
    assert gradients(lambda a: ops.clip(a, max=-1), x, library=library) == [1, 1, 0, 0, 0]
    assert gradients(lambda a: ops.clip(a), x, library=library) == [1] * 5


@libraries
def test_powers_at_zero(library):
    zero = [0.0, 0.0]
    assert gradients(lambda a: a**0, zero, library=library) == [0, 0]
    assert gradients(lambda a: a**1, zero, library=library) == [1, 1]
    assert gradients(lambda a: a**2, zero, library=library) == [0, 0]
    assert gradients(lambda a: a**3, zero, library=library) == [0, 0]
    assert ops.power(Tensor(zero), 0).array.tolist() == [1, 1]
    exponents = [0.0, 1.0]
    assert gradients(ops.power, zero, exponents, library=library) == [[0, 1], [0, 0]]
    assert ops.power(Tensor(zero), Tensor(exponents)).array.tolist() == [1, 0]
    negative = gradients(
        lambda a: a ** Tensor(library(np.array(3.0))), [-2.0, 2.0], library=library
    )
    assert negative == [12, 12]


@libraries
def test_softmax_family_with_infinities_and_huge_values(library):
    rows = np.array([[0.0, -inf, 1.0], [1000.0, 999.0, -1000.0], [-1e30, 1e30, 0.0]])
    for mine, theirs in (
        (ops.softmax, torch.softmax),
        (ops.logsumexp, torch.logsumexp),
    ):
        cotangent = random_like(theirs(torch.tensor(rows), -1))
        expected, (expected_gradient,) = torchs(lambda a, f=theirs: f(a, -1), [rows], cotangent)
        actual, (gradient,) = ours(mine, [library(rows)], library(cotangent))
        assert_close(actual, expected)
        assert_close(gradient, expected_gradient)
    finite = rows[1:]
    cotangent = random_like(finite)
    expected, (expected_gradient,) = torchs(lambda a: a.log_softmax(-1), [finite], cotangent)
    actual, (gradient,) = ours(ops.log_softmax, [library(finite)], library(cotangent))
    assert_close(actual, expected)
    assert_close(gradient, expected_gradient)


@libraries
def test_logsumexp_of_nothing_but_minus_infinity(library):
    rows = np.array([[-inf, -inf], [0.0, -inf]])
    actual, (gradient,) = ours(ops.logsumexp, [library(rows)], library(np.array([3.0, 5.0])))
    assert actual.tolist() == [-inf, 0]
    assert gradient.tolist() == [[0, 0], [5, 0]]


@libraries
def test_saturated_activations_stay_finite(library):
    x = library(np.array([-1e4, -800.0, 0.0, 800.0, 1e4]))
    ones = library(np.ones(5))
    for function, values, slopes in (
        (ops.sigmoid, [0, 0, 0.5, 1, 1], [0, 0, 0.25, 0, 0]),
        (ops.tanh, [-1, -1, 0, 1, 1], [0, 0, 1, 0, 0]),
        (ops.log_sigmoid, [-1e4, -800, -math.log(2), 0, 0], [1, 1, 0.5, 0, 0]),
        (ops.erf, [-1, -1, 0, 1, 1], [0, 0, 2 / math.sqrt(math.pi), 0, 0]),
    ):
        output, (gradient,) = ours(function, [x], ones)
        np.testing.assert_allclose(np.asarray(output), values, rtol=1e-15, atol=1e-300)
        np.testing.assert_allclose(np.asarray(gradient), slopes, rtol=1e-15, atol=1e-300)


def test_nan_is_not_hidden():
    x = Tensor([np.nan, 1.0])
    for function in (ops.relu, ops.abs, ops.max, ops.sum, ops.tanh, lambda a: ops.clip(a, -1, 1)):
        assert np.isnan(function(x).array).any()
    assert np.isnan(ops.maximum(x, 0.0).array[0])


@libraries
def test_mean_of_nothing_is_nan(library):
    x = Tensor(library(np.zeros((0, 3))), requires_grad=True)
    assert math.isnan(x.mean().item())
    mean = x.mean(axis=0)
    assert mean.shape == (3,)
    assert np.isnan(np.asarray(mean.array)).all()
    mean.backward(library(np.ones(3)))
    assert tuple(x.grad.shape) == (0, 3)


@libraries
def test_sums_of_masks_and_integers_count(library):
    mask = Tensor(library(np.array([[True, False], [True, True]])))
    assert mask.sum().item() == 3
    assert mask.mean().item() == 0.75
    assert mask.sum(axis=0).array.tolist() == [2, 1]
    assert ops.cumsum(mask, axis=1).array.tolist() == [[1, 1], [1, 2]]
    assert Tensor(library(np.array([100, 100], np.int8))).sum().item() == 200


EMPTY = {
    "add": lambda a: a + 1.0,
    "add broadcast": lambda a: a + np.ones((1, 3)),
    "exp": ops.exp,
    "relu": ops.relu,
    "where": lambda a: ops.where(np.zeros((0, 3), bool), a, 1.0),
    "sum": ops.sum,
    "sum 0": lambda a: a.sum(axis=0),
    "norm": ops.norm,
    "max 1": lambda a: a.max(axis=1),
    "logsumexp": ops.logsumexp,
    "softmax": ops.softmax,
    "log_softmax": ops.log_softmax,
    "cumsum": lambda a: ops.cumsum(a, axis=0),
    "reshape": lambda a: a.reshape(3, 0, 2),
    "permute": lambda a: a.permute_dims(1, 0),
    "concatenate": lambda a: ops.concatenate([a, np.ones((2, 3)), a]),
    "stack": lambda a: ops.stack([a, a]),
    "split": lambda a: ops.split(a, 3, axis=1)[1],
    "pad": lambda a: ops.pad(a, ((1, 1), (0, 0))),
    "getitem": lambda a: a[:, 1],
    "getitem array": lambda a: a[:, np.array([1, 1])],
    "getitem mask": lambda a: a[np.zeros(0, bool)],
    "take": lambda a: ops.take(a, [1, 2], axis=1),
    "take nothing": lambda a: ops.take(a, []),
    "take_along_axis": lambda a: ops.take_along_axis(a, np.zeros((0, 2), int), axis=1),
    "matmul": lambda a: a @ np.ones((3, 4)),
    "matmul inner": lambda a: a.mT @ np.ones((0, 4)),
    "linear": lambda a: ops.linear(a, np.ones((4, 3)), np.ones(4)),
}


@pytest.mark.parametrize("name", EMPTY)
def test_arrays_without_elements(name):
    output, (gradient,) = ours(
        EMPTY[name], [np.zeros((0, 3))], np.ones(EMPTY[name](Tensor(np.zeros((0, 3)))).shape)
    )
    assert gradient.shape == (0, 3)
    assert gradient.dtype == np.float64
    assert output.dtype == np.float64


def test_the_other_input_of_a_product_with_no_rows_gets_zeros():
    x, w, b = (Tensor(np.ones(s), requires_grad=True) for s in ((0, 3), (4, 3), (4,)))
    ops.linear(x, w, b).backward(np.ones((0, 4)))
    assert x.grad.shape == (0, 3)
    assert w.grad.tolist() == np.zeros((4, 3)).tolist()
    assert b.grad.tolist() == [0] * 4
    table = Tensor(np.ones((4, 3)), requires_grad=True)
    ops.take(table, []).backward(np.ones((0, 3)))
    assert table.grad.tolist() == np.zeros((4, 3)).tolist()


@libraries
def test_no_axes_at_all(library):
    """Zero-dimensional tensors go through everything, and stay zero-dimensional."""
    for function, slope in (
        (lambda a: a * a, 6.0),
        (lambda a: 2.0 / a, -2 / 9),
        (ops.exp, math.exp(3)),
        (lambda a: ops.maximum(a, 1.0), 1.0),
        (lambda a: a.sum(), 1.0),
        (lambda a: a.mean(), 1.0),
        (lambda a: a.max(), 1.0),
        (lambda a: ops.norm(-a), 1.0),
        (lambda a: ops.logsumexp(a, axis=None), 1.0),
        (lambda a: a[...], 1.0),
        (lambda a: a[()], 1.0),
        (lambda a: a[None].sum(), 1.0),
        (lambda a: a.reshape(1, 1).reshape(()), 1.0),
        (lambda a: a.permute_dims(), 1.0),
        (lambda a: ops.broadcast_to(a, (2, 3)).sum(), 6.0),
        (lambda a: ops.stack([a, a * a]).sum(), 7.0),
        (lambda a: ops.expand_dims(a, axis=0).sum(), 1.0),
        (lambda a: ops.pad(a, ()), 1.0),
        (lambda a: ops.where(np.array(True) if library is np.asarray else True, a, 0.0), 1.0),
    ):
        output, (gradient,) = ours(function, [library(np.array(3.0))], None)
        assert tuple(output.shape) == ()
        assert tuple(gradient.shape) == ()
        assert not isinstance(gradient, np.generic)
        assert float(gradient) == pytest.approx(slope, rel=1e-14)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 1), (1, 4)),
        ((1,), (2, 3)),
        ((), (2, 2)),
        ((1, 1, 1), (4,)),
        ((2, 1, 3), (5, 1)),
        ((0, 1), (3,)),
    ],
)
@libraries
def test_broadcasting_is_undone(a, b, library):
    x, y = np.random.default_rng(0).uniform(1, 2, a), np.random.default_rng(1).uniform(1, 2, b)
    for left, right in ((x, y), (y, x)):
        cotangent = random_like(left * right)
        expected, expected_gradients = torchs(lambda p, q: p * q + p / q, [left, right], cotangent)
        actual, found = ours(
            lambda p, q: p * q + p / q, [library(left), library(right)], library(cotangent)
        )
        assert_close(actual, expected)
        for mine, theirs in zip(found, expected_gradients):
            assert_close(mine, theirs)


@libraries
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tails_keep_their_digits(library, dtype):
    """σ(−20) is 2e-9 and no 0; and so are slopes, where a function has all but arrived at 1."""
    x = np.array([-80, -40, -20, -9, -1, -1e-3, 0, 1e-3, 1, 9, 20, 40, 80]).astype(dtype)
    wide = [np.longdouble(v) for v in x]
    sigmoid = [1 / (1 + np.exp(-v)) for v in wide]
    slope = [np.exp(-abs(v)) / (1 + np.exp(-abs(v))) ** 2 for v in wide]
    ones, nearly = library(np.ones(13, dtype)), {"rtol": 40 * float(np.finfo(dtype).eps)}
    for function, values, slopes in (
        (ops.sigmoid, sigmoid, slope),
        (
            ops.log_sigmoid,
            [-np.log1p(np.exp(-v)) for v in wide],
            [1 / (1 + np.exp(v)) for v in wide],
        ),
        (ops.tanh, np.tanh(wide), [1 / np.cosh(v) ** 2 for v in wide]),
    ):
        output, (gradient,) = ours(function, [library(x)], ones)
        tiny = 1e-37 if dtype is np.float32 else 0
        np.testing.assert_allclose(np.asarray(output), np.float64(values), atol=tiny, **nearly)
        np.testing.assert_allclose(np.asarray(gradient), np.float64(slopes), atol=tiny, **nearly)
