"""Contrastive losses: two views of one thing should meet, views of different things should part.

Two losses are called "SimCLR", and they differ in everything but the idea −log A / (A + B), where A
belongs to the positive pair and B to the negatives. Here each has its own name:

    ============== ================== ====================== ==================================
    .              simclr_cs229       info_nce               nt_xent
    ============== ================== ====================== ==================================
    taught in      the lecture        CPC, MoCo, SimCSE      the SimCLR paper
    similarity     inner product      cosine / temperature   cosine / temperature
    directions     first -> second    first -> second        both, 2B rows
    terms per row  B                  B                      2B − 1 (views of its own side too)
    over the rows  sum                mean                   mean
    collapsed      B ln B             ln B                   ln(2B − 1)
    ============== ================== ====================== ==================================

More candidates may be given to ``info_nce``: for all queries, (count, width), or for each query
its own, (batch, count, width), beside the other keys or, with ``in_batch=False``, instead of them.
With N of them a row has B + N terms, or 1 + N. ``bilinear_info_nce`` is ``info_nce`` with a learned
matrix between the two, without lengths and temperature.

Other libraries write the same losses in other units; ``docs/loss_conventions.md`` has the factors,
and those of the losses with labels. The temperature has no standard either, so it must be given.

The first thing to look at when training does not start is ``chance_level``: a loss that stays there
belongs to a network that tells nothing apart. Lecture 12.
"""

import math
from typing import Any

from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.arrays import dtype_name, namespace
from minissl.autograd.devices import beside
from minissl.autograd.fused.contrastive import with_temperature
from minissl.autograd.half import at_least_single
from minissl.autograd.processes import gather_rows
from minissl.autograd.tensor import Tensor, as_array
from minissl.losses.metric import check_reduction, reduced


def normalize(x: Any) -> Tensor:
    """x / ‖x‖ along the last axis, so that inner products are cosines.

    Shapes: (..., width) -> (..., width). The gradient has no radial part: making x longer changes
    nothing. Convention: a zero vector has no direction, stays zero, and hands its gradient on.
    """
    return fused.unit_vectors(x)


_unit = normalize  # info_nce has a setting of that name


def _single(rows: Any) -> Any:
    """float16 as float32: the squares of 300 and 400, and a batch's sum, are beyond 65504."""
    return at_least_single(rows) if dtype_name(as_array(rows)) == "float16" else rows


def simclr_cs229(
    first: Any, second: Any, *, gather: bool = False, reduction: str = "sum"
) -> Tensor:
    """The lecture's SimCLR: −Σᵢ ln [e^(aᵢ·bᵢ) / (e^(aᵢ·bᵢ) + Σ_{j≠i} e^(aᵢ·bⱼ))].

    aᵢ, bᵢ are the first and the second view of image i. Raw inner products, no temperature, one
    direction, B candidates per row: a cross-entropy of finding each image's second view among all
    second views. Shapes: first, second (batch, width).
    ``reduction``: ``"sum"`` as on the board, ``"mean"`` as in libraries, ``"none"`` for (batch,).
    ``gather``: as in ``nt_xent``.
    Raises ValueError when the shapes differ. (CS229's lecture on self-supervised learning; the
    N-pair loss of Sohn 2016.) Lecture 12.
    """
    _check(first, second, reduction, "simclr_cs229")
    keys = gather_rows(second) if gather else second
    return fused.contrastive_cross_entropy(first, keys, reduction=reduction)


