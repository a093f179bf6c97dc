"""Data of one kind: what a path becomes, and what a method is built on.

Raw data (``Texts``, ``Images``) is what was read; nothing has been learned from it. Prepared data
(``Streams``, ``Pixels``) has all that a method needs, and reads new examples in the same way. They
are two types, since a run is opened again without the data it was trained on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray


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


class Labelled(NamedTuple):
    """Examples with their labels, for a probe, and the raw inputs to compare with."""

    inputs: Any  # what ``represent`` takes
    labels: NDArray[np.int64]  # (examples,) numbers of classes
    class_names: tuple[str, ...]
    raw: NDArray  # (examples, width): the examples themselves as features
    raw_name: str  # in words: "raw pixels"


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

    def labelled(self, path: Path | None, settings: Any) -> Labelled:
        """Examples with labels, from one folder per class."""

    def describe(self) -> str:
        """In words, with the share that is held out."""


class Data(Protocol):
    """Raw data of one kind, as read: cheap, nothing has been learned from it yet."""

    default: str  # in words, what is read when no path is given
    prepared: Any  # the type that ``prepare`` returns

    @classmethod
    def read(cls, path: Path | None, settings: Any) -> Self:
        """From a file or folder, or (None) what every machine has."""

    @classmethod
    def toy(cls, settings: Any, *, seed: int = 0) -> Self:
        """A few generated examples, for tests."""

    def fingerprint(self) -> dict[str, Any]:
        """JSON with ``"sha256"``: a run is continued with no other data."""

    def prepare(self, kept: Kept, settings: Any, *, progress: bool = False) -> Prepared:
        """Learn what is missing in ``kept``, and make arrays. Nothing is written."""
