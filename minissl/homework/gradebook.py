"""Points into the table that a platform exported, so that it can be uploaded there again.

The name of a handed-in file carries the number that the table has for its student. The names must
agree too: Moodle numbers its participants anew for each assignment, and what a group of Canvas
hands in has the number of one member.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minissl.homework.names import parse, spelled
from minissl.homework.plain import plain
from minissl.reading import read_bytes, reading

_KINDS = {  # the columns of the number and of the points (Canvas: the last of those before them)
    "canvas": ("id", "section"),
    "moodle": ("identifier", "grade"),
    "gradescope": ("submission id", "total score"),
}
_NAMED = ("student", "lastname", "firstname", "full name", "last name", "first name", "name")


@dataclass(frozen=True)
class Gradebook:
    """An exported table. ``rows``: below its ``header``. ``column``: where the points go."""

    kind: str
    header: list[str]
    rows: list[list[str]]
    column: int
    delimiter: str
    start: str

    def filled(self, graded: Sequence[Mapping[str, str]]) -> tuple[bytes, list[str]]:
        """The table with the points of ``graded``, rows of ``grades.csv``; and what is to be told.

        Left as they are: students without a hand-in or with two, who are excused, whose grade is
        locked. Of Canvas's columns only those are there that an upload needs.
        """
        rows, number_of = [list(row) for row in self.rows], _KINDS[self.kind][0]
        students = {n: row for row in rows if (n := re.sub(r"\D", "", self._cell(row, number_of)))}
        parts = [_parts(one["submission"]) for one in graded]
        times = Counter((kind, number) for kind, number, _ in parts)
        told, missing = [], dict(students)
        for one, (kind, number, who) in zip(graded, parts):
            row = students.get(number, []) if kind == self.kind else []
            name = spelled(self._cell(row, *_NAMED)) if row else ""
            if not row or (who and who not in ("participant", name or who)):
                why = "no such student"
            else:
                missing.pop(number, None)
                several = times[kind, number] > 1
                why = "one of several of a student" if several else self._put(row, one)
            told += [f"not filled in: {one['submission']} ({why})"] if why else []
        if names := [self._cell(row, *_NAMED) or number for number, row in missing.items()]:
            told.append(f"nothing handed in: {plain('; '.join(names), 2000)}")
        return self._csv(rows), told

    def _at(self, name: str) -> int | None:
        names = _plain_names(self.header)
        return names.index(name) if name in names else None

    def _cell(self, row: list[str], *names: str) -> str:
        found = (row[at].strip() for name in names if (at := self._at(name)) is not None)
        return " ".join(filter(None, found))

    def _put(self, row: list[str], one: Mapping[str, str]) -> str:
        """Put the points of a hand-in into its row, or say why they are not."""
        if self._cell(row, "grade can be changed").casefold() == "no":
            return "its grade cannot be changed"
        if (cell := row[self.column].strip().upper()) in ("EX", "N/A"):
            return f"it says {cell} there"
        row[self.column] = one["score"]
        at = self._at("feedback comments")  # Moodle's: they are HTML, and a person's words stay
        if at is not None and not row[at].strip():
            row[at] = html.escape(one["comment"], quote=False)
        return ""

    def _csv(self, rows: list[list[str]]) -> bytes:
        before = (self._at("section") or 0) + 1 if self.kind == "canvas" else len(self.header)
        kept = sorted({*range(before), self.column})
        writer = csv.writer(text := io.StringIO(), delimiter=self.delimiter)
        writer.writerows([_no_formula(row[at]) for at in kept] for row in [self.header, *rows])
        return f"{self.start}{text.getvalue()}".encode("utf-8", "backslashreplace")


def read_gradebook(path: Path, homework: int, column: str = "") -> Gradebook:
    """Read an exported table, and find the column of a homework by its name, or ``column``.

    Raises OSError or ValueError, with the file's name, for another table or one without it.
    """
    advice = "Export it as CSV from Canvas, Moodle (in English) or Gradescope"
    with reading(path, "a gradebook", advice):
        text = read_bytes(path, 64 << 20).decode("utf-8")
        start, text = ("\ufeff", text[1:]) if text[:1] == "\ufeff" else ("", text)
        first = text.partition("\n")[0]
        for mark in ",;\t":
            names = _plain_names(next(csv.reader([first], delimiter=mark), []))
            for kind in (kind for kind, needed in _KINDS.items() if {*needed} <= {*names}):
                table = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
                header, *rows = (row for row in table if row)
                if any(len(row) != len(header) for row in rows):
                    raise ValueError("its rows have different numbers of columns.")
                place = _column(kind, header, homework, column)
                return Gradebook(kind, header, rows, place, mark, start)
        raise ValueError(f"its first line is {first!r:.60}.")


def _column(kind: str, header: list[str], homework: int, column: str) -> int:
    """Where the points go: on Canvas the one assignment that is called like this homework."""
    if kind != "canvas":
        if column:
            raise ValueError(f"--column is for Canvas, and this is a table of {kind}.")
        return _plain_names(header).index(_KINDS[kind][1])
    titles = {at: name for at, name in enumerate(header) if re.search(r" \(\d+\)$", name)}
    called = re.compile(rf"(homework|hw|assignment|exercise)\W*0*{homework}(?!\d)", re.IGNORECASE)
    asked = {at: column in (name, name.rpartition(" (")[0]) for at, name in titles.items()}
    found = [at for at, name in titles.items() if (asked[at] if column else called.search(name))]
    if len(found) != 1:
        what, names = column or f"homework {homework}", ", ".join(titles.values()) or "none"
        raise ValueError(
            f"{len(found)} of its assignments are called {what!r}: say by --column which ({names})."
        )
    return found[0]


def _plain_names(header: list[str]) -> list[str]:
    return [name.strip().casefold() for name in header]


def _parts(submission: str) -> tuple[str, str, str]:
    """Of a hand-in's name: the platform, the student's number, the student's name as letters."""
    if found := re.fullmatch(r"submission_(\d+)(\.zip)?", submission):
        return "gradescope", found[1], ""
    name = parse(submission)
    who, _, number = name.student.rpartition("_")
    return ("canvas" if name.platform == "canvas" else "moodle"), number, spelled(who)


def _no_formula(cell: str) -> str:
    """A cell that no table computes. Numbers and a dash alone are as they were."""
    number = re.fullmatch(r"[-+]?[\d.,\s]*%?", cell)
    return f"'{cell}" if cell.lstrip()[:1] in ("=", "+", "-", "@") and not number else cell
