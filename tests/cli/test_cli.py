"""The commands on real files: what is typed, what comes out, what is said when it is wrong."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from minissl.cli import command_names, main
from minissl.models.held_out import stream_nats
from minissl.pretrain import method_names
from minissl.pretrain.run import open_run
from minissl.training import History
from minissl.vision.images import load_image_folder
from tests.systems import posix

TEXT = (
    "The cat sat on the mat. The dog sat on the log.\n\nA cat is not a dog, and a dog is no cat.\n"
)
TINY_GPT = "--vocab-size 280 --num-layers 1 --width 16 --num-heads 2 --context-length 16".split()
TINY_GPT += "--batch-size 4 --steps 6 --evaluations 2 --quiet".split()
TINY_SIMCLR = "--image-size 16 --channels 3 --steps 3 --batch-size 8 --quiet".split()


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
    methods = [["pretrain", name] for name in method_names()]
    for command in ([], ["tokenizer", "train"], *([name] for name in command_names()), *methods):
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


def test_three_ways_to_sample_the_likeliest_token_alone(gpt_run, capsys):
    outputs = set()
    for option in (["--temperature", 0], ["--top-k", 1], ["--top-p", 1e-9]):
        for seed in (1, 2):
            capsys.readouterr()
            assert call("sample", gpt_run, "--tokens", 20, "--seed", seed, *option) == 0
            outputs.add(capsys.readouterr().out)
    assert len(outputs) == 1


def test_the_same_call_again_finds_the_run_finished(gpt_run, book, capsys):
    before = (gpt_run / "log.jsonl").read_bytes()
    assert call("pretrain", "gpt", book, "--run", gpt_run, *TINY_GPT) == 0
    assert (gpt_run / "log.jsonl").read_bytes() == before


def test_other_texts_or_settings_in_the_same_run_are_refused(gpt_run, book, capsys):
    other = [*TINY_GPT, "--learning-rate", "0.1"]
    assert call("pretrain", "gpt", book, "--run", gpt_run, *other) == 1
    assert "other settings" in capsys.readouterr().err
    book.write_text("Something else entirely.\n\n" * 300, encoding="utf-8")
    assert call("pretrain", "gpt", book, "--run", gpt_run, *TINY_GPT) == 1
    assert "begun with other data: documents: " in capsys.readouterr().err


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
    assert call("pretrain", "simclr", photos, "--run", folder, *TINY_SIMCLR) == 0
    assert "24 images" in capsys.readouterr().out
    assert call("probe", folder, photos, "--labels", 1, 2, 500, "--draws", 2) == 0
    table = capsys.readouterr().out
    assert "16 training and 8 test examples, 2 classes" in table
    rows = {line[:20].strip(): line[20:].split() for line in table.splitlines()[1:]}
    assert rows["labels per class"] == ["1", "2", "1-NN"]  # nobody has 500
    assert all(0 <= float(cell) <= 100 for cell in rows["pretrained network"])
    assert float(rows["raw pixels"][0]) > 90  # dark against light needs no learning


def test_a_probe_is_tested_on_examples_without_a_part_in_it(photos, tmp_path, monkeypatch):
    call("pretrain", "simclr", photos, "--run", tmp_path / "run", *TINY_SIMCLR)
    seen = []

    def accuracy(train, train_labels, test, test_labels, **options):
        seen.append((train, train_labels, test, test_labels))
        return 0.5

    monkeypatch.setattr("minissl.adapt.heads.neighbors.nearest_neighbor_accuracy", accuracy)
    assert call("probe", tmp_path / "run", photos, "--labels", 1, "--draws", 1) == 0
    raw, untrained, pretrained = seen
    assert (len(raw[0]), len(raw[2])) == (16, 8)
    assert len({row.tobytes() for row in (*raw[0], *raw[2])}) == 24
    for side in (0, 2):
        np.testing.assert_array_equal(raw[side].mean(axis=1) > 0.5, raw[side + 1])
        images = raw[side].reshape(-1, 16, 16, 3)
        expected = open_run(tmp_path / "run").method.represent(images)
        np.testing.assert_allclose(pretrained[side], expected, rtol=1e-4, atol=1e-5)
        assert not np.allclose(untrained[side], expected, rtol=1e-2)


WRONG = {
    "no such file": (["tokenizer", "train", "nowhere.txt"], "nowhere.txt"),
    "no run": (["sample", "nowhere"], "no usable checkpoint"),
    "words for ids": (
        ["tokenizer", "decode", "--text", "12 abc", "--tokenizer", "GPT"],
        "expects ids, got 'abc'",
    ),
    "loose files": (["probe", "GPT", "FOLDER"], "book.txt is in no class folder"),
    "no text from images": (["sample", "SIMCLR"], "cannot write text; methods that can: gpt"),
    "another method": (
        ["pretrain", "simclr", "--run", "GPT", "--quiet"],
        "holds a run of 'gpt', not of 'simclr'",
    ),
    "from another method": (
        ["pretrain", "simclr", "--run", "NEW", "--from", "GPT"],
        "holds a run of 'gpt', not of 'simclr'",
    ),
    "from nothing": (["pretrain", "gpt", "--run", "NEW", "--from", "nowhere"], "no usable"),
    "embed what is not there": (["embed", "GPT", "nowhere"], "nowhere"),
    "embed over a text": (["embed", "GPT", "BOOK", "--out", "BOOK"], "a name that ends with .npz"),
    "a folder as a file": (
        ["pretrain", "simclr", "--run", "BOOK"],
        "cannot be the folder of a run",
    ),
    "evaluate images as text": (["evaluate", "GPT", "PHOTOS"], "no text files below"),
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
def test_mistakes_get_one_clear_line(name, gpt_run, book, photos, tmp_path, capsys):
    arguments, message = WRONG[name]
    places = {"BOOK": book, "GPT": gpt_run, "NEW": tmp_path / "new", "FOLDER": tmp_path / "few"}
    places |= {"PHOTOS": photos, "SIMCLR": tmp_path / "simclr"}
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "book.txt").write_text("A few words.", encoding="utf-8")
    if "SIMCLR" in arguments:
        call("pretrain", "simclr", photos, "--run", places["SIMCLR"], *TINY_SIMCLR)
    capsys.readouterr()
    assert call(*[places.get(a, a) for a in arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert error.count("\n") == 1
    assert not places["NEW"].exists()


def test_python_m_minissl_runs():
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-m", "minissl", "--help"],
        capture_output=True,
        encoding="utf-8",
        env=environment,
    )
    assert done.returncode == 0
    assert "minissl demo" in done.stdout


# ---- what the commands do with a run -------------------------------------------------------------


def test_embed_writes_a_vector_for_every_example(gpt_run, photos, tmp_path, capsys):
    """The rows are the method's own ``represent``, with names, readable without pickle."""
    call("pretrain", "simclr", photos, "--run", tmp_path / "simclr", *TINY_SIMCLR)
    out = tmp_path / "new" / "photos.npz"
    assert call("embed", tmp_path / "simclr", photos, "--out", out) == 0
    with np.load(out, allow_pickle=False) as file:
        features, names = file["features"], file["names"]
    assert list(names[:2]) == ["dark/0.png", "dark/1.png"]
    opened = open_run(tmp_path / "simclr")
    images = load_image_folder(photos, 16, 3).images
    np.testing.assert_array_equal(features, opened.method.represent(images))

    (tmp_path / "two.txt").write_text("The cat sat on the mat.", encoding="utf-8")
    assert call("embed", gpt_run, tmp_path / "two.txt", "--out", tmp_path / "text.npz") == 0
    with np.load(tmp_path / "text.npz", allow_pickle=False) as file:
        assert file["features"].shape == (1, 16)


