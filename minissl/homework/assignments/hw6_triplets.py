"""Homework 6, triplets: tasks 6.3 and 6.4."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd.tensor import Tensor
from minissl.homework.assignments import hw6_oracle as oracle
from minissl.homework.assignments.differences import check_gradients
from minissl.homework.assignments.hw6_distances import check_reductions
from minissl.homework.assignments.manners import call_twice
from minissl.homework.guard import ENGINE
from minissl.homework.task import Draw, Task, Wrong, expect, expect_error

TRIPLETS = "minissl.losses.triplets"

# ---- 6.3 triplet_loss ----------------------------------------------------------------------------

triplet_loss = Task(
    "6.3",
    f"{TRIPLETS}:triplet_loss",
    "nearer by a margin",
    "lecture 12, section 13",
    hides=("_hinge", "row_distances"),
    allows=(*ENGINE, "pairwise_distances"),
)
NAMES = ("anchor", "positive", "negative")


def _rows(draw: Draw) -> Any:
    """Three times (triplets, width), no gap near a kink of the margins 0.3 and 1."""
    for count, width in draw.cases((1, 1), (3, 2), more=lambda g: (4, int(g.integers(1, 4)))):
        while True:
            rows = a, p, n = [draw.normal(count, width) for _ in NAMES]
            gaps = [
                oracle.triplet(a, p, n, 100.0, measure) - 100.0
                for measure in (math.dist, oracle.square)
            ]
            if min(abs(g + m).min() for g in gaps for m in (0.3, 1.0)) > 0.02:
                yield rows
                break


def _check_triplets(subject: Any, draw: Draw, margins: Any, squared: bool) -> None:
    measure, other = (oracle.square, math.dist) if squared else (math.dist, oracle.square)
    for rows in _rows(draw):
        a, p, n = rows
        for margin in margins:
            right = oracle.triplet(a, p, n, margin, measure)
            gap = np.array([measure(*ap) - measure(*an) for ap, an in zip(zip(a, p), zip(a, n))])
            soft = margin is None
            symptoms = {
                "plain distances were asked for, these are squares"
                if not squared
                else "squared=True asks for squared distances": (
                    oracle.triplet(a, p, n, margin, other).mean()
                ),
                "positive and negative are exchanged": (
                    oracle.triplet(a, n, p, margin, measure).mean()
                ),
                "only the triplets with a loss were counted: the mean is over all of them": (
                    right.sum() / max(int((right > 0).sum()), 1)
                ),
                "the sum over the triplets was taken, not the mean": right.sum(),
                "the negative's distance is taken from the anchor, not from the positive": (
                    oracle.triplet(p, a, n, margin, measure).mean()
                ),
                "the margin None is ln(1 + eˣ), not max(0, x)" if soft else "the margin is missing":
                np.maximum(gap, 0).mean(),
                "the margin was subtracted: the positive should be *nearer* by it": (
                    None if soft else np.maximum(gap - margin, 0).mean()
                ),
                "max(0, ...) is missing: a triplet that is right has no loss": (
                    None if soft else (gap + margin).mean()
                ),
                "the margin is not squared, whatever the distances are": (
                    None if soft else np.maximum(gap + margin**2, 0).mean()
                ),
                "the hinge was squared": (right**2).mean(),
                "the negative's distance is from the anchor: this swap takes the nearer of two": (
                    _swapped(rows, margin, measure)
                ),
            }  # fmt: skip
            given: dict[str, Any] = dict(zip(NAMES, rows))
            given |= {"margin": margin, "squared": squared}
            tensors = [Tensor(x) for x in rows]
            options = {"margin": margin, "squared": squared}
            got = call_twice(subject, *tensors, **options)
            expect(got, right.mean(), given=given, symptoms=symptoms)

            def reduced(how: str, tensors: Any = tensors, options: Any = options) -> Any:
                return call_twice(subject, *tensors, **options, reduction=how)

            check_reductions(reduced, right, given)
            single = [x.astype(np.float32) for x in rows]
            expected = np.float32(
                oracle.triplet(single[0], single[1], single[2], margin, measure).mean()
            )
            got = call_twice(subject, *map(Tensor, single), **options)
            expect(got, expected, given={**given, "of": "float32"}, tolerance=1e-4)


def _swapped(rows: list[NDArray], margin: float | None, measure: Any) -> float:
    """The loss with the negative's distance from anchor or positive, whichever is smaller."""
    a, p, n = rows
    nearer = np.array([math.dist(x, z) < math.dist(y, z) for x, y, z in zip(a, p, n)])
    return float(
        np.where(
            nearer,
            oracle.triplet(a, p, n, margin, measure),
            oracle.triplet(p, a, n, margin, measure),
        ).mean()
    )


