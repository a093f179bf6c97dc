"""The process in which one task of one student is checked: ``python -m minissl.homework.child``.

The request comes as JSON by standard input. Each finished check is a line of JSON in a file that
the parent named, so that what the student's code prints is no result, and a process that ends early
has lost only the checks that it did not finish.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from minissl.homework.assignments import load_assignment
from minissl.homework.outcome import Outcome, run_check
from minissl.homework.submission import NotLoaded, NotThere, subject_of

MEMORY = 4 << 30  # bytes that a child may allocate


class Report:
    """The lines that the parent reads. A process that the student's code forks cannot write any."""

    def __init__(self, path: str):
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115  (until the process ends)
        self.owner = os.getpid()

    def add(self, **line: Any) -> None:
        """One line, at once."""
        if os.getpid() == self.owner:
            self.file.write(f"{json.dumps(line)}\n")
            self.file.flush()


def limit_memory() -> None:
    """An allocation that is too large shall fail here, and not slow the whole computer down."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, most in ((resource.RLIMIT_DATA, MEMORY), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        if hard == resource.RLIM_INFINITY or hard > most:
            resource.setrlimit(kind, (most, hard))


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.readline())
    report = Report(request["report"])
    assignment = load_assignment(request["assignment"])
    task = next(t for t in assignment.parts if t.number == request["task"])
    handed = Path(request["file"])
    file = task.file_of(handed)
    limit_memory()
    task.answer()  # what the library imports is not the student's time
    report.add(event="started")
    faulthandler.enable()
    faulthandler.dump_traceback_later(0.9 * request["seconds"])
    sys.path.append(str(file.parent))  # at the end: a student's random.py hides nothing
    try:
        subject = subject_of(handed, assignment, task, use_mine=request["use_mine"])
    except NotLoaded as error:
        syntax_error = isinstance(error.__cause__, SyntaxError)
        return report.add(event="not loaded", text=str(error), syntax_error=syntax_error)
    except NotThere as error:
        return report.add(event="not there", text=str(error))
    report.add(event="loaded")
    failed = vars(sys.modules[task.stem])["failed_imports"]
    for check in task.checks:
        options = {name: request[name] for name in ("seed", "extra", "guarded")}
        outcome = run_check(task, check, subject, file=file, **options)
        report.add(event="outcome", **asdict(_with_imports(outcome, failed)))
    return None


def _with_imports(outcome: Outcome, failed: list[str]) -> Outcome:
    """A name that is not defined because its import failed, earlier: say so."""
    if "NameError" not in outcome.symptom or not failed:
        return outcome
    return replace(outcome, symptom=f"{outcome.symptom}; an import failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # not to wait for threads that the student's code has started
