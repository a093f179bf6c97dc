"""Homework 8: what our report says of its experiment, and whose LoRA it was."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from minissl.homework.assignments import hw8_experiment, load_assignment
from minissl.homework.experiment import FILE, files_beside

OURS = Path(__file__).parent / "experiments" / "hw8"


def test_our_report_on_bytes_says_what_was_measured():
    files = files_beside(OURS / FILE)
    rows, text = json.loads(files["results.json"]), files["report.md"].decode()
    for setting in hw8_experiment.SETTINGS:
        own = [row for row in rows if row["setting"] == setting]
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {setting} |"))
        assert {f"{row['kilobytes']:,.0f}" for row in own} == {line.split("|")[2].strip()}
        for measured, factor, digits in (("accuracy", 100, 1), ("forgotten", 1, 2)):
            values = factor * np.array([row[measured] for row in own])
            shown = f"| {values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f} |"
            assert shown in line


def test_kilobytes_of_our_report_are_those_of_the_shapes():
    """By task 8.11's count, of a GPT of that size and a layer for twelve classes."""
    rows = json.loads((OURS / "results.json").read_text(encoding="utf-8"))
    width, head = hw8_experiment.PRETRAINING["width"], 12 * (64 + 1)
    layers = 2 * [*4 * [(width, width)], (4 * width, width), (width, 4 * width)]
    for setting, rank in (("nothing", 0), ("rank 1", 1), ("rank 8", 8)):
        numbers = head + sum(rank * (a + b) for a, b in layers)
        (found,) = {row["kilobytes"] for row in rows if row["setting"] == setting}
        assert found == 3 * 4 * numbers / 1000


def test_the_milestone_says_whose_lora_it_was(capsys, monkeypatch):
    rows = json.loads((OURS / "results.json").read_text(encoding="utf-8"))
    world = SimpleNamespace(class_names=tuple("abcdefghijkl"), held_out=([], [0] * 320))
    hw8_experiment.milestone(rows, world)
    assert "The library's LoRA turns our GPT into a classifier" in capsys.readouterr().out

    class LoRA(hw8_experiment.LoRA):
        """Stands for a student's."""

    LoRA.__module__ = "hw8"
    monkeypatch.setattr(hw8_experiment, "LoRA", LoRA)
    hw8_experiment.milestone(rows, world)
    shown = capsys.readouterr().out
    assert "Your LoRA turns our GPT into a classifier of docstrings: " in shown
    assert "of 320 held-out ones (rank 8), where guessing finds 8.3%" in shown
    worse = [row | {"accuracy": 0.1} if "rank" in row["setting"] else row for row in rows]
    for others in (worse, [row for row in rows if row["setting"] == "nothing"]):
        hw8_experiment.milestone(others, world)
        assert "turns" not in capsys.readouterr().out


def test_homework_8_sums_to_100_with_a_persons_points():
    assignment = load_assignment(8)
    assert assignment.points == 100
    assert (assignment.experiment.points, assignment.experiment.by_hand) == (8, 7)
