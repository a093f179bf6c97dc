"""Tables of examples, one in each row: .csv, .tsv and .jsonl, read by the names of their fields.

A .csv may quote (``"two\\nlines"``), a .tsv does not: a tab always parts two fields, and a quote is
a quote. Both begin with the names of their fields. A line of a .jsonl is an object.

With a layout (``Fields.layout``) a file is read as a published task says: see ``published``.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from minissl.data import FIELDS, Fields
from minissl.data.labels import as_classes, as_numbers
from minissl.data.published import (
    NO_LAYOUT,
    REPAIR,
    Row,
    check_asked,
    choose,
    of_lines,
    of_objects,
)
from minissl.data.tasks import TASKS, PublishedTask
from minissl.reading import parse_json, shown
from minissl.text.files import TABLES, read_text


def is_table(place: Any, fields: Fields) -> bool:
    """Whether a file is read by fields: its name says so, or a layout is given, whatever its name.

    Raises ValueError for a layout with a folder, or with a ``DataSet``: these are read otherwise.
    """
    file = isinstance(place, Path) and not place.is_dir()
    if fields.layout and not file:
        where = shown(place) if isinstance(place, Path) else f"the data set {place.name}"
        raise ValueError(
            f"the layout {fields.layout} is that of a file, {where} is none: give the task's file, "
            f"or leave the layout out ({NO_LAYOUT})"
        )
    return file and (bool(fields.layout) or place.suffix.lower() in TABLES)


@dataclass(frozen=True)
class Table:
    """The rows of a file, and how it is told which column is what.

    ``task``: whose layout the file has, None without one. ``told``: how many rows were left out.
    """

    path: Path
    rows: Sequence[Row]
    fields: Fields
    task: PublishedTask | None = None
    told: str = ""

    @property
    def metrics(self) -> tuple[str, ...]:
        """What the task is judged by; () where it is not known."""
        return self.task.metrics if self.task else ()

    @property
    def names(self) -> list[str]:
        """Where each row lies, as the name of its example: "reviews.csv, line 12"."""
        return [f"{shown(self.path.name)}, line {line}" for line, _ in self.rows]

    @property
    def places(self) -> list[str]:
        """The same for errors, with the folder."""
        return [f"{shown(self.path)}, line {line}" for line, _ in self.rows]

    def texts(self, field: str, *, empty: bool = False) -> list[str]:
        """The column that an option names ("text_field"), all of it texts.

        Raises ValueError with the line of a row that has no such field, or something else in it:
        nothing at all (``None``, or "" unless ``empty``), a number, half of a character.
        """
        texts = []
        for place, value in zip(self.places, self._column(field)):
            if not isinstance(value, str):
                raise ValueError(f"{place}: {self._name(field)} is {_what(value)}, no text")
            if not (value or empty):
                raise ValueError(
                    f"{place}: {self._name(field)} is empty: leave the row out, or give it one"
                )
            texts.append(self._encodable(value, place, field))
        return texts

    def labels(self, kind: str) -> tuple[NDArray, tuple[str, ...]]:
        """The labels and the names of the classes, ``()`` where ``kind`` is "number".

        A number or a truth of a .jsonl is the class of that name: 1 is "1", true is "true".
        """
        if self.task and kind != self.task.kind:
            raise ValueError(
                f"{shown(self.path)}: the labels of {self.task.title} are a {self.task.kind} each, "
                f"asked for is a {kind}: leave --form out, or take an adaptation that learns a "
                f"{self.task.kind} (numbers: regression, finetune, lora, ...)"
            )
        labels = []
        for place, value in zip(self.places, self._column("label_field")):
            if isinstance(value, bool | int | float) and value == value:  # NaN: none was given
                value = json.dumps(value)
            if not isinstance(value, str) or not value.strip():
                raise ValueError(
                    f"{place}: {self._name('label_field')} is {_what(value)}, expected a label"
                )
            labels.append(self._encodable(value, place, "label_field"))
        if kind == "number":
            return as_numbers(labels, self.places), ()
        try:
            return as_classes(labels)
        except ValueError as error:
            raise ValueError(f"{shown(self.path)}, {self._name('label_field')}: {error}") from None

    def _encodable(self, value: str, place: str, field: str) -> str:
        """The value; ValueError where JSON's escapes have made one that no file can hold."""
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{place}: {self._name(field)} has half of a character ({value[error.start]!r}) at "
                f"{error.start}: repair it or leave the row out"
            ) from None
        return value

    def _name(self, field: str) -> str:
        return f"the field {getattr(self.fields, field)!r}"

    def _column(self, field: str) -> Iterator[Any]:
        name = getattr(self.fields, field)
        for (_, values), place in zip(self.rows, self.places):
            if name not in values:
                known = ", ".join(f"{key:.40}" for key in [*values][:20]) or "none"
                more = f" and {len(values) - 20} more" if len(values) > 20 else ""
                raise ValueError(
                    f"{place}: there is no field {name!r}, it has {known}{more}: say which one "
                    f"it is with --{field.replace('_', '-')} NAME (in Python {field}=...)"
                )
            yield values[name]


