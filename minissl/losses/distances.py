"""All distances between the rows of a batch: what every metric loss begins with. Lecture 12.

Three things go wrong where this is written quickly. √ has an infinite slope at 0, so that an
example which is twice in the batch makes every gradient NaN. ‖a‖² − 2 a·b + ‖b‖² may come out
below 0. And it loses the digits of what is near: here it is computed in float64, from the middle of
all rows, whatever the dtype of the embeddings.
"""

import math
from typing import Any

from minissl.autograd.arrays import namespace, require_floating
from minissl.autograd.half import at_least_single
from minissl.autograd.tensor import Tensor, as_array, differentiable


def pairwise_distances(first: Any, second: Any = None, *, squared: bool = False) -> Tensor:
    """‖aᵢ − bⱼ‖ of every row of the first with every row of the second, by default the same rows.

    Shapes: first (rows, width), second (others, width) -> (rows, others). ``squared``: ‖aᵢ − bⱼ‖².
    Where two rows are equal the distance is 0, and so is its gradient: the convention of
    ``ops.norm``. A distance is right to its last digits, or to 1e-7 of the largest row (seen from
    the middle of all rows). Half precision gives float32. A row that is not finite makes all NaN.
    Raises ValueError for other shapes. Lecture 12.
    """
    second = first if second is None else second
    shapes = [tuple(as_array(x).shape) for x in (first, second)]
    if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            "pairwise_distances: expected (rows, width) and (others, width), got "
            f"{shapes[0]} and {shapes[1]}"
        )
    require_floating("pairwise_distances", as_array(first), as_array(second))
    distances = _distances(at_least_single(first), at_least_single(second))
    return distances * distances if squared else distances


@differentiable
def _distances(a, b, /):
    """dᵢⱼ = √(‖aᵢ‖² − 2 aᵢ·bⱼ + ‖bⱼ‖²).  With W = g / d, 0 where d is:

    ∂L/∂aᵢ = Σⱼ Wᵢⱼ (aᵢ − bⱼ) = aᵢ Σⱼ Wᵢⱼ − (W b)ᵢ,  ∂L/∂bⱼ = bⱼ Σᵢ Wᵢⱼ − (Wᵀ a)ⱼ.
    """
    xp, dtype = namespace(a), a.dtype
    if not math.prod(a.shape):
        return xp.zeros((a.shape[0], b.shape[0]), dtype=dtype, device=a.device), (None, None)
    a, b = (xp.astype(x, xp.float64) for x in (a, b))
    middle = xp.mean(a, axis=0)
    a, b = a - middle, b - middle
    largest = max(float(xp.max(xp.abs(x))) if x.shape[0] else 0.0 for x in (a, b))
    scale = largest if 0 < largest < math.inf else 1.0  # the square of 1e200 has no room in float64
    a, b = a / scale, b / scale
    lengths = xp.sum(a * a, axis=1)[:, None] + xp.sum(b * b, axis=1)[None, :]
    squares = lengths - 2 * (a @ b.T)
    squares = xp.where(squares < 1e-14 * lengths, xp.zeros_like(squares), squares)  # rounding
    d = xp.sqrt(squares)

    def vjp(g):
        weight = xp.astype(g, xp.float64) / xp.where(d == 0, xp.full_like(d, math.inf), d)
        of_a = a * xp.sum(weight, axis=1)[:, None] - weight @ b
        of_b = b * xp.sum(weight, axis=0)[:, None] - weight.T @ a
        return xp.astype(of_a, dtype), xp.astype(of_b, dtype)

    return xp.astype(d * scale, dtype), vjp
