"""The logistic loss, binary cross-entropy of logits: is this pair real or made up? Lecture 04."""

from typing import Any

import numpy as np

from minissl.autograd import composed
from minissl.autograd.arrays import is_half, namespace, require_floating, total
from minissl.autograd.devices import device_of, move
from minissl.autograd.fused.chunks import for_each_chunk
from minissl.autograd.half import in_single
from minissl.autograd.tensor import Tensor, as_array, differentiable


def logistic_loss(logits: Any, positive: Any, negative: Any) -> Tensor:
    """Σ positive · (−log σ(x)) + negative · (−log σ(−x)), over all logits x: one number, in nats.

    Shapes: logits, positive and negative all alike. ``positive`` and ``negative`` are weights ≥ 0:
    how often the pair of a logit was seen, and how often it stands for noise; where both are 0 the
    logit changes nothing, whatever it is. Raises ValueError for other shapes. Lecture 04.
    """
    require_floating("logistic_loss", logits)
    array = as_array(logits)
    weights = [as_array(weight) for weight in (positive, negative)]
    for name, weight in zip(("positive", "negative"), weights):
        if tuple(weight.shape) != tuple(array.shape):
            raise ValueError(
                f"logistic_loss: {name} has shape {tuple(weight.shape)}, expected a weight for "
                f"each logit, {tuple(array.shape)}"
            )
    if is_half(array):
        return in_single(logistic_loss, logits, positive=weights[0], negative=weights[1])
    if isinstance(array, np.ndarray):
        return _logistic_loss(logits, *(np.asarray(weight) for weight in weights))
    place = device_of(array)
    there = [namespace(array).astype(move(w, place), array.dtype) for w in weights]
    return composed.logistic_loss(logits, *there)


@differentiable
def _logistic_loss(x, /, positive, negative):
    """L = Σ (p + n) softplus(x) − p x;  ∂L/∂x = (p + n) σ(x) − p, computed now."""
    flat, p, n = x.reshape(-1), positive.reshape(-1), negative.reshape(-1)
    loss, slope = np.empty_like(flat), np.empty_like(flat)
    for_each_chunk(lambda _, i: _chunk(flat[i], p[i], n[i], loss[i], slope[i]), flat)

    def vjp(g):
        return np.multiply(slope, g, out=slope).reshape(x.shape)

    return np.asarray(total(loss)), (vjp,)


def _chunk(x, p, n, loss, slope):
    """softplus(x) = max(x, 0) + log(1 + e), σ(x) = exp(min(x, 0)) / (1 + e), with e = exp(−|x|)."""
    both = np.add(p, n, dtype=x.dtype)
    x = x.copy()
    np.copyto(x, 0, where=both == 0)
    np.abs(x, out=loss)
    np.negative(loss, out=loss)
    np.exp(loss, out=loss)
    np.minimum(x, 0, out=slope)
    np.exp(slope, out=slope)
    slope /= 1 + loss
    np.log1p(loss, out=loss)
    loss += np.maximum(x, 0)
    loss *= both
    loss -= p * x
    slope *= both
    slope -= p
