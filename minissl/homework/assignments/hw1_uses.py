"""Homework 1, values that are used several times: broadcasting and lookups.

The oracle is a loop over elements: every use adds its gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.task import Draw, Task, call, expect

unbroadcast = Task(
    "1.2", "minissl.autograd.arrays:unbroadcast", "undo broadcasting", "lectures/02, section 3"
)
scatter_add = Task(
    "1.6",
    "minissl.autograd.arrays:scatter_add",
    "the way back of a lookup",
    "lectures/02, section 3",
    hides=("_torch_scatter_add", "is_torch_array"),
)


# ---- 1.2 unbroadcast -----------------------------------------------------------------------------


def summed(gradient: NDArray, shape: tuple[int, ...]) -> NDArray:
    """What every element of an array of this shape gets, when it was broadcast to g's shape."""
    total = np.zeros(shape, gradient.dtype)
    extra = gradient.ndim - len(shape)
    for place in np.ndindex(gradient.shape):
        total[tuple(i if n > 1 else 0 for i, n in zip(place[extra:], shape))] += gradient[place]
    return total


def _expect_summed(subject: Any, gradient: NDArray, shape: tuple[int, ...]) -> None:
    expected = summed(gradient, shape)
    extra = gradient.ndim - len(shape)
    first = gradient[(0,) * extra] if extra and len(gradient) else gradient
    for axis, size in enumerate(shape):
        first = first[(slice(None),) * axis + (slice(0, size),)]
    other = np.swapaxes(gradient, 0, -1) if gradient.ndim > 1 else gradient
    symptoms = {
        "only the first of several uses counts: their gradients add up": first,
        "the mean was taken: the gradients of all uses add up": (
            expected * expected.size / gradient.size if gradient.size else expected
        ),
        "everything was summed": np.broadcast_to(gradient.sum(), shape),
    }
    if other.shape == gradient.shape:
        symptoms["the sum runs over the wrong axis"] = summed(other, shape)
    tolerance = 1e-9 if gradient.dtype == np.float64 else 1e-6
    given = {"gradient": gradient, "shape": shape}
    got = call(subject, gradient, shape)
    expect(got, expected, given=given, symptoms=symptoms, tolerance=tolerance)


def _smaller(generator: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape of a gradient, and an input's shape that broadcasts to it."""
    shape = tuple(int(n) for n in generator.integers(1, 4, size=generator.integers(1, 5)))
    kept = tuple(1 if generator.random() < 0.5 else n for n in shape)
    return shape, kept[int(generator.integers(0, len(kept) + 1)) :]


@unbroadcast.check(4)
def new_axes(subject: Any, draw: Draw) -> None:
    """Axes in front that the input did not have."""
    cases = (((2,), ()), ((2, 3), (3,)), ((3, 3), (3,)), ((2, 3, 4), (4,)), ((2, 3, 4), (3, 4)))
    for wide, shape in draw.cases(*cases, more=lambda g: (s := _smaller(g)[0], s[1:])):
        _expect_summed(subject, draw.normal(*wide), shape)


@unbroadcast.check(4)
def axes_of_size_one(subject: Any, draw: Draw) -> None:
    """Axes of size 1 that were repeated: they are still there afterwards."""
    cases = (((2,), (1,)), ((2, 3), (2, 1)), ((3, 3), (3, 1)), ((3, 3), (1, 3)))
    for wide, shape in (*cases, ((2, 3, 4), (2, 1, 4)), ((2, 3, 4), (1, 3, 1))):
        _expect_summed(subject, draw.normal(*wide), shape)


@unbroadcast.check(2)
def both(subject: Any, draw: Draw) -> None:
    """New axes and axes of size 1 together."""
    cases = (((2, 3), (1,)), ((5, 2, 3), (1, 3)), ((5, 2, 3), (2, 1)), ((2, 2, 2, 2), (1, 2, 1)))
    for wide, shape in draw.cases(*cases, more=_smaller):
        _expect_summed(subject, draw.normal(*wide), shape)


@unbroadcast.check(2)
def nothing_to_do(subject: Any, draw: Draw) -> None:
    """Equal shapes, axes of size 1 on both sides, empty arrays; the dtype stays."""
    for wide, shape in (((3,), (3,)), ((2, 1), (2, 1)), ((1, 1, 2), (1, 2)), ((0, 3), (3,))):
        _expect_summed(subject, draw.normal(*wide), shape)
        _expect_summed(subject, draw.normal(*wide, dtype=np.float32), shape)
    _expect_summed(subject, draw.normal(4, 2, 3, dtype=np.float32), (2, 1))


# ---- 1.6 scatter_add -----------------------------------------------------------------------------


def _expect_added(subject: Any, size: int, positions: NDArray, values: NDArray) -> None:
    zeros = np.zeros((size, *values.shape[1:]), values.dtype)
    expected, last, first = zeros.copy(), zeros.copy(), zeros.copy()
    for position, row in zip(positions.tolist(), values):
        expected[position] += row
        last[position] = row
    for position, row in list(zip(positions.tolist(), values))[::-1]:
        first[position] = row
    times = np.bincount(positions, minlength=size).clip(1)
    times = times.reshape(-1, *([1] * (values.ndim - 1)))
    symptoms = {
        "of several values for one row only the last is kept: they must add up": last,
        "of several values for one row only the first is kept: they must add up": first,
        "several values for one row are averaged: they must add up": (expected / times).astype(
            values.dtype
        ),
        "every value is added to every row": zeros + values.sum(axis=0, dtype=values.dtype),
    }
    given = {"size": size, "positions": positions, "values": values}
    tolerance = 1e-9 if values.dtype == np.float64 else 1e-6
    got = call(subject, size, positions, values)
    expect(got, expected, given=given, symptoms=symptoms, tolerance=tolerance)


@scatter_add.check(2)
def each_row_once(subject: Any, draw: Draw) -> None:
    """Rows that were looked up once, in any order; all other rows are zero."""
    cases = [(1, [0]), (3, [1]), (3, [2, 0]), (5, [3, 1, 0])]
    for size, positions in draw.cases(*cases, more=lambda g: (7, g.permutation(7)[:4].tolist())):
        _expect_added(subject, size, np.array(positions), draw.normal(len(positions), 2))


@scatter_add.check(4)
def repeated_rows(subject: Any, draw: Draw) -> None:
    """A row that was looked up several times gets the sum."""
    cases = [(1, [0, 0]), (2, [1, 1]), (3, [2, 0, 2]), (4, [1, 3, 1, 1, 3])]
    for size, positions in draw.cases(*cases, more=lambda g: (4, g.integers(0, 4, 9).tolist())):
        _expect_added(subject, size, np.array(positions), draw.normal(len(positions), 2))
        _expect_added(subject, size, np.array(positions), draw.normal(len(positions)))


@scatter_add.check(2)
def shapes_and_dtypes(subject: Any, draw: Draw) -> None:
    """Values with any number of axes, no values at all, float32 and integers."""
    positions = np.array([1, 0, 1])
    for shape in ((), (2,), (2, 3)):
        for dtype in (np.float64, np.float32, np.int64):
            values = (10 * draw.normal(3, *shape)).astype(dtype)
            _expect_added(subject, 4, positions, values)
    _expect_added(subject, 3, np.zeros(0, np.int64), draw.normal(0, 2))
