"""Grade one submission: every task in a process of its own, so that it can fail only itself."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from minissl.homework.handin import Handin, read_handin
from minissl.homework.outcome import Outcome
from minissl.homework.plain import plain
from minissl.homework.process import STARTING, Ended, run_child
from minissl.homework.submission import missing_packages
from minissl.homework.task import Assignment, Task

_PRINTED = 1500  # characters of what the student's code printed that are shown
_COMMENT = 800  # characters of a comment
_FAULTHANDLER = r"(?m)^(?:Timeout \(\d|Fatal Python error|Current thread 0x|Thread 0x)"


@dataclass(frozen=True)
class Settings:
    """How to check. ``seed``: of the random cases, of which every check gets ``extra``.

    ``use_mine``: the other functions are the student's where they are written, not the library's.
    ``guarded``: the work has to be the student's own (False for the answer key, which is not).
    """

    seed: int = 0
    extra: int = 3
    use_mine: bool = False
    guarded: bool = True


@dataclass(frozen=True)
class TaskResult:
    """What came of one task. ``printed``: the end of what the student's code printed.

    ``not_loaded``: why the file could not be loaded for this task, or "".
    """

    task: Task
    outcomes: list[Outcome]
    not_loaded: str = ""
    printed: str = ""
    seconds: float = 0.0

    @property
    def score(self) -> int:
        return sum(outcome.earned for outcome in self.outcomes)

    @property
    def unwritten(self) -> bool:
        """True when no check found anything written."""
        return all(outcome.status == "not written" for outcome in self.outcomes)

    @property
    def reason(self) -> str:
        """Why there are no points, in a few words; "" where there are some."""
        if self.score or not self.outcomes:
            return ""
        if self.unwritten:
            return "not written"
        return self.not_loaded or plain(" ".join(self.outcomes[0].symptom.split()), 160)


@dataclass(frozen=True)
class Results:
    """What came of a submission."""

    assignment: Assignment
    tasks: list[TaskResult]
    settings: Settings

    @property
    def problem(self) -> str:
        """What is wrong with the file as a whole: why no task could load it."""
        own = [r for r in self.tasks if r.task is not self.assignment.experiment] or self.tasks
        problems = {result.not_loaded for result in own}
        return problems.pop() if len(problems) == 1 else ""

    @property
    def comment(self) -> str:
        """Why tasks have no points, each reason once: "1.2, 1.3: not written; 1.7: it ..."."""
        if self.problem and not self.score:
            reasons = dict.fromkeys([self.problem, *(r.not_loaded for r in self.tasks)])
            return plain("; ".join(filter(None, reasons)), _COMMENT)
        tasks: dict[str, list[str]] = {}
        for result in self.tasks:
            if result.reason:
                tasks.setdefault(result.reason, []).append(result.task.number)
        told = [f"{', '.join(numbers)}: {reason}" for reason, numbers in tasks.items()]
        return plain("; ".join(told), _COMMENT)

    @property
    def score(self) -> int:
        return sum(result.score for result in self.tasks)

    @property
    def points(self) -> int:
        return sum(result.task.points for result in self.tasks)


def check_submission(
    assignment: Assignment,
    handed: Path | Handin,
    *,
    numbers: Collection[str] = (),
    settings: Settings = Settings(),
) -> Results:
    """Check a student's file, all tasks or those with these ``numbers``.

    ``handed``: the file, which is read with what lies beside it, or both in memory.

    Raises ValueError for a number that is no task's, and for a file that is far too large. Nothing
    that the file does raises; one that does not load fails in every task, for the same reason.
    """
    known = [task.number for task in assignment.parts]
    if unknown := [number for number in numbers if number not in known]:
        raise ValueError(f"there is no task {unknown[0]}; choose from: {', '.join(known)}")
    handin = handed if isinstance(handed, Handin) else read_handin(handed)
    hopeless = f"{plain(handin.name, 100)} is empty" if handin.empty else ""
    results: list[TaskResult] = []
    for task in assignment.parts:
        if numbers and task.number not in numbers:
            continue
        if hopeless and task is not assignment.experiment:  # not further than the one before
            results.append(TaskResult(task, _not_reached(task, hopeless), hopeless))
        else:
            result, hopeless = check_task(assignment, task, handin, settings)
            results.append(result)
    return Results(assignment, results, settings)


def nothing_there(assignment: Assignment, reason: str, settings: Settings) -> Results:
    """The results of a submission without a file to check."""
    reason = plain(reason)
    tasks = [TaskResult(t, _not_reached(t, reason), reason) for t in assignment.parts]
    return Results(assignment, tasks, settings)


def check_task(
    assignment: Assignment, task: Task, handin: Handin, settings: Settings
) -> tuple[TaskResult, str]:
    """Check one task in a process of its own. Also why the file loads for no task at all, or ""."""
    if missing := missing_packages(task):
        return TaskResult(task, _not_reached(task, missing)), ""
    begin = time.monotonic()
    child = _run(assignment, task, handin, settings)
    hopeless = child.not_loaded if child.no_python else ""
    if child.started and not child.loaded and not child.not_loaded:
        child.not_loaded = f"{plain(handin.name, 100)}: {child.ending}"
        if task is not assignment.experiment:  # by its own definition, or by the rest of the file?
            rest = _run(assignment, task, handin, settings, only_load=True)
            hopeless = "" if rest.loaded else child.not_loaded
    reason = child.not_loaded or child.not_there or child.ending
    outcomes = [
        replace(child.outcomes.get(lost.check, lost), about=lost.about, points=lost.points)
        for lost in _not_reached(task, reason)
    ]
    seconds = time.monotonic() - begin
    return TaskResult(task, outcomes, child.not_loaded, child.printed, seconds), hopeless


def _not_reached(task: Task, reason: str) -> list[Outcome]:
    return [Outcome(c.name, c.about, c.points, "not reached", reason) for c in task.checks]


class _Child:
    """What a child reported, and how it ended."""

    def __init__(self, ended: Ended, task: Task, name: str):
        self.started = self.loaded = self.no_python = False
        self.not_loaded = self.not_there = ""
        self.outcomes: dict[str, Outcome] = {}
        for line in ended.lines:
            self._take(line)
        printed = ended.printed.decode("utf-8", errors="replace")
        self.ending = self._ending(ended, task, name, printed)
        own = re.split(_FAULTHANDLER, printed)[0].strip()  # the rest of it is in the ending
        self.printed = plain(own[-_PRINTED:], _PRINTED)

    def _take(self, line: Mapping[str, Any]) -> None:
        """One line of the report; the first word on a check stands."""
        event = line["event"]
        self.started = True
        self.loaded |= event in ("loaded", "not there")
        if event == "not loaded":
            self.not_loaded, self.no_python = plain(line["text"], 1000), line["no_python"]
        elif event == "not there":
            self.not_there = plain(line["text"], 1000)
        elif event == "outcome":
            case = {plain(name, 60): plain(value, 2100) for name, value in line["case"].items()}
            symptom = plain(line["symptom"], 1000)
            outcome = Outcome(line["check"], "", 0, line["status"], symptom, case)
            self.outcomes.setdefault(outcome.check, outcome)

    def _ending(self, ended: Ended, task: Task, name: str, printed: str) -> str:
        """Why there is no outcome for a check, in a sentence."""
        name = task.file_of(Path(name)).name
        frames = re.findall(rf'File "[^"]*{re.escape(name)}", line (\d{{1,7}}) in', printed)
        where = f" in line {frames[0]}" if frames else ""
        if not ended.in_time:
            limit = task.seconds if self.started else STARTING
            least = "" if self.started else " to start"
            return (
                f"it was stopped after {limit:g} seconds{least}{where}: an endless loop, or far "
                "too much work"
            )
        if ended.code < 0:
            reason = " (out of memory?)" if -ended.code == _KILLED else ""
            return f"the process crashed with {_signal(-ended.code)}{where}{reason}"
        return f"the process ended early, with exit code {ended.code}"


_KILLED = 9


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # those between have no names
        return f"signal {number}"


def _run(
    assignment: Assignment,
    task: Task,
    handin: Handin,
    settings: Settings,
    *,
    only_load: bool = False,
) -> _Child:
    """Start a child on a copy of what was handed in, and read its report."""
    folder = tempfile.mkdtemp(prefix="homework")
    try:
        file = handin.write(Path(folder).resolve())
        request = {
            "assignment": assignment.number,
            "task": task.number,
            "file": str(file),
            "seconds": task.seconds,
            "only_load": only_load,
            **asdict(settings),
        }
        ended = run_child(request, file.parent, task.seconds)
    finally:
        _remove(Path(folder))
    return _Child(ended, task, handin.name)


def _remove(folder: Path) -> None:
    """Delete a folder, in which somebody may have made folders deeper than Python can go."""
    try:
        if folder.is_symlink():  # it was put in the folder's place
            folder.unlink()
        shutil.rmtree(folder, ignore_errors=True)
    except (RecursionError, OSError):
        with contextlib.suppress(OSError):
            subprocess.run(["rm", "-rf", str(folder)], check=False, capture_output=True)
