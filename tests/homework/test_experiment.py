"""The experiment of a homework: its files in the student's folder, in the checker, in a class."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from minissl.cli import main
from minissl.homework.assignments import load_assignment
from minissl.homework.check import check_submission
from minissl.homework.experiment import FILE, REPORT, RESULTS, files_beside
from minissl.homework.scoreboard import to_text
from minissl.homework.source import experiment_file, student_file
from minissl.homework.starter import start

FIVE = load_assignment(5)
OURS = Path(__file__).parent / "experiments" / "hw5"
NUMBER = FIVE.experiment.number


@pytest.fixture
def folder(tmp_path):
    """A student's folder: no task is written, the experiment is whole."""
    path = start(FIVE, tmp_path)
    (path / FILE).write_text(experiment_file(FIVE.experiment, solved=True), encoding="utf-8")
    shutil.copytree(OURS, path, dirs_exist_ok=True)
    return path


def outcomes(results):
    return {o.check: o for result in results.tasks for o in result.outcomes}


def test_the_starter_has_the_file_without_the_bodies(tmp_path, capsys):
    assert main(["homework", "start", "5", "--folder", str(tmp_path)]) == 0
    assert "write hw5.py and experiment.py" in capsys.readouterr().out
    text = (tmp_path / "hw5" / FILE).read_text(encoding="utf-8")
    unwritten = f'    raise NotImplementedError("{FIVE.experiment.unwritten}")\n'
    assert text.count(unwritten) == len(FIVE.experiment.writes) == 4
    for name in FIVE.experiment.writes:
        assert re.search(rf'def {name}\(.*?"""\n{re.escape(unwritten)}', text, re.DOTALL)
    assert "argmax" not in text
    assert 'if __name__ == "__main__"' in text, "what is given stays"
    results = check_submission(FIVE, tmp_path / "hw5" / "hw5.py", numbers=[NUMBER])
    assert (results.score, results.problem) == (0, "")
    assert "not written yet" in to_text(results)


def test_points_of_a_person_are_none_of_the_checkers(folder, capsys):
    assert main(["homework", "check", "5", str(folder), "--task", NUMBER]) == 0
    shown = capsys.readouterr().out
    own, by_hand = FIVE.experiment.points, FIVE.experiment.by_hand
    assert f"{own} of {own}" in shown
    assert f"{by_hand} more points of {NUMBER} are a person's: see HW5.md" in shown
    assert (FIVE.points, own + by_hand) == (100, 15)
    assert main(["homework", "list"]) == 0
    assert re.search(rf"{NUMBER} +15  experiment: ", capsys.readouterr().out)


def test_a_file_that_does_not_load_leaves_the_other_in_peace(folder):
    (folder / "hw5.py").write_text("def f(:\n", encoding="utf-8")
    results = check_submission(FIVE, folder / "hw5.py")
    assert results.problem == "hw5.py, line 1: invalid syntax"
    assert results.score == FIVE.experiment.points
    text = (folder / FILE).read_text(encoding="utf-8")
    (folder / FILE).write_text(text + "\nx = 1 / 0\n", encoding="utf-8")
    shown = to_text(check_submission(FIVE, folder / "hw5.py"))
    assert "Nothing can be checked: hw5.py, line 1: invalid syntax" in shown
    assert "ZeroDivisionError" in shown, "of both files it is said what is wrong"
    comment = check_submission(FIVE, folder / "hw5.py").comment
    assert re.fullmatch(
        "hw5.py, line 1: invalid syntax; experiment.py.*ZeroDivisionError.*", comment
    )
    (folder / "hw5.py").write_text(student_file(FIVE, ["5.1"]), encoding="utf-8")
    results = check_submission(FIVE, folder / "hw5.py", numbers=["5.1", NUMBER])
    assert (results.problem, results.score) == ("", FIVE.tasks[0].points)


def test_an_error_says_its_line_in_the_experiment(folder):
    text = (folder / FILE).read_text(encoding="utf-8")
    line = text[: text.index("    found = [\n")].count("\n") + 1
    (folder / FILE).write_text(
        text.replace("    found = [\n", "    found = 1 / 0\n    found = [\n"), encoding="utf-8"
    )
    found = outcomes(check_submission(FIVE, folder / "hw5.py", numbers=[NUMBER]))
    assert "ZeroDivisionError" in found["nearest_endings"].symptom
    assert f"(experiment.py, line {line})" in found["nearest_endings"].symptom
    assert found["nearest_documents"].status == "passed"


