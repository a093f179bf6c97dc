"""The logistic loss, binary cross-entropy of logits: is this pair real or made up? Lecture 04."""

from typing import Any

import numpy as np

from minissl.autograd import composed
from minissl.autograd.arrays import is_half, require_floating, total
from minissl.autograd.fused.chunks import for_each_chunk
from minissl.autograd.half import in_single
from minissl.autograd.inputs import constant
from minissl.autograd.tensor import Tensor, as_array, differentiable

PIECE_BYTES = 1 << 18  # ten arrays of it stay in a core's cache


def logistic_loss(logits: Any, positive: Any, negative: Any) -> Tensor:
    """Σ positive · (−log σ(x)) + negative · (−log σ(−x)), over all logits x: one number, in nats.

    Shapes: logits, positive and negative all alike. ``positive`` and ``negative`` are weights:
    how often the pair of a logit was seen, and how often it stands for noise; where both are 0 the
    logit changes nothing, whatever it is. Raises ValueError for other shapes, TypeError for weights
    that need a gradient. Lecture 04.
    """
    array = as_array(logits)
    require_floating("logistic_loss", array)
    if is_half(array):
        return in_single(logistic_loss, logits, positive=positive, negative=negative)
    weights = {
        name: constant("logistic_loss", name, weight, array)
        for name, weight in (("positive", positive), ("negative", negative))
    }
    for name, weight in weights.items():
        if tuple(weight.shape) != tuple(array.shape):
            raise ValueError(
                f"logistic_loss: {name} has shape {tuple(weight.shape)}, expected a weight for "
                f"each logit, {tuple(array.shape)}"
            )
    run = _logistic_loss if isinstance(array, np.ndarray) else composed.logistic_loss
    return run(logits, **weights)


@differentiable
def _logistic_loss(x, /, positive, negative):
    """L = Σ p softplus(−x) + n softplus(x);  ∂L/∂x = n σ(x) − p σ(−x), computed now."""
    flat, p, n = x.reshape(-1), positive.reshape(-1), negative.reshape(-1)
    loss, slope = np.empty_like(flat), np.empty_like(flat)
    for_each_chunk(lambda _, i: _chunk(flat[i], p[i], n[i], loss[i], slope[i]), flat, PIECE_BYTES)
    sum_ = np.asarray(total(loss))
    if not np.isfinite(sum_):  # an infinite logit is no limit, but a mistake: NaN, both ways
        loss += 0 * loss
        slope += loss - loss
        sum_ = np.asarray(total(loss))

    def vjp(g):
        return np.multiply(slope, g, out=slope).reshape(x.shape)

    return sum_, (vjp,)


def _chunk(x, p, n, loss, slope):
    """With u = exp(min(x, 0)) and v = exp(min(−x, 0)), of which one is 1: σ(x) = u / (u + v).

    softplus(x) = log(1 + u v) − min(−x, 0). Not as (p + n) softplus(x) − p x, nor the slope as
    (p + n) σ(x) − p: of a pair that is told well nothing would be left but rounding.
    """
    both = p + n
    x = x.copy()
    if not np.isfinite(x).all():  # 0 times infinity is none of what is masked
        x[(p == 0) & (n == 0)] = 0
    low, high = np.minimum(x, 0), np.minimum(np.negative(x, out=x), 0, out=x)
    u, v = np.exp(low, out=loss), np.exp(high, out=slope)
    uv, sum_ = u * v, u + v
    u *= n
    v *= p
    np.subtract(u, v, out=slope)
    slope /= sum_
    np.log1p(uv, out=loss)
    loss *= both
    low *= p
    high *= n
    loss -= low
    loss -= high
