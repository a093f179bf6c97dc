"""Wrong answers to homework 6, contrast: triplets."""

import math

import numpy as np

from minissl.autograd import operations as ops
from minissl.losses import triplets as library
from minissl.losses.metric import reduced
from minissl.losses.triplets import Triplets
from tests.homework.planted import Collection

PLANTED = Collection()


def summed(losses, how):
    """The sum in place of the mean."""
    return losses if how == "none" else ops.sum(losses)


# ---- 6.3 triplet_loss ----------------------------------------------------------------------------


def refuse(anchor, positive, negative, margin):
    """ValueError for what has to be refused."""
    if not anchor.shape == positive.shape == negative.shape or len(anchor.shape) != 2:
        raise ValueError("no triplets of rows")
    if margin is not None and not 0 < margin < math.inf:
        raise ValueError(f"no margin: {margin}")


def comparer(
    length=lambda x: ops.norm(x, axis=1),
    far=lambda a, p, n: a - n,
    gap=lambda near, far: near - far,
    hinge=lambda gap, margin: ops.relu(gap + margin),
    soft=lambda gap: -ops.log_sigmoid(-gap),
    square=lambda d: d * d,
    check=refuse,
    finish=reduced,
):
    """triplet_loss from two distances, with something to get wrong in it."""

    def triplet_loss(anchor, positive, negative, *, margin, squared=False, reduction="mean"):
        check(anchor, positive, negative, margin)
        near, away = length(anchor - positive), length(far(anchor, positive, negative))
        if squared:
            near, away = square(near), square(away)
        gaps = gap(near, away)
        return finish(soft(gaps) if margin is None else hinge(gaps, margin), reduction)

    return triplet_loss


def compare_one_by_one(anchor, positive, negative, *, margin, squared=False, reduction="mean"):
    """A triplet at a time, the soft margin as a logsumexp of 0 and the gap."""
    refuse(anchor, positive, negative, margin)
    losses = []
    for a, p, n in zip(anchor, positive, negative):
        near, far = (ops.sum((a - x) ** 2) if squared else ops.norm(a - x) for x in (p, n))
        gap = near - far
        if margin is None:
            losses.append(ops.logsumexp(ops.stack([gap, 0 * gap])))
        else:
            losses.append(ops.maximum(gap + margin, 0.0))
    losses = ops.stack(losses)
    return {"none": losses, "sum": ops.sum(losses), "mean": ops.mean(losses)}[reduction]


for _mistake, _shows, _comparer in [
    ("exchanged", "positive and negative are exchanged", comparer(
        gap=lambda near, far: far - near)),
    ("no margin", "margin is missing", comparer(hinge=lambda gap, margin: ops.relu(gap))),
    ("less the margin", "nearer. by it", comparer(hinge=lambda gap, m: ops.relu(gap - m))),
    ("no hinge", "is missing: a triplet that is right", comparer(hinge=lambda gap, m: gap + m)),
    ("squared", "hinge was squared", comparer(hinge=lambda gap, m: ops.relu(gap + m) ** 2)),
    ("from the positive", "from the anchor, not from", comparer(far=lambda a, p, n: p - n)),
    ("always squares", "these are squares", comparer(lambda x: ops.sum(x * x, axis=1))),
    ("never squares", "squared=True asks", comparer(square=lambda d: d)),
    ("summed", "the sum over the triplets", comparer(finish=summed)),
    ("of the active", "only the triplets with a loss", comparer(
        finish=lambda x, how: x if how == "none" else ops.sum(x) / max((x.array > 0).sum(), 1))),
    ("hard for soft", "the margin None is", comparer(soft=ops.relu)),
    ("overflow", "overflows|NaNs or inf", comparer(soft=lambda gap: ops.log(1 + ops.exp(gap)))),
    ("a root of NaN", "gradient 0|NaN", comparer(lambda x: ops.sqrt(ops.sum(x * x, axis=1)))),
    ("a fixed negative", "gradient by negative|gradient reaches negative", comparer(
        far=lambda a, p, n: a - n.detach())),
    ("a fixed anchor", "gradient by anchor", comparer(far=lambda a, p, n: a.detach() - n)),
    ("nothing refused", "should raise", comparer(check=lambda *_: None)),
]:  # fmt: skip
    PLANTED.add("6.3", _mistake, shows=_shows)(_comparer)


# ---- 6.4 mine_triplets ---------------------------------------------------------------------------


def every(labels, itself=False, ordered=False):
    """All triplets in three loops."""
    rows = range(len(labels))
    return [
        (a, p, n)
        for a in rows
        for p in rows
        if labels[p] == labels[a] and (itself or p != a) and (not ordered or a < p)
        for n in rows
        if labels[n] != labels[a]
    ]


