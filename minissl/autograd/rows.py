"""Gradients of a few rows: what a lookup sends back to a table of which it read a little.

A batch of words touches some thousands of the rows of two large tables. Written out in full, its
gradients would be as large as the tables, and nearly all of them zeros to make, to add and to
divide. ``Rows`` holds the rows that are there. Lecture 04.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from minissl.autograd.arrays import (
    TOGETHER,
    Array,
    dtype_name,
    filled,
    is_torch_array,
    kind,
    namespace,
    scatter_add,
    single,
)
from minissl.autograd.devices import move


class Rows:
    """A gradient of zeros but for some rows: the gradient of an array of ``shape``.

    ``positions``: (rows,) integers, each once and rising; ``values``: (rows, ...), the gradient of
    each of them. Times and divided by a number it stays one; ``whole()`` writes it out.
    """

    __slots__ = ("positions", "shape", "values")
    __array_ufunc__ = None  # array + rows is a mistake, not an array of objects

    def __init__(self, shape: Sequence[int], positions: Array, values: Array):
        self.shape, self.positions, self.values = tuple(shape), positions, values

    @classmethod
    def added_up(cls, shape: Sequence[int], positions: Array, values: Array) -> Rows:
        """From rows of which several may stand at one position: they are added up."""
        return cls(shape, *sums_by_position(positions, values))

    @property
    def dtype(self) -> Any:
        """Of the values."""
        return self.values.dtype

    def whole(self) -> Array:
        """The gradient written out, of the array's shape."""
        array = filled(self.values, self.shape, 0)
        array[self.positions] = self.values
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(move(self.whole(), "cpu"), dtype)

    def __mul__(self, number: float) -> Rows:
        return Rows(self.shape, self.positions, self.values * number)

    def __truediv__(self, number: float) -> Rows:
        return Rows(self.shape, self.positions, self.values / number)

    def __repr__(self) -> str:
        count, size = len(self.positions), self.shape[0]
        return f"Rows({count:,} of {size:,}, {dtype_name(self.values)}, {kind(self.values)})"


def merged(parts: Sequence[Rows | Array]) -> Rows | Array:
    """The sum of gradients of one array: Rows where all of them are, else written out."""
    if len(parts) == 1:
        return parts[0]
    if not all(isinstance(part, Rows) for part in parts):
        written = (part.whole() if isinstance(part, Rows) else part for part in parts)
        total = functools.reduce(operator.add, written)
        return namespace(total).asarray(total)  # NumPy makes a number of 0-d arrays
    xp = namespace(parts[0].values)
    positions = xp.concat([part.positions for part in parts])
    return Rows.added_up(parts[0].shape, positions, xp.concat([part.values for part in parts]))


def stored(gradient: Rows | Array) -> Array:
    """The numbers of a gradient that are not certainly zero."""
    return gradient.values if isinstance(gradient, Rows) else gradient


def with_values(gradient: Rows | Array, values: Array) -> Rows | Array:
    """The same gradient with other numbers in place of those ``stored`` in it."""
    if isinstance(gradient, Rows):
        return Rows(gradient.shape, gradient.positions, values)
    return values


def sums_by_position(positions: Array, values: Array) -> tuple[Array, Array]:
    """Each position once, in rising order, and the sum of the rows of ``values`` that stand there.

    Shapes: positions (count,) integers, values (count, ...). Added up in groups of so many rows
    that no digits are lost, and the groups' sums in float64.
    """
    if is_torch_array(values):
        return _torch_sums(positions, values)
    positions = positions.astype(np.int64, copy=False)  # uint64 beside int64 would become floats
    unique, inverse, counts = np.unique(positions, return_inverse=True, return_counts=True)
    rows = single(values).reshape(len(values), math.prod(values.shape[1:]))
    if counts.max(initial=0) <= TOGETHER:
        sums = _product(len(unique), inverse, rows)
    else:
        groups = -(-counts // TOGETHER)
        first = np.cumsum(groups) - groups
        places = first[inverse]
        many = np.flatnonzero((groups > 1)[inverse])
        many = many[np.argsort(places[many], kind="stable")]
        rank = np.arange(len(many)) - np.searchsorted(places[many], places[many])
        places[many] += rank // TOGETHER  # of so many rows at one position to the next group
        parts = _product(int(groups.sum()), places, rows)
        sums = parts[first]
        for i in np.flatnonzero(groups > 1):
            sums[i] = parts[first[i] : first[i] + groups[i]].sum(axis=0, dtype=np.float64)
    shape = (len(unique), *values.shape[1:])
    return unique, sums.reshape(shape).astype(values.dtype, copy=False)


def _product(size: int, places: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Row i of ``rows`` added to row places[i] of zeros: a sparse matrix with one 1 in a column."""
    from scipy.sparse import csc_array

    ones = np.ones(len(places), rows.dtype)
    return csc_array((ones, places, np.arange(len(places) + 1)), shape=(size, len(places))) @ rows


def _torch_sums(positions: Array, values: Array) -> tuple[Array, Array]:
    """On a GPU by torch, in the order of its own additions; on the CPU by NumPy."""
    import torch

    if values.device.type == "cpu":
        unique, sums = sums_by_position(positions.numpy(), single(values).numpy())
        return torch.from_numpy(unique), torch.from_numpy(sums).to(values.dtype)
    distinct, inverse = torch.unique(positions, return_inverse=True)
    return distinct, scatter_add(len(distinct), inverse, values)