def test_evaluate_gives_the_numbers_of_the_log_and_those_of_other_data(gpt_run, tmp_path, capsys):
    last = json.loads((gpt_run / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    capsys.readouterr()
    assert call("evaluate", gpt_run) == 0
    lines = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert float(lines["held out loss"]) == pytest.approx(last["held_out_loss"], rel=1e-5)
    other = tmp_path / "other.txt"
    other.write_text(TEXT, encoding="utf-8")
    assert call("evaluate", gpt_run, other) == 0
    lines = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    opened = open_run(gpt_run)
    separator, tokenizer = opened.data.separator, opened.data.tokenizer
    stream = np.array([separator, *tokenizer.encode(TEXT), separator])
    expected = stream_nats(opened.method.model, stream) / (len(stream) - 1)
    assert float(lines["held out loss"]) == pytest.approx(expected, rel=1e-5)


def test_evaluate_uses_the_tokenizer_of_the_run(gpt_run, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("the tokenizer is there")

    monkeypatch.setattr("minissl.text.Tokenizer.train", never)
    assert call("evaluate", gpt_run) == 0


def test_the_data_of_a_run_is_found_from_another_folder(book, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("pretrain", "gpt", book.name, "--run", "near", *TINY_GPT) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert call("evaluate", tmp_path / "near") == 0


def test_evaluate_says_when_the_data_of_the_run_has_changed(gpt_run, book, capsys):
    book.write_text("Something else.\n\n" * 300, encoding="utf-8")
    assert call("evaluate", gpt_run) == 1
    assert "nobody knows what was held out" in capsys.readouterr().err
    book.unlink()
    assert call("evaluate", gpt_run) == 1
    assert "book.txt" in capsys.readouterr().err


def test_a_text_run_is_probed_with_class_folders(gpt_run, tmp_path, capsys):
    for name, words in (("cats", "The cat sat on the mat. "), ("dogs", "A dog is not a log! ")):
        (tmp_path / "labelled" / name).mkdir(parents=True)
        for i in range(9):
            (tmp_path / "labelled" / name / f"{i}.txt").write_text(
                words * (i + 1), encoding="utf-8"
            )
    assert call("probe", gpt_run, tmp_path / "labelled", "--labels", 1, 3, "--draws", 2) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[-4].startswith("labels per class")
    assert rows[-3].split() == ["tf-idf", "of", "tokens", "100.0", "100.0", "100.0"]


def test_going_on_from_the_weights_of_another_run(gpt_run, book, tmp_path, capsys):
    """--from: that run's settings are the defaults, its tokenizer is kept, its loss goes on."""
    further = tmp_path / "further"
    steps = ["--from", gpt_run, "--steps", 4, "--quiet"]
    assert call("pretrain", "gpt", book, "--run", further, *steps) == 0
    assert (further / "tokenizer.json").read_bytes() == (gpt_run / "tokenizer.json").read_bytes()
    settings = json.loads((further / "config.json").read_text(encoding="utf-8"))["config"][
        "settings"
    ]
    assert (settings["width"], settings["steps"]) == (16, 4)
    first, then = (History.read(folder).column("held_out_loss")[1] for folder in (gpt_run, further))
    assert then[0] == pytest.approx(first[-1], rel=1e-6)
    before = snapshot(tmp_path)
    assert call("pretrain", "gpt", book, "--run", further, *steps) == 0  # finished: loaded
    assert call("pretrain", "gpt", book, "--run", further, *steps, "--clip", 2) == 1
    assert "clip: 1.0, now 2.0" in capsys.readouterr().err
    wide = [*steps, "--width", 32]
    assert call("pretrain", "gpt", book, "--run", tmp_path / "wide", *wide) == 1
    assert "weights for these settings" in capsys.readouterr().err
    assert snapshot(tmp_path) == before


def test_sample_takes_the_checkpoints_folder_and_one_checkpoint(gpt_run, capsys):
    outputs = []
    newest = sorted((gpt_run / "checkpoints").iterdir())[-1]
    for place in (gpt_run, gpt_run / "checkpoints", newest):
        capsys.readouterr()
        assert call("sample", place, "--tokens", 8) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] == outputs[2]


def test_ctrl_c_says_that_it_stopped(monkeypatch, gpt_run, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("minissl.pretrain.run.open_run", interrupted)
    assert call("sample", gpt_run) == 130
    assert capsys.readouterr().err == "\nstopped\n"


def test_warnings_are_sentences(photos, tmp_path, capsys):
    options = [*TINY_SIMCLR, "--batch-size", 100]
    assert call("pretrain", "simclr", photos, "--run", tmp_path / "run", *options) == 0
    expected = "minissl: there are only 24 images: each batch has all of them, not batch_size 100\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_terminal_without_unicode_loses_characters_and_nothing_else(encoding, gpt_run):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    for command in (["claim", "--list"], ["sample", str(gpt_run), "--prompt", "≤ 𝄞 Ω"]):
        done = subprocess.run(
            [sys.executable, "-m", "minissl", *command], capture_output=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout
        assert not done.stderr


def test_progress_writes_no_carriage_returns_into_a_file(book, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "minissl", "pretrain", "gpt", book, "--run", "r", *TINY_GPT[:-1]],
        capture_output=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert b"\r" not in done.stderr + done.stdout
    assert b"step 6/6" in done.stderr


CALLS_THAT_ARE_WRONG = {
    "an empty run": (["pretrain", "gpt", "BOOK", "--run", ""], "argument --run: is empty"),
    "an empty path": (["pretrain", "gpt", "", "--run", "x"], "argument DATA: is empty"),
    "half an option": (["pretrain", "gpt", "BOOK", "--run", "x", "--fro", "y"], "--fro"),
    "options first": (
        ["pretrain", "--run", "x", "gpt"],
        "the method comes first: minissl pretrain gpt",
    ),
    "no method": (["pretrain"], "METHOD (minissl pretrain --help says more)"),
    "no verb": (["homework", "start"], "N (minissl homework start --help says more)"),
    "no command": ([], "a command is missing: choose one of"),
    "400 digits": (
        ["pretrain", "gpt", "--run", "x", "--steps", "1" * 400],
        "argument --steps: must",
    ),
}


@pytest.mark.parametrize("name", CALLS_THAT_ARE_WRONG)
def test_wrong_calls_name_what_is_wrong_and_make_nothing(name, book, tmp_path, capsys, monkeypatch):
    arguments, message = CALLS_THAT_ARE_WRONG[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        call(*[book if a == "BOOK" else a for a in arguments])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error) < 2000
    assert [path.name for path in tmp_path.iterdir()] == ["book.txt"]


def test_a_run_that_explodes_ends_with_numbers_or_a_sentence(book, tmp_path, capsys):
    options = [*TINY_GPT, "--learning-rate", 100, "--clip", 0, "--steps", 12]
    status = call("pretrain", "gpt", book, "--run", tmp_path / "run", *options)
    error = capsys.readouterr().err
    assert status == 0 or "no longer finite" in error or "the loss is" in error
    assert "OverflowError" not in error


def test_a_new_run_whose_first_look_fails_leaves_nothing(tmp_path, capsys):
    from PIL import Image

    (tmp_path / "one").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "one" / "a.png")
    options = ["--run", tmp_path / "run", "--quiet"]
    assert call("pretrain", "simclr", tmp_path / "one", *options) == 1
    assert "there is one image: views need two or more" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("edit", [{"read_from": 5}, {"read_from": {}}, {}])
def test_evaluate_of_a_run_that_does_not_say_where_its_data_is(gpt_run, edit, capsys):
    place = gpt_run / "data.json"
    about = json.loads(place.read_text(encoding="utf-8"))
    about.pop("read_from")
    place.write_text(json.dumps(about | edit), encoding="utf-8")
    assert call("evaluate", gpt_run) == 1
    assert "does not say where its data lies" in capsys.readouterr().err


def test_what_nobody_foresaw_is_one_line_and_debug_shows_it(gpt_run, monkeypatch, capsys):
    def broken(*arguments, **options):
        raise TypeError("unsupported")

    monkeypatch.setattr("minissl.pretrain.run.open_run", broken)
    assert call("sample", gpt_run) == 1
    error = capsys.readouterr().err
    assert error.startswith("minissl: TypeError: unsupported. This should have been noticed")
    with pytest.raises(TypeError):
        call("--debug", "sample", gpt_run)


@posix
@pytest.mark.parametrize("command", [["homework", "list"], ["--version"], ["claim", "--list"]])
def test_streams_that_are_closed_or_full_are_no_traceback(command):
    python = [sys.executable, "-m", "minissl", *command]
    for redirection in (">&-", "2>&-", ">&- 2>&-", ">/dev/full"):
        line = " ".join([*python, redirection])
        done = subprocess.run(["sh", "-c", line], capture_output=True, encoding="utf-8")
        assert "Traceback" not in done.stderr, redirection


def snapshot(folder):
    """Every file below a folder with its bytes and the time it was written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


# ---- devices: "torch", torch memory on the CPU, stands in for a GPU ------------------------------


@pytest.fixture
def without_kernels(monkeypatch):
    """The interpreter would take minutes for what the compositions do in a second."""
    monkeypatch.setattr("minissl.autograd.fused.gpu._interpreted", lambda: False)


def test_a_run_of_another_device_is_opened_on_any(without_kernels, book, tmp_path, capsys):
    folder = tmp_path / "other"
    options = [*TINY_GPT, "--device", "torch", "--precision", "bfloat16"]
    assert call("pretrain", "gpt", book, "--run", folder, *options) == 0
    first = json.loads((folder / "log.jsonl").read_text(encoding="utf-8").splitlines()[1])
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
    assert "pretrained network" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device", "gpu"], "device must be 'auto', 'cpu', 'cuda' or 'cuda:1', got 'gpu'"),
        (["--device", "mps"], "minissl does not run on Apple's GPUs. They have no float64"),
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

    monkeypatch.setattr("minissl.pretrain.run.fit", too_large)
    assert call("pretrain", "simclr", "--run", tmp_path / "run", "--quiet") == 1
    assert "use a smaller --batch-size" in capsys.readouterr().err