@triplet_loss.check(2)
def nearer_by_a_margin(subject: Any, draw: Draw) -> None:
    """max(0, d(a, p) − d(a, n) + margin), the mean over all triplets."""
    _check_triplets(subject, draw, (0.3, 1.0), False)


@triplet_loss.check(1)
def squared_distances(subject: Any, draw: Draw) -> None:
    """``squared``: the same with d², as FaceNet has it; the soft margin, too."""
    _check_triplets(subject, draw, (0.3, 1.0, 1.7, None), True)


@triplet_loss.check(2)
def soft_margin(subject: Any, draw: Draw) -> None:
    """``margin=None``: ln(1 + eˣ) in place of max(0, x), also where eˣ has no room."""
    _check_triplets(subject, draw, (None,), False)
    far, here = np.array([[2000.0]]), np.array([[0.0]])
    sentence = "ln(1 + eˣ) overflows: of a large x it is x"
    for positive, negative, right in ((far, here, 2000.0), (here, far, 0.0)):
        given = {"anchor": here, "positive": positive, "negative": negative, "margin": None}
        got = call_twice(subject, Tensor(here), Tensor(positive), Tensor(negative), margin=None)
        expect(got + 1.0, right + 1.0, given=given, otherwise=sentence)


@triplet_loss.check(2)
def slopes_of_triplets(subject: Any, draw: Draw) -> None:
    """The gradient is right by all three; a positive that equals its anchor does no harm."""
    for rows in _rows(draw):
        for margin, squared in ((0.3, False), (1.0, True), (None, False)):

            def loss(a: Any, p: Any, n: Any, how: Any = (margin, squared)) -> Any:
                return subject(a, p, n, margin=how[0], squared=how[1])

            def right(a: Any, p: Any, n: Any, how: Any = (margin, squared)) -> float:
                measure = oracle.square if how[1] else math.dist
                return oracle.triplet(a, p, n, how[0], measure).mean()

            given = dict(zip(NAMES, rows))
            check_gradients(loss, right, given)
    once, far = np.array([[1.0, 2.0]]), np.array([[1.5, 2.0]])
    given = {"anchor": once, "positive": once.copy(), "negative": far}
    hint = "a distance of 0 has the gradient 0 (ops.norm), √ has NaN"
    check_gradients(
        lambda a, p, n: subject(a, p, n, margin=1.0),
        lambda a, p, n: oracle.triplet(a, p, n, 1.0).mean(),
        given,
        hint=hint,
    )
    for margin in (0.0, -0.2, math.inf):
        expect_error(ValueError, subject, *[Tensor(once)] * 3, margin=margin)
    expect_error(ValueError, subject, Tensor(once), Tensor(once), Tensor(once[:, :1]), margin=1.0)


# ---- 6.4 mine_triplets ---------------------------------------------------------------------------

mine_triplets = Task(
    "6.4",
    f"{TRIPLETS}:mine_triplets",
    "which triplets are worth it",
    "lecture 12, section 13",
    hides=("same_and_different", "_semi_hard", "_drawn", "move"),
)
Labelled = tuple[NDArray, list[int]]


def _batches(draw: Draw) -> Any:
    """(distances, labels): one row, no positive, no negative, singletons, several positives."""
    fixed = [[0], [0, 1], [3, 3], [0, 0, 1], [1, 0, 0, 0, 1, 2], [-1, 2, -1, 2, 0]]
    for labels in draw.cases(*fixed, more=lambda g: g.integers(0, 3, 6).tolist()):
        rows = draw.normal(len(labels), 2)
        yield oracle.distances(rows, rows), labels


