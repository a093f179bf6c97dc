"""The benchmarks of training steps: their contenders compute the same."""

from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["gpt_step", "lstm_step", "simclr_step"])
def test_losses_and_gradients_agree(name, capsys):
    import_module(f"benchmarks.{name}").check_agreement()
    assert capsys.readouterr().out.startswith("agreed: ")
