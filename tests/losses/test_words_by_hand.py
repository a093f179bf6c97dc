"""Negative sampling written out in NumPy, beside the engine's own gradients."""

import math

import numpy as np
import pytest

from minissl.autograd.tensor import Tensor
from minissl.losses.words import negative_sampling, negative_sampling_gradients


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 4), (17, 5, 8)])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_gradients_by_hand_are_the_engines(shape, scale):
    batch, k, width = shape
    generator = np.random.default_rng(0)
    arrays = [
        scale * generator.standard_normal(size)
        for size in ((batch, width), (batch, width), (batch, k, width))
    ]
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    loss = negative_sampling(*tensors)
    loss.backward()
    by_hand, *gradients = negative_sampling_gradients(*arrays)
    assert by_hand == pytest.approx(loss.item(), rel=1e-12)
    for gradient, tensor in zip(gradients, tensors, strict=True):
        assert gradient.shape == tensor.shape
        np.testing.assert_allclose(gradient, tensor.grad, rtol=1e-10, atol=1e-14)


def test_one_pair_is_what_it_is_by_hand():
    """w = c = n = 1: −log σ(1) − log σ(−1); the center is pulled by σ(1) − 1 and pushed by σ(1)."""
    one, sigmoid = np.ones((1, 1)), 1 / (1 + math.exp(-1))
    loss, center, context, negatives = negative_sampling_gradients(one, one, one[None])
    assert loss == pytest.approx(-math.log(sigmoid) - math.log(1 - sigmoid))
    assert center.item() == pytest.approx(2 * sigmoid - 1)
    assert (context.item(), negatives.item()) == pytest.approx((sigmoid - 1, sigmoid))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_scores_stay_finite_and_small_losses_keep_their_digits(dtype):
    one, many = np.ones((1, 1), dtype), np.array([[[1000.0], [-1000.0]]], dtype)
    loss, center, *others = negative_sampling_gradients(one, -1000 * one, many)
    assert (loss, center.item()) == (2000.0, 2000.0)
    assert {part.dtype for part in (center, *others)} == {np.dtype(dtype)}
    loss, center, *_ = negative_sampling_gradients(one, 30 * one, -30 * one[None])
    assert loss == pytest.approx(2 * math.exp(-30), rel=1e-6)
    assert center.item() == pytest.approx(-60 * math.exp(-30), rel=1e-6)
