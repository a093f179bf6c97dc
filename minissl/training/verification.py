"""Same class or not? A representation judged by pairs of examples, on plain arrays. Lecture 12.

A pair is accepted as the same where the cosine of its two features reaches a threshold. Nothing is
learned from the labels, so the classes may be ones that no training has met: so faces are verified
(Schroff, Kalenichenko and Philbin 2015, FaceNet; Huang et al. 2007, Labeled Faces in the Wild).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.data.labels import rows_of_length_one
from minissl.options import is_whole

_AT_ONCE = 1 << 22  # numbers that are multiplied together
_DIGITS = 12  # of a cosine: what is left of equal directions is rounding, which differs by class


@dataclass(frozen=True)
class Roc:
    """The receiver operating characteristic: what is accepted, as the threshold falls.

    thresholds (points,), falling, the first is infinite: nothing is accepted; false_accepts and
    true_accepts (points,): the share of the different and of the same pairs at or above each.
    """

    thresholds: NDArray[np.float64]
    false_accepts: NDArray[np.float64]
    true_accepts: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Under the curve: a random same pair beats a random different one, ties count half."""
        return float(np.trapezoid(self.true_accepts, self.false_accepts))

    @property
    def equal_error_rate(self) -> float:
        """Where as many of the different pairs are accepted as of the same ones refused.

        Between two points of the curve on the line that joins them, as if ties were drawn by lot.
        """
        excess = self.false_accepts - (1 - self.true_accepts)  # from -1 to 1, never falling
        after = int(np.argmax(excess >= 0))
        before = after - 1
        part = excess[before] / (excess[before] - excess[after])
        rise = self.false_accepts[after] - self.false_accepts[before]
        return float(self.false_accepts[before] + part * rise)

    def true_accepts_at(self, false_accepts: float) -> float:
        """The most same pairs that a threshold accepts with at most this share of the others."""
        allowed = self.false_accepts <= false_accepts
        return float(self.true_accepts[allowed].max())


@dataclass(frozen=True)
class Verification:
    """What ``verification`` finds. ``same``, ``different``: pairs of each that were compared.

    ``sampled``: whether there were more, of which these were drawn.
    """

    roc: Roc
    same: int
    different: int
    sampled: bool

    def scores(self) -> dict[str, float | None]:
        """The numbers of the table; None for a share of false accepts that so few cannot show."""
        found: dict[str, float | None] = {
            "equal_error_rate": self.roc.equal_error_rate,
            "roc_area": self.roc.area,
        }
        for level in (1e-2, 1e-3):
            enough = self.different * level >= 1
            value = self.roc.true_accepts_at(level) if enough else None
            found[f"true_accepts_at_{level:g}"] = value
        return found


def verification(
    features: ArrayLike, labels: ArrayLike, *, most_pairs: int = 200_000, seed: int = 0
) -> Verification:
    """Compare pairs of examples: features (examples, width), labels (examples,) of any kind.

    All pairs where there are at most ``most_pairs``; else half as many of each sort are drawn
    without replacement (all of a sort that has fewer), the same ones for any features. A row of
    zeros has no direction: its cosine with anything is 0. Memory grows with ``most_pairs`` and not
    with the square of the examples.

    Raises ValueError for shapes that do not fit, features that are not finite, and labels without a
    pair of the same class or without one of two classes.
    """
    unit, labels = rows_of_length_one(features), np.asarray(labels)
    if labels.shape != unit.shape[:1]:
        raise ValueError(f"got features {unit.shape}, labels {labels.shape}: one label for each")
    if not is_whole(most_pairs) or most_pairs < 2:
        raise ValueError(f"most_pairs must be a whole number ≥ 2, got {most_pairs!r}")
    same, different, sampled = choose_pairs(labels, most_pairs, np.random.default_rng(seed))
    curve = roc(_cosines(unit, same), _cosines(unit, different))
    return Verification(curve, len(same), len(different), sampled)


def roc(same: ArrayLike, different: ArrayLike) -> Roc:
    """The curve of the similarities of same pairs (same,) and of different pairs (different,).

    Equal similarities are one point: no threshold can part them. Raises ValueError where one has
    none, or a similarity is NaN.
    """
    positive, negative = (np.sort(np.asarray(side, np.float64)) for side in (same, different))
    if positive.ndim != 1 or negative.ndim != 1 or not len(positive) or not len(negative):
        raise ValueError(
            f"got similarities of shapes {positive.shape} and {negative.shape}: expected one or "
            "more of same pairs and one or more of different pairs"
        )
    if np.isnan(positive[-1]) or np.isnan(negative[-1]):  # NaN is sorted to the end
        raise ValueError("a similarity is NaN: it is neither above nor below a threshold")
    thresholds = np.unique(np.concatenate([positive, negative]))[::-1]

    def share(side: NDArray) -> NDArray[np.float64]:
        accepted = len(side) - np.searchsorted(side, thresholds, side="left")
        return np.concatenate([[0], accepted / len(side)])

    return Roc(np.concatenate([[np.inf], thresholds]), share(negative), share(positive))


def choose_pairs(
    labels: NDArray, most_pairs: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
    """Same pairs (same, 2), different pairs (different, 2), and whether there were more of them.

    Numbers of examples, no pair twice. With the examples in the order of their classes, those of a
    class end where the next begins: example i makes same pairs with what follows it up to that end,
    different pairs with what follows the end. So the pairs of each sort are numbered without a list
    of them, and some can be drawn. Raises ValueError where there is none of one sort.
    """
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(classes, kind="stable")
    place, end = np.arange(len(order)), np.cumsum(counts)[classes[order]]
    firsts = {"same": (place + 1, end - place - 1), "different": (end, len(order) - end)}
    totals = {name: int(count.sum()) for name, (_, count) in firsts.items()}
    if not all(totals.values()):
        raise ValueError(
            f"{len(order)} examples of {len(counts)} class(es) make {totals['same']} pairs of the "
            f"same class and {totals['different']} of two classes: verification needs both"
        )
    sampled = sum(totals.values()) > most_pairs
    found = []
    for name, (first, count) in firsts.items():
        some = min(totals[name], most_pairs // 2) if sampled else totals[name]
        chosen = np.arange(some)
        if some < totals[name]:
            chosen = np.sort(generator.choice(totals[name], some, replace=False, shuffle=False))
        before = np.cumsum(count) - count
        one = np.searchsorted(before + count, chosen, side="right")
        other = first[one] + chosen - before[one]
        found.append(order[np.stack([one, other], axis=1)])
    return found[0], found[1], sampled


def _cosines(unit: NDArray[np.float64], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of the pairs (pairs, 2) of unit rows: (pairs,)."""
    step = max(1, _AT_ONCE // unit.shape[1])
    parts = [
        np.einsum("pw,pw->p", *(unit[pairs[start : start + step, side]] for side in (0, 1)))
        for start in range(0, len(pairs), step)
    ]
    return np.round(np.concatenate(parts), _DIGITS)
