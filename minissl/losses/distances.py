"""All distances between the rows of a batch: what every metric loss begins with. Lecture 12.

Three things go wrong where this is written quickly. √ has an infinite slope at 0, so that an
example which is twice in the batch makes every gradient NaN. ‖a‖² − 2 a·b + ‖b‖² may come out
below 0. And it loses the digits of what is near: so here it is computed in float64, and of the few
pairs that are very near, with their gradients, from a − b itself.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minissl.autograd.arrays import namespace, require_floating, scatter_add
from minissl.autograd.half import at_least_single
from minissl.autograd.tensor import Tensor, as_array, differentiable
from minissl.autograd.threads import product

NEAR = 2e-6  # a square this small beside ‖a‖² has less than 10 digits left of float64's 16
TOGETHER = 1 << 20  # numbers of a − b in memory at a time


def pairwise_distances(first: Any, second: Any = None, *, squared: bool = False) -> Tensor:
    """‖aᵢ − bⱼ‖ of every row of the first with every row of the second, by default the same rows.

    Shapes: first (rows, width), second (others, width) -> (rows, others). ``squared``: ‖aᵢ − bⱼ‖².
    Where two rows are equal the distance is 0, and so is its gradient: the convention of
    ``ops.norm``. A distance has nine right digits or all of its dtype, however near the rows are.
    Half precision gives float32. A row that is not finite makes all distances NaN. Raises
    ValueError for other shapes, TypeError for integers. Lecture 12.
    """
    rows = [first] if second is None else [first, second]
    shapes = [tuple(as_array(x).shape) for x in rows]
    if any(len(shape) != 2 for shape in shapes) or len({shape[1] for shape in shapes}) > 1:
        raise ValueError(
            "pairwise_distances: expected (rows, width) and (others, width), got "
            f"{' and '.join(map(str, shapes))}"
        )
    require_floating("pairwise_distances", *map(as_array, rows))
    return _distances(*map(at_least_single, rows), squared=squared)


@differentiable
def _distances(*rows, squared):
    """dᵢⱼ = √(‖aᵢ‖² − 2 aᵢ·bⱼ + ‖bⱼ‖²), or its square; of one array, b is a.

    With W = g / d (0 where d is), or 2 g for squares:
    ∂L/∂aᵢ = Σⱼ Wᵢⱼ (aᵢ − bⱼ) = aᵢ Σⱼ Wᵢⱼ − (W b)ᵢ,  ∂L/∂bⱼ = bⱼ Σᵢ Wᵢⱼ − (Wᵀ a)ⱼ.
    """
    xp, dtype, shape = namespace(rows[0]), rows[0].dtype, (rows[0].shape[0], rows[-1].shape[0])
    largest = [float(xp.max(xp.abs(x))) if math.prod(x.shape) else 0.0 for x in rows]
    if not math.prod(shape) or not any(largest) or not all(map(math.isfinite, largest)):
        value = sum(largest) * 0.0  # all distances are 0, or NaN
        d = xp.full(shape, value, dtype=dtype, device=rows[0].device)
        return d, lambda g: [xp.full_like(x, value) for x in rows]
    # In units of a power of two, which rounds nothing, where float64 has no room for squares.
    roomy = all(x == 0 or 1e-100 < x < 1e100 for x in largest)
    unit = 1.0 if roomy else math.ldexp(1.0, math.frexp(max(largest))[1] - 1)
    exact = [xp.astype(x, xp.float64) / unit for x in rows]
    middle = xp.mean(exact[0], axis=0)  # far from 0 all would be near, and take long
    around = [x - middle for x in exact]
    squares, near = _squares(around[0], around[-1])
    for i, j, gaps in _gaps(exact, near):
        squares[i, j] = xp.sum(gaps * gaps, axis=1)
    d = squares if squared else xp.sqrt(squares)

    def vjp(g):
        g = xp.astype(g, xp.float64)
        if squared:
            return [xp.astype(x, dtype) for x in _pulled(g * (2 * unit), around)]
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = g / d
        weight[near] = 0  # all that are 0 are among them
        of_near = g[near] / xp.where(d[near] == 0, xp.full_like(d[near], math.inf), d[near])
        gradients = _pulled(weight, around)
        _add_near(gradients, exact, near, of_near)
        return [xp.astype(x, dtype) for x in gradients]

    scaled = d * unit * unit if squared else d * unit
    return xp.astype(scaled, dtype), vjp


def _squares(a, b):
    """‖aᵢ‖² − 2 aᵢ·bⱼ + ‖bⱼ‖², and the row numbers of pairs that are too near for that."""
    xp = namespace(a)
    of_a, of_b = (xp.sum(x * x, axis=1) for x in (a, b))
    squares = product(-2 * a, b.T)
    squares += of_a[:, None]
    squares += of_b
    return squares, xp.nonzero(squares <= NEAR * of_a[:, None])  # then ‖b‖ is all but ‖a‖


def _pulled(weight, rows):
    """Σⱼ Wᵢⱼ (aᵢ − bⱼ) and Σᵢ Wᵢⱼ (bⱼ − aᵢ); of one array their sum."""
    xp, a, b = namespace(weight), rows[0], rows[-1]
    if len(rows) == 1:
        weight = weight + weight.T
        return [a * xp.sum(weight, axis=1)[:, None] - product(weight, a)]
    return [
        a * xp.sum(weight, axis=1)[:, None] - product(weight, b),
        b * xp.sum(weight, axis=0)[:, None] - product(weight.T, a),
    ]


def _gaps(exact, near) -> Iterator[tuple[Any, Any, Any]]:
    """Row numbers i and j of the near pairs, and aᵢ − bⱼ, a piece at a time."""
    step = max(1, TOGETHER // exact[0].shape[1])
    for start in range(0, len(near[0]), step):
        i, j = (numbers[start : start + step] for numbers in near)
        yield i, j, exact[0][i] - exact[-1][j]


def _add_near(gradients, exact, near, weight):
    """Add W (a − b) of pairs so near that a Σ W − W b would be the difference of huge numbers."""
    moves = near[0] != near[1] if len(exact) == 1 else near[0] >= 0
    near, weight = [numbers[moves] for numbers in near], weight[moves]
    start = 0
    for i, j, gaps in _gaps(exact, near):
        pulls = gaps * weight[start : start + len(i), None]
        start += len(i)
        gradients[0] += scatter_add(len(gradients[0]), i, pulls)
        gradients[-1] -= scatter_add(len(gradients[-1]), j, pulls)
