"""What every adaptation has: settings, a task, and a prediction. Lecture 11.

The pretrained method says what represents an example (``encode``); the adaptation says what is
learned from labelled examples on top of that, and what of it has to be saved.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.metrics import score
from minissl.data import Examples, Kept
from minissl.data.asked import READS, examples_of, labelled_of
from minissl.data.classes import require_two
from minissl.data.labels import Labelled, draw_few_labels
from minissl.forms import FORMS, in_words, load_form
from minissl.nn.module import Module
from minissl.options import Options, option
from minissl.pretrain.method import Represents
from minissl.reading import FileError, parse_json

TASK = "task.json"


@dataclass(frozen=True, kw_only=True)
class FewLabels(Options):
    """How many of the labels are used: to ask what pretraining is worth when there are few."""

    labels_per_class: int = option(
        0, "learn from so many random examples of each class; 0: from all", least=0, most=10**9
    )

    def choose(self, labels: NDArray, seed: int, draw: int = 0) -> NDArray[np.int64]:
        """Which of the examples are learned from; for any features the same ones.

        Raises ValueError when a class has fewer.
        """
        count = self.labels_per_class
        if not count:
            return np.arange(len(labels))
        ragged = isinstance(labels, list)  # tags of words, say
        if ragged or np.asarray(labels[:1]).dtype.kind != "i" or np.ndim(labels) != 1:
            raise ValueError(
                f"labels_per_class is {count}, and these labels are of no classes: leave it out"
            )
        return draw_few_labels(labels, count, np.random.default_rng([seed, count, draw]))


@dataclass(frozen=True)
class Task:
    """Labelled data made ready: what is learned from, what is held out, and the names of classes.

    ``base``: the prepared data of the pretrained run, which reads examples. ``train``,
    ``held_out``: None in an adaptation that is only used. ``size``: of the training part.
    ``metrics``: what a published task is judged by (``adapt.metrics``), () for nothing more.
    ``form``: of the labels, a kind of ``minissl.forms``; classes or numbers unless given.
    ``reads``: the shape of the raw data, a key of ``data.asked.READS``; "" for the run's own.
    """

    kept: Kept
    base: Any
    class_names: tuple[str, ...]
    size: int
    train: Labelled | None = None
    held_out: Labelled | None = None
    metrics: tuple[str, ...] = ()
    form: str = ""
    reads: str = ""

    def __post_init__(self) -> None:
        if not self.form:
            object.__setattr__(self, "form", "class" if self.class_names else "number")

    @classmethod
    def prepare(cls, base: Any, raw: Any, kinds: str | Sequence[str]) -> Task:
        """A third of labelled raw data is held out, or the test set that comes with it.

        ``kinds``: of labels that are taken, "class", "number" or others of ``minissl.forms``.
        Raises ValueError for labels of another kind, fewer than two classes, and too few examples.
        """
        labelled, kinds = labelled_of(base, raw), (kinds,) if isinstance(kinds, str) else kinds
        if (kind := labelled.kind) not in kinds:
            raise ValueError(f"the labels must be {in_words(kinds)}, these are {in_words([kind])}")
        if kind == "class":
            require_two(labelled.class_names, len(labelled), "examples")
        train, held_out = labelled.split()
        if kind == "number":
            for part, what in ((train, "to learn from"), (held_out, "held out")):
                _require_spread(part.labels, what)
        elif kind == "class":
            _require_every_class(labelled, train)
        reads = getattr(raw, "reads", "")
        about: dict[str, Any] = {"class_names": list(labelled.class_names), "size": len(train)}
        about |= {"form": kind} if labelled.form else {}
        about |= {"reads": reads} if reads else {}
        kept = Kept({**base.kept, TASK: json.dumps(about).encode()}, base.kept.folder)
        metrics = getattr(raw, "metrics", ())  # images have none
        return cls(
            kept, base, labelled.class_names, len(train), train, held_out, metrics, kind, reads
        )

    @classmethod
    def reopen(cls, kept: Kept, base: Any) -> Task:
        """Without any example. Raises ValueError, with the file's name, for damaged bytes."""
        place = kept.place(TASK)
        keys = {"class_names": list, "size": int}
        about = parse_json(kept.get(TASK, b""), place, "what labelled data is", keys)
        names, size = about["class_names"], about["size"]
        if not all(isinstance(name, str) for name in names) or size < 1:
            raise FileError(f"{place} has {size} examples of {names!r:.60}: it is damaged")
        form = about.get("form", "class" if names else "number")
        reads = about.get("reads", "")
        if form not in FORMS or reads not in ("", *READS):
            raise FileError(
                f"{place} has labels of the form {form!r:.40}, read as {reads!r:.40}: it is "
                "damaged, or was written by a newer version"
            )
        return cls(kept, base, tuple(names), size, form=form, reads=reads)

    def to_learn_from(self) -> Labelled:
        """The training part. Raises ValueError where there is none."""
        if self.train is None:
            raise ValueError(
                "there are no labelled examples: this adaptation was opened to be used"
            )
        return self.train

    @property
    def outputs(self) -> int:
        """How many numbers are predicted: one for each class, or a single one."""
        return len(self.class_names) or 1

    def unseen(self, raw: Any) -> Task:
        """All of this labelled data held out.

        Raises ValueError for a class that is not known, and for numbers that are all equal.
        """
        labelled, form = labelled_of(self.base, raw), load_form(self.form)
        if labelled.kind != self.form:
            raise ValueError(
                f"the labels must be {in_words([self.form])}, these are {in_words([labelled.kind])}"
            )
        labels = form.labels_of(labelled, self.class_names)
        if self.form == "number":
            _require_spread(labels, "to measure on")
        held_out = replace(labelled, labels=labels, class_names=self.class_names)
        metrics = getattr(raw, "metrics", ())
        return replace(self, train=None, held_out=held_out, metrics=metrics)

    def examples(self, raw: Any) -> Examples:
        """What ``predict`` takes, of raw data without labels."""
        return examples_of(self.base, raw)

    def pieces(self, raw: Any) -> list[list[str]]:
        """The words or tokens of raw texts."""
        return self.base.pieces(raw)

    def is_blank(self, example: Any) -> bool:
        """Whether it holds nothing that the run knows: of texts, which may be empty."""
        blank = getattr(self.base, "is_blank", None)
        return blank is not None and blank(example)

    def describe(self) -> str:
        """How many examples, and of how many classes or tags."""
        held_out = f", {len(self.held_out):,} held out" if self.held_out else ""
        what = "tags" if self.form == "tags" else "classes"
        classes = f" of {len(self.class_names)} {what}" if self.class_names else ""
        return f"{self.size:,} labelled examples{classes}{held_out}"


