"""What one student handed in, in memory: nothing that a task does to its files costs another task.

Every task runs in a new folder with a copy of the file and of what lies beside it, so a program
that deletes, changes or fills its folder has done so to a copy.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MOST_FILES, MOST_BYTES, LARGEST = 500, 64 << 20, 10 << 20  # of a folder; bytes of one file
_DEEPEST = 3  # folders below the file's own
_SEEN = 5000  # entries that are looked at: somebody's home folder may have a million


@dataclass(frozen=True)
class Handin:
    """``name``: of the student's file. ``files``: its content and that of all others, by name.

    The names are paths from the file's folder on, "helpers/plots.py". ``name`` is what the checker
    calls it: hw1.py also where the hand-in was "hw1 (1).py".
    """

    name: str
    files: Mapping[str, bytes] = field(repr=False)

    @property
    def empty(self) -> bool:
        """True when there is nothing but blanks in the file."""
        return not self.files[self.name].strip()

    def write(self, folder: Path) -> Path:
        """Write all of it into a folder, and return the student's file there."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder / self.name


def read_handin(file: Path, *, name: str | None = None, alone: bool = False) -> Handin:
    """Read a student's file, and unless it is ``alone`` what lies beside it (see MOST_FILES).

    ``name``: what the file is called here. Raises OSError for a file that cannot be read, and
    ValueError for one that is no homework by its size.
    """
    if (size := file.stat().st_size) > LARGEST:
        raise ValueError(f"{file.name} has {size:,} bytes, expected at most {LARGEST:,}")
    own = name or file.name
    files = {own: file.read_bytes()}
    total = len(files[own])
    for path in () if alone else _beside(file):
        with contextlib.suppress(OSError):  # gone, or not ours to read
            size = path.stat().st_size
            if len(files) == MOST_FILES or total + size > MOST_BYTES:
                break
            if size <= LARGEST:
                files.setdefault(path.relative_to(file.parent).as_posix(), path.read_bytes())
                total += size
    return Handin(own, files)


def _beside(file: Path) -> Iterator[Path]:
    """The ordinary files of its folder and of the folders in it, those nearest to it first.

    Left out: hidden ones, environments and caches of Python, links.
    """
    folders, seen = [file.parent], 0
    for _ in range(_DEEPEST + 1):
        deeper: list[Path] = []
        for folder in folders:
            for entry in _entries(folder):
                seen += 1
                if seen > _SEEN:
                    return
                mode = entry.lstat().st_mode
                if stat.S_ISREG(mode) and not (entry.name == file.name and folder == file.parent):
                    yield entry
                elif stat.S_ISDIR(mode) and not _is_of_python(entry):
                    deeper.append(entry)
        folders = deeper


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _is_of_python(folder: Path) -> bool:
    return folder.name in ("__pycache__", "site-packages") or (folder / "pyvenv.cfg").exists()
