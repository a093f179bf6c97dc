"""The rows of a published file: which of its columns are which, and what is left out of them.

``minissl.data.tables`` reads the file, ``minissl.data.tasks`` says what it looks like.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from minissl.data.tasks import Columns, PublishedTask

REPAIR = "Repair the line, or leave it out"
NO_LAYOUT = '--layout "" where a run was told one'
Row = tuple[int, dict[str, Any]]  # the line it begins on, from 1, and its values by field
EACH = re.compile(r"label[0-9]+")  # columns with what each annotator said


def check_asked(task: PublishedTask, asked: Sequence[str], where: str) -> None:
    """Raise ValueError for a kind of data whose examples are not those of the task."""
    wants = "images" if "image_field" in asked else "pairs" if "second_field" in asked else "texts"
    has = "pairs" if task.pairs else "texts"
    if asked and wants != has:
        words = {"pairs": "pairs of texts", "texts": "single texts", "images": "images"}
        raise ValueError(
            f"{where}: the examples of {task.title} are {words[has]}, asked for are "
            f"{words[wants]}: give data of that kind, or leave the layout out ({NO_LAYOUT})"
        )


def of_lines(
    task: PublishedTask, rows: list[tuple[int, list[str]]], where: str
) -> tuple[Columns, list[Row]]:
    """The columns of a table of a task, and its rows by their names.

    A row may end early where only what each annotator said (label1 to label5) is missing. Of a
    broken file a row of another length is empty.
    """
    line, first = rows[0] if rows else (1, [])
    names = [name.strip() for name in first]
    columns, most = task.columns_of(names), len(first)
    if columns:
        rows = rows[1:]
        _refuse_twice(names, columns, f"{where}, line {line}")
    elif _begins_at_once(task, first):
        names, columns = [*task.bare], task.columns_of(task.bare)
        most = 1 << 30 if task.longer else len(names)
    if columns is None:
        raise ValueError(
            f"{where}, line {line} begins with {' | '.join(first):.80}: a file of {task.title} has "
            f"{task.expected()}. Others are read by --text-field NAME ({NO_LAYOUT})"
        )
    fewest = max(n for n, name in enumerate(names, 1) if not EACH.fullmatch(name))
    found: list[Row] = []
    for line, values in rows:
        fits = fewest <= len(values) <= most
        if not fits and not task.broken:
            wanted = f"{fewest}" if fewest == most else f"{fewest} or more"
            raise ValueError(
                f"{where}, line {line} has {len(values)} column(s), a row of {task.title} has "
                f"{wanted} here: repair the row, perhaps one of its texts has a tab in it"
            )
        found.append((line, dict(zip(names, values)) if fits else {}))
    return columns, found


def _refuse_twice(names: Sequence[str], columns: Columns, place: str) -> None:
    """Raise ValueError for a first line that names a column twice: which one is meant?"""
    counts = Counter(names)
    if twice := [name for name in columns if counts[name] > 1]:
        raise ValueError(f"{place} names {counts[twice[0]]} columns {twice[0]!r}: rename them")


def _begins_at_once(task: PublishedTask, first: Sequence[str]) -> bool:
    """Whether the first line of a file is an example: it is as long, and its label is one."""
    longer = len(first) - len(task.bare)
    if not task.bare or longer < 0 or (longer and not task.longer):
        return False
    try:
        task.label(first[task.bare.index(task.columns[0].label)].strip())
    except ValueError:
        return False
    return True


def of_objects(task: PublishedTask, rows: list[Row], where: str) -> tuple[Columns, list[Row]]:
    """The columns of a .jsonl of a task, by its first object, which all others must have."""
    line, first = rows[0] if rows else (1, {})
    columns = task.columns_of([*first])
    if columns is None:
        raise ValueError(
            f"{where}, line {line} has the fields {', '.join(first) or 'none':.80}: a file of "
            f"{task.title} has {task.expected()}. Others are read by --text-field NAME "
            f"({NO_LAYOUT})"
        )
    for line, values in rows:
        if missing := [name for name in columns if name in first and name not in values]:
            raise ValueError(f"{where}, line {line} has no field {missing[0]!r}: {REPAIR}")
    return columns, rows


def choose(
    task: PublishedTask, columns: Columns, rows: list[Row], where: str, *, labelled: bool
) -> tuple[list[Row], str]:
    """The rows that are examples, with texts and labels as they are called here; what is not.

    In words, "" for nothing. Raises ValueError where no row is left, and as ``_as_named`` does.
    """
    if not rows:
        raise ValueError(f"{where} has no rows: expected one for each example")
    whole = [row for row in rows if not (task.broken and _is_broken(row[1], columns))]
    kept = [row for row in whole if not (labelled and _label(row[1], columns) in task.no_label)]
    parts = []
    if broken := len(rows) - len(whole):
        parts.append(f"{broken:,} that a line break has parted, or with an empty text")
    if without := len(whole) - len(kept):
        parts.append(f"{without:,} without a label, of which the annotators did not agree on one")
    told = f"{where}: of {len(rows):,} rows are left out {', and '.join(parts)}" if parts else ""
    if not kept:
        raise ValueError(f"{told}: none is left")
    return [
        (line, _as_named(task, values, columns, f"{where}, line {line}", labelled))
        for line, values in kept
    ], told


def _is_broken(values: dict[str, Any], columns: Columns) -> bool:
    """Whether a row has lost a column, or has an empty text."""
    names = [name for name in (columns.text, columns.second) if name]
    return any(values.get(name, "") == "" for name in names)


def _label(values: dict[str, Any], columns: Columns) -> Any:
    """The label of a row as text; what else a .jsonl may hold as it is."""
    value = values.get(columns.label)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return json.dumps(value) if number else value.strip() if isinstance(value, str) else value


def _as_named(
    task: PublishedTask, values: dict[str, Any], columns: Columns, place: str, labelled: bool
) -> dict[str, Any]:
    """The texts and the label of a row, these as called here. ValueError with the place."""
    named = {name: values[name] for name in (columns.text, columns.second) if name}
    named = {key: text.strip() if isinstance(text, str) else text for key, text in named.items()}
    if not labelled:
        return named
    if columns.label not in values:
        raise ValueError(
            f"{place}: there is no column {columns.label!r}: this is a file of {task.title} "
            "without labels, which `minissl predict` reads. Give the one to train or to develop on"
        )
    label = _label(values, columns)
    if isinstance(label, str):
        try:
            label = task.label(label)
        except ValueError as error:
            raise ValueError(f"{place}: the label {error}") from None
    return {**named, columns.label: label}
