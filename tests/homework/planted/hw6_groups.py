"""Wrong answers to homework 6, contrast: what looks at a batch with labels as a whole."""

import math

import numpy as np

from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.losses.distances import pairwise_distances
from minissl.losses.metric import reduced
from tests.homework.planted import Collection
from tests.homework.planted.hw6_triplets import summed

PLANTED = Collection()


def masks(labels, rows):
    """(same without itself, different); ValueError for labels that do not fit."""
    labels = np.asarray(labels)
    if len(rows.shape) != 2 or labels.shape != rows.shape[:1] or labels.dtype.kind not in "iub":
        raise ValueError(f"labels {labels.shape} for rows {rows.shape}")
    equal = labels[:, None] == labels
    return equal & ~np.eye(len(labels), dtype=bool), ~equal


def refuse_temperature(temperature):
    """ValueError for one that is not positive and finite."""
    value = temperature.item() if isinstance(temperature, Tensor) else temperature
    if not 0 < value < math.inf:
        raise ValueError(f"no temperature: {value}")


def lowest(x):
    """The smallest finite number of its dtype."""
    return float(np.finfo(x.dtype).min)


# ---- 6.5 lifted_structured_loss ------------------------------------------------------------------


def lifter(
    distances=pairwise_distances,
    sum_of=lambda x: ops.logsumexp(x, axis=1),
    negatives=lambda m, d: m - d,
    both=lambda i, j: ops.logsumexp(ops.stack([i, j]), axis=0),
    pairs=np.triu,
    cost=lambda j: 0.5 * ops.relu(j) ** 2,
    finish=reduced,
    check=True,
):
    """lifted_structured_loss from the sums of both ends, with something to get wrong in it."""

    def lifted_structured_loss(embeddings, labels, *, margin=1.0, reduction="mean"):
        if check and not 0 < margin < math.inf:
            raise ValueError(f"no margin: {margin}")
        same, different = masks(labels, embeddings)
        d = distances(embeddings)
        pushed = sum_of(ops.where(different, negatives(margin, d), lowest(d)))
        i, j = np.nonzero(pairs(same))
        return finish(cost(both(pushed[i], pushed[j]) + d[i, j]), reduction)

    return lifted_structured_loss


def lift_pair_by_pair(embeddings, labels, *, margin=1.0, reduction="mean"):
    """All negatives of a pair in one list, with the distances of both ends."""
    if not 0 < margin < math.inf:
        raise ValueError(f"no margin: {margin}")
    same, different = masks(labels, embeddings)
    losses = [0 * ops.sum(embeddings)]  # so that there is one
    for i, j in np.argwhere(np.triu(same)).tolist():
        gaps = [
            margin - ops.norm(embeddings[end] - embeddings[k])
            for end in (i, j)
            for k in np.flatnonzero(different[end]).tolist()
        ]
        if not gaps:
            losses.append(losses[0])
            continue
        cost = ops.logsumexp(ops.stack(gaps)) + ops.norm(embeddings[i] - embeddings[j])
        losses.append(ops.maximum(cost, 0.0) ** 2 / 2)
    own = losses[1:] or losses
    losses = ops.stack(own)
    return {"none": losses, "sum": ops.sum(losses), "mean": ops.mean(losses)}[reduction]


for _mistake, _shows, _lifter in [
    ("one end", "only the negatives of i", lifter(both=lambda i, j: i)),
    ("squares", "not squares", lifter(lambda x: pairwise_distances(x, squared=True))),
    ("no half", "half is missing", lifter(cost=lambda j: ops.relu(j) ** 2)),
    ("no square", "square is missing", lifter(cost=lambda j: ops.relu(j) / 2)),
    ("no hinge", r"max\(0, ...\) is missing|no pair", lifter(cost=lambda j: j**2 / 2)),
    ("a margin of 1", "need not be 1", lifter(negatives=lambda m, d: 1 - d)),
    ("summed", "sum over the pairs", lifter(finish=summed)),
    ("each pair twice", "for each pair i < j", lifter(pairs=lambda same: same)),
    ("the mean of nothing", "mean of no pair|NaNs", lifter(
        finish=lambda x, how: x if how == "none" else ops.sum(x) / x.size if x.size
        else ops.sum(x) + math.nan)),
    ("underflow", "logarithm −∞|logarithm of no negative|NaN", lifter(
        lambda d: pairwise_distances(d), lambda x: ops.log(ops.sum(ops.exp(x), axis=1)))),
    ("a root of NaN", "must not have NaN|NaN", lifter(
        lambda x: ops.sqrt(pairwise_distances(x, squared=True)))),
    ("fixed distances", "gradient", lifter(lambda x: pairwise_distances(x).detach())),
    ("no slope where both ends are alike", "the gradient by", lifter(
        both=lambda i, j: i + ops.relu(j - i) - ops.log_sigmoid(ops.abs(j - i)))),
    ("a fixed sum", "the gradient by", lifter(
        both=lambda i, j: ops.log(ops.exp(i) + ops.exp(j)).detach())),
    ("nothing refused", "should raise", lifter(check=False)),
]:  # fmt: skip
    PLANTED.add("6.5", _mistake, shows=_shows)(_lifter)


