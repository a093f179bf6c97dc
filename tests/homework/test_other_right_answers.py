"""Homework accepts every right answer, not only the library's way to write it.

The wrong answers of ``planted`` are made by functions with one switch for each mistake; with all
switches at their defaults they are right.
"""

import pytest

from minissl.homework.assignments import load_assignment
from minissl.homework.outcome import run_check
from tests.homework.planted import hw2, hw2_training, hw3, hw3_model

RIGHT = {
    "2.3": hw2_training.learner(hw2_training.largest),
    "2.4": hw2.segmenter(min),
    "2.5": hw2.counter(),
    "2.7": hw2.encoder(),
    "2.8": hw2_training.quick_learner(),
    "3.1": hw3.cutter(lambda windows: (windows[..., :-1], windows[..., 1:])),
    "3.2": hw3.loss(),
    "3.3": hw3_model.masker(),
    "3.4": hw3_model.attender(),
    "3.5": hw3_model.splitter(),
    "3.6": hw3_model.blocks(),
    "3.7": hw3.sampler(),
    "3.8": hw3.writer(),
}


@pytest.mark.parametrize("number", RIGHT)
def test_another_right_answer_scores_full_marks(number):
    tasks = load_assignment(int(number[0])).tasks
    (task,) = (task for task in tasks if task.number == number)
    for check in task.checks:
        outcome = run_check(task, check, RIGHT[number], seed=3)
        assert outcome.status == "passed", outcome
