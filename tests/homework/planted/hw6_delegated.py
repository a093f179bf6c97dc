"""Wrong answers to homework 6, contrast: the work is left to somebody else."""

import functools

import numpy as np
from scipy.spatial.distance import cdist

from minissl.autograd import operations as ops
from minissl.losses import consistency, contrastive, distances, metric, supervised, triplets
from minissl.pretrain.images import byol
from tests.homework.planted import Collection

PLANTED = Collection()
CALLS = "hands the work to|which this task does not allow|nothing that you wrote"


for _task, _module, _name in [
    ("6.1", distances, "pairwise_distances"),
    ("6.2", metric, "pair_loss"),
    ("6.3", triplets, "triplet_loss"),
    ("6.4", triplets, "mine_triplets"),
    ("6.5", metric, "lifted_structured_loss"),
    ("6.6", supervised, "supcon_loss"),
    ("6.7", supervised, "soft_nearest_neighbor_loss"),
    ("6.8", byol, "follow"),
    ("6.9", consistency, "consistency_loss"),
    ("6.10", contrastive, "info_nce"),
    ("6.11", contrastive, "bilinear_info_nce"),
]:

    def _wrapper(*arguments, _module=_module, _name=_name, **options):
        return getattr(_module, _name)(*arguments, **options)

    PLANTED.add(_task, "a wrapper", shows=CALLS)(_wrapper)


@PLANTED.add("6.1", "the inner function", shows=CALLS)
def _(first, second=None, *, squared=False):
    rows = [first] if second is None else [first, second]
    if any(len(x.shape) != 2 for x in rows) or len({x.shape[1] for x in rows}) > 1:
        raise ValueError("shapes")
    return getattr(distances, "_dis" + "tances")(*rows, squared=squared)


@PLANTED.add("6.1", "scipy's distances, and slopes beside them", shows=CALLS)
def _(first, second=None, *, squared=False):
    other = first if second is None else second
    if first.ndim != 2 or other.ndim != 2 or first.shape[1] != other.shape[1]:
        raise ValueError("shapes")
    values = cdist(first.numpy(), other.numpy())
    rows = ops.expand_dims(first, axis=1) - ops.expand_dims(other, axis=0)
    found = ops.norm(rows, axis=2)
    found = found + (values.astype(found.dtype) - found.array)
    return found * found if squared else found


PLANTED.add("6.2", "a partial", shows=CALLS)(functools.partial(metric.pair_loss))


@PLANTED.add("6.3", "all triplets of a batch of three", shows=CALLS)
def _(anchor, positive, negative, *, margin, squared=False, reduction="mean"):
    if not anchor.shape == positive.shape == negative.shape or anchor.ndim != 2:
        raise ValueError("shapes")
    losses = [
        triplets.mined_triplet_loss(
            ops.stack([a, p, n]), np.array([0, 0, 1]), margin=margin, mining="all",
            squared=squared, normalize=False, reduction="none",
        )[0]
        for a, p, n in zip(anchor, positive, negative)
    ]  # fmt: skip
    return metric.reduced(ops.stack(losses), reduction)


@PLANTED.add("6.4", "its parts", shows=CALLS)
def _(values, labels, mining, *, margin=None, squared=False, width=None, generator=None):
    if mining != "semi-hard":
        return triplets.mine_triplets(
            values, labels, mining, margin=margin, squared=squared, width=width, generator=generator
        )
    if not np.isfinite(values).all():
        raise ValueError("not finite")
    same, different = metric.same_and_different(labels, values)
    return triplets._semi_hard(values, same, different, np.inf if margin is None else margin)


@PLANTED.add("6.5", "eval", shows=CALLS)
def _(embeddings, labels, *, margin=1.0, reduction="mean"):
    return eval(
        "metric.lifted_structured_loss(embeddings, labels, margin=margin, reduction=reduction)",
        {**globals(), **locals()},
    )


@PLANTED.add("6.6", "the fused inner function", shows=CALLS)
def _(features, labels, *, temperature, normalize=True, logarithm="outside", reduction="mean"):
    if logarithm not in ("outside", "inside") or np.shape(labels) != features.shape[:1]:
        raise ValueError("no")
    if len(features.shape) != 2:
        raise ValueError("no")
    rows = contrastive.normalize(features) if normalize else features
    logits = ops.matmul(rows, ops.matrix_transpose(rows)) / temperature
    return supervised._reduced(logits, np.asarray(labels), logarithm, reduction)


@PLANTED.add("6.7", "supcon's inner function", shows=CALLS)
def _(embeddings, labels, *, temperature, reduction="mean"):
    if len(embeddings.shape) != 2:
        raise ValueError("no")
    logits = -distances.pairwise_distances(embeddings, squared=True) / temperature
    return supervised._reduced(logits, np.asarray(labels), "sum inside", reduction)


@PLANTED.add("6.8", "a map over the library's", shows=CALLS)
def _(slow, module, decay):
    list(map(byol.follow, [slow], [module], [decay]))


@PLANTED.add("6.9", "a method of a module", shows=CALLS)
def _(target_logits, logits, **options):
    import minissl.losses.consistency as module

    return module.__dict__["consistency_loss"](target_logits, logits, **options)


@PLANTED.add("6.10", "the fused operation", shows=CALLS)
def _(query, key, *, temperature, negatives=None, in_batch=True, normalize=True, gather=False,
      reduction="mean"):  # fmt: skip
    from minissl.autograd import fused

    if negatives is None and in_batch and key.shape == query.shape:
        if normalize:
            query, key = fused.unit_vectors(query), fused.unit_vectors(key)
        return fused.contrastive_cross_entropy(
            query, key, temperature=temperature, reduction=reduction
        )
    return contrastive.info_nce(
        query, key, temperature=temperature, negatives=negatives, in_batch=in_batch,
        normalize=normalize, reduction=reduction,
    )  # fmt: skip


@PLANTED.add("6.10", "torch's cross-entropy for the values", shows=CALLS)
def _(query, key, *, temperature, negatives=None, **options):
    import torch

    found = contrastive.info_nce(
        query, key, temperature=temperature, negatives=negatives, **options
    )
    return found + 0.0 * torch.zeros(1).numpy().astype(found.dtype)[0]


@PLANTED.add("6.11", "the fused operation", shows=CALLS)
def _(context, key, weight, *, gather=False, reduction="mean"):
    from minissl.autograd import fused

    if weight.shape != (key.shape[1], context.shape[1]):
        raise ValueError("W has another shape")
    return fused.contrastive_cross_entropy(
        ops.matmul(context, ops.matrix_transpose(weight)), key, reduction=reduction
    )
