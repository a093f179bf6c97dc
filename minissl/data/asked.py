"""Labelled data of other shapes than a text with a label: pairs, tagged words, questions, choices.

Such raw data says itself how a run of texts reads it (``examples_by``, ``labelled_by``), since a
run knows one text only; what is asked of it is a ``minissl.forms.Form``. Lecture 11.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from minissl.data import FIELDS, Examples, Fields
from minissl.data.labels import Labelled
from minissl.data.tasks import TASKS

READS = {
    "pairs": "minissl.data.pairs:LabelledTextPairs",
    "tagged": "minissl.data.tagged:TaggedTexts",
    "questions": "minissl.data.questions:Questions",
    "choices": "minissl.data.choices:Choices",
}
OF_FORM = {"tags": "tagged", "span": "questions", "choice": "choices"}
SUFFIXES = {".conllu": "tags", ".conll": "tags", ".iob": "tags", ".bio": "tags", ".json": "span"}


def shape_of(
    path: Path | None, fields: Fields, *, pair: bool = False, form: str = ""
) -> tuple[str, str]:
    """How labelled data is read, a key of ``READS`` or "", and the form of its labels or "".

    By the form where one is asked for; otherwise by the layout, or by how the file's name ends.
    ``pair``: two columns of a table are the texts. "": as the run reads data, and as the adaptation
    takes labels.
    """
    task = TASKS.get(fields.layout)
    if not form and not task and path is not None:
        form = SUFFIXES.get(path.suffix.lower(), "")
    if form in OF_FORM:
        return OF_FORM[form], form
    if not form and task and task.kind == "number":
        form = "number"
    return ("pairs" if pair or (task and task.pairs) else ""), form


@runtime_checkable
class Asked(Protocol):
    """Raw data that says how a run reads it. ``reads``: its key in ``READS``."""

    reads: str

    def examples_by(self, prepared: Any) -> Examples:
        """What a form takes, by the tokenizer of a run's prepared texts."""

    def labelled_by(self, prepared: Any) -> Labelled:
        """The same with labels."""


def load_reads(name: str) -> Any:
    """The class of raw data of this shape. Raises ValueError with those that there are."""
    if name not in READS:
        raise ValueError(f"no data is read as {name!r:.40}; there are: {', '.join(READS)}")
    module, _, kind = READS[name].partition(":")
    return getattr(import_module(module), kind)


def refuse_unread(kind: Any, fields: Fields) -> None:
    """Raise ValueError for a column that is named, and that data of this kind does not have.

    kind: a class of raw data, whose ``fields`` say what it asks a table for; without any it is no
    table, otherwise labels have a column too.
    """
    asked = {*kind.fields, "label_field"} if kind.fields else {*kind.fields}
    for name, value in asdict(fields).items():
        if value != getattr(FIELDS, name) and name not in asked:
            what = f" ({kind.reads})" if hasattr(kind, "reads") else ""
            raise ValueError(
                f"{name} is {value!r:.40}, and such data{what} is read without it: leave it out"
            )


def examples_of(prepared: Any, raw: Any) -> Examples:
    """Raw data as a run reads it: by its own rule where it has one."""
    if hasattr(raw, "examples_by"):  # pairs without labels are not ``Asked``, they are read alike
        found: Examples = raw.examples_by(prepared)
        return found
    return prepared.examples(raw)


def labelled_of(prepared: Any, raw: Any) -> Labelled:
    """Labelled raw data as a run reads it: by its own rule where it has one."""
    return raw.labelled_by(prepared) if isinstance(raw, Asked) else prepared.labelled(raw)


def require_tokens(prepared: Any, what: str) -> Any:
    """The prepared data; ValueError where it has no tokens of texts. ``what``: is to be read."""
    if not hasattr(prepared, "pair_tokens"):
        raise ValueError(
            f"{what} are read by a run of texts that cuts them into tokens (gpt, bert, ...), this "
            f"one has {type(prepared).__name__}: give another run"
        )
    return prepared
