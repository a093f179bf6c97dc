"""``--log-to``: what the command line sends to a tracker, and when it refuses."""

import json
import sys

import pytest

from minissl.adapt import adaptation_names, load_adaptation
from minissl.adapt.method import Solved
from minissl.adapt.run import adapt
from minissl.cli import main, parser_of
from minissl.training import fit as fit_itself
from minissl.training.trackers import TRACKERS
from tests.adapt.toy import toy_base
from tests.training.test_trackers import (  # noqa: F401  (fixtures)
    curves,
    fakes,
    kept_by,
    no_packages,
    nothing_installed,
    of_log,
)

SMALL = (
    "--steps 4 --num-layers 1 --num-heads 2 --width 16 --context-length 12 --batch-size 4 "
    "--vocab-size 260 --quiet"
).split()


@pytest.fixture
def text(tmp_path):
    """A text, and labelled ones."""
    (tmp_path / "text.txt").write_text("A few words, and a few more of them.\n\n" * 20, "utf-8")
    rows = [f"{('good', 'bad')[i % 2]} word {i},{('pos', 'neg')[i % 2]}" for i in range(30)]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]), "utf-8")
    return tmp_path


def pretrain(folder, *words):
    data, run = str(folder / "text.txt"), str(folder / "runs" / "book")
    return main(["pretrain", "gpt", data, "--run", run, *SMALL, *words])


@pytest.mark.parametrize("name", TRACKERS)
def test_a_run_is_sent_whole_and_sent_again_when_asked_again(name, text, fakes, capsys):  # noqa: F811
    assert pretrain(text) == 0  # without: nobody is told, the log is the same
    untold = (text / "runs" / "book" / "config.json").read_bytes()
    assert pretrain(text, "--log-to", name) == 0  # finished: its log is sent
    assert curves(kept_by(name, text)["rows"]) == of_log(text / "runs" / "book")
    assert (text / "runs" / "book" / "config.json").read_bytes() == untold


def test_what_wandb_sees(text, fakes):  # noqa: F811
    assert pretrain(text, "--log-to", "wandb", "--seed", "3", "--learning-rate", "0.002") == 0
    kept = kept_by("wandb", text)
    assert (kept["init"]["project"], kept["init"]["name"]) == ("runs", "book")
    shown = kept["init"]["config"]
    assert json.loads(json.dumps(shown)) == shown
    expected = {"method": "gpt", "device": "cpu", "seed": 3, "learning_rate": 0.002, "steps": 4}
    assert {name: shown[name] for name in expected} == expected
    assert not any(str(text) in str(value) for value in shown.values())  # no path of the machine
    assert kept["exits"] == [0]


def test_a_trained_adaptation_is_sent_and_one_that_is_solved_has_no_such_option(text, fakes):  # noqa: F811
    toy_base("gpt", text / "base")
    words = [str(text / "base"), str(text / "reviews.csv"), "--quiet"]
    lora = ["adapt", "lora", *words, "--steps", "3", "--log-to", "trackio"]
    assert main([*lora, "--run", str(text / "runs" / "reviews")]) == 0
    kept = kept_by("trackio", text)
    assert curves(kept["rows"]) == of_log(text / "runs" / "reviews")
    assert kept["init"]["name"].startswith("reviews-")
    shown = kept["init"]["config"]
    assert (shown["adaptation"], shown["base"]) == ("lora", "base")
    for name in adaptation_names():
        options = parser_of("adapt", [name]).format_help()
        assert ("--log-to" in options) != issubclass(load_adaptation(name), Solved), name


def test_in_python_what_is_solved_at_once_refuses_to_tell(text):
    opened = toy_base("gpt", text / "base")
    kind = load_adaptation("probe")
    data = type(opened.method).Data.with_labels.toy(opened.settings)
    with pytest.raises(ValueError, match="probe is solved at once and has no curve: leave tell"):
        adapt(kind, opened, data, kind.Settings(), text / "probe", tell=print)
    assert not (text / "probe").exists()


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_told_before_anything_is_read(name, text, nothing_installed, capsys):  # noqa: F811
    (text / "text.txt").unlink()
    assert pretrain(text, "--log-to", name) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"minissl: {name} cannot be imported here ")
    assert f"pip install {name}, or train without it\n" in error
    assert not (text / "runs").exists()


def test_without_a_folder_there_are_no_names(text, fakes, capsys):  # noqa: F811
    toy_base("gpt", text / "base")
    words = ["adapt", "lora", str(text / "base"), str(text / "reviews.csv"), "--log-to", "wandb"]
    assert main(words) == 1
    assert capsys.readouterr().err == (
        "minissl: --log-to wandb takes its names from the run's folder: give --run too\n"
    )


def test_a_refused_call_sends_nothing_and_ctrl_c_is_a_failed_run(text, fakes, capsys, monkeypatch):  # noqa: F811
    assert pretrain(text) == 0
    assert pretrain(text, "--seed", "1", "--log-to", "wandb") == 1  # another run is there
    assert sys.modules["wandb"].RUNS == {}

    def interrupted(*arguments, tell, **options):
        fit_itself(*arguments, tell=tell, **{**options, "steps": 2})
        raise KeyboardInterrupt("stopped")

    monkeypatch.setattr("minissl.pretrain.run.fit", interrupted)
    run = str(text / "runs" / "other")
    words = ["pretrain", "gpt", str(text / "text.txt"), "--run", run, *SMALL, "--log-to", "wandb"]
    assert main(words) == 130
    assert kept_by("wandb", text)["exits"] == [1]


def test_the_help_names_every_tracker_and_what_is_sent():
    parser = parser_of("pretrain", ["gpt"])
    (option,) = [a for a in parser._actions if "--log-to" in a.option_strings]
    assert tuple(option.choices) == tuple(TRACKERS)
    assert "no data and no weights" in " ".join(option.help.split())
