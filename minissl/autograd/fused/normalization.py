"""Layer normalization (Ba, Kiros and Hinton, 2016), and unit vectors. Lectures 06 and 12."""

from typing import Any

import numpy as np

from minissl.autograd import composed
from minissl.autograd.arrays import is_half, namespace, require_floating, total
from minissl.autograd.fused import gpu
from minissl.autograd.fused.chunks import as_rows, for_each_chunk, num_chunks
from minissl.autograd.half import in_single, rounded_once
from minissl.autograd.reductions import scaled_by_largest
from minissl.autograd.tensor import Tensor, differentiable


def layer_norm(x: Any, weight: Any, bias: Any, eps: float = 1e-5) -> Tensor:
    """(x − mean) / √(variance + eps) · weight + bias, over the last axis.

    Shapes: x (..., width), weight and bias (width,). Raises ValueError when the widths differ.
    """
    require_floating("layer_norm", x, weight, bias)
    width = x.shape[-1]
    if tuple(weight.shape) != (width,) or tuple(bias.shape) != (width,):
        raise ValueError(
            f"layer_norm: the input has width {width}, so weight and bias need shape ({width},); "
            f"got {tuple(weight.shape)} and {tuple(bias.shape)}"
        )
    array = x.array if isinstance(x, Tensor) else x
    if gpu.runs_kernels(array):
        return gpu.layer_norm(x, weight, bias, eps=eps)
    if is_half(array):
        return in_single(layer_norm, x, weight, bias, eps=eps)
    if isinstance(array, np.ndarray):
        return _layer_norm(x, weight, bias, eps=eps)
    return composed.layer_norm(x, weight, bias, eps)


@differentiable
@rounded_once
def unit_vectors(x, /):
    """y = x / ‖x‖ along the last axis;  ∂L/∂x = (g − y Σ g y) / ‖x‖: nothing along x itself.

    Right for vectors of any length: x is divided by its largest element before it is squared.
    Convention: a zero vector has no direction, stays zero, and hands its gradient on.
    """
    xp = namespace(x)
    scaled, scale = scaled_by_largest(x, (x.ndim - 1,))
    length = xp.sqrt(total(scaled * scaled, -1, keepdims=True))
    length = xp.where(length == 0, xp.ones_like(length), length)
    y = scaled / length
    return y, (lambda g: (g - y * total(g * y, -1, keepdims=True)) / length / scale,)


@differentiable
def _layer_norm(x, weight, bias, /, eps):
    """y = x̂ w + b with x̂ = (x − μ) r, r = 1/√(σ² + eps).

    With h = g w:  ∂L/∂x = r (h − mean(h) − x̂ mean(h x̂)),  ∂L/∂w = Σ g x̂,  ∂L/∂b = Σ g.
    """
    rows = as_rows(x)
    normalized, y = np.empty_like(rows), np.empty_like(rows)
    inverse_std = np.empty((len(rows), 1), rows.dtype)

    def forward(_, piece):
        mean = rows[piece].mean(axis=-1, keepdims=True)
        c = np.subtract(rows[piece], mean, out=normalized[piece])
        r = inverse_std[piece]
        r[:, 0] = np.vecdot(c, c) / c.shape[-1]
        np.sqrt(r + eps, out=r)
        np.divide(1, r, out=r)
        c *= r
        np.multiply(c, weight, out=y[piece])
        y[piece] += bias

    def vjp(g):
        g = as_rows(g)
        dx = np.empty_like(normalized)
        dw, db = np.zeros((2, num_chunks(g), len(weight)), weight.dtype)

        def backward(number, piece):
            gradient, c, h = g[piece], normalized[piece], dx[piece]
            np.multiply(gradient, c, out=h)
            dw[number], db[number] = total(h, 0), total(gradient, 0)
            np.multiply(gradient, weight, out=h)
            along = np.vecdot(h, c)[:, None] / h.shape[-1]
            h -= h.mean(axis=-1, keepdims=True)
            c *= along  # the normalized rows are ours, and this is their last use
            h -= c
            h *= inverse_std[piece]

        for_each_chunk(backward, g)
        return dx.reshape(x.shape), total(dw, 0), total(db, 0)

    for_each_chunk(forward, rows)
    return y.reshape(x.shape), vjp