# ---- 6.6 supcon_loss, 6.7 soft_nearest_neighbor_loss ---------------------------------------------


def unit(x):
    """Rows of length 1."""
    return x / ops.norm(x, axis=1, keepdims=True)


def chooser(
    logits,
    logarithm=None,
    candidates=lambda same, different: same | different,
    itself=lambda x: lowest(x),
    below=lambda x: ops.logsumexp(x, axis=1, keepdims=True),
    mean=lambda total, count: total / count,
    inside=lambda log_sum, count: log_sum - np.log(count),
    finish=lambda losses, some: ops.sum(losses) / max(int(some.sum()), 1),
    alone=lambda losses, some: ops.where(some, losses, 0.0),
    which=lambda how: how,
    sign=-1,
    check=True,
):
    """Both losses of a batch with labels, with something to get wrong in them.

    ``logits(rows, temperature, normalize)``; ``logarithm``: fixed, or as the call says.
    """

    def loss(rows, labels, *, temperature, normalize=True, logarithm=logarithm, reduction="mean"):
        how = which(logarithm or "outside")
        if check and how not in ("outside", "inside", "sum"):
            raise ValueError(f"no place for the logarithm: {how}")
        same, different = masks(labels, rows)
        if check:
            refuse_temperature(temperature)
        scores = logits(rows, temperature, normalize)
        dtype, shown = scores.dtype, candidates(same, different)
        masked = ops.where(shown, scores, itself(scores))
        log_p = scores - below(masked)
        count, some = same.sum(axis=1).astype(dtype), same.any(axis=1)
        if how == "outside":
            safe = ops.sum(ops.where(same, log_p, 0.0), axis=1)
            found = mean(safe, np.maximum(count, 1))
        else:
            found = ops.logsumexp(ops.where(same, log_p, lowest(log_p)), axis=1)
            found = found if how == "sum" else inside(found, np.maximum(count, 1))
        losses = alone(sign * found, some)
        if reduction == "none":
            return losses
        return ops.sum(losses) if reduction == "sum" else finish(losses, some)

    return loss


def cosine(rows, temperature, normalize):
    """cos / τ, or inner products."""
    rows = unit(rows) if normalize else rows
    return ops.matmul(rows, ops.matrix_transpose(rows)) / temperature


def supcon(scores=cosine, **wrong):
    """supcon_loss."""
    return chooser(scores, **wrong)


def supcon_row_by_row(
    features, labels, *, temperature, normalize=True, logarithm="outside", reduction="mean"
):
    """Each row with a list of its positives."""
    same, _ = masks(labels, features)
    refuse_temperature(temperature)
    if logarithm not in ("outside", "inside"):
        raise ValueError("no place for the logarithm")
    rows = unit(features) if normalize else features
    losses, counts = [], 0
    for i in range(len(same)):
        positives, others = np.flatnonzero(same[i]), np.arange(len(same)) != i
        if not len(positives):
            losses.append(0 * ops.sum(features))
            continue
        counts += 1
        scores = ops.sum(rows * rows[i], axis=1) / temperature
        log_p = scores[positives] - ops.logsumexp(scores[np.flatnonzero(others)])
        if logarithm == "outside":
            losses.append(-ops.mean(log_p))
        else:
            losses.append(math.log(len(positives)) - ops.logsumexp(log_p))
    losses = ops.stack(losses)
    if reduction == "mean":
        return ops.sum(losses) / max(counts, 1)
    return losses if reduction == "none" else ops.sum(losses)


ALONE_COUNT = {"finish": lambda losses, some: ops.mean(losses)}
WITH_ITSELF = {"candidates": lambda same, different: np.ones_like(same)}

