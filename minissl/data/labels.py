"""Labels: names of classes or numbers, as they were read; which are held out, which are drawn.

Lecture 11 compares representations by a few labelled examples: the draws must be the same for all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.options import several

HELD_OUT = 1 / 3  # of the labelled examples, where nobody has split them


@dataclass(frozen=True)
class Labelled:
    """Examples with their labels, read as a run reads them, and raw features to compare with.

    inputs: what ``represent`` takes, one for each of the names. labels: (examples,) int64, numbers
    of the ``class_names``, or float64 where there are no classes. raw: (examples, width), the
    examples themselves as features; ``raw_name`` says what they are ("raw pixels"). ``held_out``:
    indices of a test set that everybody uses, None where there is none. ``form``: where the labels
    are neither classes nor numbers but, one for each example, something else (``minissl.forms``):
    its kind, and ``labels`` is then a list.
    """

    inputs: Any
    names: tuple[str, ...]
    labels: Any
    class_names: tuple[str, ...]
    raw: NDArray
    raw_name: str
    held_out: NDArray[np.int64] | None = None
    form: str = ""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def kind(self) -> str:
        """``"class"``, ``"number"``, or that of another form."""
        return self.form or ("class" if self.class_names else "number")

    def take(self, chosen: NDArray[np.int64]) -> Labelled:
        """Some of the examples, in this order."""
        return replace(
            self,
            inputs=pick(self.inputs, chosen),
            names=tuple(pick(self.names, chosen)),
            labels=pick(self.labels, chosen),
            raw=self.raw[chosen],
            held_out=None,
        )

    def split(self) -> tuple[Labelled, Labelled]:
        """Those to train on, and those that are held out: see ``split_labelled``."""
        train, test = split_labelled(len(self), self.held_out)
        return self.take(train), self.take(test)


def pick(examples: Any, chosen: NDArray[np.int64]) -> Any:
    """Some of an array or a sequence, in this order; of a sequence as a list."""
    if isinstance(examples, np.ndarray):
        return examples[chosen]
    return [examples[i] for i in chosen]


def split_labelled(
    count: int, held_out: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices to train on and to test on: a third is held out, the same one for every seed.

    ``held_out``: the indices of a test set that everybody uses, which is then taken. Raises
    ValueError when a part is empty.
    """
    if held_out is None:
        order = np.random.default_rng(0).permutation(count)
        held_out = np.sort(order[: round(HELD_OUT * count)])
    train = np.setdiff1d(np.arange(count), held_out)
    if len(held_out) == count > 2:  # examples that stay together: all of them do
        raise ValueError(
            f"all {count} labelled examples are held out, none is left to learn from: give more, "
            "and if they are questions, questions to another text"
        )
    if not len(train) or not len(held_out):
        raise ValueError(
            f"{count} labelled examples are too few to learn from some and test on others: give "
            "three or more"
        )
    return train, held_out


def some_numbers(count: int, most: int) -> NDArray[np.int64]:
    """At most so many random numbers below ``count``, ascending, always the same ones."""
    chosen = np.random.default_rng(0).choice(count, min(count, most), replace=False)
    return np.sort(chosen)


