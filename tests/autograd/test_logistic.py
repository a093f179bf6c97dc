"""The logistic loss against its composition, torch, and float64 far out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minissl.autograd import Tensor, composed, fused, gradcheck
from minissl.autograd.threads import engine_threads
from tests.autograd.compare import ours, to_float64
from tests.autograd.fused_checks import check, draw, runs_on_torch_arrays

libraries = pytest.mark.parametrize("library", [np.array, torch.tensor], ids=["numpy", "torch"])


def weights(*shape):
    """A third seen, a third noise, of the rest some both and some neither."""
    generator = np.random.default_rng(9)
    kind = generator.integers(0, 6, shape)
    positive = np.where(np.isin(kind, [0, 1, 4]), generator.random(shape) * 3, 0.0)
    return positive, np.where(np.isin(kind, [2, 3, 4]), generator.random(shape), 0.0)


def by_torch(positive, negative):
    def loss(x):
        p, n = (torch.as_tensor(w).to(x.dtype) for w in (positive, negative))
        return (p * F.softplus(-x) + n * F.softplus(x)).sum()

    return loss


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 3, 7), (0, 4), (300_001,)])
def test_logistic_loss(shape):
    p, n = weights(*shape)
    inputs = [np.asarray(draw(*shape, scale=3.0))]
    run = lambda x: fused.logistic_loss(x, p, n)  # noqa: E731
    check(run, lambda x: composed.logistic_loss(x, p.astype(x.dtype), n.astype(x.dtype)),
          by_torch(p, n), inputs, bits=8)  # fmt: skip
    runs_on_torch_arrays(run, inputs)
    if 0 < np.prod(shape) < 100:
        gradcheck(run, inputs)


def test_it_is_torchs_binary_cross_entropy():
    x, target = draw(50, scale=4.0), np.random.default_rng(1).random(50)
    loss, (gradient,) = ours(lambda t: fused.logistic_loss(t, target, 1 - target), [x])
    theirs = torch.tensor(x, requires_grad=True)
    expected = F.binary_cross_entropy_with_logits(theirs, torch.tensor(target), reduction="sum")
    expected.backward()
    assert float(loss) == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=1e-12, atol=1e-15)


@libraries
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_digit_is_kept_where_a_pair_is_told_well(dtype, library):
    """log(1 + e^−20) is 2e−9, of which 20 + 2e−9 − 20 has nothing left."""
    eps = np.finfo(dtype).eps
    for sign, real in ((1, True), (-1, False), (-1, True), (1, False)):
        for size in (0.0, 1e-3, 0.5, 3.0, 10.0, 20.0, 40.0, 80.0):
            x = np.array([sign * size], dtype)
            p, n = np.array([real], dtype), np.array([not real], dtype)
            away = np.longdouble(x[0]) * (1 if real else -1)  # how well it is told
            exact = np.logaddexp(np.longdouble(0), -away)
            slope = -1 / (1 + np.exp(away)) * (1 if real else -1)
            loss, (gradient,) = ours(
                lambda t, p=p, n=n: fused.logistic_loss(t, library(p), library(n)), [library(x)]
            )
            assert abs(to_float64(loss) - exact) <= 4 * eps * exact, (sign, size, real)
            assert abs(to_float64(gradient)[0] - slope) <= 4 * eps * abs(slope), (sign, size, real)


@libraries
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_far_out(dtype, library):
    x = np.array([1e4, -1e4, 1e4, -1e4], dtype)
    p, n = np.array([1, 0, 0, 1], dtype), np.array([0, 1, 1, 0], dtype)
    loss, (gradient,) = ours(lambda t: fused.logistic_loss(t, library(p), library(n)), [library(x)])
    assert float(loss) == 2e4
    assert to_float64(gradient).tolist() == [0, 0, 1, -1]


@libraries
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_where_both_weights_are_0_a_logit_may_be_anything(value, library):
    x = np.array([value, 1.0, value])
    p, n = np.array([0.0, 2.0, 0.0]), np.array([0.0, 0.5, 0.0])
    for run in (fused.logistic_loss, composed.logistic_loss):
        loss, (gradient,) = ours(lambda t, run=run: run(t, library(p), library(n)), [library(x)])
        alone, (slope,) = ours(lambda t: fused.logistic_loss(t, [2.0], [0.5]), [x[1:2]])
        assert float(loss) == pytest.approx(float(alone), rel=1e-14)
        np.testing.assert_allclose(to_float64(gradient), [0, slope[0], 0], rtol=1e-14)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@libraries
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("p", "n"), [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (np.nan, 0.0), (-1, 1)])
def test_what_counts_and_is_not_finite_is_seen(value, p, n, library):
    x, p, n = np.array([0.0, value]), library(np.array([1.0, p])), library(np.array([1.0, n]))
    for run in (fused.logistic_loss, composed.logistic_loss):
        loss, (gradient,) = ours(lambda t, run=run: run(t, p, n), [library(x)])
        assert np.isnan(float(loss))
        assert np.isnan(to_float64(gradient)).tolist() == [False, True]


def test_many_logits_lose_no_digits():
    x = np.full(3_000_000, 0.1, np.float32)
    ones = np.ones_like(x)
    exact = len(x) * np.logaddexp(0, np.float64(np.float32(0.1)))
    results = []
    for threads in (1, 2):
        with engine_threads(threads):
            results.append(ours(lambda t: fused.logistic_loss(t, 0 * ones, ones), [x]))
    assert float(results[0][0]) == pytest.approx(exact, rel=1e-6)
    assert results[0][0].tobytes() == results[1][0].tobytes()
    assert results[0][1][0].tobytes() == results[1][1][0].tobytes()


@libraries
@pytest.mark.parametrize("dtype", ["int64", "bool", "float16", "float64"])
def test_weights_take_the_dtype_of_the_logits(dtype, library):
    x, p, n = np.array([0.5, -2.0], np.float32), np.array([1, 0], dtype), np.array([0, 1], dtype)
    right, (slope,) = ours(lambda t: fused.logistic_loss(t, p, n), [x.astype(np.float64)])
    for given in (library(p), Tensor(library(p))):
        loss, (gradient,) = ours(
            lambda t, given=given: fused.logistic_loss(t, given, n), [library(x)]
        )
        assert str(loss.dtype).endswith("float32")
        assert float(loss) == pytest.approx(float(right), rel=1e-6)
        np.testing.assert_allclose(to_float64(gradient), slope, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: fused.logistic_loss(x, [1.0], [0.0, 1.0]), ValueError,
         r"positive has shape \(1,\), expected a weight for each logit, \(2,\)"),
        (lambda x: fused.logistic_loss(x, [1.0, 0.0], 1.0), ValueError, r"negative has shape \(\)"),
        (lambda x: fused.logistic_loss([1, 2], [1, 0], [0, 1]), TypeError, "got int64"),
        (lambda x: fused.logistic_loss(x.array.astype(int), [1, 0], [0, 1]), TypeError,
         "logistic_loss: expected floating arrays, got int64"),
        (lambda x: fused.logistic_loss(x, x, [0, 1]), TypeError,
         "positive is not learned, and this tensor needs a gradient: pass tensor.detach"),
        (lambda x: fused.logistic_loss(x, [0, 1], torch.ones(2, requires_grad=True)), TypeError,
         "negative is not learned"),
    ],
)  # fmt: skip
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(Tensor([1.0, 2.0], requires_grad=True))
