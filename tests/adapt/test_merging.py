"""What is merged: the same answers from one network, without a base; what cannot be is refused."""

import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from minissl.adapt import adaptation_names, load_adaptation
from minissl.adapt.heads.finetune import Finetune
from minissl.adapt.merging import merge, save_merged
from minissl.adapt.method import Confident
from minissl.adapt.run import adapt, open_adaptation, open_any
from minissl.adapt.trained import TrainedSettings
from minissl.training import History
from tests.adapt.toy import PAIRS, adapted, bases_of, toy_base, toy_labelled
from tests.pretrain.test_every_method import snapshot

MERGED = ("lora", "bias", "last-layers")
OTHERS = [name for name in adaptation_names() if name not in MERGED]
FAST = {"learning_rate": 0.05, "steps": 8}  # far from where LoRA begins, where merging is nothing


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {name: toy_base(name, folder / name) for name in sorted({base for _, base in PAIRS})}


@pytest.mark.parametrize(("name", "base"), [pair for pair in PAIRS if pair[0] in MERGED])
def test_it_answers_the_same_and_needs_no_base(name, base, bases, tmp_path):
    opened = toy_base(base, tmp_path / "base")
    made = adapted(name, opened, tmp_path / "run", changes=FAST)
    before = snapshot(tmp_path)
    again = open_adaptation(tmp_path / "run")
    merged = save_merged(again, tmp_path / "new" / "whole")
    after = snapshot(tmp_path)
    assert {path: after[path] for path in before} == before, "nothing else is touched"
    assert type(again.method) is load_adaptation(name), "what was opened stays as it was"
    relative, _ = open_any(tmp_path / "new" / "whole").checkpoint.config["base_folder"]
    assert relative == str(Path("..") / ".." / "base"), "so that both may move together"
    shutil.rmtree(tmp_path / "base")
    shutil.rmtree(tmp_path / "run")
    alone = open_any(tmp_path / "new" / "whole")
    assert (alone.name, type(alone.method)) == ("finetune", Finetune)
    inputs = made.data.held_out.inputs
    expected = made.method.probabilities(inputs)
    assert isinstance(alone.method, Confident)
    np.testing.assert_allclose(alone.method.probabilities(inputs), expected, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(alone.method.probabilities(inputs), merged.probabilities(inputs))
    unlearned = opened.on(opened.data).encoder.state_dict()
    state = alone.method.base.encoder.state_dict()
    assert state.keys() == unlearned.keys()
    moved = {n for n, array in state.items() if not np.array_equal(array, unlearned[n])}
    assert moved, "and the encoder has learned"
    if name == "lora" and base == "gpt":
        assert moved == {
            f"transformer.blocks.0.attention.{part}.weight" for part in ("query", "value")
        }
    assert [*History.read(alone.folder)] == [*made.history]
    assert alone.checkpoint.step == 8
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["whole"], "no half-made folder"


def test_in_float64_it_is_the_same_function(bases, tmp_path):
    made = adapted("lora", bases["gpt"], tmp_path / "run", changes=FAST)
    opened = open_adaptation(tmp_path / "run")
    inputs = made.data.held_out.inputs
    opened.method.base.model.astype(np.float64)
    opened.method.model.astype(np.float64)
    expected = opened.method.probabilities(inputs)
    opened.method.merge()
    np.testing.assert_allclose(opened.method.probabilities(inputs), expected, rtol=1e-12)


def test_the_settings_that_decide_an_answer_go_with_it(bases, tmp_path):
    made = adapted("lora", bases["gpt"], tmp_path, changes=FAST | {"vector": "last"})
    merged = merge(open_adaptation(tmp_path))
    for one in fields(TrainedSettings):
        ours = getattr(merged.settings, one.name)
        assert ours == getattr(open_adaptation(tmp_path).settings, one.name)
    inputs = made.data.held_out.inputs
    expected = made.method.probabilities(inputs)
    np.testing.assert_allclose(merged.probabilities(inputs), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_merged_is_refused_with_the_reason(name, bases, tmp_path):
    adapted(name, bases[bases_of(name)[-1]], tmp_path / "run")
    before = snapshot(tmp_path)
    reasons = {
        "adapters": r"cannot be merged: what it learned \(encoder.transformer.blocks.0",
        "prompts": r"what it learned \(encoder.tokens.prompts\) acts",
        "finetune": "has all of its weights: use it as it is",
        "probe": "has not changed the network: there is nothing",
    }
    reason = reasons.get(name, "cannot be merged|nothing to be merged")
    with pytest.raises(ValueError, match=reason):
        save_merged(open_adaptation(tmp_path / "run"), tmp_path / "new")
    assert snapshot(tmp_path) == before


def test_a_folder_that_holds_something_stays_as_it_is(bases, tmp_path, monkeypatch):
    adapted("lora", bases["gpt"], tmp_path / "run")
    opened = open_adaptation(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    before = snapshot(tmp_path)
    for name in ("run", "file"):
        with pytest.raises(FileExistsError, match=f"{name} is there already"):
            save_merged(opened, tmp_path / name)

    def full(*inputs, **options):
        raise OSError("no space left")

    monkeypatch.setattr("minissl.adapt.merging.write_durably", full)
    with pytest.raises(OSError, match="no space left"):
        save_merged(opened, tmp_path / "new")
    assert snapshot(tmp_path) == before
    assert not (tmp_path / "new").exists()
    monkeypatch.undo()
    save_merged(opened, tmp_path / "empty")
    assert open_adaptation(tmp_path / "empty").name == "finetune"


def test_training_does_not_go_on_in_it(bases, tmp_path):
    """Not even by the call that would have made a run of the same settings."""
    adapted("lora", bases["gpt"], tmp_path / "run")
    save_merged(open_adaptation(tmp_path / "run"), tmp_path / "new")
    settings = open_adaptation(tmp_path / "new").settings
    before = snapshot(tmp_path)
    same = {one.name: getattr(settings, one.name) for one in fields(settings)}
    data = toy_labelled("finetune", bases["gpt"])
    with pytest.raises(ValueError, match=r"other settings: .*merged weights are not trained"):
        adapt(
            Finetune, bases["gpt"], data, type(settings)(**same), tmp_path / "new", progress=False
        )
    with pytest.raises(ValueError, match="by 'finetune', not of 'lora'"):
        adapted("lora", bases["gpt"], tmp_path / "new")
    assert snapshot(tmp_path) == before
