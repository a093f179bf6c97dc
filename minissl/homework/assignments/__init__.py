"""One file per assignment, each with an ``ASSIGNMENT``: its tasks and their checks."""

import re
from importlib import import_module
from pkgutil import iter_modules

from minissl.homework.task import Assignment


def assignment_numbers() -> list[int]:
    """The numbers of all assignments, sorted."""
    names = (re.fullmatch(r"hw(\d+)", module.name) for module in iter_modules(__path__))
    return sorted(int(name[1]) for name in names if name)


def load_assignment(number: int) -> Assignment:
    """The assignment of that number. Raises ValueError with the numbers there are."""
    if number not in assignment_numbers():
        numbers = ", ".join(map(str, assignment_numbers()))
        raise ValueError(f"there is no homework {number}; choose one of: {numbers}")
    found: Assignment = import_module(f"{__name__}.hw{number}").ASSIGNMENT
    return found
