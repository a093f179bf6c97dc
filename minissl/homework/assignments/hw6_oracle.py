"""The losses of contrast by other means than the library's: the oracles of homework 6.

Loops over rows in Python's own floats and sums. Each flag that is changed is a well-known mistake.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Triplet = tuple[int, int, int]

# ---- distances and pairs -------------------------------------------------------------------------


def distances(first: Any, second: Any, measure: Callable[[Any, Any], float] = math.dist) -> NDArray:
    """(rows, others), two rows at a time."""
    return np.array([[measure(a, b) for b in second] for a in first]).reshape(
        len(first), len(second)
    )


def unit(rows: Any) -> NDArray:
    """Every row divided by its own length, without one it stays zero."""
    return np.array([[x / (math.hypot(*row) or 1.0) for x in row] for row in rows], np.float64)


def pairs(
    first: NDArray,
    second: NDArray,
    same: Sequence[bool],
    together: Callable[[float], float],
    apart: Callable[[float], float],
) -> NDArray:
    """What each pair costs, by its distance."""
    return np.array(
        [(together if y else apart)(math.dist(a, b)) for a, b, y in zip(first, second, same)]
    )


# ---- triplets ------------------------------------------------------------------------------------


def softplus(x: float) -> float:
    """ln(1 + eˣ), without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def triplet(
    anchor: NDArray,
    positive: NDArray,
    negative: NDArray,
    margin: float | None,
    measure: Callable[[Any, Any], float] = math.dist,
) -> NDArray:
    """What each triplet costs; a margin None is the soft one."""
    gaps = [measure(a, p) - measure(a, n) for a, p, n in zip(anchor, positive, negative)]
    return np.array([softplus(g) if margin is None else max(0.0, g + margin) for g in gaps])


def square(a: Any, b: Any) -> float:
    """The squared distance."""
    return math.dist(a, b) ** 2


def every_triplet(labels: Sequence[int], itself: bool = False) -> list[Triplet]:
    """All of them: an anchor, another of its label, one of another label."""
    rows = range(len(labels))
    return [
        (a, p, n)
        for a in rows
        for p in rows
        for n in rows
        if (itself or a != p) and labels[a] == labels[p] != labels[n]
    ]


def hard(
    d: NDArray, labels: Sequence[int], positive: Any = max, negative: Any = min
) -> list[Triplet]:
    """Of each anchor the farthest positive and the nearest negative, or what else is asked for."""
    found = []
    for a in range(len(labels)):
        own = [t for t in every_triplet(labels) if t[0] == a]
        if own:
            p = positive({t[1] for t in own}, key=lambda p: d[a, p])
            n = negative({t[2] for t in own}, key=lambda n: d[a, n])
            found.append((a, p, n))
    return found


def semi_hard(
    d: NDArray,
    labels: Sequence[int],
    margin: float | None,
    *,
    farther: bool = True,
    nearest: bool = True,
    equal: bool = False,
) -> list[Triplet]:
    """Of each anchor and positive one negative that is farther, but within the margin."""
    found = []
    for a, p in sorted({t[:2] for t in every_triplet(labels)}):
        others = [n for n in range(len(labels)) if labels[n] != labels[a]]
        if farther:
            others = [n for n in others if d[a, n] > d[a, p] or (equal and d[a, n] == d[a, p])]
        others = [n for n in others if margin is None or d[a, n] < d[a, p] + margin]
        if others:
            found.append((a, p, (min if nearest else max)(others, key=lambda n: d[a, n])))
    return found


def by_distance(distance: float, width: int) -> float:
    """1 / q(d) of Wu et al. (2017), as they cut it off."""
    d = max(distance, 0.5)
    return 0.0 if d >= 1.4 else d ** (2 - width) * (1 - d * d / 4) ** ((3 - width) / 2)


# ---- a softmax over the others of a batch --------------------------------------------------------


def log_sum(terms: Sequence[float]) -> float:
    """ln Σ eˣ; −∞ of nothing."""
    largest = max(terms, default=-math.inf)
    if largest == -math.inf:
        return largest
    return largest + math.log(math.fsum(math.exp(x - largest) for x in terms))


def lifted(
    rows: NDArray,
    labels: Sequence[int],
    margin: float,
    *,
    both_ends: bool = True,
    measure: Callable[[Any, Any], float] = math.dist,
    ordered: bool = False,
    pushed: Callable[[Sequence[float]], float] = log_sum,
    finish: Callable[[float], float] = lambda j: 0.5 * max(0.0, j) ** 2,
) -> NDArray:
    """The lifted loss of every pair i < j of one label."""
    d, found = distances(rows, rows, measure), []
    for i, j in _pairs_of_one_label(labels, ordered):
        ends = (i, j) if both_ends else (i,)
        gaps = [margin - d[e, k] for e in ends for k in range(len(d)) if labels[k] != labels[e]]
        found.append(finish(pushed(gaps or [-math.inf]) + float(d[i, j])))
    return np.array(found)


