"""Wrong answers to homework 8, adaptation: experts, and bytes."""

import math
import re

import numpy as np

from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 8.10 gate -----------------------------------------------------------------------------------


def softmax(logits, axis=1, largest=lambda x: x.max(axis=1, keepdims=True)):
    """Of each token."""
    e = np.exp(logits - largest(logits))
    return e / e.sum(axis=axis, keepdims=True)


def gater(
    p=softmax,
    rank=lambda p: (
        (p[:, None, :] > p[:, :, None])
        | ((p[:, None, :] == p[:, :, None]) & np.tri(p.shape[1], k=-1, dtype=bool))
    ).sum(axis=2),
    keep=lambda rank, top: rank < top,
    weigh=lambda p, kept, logits: p * kept / (p * kept).sum(axis=1, keepdims=True),
    counts=lambda kept, p: kept.sum(axis=0),
    whole=lambda kept: kept.sum(),
    means=lambda p, weights, kept: p.mean(axis=0),
    factor=lambda p, top: p.shape[1],
    finish=lambda weights, balance: (weights, balance),
):
    """gate by comparing every two experts, with something to get wrong in it."""

    def gate(logits, top):
        own = p(logits)
        kept = keep(rank(own), top)
        weights = weigh(own, kept, logits)
        shares = counts(kept, own) / whole(kept)
        balance = factor(own, top) * float(np.sum(shares * means(own, weights, kept)))
        return finish(weights, balance)

    return gate


def gate_token_by_token(logits, top):
    """In a loop; the softmax of what is kept is its part of the whole softmax."""
    tokens, experts = logits.shape
    weights, counts, total = np.zeros((tokens, experts)), [0] * experts, np.zeros(experts)
    for t, row in enumerate(logits):
        p = np.exp(row - np.logaddexp.reduce(row))
        total += p
        kept = sorted(range(experts), key=lambda e: -p[e])[:top]
        weights[t, kept] = np.exp(row[kept] - np.logaddexp.reduce(row[kept]))
        for e in kept:
            counts[e] += 1
    shares = [count / (tokens * top) for count in counts]
    return weights, experts * math.fsum(f * m / tokens for f, m in zip(shares, total))


def _from_the_end(p):
    """How many experts come before, of equal ones the last."""
    order = np.argsort(-p[:, ::-1], axis=1, kind="stable")
    return np.argsort(order, axis=1)[:, ::-1]


def kept_by_a_bound(logits, top):
    """All that are as large as the last that is kept."""
    p = softmax(logits)
    kept = p >= np.sort(p, axis=1)[:, [-top]]
    weights = np.where(kept, p, 0)
    balance = p.shape[1] * float(kept.sum(axis=0) / kept.sum() @ p.mean(axis=0))
    return weights / weights.sum(axis=1, keepdims=True), balance


for _mistake, _shows, _gater in [
    ("not divided", "divided by their sum", gater(weigh=lambda p, kept, logits: p * kept)),
    ("all kept", "all experts were kept", gater(weigh=lambda p, kept, logits: p)),
    ("the smallest", "smallest were kept", gater(
        keep=lambda rank, top: rank >= rank.shape[1] - top)),
    ("all alike", "count alike", gater(
        weigh=lambda p, kept, logits: kept / kept.sum(axis=1, keepdims=True))),
    ("logits", "these are logits", gater(weigh=lambda p, kept, logits: np.where(kept, logits, 0))),
    ("a softmax over the tokens", "not over the tokens|values are wrong", gater(
        p=lambda logits: softmax(logits, axis=0, largest=np.max),
        weigh=lambda p, kept, logits: p)),
    ("zeros in the softmax", "leaves e⁰", gater(
        weigh=lambda p, kept, logits: softmax(np.where(kept, logits, 0)))),
    ("no factor", "factor experts is missing", gater(factor=lambda p, top: 1)),
    ("times the tokens", "not that of the tokens", gater(factor=lambda p, top: len(p))),
    ("times top", "not top", gater(factor=lambda p, top: top)),
    ("by the tokens", "f are shares, which add up", gater(whole=len)),
    ("counts", "not counts", gater(whole=lambda kept: 1)),
    ("of the weights", "before anything is left out", gater(
        means=lambda p, weights, kept: weights.mean(axis=0))),
    ("of what is kept", "nothing of it is left out|before anything", gater(
        means=lambda p, weights, kept: (p * kept).mean(axis=0))),
    ("shares of weights", "not means of the weights", gater(
        counts=lambda kept, p: (p * kept / (p * kept).sum(axis=1, keepdims=True)).sum(axis=0),
        whole=len)),
    ("the likeliest alone", "counted alone", gater(
        counts=lambda kept, p: np.bincount(p.argmax(axis=1), minlength=p.shape[1]), whole=len)),
    ("more than top", "more than top", kept_by_a_bound),
    ("the last of equal ones", "not the last", gater(rank=_from_the_end)),
    ("overflow", "too large for a float", gater(
        p=lambda logits: softmax(logits, largest=lambda x: 0.0))),
    ("one largest", "P became 0|too large|values are wrong|NaN", gater(
        p=lambda logits: softmax(logits, largest=np.max))),
    ("the weights alone", "expected the weights and", gater(finish=lambda weights, _: weights)),
]:  # fmt: skip
    PLANTED.add("8.10", _mistake, shows=_shows)(_gater)


