"""A counterweight to collapse that is no negative: the embeddings should be Gaussian. Lecture 12.

SIGReg (sketched isotropic Gaussian regularization) of LeJEPA: Balestriero and LeCun (2025). Where
all embeddings of a batch are standard normal and independent, no direction can be lost; and that
they are can be asked one direction at a time.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.arrays import namespace, require_floating, total
from minissl.autograd.devices import beside
from minissl.autograd.half import at_least_single
from minissl.autograd.tensor import Tensor, as_array, differentiable

KNOTS = np.linspace(0, 5, 17)  # of the integral; what is integrated is even in t


def random_directions(count: int, width: int, generator: np.random.Generator) -> NDArray:
    """Unit vectors (count, width), spread evenly, in float64."""
    directions = generator.standard_normal((count, width))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def sigreg(embeddings: Any, directions: Any) -> Tensor:
    """How far the embeddings are from a standard normal cloud, seen along directions; 0 is best.

    The mean over directions u of the Epps-Pulley statistic of the numbers xₙ = zₙ · u,

        batch · ∫ |mean over n of e^(i t xₙ) − e^(−t²/2)|² e^(−t²/2) dt,   t from −5 to 5,

    the squared distance of their characteristic function from the Gaussian's, by the trapezoid
    rule. Shapes: embeddings (batch, width), directions (directions, width), in length 1: see
    ``random_directions``; new ones are drawn for each step. Raises ValueError for other shapes, an
    empty batch, or without a direction, TypeError for integers. Lecture 12.
    """
    require_floating("sigreg", as_array(embeddings))
    shape = tuple(embeddings.shape)
    directions = beside(as_array(directions), as_array(embeddings))
    fits = len(shape) == 2 == directions.ndim and directions.shape[1] == shape[1]
    if not fits or not shape[0] or not directions.shape[0]:
        raise ValueError(
            "sigreg: expected (batch, width) and (directions, width), got "
            f"{shape} and {tuple(directions.shape)}"
        )
    rows = at_least_single(embeddings)
    xp = namespace(directions)
    seen = ops.matmul(rows, xp.astype(directions.T, as_array(rows).dtype))
    return _epps_pulley(seen) / seen.shape[1]


@differentiable
def _epps_pulley(x, /):
    """N Σₜ wₜ [(C − φ)² + S²], summed over columns, of the means C of cos t x and S of sin t x.

    φ = e^(−t²/2).  ∂/∂xₙ = 2 Σₜ wₜ t [S cos t xₙ − (C − φ) sin t xₙ].
    """
    xp = namespace(x)
    batch, step = x.shape[0], float(KNOTS[1])
    weights = np.full(len(KNOTS), 2 * step)  # twice: t and −t
    weights[[0, -1]] = step
    gradient, statistic = xp.zeros_like(x), 0
    for t, weight in zip(KNOTS.tolist(), weights.tolist()):  # one by one, not (batch, ..., knots)
        gaussian = float(np.exp(-t * t / 2))
        weight *= gaussian
        cosines, sines = xp.cos(t * x), xp.sin(t * x)
        real = total(cosines, 0) / batch - gaussian
        imaginary = total(sines, 0) / batch
        statistic = statistic + weight * total(real * real + imaginary * imaginary)
        gradient += 2 * weight * t * (imaginary * cosines - real * sines)
    return batch * statistic, (lambda g: g * gradient,)
