"""GELU against float64 NumPy and torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from minissl_kernels.gelu import BLOCK, gelu, reference

from tests.kernels.compare import assert_as_accurate, float64

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
FORMULAS = ["tanh", "none"]


def run(function, x, g, approximate):
    x = x.detach().requires_grad_()  # not a clone, which would be contiguous
    y = function(x, approximate=approximate)
    y.backward(g)
    return y.detach(), x.grad


def check(x, approximate):
    g = torch.randn_like(x)
    ours, theirs = run(gelu, x, g, approximate), run(F.gelu, x, g, approximate)
    expected = reference(float64(x), float64(g), approximate)
    for name, a, b, c in zip(("y", "dx"), ours, expected, theirs):
        assert_as_accurate(a, b, c, what=name)


@pytest.mark.parametrize("approximate", FORMULAS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, BLOCK + 1), (BLOCK,), ()], ids=str)
def test_values_and_gradients(device, shape, dtype, approximate):
    torch.manual_seed(0)
    check(2 * torch.randn(shape, device=device, dtype=dtype), approximate)


@pytest.mark.parametrize("approximate", FORMULAS)
def test_views_that_are_not_contiguous_or_not_aligned(device, approximate):
    torch.manual_seed(1)
    x = torch.randn(9, 33, device=device)
    for view in (x.T, x[:, ::2], x.reshape(-1)[1:], x[1:, 3:]):
        check(view, approximate)


@pytest.mark.parametrize("approximate", FORMULAS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_far_from_zero_it_is_relu(device, dtype, approximate):
    largest = torch.finfo(dtype).max
    x = torch.tensor([-largest, -1e4, -30, 30, 1e4, largest], dtype=dtype, device=device)
    y, dx = run(gelu, x, torch.ones_like(x), approximate)
    assert torch.allclose(y, x.clamp(min=0), rtol=0, atol=1e-30)
    assert torch.allclose(dx, (x > 0).to(dtype), rtol=0, atol=1e-30)


@pytest.mark.parametrize("approximate", FORMULAS)
def test_small_values_keep_their_digits(device, approximate):
    x = torch.logspace(-30, -1, 200, device=device)
    y, dx = run(gelu, x, torch.ones_like(x), approximate)
    expected_y, expected_dx = reference(float64(x), np.ones(200), approximate)
    assert np.abs(float64(y) / expected_y - 1).max() < 1e-6
    assert np.abs(float64(dx) / expected_dx - 1).max() < 1e-6


@pytest.mark.parametrize("approximate", FORMULAS)
def test_the_reference_against_differences(approximate):
    generator = np.random.default_rng(0)
    x, g, step = *generator.standard_normal((2, 50)), 1e-6
    up, down = (reference(x + s, g, approximate)[0] for s in (step, -step))
    assert np.allclose(g * (up - down) / (2 * step), reference(x, g, approximate)[1], atol=1e-8)
    double = F.gelu(torch.from_numpy(x), approximate=approximate).numpy()
    assert np.allclose(reference(x, g, approximate)[0], double, rtol=1e-12)


def test_as_an_operator_of_torch(device):
    x = torch.randn(4, 9, device=device, requires_grad=True)
    torch.library.opcheck(torch.ops.minissl.gelu, (x, "tanh"))
    compiled = torch.compile(gelu, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), gelu(x))
    y = gelu(x)
    g = torch.randn_like(y)
    first = torch.autograd.grad(y, x, g, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(y, x, g)[0])


def test_nothing_and_wrong_things(device):
    assert gelu(torch.empty(0, 3, device=device)).shape == (0, 3)
    x = torch.ones(2, device=device)
    with pytest.raises(ValueError, match="must be 'tanh' or 'none', got 'exact'"):
        gelu(x, "exact")
    with pytest.raises(TypeError, match="float32, float16 or bfloat16"):
        gelu(x.double())
