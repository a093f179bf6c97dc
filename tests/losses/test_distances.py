"""All distances of a batch, against exact differences in 80 bits and torch.cdist."""

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor, gradcheck
from minissl.losses.distances import pairwise_distances
from minissl.losses.metric import row_distances
from tests.losses.compare import of_ours, of_torch


def exact(first, second, cotangent, squared):
    """Distances and gradients from all differences, in long double."""
    gaps = first.astype(np.longdouble)[:, None] - second.astype(np.longdouble)
    squares = np.sum(gaps**2, axis=2)
    d = np.sqrt(squares)
    weight = 2 * cotangent if squared else np.where(d == 0, 0, cotangent / np.where(d == 0, 1, d))
    pulls = weight[:, :, None] * gaps
    return squares if squared else d, pulls.sum(axis=1), -pulls.sum(axis=0)


def near_rows(dtype, width=40):
    """Rows, their twins a last digit away, a thousandth away, and themselves."""
    generator = np.random.default_rng(0)
    rows = (3 * generator.standard_normal((5, width)) + 2).astype(dtype)
    last = np.nextafter(rows, np.inf, dtype=dtype)
    return np.concatenate([rows, last, rows * dtype(1.001), rows[:2]])


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("device", ["cpu", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_of_the_near_have_all_digits_and_so_have_gradients(dtype, device, squared):
    rows = near_rows(dtype)
    others = np.concatenate([rows[3:6], 5 + rows[:2]])
    for first, second in ((rows, None), (rows, others)):
        d_shape = (len(first), len(first if second is None else second))
        cotangent = np.random.default_rng(1).standard_normal(d_shape).astype(dtype)
        arrays = [first] if second is None else [first, second]
        d, to_first, to_second = exact(arrays[0], arrays[-1], cotangent, squared)
        there = (lambda a: torch.from_numpy(a.copy())) if device == "torch" else np.array
        tensors = [Tensor(there(a), requires_grad=True) for a in arrays]
        got = pairwise_distances(*tensors, squared=squared)
        got.backward(there(cotangent))
        gradients = [np.asarray(t.grad) for t in tensors]
        expected = [to_first + to_second] if second is None else [to_first, to_second]
        eps = 1e-7 if dtype == np.float32 else 2e-9
        np.testing.assert_allclose(got.numpy(), d.astype(float), rtol=eps, atol=0)
        for gradient, right in zip(gradients, expected):
            assert gradient.dtype == dtype
            assert np.abs(gradient - right).max() <= eps * np.abs(right).max()


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_any_scale(scale):
    rows = (scale * near_rows(np.float32)).astype(np.float32)
    cotangent = np.random.default_rng(1).standard_normal((len(rows),) * 2)
    d, to_first, to_second = exact(rows, rows, cotangent, squared=False)
    got, (gradient,) = of_ours(pairwise_distances, rows, cotangent=cotangent.astype(np.float32))
    np.testing.assert_allclose(got, d.astype(float), rtol=1e-6)
    np.testing.assert_allclose(gradient, (to_first + to_second).astype(float), rtol=1e-4, atol=1e-5)
    tiny = np.array([[1, 1e-30], [1, 2e-30], [1, 0]], np.float32)  # beside a 1
    right = 1e-30 * np.array([[0, 1, 1], [1, 0, 2], [1, 2, 0]])
    np.testing.assert_allclose(pairwise_distances(tiny).numpy(), right, rtol=1e-6)


def test_torchs_cdist_and_gradcheck():
    generator = np.random.default_rng(0)
    first, second = generator.standard_normal((7, 4)), generator.standard_normal((5, 4))
    cotangent = generator.standard_normal((7, 5))
    ours = of_ours(pairwise_distances, first, second, cotangent=cotangent)
    theirs = of_torch(torch.cdist, first, second, cotangent=cotangent)
    for a, b in zip((ours[0], *ours[1]), (theirs[0], *theirs[1])):
        np.testing.assert_allclose(a, b, rtol=1e-10)
    for squared in (False, True):
        gradcheck(lambda a, b: pairwise_distances(a, b, squared=squared), [first, second])  # noqa: B023
    gradcheck(lambda a: pairwise_distances(a, squared=True), [first])
    gradcheck(lambda a: pairwise_distances(a) * (1 - np.eye(7)), [first])
    gradcheck(row_distances, [first[:5], second])


def test_equal_rows_send_nothing():
    """Where a naive √ of ‖a‖² − 2 a·b + ‖b‖² makes every gradient NaN."""
    rows = np.ones((3, 2)) * np.array([[1.0], [1.0], [4.0]])
    d, (gradient,) = of_ours(pairwise_distances, rows, cotangent=np.eye(3)[[1, 0, 2]] * 7)
    assert d[0, 1] == d[0, 0] == 0
    np.testing.assert_array_equal(gradient, 0)
    _, (gradient,) = of_ours(pairwise_distances, rows, cotangent=np.ones((3, 3)))
    np.testing.assert_allclose(gradient, np.array([[-1], [-1], [2]]) * np.sqrt(2) * [[1, 1]])
    with np.errstate(all="raise"):  # of a collapsed batch, which has no middle but itself
        point = np.full((40, 3), 0.1)
        d, (gradient,) = of_ours(pairwise_distances, point, cotangent=np.ones((40, 40)))
    assert not d.any()
    assert not gradient.any()


def test_the_pieces_of_many_near_rows(monkeypatch):
    rows = 1 + 1e-9 * np.random.default_rng(0).standard_normal((30, 4))
    whole = of_ours(pairwise_distances, np.concatenate([rows, -rows]), cotangent=np.ones((60, 60)))
    monkeypatch.setattr("minissl.losses.distances.TOGETHER", 4 * 7)
    pieces = of_ours(pairwise_distances, np.concatenate([rows, -rows]), cotangent=np.ones((60, 60)))
    np.testing.assert_array_equal(whole[0], pieces[0])
    np.testing.assert_allclose(whole[1], pieces[1], rtol=1e-12)
    right = np.linalg.norm(rows[:, None] - rows, axis=2)
    np.testing.assert_allclose(whole[0][:30, :30], right, rtol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_makes_all_nan(value):
    for broken in (0, 1):
        arrays = [np.ones((3, 2)), np.zeros((2, 2))]
        arrays[broken][1, 0] = value
        d, gradients = of_ours(pairwise_distances, *arrays, cotangent=np.ones((3, 2)))
        assert all(np.isnan(a).all() for a in (d, *gradients))
        pairs = row_distances(arrays[0][:2], arrays[1]).numpy()
        assert np.isnan(pairs).tolist() == [False, True]


def test_shapes():
    for shapes in (((0, 3), (0, 3)), ((0, 3), (2, 3)), ((2, 3), (0, 3)), ((2, 0), (3, 0))):
        arrays = [np.ones(shape, np.float16) for shape in shapes]
        d, gradients = of_ours(
            pairwise_distances, *arrays, cotangent=np.ones([s[0] for s in shapes], np.float32)
        )
        assert d.shape == (shapes[0][0], shapes[1][0])
        assert d.dtype == np.float32
        assert not d.any()
        assert [g.shape for g in gradients] == list(shapes)
    for first, second in ((np.ones(3), None), (np.ones((2, 3)), np.ones((2, 4)))):
        with pytest.raises(ValueError, match=r"expected \(rows, width\) and \(others, width\)"):
            pairwise_distances(first, second)
    with pytest.raises(TypeError, match="expected floating"):
        pairwise_distances(np.ones((2, 3), int))


@pytest.mark.parametrize("unit", [1e-120, 1e120])
def test_squares_and_their_gradients_in_any_unit(unit):
    x = np.random.default_rng(0).standard_normal((4, 3))
    found = []
    for scale in (1.0, unit):
        rows = Tensor(scale * x, requires_grad=True)
        d = pairwise_distances(rows, squared=True)
        d.backward(np.random.default_rng(1).standard_normal((4, 4)))
        found.append((d.numpy() / scale / scale, rows.grad / scale))
    for ours, expected in zip(found[1], found[0]):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)
