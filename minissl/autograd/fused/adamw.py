"""The AdamW update as one operation: every array is read once and written once.

Written as the formula reads, the update takes more than ten passes over four arrays that are far
larger than any cache, and its time is the time to move them. Here a chunk of each array is brought
into the cache once, and the whole formula runs on it there.
"""

import math

import numpy as np

from minissl.autograd import composed
from minissl.autograd.arrays import Array, dtype_name, kind
from minissl.autograd.fused.chunks import PIECE_BYTES, for_each_chunk


def adamw_update(
    parameter: Array,
    gradient: Array,
    first_moment: Array,
    second_moment: Array,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """One step of AdamW, written into ``parameter``, ``first_moment`` and ``second_moment``.

        m ← m + (1 − β₁)(g − m)        v ← v + (1 − β₂)(g² − v)
        p ← (1 − lr λ) p − lr m̂ / (√v̂ + ε)   with  m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)

    Shapes: all four arrays the same, of one floating dtype and one library; ``step`` is t ≥ 1.
    The gradient is only read. Raises ValueError when the arrays do not fit together.

    Loshchilov and Hutter (2019), Decoupled Weight Decay Regularization; Kingma and Ba (2015), Adam.
    Lecture 10.
    """
    _check(parameter, gradient, first_moment, second_moment, step)
    arrays = (parameter, gradient, first_moment, second_moment)
    if not isinstance(parameter, np.ndarray):
        composed.adamw_update(
            *arrays, step=step, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay
        )
        return
    beta1, beta2 = betas
    # Both bias corrections in two numbers:  lr m̂ / (√v̂ + ε)  =  rate m / (√v + floor)
    correction = math.sqrt(1 - beta2**step)
    rate = lr * correction / (1 - beta1**step)
    floor = eps * correction
    _in_chunks(*arrays, beta1, beta2, rate, floor, shrink=1 - lr * weight_decay)


def _in_chunks(parameter, gradient, first_moment, second_moment, beta1, beta2, rate, floor, shrink):
    """The lines of ``composed.adamw_update`` on cache-sized pieces, shared among the threads."""
    own = (parameter, first_moment, second_moment)
    flat = [array if array.flags.c_contiguous else array.copy(order="C") for array in own]
    flat_p, flat_m, flat_v = (array.reshape(-1) for array in flat)
    flat_g = gradient.reshape(-1)

    def update(_, piece):
        p, g, m, v = flat_p[piece], flat_g[piece], flat_m[piece], flat_v[piece]
        s = g - m
        s *= 1 - beta1
        m += s

        np.multiply(g, g, out=s)
        s -= v
        s *= 1 - beta2
        v += s

        np.sqrt(v, out=s)
        s += floor
        np.divide(m, s, out=s)
        s *= rate
        if shrink != 1:
            p *= shrink
        p -= s

    for_each_chunk(update, flat_p, PIECE_BYTES // 2)  # of each of five arrays
    for array, result in zip(own, flat):
        if array is not result:  # a transposed array was updated in a copy
            array[...] = result


def _check(parameter, gradient, first_moment, second_moment, step):
    if step < 1:
        raise ValueError(f"adamw_update: steps count from 1, got {step}")
    others = {"gradient": gradient, "first moment": first_moment, "second moment": second_moment}
    for name, array in others.items():
        if (tuple(array.shape), array.dtype, kind(array)) != (
            tuple(parameter.shape),
            parameter.dtype,
            kind(parameter),
        ):
            raise ValueError(
                f"adamw_update: the {name} is {dtype_name(array)} {tuple(array.shape)} in "
                f"{kind(array)}, the parameter {dtype_name(parameter)} {tuple(parameter.shape)} in "
                f"{kind(parameter)}: they must be alike"
            )
