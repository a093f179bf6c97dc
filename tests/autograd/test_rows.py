"""Gradients of a few rows: the same numbers as the dense ones, wherever a gradient goes."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor, gradcheck
from minissl.autograd import operations as ops
from minissl.autograd.arrays import is_torch_array
from minissl.autograd.checked import checked
from minissl.autograd.recompute import recompute
from minissl.autograd.rows import Rows, merged, stored, sums_by_position
from minissl.nn import Embedding
from minissl.nn.module import Parameter
from minissl.optim import SGD, grad_norm
from tests.autograd.compare import random_like, to_float64, written

libraries = pytest.mark.parametrize("library", [np.array, torch.tensor], ids=["numpy", "torch"])
IDS = np.array([[2, 0, 2], [2, 4, 0]])


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def gradient(use, table, sparse, library=np.array):
    """Of a random combination of what ``use(table, look_up)`` gives, with respect to the table."""
    leaf = Tensor(library(table), requires_grad=True)
    output = use(leaf, lambda a, ids: ops.take(a, ids, sparse=sparse))
    cotangent = random_like(output).astype(table.dtype)
    output.backward(library(cotangent))
    return leaf.grad


# ---- one lookup ---------------------------------------------------------------------------------


@libraries
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("ids", [IDS, IDS[0], IDS[0, 0], IDS[:0], [], [4], [[1, 1], [1, 1]]])
@pytest.mark.parametrize("shape", [(5, 3), (5,), (5, 2, 3), (5, 0)], ids=str)
def test_a_lookup_equals_the_dense_one(shape, ids, dtype, library):
    table = draw(*shape).astype(dtype)
    found, dense = (
        gradient(lambda w, look: look(w, ids), table, s, library) for s in (True, False)
    )
    assert isinstance(found, Rows)
    assert found.shape == shape
    assert found.dtype == dense.dtype
    assert is_torch_array(found.values) == is_torch_array(found.positions) == is_torch_array(dense)
    assert found.positions.tolist() == np.unique(np.asarray(ids, int)).tolist()
    tolerance = 2e-3 if dtype == np.float16 else 1e-6
    np.testing.assert_allclose(to_float64(found.whole()), to_float64(dense), rtol=tolerance)
    np.testing.assert_array_equal(np.asarray(found), to_float64(found.whole()))


@libraries
def test_a_lookup_equals_torchs_sparse_gradient(library):
    table, cotangent = draw(5, 3), draw(2, 3, 3, seed=1)
    theirs = torch.tensor(table, requires_grad=True)
    torch.nn.functional.embedding(torch.tensor(IDS), theirs, sparse=True).backward(
        torch.tensor(cotangent)
    )
    leaf = Tensor(library(table), requires_grad=True)
    ops.take(leaf, IDS, sparse=True).backward(library(cotangent))
    expected = theirs.grad.coalesce()
    assert leaf.grad.positions.tolist() == expected.indices()[0].tolist()
    np.testing.assert_allclose(
        to_float64(leaf.grad.values), to_float64(expected.values()), rtol=1e-14
    )


def test_a_lookup_in_bfloat16():
    table = torch.tensor(draw(5, 3)).bfloat16()
    leaf = Tensor(table, requires_grad=True)
    output = ops.take(leaf, np.zeros(1000, int), sparse=True)
    output.backward(torch.full(output.shape, 0.01).bfloat16())
    assert leaf.grad.dtype == torch.bfloat16
    exact = 1000 * float(torch.tensor(0.01).bfloat16())
    np.testing.assert_allclose(np.asarray(leaf.grad)[0], exact, rtol=2**-8)


@libraries
@pytest.mark.parametrize("first", [np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_indices_of_every_integer_dtype_meet(first, library):
    """NumPy makes floats of uint64 beside int64, and they are no positions."""
    if library is torch.tensor and first == np.uint32:
        first = np.int32

    def use(table, look_up):
        parts = [look_up(table, library(IDS.astype(dtype))) for dtype in (first, np.int64)]
        return ops.concatenate(parts)

    found, dense = (gradient(use, draw(5, 3), sparse, library) for sparse in (True, False))
    assert found.positions.dtype == (torch.int64 if library is torch.tensor else np.int64)
    np.testing.assert_allclose(to_float64(found.whole()), to_float64(dense), rtol=1e-14)


def test_a_table_of_which_little_is_read_is_never_written_out():
    table = Parameter(np.zeros((10**6, 3), np.float32))
    ops.take(table, [1], sparse=True).sum().backward()  # SciPy is imported here
    table.grad = None
    tracemalloc.start()
    (
        ops.take(table, [999_999, 0], sparse=True) * ops.take(table, [7, 7], sparse=True)
    ).sum().backward()
    ops.take(table, [5], sparse=True).sum().backward()
    optimizer = SGD([("table", table)], lr=0.1)
    optimizer.step_if_finite(1.0, max_norm=0.1)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100_000
    assert table.grad.positions.tolist() == [0, 5, 7, 999_999]
    assert stored(table.grad).shape == (4, 3)
    assert repr(table.grad) == "Rows(4 of 1,000,000, float32, numpy)"


def test_what_cannot_be_looked_up():
    table = Tensor(draw(5, 3), requires_grad=True)
    for axis in (1, -1):
        with pytest.raises(ValueError, match=f"of rows, along axis 0, got axis {axis}"):
            ops.take(table, [0], axis=axis, sparse=True)
    with pytest.raises(IndexError, match="index 5 is out of range, expected 0 to 4"):
        ops.take(table, [5], sparse=True)
    with pytest.raises(TypeError, match="expected integers as indices"):
        ops.take(table, [0.0], sparse=True)


# ---- tables that are used in several places -----------------------------------------------------

USES = {  # and whether the gradient has some rows only
    "twice": (lambda w, look: look(w, IDS) * look(w, IDS[::-1]), True),
    "a hundred times": (lambda w, look: ops.stack([look(w, IDS[i % 2]) for i in range(100)]), True),
    "nowhere": (lambda w, look: ops.concatenate([look(w, []), look(w, [])]), True),
    "tied": (lambda w, look: ops.linear(look(w, IDS), w), False),
    "dense first": (lambda w, look: ops.concatenate([w[1:3], w * w, look(w, [0, 0])]), False),
    "dense last": (lambda w, look: ops.concatenate([look(w, [0, 0]), w[1:3], w * w]), False),
    "a result": (lambda w, look: look(ops.tanh(w), IDS) * look(ops.tanh(w * w), IDS), False),
    "a result and itself": (lambda w, look: look(w, IDS) * look(ops.exp(w), IDS), False),
    "recomputed": (
        lambda w, look: recompute(lambda a, generator: ops.tanh(look(a, IDS)), w) * look(w, IDS),
        True,
    ),
    "recomputed around": (
        lambda w, look: recompute(
            lambda a, generator: ops.tanh(look(w, IDS) * a), Tensor(draw(2, 3, 3, seed=3))
        ),
        True,
    ),
}


@libraries
@pytest.mark.parametrize("name", USES)
def test_several_uses_equal_the_dense_ones(name, library):
    use, few = USES[name]
    if name == "recomputed around" and library is torch.tensor:
        return  # its constant is NumPy's
    with checked():
        found, dense = (gradient(use, draw(5, 3), s, library) for s in (True, False))
    assert isinstance(found, Rows) == few
    assert not isinstance(dense, Rows)
    np.testing.assert_allclose(
        to_float64(written(found)), to_float64(dense), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("name", [name for name in USES if name != "nowhere"])
def test_gradients_are_those_of_finite_differences(name):
    gradcheck(lambda w: USES[name][0](w, lambda a, i: ops.take(a, i, sparse=True)), [draw(5, 3)])


@libraries
@pytest.mark.parametrize("order", ["rr", "rd", "dr", "rrr", "rdr"])
def test_several_losses_add_up(order, library):
    """Each backward() adds to what is there, and changes no array that somebody holds."""
    leaf = Tensor(library(draw(5, 3)), requires_grad=True)
    expected, held = np.zeros((5, 3)), []
    for number, kind in enumerate(order):
        part = ops.take(leaf, IDS[number % 2], sparse=True) if kind == "r" else leaf * 2.0
        part.sum().backward()
        np.add.at(
            expected, IDS[number % 2] if kind == "r" else slice(None), 1 if kind == "r" else 2
        )
        held.append((leaf.grad, to_float64(written(leaf.grad)).copy()))
    assert isinstance(leaf.grad, Rows) == ("d" not in order)
    np.testing.assert_array_equal(to_float64(written(leaf.grad)), expected)
    for earlier, values in held:
        np.testing.assert_array_equal(to_float64(written(earlier)), values)


def test_dense_gradients_add_up_to_arrays():
    """Of a scalar parameter too, where NumPy makes a number of a sum."""
    x = Tensor(np.array(2.0, np.float32), requires_grad=True)
    for _ in range(3):
        (x * 3.0).backward()
    assert isinstance(x.grad, np.ndarray)
    assert (x.grad.shape, x.grad.dtype, float(x.grad)) == ((), np.float32, 9)


def test_ready_hands_over_the_complete_gradient():
    layer = Embedding(5, 3, sparse=True, generator=np.random.default_rng(0))
    seen = []
    loss = (layer(IDS) * layer(IDS)).sum()
    loss.backward(ready=lambda leaf: seen.append((leaf, leaf.grad.positions.tolist())))
    assert seen == [(layer.weight, [0, 2, 4])]


def test_an_index_that_is_written_is_noticed():
    table, index = Tensor(draw(5, 3), requires_grad=True), np.array([0, 1])
    with checked():
        y = ops.take(table, index, sparse=True).sum()
    index[0] = 4
    with pytest.raises(RuntimeError, match=r"of '_?take', of shape .*, was written"):
        y.backward()


def test_a_sum_of_rows_that_is_too_large_is_noticed():
    table = Tensor(np.ones((3, 1), np.float32), requires_grad=True)
    with checked():
        y = ops.take(table, [1, 1], sparse=True)
    with (
        np.errstate(over="ignore"),
        pytest.raises(FloatingPointError, match=r"'_?take' sends back is not finite"),
    ):
        y.backward(np.full((2, 1), 3e38, np.float32))


def test_nan_in_one_row_stays_there():
    for library in (np.array, torch.tensor):
        leaf = Tensor(library(draw(5, 3)), requires_grad=True)
        cotangent = np.ones((2, 3, 3))
        cotangent[0, 1, 2] = np.nan  # goes to row 0
        ops.take(leaf, IDS, sparse=True).backward(library(cotangent))
        assert np.argwhere(np.isnan(np.asarray(leaf.grad))).tolist() == [[0, 2]]
        assert np.isnan(grad_norm([leaf]))


# ---- sums ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("repeats", [[1], [2, 1, 3], [0, 128, 0, 129, 1], [300, 1, 900], []])
def test_sums_by_position_are_those_of_a_loop(repeats, dtype):
    generator = np.random.default_rng(0)
    positions = generator.permutation(np.repeat(np.arange(len(repeats)), repeats))
    values = generator.standard_normal((len(positions), 3, 2)).astype(dtype)
    before, exact, size = values.copy(), {}, {}
    for position, row in zip(positions.tolist(), values.astype(np.float64)):
        exact[position] = exact.get(position, 0) + row
        size[position] = size.get(position, 0) + abs(row)
    for result in (
        sums_by_position(positions, values),
        sums_by_position(torch.tensor(positions), torch.tensor(values)),
    ):
        unique, sums = map(np.asarray, result)
        assert unique.tolist() == sorted(exact)
        assert sums.dtype == dtype
        expected = np.array([exact[p] for p in sorted(exact)]).reshape(-1, 3, 2)
        sizes = np.array([size[p] for p in sorted(exact)]).reshape(-1, 3, 2)
        assert (abs(sums - expected) <= 2 * np.finfo(dtype).eps * sizes).all()
    np.testing.assert_array_equal(values, before)


def test_many_parts_of_one_row_lose_no_digits():
    """300,000 in one lookup, in 300 lookups, and in 3000 calls of backward()."""
    exact = 300_000 * float(np.float32(0.1))
    ids = np.zeros(300_000, int)
    for parts in ([ids], np.array_split(ids, 300)):
        table = Tensor(np.zeros((2, 2), np.float32), requires_grad=True)
        total = ops.concatenate([ops.take(table, part, sparse=True) for part in parts])
        total.backward(np.full(total.shape, 0.1, np.float32))
        np.testing.assert_allclose(table.grad.values, exact, rtol=1e-6)
    rows = [
        Rows.added_up((2, 2), part, np.full((100, 2), 0.1, "f4")) for part in [ids[:100]] * 3000
    ]
    np.testing.assert_allclose(merged(rows).values, exact, rtol=1e-6)


# ---- what a Rows is -----------------------------------------------------------------------------


def test_rows_are_copied_and_scaled():
    leaf = Tensor(draw(5, 3), requires_grad=True)
    ops.take(leaf, IDS, sparse=True).sum().backward()
    rows, whole = leaf.grad, leaf.grad.whole()
    np.testing.assert_array_equal((rows * 3.0).whole(), whole * 3)
    np.testing.assert_array_equal((rows / 4).whole(), whole / 4)
    np.testing.assert_array_equal(np.asarray(rows, np.float32), whole.astype(np.float32))
    twin = copy.deepcopy(leaf)
    twin.grad.values[...] = 7
    np.testing.assert_array_equal(rows.whole(), whole)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rows)).whole(), whole)
    for mistake in (lambda: whole + rows, lambda: rows + whole, lambda: np.sqrt(rows)):
        with pytest.raises(TypeError):
            mistake()
