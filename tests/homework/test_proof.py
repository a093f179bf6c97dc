"""The proof that grading works, for every assignment: see docs/instructor_guide.md.

Checks run in this process, with the functions that a student's file defines; only the real checker
of the answer key starts its processes.
"""

import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from minissl.homework.assignments import assignment_numbers, load_assignment
from minissl.homework.check import Settings, check_submission
from minissl.homework.experiment import FILE, Experiment, files_beside
from minissl.homework.outcome import Outcome, run_check
from minissl.homework.source import experiment_file, find, student_file
from minissl.homework.starter import handout
from minissl.homework.submission import missing_packages, subject_of
from tests.homework.planted import planted

NUMBERS = assignment_numbers()
LECTURES = Path(__file__).parents[2] / "lectures"
REPORTS = Path(__file__).parent / "experiments"  # what was written about our own, hw5/report.md


@cache
def tasks_of(number):
    """What can be checked here: kernels need Triton, which has wheels for Linux only."""
    return [task for task in load_assignment(number).parts if not missing_packages(task)]


def right_answer(task):
    """The library's function or class, and beside our experiment a report that was written."""
    if not isinstance(task, Experiment):
        return task.answer()
    return replace(task.answer(), files=files_beside(report_of(task) / FILE))


def report_of(task):
    """The folder of the report."""
    return REPORTS / f"hw{task.number.partition('.')[0]}"


def outcomes(task, subject, **options) -> list[Outcome]:
    return [run_check(task, check, subject, **options) for check in task.checks]


def seen_of(task, subject):
    """What the checks say: first without the guard, which takes time and speaks only when a check
    has nothing to say.
    """
    for guarded in (False, True):
        for check in task.checks:
            yield run_check(task, check, subject, guarded=guarded)


def write(folder, assignment, solved):
    path = folder / f"hw{assignment.number}.py"
    path.write_text(student_file(assignment, solved), encoding="utf-8")
    if experiment := assignment.experiment:
        text = experiment_file(experiment, solved=experiment.number in solved)
        (folder / FILE).write_text(text, encoding="utf-8")
        if experiment.number in solved:
            shutil.copytree(report_of(experiment), folder, dirs_exist_ok=True)
    return path


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(("seed", "extra"), [(0, 3), (1, 0), (2027, 6)])
def test_the_library_passes_its_own_checks_with_any_seed(number, seed, extra):
    for task in tasks_of(number):
        for outcome in outcomes(task, right_answer(task), seed=seed, extra=extra, guarded=False):
            assert outcome.status == "passed", (task.number, outcome)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_answer_key_scores_full_marks_in_the_real_checker(number, tmp_path):
    assignment = load_assignment(number)
    path = write(tmp_path, assignment, [task.number for task in assignment.parts])
    numbers = [task.number for task in tasks_of(number)]
    results = check_submission(assignment, path, numbers=numbers, settings=Settings(guarded=False))
    for result in results.tasks:
        assert result.score == result.task.points, (result.outcomes, result.printed)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_starter_scores_zero_because_nothing_is_written(number, tmp_path):
    assignment = load_assignment(number)
    path = write(tmp_path, assignment, [])
    for task in tasks_of(number):
        for outcome in outcomes(task, subject_of(path, assignment, task)):
            assert (outcome.status, outcome.earned) == ("not written", 0), (task.number, outcome)
            own = outcome.symptom == task.unwritten
            assert own or "there is no results.json" in outcome.symptom


@pytest.mark.parametrize("number", NUMBERS)
def test_a_task_needs_only_the_tasks_before_it(number, tmp_path):
    """With the student's own functions throughout, and the later ones not written."""
    assignment = load_assignment(number)
    solved = []
    for task in assignment.tasks:
        solved.append(task.number)
        if task not in tasks_of(number):
            continue
        path = write(tmp_path, assignment, solved)
        subject = subject_of(path, assignment, task, use_mine=True)
        assert subject is not task.answer()
        for outcome in outcomes(task, subject, extra=1, guarded=False):
            assert outcome.status == "passed", (task.number, outcome)


@pytest.mark.parametrize("number", NUMBERS)
def test_every_planted_mistake_loses_points_and_shows_its_symptom(number):
    tasks = {task.number: task for task in tasks_of(number)}
    all_tasks = {task.number for task in load_assignment(number).parts}
    wrong_answers = planted(number)
    assert {answer.task for answer in wrong_answers} == all_tasks
    slipped, caught = [], 0
    for answer in wrong_answers:
        if answer.task not in tasks:
            continue
        shown = []
        for outcome in seen_of(tasks[answer.task], answer.subject):
            if outcome.status != "passed":
                shown.append(outcome.symptom)
                if re.search(answer.shows, outcome.symptom):
                    caught += 1
                    break
        else:
            slipped.append(f"{answer.task} {answer.mistake}: /{answer.shows}/ is not in {shown}")
    print(f"homework {number}: {caught} of {caught + len(slipped)} planted mistakes caught")
    assert not slipped, "\n".join(slipped)
    for number_of_task in all_tasks:
        assert sum(answer.task == number_of_task for answer in wrong_answers) >= 5, number_of_task


@pytest.mark.parametrize("number", NUMBERS)
def test_the_manifest_is_complete(number):
    assignment = load_assignment(number)
    assert assignment.points == 100
    assert [t.number for t in assignment.parts] == [
        f"{number}.{k + 1}" for k in range(len(assignment.parts))
    ]
    for task in assignment.parts:
        find(task.target)
        names = [check.name for check in task.checks]
        assert len(set(names)) == len(names)
        assert len(names) >= 2, f"{task.number}: partial work must score"
        assert all(check.about and check.points > 0 for check in task.checks)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_handout_speaks_of_every_task(number):
    assignment = load_assignment(number)
    text = handout(assignment)
    assert text.startswith(f"# Homework {number}")
    below_the_table = text[text.index("\n## ") :]
    for task in assignment.parts:
        assert f"| {task.number} | `{task.label}` |" in text
        assert re.search(rf"(?<![\d.]){re.escape(task.number)}(?![\d.]*\d)", below_the_table)
        assert task.name in below_the_table
    for item in assignment.experiment.rubric if assignment.experiment else ():
        assert f"| {item.points} | {item.about} | a person |" in below_the_table
    lines = [line for line in below_the_table.splitlines() if line[:1] != "|"]
    assert all(len(line) <= 100 for line in lines)


@pytest.mark.parametrize("number", NUMBERS)
def test_where_to_read_is_there(number):
    for task in load_assignment(number).parts:
        lecture, section = re.fullmatch(r"lecture (\d\d), section (\d+)", task.lecture).groups()
        (path,) = LECTURES.glob(f"{lecture}_*.md")
        assert f"\n## {section}. " in path.read_text(encoding="utf-8"), task.number
