"""What the name of a handed-in file says: whose it is, and which try.

Canvas: ``doejohn_LATE_12345_67890_hw1-2.py``, or without names ``anon_aB3xY_67890_hw1.py``. Moodle:
a folder ``Jane Doe_12345_assignsubmission_file``, or a file that begins like this. Browsers and
people: ``hw1 (1).py``, ``hw1_late.py``.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_MOODLE = re.compile(r"(?P<who>.+_\d+)_assignsubmission_(?P<kind>file|onlinetext)_?(?P<file>.*)")
_CANVAS = re.compile(
    r"(?:(?P<who>.+?)_(?P<late>LATE_)?(?P<id>\d+)|(?:LATE_)?(?P<anon>anon_[^_]+))"
    r"_(?P<number>\d+)_(?P<file>.+)"
)
_COPY = re.compile(r" ?\((\d+)\)$")
_TRY = re.compile(r"(.*hw\d+)(?:[-_ ]v?(\d+))?([-_ ](?:late|final|resubmitted))?$", re.IGNORECASE)


@dataclass(frozen=True)
class Name:
    """``student``: what tells one from another. ``file``: "hw1.py", without the marks of a try.

    ``tries``: a later try has a larger one: (the number of the try, late, the platform's number).
    """

    student: str
    file: str
    tries: tuple[int, int, int]
    platform: str = ""

    @property
    def spelling(self) -> str:
        """The student's name without what two spellings of it may differ in."""
        return spelled(self.student)


def spelled(name: str) -> str:
    """A name's letters and digits, without accents and capitals: of O'Brien, Zoë obrienzoe."""
    text = unicodedata.normalize("NFKD", name).casefold()
    return "".join(c for c in text if c.isalnum())


def parse(name: str, *, folder: bool = False) -> Name:
    """Read the name of a file or folder in a folder of submissions."""
    if found := _MOODLE.fullmatch(name):
        file, tries = without_marks(found["file"])
        return Name(found["who"], file, tries, found["kind"])
    if found := _CANVAS.fullmatch(name):
        file, tries = without_marks(found["file"])
        number, late, _ = tries
        own = (number, late or int("LATE_" in name), int(found["number"]))
        student = found["anon"] or f"{found['who']}_{found['id']}"
        return Name(student, file, own, "canvas")
    file, tries = (name, (0, 0, 0)) if folder else without_marks(name)
    return Name(file.rpartition(".")[0] if "." in file and not folder else file, file, tries)


def without_marks(file: str) -> tuple[str, tuple[int, int, int]]:
    """A file's name without "(1)", and behind "hwN" also without "-2", "_v2" and "_late"."""
    stem, dot, suffix = file.rpartition(".")
    stem, suffix = (stem, f"{dot}{suffix}") if dot else (file, "")
    number = late = 0
    if found := _COPY.search(stem):
        number, stem = int(found[1]), stem[: found.start()]
    if found := _TRY.fullmatch(stem):
        number, late = max(number, int(found[2] or 0)), int(bool(found[3]))
        stem = found[1]
    return f"{stem}{suffix}", (number, late, 0)
