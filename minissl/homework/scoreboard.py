"""The results as a student reads them on the terminal, and as Gradescope reads them."""

from __future__ import annotations

import platform
import re
import textwrap
from itertools import groupby
from typing import Any

import numpy as np

import minissl
from minissl.course import find_page, section_of
from minissl.homework.check import Results, TaskResult
from minissl.homework.outcome import Outcome
from minissl.homework.task import Task

_BAR = 10  # characters of a full bar
_WIDTH = 96  # of a line of text; values keep their own lines


def to_text(results: Results, *, quiet: bool = False) -> str:
    """The scoreboard, and below it, unless ``quiet``, every failure with its case."""
    board = scoreboard(results)
    shown = [r for r in results.tasks if not results.problem or r.not_loaded != results.problem]
    failures = [] if quiet else [explain(result) for result in shown]
    return "\n\n".join([board, *filter(None, failures)])


def scoreboard(results: Results) -> str:
    """One line for each task: points, a bar, and which of its checks failed."""
    lines = [f"Homework {results.assignment.number}: {results.assignment.title}", ""]
    if results.problem:
        lines += [_wrapped(f"Nothing can be checked: {results.problem}", ""), ""]
    widest = max((len(result.task.label) for result in results.tasks), default=0)
    for result in results.tasks:
        task = result.task
        bar = "#" * (_BAR * result.score // max(task.points, 1))
        lines.append(
            f"  {task.number:<4} {task.label:<{widest}} {result.score:>4} of {task.points:<3} "
            f"[{bar:<{_BAR}}]  {_summary(result)}".rstrip()
        )
    total = f"{results.score:>4} of {results.points}"
    lines.append(f"  {'total':<{widest + 5}} {total}")
    number = results.assignment.number
    lines += [
        f"  {task.by_hand} more points of {task.number} are a person's: see HW{number}.md"
        for task in (result.task for result in results.tasks)
        if task.by_hand
    ]
    return "\n".join(lines)


def _summary(result: TaskResult) -> str:
    if result.score == result.task.points:
        return ""
    if result.unwritten:
        return "not written yet"
    if all(outcome.status == "not reached" for outcome in result.outcomes):
        return "see below"
    failed = ", ".join(o.check for o in result.outcomes if o.status != "passed")
    return textwrap.shorten(f"failed: {failed}", 56, placeholder=" ...")


def explain(result: TaskResult) -> str:
    """What failed in one task: for each check the sentence, the symptom and the case; "" if none.

    Checks that failed for the same reason without a case are told together.
    """
    task = result.task
    failed = [outcome for outcome in result.outcomes if outcome.status != "passed"]
    if not failed or result.unwritten:
        return ""
    lines = [f"---- {task.number} {task.label}: {result.score} of {task.points} points"]
    for _, group in groupby(failed, key=lambda outcome: (outcome.symptom, tuple(outcome.case))):
        lines += _explained(list(group))
    if result.printed:
        lines += ["", "  printed (the end of it):"]
        lines += [f"    | {line[:_WIDTH]}" for line in result.printed.splitlines()[-10:]]
    return "\n".join([*lines, "", f"  Read: {where_to_read(task)}"])


def where_to_read(task: Task) -> str:
    """The command that shows the section, and the section's title."""
    place = re.fullmatch(r"lecture (\d+), section (\d+)", task.lecture)
    try:
        text = section_of(find_page(place[1]), int(place[2])) if place else ""
    except (ValueError, OSError):
        return task.lecture  # there is no such section
    title = text.partition("\n")[0].partition(". ")[2]
    return f"{task.read}  ({title})" if title else task.lecture


def _explained(outcomes: list[Outcome]) -> list[str]:
    """Checks with one symptom: their sentences, the symptom, and the first one's case."""
    lines = ["", *(_wrapped(f"{o.check} ({o.points} points): {o.about}", "  ") for o in outcomes)]
    lines.append(_wrapped(f"-> {outcomes[0].symptom}", "  ", "     "))
    width = max((len(name) for name in outcomes[0].case), default=0)
    for name, value in outcomes[0].case.items():
        indent = " " * (width + 7)
        first, *rest = value.splitlines() or [""]
        lines += [f"     {name:<{width}}  {first}", *(f"{indent}{line}" for line in rest)]
    return lines


def _wrapped(text: str, indent: str, later: str | None = None) -> str:
    """Long sentences on several lines; lines of the text stay lines (an error may have some)."""
    later = f"{indent}  " if later is None else later
    first, *rest = [
        textwrap.wrap(line, _WIDTH, initial_indent=later, subsequent_indent=later) or [""]
        for line in text.splitlines() or [""]
    ]
    first[0] = indent + first[0].removeprefix(later)
    return "\n".join(line for lines in [first, *rest] for line in lines)


def to_gradescope(results: Results) -> dict[str, Any]:
    """The results in the shape that Gradescope's autograder reads as ``results.json``."""
    tests = [
        {
            "number": result.task.number,
            "name": f"{result.task.number} {result.task.label}",
            "score": result.score,
            "max_score": result.task.points,
            "status": "passed" if result.score == result.task.points else "failed",
            "output": explain(result) or _summary(result),
            "visibility": "visible",
        }
        for result in results.tasks
    ]
    return {
        "score": results.score,
        "output": scoreboard(results),
        "visibility": "visible",
        "execution_time": round(sum(result.seconds for result in results.tasks), 1),
        "tests": tests,
        "extra_data": {
            "homework": results.assignment.number,
            "seed": results.settings.seed,
            "extra_shapes": results.settings.extra,
            "python": platform.python_version(),
            "versions": {"minissl": minissl.__version__, "numpy": np.__version__},
        },
    }
