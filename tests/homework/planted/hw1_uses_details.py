"""Wrong answers to homework 1: broadcasting and lookups at their edges."""

from __future__ import annotations

import numpy as np

from tests.homework.planted import Collection
from tests.homework.planted.hw1_uses import unbroadcast

PLANTED = Collection()
KNOWN = {}  # what two calls should not share


# ---- 1.2 unbroadcast -----------------------------------------------------------------------------


@PLANTED.add("1.2", "answers are remembered by their shapes", shows="earlier call")
def unbroadcast_remembered(gradient, shape):
    key = (gradient.shape, gradient.dtype, shape)
    if key not in KNOWN:
        KNOWN[key] = unbroadcast(gradient, shape)
    return KNOWN[key]


@PLANTED.add("1.2", "sums are made in the gradient itself", shows="changed its input")
def unbroadcast_in_place(gradient, shape):
    extra = gradient.ndim - len(shape)
    for axis in (*range(extra), *(extra + i for i, n in enumerate(shape) if n == 1)):
        if gradient.shape[axis] == 0:
            return np.zeros(shape, gradient.dtype)
        first = (slice(None),) * axis + (slice(0, 1),)
        gradient[first] = gradient.sum(axis=axis, keepdims=True)
        gradient = gradient[first]
    return gradient.reshape(shape)


@PLANTED.add("1.2", "one new axis only", shows="the shape is|it raised")
def unbroadcast_one_axis(gradient, shape):
    if gradient.ndim > len(shape):
        gradient = gradient.sum(axis=0, dtype=gradient.dtype)
    for axis, size in enumerate(shape):
        if size == 1:
            gradient = gradient.sum(axis=axis, keepdims=True, dtype=gradient.dtype)
    return gradient


@PLANTED.add("1.2", "the last row is left out", shows="last of several uses is left out")
def unbroadcast_short(gradient, shape):
    extra = gradient.ndim - len(shape)
    if extra and len(gradient) > 1:
        gradient = gradient[:-1]
    return unbroadcast(gradient, shape)


@PLANTED.add("1.2", "axes that were repeated no times", shows="it raised|the shape is")
def unbroadcast_larger_only(gradient, shape):
    extra = gradient.ndim - len(shape)
    axes = [i for i, n in enumerate(gradient.shape) if i < extra or n > shape[i - extra]]
    return gradient.sum(axis=tuple(axes), dtype=gradient.dtype).reshape(shape)


@PLANTED.add("1.2", "memory is read in the order it lies in", shows="transposed array")
def unbroadcast_memory(gradient, shape):
    flat = gradient.ravel(order="K").reshape(gradient.shape)
    return unbroadcast(flat, shape)


@PLANTED.add("1.2", "equal sizes are taken for nothing to do", shows="values are wrong")
def unbroadcast_by_size(gradient, shape):
    if sorted(gradient.shape) == sorted(shape) or gradient.ndim == len(shape) + 2:
        return gradient.reshape(-1, *shape)[0] * (gradient.size // max(1, int(np.prod(shape))))
    return unbroadcast(gradient, shape)


# ---- 1.6 scatter_add -----------------------------------------------------------------------------


def _zeros(size, values):
    return np.zeros((size, *values.shape[1:]), values.dtype)


@PLANTED.add("1.6", "one array of zeros for all calls", shows="earlier call")
def scatter_add_kept(size, positions, values):
    key = (size, *values.shape[1:], values.dtype)
    if key not in KNOWN:
        KNOWN[key] = _zeros(size, values)
    np.add.at(KNOWN[key], positions, values)
    return KNOWN[key].copy()


@PLANTED.add(
    "1.6", "the values themselves, where positions are in order", shows="values themselves"
)
def scatter_add_shared(size, positions, values):
    if np.array_equal(positions, np.arange(size)):
        return values
    result = _zeros(size, values)
    np.add.at(result, positions, values)
    return result


@PLANTED.add("1.6", "neighbours are added up, as if sorted", shows="next to each other")
def scatter_add_reduceat(size, positions, values):
    result = _zeros(size, values)
    if len(positions):
        starts = np.flatnonzero(np.r_[True, positions[1:] != positions[:-1]])
        result[positions[starts]] = np.add.reduceat(values, starts, axis=0)
    return result


@PLANTED.add("1.6", "the last value is left out", shows="last value")
def scatter_add_short(size, positions, values):
    result = _zeros(size, values)
    for i in range(len(positions) - 1):
        result[positions[i]] += values[i]
    return result


@PLANTED.add("1.6", "positions of one byte overflow", shows="one byte")
def scatter_add_bytes(size, positions, values):
    width = int(np.prod(values.shape[1:], dtype=int))
    places = (positions[:, None] * positions.dtype.type(width)).astype(np.int64) + np.arange(width)
    result = _zeros(size, values).reshape(-1)
    np.add.at(result, places.ravel() % max(1, result.size), values.reshape(-1))
    return result.reshape(size, *values.shape[1:])


@PLANTED.add("1.6", "it sorts the caller's positions", shows="changed its input")
def scatter_add_sorting(size, positions, values):
    order = np.argsort(positions, kind="stable")
    positions.sort()
    result = _zeros(size, values)
    np.add.at(result, positions, values[order])
    return result


@PLANTED.add("1.6", "whole numbers by way of float32", shows="whole numbers have lost")
def scatter_add_single(size, positions, values):
    result = np.zeros((size, *values.shape[1:]), np.float32 if values.dtype.kind == "i" else None)
    np.add.at(result, positions, values)
    return result.astype(values.dtype)


@PLANTED.add(
    "1.6", "each row of the table looks at every value", shows="go through the values once"
)
def scatter_add_quadratic(size, positions, values):
    result = _zeros(size, values)
    for row in range(size):
        for position, value in zip(positions, values):
            if position == row:
                result[row] += value
    return result
