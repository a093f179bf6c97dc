"""The process in which one task of one student is checked: ``python -m minissl.homework.child``.

The request comes as JSON by standard input. Each finished check is a signed line (``report``) on
what was standard output when the process began; what the student's code prints goes to standard
error. So what is printed is no result, and a process that ends early has lost only the checks that
it did not finish.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
import traceback
from dataclasses import asdict, replace
from os import _exit
from pathlib import Path
from typing import Any

from minissl.homework.assignments import load_assignment
from minissl.homework.outcome import Outcome, run_check
from minissl.homework.plain import plain, told
from minissl.homework.report import Report
from minissl.homework.submission import NotLoaded, NotPython, NotThere, failed_imports, subject_of
from minissl.homework.task import Check, Task
from minissl.homework.untouched import Untouched

MEMORY = 4 << 30  # bytes that a child may allocate
LARGEST_FILE = 1 << 30  # bytes of a file that it may write


def private_output() -> int:
    """Standard output under another number; what is printed from now on goes to standard error."""
    private = os.dup(1)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):  # a crash shall not take with it what was printed
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    return private


def limit_resources() -> None:
    """What is too large shall fail here, and not slow the whole computer down or fill its disk."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = (
        (resource.RLIMIT_DATA, MEMORY),
        (resource.RLIMIT_FSIZE, LARGEST_FILE),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, most in limits:
        _, hard = resource.getrlimit(kind)
        if hard == resource.RLIM_INFINITY or hard > most:
            with contextlib.suppress(ValueError, OSError):  # macOS refuses some
                resource.setrlimit(kind, (most, hard))


def main() -> None:
    """Answer one request."""
    with open(0, "rb", buffering=0, closefd=False) as requests:
        request = json.loads(requests.readline())
    report = Report(private_output(), request.pop("key"))
    assignment = load_assignment(request["assignment"])
    task = next(t for t in assignment.parts if t.number == request["task"])
    handed = Path(request["file"])
    limit_resources()
    task.answer()  # what the library imports is not the student's time
    checks = [replace(check) for check in task.checks]
    watch, add, run = Untouched(), report.add, _run
    put_back, replaced = watch.put_back, watch.replaced
    report.add(event="started")
    faulthandler.enable()
    faulthandler.dump_traceback_later(0.9 * request["seconds"])
    sys.path.append(str(handed.parent))  # at the end: a student's random.py hides nothing
    try:
        subject = subject_of(
            handed, assignment, task, use_mine=request["use_mine"], only_load=request["only_load"]
        )
    except NotLoaded as error:
        put_back()
        return add(event="not loaded", text=str(error), no_python=isinstance(error, NotPython))
    except NotThere as error:
        put_back()
        return add(event="not there", text=str(error))
    put_back()
    add(event="loaded")
    for check in () if request["only_load"] else checks:
        outcome = run(task, check, subject, request, task.file_of(handed))
        if outcome.status == "passed" and (name := replaced()):
            outcome = replace(outcome, status="wrong", symptom=f"your code replaced {name}")
        add(event="outcome", **asdict(outcome))
    return None


def _run(task: Task, check: Check, subject: Any, request: dict[str, Any], file: Path) -> Outcome:
    """One check. Nobody presses Ctrl-C in a child: a KeyboardInterrupt is the student's."""
    options = {name: request[name] for name in ("seed", "extra", "guarded")}
    try:
        outcome = run_check(task, check, subject, file=file, **options)
    except BaseException as error:
        symptom = f"it ended the check by {told(error)}"
        return Outcome(check.name, check.about, check.points, "wrong", symptom)
    failed = failed_imports(task)
    if "NameError" in outcome.symptom and failed:  # not defined because its import failed earlier
        reasons = plain(", ".join(failed), 300)
        return replace(outcome, symptom=f"{outcome.symptom}; an import failed: {reasons}")
    return outcome


def end(code: int) -> None:
    """End now, without waiting for threads and without what the student's code left to be done."""
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
    _exit(code)


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc()
        end(1)
    end(0)
