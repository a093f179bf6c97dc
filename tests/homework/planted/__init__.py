"""Wrong answers of the kind students give, to prove that the checks catch them.

One file per homework. Each wrong answer is a function (or class) in place of the library's. The
tests run the checks against every one; the checks must take points and name the symptom.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from minissl.homework.experiment import files_beside


@dataclass(frozen=True)
class Planted:
    """One wrong answer. ``mistake``: in words; ``shows``: must appear in the symptom (a regex)."""

    task: str
    mistake: str
    shows: str
    subject: Any


class Collection(list[Planted]):
    """The wrong answers of one homework, collected by a decorator."""

    def add(self, task: str, mistake: str, *, shows: str) -> Callable[[Any], Any]:
        """Decorator: the function or class is a wrong answer to the task of that number."""

        def keep(subject: Any) -> Any:
            self.append(Planted(task, mistake, shows, subject))
            return subject

        return keep


class HandedIn:
    """A report on an experiment that was really written, to hand in with something else in it.

    ``name``: of its folder, "hw3". ``files``: by name, of which ``rows`` are the results and
    ``text`` is the report.
    """

    def __init__(self, experiment: Any, name: str):
        self.experiment = experiment
        place = Path(__file__).parents[1] / "experiments" / name / "experiment.py"
        self.files: Mapping[str, bytes] = files_beside(place)
        self.rows = json.loads(self.files["results.json"])
        self.text = self.files["report.md"].decode()

    def __call__(self, files: Mapping[str, bytes] | None = None, **functions: Any) -> Any:
        """What would be handed in: the library's functions and these files, but for those given."""
        answer = self.experiment.answer()
        functions = {**answer.functions, **functions}
        return replace(answer, functions=functions, files=self.files if files is None else files)


def planted(number: int) -> Collection:
    """The wrong answers of homework ``number``, from the ``PLANTED`` of its file."""
    found: Collection = import_module(f"{__name__}.hw{number}").PLANTED
    return found
