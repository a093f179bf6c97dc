"""Matrix products, where nearly all the time of a network goes. Lecture 02."""

import math
from typing import Any

from minissl.autograd.arrays import is_array, namespace, total
from minissl.autograd.half import rounded_once_by_numpy
from minissl.autograd.tensor import Tensor, differentiable
from minissl.autograd.threads import product


def matmul(a: Any, b: Any) -> Tensor:
    """C = A B for the last two axes; the axes before them broadcast. Vectors as in NumPy.

    Shapes: (..., rows, inner) @ (..., inner, columns) -> (..., rows, columns).
    Raises ValueError when the inner sizes differ.
    """
    a, b = (x if isinstance(x, Tensor) or is_array(x) else Tensor(x) for x in (a, b))
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"matmul: got shapes {a.shape} and {b.shape}; use * for a number")
    inner = b.shape[0] if b.ndim == 1 else b.shape[-2]
    if a.shape[-1] != inner:
        raise ValueError(
            f"matmul: shapes {a.shape} and {b.shape} do not fit: "
            f"the inner sizes {a.shape[-1]} and {inner} must be equal"
        )
    if a.ndim > 1 and b.ndim > 1:
        return _matmul(a, b)
    product = _matmul(a if a.ndim > 1 else a.reshape(1, -1), b if b.ndim > 1 else b.reshape(-1, 1))
    *batch, rows, columns = product.shape  # a vector's axis of size 1 is not there afterwards
    return product.reshape(batch + [rows] * (a.ndim > 1) + [columns] * (b.ndim > 1))


@differentiable
@rounded_once_by_numpy
def _matmul(a, b, /):
    """C = A B;  ∂L/∂A = G Bᵀ,  ∂L/∂B = Aᵀ G."""
    xp = namespace(a)
    return a @ b, (
        lambda g: g @ xp.matrix_transpose(b),
        lambda g: xp.matrix_transpose(a) @ g,
    )


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """y = x Wᵀ + b: every layer's workhorse, in one large matrix product.

    Shapes: x (..., in_features), weight (out_features, in_features) as in torch, bias
    (out_features,) or None; the result is (..., out_features).
    Raises ValueError when the sizes do not fit.
    """
    if x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear: the input has {x.shape[-1]} features (shape {tuple(x.shape)}), "
            f"the weight expects {weight.shape[1]} (shape {tuple(weight.shape)})"
        )
    return _linear(x, weight) if bias is None else _linear_with_bias(x, weight, bias)


@differentiable
@rounded_once_by_numpy
def _linear(x, weight, /):
    """Y = X Wᵀ;  ∂L/∂X = G W,  ∂L/∂W = Gᵀ X, with all leading axes seen as one."""
    return _affine(x, weight)


@differentiable
@rounded_once_by_numpy
def _linear_with_bias(x, weight, bias, /):
    """Y = X Wᵀ + b;  ∂L/∂b = Σ G over all rows."""
    y, vjps = _affine(x, weight, bias)
    return y, (*vjps, lambda g: total(g, tuple(range(g.ndim - 1))))


def _affine(x, weight, bias=None):
    outputs, inputs = weight.shape
    count = math.prod(x.shape[:-1])
    rows = x.reshape((count, inputs))
    y = product(rows, weight.T, bias).reshape((*x.shape[:-1], outputs))
    return y, (
        lambda g: product(g.reshape((count, outputs)), weight).reshape((*g.shape[:-1], inputs)),
        lambda g: product(g.reshape((count, outputs)).T, rows),
    )
