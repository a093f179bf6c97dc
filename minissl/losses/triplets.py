"""Triplets: an anchor, something of its label, something of another, and which ones to take.

The anchor should be nearer to the positive than to the negative, by a margin. A batch has very many
triplets, most of which ask for nothing: mining says which are looked at. Lecture 12, section 13.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import operations as ops
from minissl.autograd.devices import move
from minissl.autograd.half import at_least_single
from minissl.autograd.tensor import Tensor, as_array
from minissl.losses.contrastive import normalize as unit_rows
from minissl.losses.distances import pairwise_distances
from minissl.losses.metric import check_margin, reduced, same_and_different

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
    d(a, n))), which never ends to pull (Hermans, Beyer and Leibe 2017). ``squared``: squared
    Euclidean distances; with rows of length 1 and a margin of 0.2 that is FaceNet's (Schroff,
    Kalenichenko and Philbin 2015). ``reduction``: ``"mean"`` over all triplets, those without a
    loss too, ``"sum"``, or ``"none"`` for (triplets,). Raises ValueError for other shapes, or a
    margin that is not positive and finite. (Weinberger and Saul 2009.) Lecture 12.
    """
    shapes = {tuple(x.shape) for x in (anchor, positive, negative)}
    if len(shapes) > 1 or len(anchor.shape) != 2:
        raise ValueError(f"triplet_loss: expected (triplets, width) three times, got {shapes}")
    anchor, positive, negative = (at_least_single(x) for x in (anchor, positive, negative))
    near, far = ops.norm(anchor - positive, axis=1), ops.norm(anchor - negative, axis=1)
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
    rows = at_least_single(embeddings)
    distances = pairwise_distances(unit_rows(rows) if normalize else rows)
    distances = distances * distances if squared else distances
    values = move(distances.array, "cpu")
    a, p, n = mine_triplets(
        values, labels, mining if np.isfinite(values).all() else "all",
        margin=margin, squared=squared, width=embeddings.shape[1], generator=generator,
    )  # fmt: skip
    return reduced(_hinge(distances[a, p] - distances[a, n], margin), reduction)


def active_share(distances: Any, triplets: Triplets, margin: float | None) -> float:
    """The part of the triplets that still has a hinge loss, 0 to 1; NaN of none.

    distances (batch, batch), such as the loss sees. A soft margin is never done: it counts those
    whose negative is nearer than the positive. Lecture 12.
    """
    values = move(as_array(distances), "cpu")
    a, p, n = triplets
    if not len(a):
        return float("nan")
    return float(np.mean(values[a, p] - values[a, n] + (margin or 0.0) > 0))


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
    mining, and distances that are NaN, of which none is the nearest, unless all are taken.
    """
    if mining not in MINING:
        raise ValueError(f"mining must be one of {MINING}, got {mining!r}")
    values = move(as_array(distances), "cpu")
    same, different = same_and_different(move(as_array(labels), "cpu"), values)
    if mining == "all":
        a, p = np.nonzero(same)
        which, n = np.nonzero(different[a])
        return Triplets(a[which], p[which], n)
    if np.isnan(values).any():
        raise ValueError("mine_triplets: a distance is NaN, so that none is the nearest")
    far = np.where(different, values, np.inf)
    if mining == "hard":
        a = np.flatnonzero(same.any(axis=1) & different.any(axis=1))
        p = np.where(same, values, -np.inf)[a].argmax(axis=1)
        return Triplets(a, p, far[a].argmin(axis=1))
    a, p = np.nonzero(same)
    if mining == "semi-hard":
        near = values[a, p][:, None]
        far = np.where(far[a] > near, far[a], np.inf)  # (pairs, batch)
        n = far.argmin(axis=1)
        kept = far[np.arange(len(a)), n] - near[:, 0] < (np.inf if margin is None else margin)
    else:
        if width is None or generator is None:
            raise ValueError("distance-weighted mining needs the width and a generator")
        weights = _distance_weights(np.sqrt(far) if squared else far, width)[a]
        ends = np.cumsum(weights, axis=1)
        kept = ends[:, -1] > 0
        n = (ends < generator.random((len(a), 1)) * ends[:, -1:]).sum(axis=1)
    return Triplets(a[kept], p[kept], n[kept])


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
    check_margin("triplet loss", margin)
    return ops.relu(difference + margin)
