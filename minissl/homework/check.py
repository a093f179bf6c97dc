"""Grade one submission: every task in a process of its own, so that it can fail only itself."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import minissl
from minissl.homework.outcome import Outcome
from minissl.homework.submission import missing_packages
from minissl.homework.task import Assignment, Task

STARTING = 120.0  # seconds to import the library, torch and triton; not the student's time
_PRINTED = 1500  # characters of what the student's code printed that are kept
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
        """What did not load, the files each once: of a whole submission or of a part of it."""
        return "; ".join(dict.fromkeys(r.not_loaded for r in self.tasks if r.not_loaded))

    @property
    def score(self) -> int:
        return sum(result.score for result in self.tasks)

    @property
    def points(self) -> int:
        return sum(result.task.points for result in self.tasks)


@dataclass
class _Child:
    """What a child reported, and how it ended."""

    started: bool = False
    loaded: bool = False
    not_loaded: str = ""
    syntax_error: bool = False
    not_there: str = ""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    printed: str = ""
    ending: str = ""

    def read(self, lines: list[str]) -> None:
        """Take the report's lines; the first word on a check stands."""
        for line in lines:
            if not line.endswith("\n"):
                break  # cut off in the middle
            with contextlib.suppress(ValueError, LookupError, TypeError):  # not written by us
                self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        event = line.pop("event")
        self.started |= event == "started"
        self.loaded |= event in ("loaded", "not there")
        if event == "not loaded":
            self.not_loaded, self.syntax_error = line["text"], line["syntax_error"]
        elif event == "not there":
            self.not_there = line["text"]
        elif event == "outcome":
            self.outcomes.setdefault(line["check"], Outcome(**line))


def check_submission(
    assignment: Assignment,
    file: Path,
    *,
    numbers: Collection[str] = (),
    settings: Settings = Settings(),
) -> Results:
    """Check a student's file, all tasks or those with these ``numbers``.

    Raises ValueError for a number that is no task's. Nothing that the file does raises; a file that
    does not load fails in every task, for the same reason.
    """
    known = [task.number for task in assignment.parts]
    if unknown := [number for number in numbers if number not in known]:
        raise ValueError(f"there is no task {unknown[0]}; choose from: {', '.join(known)}")
    results: list[TaskResult] = []
    hopeless = False
    for task in assignment.parts:
        if numbers and task.number not in numbers:
            continue
        if hopeless and task is not assignment.experiment:  # not further than the one before
            reason = results[-1].not_loaded
            results.append(TaskResult(task, _not_reached(task, reason), reason))
        else:
            result, hopeless = check_task(assignment, task, file, settings)
            results.append(result)
    return Results(assignment, results, settings)


def nothing_there(assignment: Assignment, reason: str, settings: Settings) -> Results:
    """The results of a submission without a file to check."""
    tasks = [TaskResult(t, _not_reached(t, reason), reason) for t in assignment.parts]
    return Results(assignment, tasks, settings)


def check_task(
    assignment: Assignment, task: Task, file: Path, settings: Settings
) -> tuple[TaskResult, bool]:
    """Check one task in a process of its own; True if the file loads for no task at all."""
    if missing := missing_packages(task):
        return TaskResult(task, _not_reached(task, missing)), False
    begin = time.monotonic()
    child = _run(assignment, task, file, settings)
    hopeless = child.started and not child.loaded and not child.not_loaded
    if hopeless:
        child.not_loaded = f"{file.name}: {child.ending}"
    hopeless |= child.syntax_error
    reason = child.not_loaded or child.not_there or child.ending
    outcomes = [
        replace(child.outcomes.get(lost.check, lost), points=lost.points)
        for lost in _not_reached(task, reason)
    ]
    seconds = time.monotonic() - begin
    return TaskResult(task, outcomes, child.not_loaded, child.printed, seconds), hopeless


def _not_reached(task: Task, reason: str) -> list[Outcome]:
    return [Outcome(c.name, c.about, c.points, "not reached", reason) for c in task.checks]


def _run(assignment: Assignment, task: Task, file: Path, settings: Settings) -> _Child:
    """Start the child, wait for it as long as the task may take, and read its report."""
    child = _Child()
    with tempfile.TemporaryDirectory(prefix="homework") as folder:
        report = Path(folder, "report")
        report.touch()
        request = {
            "report": str(report),
            "assignment": assignment.number,
            "task": task.number,
            "file": str(file.resolve()),
            "seconds": task.seconds,
            **asdict(settings),
        }
        command = [sys.executable, "-P", "-B", "-m", "minissl.homework.child"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=file.resolve().parent,
            env=_environment(),
            start_new_session=os.name == "posix",
        )
        assert process.stdin is not None
        assert process.stdout is not None
        tail = _Tail(process.stdout)
        try:
            process.stdin.write(f"{json.dumps(request)}\n".encode())
            process.stdin.close()
            in_time = _wait(process, report, task.seconds)
        except BrokenPipeError:
            in_time = True
        finally:
            _kill(process)
        tail.join(timeout=1)
        child.read(report.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True))
    child.printed = tail.text()
    child.ending = _ending(process.returncode, in_time, task, child, file)
    child.printed = re.split(_FAULTHANDLER, child.printed)[0].strip()  # its line is in the ending
    return child


def _wait(process: subprocess.Popen[bytes], report: Path, seconds: float) -> bool:
    """False if it took too long. Its time begins when it has imported the library."""
    deadline, started = time.monotonic() + STARTING, False
    while time.monotonic() < deadline:
        try:
            process.wait(timeout=0.02)
            return True
        except subprocess.TimeoutExpired:
            if not started and report.stat().st_size:
                deadline, started = time.monotonic() + seconds, True
    return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End it, and on POSIX whatever it started."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


class _Tail(threading.Thread):
    """Reads all that a process prints, and keeps the end of it."""

    def __init__(self, stream: IO[bytes]):
        super().__init__(daemon=True)
        self.stream, self.kept = stream, b""
        self.start()

    def run(self) -> None:
        while chunk := os.read(self.stream.fileno(), 1 << 16):
            self.kept = (self.kept + chunk)[-4 * _PRINTED :]
        self.stream.close()

    def text(self) -> str:
        return self.kept.decode("utf-8", errors="replace")[-_PRINTED:].strip()


def _ending(code: int, in_time: bool, task: Task, child: _Child, file: Path) -> str:
    """Why there is no outcome for a check, in a sentence."""
    name = task.file_of(file).name
    frames = re.findall(rf'File "[^"]*{re.escape(name)}", line (\d+) in', child.printed)
    where = f" in line {frames[0]}" if frames else ""
    if not in_time:
        limit = f"{task.seconds:g} seconds" if child.started else f"{STARTING:g} seconds to start"
        return f"it was stopped after {limit}{where}: an endless loop, or far too much work"
    if code < 0:
        name = signal.Signals(-code).name
        reason = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the process crashed with {name}{where}{reason}"
    return f"the process ended early, with exit code {code}"


def _environment() -> dict[str, str]:
    """The child finds the library where the parent has it, computes on one thread, and runs kernels
    in Triton's interpreter (set TRITON_INTERPRET=0 to have them compiled).
    """
    root = str(Path(minissl.__file__).parent.parent)
    paths = [p for p in (os.environ.get("PYTHONPATH"), root) if p]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {"TRITON_INTERPRET": "1", **one, **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
