"""Checks and their cases, the starter, the commands and what they print and write."""

import csv
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import minissl
from minissl.cli import main
from minissl.homework.check import Results, Settings, TaskResult
from minissl.homework.outcome import Outcome, as_text, draw_for, run_check
from minissl.homework.scoreboard import explain, scoreboard, to_gradescope, to_text, where_to_read
from minissl.homework.source import Import, import_lines
from minissl.homework.submission import find_file
from minissl.homework.task import Task, Wrong, call, expect
from tests.homework.submissions import DIVIDE, IMPORTS, ONE, checked, write

# ---- checks --------------------------------------------------------------------------------------


def a_task(check, points=5):
    task = Task("9.1", "minissl.autograd.elementwise:exp", "toy", "lecture 02, section 1")
    task.check(points)(check)
    return task


def test_cases_depend_on_the_seed_alone():
    task = ONE.tasks[1]
    first, second = task.checks[:2]

    def numbers(check, seed, extra=2):
        return list(
            draw_for(task, check, seed, extra).cases(0, more=lambda g: int(g.integers(1e9)))
        )

    assert numbers(first, 0) == numbers(first, 0)
    assert numbers(first, 0)[1:] != numbers(first, 1)[1:]
    assert numbers(first, 0)[1:] != numbers(second, 0)[1:]
    assert len(numbers(first, 0, extra=7)) == 8


def test_a_failure_shows_the_smallest_case():
    def doubled(double, draw):
        """Twice the number."""
        for x in draw.cases(np.zeros(1), np.ones(2), more=lambda g: g.standard_normal(3)):
            tripled = {"this is three times the number": 3 * x}
            expect(call(double, x), 2 * x, given={"x": x}, symptoms=tripled)

    task = a_task(doubled)
    (check,) = task.checks
    assert run_check(task, check, lambda x: x + x, guarded=False).earned == 5
    outcome = run_check(task, check, lambda x: 3 * x)
    assert (outcome.status, outcome.earned) == ("wrong", 0)
    assert outcome.symptom == "this is three times the number"
    assert outcome.case["x"].startswith("[1. 1.]")
    assert outcome.case["expected"].startswith("[2. 2.]")

    def in_place(x):
        x *= 2
        return x

    assert "changed its input" in run_check(task, check, in_place).symptom
    assert "raised ZeroDivisionError" in run_check(task, check, lambda x: 1 / 0).symptom
    assert "dtype" in run_check(task, check, lambda x: (2 * x).astype(np.float32)).symptom
    assert run_check(task, check, lambda x: None).status == "wrong"


def test_an_error_in_the_answer_is_no_error_of_the_checker():
    def sized(function, draw):
        """It has a length."""
        assert len(function()) == 1

    task = a_task(sized)
    assert "does not do what the check needs" in run_check(task, *task.checks, lambda: 3).symptom


def test_a_case_is_short():
    assert len(as_text(np.zeros((200, 300)))) < 500
    assert len(as_text("x" * 5000)) < 800
    assert as_text(np.zeros((2, 1), np.float32)).endswith("shape (2, 1), float32")

    class Unprintable:
        def __repr__(self):
            raise RuntimeError

    assert "cannot be printed" in as_text(Unprintable())


def test_wrong_passes_through_call():
    def deeper():
        raise Wrong("inside", {}, 1, 2)

    with pytest.raises(Wrong, match=r"^inside$"):
        call(deeper)


# ---- the starter ---------------------------------------------------------------------------------


