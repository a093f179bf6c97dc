"""The commands on real files: what is typed, what comes out, what is said when it is wrong."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from minissl.cli import main

TEXT = (
    "The cat sat on the mat. The dog sat on the log.\n\nA cat is not a dog, and a dog is no cat.\n"
)
TINY_GPT = "--vocab-size 280 --num-layers 1 --width 16 --num-heads 2 --context-length 16".split()
TINY_GPT += "--batch-size 4 --steps 6 --evaluations 2 --quiet".split()


def call(*arguments):
    return main([str(a) for a in arguments])


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(TEXT * 300, encoding="utf-8")
    return path


@pytest.fixture
def gpt_run(book, tmp_path):
    folder = tmp_path / "gpt"
    assert call("pretrain", "gpt", book, "--run", folder, *TINY_GPT) == 0
    return folder


def test_every_command_explains_itself(capsys):
    for command in ([], ["demo"], ["tokenizer"], ["tokenizer", "train"], ["pretrain"], ["sample"]):
        with pytest.raises(SystemExit) as stop:
            call(*command, "--help")
        assert stop.value.code == 0
        assert "usage: minissl" in capsys.readouterr().out


def test_tokenizer_round_trip(book, tmp_path, capsysbinary):
    trained = tmp_path / "tok.json"
    assert call("tokenizer", "train", book, "--vocab-size", 300, "--out", trained) == 0
    assert b"300 tokens" in capsysbinary.readouterr().out or trained.exists()
    text = "The dog, 17 naïve cats 🙂"
    assert call("tokenizer", "encode", "--text", text, "--tokenizer", trained) == 0
    ids = capsysbinary.readouterr().out.decode()
    assert len(ids.split()) < len(text.encode())
    assert call("tokenizer", "decode", "--text", ids, "--tokenizer", trained) == 0
    assert capsysbinary.readouterr().out.decode() == text


def test_show_marks_the_pieces(book, tmp_path, capsys):
    trained = tmp_path / "tok.json"
    call("tokenizer", "train", book, "--vocab-size", 300, "--out", trained)
    capsys.readouterr()
    assert call("tokenizer", "show", "--text", "The cat", "--tokenizer", trained) == 0
    assert capsys.readouterr().out.replace("·", " ").replace("|", "").startswith("The cat")


def test_a_run_is_opened_by_sample_and_the_seed_decides(gpt_run, capsys):
    outputs = []
    for seed in (1, 1, 2):
        capsys.readouterr()
        assert call("sample", gpt_run, "--prompt", "The", "--tokens", 20, "--seed", seed) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]
    assert outputs[0].startswith("The")


def test_the_same_call_again_finds_the_run_finished(gpt_run, book, capsys):
    before = (gpt_run / "log.jsonl").read_bytes()
    assert call("pretrain", "gpt", book, "--run", gpt_run, *TINY_GPT) == 0
    assert (gpt_run / "log.jsonl").read_bytes() == before


def test_other_texts_or_settings_in_the_same_run_are_refused(gpt_run, book, capsys):
    other = [*TINY_GPT, "--learning-rate", "0.1"]
    assert call("pretrain", "gpt", book, "--run", gpt_run, *other) == 1
    assert "other settings" in capsys.readouterr().err
    book.write_text("Something else entirely.\n\n" * 300)
    assert call("pretrain", "gpt", book, "--run", gpt_run, *TINY_GPT) == 1
    assert "other texts" in capsys.readouterr().err


@pytest.fixture
def photos(tmp_path):
    """Two classes of small images: dark and light, with noise."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(generator.normal(level, 30, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def test_simclr_on_a_folder_and_probe(photos, tmp_path, capsys):
    folder = tmp_path / "run"
    options = "--image-size 16 --channels 3 --steps 3 --batch-size 8 --quiet".split()
    assert call("pretrain", "simclr", photos, "--run", folder, *options) == 0
    assert "24 images" in capsys.readouterr().out
    assert call("probe", folder, photos, "--labels", 1, 2, 500, "--draws", 2) == 0
    table = capsys.readouterr().out
    assert "16 training and 8 test images, 2 classes" in table
    rows = {line[:20].strip(): line[20:].split() for line in table.splitlines()[1:]}
    assert rows["labels per class"] == ["1", "2", "kNN"]  # nobody has 500
    assert all(0 <= float(cell) <= 100 for cell in rows["pretrained encoder"])
    assert float(rows["raw pixels"][0]) > 90  # dark against light needs no learning


