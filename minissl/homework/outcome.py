"""What came of a check: its points and, for a failure, what the student reads."""

from __future__ import annotations

import contextlib
import traceback
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from minissl.autograd.tensor import Tensor
from minissl.homework.allowed import allowed_calls
from minissl.homework.guard import Guard
from minissl.homework.plain import kind_of, plain, told
from minissl.homework.task import CAUSES, Check, Draw, Task, Wrong, unwritten

_LONGEST, _LONGEST_ARRAY = 700, 2000  # characters of a printed value
_MOST_VALUES = 12  # of a case


@dataclass(frozen=True)
class Outcome:
    """One check of one submission.

    ``status``: "passed", "wrong", "not written", or "not reached" when the process ended before.
    ``symptom``: one sentence. ``case``: name -> value as text: the input, then got and expected.
    """

    check: str
    about: str
    points: int
    status: str
    symptom: str = ""
    case: dict[str, str] = field(default_factory=dict)

    @property
    def earned(self) -> int:
        return self.points if self.status == "passed" else 0


def draw_for(task: Task, check: Check, seed: int, extra: int) -> Draw:
    """The cases of one check: they depend on the seed, and not on which other checks run."""
    key = zlib.crc32(f"{task.number} {check.name}".encode())
    return Draw(np.random.default_rng([seed, key]), extra)


def run_check(
    task: Task,
    check: Check,
    subject: Any,
    *,
    seed: int = 0,
    extra: int = 3,
    file: Any = None,
    guarded: bool = True,
) -> Outcome:
    """Run one check of a function (or class). Never raises, but for KeyboardInterrupt.

    ``file``: where the subject is written; an error then says its line there. ``guarded``: the work
    has to be the student's own; False for the library's functions, which are not.
    """
    guard = Guard(allowed_calls(task), task.label, task.module)

    def outcome(status: str, symptom: str = "", case: Mapping[str, Any] | None = None) -> Outcome:
        shown = as_case(case or {})
        return Outcome(check.name, check.about, check.points, status, symptom, shown)

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            with guard if guarded else contextlib.nullcontext():
                check.run(subject, draw_for(task, check, seed, extra))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        missing = unwritten(error)
        if missing and missing.startswith(f"hw{task.number} "):
            return outcome("not written", missing)
        if missing:
            return outcome("wrong", f"it needs {missing.split(':')[0]}, which is not written")
        symptom = f"{symptom_of(error)}{_line(error, file)}"
        if not isinstance(error, Wrong):
            return outcome("wrong", symptom)
        answers = {"got": error.got, "expected": error.expected}
        if error.difference and as_text(error.got) == as_text(error.expected):
            answers["difference"] = error.difference
        return outcome("wrong", symptom, {**error.given, **answers})
    if guarded and (reason := guard.sentence()):
        return outcome("wrong", reason)
    return outcome("passed")


def symptom_of(error: BaseException) -> str:
    """One sentence about an error that ended a check."""
    kind = type(error)  # an own class may say of itself what it likes
    if issubclass(kind, Wrong):
        return plain(vars(error).get("symptom"))
    if issubclass(kind, SystemExit):
        return "it called exit(): a function must return its result"
    return f"it does not do what the check needs: {told(error)}"


def _line(error: BaseException | None, file: Any) -> str:
    """Where in the student's file it happened: "", or " (hw1.py, line 34)"."""
    for _ in range(CAUSES):
        if error is None or file is None:
            break
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(file)]
        if lines:
            return f" ({plain(Path(file).name, 100)}, line {lines[-1]})"
        error = error.__cause__ or error.__context__
    return ""


def as_case(case: Any) -> dict[str, str]:
    """A case, name -> value as text. Never raises, and is short whatever somebody put into it."""
    try:
        items = [*islice(dict.items(case), _MOST_VALUES)]
        return {plain(name, 60): as_text(value) for name, value in items}
    except BaseException as error:  # no dict: a Wrong of the student's own
        return {"case": f"cannot be printed ({kind_of(error)})"}


def as_text(value: Any) -> str:
    """A value as a student can read it: arrays short, with their shape and dtype. Never raises."""
    try:
        if isinstance(value, Tensor):
            value = value.numpy()
        if not isinstance(value, np.ndarray):
            return plain(value if isinstance(value, str) else repr(value), _LONGEST)
        shown = np.array2string(
            value, precision=5, suppress_small=True, threshold=40, edgeitems=3, max_line_width=88
        )
        shown = plain(shown, _LONGEST_ARRAY)
        return shown if value.ndim == 0 else f"{shown}   shape {value.shape}, {value.dtype}"
    except BaseException as error:  # a class of the student's own whose repr fails
        return f"a {kind_of(value)} that cannot be printed ({kind_of(error)})"
