"""GELU and layer norm; and the threads that all fused operations share.

Convolution and pooling are tested with the layers that use them.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minissl.autograd import Tensor, composed, fused, gradcheck
from minissl.autograd.threads import engine_threads
from tests.autograd.compare import assert_as_good_as_torch, ours, random_like, torchs
from tests.autograd.fused_checks import check, draw, runs_on_torch_arrays

# ---- gelu ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("approximate", ["tanh", "none"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 3, 7), (0, 4), (200_001,)])
def test_gelu(approximate, shape):
    inputs = [np.asarray(draw(*shape, scale=2.0))]
    check(
        lambda x: fused.gelu(x, approximate),
        lambda x: composed.gelu(x, approximate),
        lambda x: F.gelu(x, approximate=approximate),
        inputs,
    )
    runs_on_torch_arrays(lambda x: fused.gelu(x, approximate=approximate), inputs)
    if 0 < math.prod(shape) < 100:
        gradcheck(lambda x: fused.gelu(x, approximate), inputs)


@pytest.mark.parametrize("approximate", ["tanh", "none"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_far_out(approximate, dtype):
    x = np.array([-1e4, -100, -10, -0.0, 0.0, 10, 100, 1e4], dtype)
    output, (gradient,) = ours(lambda a: fused.gelu(a, approximate), [x], np.ones(8, dtype))
    np.testing.assert_allclose(output, np.where(x > 0, x, 0), rtol=1e-6, atol=1e-20)
    slopes = np.where(x == 0, 0.5, x > 0)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-20)


@pytest.mark.parametrize("approximate", ["tanh", "none"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("power", [0.3, 0.4, 0.48])
def test_gelu_where_only_its_cube_is_too_large(approximate, dtype, power):
    """A slope that is 0 there stays 0: x³ times 0 would be NaN."""
    x = np.array([-1, 1], dtype) * dtype(float(np.finfo(dtype).max) ** power)
    with np.errstate(over="ignore"):
        output, (gradient,) = ours(lambda a: fused.gelu(a, approximate), [x], np.ones(2, dtype))
    np.testing.assert_array_equal(output, [0, x[1]])
    np.testing.assert_array_equal(gradient, [0, 1])


@pytest.mark.parametrize(("dtype", "digits"), [(np.float32, 12), (np.float64, 16)])
def test_gelu_keeps_its_digits_where_it_is_nearly_a_line(dtype, digits):
    """In units of the last digit: 1 − tanh u is known exactly there, 1 − ½(1 + tanh u) is not."""
    x = np.linspace(-10, 10, 40_001).astype(dtype)
    output, (gradient,) = ours(fused.gelu, [x], np.ones_like(x))
    x = x.astype(np.longdouble)
    root, a = np.sqrt(2 / np.longdouble(math.pi)), np.longdouble("0.044715")
    u, to_u = root * (x + a * x**3), root * (1 + 3 * a * x**2)
    h, rest = 1 / (1 + np.exp(-2 * u)), 1 / (1 + np.exp(2 * u))
    last = np.finfo(dtype).eps
    assert abs(output - x * h).max() < 5 * last
    assert abs(gradient - h - x * h * rest * 2 * to_u).max() < digits * last


def test_the_exact_gelu_in_single_keeps_the_digits_of_its_tail():
    """Against SciPy's Φ in double; torch's own has no digit left at −6, where 1 + erf is 0."""
    from scipy.special import ndtr

    x = np.linspace(-8, 8, 160_001).astype(np.float32)
    output, (gradient,) = ours(lambda a: fused.gelu(a, "none"), [x], np.ones_like(x))
    assert output.dtype == gradient.dtype == np.float32
    wide = x.astype(np.float64)
    phi, density = ndtr(wide), np.exp(-(wide**2) / 2) / math.sqrt(2 * math.pi)
    near = (abs(x) < 6) & (x != 0)
    expected = wide * phi
    assert (abs(output - expected)[near] / abs(expected)[near]).max() < 4e-6
    theirs = F.gelu(torch.from_numpy(x)).numpy()
    assert abs(output - expected).max() < 2 * abs(theirs - expected).max()
    assert abs(gradient - phi - wide * density).max() < 5e-7
    odd = np.array([np.inf, np.nan, 3e38], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        assert fused.gelu(odd, "none").numpy()[[0, 2]].tolist() == odd[[0, 2]].tolist()
        assert np.isnan(fused.gelu(odd, "none").numpy()[1])


def test_gelu_by_another_name():
    with pytest.raises(ValueError, match="'tanh' or 'none', got 'exact'"):
        fused.gelu(Tensor([1.0]), approximate="exact")


# ---- layer norm ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (1, 8), (3, 1, 5), (2, 3, 7), (0, 4), (3000, 33)])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_layer_norm(shape, eps):
    width = shape[-1]
    inputs = [draw(*shape) * 3 + 1, draw(width, seed=1), draw(width, seed=2)]
    check(
        lambda x, w, b: fused.layer_norm(x, w, b, eps=eps),
        lambda x, w, b: composed.layer_norm(x, w, b, eps),
        lambda x, w, b: F.layer_norm(x, (width,), w, b, eps),
        inputs,
        bits=10,
    )
    runs_on_torch_arrays(fused.layer_norm, inputs)
    if 0 < math.prod(shape) < 100:
        gradcheck(fused.layer_norm, inputs)


def test_layer_norm_of_a_large_mean_and_of_constant_rows():
    """Subtracting the mean first keeps the digits that E[x²] − E[x]² would lose."""
    x = (draw(4, 64, scale=0.5) + 1000).astype(np.float32)
    w, b = np.ones(64, np.float32), np.zeros(64, np.float32)
    c = random_like(x).astype(np.float32)
    exact, (exact_gradient, *_) = torchs(
        lambda *t: F.layer_norm(t[0], (64,), t[1], t[2]),
        [a.astype(np.float64) for a in (x, w, b)],
        c.astype(np.float64),
    )
    rival, (rival_gradient, *_) = torchs(
        lambda *t: F.layer_norm(t[0], (64,), t[1], t[2]), [x, w, b], c
    )
    output, (gradient, *_) = ours(fused.layer_norm, [x, w, b], c)
    assert_as_good_as_torch(output, rival, exact)
    assert_as_good_as_torch(gradient, rival_gradient, exact_gradient)
    constant, _ = ours(
        fused.layer_norm, [np.full((2, 8), 7.0), draw(8), draw(8, seed=1)], draw(2, 8)
    )
    np.testing.assert_array_equal(constant, np.tile(draw(8, seed=1), (2, 1)))


def test_layer_norm_of_other_widths():
    with pytest.raises(ValueError, match=r"width 4.*shape \(4,\).*\(5,\) and \(4,\)"):
        fused.layer_norm(Tensor(draw(2, 4)), Tensor(draw(5)), Tensor(draw(4)))


# ---- threads ------------------------------------------------------------------------------------

LARGE = {
    "gelu": (fused.gelu, [draw(1000, 301)]),
    "layer norm": (fused.layer_norm, [draw(1000, 301), draw(301), draw(301, seed=1)]),
    "attention": (
        lambda *t: fused.attention(*t, causal=True, dropout=0.1, seed=1),
        [draw(16, 2, 64, 8, seed=i) for i in range(3)],
    ),
    "cross entropy": (
        lambda t: fused.cross_entropy(t, np.arange(1000) % 301, label_smoothing=0.1),
        [draw(1000, 301)],
    ),
    "logistic loss": (
        lambda t: fused.logistic_loss(
            t, draw(1000, 301, seed=1) ** 2, draw(1000, 301, seed=2) ** 2
        ),
        [draw(1000, 301)],
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_the_number_of_threads_changes_nothing(name):
    function, inputs = LARGE[name]
    cotangent = random_like(function(*map(Tensor, inputs)))
    results = []
    for count in (1, 3):
        with engine_threads(count):
            results.append(ours(function, inputs, cotangent))
    (alone, alone_gradients), (together, together_gradients) = results
    np.testing.assert_array_equal(alone, together)
    for one, other in zip(alone_gradients, together_gradients, strict=True):
        np.testing.assert_array_equal(one, other)
