"""``minissl export``: transformers opens the folder and writes the text that ``sample`` writes."""

import contextlib
import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from minissl.cli import main
from minissl.models import export
from minissl.models.published import load_gpt2
from minissl.pretrain import run as pretraining
from minissl.text import load_huggingface
from minissl.text.documents import SEPARATOR

FILES = ["README.md", "config.json", "generation_config.json", "model.safetensors",
         "tokenizer.json", "tokenizer_config.json"]  # fmt: skip
PROMPTS = ["", "The cat", "A naïve dog 🙂", " is", f"end{SEPARATOR}The", "the  \n\n mat's 12"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run on short documents, which it has learned to end, and its export."""
    transformers.utils.logging.disable_progress_bar()
    folder = tmp_path_factory.mktemp("export")
    texts = folder / "secret place" / "texts"
    texts.mkdir(parents=True)
    for number in range(60):
        text = f"The {['cat', 'naïve dog'][number % 2]} sat on mat {number % 7}."
        (texts / f"{number}.txt").write_text(text, "utf-8")
    sizes = "--vocab-size 300 --width 32 --num-heads 2 --context-length 48 --steps 80"
    assert call("pretrain", "gpt", texts, "--run", folder / "run", "--quiet", *sizes.split()) == 0
    assert call("export", folder / "run", folder / "gpt") == 0
    return folder


def call(*arguments):
    return main([str(argument) for argument in arguments])


def sampled(run, prompt, capsys):
    """What ``minissl sample`` writes, greedily."""
    capsys.readouterr()
    assert call("sample", run, "--prompt", prompt, "--temperature", 0, "--tokens", 25) == 0
    return capsys.readouterr().out


def test_transformers_writes_the_same_text(place, capsys):
    """And both stop at the end of the document, before all tokens are written."""
    tokenizer = AutoTokenizer.from_pretrained(place / "gpt")
    model = AutoModelForCausalLM.from_pretrained(place / "gpt")
    stopped = 0
    for prompt in PROMPTS:
        given = tokenizer(prompt, return_tensors="pt")
        written = model.generate(**given, max_new_tokens=25)[0]
        text = tokenizer.decode(written[1:]).removesuffix(SEPARATOR)
        assert sampled(place / "run", prompt, capsys) == text + "\n"
        stopped += written[-1].item() == model.config.eos_token_id
    assert stopped > 2


def test_both_ends_of_a_document_are_told_everywhere(place):
    tokenizer = AutoTokenizer.from_pretrained(place / "gpt")
    number = load_huggingface(
        place / "gpt" / "tokenizer.json", add_special_tokens=False
    ).special_tokens[SEPARATOR]
    for name in ("config.json", "generation_config.json"):
        told = json.loads((place / "gpt" / name).read_bytes())
        assert (told["bos_token_id"], told["eos_token_id"]) == (number, number)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (number, number)
    assert tokenizer("x").input_ids[0] == number
    assert tokenizer.model_max_length == 48


def test_minissl_opens_it_too(place):
    method = pretraining.open_run(place / "run").method
    tokens = np.random.default_rng(0).integers(method.model.config.vocab_size, size=(2, 48))
    got = load_gpt2(place / "gpt")(tokens).array
    np.testing.assert_array_equal(got, method.model(tokens).array)
    theirs = AutoModelForCausalLM.from_pretrained(place / "gpt")
    with torch.no_grad():
        expected = theirs(torch.from_numpy(tokens)).logits.numpy()
    np.testing.assert_allclose(got, expected, atol=1e-4)
    file = place / "gpt" / "tokenizer.json"
    with pytest.raises(ValueError, match=r"TemplateProcessing.* pass add_special_tokens=False"):
        load_huggingface(file)
    again = load_huggingface(file, add_special_tokens=False)
    peer = AutoTokenizer.from_pretrained(place / "gpt")
    for prompt in PROMPTS:
        ids = method.tokenizer.encode(prompt, allow_special="all")
        assert again.encode(prompt, allow_special="all") == ids
        assert peer(prompt).input_ids == [peer.bos_token_id, *ids]


def test_the_card_tells_what_was_recorded_and_its_programs_run(place, capsys, monkeypatch):
    card = (place / "gpt" / "README.md").read_text("utf-8")
    records = [
        json.loads(line)
        for line in (place / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    about = json.loads((place / "run" / "data.json").read_bytes())["fingerprint"]
    assert f"after 80 steps: {records[-1]['held_out_loss']:.4f} nats per token" in card
    assert f"{records[-1]['held_out_bits_per_byte']:.4f} bits per byte" in card
    assert f"`texts`, {about['documents']} documents, {about['bytes']:,} bytes" in card
    assert about["sha256"] in card
    assert "secret place" not in card  # of the path only its end
    assert "| width | 32 |" in card
    assert "\nlicense:" not in card
    programs = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    monkeypatch.chdir(place)
    said = []
    for program in programs:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(program, {})
        said.append(output.getvalue())
    text = sampled(place / "run", "It was", capsys)
    theirs, ours = (written.removesuffix("\n").removesuffix(SEPARATOR) for written in said)
    assert ours
    assert text.startswith(theirs.removeprefix(SEPARATOR))
    assert text.startswith("It was" + ours)


def test_a_folder_that_is_there_stays_as_it_is(place, capsys):
    before = {file.name: file.read_bytes() for file in (place / "gpt").iterdir()}
    assert sorted(before) == FILES
    for out in (place / "gpt", place / "run", place / "run" / "config.json"):
        assert call("export", place / "run", out) == 1
        assert f"{out} is there already" in capsys.readouterr().err
    assert before == {file.name: file.read_bytes() for file in (place / "gpt").iterdir()}


def test_a_write_that_fails_leaves_nothing(place, monkeypatch, capsys):
    def full(*arguments, **options):
        raise OSError("no space left")

    monkeypatch.setattr(export, "save_huggingface", full)
    before = sorted(place.iterdir())
    assert call("export", place / "run", place / "other") == 1
    assert "no space left" in capsys.readouterr().err
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize("told", [[], {}, {"documents": "many", "bytes": 3, "sha256": ""}])
def test_damaged_notes_on_the_data_are_named(place, capsys, told):
    file = place / "run" / "data.json"
    whole = file.read_bytes()
    file.write_text(json.dumps(json.loads(whole) | {"fingerprint": told}), encoding="utf-8")
    try:
        assert call("export", place / "run", place / "other") == 1
    finally:
        file.write_bytes(whole)
    assert f"{file} cannot be read as what the data of a run is" in capsys.readouterr().err
    assert not (place / "other").exists()


def test_a_run_of_another_method_is_refused(place, monkeypatch, capsys):
    other = SimpleNamespace(name="simclr", method=SimpleNamespace(model=object()))
    monkeypatch.setattr(pretraining, "open_run", lambda folder: other)
    assert call("export", place / "run", place / "other") == 1
    assert "holds a run of 'simclr': only a GPT" in capsys.readouterr().err
    assert not (place / "other").exists()
