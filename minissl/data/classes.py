"""The names of the classes that a run keeps: what its numbers mean. Lecture 11."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minissl.data import Kept
from minissl.reading import FileError, parse_json

CLASSES = "classes.json"


def keep_classes(kept: Kept, class_names: Sequence[str]) -> Kept:
    """The kept files with the names in them. ValueError where other names were kept before."""
    names = json.dumps(list(class_names)).encode()
    kept = Kept({CLASSES: names, **kept}, kept.folder)
    if kept_classes(kept) != tuple(class_names):
        raise ValueError(
            f"{kept.place(CLASSES)} has the classes {_listed(kept_classes(kept))}, the "
            f"data has {_listed(class_names)}: use the classes of the run"
        )
    return kept


def kept_classes(kept: Kept) -> tuple[str, ...]:
    """The kept names; none where labels are numbers. ValueError for anything but texts."""
    place = kept.place(CLASSES)
    names = parse_json(kept.get(CLASSES, b""), place, "class names", kind=list)
    if not all(isinstance(name, str) for name in names):
        raise FileError(f"{place} has class names that are no texts: it is damaged")
    return tuple(names)


def no_labels(class_names: Sequence[str]) -> NDArray:
    """The labels of no examples: whole numbers of classes, or floats where there are none."""
    return np.zeros(0, np.int64 if class_names else np.float64)


def require_two(class_names: Sequence[str], count: int, what: str) -> None:
    """Raise ValueError for examples of one class or none. what: "images", of which count are."""
    if len(class_names) < 2:
        raise ValueError(
            f"{count} labelled {what} of {len(class_names)} class(es): there is nothing to tell "
            "apart, give two classes or more"
        )


def as_in_the_run(labels: NDArray, class_names: Sequence[str], of_run: Sequence[str]) -> NDArray:
    """Labels with the numbers that their classes have in a run; plain numbers as they are.

    Raises ValueError for a class that the run has not, or for classes where it has numbers.
    """
    if not class_names and not of_run:
        return labels
    if not class_names or not of_run:
        raise ValueError("the labels are numbers in one, classes in the other: read both alike")
    if strange := sorted({*class_names} - {*of_run}):
        raise ValueError(f"class {strange[0]!r} is not one of this run: {_listed(of_run)}")
    return np.array([of_run.index(name) for name in class_names])[labels]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more if names else "none (numbers)"
