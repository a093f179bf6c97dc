"""Distances that labels rule: pairs, and lifted structure. Lecture 12, section 13.

Examples of one label should be near, others at least a margin away. The pair loss looks at one pair
at a time, the lifted loss at every pair that should be near together with all that both should be
far from; ``triplets`` is between the two.
"""

from typing import Any

from minissl.autograd import operations as ops
from minissl.autograd.arrays import Array, dtype_name, namespace
from minissl.autograd.devices import beside
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
    check_margin("pair_loss", margin)
    distances = ops.norm(at_least_single(first) - at_least_single(second), axis=1)
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
    check_margin("lifted_structured_loss", margin)
    distances = pairwise_distances(embeddings)
    same, different = same_and_different(labels, distances)
    xp = namespace(same)
    i, j = xp.nonzero(xp.triu(same))
    lowest = float(xp.finfo(distances.dtype).min)  # e^lowest is 0, and lowest − lowest is no NaN
    pushed = ops.logsumexp(ops.where(different, margin - distances, lowest), axis=1)
    of_i, of_j = pushed[i], pushed[j]
    larger = ops.maximum(of_i, of_j).detach()
    both = larger + ops.log(ops.exp(of_i - larger) + ops.exp(of_j - larger))
    return reduced(0.5 * ops.relu(both + distances[i, j]) ** 2, reduction)


def same_and_different(labels: Any, beside_what: Any = None) -> tuple[Array, Array]:
    """Which pairs of a batch have equal labels, themselves left out, and which have different ones.

    labels (batch,) integers -> two boolean arrays (batch, batch): the edges that the losses of
    this file and of ``triplets`` and ``supervised`` use. ``beside_what``: a Tensor or array with
    ``batch`` rows; the masks come to its library and device. Raises ValueError for other shapes.
    """
    labels = as_array(labels)
    if beside_what is not None:
        labels = beside(labels, as_array(beside_what))
    if labels.ndim != 1 or not namespace(labels).isdtype(labels.dtype, "integral"):
        raise ValueError(
            f"labels must be integers (batch,), got {dtype_name(labels)} {tuple(labels.shape)}"
        )
    if beside_what is not None and len(labels) != len(beside_what):
        raise ValueError(f"got {len(labels)} labels for {len(beside_what)} embeddings")
    xp = namespace(labels)
    equal = labels[:, None] == labels[None, :]
    itself = xp.eye(len(labels), dtype=xp.bool, device=labels.device)
    return equal & ~itself, ~equal


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """The mean, 0 of nothing; the sum; or all of them."""
    if reduction == "none":
        return losses
    if reduction == "sum" or (reduction == "mean" and not losses.size):
        return ops.sum(losses)
    if reduction == "mean":
        return ops.mean(losses)
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def check_margin(loss: str, margin: Any) -> None:
    """ValueError unless it is positive and finite."""
    if not 0 < margin < float("inf"):
        raise ValueError(f"{loss}: margin must be positive and finite, got {margin}")


def _booleans(same: Any, distances: Tensor) -> Array:
    y = beside(as_array(same), distances.array)
    xp = namespace(y)
    if tuple(y.shape) != distances.shape or not bool(xp.all((y == 0) | (y == 1))):
        raise ValueError(
            f"pair_loss: same must be True or False for each of {distances.size} pairs, got shape "
            f"{tuple(y.shape)}"
        )
    return y == 1
