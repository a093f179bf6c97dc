"""A few lines of homework 1, right and wrong, for the tests of the checker."""

import textwrap

from minissl.homework.assignments import load_assignment
from minissl.homework.check import Settings, check_submission

ONE = load_assignment(1)
DIVIDE = """
@differentiable
def divide(a, b, /):
    return a / b, (lambda g: g / b, lambda g: -g * a / (b * b))
"""
IMPORTS = """
import numpy as np
from minissl.autograd.tensor import Tensor, differentiable
"""


def write(folder, text, name="hw1.py"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def checked(path, *numbers, **settings):
    """The results of hw1, and its tasks' results by number."""
    results = check_submission(ONE, path, numbers=numbers, settings=Settings(**settings))
    return results, {result.task.number: result for result in results.tasks}


def symptoms(result):
    return " | ".join(outcome.symptom for outcome in result.outcomes)
