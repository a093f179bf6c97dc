"""What ``minissl pretrain`` says at the end, and ``evaluate`` of data that it has seen."""

from pathlib import Path

import numpy as np
import pytest

from minissl.cli import main
from minissl.cli.pretrain import summary
from minissl.training import History


@pytest.mark.parametrize(("spread", "told"), [(0.0066, True), (0.2, False), (None, False)])
def test_a_collapse_is_said(spread, told):
    """A loss at the level of guessing is easily taken for a slow start."""
    records = [{"step": 20, "loss": 4.779, "held_out_loss": 4.08, "z_std": spread}]
    said = summary(History(records), None, Path("runs/photos"))
    assert said.startswith("after 20 steps: loss 4.779, held out loss 4.08")
    assert ("all embeddings point nearly one way" in said) is told


def test_methods_that_measure_no_spread_say_nothing_of_it():
    said = summary(History([{"step": 1, "loss": 2.0}]), None, Path("runs/book"))
    assert said.splitlines() == [
        "after 1 steps: loss 2; now: minissl probe runs/book LABELLED_FOLDER",
        "a page of it: minissl report runs/book",
    ]


def test_a_finished_run_says_that_nothing_was_trained(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 255, (12, 8, 8), np.uint8)
    np.save(tmp_path / "a.npy", images)
    small = ["--steps", "1", "--batch-size", "4", "--features", "8", "--quiet"]
    call = ["pretrain", "simclr", str(tmp_path / "a.npy"), "--run", str(tmp_path / "run"), *small]
    for told in (False, True):
        assert main(call) == 0
        assert ("was finished before: nothing was trained" in capsys.readouterr().out) is told


def test_evaluate_says_of_known_examples_that_they_are_known(tmp_path, capsys):
    generator, run = np.random.default_rng(0), str(tmp_path / "run")
    for name in ("known", "new"):
        np.save(tmp_path / f"{name}.npy", generator.integers(0, 255, (12, 8, 8), np.uint8))
    small = ["--steps", "1", "--batch-size", "4", "--features", "8", "--quiet"]
    assert main(["pretrain", "simclr", str(tmp_path / "known.npy"), "--run", run, *small]) == 0
    assert "chance loss 1.946" in capsys.readouterr().out  # ln 7, of four images
    for name, told in (("known", True), ("new", False)):
        assert main(["evaluate", run, str(tmp_path / f"{name}.npy")]) == 0
        printed = capsys.readouterr().out
        assert ("these numbers are of examples that" in printed) is told
        assert "chance loss                  3.13549" in printed  # ln 23, of twelve