for _mistake, _shows, _supcon in [
    ("inside always", "this is L_in", supcon(which=lambda _: "inside")),
    ("outside always", "this is L_out", supcon(which=lambda _: "outside")),
    ("inside by default", "without being told|this is L_in", supcon(
        which=lambda how: {"outside": "inside", "inside": "outside"}[how])),
    ("positives added up", "positives were added up", supcon(mean=lambda total, count: total)),
    ("positives added up inside", "positives were added up", supcon(inside=lambda s, count: s)),
    ("with itself", "mask the diagonal", supcon(**WITH_ITSELF)),
    ("zeros for the diagonal", "values are wrong", supcon(itself=lambda x: 0.0)),
    ("only negatives below", "values are wrong|NaN|other positives", supcon(
        candidates=lambda same, different: different)),
    ("no temperature", "temperature was forgotten", supcon(lambda x, t, n: cosine(x, 1.0, n))),
    ("times the temperature", "multiplied", supcon(lambda x, t, n: cosine(x, 1 / t, n))),
    ("inner products", "inner products were", supcon(lambda x, t, n: cosine(x, t, False))),
    ("always cosines", "values are wrong", supcon(lambda x, t, n: cosine(x, t, True))),
    ("who is alone counts", "does not count in the mean", supcon(**ALONE_COUNT)),
    ("0 / 0", "NaN", supcon(
        mean=lambda total, count: total / np.where(count > 1, count, 0), alone=lambda x, _: x)),
    ("overflow", "NaN|no room", supcon(
        below=lambda x: ops.log(ops.sum(ops.exp(x), axis=1, keepdims=True)))),
    ("the sign", "sign is wrong", supcon(sign=1)),
    ("summed", "the sum over the rows", supcon(finish=lambda losses, some: ops.sum(losses))),
    ("fixed rows", "gradient", supcon(lambda x, t, n: cosine(x.detach(), t, n))),
    ("a fixed temperature", "gradient reaches temperature|gradient by temperature", supcon(
        lambda x, t, n: cosine(x, float(t), n))),
    ("a fixed length", "gradient by features", supcon(
        lambda x, t, n: cosine(x / np.linalg.norm(x.numpy(), axis=1, keepdims=True), t, False)
        if n else cosine(x, t, n))),
    ("nothing refused", "should raise", supcon(check=False, which=lambda how: {
        "between": "outside"}.get(how, how))),
]:  # fmt: skip
    PLANTED.add("6.6", _mistake, shows=_shows)(_supcon)


# ---- 6.7 soft_nearest_neighbor_loss --------------------------------------------------------------


def near(rows, temperature, normalize=True):
    """−d² / T."""
    return -pairwise_distances(rows, squared=True) / temperature


def neighbor(scores=near, **wrong):
    """soft_nearest_neighbor_loss."""
    return chooser(scores, **{"logarithm": "sum", **wrong})


def neighbor_by_shares(embeddings, labels, *, temperature, reduction="mean"):
    """ln of two sums, from which the nearest distance was taken."""
    same, _ = masks(labels, embeddings)
    refuse_temperature(temperature)
    d = ops.sum((ops.expand_dims(embeddings, axis=1) - embeddings) ** 2, axis=2) / temperature
    losses, counts = [], 0
    for i in range(len(same)):
        own, others = np.flatnonzero(same[i]), np.flatnonzero(np.arange(len(same)) != i)
        counts += len(own) > 0
        losses.append(
            ops.logsumexp(-d[i, others]) - ops.logsumexp(-d[i, own]) if len(own) else 0 * ops.sum(d)
        )
    losses = ops.stack(losses)
    if reduction == "mean":
        return ops.sum(losses) / max(counts, 1)
    return losses if reduction == "none" else ops.sum(losses)


def scaled(change):
    """The score with another temperature or distance."""
    return neighbor(lambda x, t, n=True: change(x, t))


for _mistake, _shows, _neighbor in [
    ("distances", "are not squared", scaled(lambda x, t: -pairwise_distances(x) / t)),
    ("no temperature", "temperature was forgotten", scaled(lambda x, t: near(x, 1.0))),
    ("times the temperature", "multiplied", scaled(lambda x, t: near(x, 1 / t))),
    ("T squared", "divided by T²", scaled(lambda x, t: near(x, t * t))),
    ("2 T", "divided by 2 T", scaled(lambda x, t: near(x, 2 * t))),
    ("unit vectors", "made unit vectors", scaled(lambda x, t: near(unit(x), t))),
    ("with itself", "no neighbour of itself", neighbor(**WITH_ITSELF)),
    ("the mean of the own", "here it is its sum", neighbor(logarithm="inside")),
    ("supervised contrastive", "this is supervised contrastive", neighbor(logarithm="outside")),
    ("who is alone counts", "does not count in the mean", neighbor(**ALONE_COUNT)),
    ("summed", "the sum over the rows", neighbor(finish=lambda losses, some: ops.sum(losses))),
    ("underflow", "logarithm −∞|NaN", neighbor(
        below=lambda x: ops.log(ops.sum(ops.exp(x), axis=1, keepdims=True)))),
    ("a fixed temperature", "gradient reaches temperature|gradient by temperature", scaled(
        lambda x, t: near(x, float(t)))),
    ("fixed rows", "gradient", scaled(lambda x, t: near(x.detach(), t))),
    ("a root of NaN", "gradient is 0|NaN", scaled(
        lambda x, t: -(ops.sqrt(pairwise_distances(x, squared=True)) ** 2) / t)),
]:  # fmt: skip
    PLANTED.add("6.7", _mistake, shows=_shows)(_neighbor)


@PLANTED.add("6.7", "a share", shows="logarithm is missing")
def _(embeddings, labels, *, temperature, reduction="mean"):
    losses = neighbor()(embeddings, labels, temperature=temperature, reduction="none")
    same, _ = masks(labels, embeddings)
    shares = ops.exp(-losses)[np.flatnonzero(same.any(axis=1))]
    return {"none": shares, "sum": ops.sum(shares)}.get(
        reduction, ops.mean(shares) if shares.size else Tensor(0.0)
    )
