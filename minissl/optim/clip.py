"""Clipping by the global norm: one large gradient must not undo a thousand steps."""

import math
from collections.abc import Iterable

import numpy as np

from minissl.autograd.arrays import Array, namespace
from minissl.autograd.fused.chunks import row_chunks
from minissl.autograd.rows import Rows, stored
from minissl.autograd.tensor import Tensor, as_array


def grad_norm(parameters: Iterable[Tensor]) -> float:
    """√ Σ g² over all gradients together, summed in float64 (0 when there is no gradient)."""
    gradients = (stored(p.grad) for p in parameters if p.grad is not None)
    return math.sqrt(sum(_sum_of_squares(gradient) for gradient in gradients))


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients by one factor so that their global norm is at most ``max_norm``.

    Returns the norm before clipping. Gradients whose norm is not finite are left alone: no factor
    would repair them, and the caller is the one to stop. Raises ValueError unless max_norm > 0.

    Pascanu, Mikolov and Bengio (2013), On the difficulty of training recurrent neural networks.
    Lecture 05.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be positive, got {max_norm!r}")
    parameters = list({id(p): p for p in parameters}.values())  # a tied parameter counts once
    norm = grad_norm(parameters)
    if max_norm < norm < math.inf:
        scale = float(max_norm) / norm
        for parameter in parameters:
            if parameter.grad is not None:
                smaller = parameter.grad * scale
                parameter.grad = smaller if isinstance(smaller, Rows) else as_array(smaller)
    return norm


def _sum_of_squares(gradient: Array) -> float:
    if not isinstance(gradient, np.ndarray):
        xp = namespace(gradient)
        return float(xp.sum(xp.astype(gradient, xp.float64) ** 2))
    flat, total = gradient.reshape(-1), 0.0
    for slice_ in row_chunks(flat):
        piece = flat[slice_].astype(np.float64)
        total += float(piece @ piece)
    return total
