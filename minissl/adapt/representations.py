"""What represents the same examples: themselves, a network before and after it learned. Lecture 11.

A number for a representation means nothing without that of the raw examples and that of the network
before its pretraining. All meet the same split of the examples and the same views of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.data.labels import Labelled, pick, rows_of_length_one, split_labelled
from minissl.forms import in_words
from minissl.pretrain.method import Augments

UNTRAINED, PRETRAINED, ADAPTED = "untrained network", "pretrained network", "adapted network"
LOOKED_AT = 5_000  # examples at most for what needs no label: the rank of more takes minutes


@dataclass(frozen=True)
class Representation:
    """Features (examples, width) of all examples, and of two views of those that are looked at.

    ``views``: two arrays (looked at, width), None where nobody makes views.
    """

    name: str
    features: NDArray
    views: tuple[NDArray, NDArray] | None = None

    @property
    def bad(self) -> int:
        """How many of the examples have a feature that is not finite."""
        return int((~np.isfinite(self.features).all(axis=1)).sum())


@dataclass(frozen=True)
class Split:
    """Which examples serve for what: indices into all of them.

    train, test: of the readouts. pairs: those that are verified. looked_at: for what needs no
    label. ``notes``: what a reader should know of it.
    """

    labels: NDArray
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    pairs: NDArray[np.int64]
    looked_at: NDArray[np.int64]
    classes: int
    pair_classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


# ---- which examples ------------------------------------------------------------------------------


def why_no_classes(data: Labelled) -> str:
    """Why nothing can be read off labels of these examples; "" where it can."""
    if data.kind == "number":
        return "the labels are numbers, no classes"
    if data.kind != "class":
        return f"the labels are {in_words([data.kind])}, no classes"
    if (there := len(np.unique(data.labels))) < 2:
        return f"the examples are of {there} class: there is nothing to tell apart"
    if len(data) < 3:
        return f"{len(data)} labelled examples are too few to learn from some and test on others"
    return ""


def split_without_classes(data: Labelled, seed: int = 0) -> Split:
    """All examples, or random ones of many, are looked at; no label is."""
    nothing = np.zeros(0, np.int64)
    looked_at = _some(np.arange(len(data)), seed)
    return Split(data.labels, nothing, nothing, nothing, looked_at, 0)


def split_with_classes(
    data: Labelled, *, hold_out: int = 0, learned: Sequence[str] = (), seed: int = 0
) -> Split:
    """A third is tested on, or the test set of the data; its pairs are verified.

    hold_out: so many classes, drawn by the seed, are left to the verification: no readout learns
    from them or is tested on them, and all of their examples make pairs. learned: classes whose
    labels a network has learned from; where two or more others are there, the pairs are of those.

    Raises ValueError where fewer than two classes would stay on a side.
    """
    train, test = split_labelled(len(data), data.held_out)
    there = np.unique(data.labels)
    pairs, notes = test, []
    if hold_out:
        unseen = _held_out_classes(there, hold_out, seed)
        train, test = (part[~np.isin(data.labels[part], unseen)] for part in (train, test))
        pairs = np.flatnonzero(np.isin(data.labels, unseen))
        if not len(train) or not len(test):
            raise ValueError(
                f"{hold_out} classes held out leave {len(train)} examples to learn from and "
                f"{len(test)} to test on: hold out fewer"
            )
    elif known := {*learned} & {*data.class_names}:
        others = [c for c in there if data.class_names[c] not in known]
        if len(others) > 1:
            pairs = test[np.isin(data.labels[test], others)]
        else:
            notes.append(
                f"the run has learned from labels of {len(known)} of these classes: the pairs are "
                "not of unseen ones"
            )
    pair_classes = tuple(data.class_names[c] for c in np.unique(data.labels[pairs]))
    looked_at = _some(np.sort(np.concatenate([test, pairs])) if hold_out else test, seed)
    classes = len(np.unique(data.labels[np.concatenate([train, test])]))
    return Split(data.labels, train, test, pairs, looked_at, classes, pair_classes, tuple(notes))


def _held_out_classes(there: NDArray, count: int, seed: int) -> NDArray:
    """So many of the classes, at random; ValueError where fewer than two would be on a side."""
    if count < 2 or len(there) - count < 2:
        raise ValueError(
            f"{count} of {len(there)} classes cannot be held out: pairs need two classes, and the "
            "readouts two others"
        )
    return np.random.default_rng(seed).choice(there, count, replace=False)


def _some(examples: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    if len(examples) <= LOOKED_AT:
        return examples
    return np.sort(np.random.default_rng(seed).choice(examples, LOOKED_AT, replace=False))


def few_label_counts(data: Labelled, split: Split, asked: Sequence[int]) -> tuple[list[int], str]:
    """The numbers of labels that every class has, and why there are no others ("" if there are).

    Of the classes that have a training or a test example.
    """
    used = np.unique(data.labels[np.concatenate([split.train, split.test])])
    counts = np.bincount(data.labels[split.train], minlength=int(used.max()) + 1)[used]
    smallest = int(counts.min())
    fit = sorted({n for n in asked if n <= smallest})
    left_out = sorted({n for n in asked if n > smallest})
    if not left_out:
        return fit, ""
    name = data.class_names[used[counts.argmin()]]
    numbers = ", ".join(map(str, left_out))
    return fit, f"no column for {numbers}: class {name!r} has {smallest} training examples"


def copies(data: Labelled, split: Split) -> int:
    """How many of the test examples are also training examples, byte for byte."""
    known = {_digest(data.inputs[i]) for i in split.train}
    return sum(_digest(data.inputs[i]) in known for i in split.test)


def _digest(example: Any) -> bytes:
    return hashlib.sha256(np.asarray(example).tobytes()).digest()


# ---- representations -----------------------------------------------------------------------------


def networks_of(opened: Any, *, seed: int = 0) -> dict[str, Any]:
    """The methods whose representations a run has: before the pretraining, after it, adapted.

    ``opened``: a run or an adaptation. Of one that has all weights itself those after the
    pretraining are gone; one that only reads features off has changed none.
    """
    base = getattr(opened, "base", None) or opened
    networks = {UNTRAINED: type(base.method).build(base.settings, base.data, seed=seed)}
    if base is opened:
        return networks | {PRETRAINED: opened.method}
    if type(opened.method).from_base:
        networks[PRETRAINED] = base.method
    if opened.method.base is not base.method:
        networks[ADAPTED] = opened.method.base
    return networks


def represent(
    name: str, method: Any, data: Labelled, split: Split, *,
    seed: int = 0, device: str = "cpu", progress: bool = False,
) -> Representation:  # fmt: skip
    """What a method makes of the examples, in evaluation mode, and of two views of some of them."""
    method.model.to(device)
    features = method.represent(data.inputs, progress=name if progress else "")
    views, makes_views = None, isinstance(method, Augments)
    if makes_views:
        changed = two_views(method, data, split, seed)
        label = f"{name}, views" if progress else ""
        first, second = (method.represent(view, progress=label) for view in changed)
        views = first, second
    return Representation(name, features, views)


def two_views(method: Augments, data: Labelled, split: Split, seed: int) -> tuple[Any, Any]:
    """The examples that are looked at, changed twice at random; for all methods the same views."""
    examples, generator = pick(data.inputs, split.looked_at), np.random.default_rng(seed)
    return method.augment(examples, generator), method.augment(examples, generator)


def raw(data: Labelled, split: Split, method: Any, seed: int = 0) -> Representation | None:
    """The examples themselves; views of them where they are arrays. None where they are no numbers.

    method: makes the views.
    """
    if not data.raw.shape[1]:
        return None
    views = None
    if isinstance(method, Augments) and isinstance(data.inputs, np.ndarray):
        first, second = two_views(method, data, split, seed)
        views = first.reshape(len(first), -1), second.reshape(len(second), -1)
    return Representation(data.raw_name, data.raw, views)


def nearest_others(
    features: NDArray, queries: Sequence[int] | NDArray, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Each query and the ``count`` examples whose features are nearest to its own by the cosine.

    features (examples, width), queries: numbers of examples -> numbers and cosines (queries,
    1 + count), the query first. Fewer where there are fewer examples; equally near ones come in
    their order. An exact copy of the query is another example.
    """
    unit = rows_of_length_one(features)
    count = min(count, len(unit) - 1)
    numbers, cosines = [], []
    for query in queries:
        similarity = unit @ unit[query]
        order = np.argsort(-similarity, kind="stable")
        order = np.concatenate([[query], order[order != query][:count]])
        numbers.append(order)
        cosines.append(similarity[order])
    return np.array(numbers), np.array(cosines)
