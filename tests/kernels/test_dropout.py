"""Dropout: the mask bit for bit as in NumPy, in the forward and in the backward."""

import numpy as np
import pytest
import torch
from minissl_kernels.dropout import QUARTER, dropout, keep_mask, reference

from tests.kernels.compare import assert_as_accurate, float64

BLOCK = 4 * QUARTER


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1,), (3, 7), (BLOCK,), (2, BLOCK + 5), ()], ids=str)
def test_values_and_gradients(device, shape, dtype):
    torch.manual_seed(0)
    x, g = (torch.randn(shape, device=device).to(dtype) for _ in range(2))
    x.requires_grad_()
    y = dropout(x, 0.3, 2**40 + 5)
    (gradient,) = torch.autograd.grad(y, x, g)
    mask = torch.from_numpy(keep_mask(x.numel(), 0.3, 2**40 + 5)).reshape(shape).to(device)
    for ours, source in ((y.detach(), x.detach()), (gradient, g)):
        peer = torch.where(mask, source * (1 / 0.7), 0.0)
        assert_as_accurate(ours, reference(float64(source), 0.3, 2**40 + 5), peer)
        assert torch.equal(ours != 0, mask)


def test_every_block_draws_its_own_numbers(device, unsanitised):
    """More than 2^16 numbers: each half of the position takes part."""
    n = 66 * BLOCK
    mask = dropout(torch.ones(n, device=device), 0.5, 9).cpu().numpy() != 0
    assert np.array_equal(mask, keep_mask(n, 0.5, 9))


def test_a_probability_next_to_1_drops(device):
    """Its threshold rounds to 2^32, which in 32 bits is 0: everything would be kept, x 10^12."""
    x = torch.ones(9, device=device)
    assert not dropout(x, 1 - 1e-12, 1).any()
    assert not keep_mask(9, 1 - 1e-12, 1).any()


def test_the_mask_is_random():
    mask = keep_mask(100_000, 0.2, 7)
    assert abs(mask.mean() - 0.8) < 0.005
    assert abs(np.corrcoef(mask[:-1], mask[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(mask[:-QUARTER], mask[QUARTER:])[0, 1]) < 0.02
    assert not np.array_equal(mask, keep_mask(100_000, 0.2, 8))
    assert keep_mask(50, 0.0, 1).all()


def test_views_and_the_seed_on_the_device(device, reversed_programs):
    x = torch.randn(9, 12, device=device)
    for view in (x.T, x[:, ::2], x.reshape(-1)[1:]):
        ours = dropout(view, 0.5, torch.tensor([11], device=device))
        want = reference(float64(view), 0.5, 11)
        assert np.allclose(float64(ours), want, rtol=1e-6)


def test_as_an_operator_of_torch(device):
    x = torch.randn(4, 9, device=device, requires_grad=True)
    seed = torch.tensor([3], device=device)
    torch.library.opcheck(torch.ops.minissl.dropout, (x, 0.2, seed))
    compiled = torch.compile(dropout, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, 0.2, 3), dropout(x, 0.2, 3))


def test_nothing_and_wrong_things(device):
    assert dropout(torch.empty(0, 3, device=device), 0.5, 1).shape == (0, 3)
    x = torch.ones(2, device=device)
    assert torch.equal(dropout(x, 0.0, 1), x)
    for probability in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\)"):
            dropout(x, probability, 1)
    with pytest.raises(TypeError, match="float32, float16 or bfloat16"):
        dropout(x.double(), 0.5, 1)