def info_nce(
    query: Any,
    key: Any,
    *,
    temperature: Any,
    negatives: Any = None,
    in_batch: bool = True,
    normalize: bool = True,
    gather: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """−ln softmaxⱼ(s(queryᵢ, keyⱼ) / temperature) at j = i: one direction, all keys as candidates.

    Shapes: query, key (batch, width). ``negatives``: more candidates, which are nobody's positive:
    (count, width) for all queries (MoCo's queue, SimCSE's contradictions), or (batch, count, width)
    for each query its own hard ones. ``in_batch`` False: the other keys are no candidates, only
    these. ``normalize``: every row is divided by its length first; False takes inner products,
    which for unit vectors are the same. ``temperature``: a number, or a floating Tensor with one
    element to be learned. ``gather``: the keys of all processes (and their shared negatives) are
    candidates, as in ``nt_xent``. Raises ValueError when the shapes do not fit, or for a
    temperature that is not positive and finite. (van den Oord et al. 2018.) Lecture 12.
    """
    _check(query, key, reduction, "info_nce")
    shared = _check_negatives(query, key, negatives, in_batch)
    negatives = beside(negatives, as_array(query))
    if normalize:
        query, key = _unit(_single(query)), _unit(_single(key))
        negatives = None if negatives is None else _unit(_single(negatives))
    if shared and in_batch:
        key, negatives = ops.concatenate([key, negatives]), None
    if negatives is None:
        key = gather_rows(key) if gather else key
        return fused.contrastive_cross_entropy(
            query, key, temperature=temperature, reduction=reduction
        )
    return _with_own_negatives(query, key, negatives, temperature, in_batch, gather, reduction)


def _with_own_negatives(query, key, negatives, temperature, in_batch, gather, reduction):
    """The same where not all queries have one row of candidates: the logits are put together."""
    query, key = at_least_single(query), at_least_single(key)
    query, key, temperature = with_temperature(query, key, temperature, False)
    negatives = ops.astype(at_least_single(negatives), dtype=as_array(key).dtype)
    if in_batch:
        of_keys = ops.matmul(query, ops.matrix_transpose(gather_rows(key) if gather else key))
    else:
        of_keys = ops.sum(query * key, axis=1, keepdims=True)
    if negatives.ndim == 2:
        negatives = gather_rows(negatives) if gather else negatives
        of_negatives = ops.matmul(query, ops.matrix_transpose(negatives))
    else:
        of_negatives = ops.squeeze(ops.matmul(negatives, ops.expand_dims(query, axis=2)), axis=2)
    logits = ops.concatenate([of_keys, of_negatives], axis=1) / temperature
    xp = namespace(logits.array)
    lost = xp.where(xp.isfinite(logits.array), xp.zeros_like(logits.array), math.nan)
    rows = xp.arange(logits.shape[0], device=logits.array.device)
    targets = rows if in_batch else xp.zeros_like(rows)
    return fused.cross_entropy(logits + lost, targets, reduction=reduction)


def bilinear_info_nce(
    context: Any, key: Any, weight: Any, *, gather: bool = False, reduction: str = "mean"
) -> Tensor:
    """``info_nce`` with the critic f(z, c) = e^(zᵀ W c): contexts and keys need not be comparable.

    Shapes: context c (batch, context_width), key z (batch, width), weight W (width, context_width),
    which is learned with the rest. No temperature and no length: W has both in it. ``ln batch`` −
    the loss is, on average, a lower bound of the mutual information of c and z: see
    ``information_bound``. (Contrastive predictive coding: van den Oord, Li and Vinyals 2018.)
    Lecture 12.
    """
    if len(weight.shape) != 2 or tuple(weight.shape) != (key.shape[-1], context.shape[-1]):
        raise ValueError(
            f"bilinear_info_nce: weight has shape {tuple(weight.shape)}, expected (width of the "
            f"keys, width of the contexts): ({key.shape[-1]}, {context.shape[-1]})"
        )
    context, key, weight = (at_least_single(x) for x in (context, key, weight))
    query = ops.matmul(context, ops.matrix_transpose(weight))
    return info_nce(
        query, key, temperature=1.0, normalize=False, gather=gather, reduction=reduction
    )


def information_bound(loss: float, candidates: int) -> float:
    """ln candidates − loss, in nats: at least so much the views know of each other, on average.

    It never exceeds ln candidates, however good the critic. ``loss``: the mean of ``info_nce``.
    (van den Oord, Li and Vinyals 2018; Poole et al. 2019.) Lecture 12.
    """
    if candidates < 1:
        raise ValueError(f"candidates is {candidates}, expected one or more")
    return math.log(candidates) - loss


def nt_xent(
    first: Any, second: Any, temperature: Any, *, gather: bool = False, reduction: str = "mean"
) -> Tensor:
    """The SimCLR paper's loss: each of 2B views must find its partner among the 2B − 1 others.

    −ln [e^(cos(zᵢ, zₚ)/τ) / Σ_{j≠i} e^(cos(zᵢ, zⱼ)/τ)], where z are all views, first ones on top,
    and p is i's partner. Shapes: first, second (batch, width). ``temperature`` τ: a number, or a
    Tensor to be learned. ``reduction``: ``"mean"`` over the 2B rows, ``"sum"``, or ``"none"`` for
    (2 batch,). Exchanging first and second changes nothing; a batch of 1 has the loss 0.
    ``gather``: the views of all processes are negatives; the mean over the processes is then the
    loss of one process with the whole batch. Raises ValueError when the shapes differ, or for a
    temperature that is not positive and finite. (Chen et al. 2020.) Lecture 12.
    """
    batch = _check(first, second, reduction, "nt_xent")
    views = normalize(_single(ops.concatenate([first, second])))
    xp = namespace(views.array)
    numbers = xp.arange(2 * batch, device=views.array.device)
    partners = (numbers + batch) % (2 * batch) if batch else numbers
    keys = gather_rows(views) if gather else views
    return fused.contrastive_cross_entropy(
        views, keys, partners, temperature=temperature, exclude_self=True, reduction=reduction
    )


def alignment_loss(first: Any, second: Any, *, reduction: str = "mean") -> Tensor:
    """2 − 2 cos(aᵢ, bᵢ) = ‖a/‖a‖ − b/‖b‖‖²: only the positive pairs, nothing to part the rest.

    The lecture's first goal without its second: the best solution maps every image to one point,
    where the loss is 0, and training finds it (collapse). Independent random directions have the
    loss 2. Shapes: first, second (batch, width). ``reduction`` as in ``nt_xent``. Lecture 12.
    """
    _check(first, second, reduction, "alignment_loss")
    first, second = _single(first), _single(second)
    losses = ops.sum((normalize(first) - normalize(second)) ** 2, axis=-1)
    return reduced(losses, reduction)


def chance_level(loss: str, batch: int) -> float:
    """The mean loss of a network that tells nothing apart, in nats: where a run gets stuck.

    ``"simclr_cs229"`` and ``"info_nce"``: ln batch. ``"nt_xent"``: ln(2 batch − 1). These are also
    the values of fully collapsed embeddings. ``batch`` counts pairs of views. Raises ValueError for
    another loss or an empty batch. Lecture 12.
    """
    candidates = {"simclr_cs229": batch, "info_nce": batch, "nt_xent": 2 * batch - 1}
    if loss not in candidates:
        raise ValueError(f"no chance level for {loss!r}, expected one of {sorted(candidates)}")
    if batch < 1:
        raise ValueError(f"batch is {batch}, expected at least one pair of views")
    return math.log(candidates[loss])


def _check_negatives(query: Any, key: Any, negatives: Any, in_batch: bool) -> bool:
    """Whether they are candidates of all queries; ValueError unless their shape fits."""
    if negatives is None:
        if not in_batch:
            raise ValueError("info_nce: with in_batch=False there must be negatives")
        return False
    shape, (batch, width) = tuple(negatives.shape), key.shape
    if len(shape) not in (2, 3) or shape[-1] != width or (len(shape) == 3 and shape[0] != batch):
        raise ValueError(
            f"info_nce: negatives have shape {shape}, expected (count, {width}) for all queries or "
            f"({batch}, count, {width}) for each its own, like the keys {tuple(key.shape)}"
        )
    return len(shape) == 2


def _check(first: Any, second: Any, reduction: str, loss: str) -> int:
    """The batch size; ValueError unless both are (batch, width) and the reduction is known."""
    if len(first.shape) != 2 or tuple(first.shape) != tuple(second.shape):
        raise ValueError(
            f"{loss}: the two views have shapes {tuple(first.shape)} and {tuple(second.shape)}, "
            "expected (batch, width) twice: row i of both must show the same thing"
        )
    check_reduction(reduction)
    return first.shape[0]
