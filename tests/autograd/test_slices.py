"""Gradients of slices: added into one array, however many there are, and as good as in float64."""

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor, checked, nodes
from minissl.autograd import operations as ops
from tests.autograd.compare import assert_close, to_float64

INDICES = [
    2, -1, (1, 2), slice(1, 3), slice(None, None, 2), (slice(None), 1), (..., slice(2)),
    (None, 0), (slice(3, 1), 0), (slice(None, None, -1), slice(1, 3)), (), ...,
]  # fmt: skip


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("watched", [False, True], ids=["", "checked"])
def test_slices_beside_the_whole(library, watched):
    """Every kind of slice, twice with other slopes, and the whole array in between."""
    array = np.random.default_rng(0).standard_normal((4, 3))
    expected, x = np.zeros_like(array), Tensor(library(array.copy()), requires_grad=True)
    with checked(watched):
        y, parts = x * 1.0, []
        for number, index in enumerate([*INDICES, *INDICES], 1):
            expected[index] += number
            parts.append(ops.sum(y[index]) * float(number))
            if number % 5 == 0:
                expected += 0.5
                parts.append(ops.sum(y) * 0.5)
        ops.sum(ops.stack(parts)).backward()
    assert_close(to_float64(x.grad), expected)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_one_slice_alone(dtype):
    x = Tensor(np.ones((3, 2), dtype), requires_grad=True)
    x[1].backward(np.array([2, 3], dtype))
    assert x.grad.dtype == dtype
    assert x.grad.tolist() == [[0, 0], [2, 3], [0, 0]]


@pytest.mark.parametrize(("dtype", "digits"), [("float16", 1e-3), ("float32", 1e-6)])
def test_many_slices_of_one_place(dtype, digits):
    """10,000 times .1 one by one: float32 loses its fifth digit, float16 stays at 256."""
    x = Tensor(np.ones(10, dtype), requires_grad=True)
    windows = ops.stack([x[i % 3 : 5] for i in range(0, 30_000, 3)])
    windows.backward(np.full((10_000, 5), 0.1, dtype))
    expected = 10_000 * np.float64(np.asarray(0.1, dtype)) * (np.arange(10) < 5)
    np.testing.assert_allclose(to_float64(x.grad), expected, rtol=digits)


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_a_few_slices_in_half_precision_are_rounded_once(library):
    x = Tensor(library(np.ones(3, np.float16)), requires_grad=True)
    ops.stack([x[:2] for _ in range(60)]).backward(library(np.full((60, 2), 0.1, np.float16)))
    assert to_float64(x.grad).tolist() == [*np.float16([60 * float(np.float16(0.1))] * 2), 0]


def test_many_slices_need_one_array(monkeypatch):
    """A thousand rows wrote a thousand arrays of a thousand rows, and added them up."""
    made, filled = [], nodes.filled
    monkeypatch.setattr(nodes, "filled", lambda *given: made.append(filled(*given)) or made[-1])
    x = Tensor(np.ones((1000, 2)), requires_grad=True)
    ops.sum(ops.concatenate([row * 3.0 for row in ops.split(x, 1000)])).backward()
    assert len(made) == 1
    assert (x.grad == 3).all()


def test_a_leaf_asks_only_for_its_own_memory(monkeypatch):
    """Each of n leaves looked at the gradients of all others: 8,000 took a second."""
    asked, memory = [], nodes.memory
    monkeypatch.setattr(nodes, "memory", lambda array: asked.append(array) or memory(array))
    leaves = [Tensor(np.ones(1), requires_grad=True) for _ in range(1000)]
    ops.sum(ops.concatenate(leaves)).backward()
    assert len(asked) < 10 * len(leaves)
    assert all(leaf.grad == 1 for leaf in leaves)
