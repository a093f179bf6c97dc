"""Updates by gradients that have some rows only: the dense update, or a refusal in words."""

import json

import numpy as np
import pytest
import torch

from minissl.autograd import operations as ops
from minissl.autograd.rows import Rows
from minissl.nn import Embedding
from minissl.nn.module import Parameter
from minissl.optim import SGD, AdaGrad, AdamW, clip_grad_norm, grad_norm

IDS = [np.array([3, 3, 0]), np.array([7, 1]), np.array([0, 3, 7, 7]), np.array([], np.int64)]
TAKERS = {
    "sgd": lambda named: SGD(named, lr=0.1),
    "adagrad": lambda named: AdaGrad(named, lr=0.1),
    "adagrad from 1": lambda named: AdaGrad(named, lr=0.1, initial_sum=1.0),
}
takers = pytest.mark.parametrize("make", TAKERS.values(), ids=TAKERS.keys())
libraries = pytest.mark.parametrize("library", [np.array, torch.tensor], ids=["numpy", "torch"])


def trained(make, sparse, steps, library=np.array, dtype=np.float64, table=None, state=None):
    """A table after these steps, with clipping and another learning rate in each; its optimizer."""
    if table is None:
        table = np.random.default_rng(0).standard_normal((9, 4))
    weight = Parameter(library(np.asarray(table, dtype)))
    optimizer = make([("table", weight)])
    if state is not None:
        optimizer.load_state_dict(state)
    for step in steps:
        generator = np.random.default_rng(step)
        ids = IDS[step % len(IDS)]
        optimizer.zero_grad()
        optimizer.lr = 0.1 * (1 + step % 3)
        for _ in range(2):  # two batches
            found = ops.take(weight, ids, sparse=sparse)
            found.backward(library(generator.standard_normal((len(ids), 4)).astype(dtype)))
        weight.grad = weight.grad / 2
        assert isinstance(weight.grad, Rows) == sparse
        optimizer.step_if_finite(1.0, max_norm=1.5)
    return weight.array, optimizer


@libraries
@takers
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-13), (np.float32, 1e-5)])
def test_rows_are_moved_as_the_dense_update_moves_them(make, dtype, rtol, library):
    found, mine = trained(make, True, range(12), library, dtype)
    expected, theirs = trained(make, False, range(12), library, dtype)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=rtol)
    start = np.random.default_rng(0).standard_normal((9, 4)).astype(dtype)
    never = [row for row in range(9) if row not in (0, 1, 3, 7)]
    np.testing.assert_array_equal(found[never], start[never])
    assert mine.state_dict().keys() == theirs.state_dict().keys()
    for name, array in mine.state_dict().items():
        np.testing.assert_allclose(array, theirs.state_dict()[name], rtol=rtol)


@pytest.mark.parametrize("first", [0.0, 1.0])
def test_adagrad_equals_torchs_on_sparse_gradients(first):
    layer = Embedding(9, 4, sparse=True, generator=np.random.default_rng(0))
    weights = layer.weight.array.astype(np.float64)
    layer.weight.array = weights.copy()
    theirs = torch.nn.Embedding(9, 4, sparse=True, _weight=torch.tensor(weights))
    mine = AdaGrad(layer.named_parameters(), lr=0.3, initial_sum=first)
    other = torch.optim.Adagrad(theirs.parameters(), lr=0.3, initial_accumulator_value=first)
    for step in range(8):
        ids, goal = IDS[step % 3], np.random.default_rng(step).standard_normal(4)
        for optimizer in (mine, other):
            optimizer.zero_grad()
        ((layer(ids) - goal) ** 2).sum().backward()
        ((theirs(torch.tensor(ids)) - torch.tensor(goal)) ** 2).sum().backward()
        mine.step()
        with torch.sparse.check_sparse_tensor_invariants():  # else it warns
            other.step()
    np.testing.assert_allclose(layer.weight.array, theirs.weight.detach().numpy(), rtol=1e-12)


@takers
def test_a_restored_state_continues_bit_for_bit(make):
    whole, _ = trained(make, True, range(9), dtype=np.float32)
    half, optimizer = trained(make, True, range(4), dtype=np.float32)
    state = {name: array.copy() for name, array in optimizer.state_dict().items()}
    again, _ = trained(make, True, range(4, 9), dtype=np.float32, table=half, state=state)
    assert again.tobytes() == whole.tobytes()
    assert json.loads(json.dumps(optimizer.settings())) == optimizer.settings()


@pytest.mark.parametrize(
    "make",
    [
        lambda named: SGD(named, lr=0.1, momentum=0.9),
        lambda named: SGD(named, lr=0.1, weight_decay=0.1),
        lambda named: AdamW(named, lr=0.1),
    ],
    ids=["momentum", "weight decay", "adamw"],
)
def test_optimizers_that_need_every_row_refuse_and_change_nothing(make):
    rows, dense = Parameter(np.ones((5, 2))), Parameter(np.ones(2))
    optimizer = make([("dense", dense), ("rows", rows)])
    (ops.take(rows, [1, 1], sparse=True) * dense).sum().backward()
    with pytest.raises(ValueError, match=r"gradient of 'rows' has some rows only.*use AdaGrad"):
        optimizer.step()
    assert (rows.array == 1).all()
    assert (dense.array == 1).all()
    assert optimizer.state_dict() == {}


@libraries
def test_clipping_is_that_of_the_dense_gradient(library):
    rng = np.random.default_rng(0)
    found = []
    for sparse in (True, False):
        table, bias = Parameter(library(rng.standard_normal((9, 4)) * 0)), Parameter(library(0.0))
        ops.take(table, IDS[2], sparse=sparse).backward(library(np.arange(16.0).reshape(4, 4)))
        bias.grad = library(np.array(3.0))
        before = table.grad
        norm = clip_grad_norm([table, bias, table], 2.0)
        assert grad_norm([table, bias]) == pytest.approx(2.0)
        assert table.grad is not before
        found.append((norm, np.asarray(table.grad)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-13)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-13)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@takers
def test_a_step_that_is_not_finite_moves_nothing(make, bad):
    table = Parameter(np.ones((9, 4)))
    optimizer = make([("table", table)])
    output = ops.take(table, IDS[0], sparse=True)
    cotangent = np.ones(output.shape)
    cotangent[2, 1] = bad
    output.backward(cotangent)
    assert not np.isfinite(optimizer.step_if_finite(1.0, max_norm=1.0))
    assert (table.array == 1).all()
    assert optimizer.state_dict() == {}