def test_the_experiment_may_use_the_students_own_functions(folder):
    text = (folder / FILE).read_text(encoding="utf-8")
    library = "from minissl.text.cooccurrence import cooccurrences"
    assert library in text
    (folder / FILE).write_text(
        text.replace(library, "from hw5 import cooccurrences"), encoding="utf-8"
    )
    (folder / "hw5.py").write_text(student_file(FIVE, ["5.3"]), encoding="utf-8")
    results = check_submission(FIVE, folder / "hw5.py", numbers=[NUMBER])
    assert results.score == FIVE.experiment.points


@pytest.mark.parametrize("gone", [RESULTS, REPORT, "figure.svg"])
def test_a_missing_file_costs_what_it_is_for(folder, gone):
    (folder / gone).unlink()
    found = outcomes(check_submission(FIVE, folder / "hw5.py", numbers=[NUMBER]))
    lost = {name for name, outcome in found.items() if outcome.status != "passed"}
    assert lost == ({"results_are_whole"} if gone == RESULTS else set()) | {"report_is_whole"}
    assert gone in found["report_is_whole"].symptom


def test_in_a_class_each_has_an_experiment_of_their_own(folder, tmp_path, capsys):
    """A file ``bob.py`` that lies among others has none, whatever lies beside it."""
    shutil.move(folder, tmp_path / "class" / "alice")
    for name in (FILE, RESULTS, REPORT, "figure.svg"):
        shutil.copy(tmp_path / "class" / "alice" / name, tmp_path / "class" / name)
    shutil.move(tmp_path / "class" / "alice" / FILE, tmp_path / "class" / "bob.py")
    (tmp_path / "class" / FILE).unlink()
    table = tmp_path / "grades.csv"
    assert main(["homework", "grade", "5", str(tmp_path / "class"), "--csv", str(table)]) == 0
    rows = {
        row["submission"]: row
        for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    }
    assert {name: row[NUMBER] for name, row in rows.items()} == {"alice": "0", "bob.py": "0"}
    path = tmp_path / "class" / "bob.py"
    found = outcomes(check_submission(FIVE, path, numbers=[NUMBER]))
    assert "as a folder with hw5.py and experiment.py in it" in found["report_is_whole"].symptom
    path = tmp_path / "class" / "alice" / "hw5.py"
    found = outcomes(check_submission(FIVE, path, numbers=[NUMBER]))
    assert "there is no experiment.py beside hw5.py" in found["report_is_whole"].symptom


def test_our_own_report_says_what_was_measured():
    files = files_beside(OURS / FILE)
    assert set(files) == {RESULTS, REPORT, "figure.svg"}
    rows, text = json.loads(files[RESULTS]), files[REPORT].decode()
    for setting in ("narrow", "middle", "wide"):
        own = [row for row in rows if row["setting"] == setting]
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {setting} |"))
        assert f"| {own[0]['pairs']:,.0f} |" in line
        for measured in ("topic", "ending"):
            values = 100 * np.array([row[measured] for row in own])
            assert f"| {values.mean():.1f} ± {values.std(ddof=1):.1f} |" in line


def test_our_report_on_hidden_tokens_says_what_was_measured():
    files = files_beside(OURS.with_name("hw7") / FILE)
    rows, text = json.loads(files[RESULTS]), files[REPORT].decode()
    for setting in ("all masked", "none random", "as in BERT"):
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {setting} |"))
        for measured in ("masked", "kept", "random"):
            values = np.array([row[measured] for row in rows if row["setting"] == setting])
            assert f"| {values.mean():.2f} ± {values.std(ddof=1):.2f} |" in line


def test_our_report_on_curves_says_what_was_measured():
    files = files_beside(OURS.with_name("hw3") / FILE)
    rows, text = json.loads(files[RESULTS]), files[REPORT].decode()
    for setting in ("page", "chapter", "book"):
        own = [row for row in rows if row["setting"] == setting]
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {setting} |"))
        assert f"| {own[0]['counts']:.2f} | {own[0]['pairs']:.2f} |" in line
        for measured in ("start", "best", "last", "training"):
            values = np.array([row[measured] for row in own])
            assert f"| {values.mean():.2f} ± {values.std(ddof=1):.2f} |" in line


def test_our_report_on_steps_says_what_was_measured():
    files = files_beside(OURS.with_name("hw1") / FILE)
    rows, text = json.loads(files[RESULTS]), files[REPORT].decode()
    for setting in {row["setting"] for row in rows}:
        own = [row for row in rows if row["setting"] == setting]
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {setting} |"))
        assert {f"{row['step']:.1e}" for row in own} == {line.split("|")[2].strip()}
        for measured in ("error", "usual", "mistake"):
            values = np.array([row[measured] for row in own])
            assert f"| {values.mean():.1e} ± {values.std(ddof=1):.1e} |" in line
