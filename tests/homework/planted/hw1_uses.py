"""Wrong answers to homework 1: broadcasting and lookups."""

from __future__ import annotations

import numpy as np

from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 1.2 unbroadcast -----------------------------------------------------------------------------


@PLANTED.add("1.2", "the gradient is handed on as it is", shows="the shape is")
def unbroadcast_missing(gradient, shape):
    return gradient


@PLANTED.add("1.2", "only new axes in front are summed", shows="the shape is")
def unbroadcast_only_new(gradient, shape):
    return gradient.sum(axis=tuple(range(gradient.ndim - len(shape))), dtype=gradient.dtype)


@PLANTED.add("1.2", "only axes of size 1 are summed", shows="the shape is|it raised")
def unbroadcast_only_ones(gradient, shape):
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and gradient.shape[i] != 1)
    return gradient.sum(axis=axes, keepdims=True) if axes else gradient


@PLANTED.add("1.2", "axes of size 1 get lost", shows="the shape is")
def unbroadcast_squeezed(gradient, shape):
    extra = gradient.ndim - len(shape)
    ones = [extra + i for i, n in enumerate(shape) if n == 1]
    return gradient.sum(axis=(*range(extra), *ones), dtype=gradient.dtype)


@PLANTED.add("1.2", "the mean is taken", shows="mean was taken")
def unbroadcast_mean(gradient, shape):
    total = unbroadcast(gradient, shape)
    return total * gradient.dtype.type(max(1, total.size) / max(1, gradient.size))


@PLANTED.add("1.2", "the first row is taken", shows="only the first")
def unbroadcast_first(gradient, shape):
    while gradient.ndim > len(shape):
        gradient = gradient[0] if len(gradient) else gradient.sum(0)
    for axis, size in enumerate(shape):
        gradient = np.take(gradient, range(size), axis=axis)
    return gradient


@PLANTED.add("1.2", "new axes are looked for at the end", shows="wrong axis|the shape is|it raised")
def unbroadcast_from_the_end(gradient, shape):
    axes = [i for i in range(gradient.ndim) if i >= len(shape) or shape[i] != gradient.shape[i]]
    return gradient.sum(axis=tuple(axes), dtype=gradient.dtype).reshape(shape)


@PLANTED.add("1.2", "everything is summed when shapes differ", shows="everything was summed")
def unbroadcast_all(gradient, shape):
    same = gradient.shape == shape
    return gradient if same else np.broadcast_to(gradient.sum(dtype=gradient.dtype), shape)


@PLANTED.add("1.2", "the answer is float64", shows="dtype is float64")
def unbroadcast_float64(gradient, shape):
    return unbroadcast(gradient.astype(np.float64), shape)


def unbroadcast(gradient, shape):
    extra = gradient.ndim - len(shape)
    ones = tuple(extra + i for i, n in enumerate(shape) if n == 1)
    total = gradient.sum(axis=(*range(extra), *ones), dtype=gradient.dtype)
    return total.reshape(shape)


# ---- 1.6 scatter_add -----------------------------------------------------------------------------


def _zeros(size, values):
    return np.zeros((size, *values.shape[1:]), values.dtype)


@PLANTED.add("1.6", "+= with repeated indices", shows="only the last")
def scatter_add_assigned(size, positions, values):
    result = _zeros(size, values)
    result[positions] += values
    return result


@PLANTED.add("1.6", "only what comes first is kept", shows="only the first")
def scatter_add_first(size, positions, values):
    result = _zeros(size, values)
    rows, first = np.unique(positions, return_index=True)
    result[rows] = values[first]
    return result


@PLANTED.add("1.6", "repeats are averaged", shows="averaged")
def scatter_add_mean(size, positions, values):
    result = _zeros(size, values)
    np.add.at(result, positions, values)
    times = np.bincount(positions, minlength=size).clip(1)
    return (result / times.reshape(-1, *[1] * (values.ndim - 1))).astype(values.dtype)


@PLANTED.add("1.6", "as many rows as positions", shows="the shape is|it raised IndexError")
def scatter_add_small(size, positions, values):
    result = _zeros(len(positions), values)
    np.add.at(result, positions, values)
    return result


@PLANTED.add("1.6", "size is guessed from the positions", shows="the shape is|it raised ValueError")
def scatter_add_guessed(size, positions, values):
    result = _zeros(int(positions.max()) + 1, values)
    np.add.at(result, positions, values)
    return result


@PLANTED.add("1.6", "zeros of float64", shows="dtype is float64")
def scatter_add_float64(size, positions, values):
    result = np.zeros((size, *values.shape[1:]))
    np.add.at(result, positions, values)
    return result


@PLANTED.add("1.6", "rows only, no single numbers", shows="it raised")
def scatter_add_matrices(size, positions, values):
    result = np.zeros((size, values.shape[1]), values.dtype)
    np.add.at(result, positions, values)
    return result