def some_of_split(
    count: int, most: int, held_out: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """At most so many indices, two thirds of them to train on; and which of these are held out.

    What is held out of them is held out of all: see ``split_labelled``, and its ValueError.
    """
    train, test = split_labelled(count, held_out)
    few = train[some_numbers(len(train), most - most // 3)]
    tested = test[some_numbers(len(test), most // 3)]
    chosen = np.concatenate([few, tested])
    return chosen, np.arange(len(few), len(chosen))


def split_by_hash(
    contents: Iterable[bytes], fraction: float = 0.05
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices to train on and to test on, of examples without labels: hashes decide, no chance.

    contents: what each example is. About the fraction is held out, one at least; equal examples
    are on one side. Raises ValueError when all are equal.
    """
    hashes = [hashlib.sha256(content).digest() for content in contents]
    limit = sorted(hashes)[max(0, round(fraction * len(hashes)) - 1)]
    held_out = np.array([value <= limit for value in hashes])
    if held_out.all():
        raise ValueError(
            f"{len(hashes)} example(s), all equal: give others, to learn from some and test on one"
        )
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def draw_few_labels(
    labels: ArrayLike, labels_per_class: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Indices of ``labels_per_class`` random examples of every class, class after class.

    Raises ValueError when a class has fewer.
    """
    labels = np.asarray(labels)
    classes, counts = np.unique(labels, return_counts=True)
    if labels_per_class < 1 or counts.min() < labels_per_class:
        raise ValueError(
            f"asked for {labels_per_class} labels per class, the smallest of {len(classes)} "
            f"classes has {counts.min()}: ask for fewer, or give more of that class"
        )
    chosen = [
        generator.choice(np.flatnonzero(labels == c), labels_per_class, replace=False)
        for c in classes
    ]
    return np.concatenate(chosen)


def as_classes(labels: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Numbers of the classes, and the names of the classes in sorted order.

    Raises ValueError as ``check_names`` does.
    """
    names = sorted(set(labels))
    check_names(names)
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[label] for label in labels], np.int64), tuple(names)


def check_names(names: Iterable[str]) -> None:
    """Raise ValueError for the name of a class that cannot be seen, or told from another one.

    Two that differ in nothing but spaces around them are one class that was written carelessly.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not name.strip():
            raise ValueError(f"a class has the name {name!r}: leave its examples out, or name it")
        if name.encode("utf-8", "ignore").decode() != name:
            raise ValueError(f"a class has the name {name!r}, with half of a character: repair it")
        if (other := seen.setdefault(name.strip(), name)) != name:
            raise ValueError(
                f"the classes {other!r} and {name!r} differ only by spaces: write them alike"
            )


def as_numbers(labels: Sequence[str], places: Sequence[str]) -> NDArray[np.float64]:
    """The labels as numbers. Raises ValueError with the place of the first that is none."""
    numbers = np.empty(len(labels))
    for row, (label, place) in enumerate(zip(labels, places)):
        try:
            numbers[row] = float(label)
        except ValueError:
            numbers[row] = np.nan
        if not np.isfinite(numbers[row]):
            raise ValueError(f"{place}: the label is {label!r:.60}, expected a finite number")
    return numbers


def check_labels(labels: ArrayLike, count: int, class_names: Sequence[str]) -> NDArray:
    """The labels as an array: int64 below the number of classes, or finite float64 without classes.

    Raises ValueError for anything else, or another number than ``count``.
    """
    class_names = several(class_names, "class_names")
    array = np.asarray(labels)
    found = f"got shape {array.shape} of {array.dtype}"
    if array.shape == (count,) and array.dtype.kind in ("iu" if class_names else "iuf"):
        if class_names and np.isin(array, np.arange(len(class_names))).all():
            return array.astype(np.int64)
        if not class_names and np.isfinite(array).all():
            return array.astype(np.float64)
    if array.shape == (count,) and array.dtype.kind in "iuf":
        wrong = ~np.isin(array, np.arange(len(class_names))) if class_names else ~np.isfinite(array)
        if wrong.any():
            first = int(wrong.argmax())
            found = f"number {first} is {array[first]}"
    numbers = f"whole numbers from 0 to {len(class_names) - 1}" if class_names else "finite numbers"
    raise ValueError(f"labels: expected {count} {numbers}, {found}")


def feature_rows(features: ArrayLike) -> NDArray[np.float64]:
    """Features (examples, width) in float64.

    Raises ValueError for another shape, for no example, and, naming the first, for an example with
    a NaN or an infinity: every comparison with one is false, so a prediction would mean nothing.
    """
    matrix = np.asarray(features, dtype=np.float64)
    if matrix.ndim != 2 or not len(matrix):
        raise ValueError(
            f"expected features (examples, width), got shape {matrix.shape}: "
            "flatten images with images.reshape(len(images), -1)"
        )
    if len(bad := np.flatnonzero(~np.isfinite(matrix).all(axis=1))):
        raise ValueError(f"the features of example {bad[0]} are not finite: look at its input")
    return matrix


def rows_of_length_one(features: ArrayLike) -> NDArray[np.float64]:
    """Features (examples, width) with rows of length 1, in float64; a row of zeros stays zeros.

    Raises ValueError as ``feature_rows`` does.
    """
    matrix = feature_rows(features)
    largest = np.abs(matrix).max(axis=1, keepdims=True)  # squares of 1e200 would be infinite
    matrix = matrix / np.where(largest == 0, 1, largest)
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.where(lengths == 0, 1, lengths)


def likeliest(scores: ArrayLike) -> NDArray[np.int64]:
    """The column of the largest score of each row: (examples, classes) -> (examples,).

    Of equal ones the first. Raises ValueError, naming the first, for an example whose largest score
    is NaN or infinite: ``argmax`` would name a class, the first or that of the NaN. A score of −inf
    beside a number is a class that is ruled out.
    """
    scores = np.asarray(scores)
    if len(bad := np.flatnonzero(~np.isfinite(scores.max(axis=1)))):
        raise ValueError(
            f"the scores of example {bad[0]} are {scores[bad[0]]}: none of them is the largest. "
            "Look at its input, and whether the training diverged"
        )
    return scores.argmax(axis=1)


def share_right(predictions: ArrayLike, labels: ArrayLike) -> float:
    """The part of the labels (examples,) that is predicted, 0 to 1.

    Raises ValueError unless both have this one axis: a column would be compared with all of them.
    The same for names beside numbers, of which none are ever equal.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    numbers = [array.dtype.kind in "biuf" for array in (predictions, labels)]
    names = [array.dtype.kind in "US" for array in (predictions, labels)]
    if any(numbers) and any(names):
        raise ValueError(
            f"got predictions of {predictions.dtype} and labels of {labels.dtype}: names are never "
            "equal to numbers"
        )
    if predictions.shape != labels.shape or labels.ndim != 1 or not len(labels):
        raise ValueError(
            f"got predictions {predictions.shape} and labels {labels.shape}: expected one label "
            "for each example, (examples,)"
        )
    return float(np.mean(predictions == labels))


def mean_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """The place of each value in sorted order, from 1; equal values share their mean place."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.take(ends - (counts - 1) / 2, inverse)


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's: the correlation of the ranks, −1 to 1, equal values sharing the mean of theirs.

    0 where one side is constant. Raises ValueError unless both are finite numbers (examples,).
    """
    sides = [np.asarray(values, np.float64) for values in (first, second)]
    shapes = [side.shape for side in sides]
    if shapes[0] != shapes[1] or sides[0].ndim != 1 or not sides[0].size:
        raise ValueError(f"got {shapes[0]} and {shapes[1]} numbers: expected (examples,) of each")
    if not np.isfinite(sides).all():
        raise ValueError("a number is not finite: it has no rank")
    one, other = map(mean_ranks, sides)
    constant = one.std() == 0 or other.std() == 0
    return 0.0 if constant else float(np.corrcoef(one, other)[0, 1])
