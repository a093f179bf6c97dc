"""Sums of many equal numbers, where one running float32 sum would drift or stop growing."""

import numpy as np
import pytest
import torch
from minissl_kernels.adamw import gradient_norm
from minissl_kernels.attention import attention
from minissl_kernels.contrastive import info_nce
from minissl_kernels.cross_entropy.reduction import reduce
from minissl_kernels.layer_norm import configuration, layer_norm

pytestmark = pytest.mark.usefixtures("unsanitised")
MANY = 300_000
TENTH = float(np.float32(0.1))


def near(value, expected, relative=2e-5):
    return abs(float(value.detach()) / expected - 1) < relative


@pytest.mark.parametrize("rows", [MANY, 4_000_000])
def test_the_mean_and_the_sum_of_a_batch(device, rows):
    losses = torch.full((rows,), 0.1, device=device)
    targets = torch.zeros(rows, dtype=torch.int32, device=device)
    settings = ("cross_entropy", losses, None, targets, 2, -100)
    assert near(reduce(*settings, "sum")[0], TENTH * rows, 1e-6)
    mean, divisor = reduce(*settings, "mean")
    assert near(mean, TENTH, 1e-6)
    assert divisor == rows


def test_a_mean_by_weights(device):
    losses = torch.full((MANY,), 0.1, device=device)
    targets = torch.zeros(MANY, dtype=torch.int32, device=device)
    mean, divisor = reduce("cross_entropy", losses, losses * 3, targets, 2, -100, "mean")
    assert near(mean, 1 / 3, 1e-6)
    assert near(divisor, 3 * TENTH * MANY, 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_the_gradients_of_layer_norms_parameters(device, monkeypatch, dtype):
    """∂w and ∂b over 300,000 rows; float16 parameters could not hold such sums."""
    module = __import__("minissl_kernels.layer_norm", fromlist=["layer_norm"])
    if device.type == "cpu":  # larger blocks: fewer programs to interpret
        wide = configuration(2)._replace(forward_rows=8192, backward_rows=1024)
        monkeypatch.setattr(module, "configuration", lambda width: wide)
    x = torch.tensor([[-1.0, 1.0]], device=device, dtype=dtype).expand(MANY, 2).contiguous()
    weight, bias = (torch.ones(2, device=device, requires_grad=True) for _ in range(2))
    g = torch.full_like(x, 0.1)
    dw, db = torch.autograd.grad(layer_norm(x, weight, bias, 1e-9), (weight, bias), g)
    share = float(g[0, 0]) * MANY
    assert near(db[0], share)
    assert near(db[1], share)
    assert near(-dw[0] if dw[0] < 0 else dw[1], share)


def test_attention_over_many_keys_and_many_queries(device):
    """Weights of 1 / keys on values of 0.1; and a key that many queries share."""
    many, few = (torch.zeros(1, 1, size, 16, device=device) for size in (2**13, 16))
    value = torch.full_like(many, 0.1).requires_grad_()
    output = attention(few, many, value)
    assert near(output.min(), TENTH)
    assert near(output.max(), TENTH)
    value = torch.full_like(few, 0.1).requires_grad_()
    g = torch.full_like(many, 0.1)
    (gradient,) = torch.autograd.grad(attention(many, few, value), value, g)
    assert near(gradient.min(), TENTH * 2**13 / 16)
    assert near(gradient.max(), TENTH * 2**13 / 16)


def test_a_loss_among_many_candidates(device):
    query = torch.full((2, 16), 0.1, device=device)
    key = torch.full((2**14, 16), 0.1, device=device, requires_grad=True)
    loss = info_nce(query, key)
    assert near(loss, np.log(2**14))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_the_norm_of_many_gradients(device, dtype):
    gradient = torch.full((2_000_000,), 0.1, device=device, dtype=dtype)
    assert near(gradient_norm([gradient]), float(gradient[0]) * np.sqrt(2_000_000))
