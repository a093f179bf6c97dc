"""The benchmarks of training steps: their contenders compute the same."""

import json
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from benchmarks import adaptation_step, encoder_step, losses, masking, shakespeare
from minissl.adapt import adaptation_names, load_adaptation
from minissl.adapt.trained import Trained


@pytest.mark.parametrize("name", ["gpt_step", "lstm_step", "simclr_step", "images_steps"])
def test_losses_and_gradients_agree(name, capsys, monkeypatch):
    """The benchmark itself asks at its full size before it measures; here two rows are enough."""
    benchmark = import_module(f"benchmarks.{name}")
    if name in ("gpt_step", "lstm_step"):
        monkeypatch.setattr(benchmark, "BATCH", 2)
    benchmark.check_agreement()
    assert capsys.readouterr().out.startswith("agreed: ")


def test_an_encoder_agrees_with_torchs(monkeypatch, capsys):
    small = replace(encoder_step.CONFIG, num_layers=2, width=32, vocab_size=200, context_length=32)
    for name, value in {"CONFIG": small, "VOCABULARY": 200, "TIME": 32, "ROWS": 8}.items():
        monkeypatch.setattr(encoder_step, name, value)
    encoder_step.check_agreement()
    assert capsys.readouterr().out.count("agreed: ") == 3


def test_every_adaptation_agrees_with_torchs(monkeypatch, capsys):
    """All that are trained by steps stand in the race, but those with a network of their own."""
    sizes = {"num_layers": 2, "width": 32, "num_heads": 4, "vocab_size": 200}
    monkeypatch.setattr(adaptation_step, "SIZES", {"small": sizes})
    monkeypatch.setattr(adaptation_step, "TIME", 24)
    races = [about for about in adaptation_step.RACES if about[0] == "small"]
    for about in races:
        adaptation_step.check_agreement(*about)
    assert capsys.readouterr().out.count("agreed: ") == len(races)
    trained = {n for n in adaptation_names() if issubclass(load_adaptation(n), Trained)}
    assert {*adaptation_step.FORMS} == trained - {"network"}


def test_what_adaptations_hold_in_memory_is_counted(monkeypatch):
    """LoRA's step holds less than full fine-tuning's, by what tracemalloc sees of both."""
    sizes = {"num_layers": 2, "width": 64, "num_heads": 4, "vocab_size": 3000}
    monkeypatch.setattr(adaptation_step, "SIZES", {"small": sizes})
    monkeypatch.setitem(adaptation_step.ROWS_OF, "small", 2)
    full, lora = (adaptation_step.peak("small", n, "class") for n in ("finetune", "lora"))
    weights = 4e-6 * (3000 * 64 + 128 * 64 + 2 * (12 * 64**2 + 13 * 64))
    assert full > 4 * weights, "weights, gradients, two averages"
    assert weights < lora < full - 2 * weights


def test_losses_with_labels_agree_with_their_peers(capsys):
    losses.check_agreement(batch=128)
    assert capsys.readouterr().out.startswith("agreed: ")


def test_what_is_hidden_agrees_with_transformers(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MINISSL_TEST_DATA", raising=False)
    text = " ".join(f"{n} unhidden wordpieces of {n * n}," for n in range(400))
    masking.write_rows(tmp_path, text, 10_000)
    masking.check_agreement(tmp_path, batch=30)
    assert capsys.readouterr().out.startswith("agreed: 10,112 ids")


def test_a_training_on_shakespeare_agrees_with_torchs(tmp_path, capsys):
    text = tmp_path / "lines.txt"
    text.write_text("To be, or not to be, that is the question:\n" * 60, encoding="utf-8")
    shakespeare.check_agreement(str(text))
    assert capsys.readouterr().out.startswith("agreed: ")
    ours, theirs = (
        json.loads(build(str(text), steps=6, seed=1)())
        for build in (shakespeare.our_training, shakespeare.torch_training)
    )
    assert ours[1:] == pytest.approx(theirs[1:], abs=1e-3)  # of the same batches
    assert ours[1] < np.log(18) - 0.2  # it has begun to learn which of the 18 there are


def test_validation_looks_at_every_window_once():
    stream = np.arange(1000)
    seen = []

    def loss(inputs, targets):
        seen.append(inputs)
        assert (targets == inputs + 1).all()
        return float(targets.mean())

    whole, _ = shakespeare.validation(stream, loss)
    assert whole == pytest.approx(np.arange(1, 15 * 64 + 1).mean())  # 15 whole windows
    assert len(np.concatenate(seen)) == 15 + 240