def _pairs_of_one_label(labels: Sequence[int], ordered: bool) -> Iterator[tuple[int, int]]:
    for i in range(len(labels)):
        for j in range(len(labels)):
            if labels[i] == labels[j] and (i < j or (ordered and i > j)):
                yield i, j


def found(
    logits: NDArray,
    labels: Sequence[int],
    mean: Callable[[list[float]], float],
    *,
    itself: bool = False,
    own: bool = True,
) -> list[float | None]:
    """Of each row what ``mean`` makes of the ln softmax at its positives; None without one.

    The softmax is over all rows but the row, or with it (``itself``). ``own`` False: of one
    positive at a time, only the negatives stand beside it.
    """
    losses: list[float | None] = []
    for i, row in enumerate(logits.tolist()):
        rows = [j for j in range(len(row)) if itself or j != i]
        positives = [j for j in rows if labels[j] == labels[i] and j != i]
        negatives = [row[j] for j in rows if labels[j] != labels[i]]
        below = log_sum([row[j] for j in rows])
        log_p = [row[j] - (below if own else log_sum([*negatives, row[j]])) for j in positives]
        losses.append(-mean(log_p) if log_p else None)
    return losses


def outside(log_p: list[float]) -> float:
    """The mean of the logarithms: L_out."""
    return math.fsum(log_p) / len(log_p)


def inside(log_p: list[float]) -> float:
    """The logarithm of the mean: L_in."""
    return log_sum(log_p) - math.log(len(log_p))


def counted(losses: list[float | None]) -> float:
    """The mean of those that have a positive, 0 without any."""
    some = [loss for loss in losses if loss is not None]
    return math.fsum(some) / max(len(some), 1)


def all_rows(losses: list[float | None]) -> NDArray:
    """Each row's loss, 0 without a positive."""
    return np.array([loss or 0.0 for loss in losses])


def cosines(rows: NDArray) -> NDArray:
    """(rows, rows)."""
    units = unit(rows)
    return np.array([[math.fsum(a * b) for b in units] for a in units]).reshape(2 * (len(units),))


# ---- one answer against another ------------------------------------------------------------------


def log_softmax(logits: Sequence[float], temperature: float = 1.0) -> list[float]:
    """ln p of the classes."""
    scaled = [x / temperature for x in logits]
    below = log_sum(scaled)
    return [x - below for x in scaled]


def divergence(log_p: Sequence[float], log_q: Sequence[float]) -> float:
    """KL(p ‖ q); a class of probability 0 adds nothing."""
    return math.fsum(math.exp(p) * (p - q) for p, q in zip(log_p, log_q))


def agreement(
    target: NDArray,
    logits: NDArray,
    *,
    sharpen: float = 1.0,
    confidence: float = 0.0,
    sharpen_both: bool = False,
    sharpen_first: bool = False,
    turned: bool = False,
    entropy: bool = True,
    pseudo: bool = False,
    squares: bool = False,
    asked_of_changed: bool = False,
) -> NDArray:
    """What the images cost that are sure enough."""
    costs = []
    for said, changed in zip(target, logits):
        log_p = log_softmax(said, sharpen)
        log_q = log_softmax(changed, sharpen if sharpen_both else 1.0)
        sure = max(log_p if sharpen_first else log_softmax(changed if asked_of_changed else said))
        cost = divergence(log_q, log_p) if turned else divergence(log_p, log_q)
        cost += 0.0 if entropy else -math.fsum(math.exp(p) * p for p in log_p)
        if pseudo:
            cost = -log_q[int(np.argmax(said))]
        if squares:
            cost = math.fsum((math.exp(p) - math.exp(q)) ** 2 for p, q in zip(log_p, log_q))
        costs.append(cost if math.exp(sure) > confidence else 0.0)
    return np.array(costs)


def candidates(
    query: NDArray,
    key: NDArray,
    negatives: NDArray | None,
    temperature: float,
    *,
    in_batch: bool = True,
    cosine: bool = True,
) -> NDArray:
    """−ln softmax at the own key, whose candidates are listed one by one."""
    losses = []
    for i, q in enumerate(query):
        others = [k for j, k in enumerate(key) if j != i] if in_batch else []
        if negatives is not None:
            others += list(negatives if negatives.ndim == 2 else negatives[i])
        rows = np.array([key[i], *others])
        rows, own = (unit(rows), unit(q[None])[0]) if cosine else (rows, q)
        scores = [math.fsum(own * row) / temperature for row in rows]
        losses.append(log_sum(scores) - scores[0])
    return np.array(losses)
