"""Beginnings with several endings, of which one goes on from it: tables in SWAG's form. Lecture 11.

Zellers et al. (2018), SWAG. The endings stand in the columns ending0, ending1, ..., the label is
the number of the right one. Not here: several right endings, and none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.data import FIELDS, Examples, Fields
from minissl.data.asked import require_tokens
from minissl.data.labels import Labelled
from minissl.data.pairs import table_at
from minissl.data.passages import Passages
from minissl.data.tables import Table
from minissl.reading import shown

SWAG = ("sent1", "sent2")  # a sentence, and how the next one begins, which an ending completes
ENDING = re.compile("ending([0-9]{1,4})")


class Choice(NamedTuple):
    """A beginning and how it may go on: ``seconds``, two texts or more."""

    name: str
    first: str
    seconds: tuple[str, ...]


class Alternatives(list[int]):
    """The tokens of its longest row, so that its length is that of what is read; all in ``rows``.

    rows: beginning and ending as the run joins two texts, one row for each ending. endings: the
    texts. ``loses_beginning``: of a row that is too long the end is kept, since a decoder joins two
    texts without a mark that says where the second begins.
    """

    def __init__(
        self, rows: Sequence[Sequence[int]], endings: Sequence[str], *, loses_beginning: bool
    ):
        self.rows, self.endings = [list(row) for row in rows], tuple(endings)
        self.loses_beginning = loses_beginning
        longest: list[int] = max(self.rows, key=len)
        super().__init__(longest)

    def cut(self, longest: int) -> list[list[int]]:
        """The rows; where it is needed without the beginning of the text behind the first token."""
        if not self.loses_beginning or len(self) <= longest:
            return self.rows
        keep = max(longest - 1, 1)
        return [row if len(row) <= longest else [row[0], *row[-keep:]] for row in self.rows]


class Choices:
    """Beginnings and endings as they were read, with labels (choices,), or without: None.

    ``held_out``: which of them everybody tests on; None: a third. Raises ValueError for no choice,
    fewer than two endings, and a label that is no number of one.
    """

    default: ClassVar[str] = ""
    fields: ClassVar[tuple[str, ...]] = ("text_field", "label_field")
    reads: ClassVar[str] = "choices"
    fitted: ClassVar[str] = ""

    def __init__(
        self, choices: Sequence[Choice], labels: ArrayLike | None = None,
        held_out: NDArray[np.int64] | None = None,
    ):  # fmt: skip
        self.choices, self.held_out = tuple(choices), held_out
        if not self.choices:
            raise ValueError("there are no choices: give one or more")
        for one in self.choices:
            if len(one.seconds) < 2:
                raise ValueError(
                    f"{one.name} has {len(one.seconds)} ending(s): there is nothing to choose from"
                )
        self.labels = None if labels is None else _numbers(labels, self.choices)

    def __len__(self) -> int:
        return len(self.choices)

    @classmethod
    def read(
        cls, path: Path | None, settings: Any = None, fields: Fields = FIELDS,
        *, labels: str = "choice",
    ) -> Choices:  # fmt: skip
        """A table with ending0, ending1, ... and the number of the right one in ``label_field``.

        The beginning is in ``text_field``; where none is named, of a table in SWAG's form, which
        has sent1 and sent2, it is the first, and the second stands before each ending. Where the
        last endings of a row are empty it has fewer. Raises ValueError with file and line for what
        is missing.
        """
        if labels != "choice":
            raise ValueError(f"one of several endings is a choice, asked for is {labels!r:.40}")
        table = _table(path, fields)
        found = _choices(table)
        numbers = []
        for place, choice, text in zip(table.places, found, _written(table)):
            known = [str(number) for number in range(len(choice.seconds))]
            if text.strip() not in known:
                raise ValueError(
                    f"{place}: the label is {text!r:.40}, expected the number of one of its "
                    f"{len(known)} endings, from 0"
                )
            numbers.append(known.index(text.strip()))
        return cls(found, numbers)

    @classmethod
    def read_examples(
        cls, path: Path | None, settings: Any = None, fields: Fields = FIELDS
    ) -> Choices:
        """The same; labels are not looked at."""
        return cls(_choices(_table(path, fields)))

    @classmethod
    def toy(cls, settings: Any = None, *, seed: int = 0, labels: str = "choice") -> Choices:
        """Forty generated beginnings: the right one of three endings repeats a word of it."""
        generator = np.random.default_rng(seed)
        words = ["cat", "dog", "bird", "mat", "log", "song"]
        found, right = [], []
        for number in range(40):
            chosen = [str(word) for word in generator.choice(words, 3, replace=False)]
            right.append(number % 3)
            found.append(Choice(f"toy {seed}.{number}", f"a {chosen[number % 3]}", tuple(chosen)))
        return cls(found, right)

    def fingerprint(self) -> dict[str, Any]:
        """Of everything in its order, and how many there are."""
        labels = None if self.labels is None else self.labels.tolist()
        held_out = None if self.held_out is None else np.asarray(self.held_out).tolist()
        about = json.dumps([self.choices, labels, held_out])
        return {"choices": len(self), "sha256": hashlib.sha256(about.encode()).hexdigest()}

    def examples_by(self, prepared: Any) -> Examples:
        """Each as ``Alternatives``: its beginning with every ending."""
        join = require_tokens(prepared, "choices").pair_tokens
        loses = not isinstance(prepared, Passages)
        inputs = [
            Alternatives(
                [join(one.first, second) for second in one.seconds], one.seconds,
                loses_beginning=loses,
            )
            for one in self.choices
        ]  # fmt: skip
        return Examples(inputs, [one.name for one in self.choices])

    def labelled_by(self, prepared: Any) -> Labelled:
        """With the number of the right ending of each; no raw features to compare with."""
        if self.labels is None:
            raise ValueError("these choices were read without labels: nothing says which is right")
        inputs, names = self.examples_by(prepared)
        none = np.zeros((len(self), 0), np.float32)
        return Labelled(
            inputs, tuple(names), self.labels, (), none, "nothing", self.held_out, "choice"
        )


def _numbers(labels: ArrayLike, choices: Sequence[Choice]) -> NDArray[np.int64]:
    """The labels as an array. ValueError unless each is the number of an ending."""
    given = np.asarray(labels)
    if given.shape != (len(choices),) or given.dtype.kind not in "iu":
        raise ValueError(
            f"labels: expected {len(choices)} whole numbers, got shape {given.shape} of "
            f"{given.dtype}"
        )
    for one, label in zip(choices, given):
        if not 0 <= label < len(one.seconds):
            raise ValueError(f"{one.name} has {len(one.seconds)} endings, and the label {label}")
    return given.astype(np.int64)


# ---- the table -----------------------------------------------------------------------------------


def _table(path: Path | None, fields: Fields) -> Table:
    if fields.layout:
        raise ValueError(
            f"the layout {fields.layout} is of another kind of examples: choices are read by their "
            "columns (ending0, ending1, ...), leave it out"
        )
    return table_at(path, fields, "choices", Choices.fields)


def _column(table: Table, name: str, *, empty: bool = False) -> list[str]:
    """The texts of a column, whatever its name."""
    return replace(table, fields=Fields(text_field=name)).texts("text_field", empty=empty)


def _written(table: Table) -> list[str]:
    """The labels as the names that they would have as classes: "0", "1", ..."""
    numbers, names = table.labels("class")
    return [names[number] for number in numbers]


def _choices(table: Table) -> list[Choice]:
    """The rows with their endings; with SWAG's columns in SWAG's way."""
    names = dict.fromkeys(name for _, values in table.rows for name in values)
    numbers = sorted(int(one[1]) for one in map(ENDING.fullmatch, names) if one)
    if numbers[:2] != [0, 1] or numbers != [*range(len(numbers))]:
        raise ValueError(
            f"{shown(table.path)}: the endings stand in the columns ending0, ending1, ..., two or "
            f"more, found are {', '.join(f'ending{n}' for n in numbers[:9]) or 'none'} among "
            f"{', '.join(f'{name:.40}' for name in [*names][:20])}"
        )
    columns = [f"ending{n}" for n in numbers]  # of a .jsonl some rows may have fewer
    filled = [(line, v | {name: v.get(name, "") for name in columns}) for line, v in table.rows]
    table = replace(table, rows=filled)
    endings = zip(*(_column(table, name, empty=True) for name in columns))
    if all(name in names for name in SWAG) and table.fields.text_field == FIELDS.text_field:
        firsts, begun = _column(table, SWAG[0]), _column(table, SWAG[1], empty=True)
    else:
        firsts, begun = table.texts("text_field"), [""] * len(table.rows)
    rows = zip(table.places, table.names, firsts, begun, endings)
    return [
        Choice(name, first, tuple(f"{before} {one}".strip() for one in _given(texts, place)))
        for place, name, first, before, texts in rows
    ]


def _given(endings: Sequence[str], place: str) -> list[str]:
    """Those of a row that are there. ValueError with the place for a gap, and for less than two."""
    there = [bool(one.strip()) for one in endings]
    count = sum(there)
    if count < 2 or not all(there[:count]):
        raise ValueError(
            f"{place}: ending{there.index(False)} is empty: give two endings or more, and leave "
            "none out between them"
        )
    return [*endings[:count]]
