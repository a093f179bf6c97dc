"""Grade a folder of submissions into one table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from minissl.durable import replace_durably
from minissl.homework.check import Results, Settings, check_submission, nothing_there
from minissl.homework.scoreboard import to_gradescope
from minissl.homework.submission import find_file
from minissl.homework.task import Assignment


def submissions(folder: Path) -> list[Path]:
    """One per student: the folders and the Python files in a folder, hidden ones left out.

    Raises ValueError when there is none.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder of submissions")
    found = sorted(
        path
        for path in folder.iterdir()
        if path.name[0] not in "._" and (path.is_dir() or path.suffix == ".py")
    )
    if not found:
        raise ValueError(f"there are no submissions (folders, or .py files) in {folder}")
    return found


def grade(
    assignment: Assignment, folder: Path, table: Path, *, settings: Settings, details: Path | None
) -> Iterator[dict[str, str]]:
    """Check every submission, and yield its row; the table is complete after each of them.

    ``details``: a folder that gets one ``results.json`` per submission, named after it.
    """
    rows: list[dict[str, str]] = []
    for place in submissions(folder):
        try:
            results = check_submission(assignment, find_file(assignment, place), settings=settings)
        except Exception as error:  # whatever it is, the others are graded
            results = nothing_there(assignment, str(error), settings)
        if details is not None:
            write_json(details / f"{place.name}.json", results)
        rows.append(_row(place.name, results))
        replace_durably(table, _csv(assignment, rows))
        yield rows[-1]


def _row(name: str, results: Results) -> dict[str, str]:
    tasks = {result.task.number: str(result.score) for result in results.tasks}
    return {
        "submission": name,
        "score": str(results.score),
        "points": str(results.points),
        **tasks,
        "comment": results.comment,
    }


def _csv(assignment: Assignment, rows: list[dict[str, str]]) -> bytes:
    numbers = [task.number for task in assignment.parts]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["submission", "score", "points", *numbers, "comment"])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def write_json(path: Path, results: Results) -> None:
    """The results for Gradescope, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_durably(path, f"{json.dumps(to_gradescope(results), indent=2)}\n".encode())
