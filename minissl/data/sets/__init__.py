"""Data sets by name: one file each, ``data/sets/NAME.py``, whose ``DATASET`` says where it is from.

Some come with Python or with an installed package (``embedded``). The others are fetched into the
user's cache, once and only by ``minissl data get NAME``; nothing else in the library ever touches a
network. A new file in this folder is a new data set: there is no table of names. The first line of
the file is what the set is.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from minissl.data.sets._cache import cache_folder, in_bytes
from minissl.registry import first_line, modules_in

__all__ = ["DataSet", "Download", "about", "find", "load_set", "set_names"]


@dataclass(frozen=True)
class Download:
    """A published file: its address, and the sum by which a wrong or changed file is noticed.

    ``checksum``: ``"sha256:..."``, or ``"md5:..."`` where no other was published. MD5 finds what
    was damaged or replaced, but not a file that somebody made to have this sum. ``size``: its bytes
    as they were published, for messages and for the room on the disk; the sum decides.
    """

    url: str
    checksum: str
    size: int = 0

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]


Unpack = Callable[[Mapping[str, Path], Path], None]


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Where a data set is from, and how it becomes plain files that the readers in ``data`` read.

    kinds: as what it can be read ("texts", "labelled images"). licence, source: in words, as far as
    the origin states them. ``embedded``: returns it, for a set that is on every machine: a list of
    ``Document`` (texts; the label is the source) or an ``ImageFolder``. train: so many of its
    examples, the first ones, are learned from, and everybody tests on the others; 0: no such rule.

    A fetched set has ``files`` and ``unpack(files, folder)``, which turns the fetched files, by
    their names, into those of ``parts``: the file of each part, the first of them what the set's
    own name stands for. ``room``: bytes of all parts, where they are known beforehand.

    ``name`` and ``about`` are filled in by ``load_set``, from the name and first line of the file.
    """

    kinds: tuple[str, ...]
    licence: str
    source: str
    embedded: Callable[[], Any] | None = None
    train: int = 0
    files: tuple[Download, ...] = ()
    unpack: Unpack | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    room: int = 0
    name: str = ""
    about: str = ""

    @property
    def size(self) -> int:
        """Bytes to fetch; 0 for an embedded set."""
        return sum(file.size for file in self.files)

    def load(self) -> Any:
        """An embedded set: a list of ``Document``, or an ``ImageFolder`` with labels.

        Raises ValueError for a set that is fetched: its parts are files, which readers read.
        """
        if self.embedded is None:
            raise ValueError(f"{self.name} is fetched: read its file, {self.file()}")
        return self.embedded()

    def file(self, part: str = "", cache: Path | None = None) -> Path:
        """Where the file of a part is, or will be; without a part the first one.

        Raises FileNotFoundError with the parts that there are, also for an embedded set.
        """
        if not self.files:
            raise FileNotFoundError(
                f"{self.name} needs no download and has no file: give the name {self.name} itself"
            )
        if part and part not in self.parts:
            raise FileNotFoundError(
                f"{self.name} has no part {part!r}: choose one of "
                + ", ".join(f"{self.name}/{name}" for name in self.parts)
            )
        return self.folder(cache) / self.parts[part or next(iter(self.parts))]

    def folder(self, cache: Path | None = None) -> Path:
        """The folder of a fetched set, by default in the user's cache."""
        return (cache or cache_folder()) / self.name

    def is_here(self, cache: Path | None = None) -> bool:
        """Whether it can be read now: it is embedded, or all of its parts have been fetched."""
        folder = self.folder(cache) if self.files else Path()
        return all((folder / name).is_file() for name in self.parts.values())


def set_names() -> list[str]:
    """The names of all data sets. Nothing is imported."""
    return list(_files())


def about(name: str) -> str:
    """The first line of a data set's file. Raises FileNotFoundError as ``load_set`` does."""
    return first_line(_file(name))


def load_set(name: str) -> DataSet:
    """A data set by its name. Raises FileNotFoundError with the names that there are."""
    file = _file(name)
    module = import_module(f"{__name__}.{file.stem}")
    return replace(module.DATASET, name=name, about=first_line(file))


def find(path: Path) -> Path | DataSet:
    """What a person means by a file, a folder or the name of a data set.

    Whatever exists is returned as it is, also when a data set has the same name. Of a name, an
    embedded set is returned itself (see ``DataSet.load``), a fetched one as the file of its first
    part in the cache: ``mnist`` is its training images, and ``mnist/test`` is another part.

    No network is touched. Raises FileNotFoundError for what is none of these, with the names that
    there are, and for a set that has not been fetched yet, with the command that does it.
    """
    if path.exists():
        return path
    name, *parts = path.parts or ("",)
    if name not in set_names() or len(parts) > 1:
        raise FileNotFoundError(_unknown(str(path)))
    dataset = load_set(name)
    if not dataset.files and not parts:
        return dataset
    file = dataset.file(parts[0] if parts else "")
    if not dataset.is_here():
        size = f"{in_bytes(dataset.size)}; " if dataset.size else ""
        raise FileNotFoundError(
            f"the data set {name} is not on this computer yet: `minissl data get {name}` fetches "
            f"it ({size}licence: {dataset.licence})"
        )
    return file


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.lower().replace("_", "-"), set_names(), n=1)
    return (
        f"{name!r} is no file, no folder and no data set"
        + (f"; did you mean {near[0]}? " if near else ". ")
        + f"The data sets are {', '.join(set_names())}. Your own data is given as the path of a "
        "file or folder"
    )


def _file(name: str) -> Path:
    files = _files()
    if name not in files:
        raise FileNotFoundError(_unknown(name))
    return files[name]


def _files() -> dict[str, Path]:
    return modules_in(Path(__file__).parent)
