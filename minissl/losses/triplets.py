"""Triplets: an anchor, something of its label, something of another, and which ones to take.

The anchor should be nearer to the positive than to the negative, by a margin. A batch has very many
triplets, most of which ask for nothing: mining says which are looked at. Lecture 12, section 13.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.arrays import namespace
from minissl.autograd.devices import move
from minissl.autograd.half import at_least_single
from minissl.autograd.tensor import Tensor, as_array, differentiable
from minissl.losses.contrastive import normalize as unit_rows
from minissl.losses.distances import pairwise_distances
from minissl.losses.metric import checked_margin, reduced, row_distances, same_and_different

MINING = ("all", "hard", "semi-hard", "distance-weighted")
LEAST_DISTANCE, FARTHEST = 0.5, 1.4  # of unit vectors; see ``_distance_weights``


class Triplets(NamedTuple):
    """Three arrays of row numbers, (triplets,) each."""

    anchor: NDArray[np.int64]
    positive: NDArray[np.int64]
    negative: NDArray[np.int64]


def triplet_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    margin: float | None,
    squared: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(a, p) − d(a, n) + margin): the positive should be nearer by a margin.

    Shapes: three times (triplets, width). ``margin`` None is the soft margin, ln(1 + e^(d(a, p) −
    d(a, n))), which never stops pulling (Hermans, Beyer and Leibe 2017). ``squared``: squared
    Euclidean distances; with rows of length 1 and a margin of 0.2 that is FaceNet's (Schroff,
    Kalenichenko and Philbin 2015). ``reduction``: ``"mean"`` over all triplets, those without a
    loss too, ``"sum"``, or ``"none"`` for (triplets,). Raises ValueError for other shapes, or a
    margin that is not positive and finite. (Weinberger and Saul 2009.) Lecture 12.
    """
    shapes = {tuple(x.shape) for x in (anchor, positive, negative)}
    if len(shapes) > 1 or len(anchor.shape) != 2:
        raise ValueError(f"triplet_loss: expected (triplets, width) three times, got {shapes}")
    near, far = row_distances(anchor, positive), row_distances(anchor, negative)
    if squared:
        near, far = near * near, far * far
    return reduced(_hinge(near - far, margin), reduction)


