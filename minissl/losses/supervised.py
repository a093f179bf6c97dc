"""Contrast with labels: everything of one label is a positive of everything else of it. Lecture 12.

Both losses are a softmax over all other examples of the batch. Supervised contrastive compares
directions and has several positives in a row; soft nearest neighbour compares distances and asks
how much of the softmax lies on the own label.
"""

import math
from typing import Any

from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.arrays import Array, namespace, require_floating, total
from minissl.autograd.fused import gpu
from minissl.autograd.fused.contrastive import with_temperature
from minissl.autograd.half import at_least_single
from minissl.autograd.tensor import Tensor, as_array, differentiable
from minissl.losses.distances import pairwise_distances
from minissl.losses.metric import check_reduction, labels_beside, same_and_different

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
    factor τ / τ₀ in front. Raises ValueError for other shapes, labels that are no integers, and
    a temperature that is not positive and finite. (Khosla et al. 2020.) Lecture 12.
    """
    if logarithm not in LOGARITHMS:
        raise ValueError(f"logarithm must be one of {LOGARITHMS}, got {logarithm!r}")
    _check_rows(features, reduction, "supcon_loss")
    labels = labels_beside(labels, features)
    rows = fused.unit_vectors(at_least_single(features)) if normalize else features
    on_kernels = logarithm == "outside" and gpu.runs_kernels(as_array(rows))
    rows = rows if on_kernels else at_least_single(rows)
    rows, _, temperature = with_temperature(rows, rows, temperature, on_kernels)
    if on_kernels:
        return gpu.supcon(rows, temperature, labels=labels, reduction=reduction)
    similarities = ops.matmul(ops.divide(rows, temperature), ops.matrix_transpose(rows))
    return _reduced(similarities, labels, logarithm, reduction)


def soft_nearest_neighbor_loss(
    embeddings: Any, labels: Any, *, temperature: Any, reduction: str = "mean"
) -> Tensor:
    """−ln (Σ e^(−d²/T) over the others of row i's label / Σ e^(−d²/T) over all others).

    d are Euclidean distances of the rows as they are. A large temperature T looks at all, a small
    one at the nearest: as a Tensor with one element it is learned, for which Frosst, Papernot and
    Hinton (2019) learn 1/T. It is the leave-one-out loss of neighbourhood components analysis, with
    the logarithm outside. Shapes: embeddings (batch, width), labels (batch,) integers. A row that
    is alone with its label is treated as in ``supcon_loss``, and ``reduction`` too; raises as that
    does. (Salakhutdinov and Hinton 2007; Goldberger et al. 2005.) Lecture 12.
    """
    _check_rows(embeddings, reduction, "soft_nearest_neighbor_loss")
    labels = labels_beside(labels, embeddings)
    rows = at_least_single(embeddings)
    rows, _, temperature = with_temperature(rows, rows, temperature, False)
    near = -pairwise_distances(rows, squared=True) / temperature
    return _reduced(near, labels, "sum inside", reduction)


def _reduced(logits: Tensor, labels: Array, logarithm: str, reduction: str) -> Tensor:
    """How surely each row picks those of its label; the mean is over the rows that have some."""
    same, _ = same_and_different(labels)
    losses = _found(logits, same=same, logarithm=logarithm)
    if reduction == "mean":
        xp = namespace(same)
        some = int(xp.sum(xp.astype(xp.any(same, axis=1), xp.int64)))
        return ops.sum(losses) / max(some, 1)
    return losses if reduction == "none" else ops.sum(losses)


@differentiable
def _found(logits, /, same, logarithm):
    """ln Σ_{j≠i} e^sᵢⱼ, less the mean over p of sᵢₚ ("outside") or ln Σ_p e^sᵢₚ ("inside").

    ∂/∂sᵢⱼ = softmaxⱼ − 1 / positives or softmax among the positives, 0 at what is none. A row
    with a similarity that is not finite has the loss NaN, alone with its label or not.
    """
    xp = namespace(logits)
    if not len(same):
        return xp.sum(logits, axis=1), (lambda g: xp.zeros_like(logits),)
    itself = xp.eye(len(same), dtype=xp.bool, device=same.device)
    picked, of_all, largest = _exponentials(logits, ~itself)
    count = xp.astype(xp.sum(same, axis=1, keepdims=True), logits.dtype)
    count = xp.where(count == 0, xp.ones_like(count), count)
    if logarithm == "outside":
        share = xp.astype(same, logits.dtype) / count
        losses = xp.log(of_all) - total(share * (logits - largest), 1, keepdims=True)
    else:
        share, of_same, nearest = _exponentials(logits, same)
        losses = xp.log(of_all / of_same) + (largest - nearest)
        losses = losses + xp.log(count) if logarithm == "inside" else losses
        share /= of_same
    picked /= of_all
    picked -= share
    finite = xp.all(xp.isfinite(logits), axis=1, keepdims=True)
    counts = xp.any(same, axis=1, keepdims=True)
    other = xp.where(finite, xp.zeros_like(count), xp.full_like(count, math.nan))
    losses = xp.where(finite & counts, losses, other)
    slopes = xp.where(finite & counts, picked, other)
    return losses[:, 0], (lambda g: g[:, None] * slopes,)


def _exponentials(logits, mask):
    """e^(s − m) where the mask is, 0 elsewhere; the sum of each row; and m, its largest there."""
    xp = namespace(logits)
    seen = xp.where(mask, logits, xp.full_like(logits, -math.inf))
    largest = xp.max(seen, axis=1, keepdims=True)
    largest = xp.where(xp.isfinite(largest), largest, xp.zeros_like(largest))
    seen -= largest
    e = xp.exp(seen)
    of_row = total(e, 1, keepdims=True)
    return e, xp.where(of_row == 0, xp.ones_like(of_row), of_row), largest


def _check_rows(rows: Any, reduction: str, loss: str) -> None:
    require_floating(loss, as_array(rows))
    if len(rows.shape) != 2:
        raise ValueError(f"{loss}: expected (batch, width), got {tuple(rows.shape)}")
    check_reduction(reduction)
