"""Distances that labels rule: pairs, and lifted structure. Lecture 12, section 13.

Examples of one label should be near, others at least a margin away. The pair loss looks at one pair
at a time, the lifted loss at every pair that should be near together with all that both should be
far from; ``triplets`` is between the two.
"""

import math
from typing import Any

from minissl.autograd import operations as ops
from minissl.autograd.arrays import Array, dtype_name, int64_on_torch, namespace
from minissl.autograd.devices import device_of, move
from minissl.autograd.half import at_least_single
from minissl.autograd.tensor import Tensor, as_array
from minissl.losses.distances import pairwise_distances

DEFINITIONS = ("hadsell", "song")


def pair_loss(
    first: Any,
    second: Any,
    same: Any,
    *,
    margin: float,
    definition: str = "hadsell",
    reduction: str = "mean",
) -> Tensor:
    """½ [y d² + (1 − y) max(0, m − d)²] of pairs at a distance d, y = 1 where they are the same.

    ``definition``: ``"hadsell"`` as above (Hadsell, Chopra and LeCun 2006), or ``"song"``, where
    the second term is max(0, m − d²), as Song et al. (2016) write it: the first pushes hardest
    what is nearest, the second hardly. Slides leave out the ½. Shapes: first and second
    (pairs, width), ``same`` (pairs,) booleans. ``reduction``: ``"mean"`` over all pairs, ``"sum"``,
    or ``"none"`` for (pairs,). Raises ValueError for other shapes, or a margin that is not positive
    and finite. Lecture 12.
    """
    if len(first.shape) != 2 or tuple(first.shape) != tuple(second.shape):
        raise ValueError(
            f"pair_loss: expected (pairs, width) twice, got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    if definition not in DEFINITIONS:
        raise ValueError(f"definition must be one of {DEFINITIONS}, got {definition!r}")
    margin = checked_margin("pair_loss", margin)
    distances = row_distances(first, second)
    y = _booleans(same, distances)
    squares = distances * distances
    if definition == "hadsell":
        apart = ops.relu(margin - distances) ** 2
    else:
        apart = ops.relu(margin - squares)
    return reduced(0.5 * ops.where(y, squares, apart), reduction)


def lifted_structured_loss(
    embeddings: Any, labels: Any, *, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """Every pair of one label against all negatives of both ends: ½ max(0, J)², where

        J_ij = ln(Σ_k e^(m − d_ik) + Σ_l e^(m − d_jl)) + d_ij

    over all k of another label than i, and all l of another than j. Shapes: embeddings (batch,
    width), labels (batch,). ``reduction``: ``"mean"`` over the pairs i < j of equal labels, as in
    the paper, ``"sum"``, or ``"none"`` for (pairs,). Without such a pair the mean is 0. Raises
    ValueError for other shapes or a margin. (Song, Xiang, Jegelka and Savarese 2016.) Lecture 12.
    """
    margin = checked_margin("lifted_structured_loss", margin)
    distances = pairwise_distances(embeddings)
    same, different = same_and_different(labels, distances)
    if not len(same):
        return reduced(ops.sum(distances, axis=1), reduction)
    xp = namespace(same)
    i, j = xp.nonzero(xp.triu(same))
    lowest = float(xp.finfo(distances.dtype).min)  # e^lowest is 0, and lowest − lowest is no NaN
    pushed = ops.logsumexp(ops.where(different, margin - distances, lowest), axis=1)
    both = ops.logsumexp(ops.stack([pushed[i], pushed[j]]), axis=0)
    losses = 0.5 * ops.relu(both + distances[i, j]) ** 2
    return reduced(losses, reduction, of=distances)


def same_and_different(labels: Any, like: Any = None) -> tuple[Array, Array]:
    """Which pairs of a batch have equal labels, themselves left out, and which have different ones.

    labels (batch,) integers or booleans -> two boolean arrays (batch, batch): the edges that the
    losses of this file and of ``triplets`` and ``supervised`` use. ``like``: a Tensor or array
    with ``batch`` rows; the masks come to its library and device. Raises ValueError for other
    shapes and floating labels, TypeError for what is no number. Lecture 12.
    """
    labels = labels_beside(labels, like)
    xp = namespace(labels)
    equal = labels[:, None] == labels[None, :]
    itself = xp.eye(len(labels), dtype=xp.bool, device=labels.device)
    return equal & ~itself, ~equal


def labels_beside(labels: Any, like: Any = None) -> Array:
    """Labels (batch,), as integers where ``like`` lives; raises as ``same_and_different`` does."""
    try:
        labels = as_array(labels)
    except TypeError as error:
        raise TypeError(
            f"labels must be numbers: {error}; np.unique(labels, return_inverse=True)[1] makes "
            "numbers of names"
        ) from None
    if like is not None:
        labels = move(labels, device_of(like))
    if labels.ndim != 1 or not namespace(labels).isdtype(labels.dtype, ("integral", "bool")):
        raise ValueError(
            f"labels must be integers (batch,), got {dtype_name(labels)} {tuple(labels.shape)}"
        )
    if like is not None and len(labels) != len(like):
        raise ValueError(f"got {len(labels)} labels for {len(like)} embeddings")
    return int64_on_torch(labels)


def row_distances(first: Any, second: Any) -> Tensor:
    """‖aᵢ − bᵢ‖, (rows,): NaN of rows that are not finite. A hinge would take ∞ for far enough."""
    distances = ops.norm(at_least_single(first) - at_least_single(second), axis=1)
    finite = namespace(distances.array).isfinite(distances.array)
    return ops.where(finite, distances, math.nan)


def reduced(losses: Tensor, reduction: str, *, of: Tensor | None = None) -> Tensor:
    """The mean, 0 of nothing; the sum; or all of them.

    ``of``: the distances that they were made from. One that is not finite is seen in nothing too,
    as of a batch without a triplet.
    """
    check_reduction(reduction)
    if reduction == "none":
        return losses
    if not losses.size:
        return ops.sum(losses if of is None else 0.0 * of)
    return ops.mean(losses) if reduction == "mean" else ops.sum(losses)


def check_reduction(reduction: str) -> None:
    """Raise ValueError for one that no loss has."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def checked_margin(loss: str, margin: Any) -> float:
    """It as a float; ValueError unless it is positive and finite."""
    if not 0 < margin < math.inf:
        raise ValueError(f"{loss}: margin must be positive and finite, got {margin}")
    return float(margin)


def _booleans(same: Any, distances: Tensor) -> Array:
    y = move(as_array(same), device_of(distances))
    xp = namespace(y)
    if tuple(y.shape) != distances.shape or not bool(xp.all((y == 0) | (y == 1))):
        raise ValueError(
            f"pair_loss: same must be True or False for each of {distances.size} pairs, got shape "
            f"{tuple(y.shape)}"
        )
    return y == 1