def mined_triplet_loss(
    embeddings: Any,
    labels: Any,
    *,
    margin: float | None,
    mining: str = "semi-hard",
    normalize: bool = True,
    squared: bool = True,
    generator: np.random.Generator | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``triplet_loss`` of the triplets that ``mine_triplets`` finds in a batch. Mean of none: 0.

    Shapes: embeddings (batch, width), labels (batch,) integers. The defaults, with a margin of 0.2,
    are FaceNet's. ``normalize``: rows are divided by their length first. ``generator``: for
    ``"distance-weighted"``. Where a distance is not finite nothing can be chosen: all triplets are
    taken, and the loss is not finite. Raises ValueError as both do. Lecture 12.
    """
    if mining not in MINING:
        raise ValueError(f"mining must be one of {MINING}, got {mining!r}")
    margin = None if margin is None else checked_margin("mined_triplet_loss", margin)
    rows = at_least_single(embeddings)
    distances = pairwise_distances(unit_rows(rows) if normalize else rows, squared=squared)
    values = move(distances.array, "cpu")
    mining = mining if np.isfinite(values).all() else "all"
    if mining == "all" and margin is not None and reduction in ("mean", "sum"):
        return _of_all(distances, labels, margin, reduction)
    a, p, n = mine_triplets(
        values, labels, mining,
        margin=margin, squared=squared, width=embeddings.shape[1], generator=generator,
    )  # fmt: skip
    losses = _hinge(distances[a, p] - distances[a, n], margin)
    return reduced(losses, reduction, of=distances)


def active_share(distances: Any, triplets: Triplets, margin: float | None) -> float:
    """The part of the triplets that still has a hinge loss, 0 to 1.

    distances (batch, batch), such as the loss sees. A soft margin is never done: it counts those
    whose negative is nearer than the positive. NaN of no triplet, and where a distance is not
    finite. Lecture 12.
    """
    values = move(as_array(distances), "cpu")
    a, p, n = triplets
    if not len(a):
        return float("nan")
    left = values[a, p] - values[a, n] + (margin or 0.0)
    return float(np.mean(left > 0)) if np.isfinite(left).all() else float("nan")


def mine_triplets(
    distances: Any,
    labels: Any,
    mining: str,
    *,
    margin: float | None = None,
    squared: bool = False,
    width: int | None = None,
    generator: np.random.Generator | None = None,
) -> Triplets:
    """The triplets of a batch worth looking at, by the distances (batch, batch) of its rows.

    - ``"all"``: every anchor, positive and negative.
    - ``"hard"``: of each anchor its farthest positive and its nearest negative (batch hard, Hermans
      et al. 2017).
    - ``"semi-hard"``: of each anchor and positive the nearest negative that is farther than the
      positive, if it is within the margin (FaceNet; a soft margin has no end). None: no triplet.
    - ``"distance-weighted"``: of each anchor and positive one negative, drawn so that all distances
      come about equally often (Wu et al. 2017); for rows of length 1, and needs their ``width`` and
      a ``generator``.

    labels (batch,) integers; ``squared``: the distances are squares. Raises ValueError for another
    mining, and distances that are not finite, of which none is the nearest, unless all are taken.
    """
    if mining not in MINING:
        raise ValueError(f"mining must be one of {MINING}, got {mining!r}")
    values = move(as_array(distances), "cpu")
    same, different = same_and_different(labels, values)
    if mining == "all" or not len(values):
        a, p = np.nonzero(same)
        which, n = np.nonzero(different[a])
        return Triplets(a[which], p[which], n)
    if not np.isfinite(values).all():
        raise ValueError("mine_triplets: a distance is not finite, so that none is the nearest")
    if mining == "hard":
        a = np.flatnonzero(same.any(axis=1) & different.any(axis=1))
        p = np.where(same, values, -np.inf)[a].argmax(axis=1)
        return Triplets(a, p, np.where(different, values, np.inf)[a].argmin(axis=1))
    if mining == "semi-hard":
        return _semi_hard(values, same, different, np.inf if margin is None else margin)
    if width is None or generator is None:
        raise ValueError("distance-weighted mining needs the width and a generator")
    plain = np.sqrt(values) if squared else values
    weights = _distance_weights(np.where(different, plain, np.inf), width)
    return _drawn(weights, same, generator)


def _in_order(values: NDArray, same: NDArray, different: NDArray, shift: float, ties: float):
    """Each row sorted: which columns, and whether they are positives or negatives.

    Positives count as farther by the shift, and come before (``ties`` −∞) or behind (∞) what then
    is just as far.
    """
    keys = values.astype(np.float64)
    keys[same] = np.nextafter(keys[same] + shift, ties)
    order = np.argsort(keys, axis=1)
    kind = np.take_along_axis(same.view(np.int8) - different.view(np.int8), order, axis=1)
    return order, kind > 0, kind < 0


def _semi_hard(values: NDArray, same: NDArray, different: NDArray, margin: float) -> Triplets:
    """In a sorted row, the next negative behind each positive."""
    order, positives, negatives = _in_order(values, same, different, 0.0, np.inf)
    batch = len(values)
    places = np.where(negatives, np.arange(batch, dtype=np.int32), batch)
    following = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]
    a, place = np.nonzero(positives & (following < batch))
    p, n = order[a, place], order[a, following[a, place]]
    kept = values[a, n] - values[a, p] < margin
    return Triplets(a[kept], p[kept], n[kept])


def _drawn(weights: NDArray, same: NDArray, generator: np.random.Generator) -> Triplets:
    """For each anchor and positive a negative, as likely as its weight."""
    ends = np.cumsum(weights, axis=1)
    a, p = np.nonzero(same & (ends[:, -1:] > 0))
    at = generator.random(len(a)) * ends[a, -1]
    starts = np.searchsorted(a, np.arange(len(ends) + 1))
    n = [
        np.searchsorted(row, at[start:end], side="right")  # past all that have no weight
        for row, start, end in zip(ends, starts, starts[1:])
    ]
    return Triplets(a, p, np.concatenate([np.zeros(0, np.int64), *n]))


def _distance_weights(distances: NDArray, width: int) -> NDArray[np.float64]:
    """1 / q(d), where q ∝ d^(n−2) (1 − d²/4)^((n−3)/2) is how often random directions have d.

    As in the paper a distance below 0.5 counts as 0.5, or the noise of the nearest rules; one of
    1.4 and more is not drawn, since it would have no loss. Of no negative all are 0.
    """
    d = np.clip(distances.astype(np.float64), LEAST_DISTANCE, FARTHEST)
    log_weights = -(width - 2) * np.log(d) - (width - 3) / 2 * np.log1p(-(d**2) / 4)
    log_weights[distances >= FARTHEST] = -np.inf
    largest = log_weights.max(axis=1, keepdims=True)
    return np.exp(log_weights - np.where(np.isfinite(largest), largest, 0))


def _hinge(difference: Tensor, margin: float | None) -> Tensor:
    if margin is None:
        return -ops.log_sigmoid(-difference)
    return ops.relu(difference + checked_margin("triplet loss", margin))


def _of_all(distances: Tensor, labels: Any, margin: float, reduction: str) -> Tensor:
    """The hinge loss of all triplets, never listed: of 512 rows they may be 10 million."""
    same, different = same_and_different(labels, distances.numpy())
    count = int(same.sum(axis=1) @ different.sum(axis=1)) if reduction == "mean" else 1
    summed = _sum_of_hinges(distances, same=same, different=different, margin=margin)
    return summed / max(count, 1)


@differentiable
def _sum_of_hinges(distances, /, same, different, margin):
    """Σ max(0, d(a, p) − d(a, n) + margin), linear in the distances between its kinks.

    ∂/∂d(a, p) = how many negatives are nearer than d(a, p) + margin, ∂/∂d(a, n) = −how many
    positives still ask n to go away. Both are counted in the sorted row: batch² log batch steps.
    """
    xp, values = namespace(distances), move(distances, "cpu")
    order, positives, negatives = _in_order(values, same, different, margin, -np.inf)
    nearer = np.cumsum(negatives, axis=1, dtype=np.float64)
    farther = np.sum(positives, axis=1, keepdims=True) - np.cumsum(positives, axis=1, dtype=float)
    slopes = np.empty_like(nearer)
    np.put_along_axis(slopes, order, positives * nearer - negatives * farther, axis=1)
    active = float(np.sum(nearer, where=positives))
    loss = np.sum(slopes * values) + margin * active
    slopes = xp.asarray(slopes, dtype=distances.dtype, device=distances.device)
    return xp.asarray(loss, dtype=distances.dtype, device=distances.device), (lambda g: g * slopes,)