def miner(
    every=every,
    farthest=max,
    nearest=min,
    per_pair=False,
    beyond=lambda positive, negative: negative > positive,
    within=lambda positive, negative, margin: negative < positive + margin,
    pick=min,
    several=False,
    first_of_all=False,
    weight=lambda weights: weights,
    check=True,
    finish=lambda found: Triplets(*np.array(found, np.int64).reshape(-1, 3).T),
):
    """mine_triplets by loops over lists, with something to get wrong in it."""

    def mine_triplets(
        distances, labels, mining, *, margin=None, squared=False, width=None, generator=None
    ):
        d, labels = np.asarray(distances), np.asarray(labels).tolist()
        if check and mining not in ("all", "hard", "semi-hard", "distance-weighted"):
            raise ValueError(f"no mining {mining}")
        found = every(labels)
        if mining == "all":
            return finish(found)
        if check and not np.isfinite(d).all():
            raise ValueError("not finite")
        of_pairs = {}
        for a, p, n in found:
            of_pairs.setdefault((a, p), []).append(n)
        if mining == "hard":
            chosen = {}
            for a, p in of_pairs:
                chosen.setdefault(a if not per_pair else (a, p), []).append((a, p))
            found = []
            for pairs in chosen.values():
                a, p = farthest(pairs, key=lambda pair: d[pair])
                found.append((a, p, nearest(of_pairs[a, p], key=lambda n: d[a, n])))
            return finish(found)
        found = []
        for (a, p), negatives in of_pairs.items():
            if mining == "semi-hard":
                end = math.inf if margin is None else margin
                if first_of_all:
                    negatives = [min(negatives, key=lambda n: d[a, n])]
                negatives = [n for n in negatives if beyond(d[a, p], d[a, n])]
                negatives = [n for n in negatives if within(d[a, p], d[a, n], end)]
                if negatives:
                    taken = negatives if several else [pick(negatives, key=lambda n: d[a, n])]
                    found += [(a, p, n) for n in taken]
            else:
                if check and (width is None or generator is None):
                    raise ValueError("needs the width and a generator")
                plain = np.sqrt(d[a, negatives]) if squared else d[a, negatives]
                weights = weight(library._distance_weights(plain[None], width)[0])
                if weights.sum() > 0:
                    n = generator.choice(negatives, p=weights / weights.sum())
                    found.append((a, p, n))
        return finish(found)

    return mine_triplets


def mine_by_masks(
    distances, labels, mining, *, margin=None, squared=False, width=None, generator=None
):
    """Boolean cubes (batch, batch, batch) and np.nonzero."""
    d, labels = np.asarray(distances), np.asarray(labels)
    equal = labels[:, None] == labels
    cube = (equal & ~np.eye(len(labels), dtype=bool))[:, :, None] & ~equal[:, None, :]
    if mining not in ("all", "hard", "semi-hard", "distance-weighted"):
        raise ValueError(f"no mining {mining}")
    if mining == "all":
        return Triplets(*np.nonzero(cube))
    if not np.isfinite(d).all():
        raise ValueError("not finite")
    near, far = np.broadcast_arrays(d[:, :, None], d[:, None, :])
    if mining == "hard":
        anchors = np.flatnonzero(cube.any(axis=(1, 2)))
        positive = np.where(cube.any(axis=2), d, -1)[anchors].argmax(axis=1)
        negative = np.where(cube.any(axis=1), d, np.inf)[anchors].argmin(axis=1)
        return Triplets(anchors, positive, negative)
    if mining == "semi-hard":
        cube &= (far > near) & (far - near < (np.inf if margin is None else margin))
        score = np.where(cube, -far, -np.inf)
    else:
        if width is None or generator is None:
            raise ValueError("needs the width and a generator")
        table = np.where(equal, np.inf, np.sqrt(d) if squared else d)
        weights = np.where(cube, library._distance_weights(table, width)[:, None, :], 0)
        cube &= weights > 0
        score = np.where(cube, np.log(np.maximum(weights, 1e-300)), -np.inf)
        score = score + generator.gumbel(size=score.shape)  # the largest is a draw from the softmax
    a, p = np.nonzero(cube.any(axis=2))
    return Triplets(a, p, score[a, p].argmax(axis=1))


for _mistake, _shows, _miner in [
    ("a positive of itself", "its own positive", miner(lambda y: every(y, itself=True))),
    ("one order", "one order only", miner(lambda y: every(y, ordered=True))),
    ("negatives of any label", "negative another", miner(
        lambda y: [(a, p, n) for a, p, _ in every(y) for n in range(len(y)) if n not in (a, p)])),
    ("twice", "there twice", miner(lambda y: every(y) * 2)),
    ("the nearest positive", "nearest positive was taken", miner(farthest=min)),
    ("the farthest negative", "farthest negative was taken", miner(nearest=max)),
    ("the easiest", "easiest", miner(farthest=min, nearest=max)),
    ("hard pairs", "not for each anchor and positive", miner(per_pair=True)),
    ("hard ones, too", "hard, not semi-hard", miner(beyond=lambda positive, negative: True)),
    ("as far is farther", "is not farther", miner(beyond=lambda p, n: n >= p)),
    ("the nearest of all", "nearest of all negatives", miner(first_of_all=True)),
    ("the farthest within", "farthest within the margin", miner(pick=max)),
    ("all within", "every semi-hard negative", miner(several=True)),
    ("no margin", "such a pair has no triplet", miner(within=lambda *_: True)),
    ("a margin from 0", "measured from 0", miner(within=lambda p, n, m: n < m)),
    ("uniform draws", "too often or too rarely", miner(weight=lambda w: 1.0 * (w > 0))),
    ("all are drawn", "never drawn", miner(weight=np.ones_like)),
    ("turned weights", "too often or too rarely", miner(
        weight=lambda w: np.where(w > 0, 1 / np.maximum(w, 1e-9), 0))),
    ("nothing refused", "should raise|it raised", miner(check=False)),
    ("a list", "expected Triplets", miner(finish=list)),
    ("floats", "are integers", miner(
        finish=lambda found: Triplets(*np.array(found, float).reshape(-1, 3).T))),
]:  # fmt: skip
    PLANTED.add("6.4", _mistake, shows=_shows)(_miner)
