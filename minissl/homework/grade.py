"""Grade a folder of submissions into one table."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from minissl.durable import replace_durably
from minissl.homework.check import Results, Settings, check_submission, nothing_there
from minissl.homework.collect import Submission, submissions
from minissl.homework.plain import told
from minissl.homework.scoreboard import to_gradescope
from minissl.homework.task import Assignment


class Grading:
    """The submissions of a folder. ``ignored``: the names of what belongs to no student."""

    def __init__(self, assignment: Assignment, folder: Path, settings: Settings):
        self.assignment, self.settings = assignment, settings
        self.submissions, self.ignored = submissions(assignment, folder)

    def rows(self, table: Path, details: Path | None = None) -> Iterator[dict[str, str]]:
        """Check every submission, and yield its row; the table is complete after each of them.

        ``details``: a folder that gets one ``results.json`` per submission, named after it.
        """
        rows: list[dict[str, str]] = []
        for submission in self.submissions:
            results = self._check(submission)
            if details is not None:
                safe = re.sub(r'[\\/:*?"<>|\0]', "_", submission.name).encode()[:200]
                write_json(details / f"{safe.decode(errors='ignore')}.json", results)
            rows.append(self._row(submission, results))
            replace_durably(table, self._csv(rows))
            yield rows[-1]

    def _check(self, submission: Submission) -> Results:
        if submission.handin is None:
            return nothing_there(self.assignment, submission.problem, self.settings)
        try:
            return check_submission(self.assignment, submission.handin, settings=self.settings)
        except Exception as error:  # whatever it is, the others are graded
            return nothing_there(self.assignment, told(error), self.settings)

    def _row(self, submission: Submission, results: Results) -> dict[str, str]:
        tasks = {result.task.number: str(result.score) for result in results.tasks}
        return {
            "submission": submission.name,
            "score": str(results.score),
            "points": str(results.points),
            **tasks,
            "seed": str(self.settings.seed),
            "comment": "; ".join(filter(None, (results.comment, submission.note))),
        }

    def _csv(self, rows: list[dict[str, str]]) -> bytes:
        numbers = [task.number for task in self.assignment.parts]
        text = io.StringIO()
        names = ["submission", "score", "points", *numbers, "seed", "comment"]
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows({name: _no_formula(row[name]) for name in names} for row in rows)
        return text.getvalue().encode()


def _no_formula(text: str) -> str:
    """A spreadsheet computes what begins with one of these: a student's text shall not be that."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


def write_json(path: Path, results: Results) -> None:
    """The results for Gradescope, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_durably(path, f"{json.dumps(to_gradescope(results), indent=2)}\n".encode())