def read_table(path: Path, fields: Fields, asked: Sequence[str] = ()) -> Table:
    """Every row of a table, by its suffix. Blank lines are passed over.

    ``asked``: which of the ``Fields`` will be, so that a file of another layout is named at once.
    Raises ValueError with the file and the line of what is damaged, and OSError for what cannot be
    read.
    """
    if fields.layout:
        return published(path, TASKS[fields.layout], asked)
    text = read_text(path, any_kind=True)
    suffix, where = path.suffix.lower(), shown(path)
    if suffix == ".tsv":
        rows = _with_names(_parted(text), where, "tab")
    elif suffix == ".csv":
        rows = _with_names(_quoted(text, where), where, "comma")
    else:
        rows = _objects(text, where)
    if not (found := list(rows)):
        raise ValueError(f"{where} has no rows: expected one for each example")
    return Table(path, found, fields)


# ---- as published --------------------------------------------------------------------------------


def published(path: Path, task: PublishedTask, asked: Sequence[str] = ()) -> Table:
    """The file of a task: its columns by their published names, or by their places.

    Objects in a .jsonl; in every other file a tab parts two columns and a quote is a quote, but for
    a .csv without any tab in its first line. Texts lose the spaces around them, labels become the
    names of their classes. Rows are left out, and counted in ``told``, where labels are asked for
    and the file has none for them, and where the published file itself is broken.

    Raises ValueError, with file and line, for another kind of examples than ``asked`` for, for a
    first line that is not the task's, and for a row with more or fewer columns, or a label that
    the task has not.
    """
    where, suffix = shown(path), path.suffix.lower()
    check_asked(task, asked, where)
    text = read_text(path, any_kind=True)
    if suffix in (".jsonl", ".ndjson"):
        columns, rows = of_objects(task, list(_objects(text, where)), where)
    else:
        first = text[: text.find("\n") + 1 or None]
        quoted = suffix == ".csv" and "\t" not in first
        found = _quoted(text, where) if quoted else _parted(text)
        columns, rows = of_lines(task, found, where)
    rows, told = choose(task, columns, rows, where, labelled="label_field" in asked)
    fields = Fields(
        text_field=columns.text,
        second_field=columns.second or FIELDS.second_field,
        label_field=columns.label,
    )
    return Table(path, rows, fields, task, told)


# ---- rows ----------------------------------------------------------------------------------------


def _objects(text: str, where: str) -> Iterator[Row]:
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if not line.strip():
            continue
        what = 'a row, {"text": ...}'
        yield number, parse_json(line, f"{where}, line {number}", what, advice=REPAIR, loose=True)


def _parted(text: str) -> list[tuple[int, list[str]]]:
    """The rows of a .tsv with their lines."""
    lines = enumerate(io.StringIO(text, newline=None), 1)
    return [(number, line.rstrip("\n").split("\t")) for number, line in lines if line != "\n"]


def _quoted(text: str, where: str) -> list[tuple[int, list[str]]]:
    """The rows of a .csv, each with the line that it begins on."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    usual = csv.field_size_limit(len(text) + 1)  # of the process; a text may be a whole book
    found, line = [], 1
    try:
        for row in rows:
            if row:
                found.append((line, row))
            line = rows.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{where}, line {line}: this row is no CSV ({error}): quote a text that has quotes or "
            'commas in it, and write its quotes twice: "so ""it"" is"'
        ) from None
    finally:
        csv.field_size_limit(usual)
    return found


def _with_names(rows: list[tuple[int, list[str]]], where: str, mark: str) -> Iterator[Row]:
    """Rows by the names in the first. ValueError for one that is longer or shorter."""
    names = rows[0][1] if rows else []
    for name, times in Counter(names).most_common(1):
        if times > 1:
            raise ValueError(f"{where}, line 1 names {times} fields {name!r:.60}: rename them")
    for line, values in rows[1:]:
        if len(values) != len(names):
            raise ValueError(
                f"{where}, line {line} has {len(values)} field(s), the first line names "
                f"{len(names)}: repair the row, perhaps one of its texts has a {mark} in it"
            )
        yield line, dict(zip(names, values))


def _what(value: Any) -> str:
    """A value of JSON in words."""
    kinds = {
        type(None): "null", bool: "true or false", int: "a number", float: "a number",
        list: "a list", dict: "an object",
    }  # fmt: skip
    if value != value:
        return "NaN"
    return kinds.get(type(value)) or (f"the text {value!r:.40}" if value else "empty")
