"""Wrong answers of the kind students give, to prove that the checks catch them.

One file per homework. Each wrong answer is a function (or class) in place of the library's. The
tests run the checks against every one; the checks must take points and name the symptom.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


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


def planted(number: int) -> Collection:
    """The wrong answers of homework ``number``, from the ``PLANTED`` of its file."""
    found: Collection = import_module(f"{__name__}.hw{number}").PLANTED
    return found