# ---- 8.11 training_bytes -------------------------------------------------------------------------


def counter(
    found=lambda where, path: re.search(where, path),
    pair=lambda rank, shape: rank * shape[0] + shape[1] * rank,
    matrix=lambda shape: len(shape) == 2,
    added=True,
    trained=lambda number, mine, whole: mine,
    saved=lambda number, mine, whole: mine,
    moments=lambda mine, number, whole: 8 * mine,
    check=True,
    frozen=True,
    finish=lambda counts: counts,
    default=4,
):
    """training_bytes, with something to get wrong in it."""

    def training_bytes(shapes, where, *, rank=0, number=default):
        whole = sum(math.prod(shape) for shape in shapes.values())
        own = [shape for path, shape in shapes.items() if found(where, path)]
        mine = sum(math.prod(shape) for shape in own)
        more = sum(pair(rank, shape) for shape in own if matrix(shape)) if rank else 0
        if rank:
            mine = more if frozen else mine + more
        if check and not mine:
            raise ValueError(where)
        total = whole + (more if added else 0)
        return finish({
            "weights": number * total,
            "gradients": number * trained(number, mine, whole),
            "optimizer": moments(mine, number, whole),
            "saved": number * saved(number, mine, whole),
        })  # fmt: skip

    return training_bytes


def bytes_of_arrays(shapes, where, *, rank=0, number=4):
    """With an array for each, whose bytes NumPy knows."""
    dtype = {2: np.float16, 4: np.float32}[number]
    pattern = re.compile(where)
    trained, all_of_them = [], [np.empty(shape, dtype) for shape in shapes.values()]
    for shape, array in zip(shapes.values(), list(all_of_them)):
        path = next(p for p, s in zip(shapes, all_of_them) if s is array)
        if not pattern.search(path):
            continue
        if rank and len(shape) == 2:
            pair = [np.empty((rank, shape[1]), dtype), np.empty((shape[0], rank), dtype)]
            trained += pair
            all_of_them += pair
        elif not rank:
            trained.append(array)
    if not trained:
        raise ValueError(f"no weight matches {where}")
    own = sum(array.nbytes for array in trained)
    moments = sum(2 * np.empty(array.shape, np.float32).nbytes for array in trained)
    return {
        "weights": sum(array.nbytes for array in all_of_them),
        "gradients": own, "optimizer": moments, "saved": own,
    }  # fmt: skip


for _mistake, _shows, _counter in [
    ("numbers", "not bytes", counter(finish=lambda c: {k: v // 4 for k, v in c.items()})),
    ("one moment", "two moments of each", counter(moments=lambda mine, number, _: 4 * mine)),
    ("four arrays", "counted already|two moments", counter(
        moments=lambda mine, number, _: 16 * mine)),
    ("a gradient of all", "there is no gradient", counter(
        trained=lambda number, mine, whole: whole)),
    ("all is saved", "nothing is learned|saved has another", counter(
        saved=lambda number, mine, whole: whole)),
    ("moments of all", "nothing is learned|optimizer has another", counter(
        moments=lambda mine, number, whole: 8 * whole)),
    ("match, not search", "in its middle", counter(found=re.match)),
    ("part of the path", "is a regular expression|matches nothing|raised", counter(
        found=lambda where, path: where in path)),
    ("no pairs among the weights", "pairs are weights", counter(added=False)),
    ("down alone", "both of a pair", counter(pair=lambda rank, shape: rank * shape[1])),
    ("the update", "never made", counter(pair=lambda rank, shape: shape[0] * shape[1])),
    ("rank times the update", r"rank · \(in \+ out\)", counter(
        pair=lambda rank, shape: rank * shape[0] * shape[1])),
    ("biases have pairs", "is no matrix|raised", counter(
        matrix=lambda shape: True, pair=lambda rank, shape: rank * sum(shape))),
    ("the frozen ones, too", "not trained beside|has another", counter(frozen=False)),
    ("half moments", "moments are float32", counter(
        moments=lambda mine, number, _: 2 * number * mine)),
    ("halves by itself", "without a number", counter(default=2)),
    ("nothing is no error", "should raise", counter(check=False)),
    ("a float", "bytes are whole", counter(finish=lambda c: {k: v / 1 for k, v in c.items()})),
    ("other names", "four numbers", counter(finish=lambda c: {**c, "total": sum(c.values())})),
    ("kilobytes", "has another number|another", counter(
        finish=lambda c: {k: v // 1000 for k, v in c.items()})),
]:  # fmt: skip
    PLANTED.add("8.11", _mistake, shows=_shows)(_counter)