def _check_mined(
    subject: Any, case: Labelled, mining: str, right: Any, wrong: Any, **options: Any
) -> None:
    """Compare as sorted lists: the order of triplets is free."""
    distances, labels = case
    given = {"distances": distances, "labels": labels, "mining": mining, **options}
    got = call_twice(subject, distances, np.array(labels), mining, **options)
    if not isinstance(got, tuple) or len(got) != 3:
        raise Wrong("expected Triplets: anchor, positive, negative", given, got, "three arrays")
    arrays = [np.asarray(part) for part in got]
    if len({part.shape for part in arrays}) > 1 or arrays[0].ndim != 1:
        shapes = [part.shape for part in arrays]
        raise Wrong("the three arrays have one number for each triplet", given, shapes, "equal")
    if any(part.dtype.kind not in "iu" for part in arrays):
        raise Wrong(
            "row numbers are integers, also of none", given, [p.dtype for p in arrays], "int64"
        )
    found = sorted(zip(*(part.tolist() for part in arrays)))
    if len(set(found)) < len(found):
        raise Wrong("a triplet is there twice", given, found, sorted(right))
    for a, p, n in found:
        if a == p:
            raise Wrong("an anchor is its own positive", given, found, sorted(right))
        if labels[a] != labels[p] or labels[a] == labels[n]:
            sentence = "the positive has the anchor's label, the negative another"
            if min(labels) < 0:
                sentence += ": labels may be any integers, also below 0"
            raise Wrong(sentence, given, found, sorted(right))
    likely = [sentence for sentence, value in wrong.items() if sorted(value) == found]
    other = "these are other triplets"
    if min(labels, default=0) < 0:
        other = "these are other triplets: labels may be any integers, also below 0"
    sentence = "; or: ".join(likely) or other  # few rows may show two mistakes
    expect(found, sorted(right), given=given, otherwise=sentence)


@mine_triplets.check(2)
def all_triplets(subject: Any, draw: Draw) -> None:
    """``"all"``: every anchor, positive and negative, each once."""
    for case in _batches(draw):
        right = oracle.every_triplet(case[1])
        symptoms = {
            "each pair of positives is there in one order only: both may be the anchor": [
                t for t in right if t[0] < t[1]
            ]
        }
        _check_mined(subject, case, "all", right, symptoms)


@mine_triplets.check(3)
def hardest_triplets(subject: Any, draw: Draw) -> None:
    """``"hard"``: of each anchor the farthest positive and the nearest negative."""
    for d, labels in _batches(draw):
        everything = oracle.every_triplet(labels)
        pairs = sorted({t[:2] for t in everything})
        nearest = {t[0]: t[2] for t in oracle.hard(d, labels)}
        symptoms = {
            "the nearest positive was taken: the hardest is the farthest": oracle.hard(
                d, labels, positive=min
            ),
            "the farthest negative was taken: the hardest is the nearest": oracle.hard(
                d, labels, negative=max
            ),
            "the easiest ones were taken": oracle.hard(d, labels, positive=min, negative=max),
            "the nearest negative is that by the anchor's distances, not by the positive's": [
                (a, p, nearest[p]) for a, p, _ in oracle.hard(d, labels)
            ],
            "one triplet for each anchor, not for each anchor and positive": [
                (a, p, nearest[a]) for a, p in pairs
            ],
        }
        _check_mined(subject, (d, labels), "hard", oracle.hard(d, labels), symptoms)


@mine_triplets.check(4)
def semi_hard_triplets(subject: Any, draw: Draw) -> None:
    """``"semi-hard"``: of each pair the nearest negative beyond the positive, within the margin."""
    fixed: Any = [(np.array([[0.0, 1, 1], [1, 0, 2], [1, 2, 0]]), [0, 0, 1])]  # a tie: not farther
    for d, labels in [*_batches(draw), *fixed]:
        for margin in (0.4, 1.5, None):
            right = oracle.semi_hard(d, labels, margin)
            everything = oracle.every_triplet(labels)
            ends = math.inf if margin is None else margin
            symptoms = {
                "as far as the positive is not farther": oracle.semi_hard(
                    d, labels, margin, equal=True
                ),
                "a negative nearer than the positive is hard, not semi-hard": oracle.semi_hard(
                    d, labels, margin, farther=False
                ),
                "the nearest of all negatives was taken, and left out where it is too near": [
                    t for t in oracle.semi_hard(d, labels, None, farther=False) if t in right
                ],
                "the farthest within the margin was taken, not the nearest": oracle.semi_hard(
                    d, labels, margin, nearest=False
                ),
                "every semi-hard negative was taken: one for each pair, the nearest": [
                    (a, p, n) for a, p, n in everything if d[a, p] < d[a, n] < d[a, p] + ends
                ],
                "beyond the margin there is no loss: such a pair has no triplet": oracle.semi_hard(
                    d, labels, None
                ),
                "one for each anchor: every positive of it has its own negative": [
                    t for t in right if t[1] == max(u[1] for u in right if u[0] == t[0])
                ],
                "the margin is measured from 0, not from the positive": [
                    t for t in oracle.semi_hard(d, labels, None) if d[t[0], t[2]] < ends
                ],
            }
            _check_mined(subject, (d, labels), "semi-hard", right, symptoms, margin=margin)


