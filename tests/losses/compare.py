"""A loss and its gradients, ours and torch's, on the same float64 arrays."""

import warnings

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor


def of_ours(loss, *arrays, cotangent=None):
    tensors = [Tensor(np.array(a), requires_grad=True) for a in arrays]
    result = loss(*tensors)
    result.backward(cotangent)
    return result.numpy(), [t.grad for t in tensors]


def of_torch(loss, *arrays, cotangent=None):
    tensors = [torch.from_numpy(np.array(a)).requires_grad_() for a in arrays]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = loss(*tensors)
    result.backward(None if cotangent is None else torch.from_numpy(cotangent))
    return result.detach().numpy(), [t.grad.numpy() for t in tensors]


def assert_same(ours, theirs, *arrays, factor=1.0, tolerance=1e-9):
    """Ours is factor × theirs, and so are the gradients. ``tolerance``: of theirs, which may add
    tiny numbers here and there."""
    value, gradients = of_ours(ours, *arrays)
    expected, expected_gradients = of_torch(theirs, *arrays)
    assert float(value) == pytest.approx(factor * float(expected), rel=tolerance, abs=tolerance)
    assert np.abs(gradients[0]).max() > 1e-4  # or nothing is compared
    for gradient, reference in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, factor * reference, rtol=tolerance, atol=tolerance)


def batch(rows=12, width=5, classes=3, seed=0):
    """Embeddings and labels in no order; with some of their label near."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(rows) % classes)
    centers = generator.standard_normal((classes, width))
    return centers[labels] + 0.8 * generator.standard_normal((rows, width)), labels