WRONG = {
    "no such file": (["tokenizer", "train", "nowhere.txt"], "nowhere.txt"),
    "too few tokens": (["tokenizer", "train", "BOOK", "--vocab-size", 100], "too small"),
    "no run": (["sample", "nowhere"], "no usable checkpoint"),
    "words for ids": (
        ["tokenizer", "decode", "--text", "12 abc", "--tokenizer", "GPT"],
        "expects ids, got 'abc'",
    ),
    "probe of a text run": (["probe", "GPT"], "'gpt', not of 'simclr'"),
    "heads": (
        ["pretrain", "gpt", "BOOK", "--run", "NEW", "--quiet", "--num-heads", 3],
        "num_heads must divide",
    ),
    "digits in colour": (
        ["pretrain", "simclr", "--run", "NEW", "--channels", 3],
        "the digits have size 8 and 1 channel",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_get_one_clear_line(name, gpt_run, book, tmp_path, capsys):
    arguments, message = WRONG[name]
    places = {"BOOK": book, "GPT": gpt_run, "NEW": tmp_path / "new"}
    capsys.readouterr()
    assert call(*[places.get(a, a) for a in arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_importing_minissl_is_quick_and_light():
    """NumPy and array_api_compat only: what is heavy is imported where it is used."""
    program = (
        "import sys, json, minissl\n"
        "print(json.dumps([m for m in sys.modules if m in "
        "('torch', 'matplotlib', 'sklearn', 'scipy', 'tqdm', 'regex', 'PIL')]))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(output) == []


def test_python_m_minissl_runs():
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-m", "minissl", "--help"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0
    assert "minissl demo" in done.stdout


# ---- devices: "torch", torch memory on the CPU, stands in for a GPU ------------------------------


@pytest.fixture
def without_kernels(monkeypatch):
    """The interpreter would take minutes for what the compositions do in a second."""
    monkeypatch.setattr("minissl.autograd.fused.gpu._interpreted", lambda: False)


def test_a_run_of_another_device_is_opened_on_any(without_kernels, book, tmp_path, capsys):
    folder = tmp_path / "other"
    options = [*TINY_GPT, "--device", "torch", "--precision", "bfloat16"]
    assert call("pretrain", "gpt", book, "--run", folder, *options) == 0
    first = json.loads((folder / "log.jsonl").read_text().splitlines()[1])
    assert (first["device"], first["precision"]) == ("torch", "bfloat16")
    capsys.readouterr()
    texts = []
    for device in ("cpu", "torch"):
        sampling = ["--tokens", 5, "--temperature", 0, "--device", device]
        assert call("sample", folder, *sampling) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]


def test_simclr_and_probe_on_another_device(without_kernels, tmp_path, capsys):
    options = ["--steps", 3, "--batch-size", 16, "--device", "torch", "--quiet"]
    assert call("pretrain", "simclr", "--run", tmp_path / "run", *options) == 0
    assert call("probe", tmp_path / "run", "--labels", 1, "--draws", 1, "--device", "torch") == 0
    assert "pretrained encoder" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device", "gpu"], "device must be 'auto', 'cpu', 'cuda' or 'cuda:1', got 'gpu'"),
        (["--device", "cuda:77"], "device 'cuda:77' is not there"),
        (["--precision", "bfloat16"], "precision 'bfloat16' needs a GPU"),
    ],
)
def test_devices_that_are_not_there(options, words, tmp_path, capsys):
    assert call("pretrain", "simclr", "--run", tmp_path / "run", "--quiet", *options) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_gpu_that_is_too_small_gets_advice(monkeypatch, tmp_path, capsys):
    import torch

    def too_large(*arguments, **settings):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("minissl.pretrain.simclr_run.fit", too_large)
    assert call("pretrain", "simclr", "--run", tmp_path / "run", "--quiet") == 1
    assert "use a smaller --batch-size" in capsys.readouterr().err
