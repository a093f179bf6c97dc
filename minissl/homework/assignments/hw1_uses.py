"""Homework 1, values that are used several times: broadcasting and lookups.

The oracle is a loop over elements: every use adds its gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.task import Draw, Task, Wrong, call, expect

unbroadcast = Task(
    "1.2", "minissl.autograd.arrays:unbroadcast", "undo broadcasting", "lecture 02, section 3"
)
scatter_add = Task(
    "1.6",
    "minissl.autograd.arrays:scatter_add",
    "the way back of a lookup",
    "lecture 02, section 3",
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
        "the last of several uses is left out": (
            summed(gradient[:-1], shape) if extra and len(gradient) > 1 else first
        ),
        "the mean was taken: the gradients of all uses add up": (
            expected * expected.size / gradient.size if gradient.size else expected
        ),
        "everything was summed": np.broadcast_to(gradient.sum(), shape),
    }
    if other.shape == gradient.shape:
        symptoms["the sum runs over the wrong axis"] = summed(other, shape)
    given = {"gradient": gradient, "shape": shape}
    got = call(subject, gradient, shape)
    expect(got, expected, given=given, symptoms=symptoms)
    again = -3 * gradient
    second = call(subject, again, shape)
    sentence = "an earlier call with the same shapes is answered again: the numbers have changed"
    if np.size(expected) and np.any(expected) and np.array_equal(second, got):
        raise Wrong(sentence, {"gradient": again, "shape": shape}, second, -3 * expected)


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


@unbroadcast.check(3)
def axes_of_size_one(subject: Any, draw: Draw) -> None:
    """Axes of size 1 that were repeated, also no times: they are still there afterwards."""
    cases = (((2,), (1,)), ((2, 3), (2, 1)), ((3, 3), (3, 1)), ((3, 3), (1, 3)))
    for wide, shape in (*cases, ((2, 3, 4), (2, 1, 4)), ((2, 3, 4), (1, 3, 1))):
        _expect_summed(subject, draw.normal(*wide), shape)
    for wide, shape in (((2, 0), (2, 1)), ((0, 3), (1, 3))):
        _expect_summed(subject, draw.normal(*wide), shape)


@unbroadcast.check(2)
def both(subject: Any, draw: Draw) -> None:
    """New axes and axes of size 1 together."""
    cases = (((2, 3), (1,)), ((5, 2, 3), (1, 3)), ((5, 2, 3), (2, 1)), ((2, 2, 2, 2), (1, 2, 1)))
    for wide, shape in draw.cases(*cases, more=_smaller):
        _expect_summed(subject, draw.normal(*wide), shape)
    turned = draw.normal(4, 3, 2).T  # columns lie together, as in the gradient of a transpose
    expected, given = summed(turned, (3, 1)), {"gradient": turned, "shape": (3, 1)}
    sentence = "wrong for a transposed array: do not rely on the order in memory"
    expect(call(subject, turned, (3, 1)), expected, given=given, otherwise=sentence)


@unbroadcast.check(1)
def nothing_to_do(subject: Any, draw: Draw) -> None:
    """Equal shapes, axes of size 1 on both sides, empty arrays; the dtype stays."""
    for wide, shape in (((3,), (3,)), ((2, 1), (2, 1)), ((1, 1, 2), (1, 2)), ((0, 3), (3,))):
        _expect_summed(subject, draw.normal(*wide), shape)
        _expect_summed(subject, draw.normal(*wide, dtype=np.float32), shape)
    _expect_summed(subject, draw.normal(4, 2, 3, dtype=np.float32), (2, 1))


# ---- 1.6 scatter_add -----------------------------------------------------------------------------


def _expect_added(subject: Any, size: int, positions: NDArray, values: NDArray) -> None:
    zeros = np.zeros((size, *values.shape[1:]), values.dtype)
    expected, last, first, short, runs = (zeros.copy() for _ in range(5))
    places = positions.tolist()
    for i, (position, row) in enumerate(zip(places, values)):
        expected[position] += row
        last[position] = row
        short[position] += row if i < len(places) - 1 else 0
        runs[position] = row + (runs[position] if i and places[i - 1] == position else 0)
    for position, row in list(zip(places, values))[::-1]:
        first[position] = row
    times = np.bincount(places, minlength=size).clip(1) if places else np.ones(size)
    times = times.reshape(-1, *([1] * (values.ndim - 1)))
    symptoms = {
        "of several values for one row only the last is kept: they must add up": last,
        "of several values for one row only the first is kept: they must add up": first,
        "values for one row that do not stand next to each other are not added: sort first": runs,
        "several values for one row are averaged: they must add up": (expected / times).astype(
            values.dtype
        ),
        "the last value is left out": short,
        "every value is added to every row": zeros + values.sum(axis=0, dtype=values.dtype),
    }
    given = {"size": size, "positions": positions, "values": values}
    got = call(subject, size, positions, values)
    expect(got, expected, given=given, symptoms=symptoms)
    if isinstance(got, np.ndarray) and np.shares_memory(got, values):
        sentence = "the answer is the values themselves: who changes one changes the other"
        raise Wrong(sentence, given, got, "an array of its own")
    again = {"what an earlier call added is still there: begin with new zeros": 2 * expected}
    expect(call(subject, size, positions, values), expected, given=given, symptoms=again)


@scatter_add.check(1)
def each_row_once(subject: Any, draw: Draw) -> None:
    """Rows that were looked up once, in any order; all other rows are zero."""
    cases = [(1, [0]), (3, [1]), (3, [2, 0]), (3, [0, 1, 2]), (5, [3, 1, 0])]
    for size, positions in draw.cases(*cases, more=lambda g: (7, g.permutation(7)[:4].tolist())):
        _expect_added(subject, size, np.array(positions), draw.normal(len(positions), 2))


@scatter_add.check(3)
def repeated_rows(subject: Any, draw: Draw) -> None:
    """A row that was looked up several times gets the sum."""
    cases = [(1, [0, 0]), (2, [1, 1]), (2, [0, 1, 0, 0]), (3, [2, 0, 2]), (4, [1, 3, 1, 1, 3])]
    for size, positions in draw.cases(*cases, more=lambda g: (4, g.integers(0, 4, 9).tolist())):
        _expect_added(subject, size, np.array(positions), draw.normal(len(positions), 2))
        _expect_added(subject, size, np.array(positions), draw.normal(len(positions)))


@scatter_add.check(3)
def shapes_and_dtypes(subject: Any, draw: Draw) -> None:
    """Values with any number of axes, none at all, of any dtype; a large table; small integers."""
    positions = np.array([1, 0, 1])
    for shape in ((), (2,), (2, 3)):
        for dtype in (np.float64, np.float32, np.int64):
            values = (10 * draw.normal(3, *shape)).astype(dtype)
            _expect_added(subject, 4, positions, values)
    _expect_added(subject, 3, np.zeros(0, np.int64), draw.normal(0, 2))
    large = draw.generator.integers(2**40, 2**50, size=(3, 2))
    given = {"size": 4, "positions": positions, "values": large}
    sentence = "whole numbers have lost digits: add them up in their own dtype"
    expected = np.array([large[1], large[0] + large[2], 0 * large[0], 0 * large[0]])
    expect(call(subject, 4, positions, large), expected, given=given, otherwise=sentence)
    bytes_, values = np.array([200, 3, 200], np.uint8), draw.normal(3, 4)
    expected = np.zeros((201, 4))
    expected[200], expected[3] = values[0] + values[2], values[1]
    sentence = "positions of one byte (uint8) are wrong: they end at 255, convert before counting"
    given = {"size": 201, "positions": bytes_, "values": values}
    expect(call(subject, 201, bytes_, values), expected, given=given, otherwise=sentence)
    _look_only_at_what_is_there(subject, draw)


def _counted(values: NDArray) -> tuple[NDArray, list[int]]:
    """The values as an array that notices each single row that is taken out, and the count."""
    looks = [0]

    class Counted(np.ndarray):
        def __iter__(self) -> Any:
            for row in np.asarray(self):
                looks[0] += 1
                yield row

        def __getitem__(self, index: Any) -> Any:
            looks[0] += isinstance(index, int | np.integer)
            return np.asarray(self)[index]

    return values.view(Counted), looks


def _look_only_at_what_is_there(subject: Any, draw: Draw) -> None:
    """A vocabulary of 2,000 rows and a text of 50 tokens: each value is needed once."""
    size, count = 2000, 50
    positions = draw.generator.integers(0, size, size=count)
    plain = draw.normal(count, 2)
    values, looks = _counted(plain)
    got = call(subject, size, positions, values)
    if looks[0] > 20 * count:
        sentence = "every row of the table looks at every value: go through the values once"
        given = {"size": size, "positions": f"{count} of them", "values": f"shape {plain.shape}"}
        raise Wrong(sentence, given, f"{looks[0]} looks at a value", f"{count}")
    expected = np.zeros((size, 2))
    for position, row in zip(positions.tolist(), plain):
        expected[position] += row
    given = {"size": size, "positions": positions, "values": plain}
    expect(np.asarray(got), expected, given=given)