@mine_triplets.check(2)
def drawn_by_distance(subject: Any, draw: Draw) -> None:
    """``"distance-weighted"``: of each pair one negative, as often as ``_distance_weights`` say."""
    positives, width = 24, 4
    labels = np.array([0] * positives + [1, 2, 3])
    for near, far in draw.cases(
        (0.7, 1.2), more=lambda g: (float(g.uniform(0.2, 0.8)), float(g.uniform(0.9, 1.3)))
    ):
        distances = np.full((len(labels), len(labels)), 0.3)
        distances[:, -3], distances[:, -2], distances[:, -1] = near, far, 1.6
        weights = [oracle.by_distance(x, width) for x in (near, far)]
        share, pairs = weights[0] / sum(weights), positives * (positives - 1)
        for squared in (False, True):
            given = {
                "distances": f"{near:.3f}, {far:.3f} and 1.6 to three negatives",
                "anchors and positives": pairs,
                "width": width,
                "squared": squared,
            }
            seed = int(draw.generator.integers(1 << 30))
            got, other = (
                call_twice(
                    subject, distances**2 if squared else distances, labels, "distance-weighted",
                    squared=squared, width=width, generator=np.random.default_rng(number),
                )
                for number in (seed, seed + 1)
            )  # fmt: skip
            negatives = np.asarray(got[2])
            if np.array_equal(negatives, other[2]):
                sentence = "draw with the generator that is given: two gave the same negatives"
                raise Wrong(sentence, given, negatives, "others")
            drawn = [{*negatives[np.asarray(got[0]) == a].tolist()} for a in range(positives)]
            if all(len(of_anchor) == 1 for of_anchor in drawn):
                sentence = "each anchor and positive has a draw of its own, not each anchor"
                raise Wrong(sentence, given, drawn, "two of them, sooner or later")
            if (negatives == len(labels) - 1).any():
                raise Wrong("a negative 1.4 away or more is never drawn", given, got[2], "others")
            if len(negatives) != pairs:
                sentence = "one negative is drawn for each anchor and positive"
                raise Wrong(sentence, given, len(negatives), pairs)
            taken = float(np.mean(negatives == len(labels) - 3))
            if abs(taken - share) > 5 * math.sqrt(share * (1 - share) / pairs):
                sentence = "the nearer negative is drawn too often or too rarely"
                raise Wrong(sentence, given, f"{taken:.3f}", f"about {share:.3f}")
    distances[:, -3:] = 1.5
    options: dict[str, Any] = {"width": 4, "generator": np.random.default_rng(0)}
    got = call_twice(subject, distances, labels, "distance-weighted", **options)
    if len(got[0]):
        sentence = "a negative 1.4 away or more is never drawn, also where there is no other"
        raise Wrong(sentence, {"distances": "1.5 to all negatives"}, got, "no triplet")
    for missing in ("width", "generator"):
        few = {name: value for name, value in options.items() if name != missing}
        expect_error(ValueError, subject, distances, labels, "distance-weighted", **few)


@mine_triplets.check(1)
def what_cannot_be_mined(subject: Any, draw: Draw) -> None:
    """Another mining, and a distance that is not finite, are errors; "all" takes it."""
    labels = np.array([0, 0])
    for size in draw.cases(1.0, more=lambda g: float(g.uniform(0.1, 2))):
        for far in (math.nan, math.inf):
            distances = np.array([[0.0, far], [size, 0.0]])
            for mining in ("hard", "semi-hard"):
                expect_error(ValueError, subject, distances, labels, mining)
            _check_mined(subject, (distances, [0, 0]), "all", [], {})
        expect_error(ValueError, subject, size * np.ones((2, 2)), labels, "soft")