def test_start_writes_its_files_and_overwrites_none(tmp_path, capsys):
    arguments = ["homework", "start", "1", "--folder", str(tmp_path)]
    assert main(arguments) == 0
    folder = tmp_path / "hw1"
    assert sorted(p.name for p in folder.iterdir()) == [
        "AGENTS.md",
        "HW1.md",
        "experiment.py",
        "hw1.py",
    ]
    text = (folder / "hw1.py").read_text(encoding="utf-8")
    for task in ONE.tasks:
        assert f'raise NotImplementedError("{task.unwritten}")' in text
    assert "_check_input" not in text, "the helper that would give gradcheck away"
    assert "_parents_first" not in text[: text.index("# ---- 1.1")], "the other tasks are there"
    assert "hides Python's own max" in text
    (folder / "hw1.py").write_text("my work", encoding="utf-8")
    (folder / "HW1.md").unlink()
    capsys.readouterr()
    assert main(arguments) == 1
    assert "is already there, and is not overwritten" in capsys.readouterr().err
    assert (folder / "hw1.py").read_text(encoding="utf-8") == "my work"
    assert not (folder / "HW1.md").exists(), "nothing is written when something is there"


def test_every_starter_can_be_written_without_torch_and_triton():
    program = """
    import sys
    sys.modules["torch"] = sys.modules["triton"] = None
    from minissl.homework.assignments import assignment_numbers, load_assignment
    from minissl.homework.source import student_file
    for number in assignment_numbers():
        print(number, len(student_file(load_assignment(number))))
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    found = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[0].startswith("1 ")


def test_import_lines_are_sorted_and_never_ambiguous():
    lines = import_lines(
        {
            Import("numpy", None, "np"),
            Import("math", None, "math"),
            Import("minissl.b", "f", "f"),
            Import("minissl.b", "A", "A"),
            Import("minissl.b", "g", "h"),
            Import("__future__", "annotations", "annotations"),
        }
    )
    assert lines == [
        "from __future__ import annotations",
        "",
        "import math",
        "",
        "import numpy as np",
        "",
        "from minissl.b import A, f\nfrom minissl.b import g as h",
    ]
    with pytest.raises(ValueError, match="mean different things by f"):
        import_lines({Import("a", "f", "f"), Import("b", "f", "f")})


# ---- finding, printing, grading ------------------------------------------------------------------


def test_the_file_is_found(tmp_path):
    with pytest.raises(ValueError, match=r"no hw1\.py in"):
        find_file(ONE, tmp_path)
    deep = write(tmp_path, "", "a/b/hw1.py")
    assert find_file(ONE, tmp_path) == deep
    near = write(tmp_path, "", "hw1.py")
    assert find_file(ONE, tmp_path) == near
    assert find_file(ONE, write(tmp_path, "", "alice.py")).name == "alice.py"
    near.unlink()
    write(tmp_path, "", "c/d/hw1.py")
    with pytest.raises(ValueError, match="which one is meant"):
        find_file(ONE, tmp_path)
    with pytest.raises(ValueError, match=r"no hw1\.py in"):
        find_file(ONE, tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no hw1\.py in"):
        find_file(ONE, Path(minissl.__file__).parents[1])  # the library's own are none
    with pytest.raises(ValueError, match="is not a Python file"):
        find_file(ONE, write(tmp_path, "", "hw1.txt"))


def test_check_prints_a_scoreboard_and_writes_gradescopes_json(tmp_path, capsys):
    wrong = DIVIDE.replace("-g", "g")
    write(tmp_path, f"{IMPORTS}{wrong}")
    target = tmp_path / "results.json"
    arguments = ["homework", "check", "1", str(tmp_path), "--task", "1.1", "--task", "1.2"]
    assert main([*arguments, "--json", str(target)]) == 0
    shown = capsys.readouterr().out
    assert "1.1  divide         4 of 8   [#####     ]  failed: denominator, broadcast" in shown
    assert "-> the sign is wrong" in shown
    assert "Read: minissl lecture 02 --section 2  (An operation and its way back)" in shown
    elsewhere = Task("9.1", "minissl:toy", "toy", "lecture 99, section 2")
    assert where_to_read(elsewhere) == "lecture 99, section 2"
    found = json.loads(target.read_text(encoding="utf-8"))
    assert (found["score"], found["visibility"]) == (4, "visible")
    first, second = found["tests"]
    assert {"name", "score", "max_score", "output", "number", "status"} <= first.keys()
    assert (first["number"], first["score"], first["max_score"]) == ("1.1", 4, 8)
    assert (first["status"], second["score"]) == ("failed", 0)
    assert "the sign is wrong" in first["output"]
    assert found["extra_data"]["seed"] == 0
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["hw1.py", "results.json"]
    assert main(["homework", "check", "--quiet", "1", "--task", "1.1", str(tmp_path)]) == 0
    assert "sign is wrong" not in capsys.readouterr().out


def test_a_check_that_cannot_run_says_so(tmp_path, capsys):
    target = tmp_path / "results.json"
    assert main(["homework", "check", "1", str(tmp_path), "--json", str(target)]) == 1
    assert "there is no hw1.py" in capsys.readouterr().err
    found = json.loads(target.read_text(encoding="utf-8"))
    assert (found["score"], len(found["tests"])) == (0, len(ONE.parts))
    assert "there is no hw1.py" in found["output"]
    write(tmp_path, "")
    assert main(["homework", "check", "1", str(tmp_path), "--task", "7.7"]) == 1
    assert "there is no task 7.7; choose from: 1.1, 1.2" in capsys.readouterr().err
    assert main(["homework", "check", "77"]) == 1
    assert "there is no homework 77" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["homework", "check", "1", str(tmp_path), "--seed", "-1"])
    assert "--seed: must be a whole number ≥ 0, got -1" in capsys.readouterr().err


def test_list_names_every_task(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["homework", "check", "--help"])
    assert stop.value.code == 0
    assert "--extra-shapes" in capsys.readouterr().out
    assert main(["homework", "list"]) == 0
    shown = capsys.readouterr().out
    assert "1  autograd and gradient checking (100 points)" in shown
    assert all(task.label in shown for task in ONE.tasks)


def test_a_class_is_graded_whatever_one_submission_does(tmp_path, capsys):
    write(tmp_path, f"{IMPORTS}{DIVIDE}", "class/alice/hw1/hw1.py")
    write(tmp_path, "def f(:\n", "class/bob.py")
    write(tmp_path, "nothing here", "class/carol/notes.txt")
    write(tmp_path, "", "class/.hidden.py")
    table, details = tmp_path / "grades.csv", tmp_path / "details"
    arguments = ["homework", "grade", "1", str(tmp_path / "class"), "--csv", str(table)]
    assert main([*arguments, "--details", str(details), "--extra-shapes", "0"]) == 0
    rows = {
        row["submission"]: row
        for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    }
    assert list(rows) == ["alice", "bob.py", "carol"]
    assert (rows["alice"]["score"], rows["alice"]["points"], rows["alice"]["1.1"]) == (
        "8",
        "93",
        "8",
    )
    assert rows["bob.py"]["comment"] == "bob.py, line 1: invalid syntax"
    assert rows["carol"]["score"] == "0"
    assert "no hw1.py" in rows["carol"]["comment"]
    assert json.loads((details / "alice.json").read_text(encoding="utf-8"))["score"] == 8
    assert "8 of 93  alice" in capsys.readouterr().out
    assert main(["homework", "grade", "1", str(details), "--csv", str(table)]) == 1
    assert "there are no submissions" in capsys.readouterr().err


def test_what_is_not_written_is_not_explained():
    empty = TaskResult(ONE.tasks[0], [Outcome("values", "", 2, "not written", "hw1.1 divide: ...")])
    assert explain(empty) == ""
    results = Results(ONE, [empty], Settings())
    assert to_text(results).count("\n") == scoreboard(results).count("\n")
    assert "not written yet" in scoreboard(results)


def test_gradescope_reads_plain_numbers(tmp_path):
    results, _ = checked(write(tmp_path, "def f(:\n"))
    found = to_gradescope(results)
    json.dumps(found)
    assert found["score"] == sum(test["score"] for test in found["tests"]) == 0
    assert all(isinstance(test["max_score"], int) for test in found["tests"])
    assert explain(results.tasks[0]).count("invalid syntax") == 1
