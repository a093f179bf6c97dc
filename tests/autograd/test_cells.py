"""One step of an LSTM by hand: against torch, finite differences, and where the gates saturate."""

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor, gradcheck
from minissl.autograd.cells import lstm_cell, lstm_cell_back, lstm_step
from tests.autograd.compare import ours
from tests.autograd.fused_checks import draw

libraries = pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])


def in_torch(gates, c):
    """torch's own cell, whose gates are these because its weights do nothing to them."""
    wide = gates.shape[1]
    h = torch.zeros(len(gates), wide // 4, dtype=gates.dtype)
    nothing = torch.zeros(wide, wide // 4, dtype=gates.dtype)
    return torch.stack(torch.lstm_cell(gates, (h, c), torch.eye(wide).to(gates), nothing))


@libraries
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 5), (0, 3)])
def test_a_step_and_the_way_back_are_torchs(library, shape):
    batch, hidden = shape
    gates, c, cotangent = draw(batch, 4 * hidden), draw(*shape, seed=1), draw(2, *shape, seed=2)
    twins = [torch.tensor(a, requires_grad=True) for a in (gates, c)]
    theirs = in_torch(*twins)
    theirs.backward(torch.tensor(cotangent))
    output, gradients = ours(lstm_step, [library(gates), library(c)], library(cotangent))
    np.testing.assert_allclose(np.asarray(output), theirs.detach(), rtol=1e-13, atol=1e-15)
    for mine, twin in zip(gradients, twins):
        np.testing.assert_allclose(np.asarray(mine), twin.grad, rtol=1e-12, atol=1e-15)
    if batch and library is np.asarray:
        gradcheck(lstm_step, [gates, c])


@libraries
def test_where_gates_saturate_the_slopes_keep_their_digits(library):
    """σ′(±20) is 2e-9: 1 − σ would be 0 in float32."""
    gates = np.array([[20, -20, 0.5, 20], [-800, 800, 9, 0]], np.float32)
    c, one = np.array([[2.0], [-3.0]], np.float32), np.ones((2, 1), np.float32)
    given = [library(a) for a in (gates, c, one, one)]
    found = np.asarray(lstm_cell_back(*given)[0])
    i, f, g, o = np.split(gates.astype(np.longdouble), 4, axis=1)
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    slope = lambda a: sigmoid(a) * sigmoid(-a)  # noqa: E731
    new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    dc = 1 + sigmoid(o) * 4 * slope(2 * new)
    exact = [dc * np.tanh(g) * slope(i), dc * c * slope(f), dc * sigmoid(i) * 4 * slope(2 * g)]
    exact = np.concatenate([*exact, np.tanh(new) * slope(o)], axis=1)
    np.testing.assert_allclose(found, exact.astype(np.float64), rtol=3e-6, atol=1e-37)
    h, cell = (np.asarray(a) for a in lstm_cell(*given[:2]))
    assert h.dtype == cell.dtype == np.float32
    np.testing.assert_allclose(cell, new.astype(np.float64), rtol=1e-6)


@libraries
def test_half_precision_is_rounded_once(library):
    gates, c = draw(3, 8).astype(np.float16), draw(3, 2, seed=1).astype(np.float16)
    exact = np.stack(lstm_cell(gates.astype(np.float64), c.astype(np.float64)))
    found = np.asarray(lstm_step(Tensor(library(gates)), Tensor(library(c))).array)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, exact, rtol=2.0**-10)
