"""Homework accepts every right answer, not only the library's way to write it."""

from collections import Counter

import pytest

from minissl.homework.assignments import assignment_numbers, load_assignment
from minissl.homework.outcome import run_check
from minissl.homework.submission import missing_packages
from tests.homework.right import right_answers

RIGHT = {key: answer for n in assignment_numbers() for key, answer in right_answers(n).items()}


@pytest.mark.parametrize("answer", RIGHT)
def test_another_right_answer_scores_full_marks(answer):
    number = answer.partition(" ")[0]
    tasks = load_assignment(int(number[0])).parts
    (task,) = (task for task in tasks if task.number == number)
    if missing_packages(task):
        pytest.skip(f"{task.number} needs {task.requires}")
    for check in task.checks:
        outcome = run_check(task, check, RIGHT[answer], seed=3)
        assert outcome.status == "passed", outcome


@pytest.mark.parametrize("number", assignment_numbers())
def test_every_task_has_two_of_them(number):
    counts = Counter(answer.partition(" ")[0] for answer in right_answers(number))
    assert all(counts[task.number] >= 2 for task in load_assignment(number).parts), counts