def _require_spread(labels: NDArray, what: str) -> None:
    """Raise ValueError for numbers of which no error can be a share."""
    spread = np.sum((labels - labels.mean()) ** 2)
    if not (0 < spread < np.inf):
        raise ValueError(
            f"the labels of the {len(labels)} examples {what} are from {labels.min():g} to "
            f"{labels.max():g}: "
            + ("there is nothing to tell apart, give others" if not spread else "too far apart")
        )


def _require_every_class(labelled: Labelled, train: Labelled) -> None:
    """Raise ValueError for a class without an example to learn from."""
    names, count = labelled.class_names, len(labelled)
    missing = np.setdiff1d(np.arange(len(names)), train.labels)
    if not len(missing):
        return
    if not np.isin(missing[0], labelled.labels):
        raise ValueError(
            f"class {names[missing[0]]!r} is among the names of the classes and has no example: "
            "give some of it, or leave its name out"
        )
    more = ""
    if all(map(_is_number, names)):
        more = (
            ". If the labels are numbers and no classes: minissl adapt regression, or --form number"
        )
    raise ValueError(
        f"class {names[missing[0]]!r} has no example left to learn from, after "
        f"{count - len(train)} of {count} were held out: give more of it{more}"
    )


def _is_number(name: str) -> bool:
    try:
        return bool(np.isfinite(float(name)))
    except ValueError:
        return False


class Adaptation(ABC):
    """From a pretrained method and labelled examples to a predictor.

    ``model`` holds what is learned; ``saved()`` is the part of it that is kept in the run folder.
    ``from_base``: whether the weights of the pretrained run are needed to open it again; ``needs``:
    what its method must be. As for pretraining methods the file says in its docstring paper,
    lecture and what is "Not here:"; and ``tests/adapt/test_every_adaptation.py`` asks for all of
    it.

    Two kinds are run: one with ``solve()``, which computes everything at once, and one with
    ``batch`` and ``loss``, which ``fit`` trains.
    """

    Settings: ClassVar[type[Options]]
    labels: ClassVar[str] = "class"  # or "number": what a label is, unless the data says it
    forms: ClassVar[tuple[str, ...]] = ()  # kinds of labels that it takes besides
    from_base: ClassVar[bool] = True
    of_training: ClassVar[tuple[str, ...]] = ()  # what ``evaluate`` says only to who trains
    needs: ClassVar[type] = Represents  # a class or protocol of ``pretrain.method``
    base: Any  # what represents an example: the pretrained method, unless ``build`` says otherwise
    task: Task
    model: Any
    restored = False  # whether it was opened to be used, and does not know how it began

    @classmethod
    @abstractmethod
    def build(cls, settings: Any, opened: Any, task: Task, *, seed: int = 0) -> Self:
        """On an opened run, before anything is learned; ``task`` may be without examples."""

    @abstractmethod
    def predict(self, inputs: Any) -> NDArray:
        """For each example the number of its class (examples,), or a number."""

    def to(self, device: str) -> None:
        """Compute there: "cpu", "cuda"."""
        self.base.model.to(device)
        self.model.to(device)

    def saved(self) -> Module:
        """What is kept in the run folder."""
        return self.model

    def represent(self, examples: Any, *, progress: str = "") -> NDArray:
        """What the network makes of examples, adapted where it is: (examples, width)."""
        return self.base.represent(examples, progress=progress)

    def evaluate(self) -> dict[str, float]:
        """The metrics of the predictions on what is held out."""
        if self.task.held_out is None:
            return {}
        held_out = self.task.held_out
        predicted = self.predict(held_out.inputs)
        scores = score(predicted, held_out.labels, self.labels, self.task.metrics)
        return {f"held_out_{name}": value for name, value in scores.items()}


@runtime_checkable
class Solved(Protocol):
    """An adaptation that is computed at once."""

    def solve(self, progress: str = "") -> None:
        """Learn from the training part of the task. ``progress``: before a bar, "" for none."""


@runtime_checkable
class Confident(Protocol):
    """An adaptation that says how sure it is."""

    def probabilities(self, inputs: Any) -> NDArray:
        """Of each class: (examples, classes), rows sum to 1."""
