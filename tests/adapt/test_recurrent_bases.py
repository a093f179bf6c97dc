"""Adaptations of recurrent runs: what represents a text is trained, and nothing beside it."""

import numpy as np
import pytest

from minissl.adapt.run import open_adaptation
from tests.adapt.toy import adapted, toy_base

both = pytest.mark.parametrize("base", ["lstm", "elmo"])


@both
def test_all_that_is_fine_tuned_moves_and_is_kept(base, tmp_path):
    opened = toy_base(base, tmp_path / "base")
    before = {n: p.array.copy() for n, p in opened.method.encoder.named_parameters()}
    made = adapted("finetune", opened, tmp_path / "tuned").method
    assert not any("output" in name for name in before)  # it predicts words, and is not read
    for name, parameter in made.base.encoder.named_parameters():
        assert (parameter.array != before[name]).any(), name
    inputs = made.task.held_out.inputs
    again = open_adaptation(tmp_path / "tuned").method
    np.testing.assert_array_equal(again.probabilities(inputs), made.probabilities(inputs))


@both
def test_lora_says_that_there_is_nothing_to_stand_beside(base, tmp_path):
    with pytest.raises(ValueError, match="Linear"):
        adapted("lora", toy_base(base, tmp_path / "base"))
