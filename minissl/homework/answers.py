"""Which lines of the source, and which code of a lecture, are the answer of a homework task.

All is read from the manifest of the homework. Where a lecture is shown, on the site and in the
terminal, these lines are not seen at once, or not at all.
"""

import ast
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minissl.homework.assignments import assignment_numbers, load_assignment
from minissl.places import Place, find


@dataclass(frozen=True)
class Graded:
    """A function or method that a task asks for: the task's number, its name, where it is."""

    task: str
    label: str
    place: Place

    @property
    def title(self) -> str:
        """ "homework 1, task 1.1 (divide)"."""
        return f"homework {self.task.partition('.')[0]}, task {self.task} ({self.label})"


@cache
def graded() -> tuple[Graded, ...]:
    """Every answer of the manifest, in the order of the tasks.

    What a starter hands out with its body (an experiment's plain loop around the student's parts)
    stands in the manifest as well, and is folded too.
    """
    tasks = [task for n in assignment_numbers() for task in load_assignment(n).parts]
    return tuple(Graded(task.number, task.label, find(task.target)) for task in tasks)


def inside(place: Place) -> list[Graded]:
    """The answers among the lines of a listing: a class shows those of its methods."""
    return among(place.path, range(place.first, place.last + 1))


def among(path: Path, lines: range) -> list[Graded]:
    """The answers that a file has within a range of its lines."""
    return [
        one
        for one in graded()
        if one.place.path == path and one.place.first in lines and one.place.last in lines
    ]


def written_by_hand(code: str) -> list[Graded]:
    """The answers that a block of code defines itself, under the same name.

    Under another name it says so: ``# answers 2.3``.
    """
    names = set(re.findall(r"# answers (\d+\.\d+)", code))
    with suppress(SyntaxError):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.ClassDef):
                inner = (part for part in node.body if isinstance(part, ast.FunctionDef))
                names |= {f"{node.name}.{method.name}" for method in inner}
    return [one for one in graded() if {one.label, one.task} & names]
