"""What ``minissl pretrain`` says at the end."""

from pathlib import Path

import pytest

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
    assert said == "after 1 steps: loss 2; now: minissl probe runs/book LABELLED_FOLDER"
