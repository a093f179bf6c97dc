"""``minissl export`` of encoders: transformers opens the folder, and fills the same gaps."""

import contextlib
import io
import json
import re

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertForPreTraining

from minissl.cli import main
from minissl.models.published_bert import load_bert
from minissl.pretrain import load_method
from minissl.pretrain import run as pretraining
from tests.pretrain.toy import toy_data, toy_settings

RUNS = {
    "bert": {},
    "masked": {"objective": "masked"},
    "next": {"objective": "next", "lowercase": False},
    "spanbert": {},
    "roberta": {"pieces": "wordpiece"},
    "bpe": {},
}
METHODS = {"masked": "bert", "next": "bert", "bpe": "roberta"}
FILES = ["README.md", "config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"]


def call(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of each kind and, but for the last, its export with what was said."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    folder, said = tmp_path_factory.mktemp("encoders"), {}
    for name, changes in RUNS.items():
        method = METHODS.get(name, name)
        settings = toy_settings(method, **{"context_length": 24, "steps": 2} | changes)
        data = toy_data(method, settings)
        run = folder / f"{name}-run"
        pretraining.pretrain(load_method(method), data, settings, run, progress=False)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            if name != "bpe":
                assert call("export", run, folder / name) == 0
        said[name] = output.getvalue()
    return folder, said


@pytest.mark.parametrize("name", ["bert", "masked", "spanbert", "roberta"])
def test_transformers_sees_the_same_in_a_gap(place, name):
    folder, said = place
    assert sorted(file.name for file in (folder / name).iterdir()) == FILES
    assert "AutoModelForMaskedLM" in said[name]
    assert ("BertForPreTraining" in said[name]) == (name == "bert")
    assert ("boundaries of spans" in said[name]) == (name == "spanbert")
    assert ("--objective masked does not train" in said[name]) == (name == "masked")
    method = pretraining.open_run(folder / f"{name}-run").method
    tokenizer = AutoTokenizer.from_pretrained(folder / name)
    model = AutoModelForMaskedLM.from_pretrained(folder / name).eval()
    text = tokenizer("the [MASK] of it", return_tensors="pt")
    with torch.no_grad():
        logits = model(**text).logits[text.input_ids == tokenizer.mask_token_id][0].double()
    logits[tokenizer.all_special_ids] = -torch.inf
    p = torch.softmax(logits, -1).numpy()
    (fillers,) = method.fill("the [MASK] of it", 4)
    for filler in fillers:
        expected = p[tokenizer.convert_tokens_to_ids(filler.text)]
        np.testing.assert_allclose(filler.probability, expected, rtol=1e-4)
    assert load_bert(folder / name).boundary is None


def test_the_heads_are_those_that_were_trained(place):
    folder, said = place
    architectures = {
        name: json.loads((folder / name / "config.json").read_bytes())["architectures"][0]
        for name in RUNS
        if name != "bpe"
    }
    assert architectures == {
        "bert": "BertForPreTraining", "masked": "BertForMaskedLM",
        "next": "BertForNextSentencePrediction", "spanbert": "BertForMaskedLM",
        "roberta": "BertForMaskedLM",
    }  # fmt: skip
    assert "AutoModelForNextSentencePrediction" in said["next"]
    method = pretraining.open_run(folder / "bert-run").method
    model = BertForPreTraining.from_pretrained(folder / "bert").eval()
    tokens, segments = np.array([[2, 7, 3, 9, 8, 3]]), np.array([[0, 0, 0, 1, 1, 1]])
    with torch.no_grad():
        found = model(torch.from_numpy(tokens), token_type_ids=torch.from_numpy(segments))
    got = method.model.follows_logits(method.model(tokens, segments=segments)).array
    np.testing.assert_allclose(got, found.seq_relationship_logits.numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ["bert", "next", "spanbert"])
def test_the_programs_of_the_card_run_and_agree(place, name, monkeypatch):
    folder, _ = place
    card = (folder / name / "README.md").read_text("utf-8")
    monkeypatch.chdir(folder)
    said = []
    for program in re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(program, {})
        said.append(output.getvalue())
    assert len(said) == 2
    assert said[0] == said[1] != "\n"
    assert ("pipeline_tag: fill-mask" in card) == (name != "next")
    records = [
        json.loads(line)
        for line in (folder / f"{name}-run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    held_out = "held_out_next_loss" if name == "next" else "held_out_loss"
    assert f"after 2 steps: {records[-1][held_out]:.4f} nats per" in card
    assert ("of the pairs told right" in card) == (name != "spanbert")
    assert ("boundaries of spans is left out" in card) == (name == "spanbert")
    model = load_bert(folder / name)
    of_zeros = model.config.width if name == "spanbert" else 0  # segments, which it has not
    assert f"An encoder of {model.num_parameters() - of_zeros:,} parameters" in card
    assert "\nlicense:" not in card


def test_byte_level_bpe_is_refused(place, capsys):
    folder, _ = place
    assert call("export", folder / "bpe-run", folder / "bpe") == 1
    assert re.search(r"'roberta' with byte-level BPE.* --pieces wordpiece", capsys.readouterr().err)
    assert not (folder / "bpe").exists()


def test_of_a_vocabularys_path_only_its_end_is_told(place, tmp_path):
    folder, _ = place
    (tmp_path / "secret place").mkdir()
    vocabulary = tmp_path / "secret place" / "own.txt"
    vocabulary.write_bytes((folder / "bert" / "vocab.txt").read_bytes())
    settings = toy_settings("roberta", pieces="wordpiece", vocab=str(vocabulary), steps=1)
    data = toy_data("roberta", settings)
    method = load_method("roberta")
    pretraining.pretrain(method, data, settings, tmp_path / "run", progress=False)
    assert call("export", tmp_path / "run", tmp_path / "out") == 0
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "| vocab | own.txt |" in card
    assert "secret place" not in card
