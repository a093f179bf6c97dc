"""Grade a folder of submissions into one table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from minissl.durable import replace_durably
from minissl.homework.check import Results, Settings, check_submission, nothing_there
from minissl.homework.class_folder import Submission, details_name, opened, row_name
from minissl.homework.plain import plain, told
from minissl.homework.scoreboard import to_gradescope
from minissl.homework.task import Assignment


def grade(
    assignment: Assignment,
    found: Sequence[Submission],
    table: Path,
    *,
    settings: Settings,
    details: Path | None,
) -> Iterator[dict[str, str]]:
    """Check every submission, and yield its row; the table is complete after each of them.

    ``details``: a folder that gets one ``results.json`` per submission, named after it.
    """
    rows: list[dict[str, str]] = []
    for one in found:
        notes = [*one.notes]
        try:
            handin, more = opened(assignment, one)
            notes += more
            results = check_submission(assignment, handin, settings=settings)
        except Exception as error:  # whatever it is, the others are graded
            reason = str(error) if isinstance(error, ValueError) else told(error)
            results = nothing_there(assignment, reason, settings)
        if details is not None:
            write_json(details / details_name(one.place), results)
        comment = plain("; ".join(filter(None, [results.comment, *notes])), 1000)
        rows.append(_row(row_name(one.place), results, comment))
        replace_durably(table, _csv(assignment, rows))
        yield rows[-1]


def _row(name: str, results: Results, comment: str) -> dict[str, str]:
    tasks = {result.task.number: str(result.score) for result in results.tasks}
    return {
        "submission": name,
        "score": str(results.score),
        "points": str(results.points),
        **tasks,
        "seed": str(results.settings.seed),
        "comment": comment,
    }


def _csv(assignment: Assignment, rows: list[dict[str, str]]) -> bytes:
    numbers = [task.number for task in assignment.parts]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["submission", "score", "points", *numbers, "seed", "comment"])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def write_json(path: Path, results: Results) -> None:
    """The results for Gradescope, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_durably(path, f"{json.dumps(to_gradescope(results), indent=2)}\n".encode())
