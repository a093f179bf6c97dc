"""Data of one kind: what a path becomes, and what a method is built on.

Raw data (``Texts``, ``Images``) is what was read; nothing has been learned from it. Prepared data
(``Streams``, ``Pixels``) has all that a method needs, and reads new examples in the same way. They
are two types, since a run is opened again without the data it was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from minissl.data.labels import Labelled
from minissl.data.tasks import LAYOUTS
from minissl.options import Options, option


@dataclass(frozen=True, kw_only=True)
class Fields(Options):
    """Which columns of a table (.csv, .tsv, .jsonl) are what.

    By their names, or by the ``layout`` of a published task (``minissl.data.tasks``), which knows
    them: with one, the names stay as they are.
    """

    text_field: str = option("text", "the column with the text, or with the first of two texts")
    second_field: str = option("second", "the column with the second of two texts")
    label_field: str = option("label", "the column with the label: a class, or a number")
    image_field: str = option("image", "the column with the image file, from the table's folder")
    layout: str = option(
        "",
        "instead of columns: the task whose file this is, as it was published "
        f"({', '.join(filter(None, LAYOUTS))}; `minissl data tasks` tells more)",
        choices=LAYOUTS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        named = [one for one in fields(self) if one.name.endswith("_field")]
        if self.layout and (other := [o for o in named if getattr(self, o.name) != o.default]):
            name = other[0].name
            raise ValueError(
                f"{name} is {getattr(self, name)!r:.40}, but the layout {self.layout} says which "
                f"column is what: give one of the two, {name} or layout"
            )


FIELDS = Fields()


def located(path: Path | None, default: str, kind: str) -> Any:
    """The file or folder, or the ``DataSet`` of this name: see ``sets.find``.

    ``default``: the name of what every machine has, for None. ``kind``: as what it is to be read
    ("texts", "labelled images"). Raises ValueError for a set that is none of these.
    """
    from minissl.data.sets import find, load_set

    found = load_set(default) if path is None else find(path)
    if not isinstance(found, Path) and kind not in found.kinds:
        raise ValueError(
            f"the data set {found.name} is read as {' or '.join(found.kinds)}, {kind} are needed "
            "here: see `minissl data list`"
        )
    return found


def check_kind(labels: str) -> None:
    """Raise ValueError unless ``labels`` is one of the two kinds of labels."""
    if labels not in ("class", "number"):
        raise ValueError(f"labels must be 'class' or 'number', got {labels!r:.40}")


class Kept(dict[str, bytes]):
    """Files that prepared data cannot do without, by name: a tokenizer, the names of classes.

    ``folder``: where they lie, for errors. Empty: nothing has been learned from any data yet.
    """

    def __init__(self, files: dict[str, bytes] | None = None, folder: Path | None = None):
        super().__init__(files or {})
        self.folder = folder

    def place(self, name: str) -> str:
        """The path of a file, or its name alone where there is no folder."""
        return str(self.folder / name) if self.folder else name


class Examples(NamedTuple):
    """Examples as a method's ``represent`` takes them, and the name of each."""

    inputs: Any
    names: list[str]


class Prepared(Protocol):
    """What a method is built on: arrays, and what reads new examples in the same way."""

    @property
    def kept(self) -> Kept:
        """What it cannot do without, and a run therefore keeps."""

    @classmethod
    def reopen(cls, kept: Kept, settings: Any) -> Any:
        """Without the data of the pretraining: nothing to train on, everything to be used."""

    def unseen(self, raw: Any) -> Any:
        """The same, but what is held out is all of ``raw``: to measure on other data."""

    def examples(self, raw: Any) -> Examples:
        """What ``represent`` takes, of raw data of this kind."""

    def labelled(self, raw: Any) -> Labelled:
        """What ``represent`` takes, of raw data of this kind with labels."""

    def describe(self) -> str:
        """In words, with the share that is held out."""


class Data(Protocol):
    """Raw data of one kind, as read: cheap, nothing has been learned from it yet."""

    default: ClassVar[str]  # the data set that is read when no path is given; "": there is none
    prepared: ClassVar[Any]  # the type that ``prepare`` returns
    with_labels: ClassVar[Any]  # the kind of these with labels: ``read`` takes ``labels`` too
    fields: ClassVar[tuple[str, ...]]  # which of the ``Fields`` it asks a table for

    @classmethod
    def read(cls, path: Path | None, settings: Any, fields: Fields = FIELDS) -> Self:
        """From a file, a folder, the name of a data set, or (None) what every machine has.

        A kind with labels takes ``labels="class"`` or ``labels="number"`` besides.
        """

    @classmethod
    def read_examples(cls, path: Path | None, settings: Any, fields: Fields = FIELDS) -> Any:
        """Raw data for ``Prepared.examples``: no labels are asked for, nothing is left out."""

    @classmethod
    def toy(cls, settings: Any, *, seed: int = 0) -> Self:
        """A few generated examples, for tests."""

    def fingerprint(self) -> dict[str, Any]:
        """JSON with ``"sha256"``: a run is continued with no other data."""

    def some(self, most: int) -> Any:
        """At most so many random ones, always the same, with their labels if they have any.

        Of those with labels a third is held out, and only of what is held out of all.
        """

    def prepare(self, kept: Kept, settings: Any, *, progress: bool = False) -> Prepared:
        """Learn what is missing in ``kept``, and make arrays. Nothing is written."""
