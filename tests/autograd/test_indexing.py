"""Indexing: what was picked gets its gradient back, as often as it was picked."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from minissl.autograd import Tensor
from minissl.autograd import operations as ops
from minissl.autograd.composed import one_hot
from tests.autograd.compare import assert_close, ours, random_like

SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


@st.composite
def shape_and_index(draw):
    """A shape, and anything that may stand in brackets behind an array of that shape."""
    shape = draw(SHAPES)
    if draw(st.booleans()):
        return shape, draw(arrays.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    if draw(st.integers(0, 3)) == 0:
        depth = draw(st.integers(1, len(shape)))
        return shape, draw(arrays.arrays(bool, shape[:depth]))
    items = []
    picked = draw(arrays.array_shapes(max_dims=2, max_side=4))
    for size in shape[: draw(st.integers(1, len(shape)))]:
        whole, one = st.just(slice(None)), st.integers(-size, size - 1)
        back = st.just(slice(None, None, -1))
        dtype = draw(st.sampled_from([np.int64, np.int32, np.int8]))
        several = arrays.arrays(dtype, picked, elements=st.integers(-size, size - 1))
        items.append(draw(st.one_of(whole, back, one, several, several)))
        items += [None] * (draw(st.integers(0, 4)) == 0)
    return shape, tuple(items)


def expected_gradient(numbers, shape, cotangent):
    """Add the cotangent back one element at a time: slow, and obviously right.

    ``numbers``: the same index applied to the elements' own numbers.
    """
    gradient = np.zeros(int(np.prod(shape)))
    for number, value in zip(np.ravel(numbers), np.ravel(cotangent)):
        gradient[number] += value
    return gradient.reshape(shape)


def numbered(shape):
    return np.arange(int(np.prod(shape))).reshape(shape)


@given(shape_and_index(), st.sampled_from([np.asarray, torch.tensor]))
@settings(max_examples=250, deadline=None)
def test_any_index(case, library):
    """On torch arrays too, where torch itself would often answer another shape, or refuse."""
    shape, index = case
    x = random_like(np.empty(shape), seed=3)
    cotangent = random_like(x[index])
    output, (gradient,) = ours(lambda a: a[index], [library(x)], library(cotangent))
    np.testing.assert_array_equal(output, x[index])
    assert_close(gradient, expected_gradient(numbered(shape)[index], shape, cotangent))


def test_tensors_and_lists_as_indices():
    x = random_like(np.empty((4, 3)))
    cotangent = random_like(np.empty((2, 3)))
    for index in (Tensor([2, 2]), [2, 2], np.array([2, 2], np.int32)):
        output, (gradient,) = ours(lambda a, i=index: a[i], [x], cotangent)
        np.testing.assert_array_equal(output, x[[2, 2]])
        assert_close(gradient, expected_gradient(numbered((4, 3))[[2, 2]], (4, 3), cotangent))
    picked = Tensor(x)[Tensor([0, 1]), Tensor([2, 0])]
    np.testing.assert_array_equal(picked.array, x[[0, 1], [2, 0]])
    positive = Tensor(x)[Tensor(x) > 0.0]
    np.testing.assert_array_equal(positive.array, x[x > 0])
    with pytest.raises(IndexError):
        Tensor(x)[Tensor([0.5])]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_take_is_a_product_with_one_hot_rows(data):
    rows, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    shape = data.draw(arrays.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=6))
    indices = data.draw(arrays.arrays(np.int64, shape, elements=st.integers(0, rows - 1)))
    table = random_like(np.empty((rows, width)), seed=2)
    cotangent = random_like(np.empty((*shape, width)))
    chosen = one_hot(indices, rows).astype(np.float64)
    output, (gradient,) = ours(lambda a: ops.take(a, indices), [table], cotangent)
    assert_close(output, chosen @ table)
    flat = chosen.reshape(-1, rows).T @ cotangent.reshape(-1, width)
    assert_close(gradient, flat)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_repeats_add_up(dtype):
    """An embedding's gradient over a large batch: 20000 lookups of 7 rows."""
    generator = np.random.default_rng(0)
    indices = generator.integers(0, 7, 20000)
    cotangent = generator.standard_normal((20000, 5)).astype(dtype)
    _, (gradient,) = ours(lambda a: ops.take(a, indices), [np.zeros((9, 5), dtype)], cotangent)
    exact = np.zeros((9, 5))
    np.add.at(exact, indices, cotangent.astype(np.float64))
    assert gradient.dtype == dtype
    assert_close(gradient, exact, np.dtype(dtype).name, bits=8)
    assert not gradient[7:].any()
