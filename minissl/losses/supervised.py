"""Contrast with labels: everything of one label is a positive of everything else of it. Lecture 12.

Both losses are a softmax over all other examples of the batch. Supervised contrastive compares
directions and has several positives in a row; soft nearest neighbour compares distances and asks
how much of the softmax lies on the own label.
"""

import math
from typing import Any

from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.arrays import namespace, require_floating
from minissl.autograd.fused import gpu
from minissl.autograd.fused.contrastive import with_temperature
from minissl.autograd.half import at_least_single
from minissl.autograd.tensor import Tensor, as_array
from minissl.losses.distances import pairwise_distances
from minissl.losses.metric import reduced, same_and_different

LOGARITHMS = ("outside", "inside")


def supcon_loss(
    features: Any,
    labels: Any,
    *,
    temperature: Any,
    normalize: bool = True,
    logarithm: str = "outside",
    reduction: str = "mean",
) -> Tensor:
    """Supervised contrastive loss: each row must find all other rows of its label.

    Minus the mean of ln softmaxⱼ(cos(fᵢ, fⱼ) / τ) over the other rows j of row i's label, where the
    softmax is over all rows but i. ``logarithm``: ``"outside"`` as said, the paper's L_out, which
    it recommends; ``"inside"``: minus ln of the mean, L_in, which is content when one positive is
    found. Shapes: features (batch, width), labels (batch,) integers; for several views of an image,
    repeat its label: with two views of each, all labels different, it is ``nt_xent``. A row that is
    alone with its label has no positive: its loss is 0, it does not count in the mean, but others
    still see it. ``normalize``, ``temperature`` and ``reduction`` as in ``info_nce``; there is no
    factor τ / τ₀ in front. (Khosla et al. 2020.) Lecture 12.
    """
    if logarithm not in LOGARITHMS:
        raise ValueError(f"logarithm must be one of {LOGARITHMS}, got {logarithm!r}")
    _check_rows(features, "supcon_loss")
    rows = fused.unit_vectors(at_least_single(features)) if normalize else features
    if logarithm == "outside" and gpu.runs_kernels(as_array(rows)):
        return gpu.supcon(rows, labels, temperature, reduction)
    rows, _, temperature = with_temperature(at_least_single(rows), rows, temperature, False)
    logits = ops.matmul(rows, ops.matrix_transpose(rows)) / temperature
    return _found(logits, labels, logarithm, reduction)


def soft_nearest_neighbor_loss(
    embeddings: Any, labels: Any, *, temperature: Any, reduction: str = "mean"
) -> Tensor:
    """−ln (Σ e^(−d²/T) over the others of row i's label / Σ e^(−d²/T) over all others).

    d are Euclidean distances of the rows as they are. A large temperature T looks at all, a small
    one at the nearest: as a Tensor with one element it is learned, for which Frosst, Papernot and
    Hinton (2019) learn 1/T. It is the leave-one-out loss of neighbourhood components analysis, with
    the logarithm outside. Shapes: embeddings (batch, width), labels (batch,) integers. A row that
    is alone with its label is treated as in ``supcon_loss``, and ``reduction`` too. (Salakhutdinov
    and Hinton 2007; Goldberger et al. 2005.) Lecture 12.
    """
    _check_rows(embeddings, "soft_nearest_neighbor_loss")
    rows = at_least_single(embeddings)
    rows, _, temperature = with_temperature(rows, rows, temperature, False)
    logits = pairwise_distances(rows, squared=True) / temperature
    return _found(-logits, labels, "inside", reduction, mean_inside=False)


def _found(
    logits: Tensor, labels: Any, logarithm: str, reduction: str, mean_inside: bool = True
) -> Tensor:
    """How surely each row picks those of its label among all other rows."""
    same, _ = same_and_different(labels, logits)
    xp = namespace(same)
    # Of a row that is not finite, and where 1 / τ has no room: NaN, not a candidate nobody picks.
    lost = xp.where(xp.isfinite(logits.array), xp.zeros_like(logits.array), math.nan)
    itself = xp.eye(len(same), dtype=xp.bool, device=same.device)
    lowest = float(xp.finfo(logits.dtype).min)
    log_p = ops.log_softmax(ops.where(itself, lowest, logits + lost), axis=1)
    positives = xp.astype(xp.sum(same, axis=1), log_p.dtype)
    has_some = positives > 0
    count = xp.where(has_some, positives, xp.ones_like(positives))
    if logarithm == "outside":
        losses = -ops.sum(ops.where(same, log_p, 0.0), axis=1) / count
    else:
        losses = -ops.logsumexp(ops.where(same, log_p, lowest), axis=1)
        losses = losses + xp.log(count) if mean_inside else losses
        losses = ops.where(has_some, losses, 0.0)
    if reduction == "mean":
        return ops.sum(losses) / max(int(xp.sum(xp.astype(has_some, xp.int64))), 1)
    return reduced(losses, reduction)


def _check_rows(rows: Any, loss: str) -> None:
    require_floating(loss, as_array(rows))
    if len(rows.shape) != 2:
        raise ValueError(f"{loss}: expected (batch, width), got {tuple(rows.shape)}")
