"""Runs are opened as they were, or refused with a sentence that names the file."""

import hashlib
import json
import re
import shutil
import tracemalloc

import pytest

from minissl.pretrain.images.simclr import SimCLR
from minissl.pretrain.language.gpt import GPTPretraining
from minissl.pretrain.run import open_run, pretrain, train
from minissl.training import CheckpointError, load_checkpoint
from minissl.training.checkpoint import FILES, SUMS, _sum_line
from tests.pretrain.toy import toy_data, toy_settings


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of text and one of images."""
    folder = tmp_path_factory.mktemp("runs")
    for name, kind in (("gpt", GPTPretraining), ("simclr", SimCLR)):
        settings = toy_settings(name, temperature=0.7, loss="positives_only")
        pretrain(kind, toy_data(name, settings), settings, folder / name, progress=False)
    return folder


@pytest.fixture
def runs(made, tmp_path):
    shutil.copytree(made, tmp_path / "runs")
    return tmp_path / "runs"


def change(folder, edit):
    """Edit what the checkpoints and the config say of the run, with right checksums."""
    for path in (folder / "checkpoints").iterdir():
        state = json.loads((path / FILES[2]).read_bytes())
        edit(state["config"])
        (path / FILES[2]).write_text(json.dumps(state), encoding="utf-8")
        lines = [_sum_line(name, (path / name).read_bytes()) for name in FILES]
        (path / SUMS).write_bytes(b"\n".join(lines) + b"\n")
        load_checkpoint(path)
    config = json.loads((folder / "config.json").read_bytes())
    edit(config["config"])
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("gpt", {"width": 1 << 16}),
        ("gpt", {"context_length": 1 << 20}),
        ("gpt", {"num_layers": 1000, "width": 4096}),
        ("simclr", {"features": 1 << 16}),
    ],
)
def test_settings_of_a_larger_model_take_no_memory(runs, name, edit):
    change(runs / name, lambda config: config["settings"].update(edit))
    open_run(runs / ("simclr" if name == "gpt" else "gpt"))  # whatever is imported
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"checkpoint.json describes a model that is larger than"):
        open_run(runs / name)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_an_opened_run_remembers_everything(runs):
    opened = open_run(runs / "simclr")
    assert (opened.settings.loss, opened.settings.temperature) == ("positives_only", 0.7)
    assert (opened.method.loss_name, opened.method.temperature) == ("positives_only", 0.7)
    assert opened.settings.augmentation == "digits"  # what "auto" was
    config = json.loads((runs / "simclr" / "config.json").read_text(encoding="utf-8"))["config"]
    assert config["method"] == "simclr"
    assert config["data"]["kind"] == "Images"
    data = json.loads((runs / "simclr" / "data.json").read_text(encoding="utf-8"))
    assert data["fingerprint"]["sha256"] == config["data"]["sha256"]
    assert open_run(runs / "simclr", SimCLR).name == "simclr"
    with pytest.raises(ValueError, match="holds a run of 'simclr', not of 'gpt'"):
        open_run(runs / "simclr", GPTPretraining)


def test_a_tokenizer_of_another_run_is_refused(runs):
    place = runs / "gpt" / "tokenizer.json"
    good = place.read_bytes()
    for bad in (good.replace(b"1", b"2"), good[:-20], b""):
        place.write_bytes(bad)
        with pytest.raises(ValueError, match=r"tokenizer.json is not the file that this run was"):
            open_run(runs / "gpt")
    place.unlink()
    with pytest.raises(ValueError, match=r"tokenizer.json is missing"):
        open_run(runs / "gpt")


def test_what_was_kept_is_loaded_and_not_made_again(runs, monkeypatch):
    from minissl.text import Tokenizer

    def never(*arguments, **options):
        raise AssertionError("the tokenizer is there")

    monkeypatch.setattr(Tokenizer, "train", never)
    settings = toy_settings("gpt")
    pretrain(GPTPretraining, toy_data("gpt", settings), settings, runs / "gpt", progress=False)
    open_run(runs / "gpt")


def test_runs_made_before_are_refused_with_a_sentence(runs):
    def as_it_was(config):
        model = {"vocab_size": 300, "context_length": 12, "num_layers": 1, "width": 16}
        config.clear()
        config.update({"method": "gpt", "batch_size": 6, "model": model})

    change(runs / "gpt", as_it_was)
    sentence = "a run of 'gpt' from before methods recorded their settings"
    with pytest.raises(ValueError, match=sentence):
        open_run(runs / "gpt")
    settings = toy_settings("gpt")
    with pytest.raises(ValueError, match=sentence):
        pretrain(GPTPretraining, toy_data("gpt", settings), settings, runs / "gpt")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(method="frobnicate"), "there is no method 'frobnicate'; choose one of"),
        (lambda c: c.pop("method"), "does not say which method it is a run of"),
        (lambda c: c["settings"].update(width="wide"), "width must be a whole number"),
        (lambda c: c["settings"].update(colour=3), "GPTSettings has no setting colour"),
        (lambda c: c["settings"].update(width=32), "cannot be read as weights of this GPT"),
        (lambda c: c["settings"].update(num_heads=3), "num_heads must divide"),
        (lambda c: c.update(settings=[]), "from before methods recorded their settings"),
        (lambda c: c.update(kept={"../../etc/passwd": "0"}), "which this run needs"),
        (lambda c: c.update(kept={}), "tokenizer.json is missing"),
    ],
)
def test_what_a_run_cannot_mean_is_a_sentence(runs, edit, message):
    change(runs / "gpt", edit)
    with pytest.raises(ValueError, match=message) as caught:
        open_run(runs / "gpt")
    assert str(runs) in str(caught.value)


def test_a_file_outside_of_the_run_is_none_that_it_kept(runs):
    """Even with its right hash: a config may come from somebody else."""
    elsewhere = hashlib.sha256((runs / "simclr" / "data.json").read_bytes()).hexdigest()
    change(runs / "gpt", lambda config: config["kept"].update({"../simclr/data.json": elsewhere}))
    with pytest.raises(ValueError, match="which this run needs"):
        open_run(runs / "gpt")


def test_a_setting_that_a_run_does_not_have_yet_has_its_default(runs):
    change(runs / "simclr", lambda config: config["settings"].pop("clip"))
    assert open_run(runs / "simclr").settings.clip == 0
    settings = toy_settings("simclr", temperature=0.7, loss="positives_only")
    trained = pretrain(
        SimCLR, toy_data("simclr", settings), settings, runs / "simclr", progress=False
    )
    assert trained.history.latest("step") == 3


def test_a_process_that_has_read_other_data_than_the_first_says_so(monkeypatch):
    def first(action):
        return json.dumps({**json.loads(action()), "fingerprint": {"sha256": "0"}}).encode()

    monkeypatch.setattr("minissl.training.opening.from_first", first)
    settings = toy_settings("simclr")
    with pytest.raises(ValueError, match="process 0 has read other data than process 0: give all"):
        pretrain(SimCLR, toy_data("simclr", settings), settings, progress=False)


def test_how_often_it_is_measured_and_kept_may_change(runs):
    settings = toy_settings("simclr", temperature=0.7, loss="positives_only", keep=0, evaluations=3)
    pretrain(SimCLR, toy_data("simclr", settings), settings, runs / "simclr", progress=False)


def test_a_run_that_fit_made_says_how_to_read_it(tmp_path):
    from tests.training.tiny import run_tiny

    run_tiny(tmp_path)
    with pytest.raises(ValueError, match=r"made by fit\(\) in Python.*load_model"):
        open_run(tmp_path)
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        open_run(tmp_path / "checkpoints" / "nothing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "gpt"}, "kind must be the class of a method, got 'gpt'"),
        ({"settings": None}, "settings must be of type GPTSettings, got a NoneType"),
        ({"settings": toy_settings("simclr")}, "settings must be of type GPTSettings"),
        ({"data": "book.txt"}, "data must be of type Texts, got a str: 'book.txt'"),
        ({"start": "runs/good"}, "start must be of type Opened, got a str"),
        ({"seed": -1}, "seed must be a whole number ≥ 0, got -1"),
        ({"seed": True}, "seed must be a whole number ≥ 0, got True"),
        ({"seed": 1.5}, "seed must be a whole number ≥ 0, got 1.5"),
    ],
)
def test_in_python_a_wrong_kind_is_a_sentence(tmp_path, change, message):
    settings = toy_settings("gpt")
    right = {"kind": GPTPretraining, "data": toy_data("gpt", settings), "settings": settings}
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        pretrain(**{**right, **change}, folder=tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())


def test_what_is_not_of_the_method_is_refused(runs):
    opened = open_run(runs / "gpt")
    with pytest.raises(TypeError, match="settings must be of type Training, got a dict"):
        train(opened.method, {"steps": 3})
    for wrong in (None, toy_data("gpt", opened.settings), open_run(runs / "simclr").data):
        with pytest.raises(TypeError, match="data must be of type Streams"):
            opened.on(wrong)


def test_a_folder_that_is_called_like_a_checkpoint_is_passed_over(runs):
    for name in ("step-²", "step-", "step-1x"):
        (runs / "gpt" / "checkpoints" / name).mkdir()
    assert open_run(runs / "gpt").checkpoint.step == 3


@pytest.mark.parametrize("state", [{}, {"step": "3"}, {"step": {}}, [], {"step": 3}])
def test_a_checkpoint_that_says_nothing_is_named(runs, state):
    settings = toy_settings("gpt")
    for path in (runs / "gpt" / "checkpoints").iterdir():
        old = json.loads((path / FILES[2]).read_bytes())
        state = {"format_version": 1, "config": old["config"], **state} if state != [] else state
        (path / FILES[2]).write_text(json.dumps(state), encoding="utf-8")
        lines = [_sum_line(name, (path / name).read_bytes()) for name in FILES]
        (path / SUMS).write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(CheckpointError, match="step-0000000"):
        pretrain(GPTPretraining, toy_data("gpt", settings), settings, runs / "gpt", progress=False)


def test_a_run_that_was_killed_before_its_first_checkpoint_needs_its_start_again(runs, tmp_path):
    """Without it, it would begin with random weights and say that they were those of another."""
    settings, start = toy_settings("gpt", steps=2), open_run(runs / "gpt")
    data = toy_data("gpt", settings)
    options = {"folder": tmp_path / "more", "progress": False}
    pretrain(GPTPretraining, data, settings, start=start, **options)
    shutil.rmtree(tmp_path / "more" / "checkpoints")
    (tmp_path / "more" / "log.jsonl").unlink()
    with pytest.raises(
        ValueError, match=r"no checkpoint yet: give the same start \(--from\) again"
    ):
        pretrain(GPTPretraining, data, settings, **options)
    again = pretrain(GPTPretraining, data, settings, start=start, **options)
    assert again.history.latest("step") == 2
