"""Homework 4 without kernels, its points, and what our report says of its experiment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from minissl.homework.assignments import hw4_experiment, load_assignment
from minissl.homework.experiment import FILE, files_beside

OURS = Path(__file__).parent / "experiments" / "hw4"
WITHOUT = """
import sys
sys.modules["torch"] = sys.modules["triton"] = None  # as if they were not installed
from minissl.homework.assignments import load_assignment
from minissl.homework.outcome import run_check
from minissl.homework.submission import missing_packages

parts = load_assignment(4).parts
print(*[task.number for task in parts if missing_packages(task)])
for task in parts:
    if task.number == "4.5":
        for check in task.checks:
            print(run_check(task, check, task.answer(), guarded=False).status)
"""


def test_the_gradient_by_hand_needs_neither_torch_nor_triton():
    command = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", env=os.environ, check=False
    )
    assert done.stdout.split() == ["4.6", "4.7", "passed", "passed", "passed"], done.stderr


def test_our_report_on_temperatures_says_what_was_measured():
    files = files_beside(OURS / FILE)
    rows, text = json.loads(files["results.json"]), files["report.md"].decode()
    for setting in hw4_experiment.SETTINGS:
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {setting} |"))
        for measured, factor, digits in (
            ("spread", 1, 2), ("alignment", 1, 2), ("neighbors", 100, 1),
        ):  # fmt: skip
            values = factor * np.array([r[measured] for r in rows if r["setting"] == setting])
            shown = f"| {values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f} |"
            assert shown in line


def test_the_milestone_says_whose_loss_it_was(capsys, monkeypatch):
    split = hw4_experiment.load_digits()
    rows = json.loads((OURS / "results.json").read_text(encoding="utf-8"))
    hw4_experiment.milestone(rows, split)
    shown = capsys.readouterr().out
    assert "pixels, without any network: 0.698, 0.702, 0.709" in shown
    assert "The library's loss keeps digits apart." in shown

    def nt_xent(first, second, temperature):
        """Stands for a student's."""

    nt_xent.__module__ = "hw4"
    monkeypatch.setattr(hw4_experiment, "nt_xent", nt_xent)
    hw4_experiment.milestone(rows, split)
    assert "Your loss keeps digits apart." in capsys.readouterr().out
    hw4_experiment.milestone([r for r in rows if r["setting"] in ("untrained", "flat")], split)
    assert "apart" not in capsys.readouterr().out


def test_homework_4_sums_to_100_with_a_persons_points():
    assignment = load_assignment(4)
    assert assignment.points == 100
    assert (assignment.experiment.points, assignment.experiment.by_hand) == (7, 7)
