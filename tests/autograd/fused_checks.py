"""What must hold for every fused operation, at one choice of settings."""

import numpy as np
import torch

from minissl.autograd import Tensor, no_grad
from tests.autograd.compare import (
    assert_as_good_as_torch,
    assert_close,
    ours,
    random_like,
    scrambled,
    torchs,
)


def draw(*shape, seed=0, scale=1.0):
    return np.random.default_rng(seed).standard_normal(shape) * scale


def check(function, composition, torch_function, inputs, bits=6):
    """Everything that must hold for a fused operation at one choice of settings.

    float64: equal to the composition and to torch, any strides, inputs and cotangent untouched.
    float32: as near to float64 as torch's float32 is.
    """
    with no_grad():
        shape = function(*map(Tensor, inputs))
    cotangent = random_like(shape)
    frozen = [a.copy() for a in (*inputs, cotangent)]
    for array in frozen:
        array.setflags(write=False)
    *frozen_inputs, frozen_cotangent = frozen
    exact, exact_gradients = torchs(torch_function, inputs, cotangent)
    for f, arrays, c in (
        (function, frozen_inputs, frozen_cotangent),
        (composition, frozen_inputs, frozen_cotangent),
        (function, [scrambled(a) for a in inputs], scrambled(cotangent)),
    ):
        output, gradients = ours(f, arrays, c)
        assert_close(output, exact, bits=bits)
        assert_close(shape.array, output, bits=bits)
        for gradient, exact_gradient in zip(gradients, exact_gradients, strict=True):
            assert gradient.dtype == np.float64
            assert_close(gradient, exact_gradient, bits=bits)

    narrow = [a.astype(np.float32) for a in inputs]
    wide = [a.astype(np.float64) for a in narrow]
    cotangent = cotangent.astype(np.float32)
    exact, exact_gradients = torchs(torch_function, wide, cotangent.astype(np.float64))
    rival, rival_gradients = torchs(torch_function, narrow, cotangent)
    output, gradients = ours(function, narrow, cotangent)
    assert output.dtype == np.float32
    assert_as_good_as_torch(output, rival, exact)
    for gradient, other, exact_gradient in zip(
        gradients, rival_gradients, exact_gradients, strict=True
    ):
        assert gradient.dtype == np.float32
        assert_as_good_as_torch(gradient, other, exact_gradient)


def runs_on_torch_arrays(function, inputs):
    """The same signature on torch arrays, where the composition is what runs."""
    output = function(*map(Tensor, inputs))
    cotangent = random_like(output)
    expected, expected_gradients = ours(function, inputs, cotangent)
    actual, gradients = ours(function, [torch.tensor(a) for a in inputs], torch.tensor(cotangent))
    assert isinstance(actual, torch.Tensor)
    assert_close(actual, expected, bits=6)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        assert isinstance(gradient, torch.Tensor)
        assert_close(gradient, expected_gradient, bits=6)
