"""Trackers of others: what they are told is the log, whole and once, and changes no training.

The packages are imitated in ``fake_packages``; where the real ones are installed, their signatures
are compared. What the real ones keep was read back once, by hand.
"""

import importlib.util
import inspect
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from minissl.autograd.processes import World
from minissl.training import BusyError, DivergedError, RunFolder, fit
from minissl.training.trackers import TRACKERS, tracker
from tests.training.tiny import TinyMethod, outcome, run_tiny

FAKES = Path(__file__).parent / "fake_packages"
SETTINGS = {"steps": 30, "learning_rate": 0.05, "method": "tiny"}
PACKAGES = ("wandb", "trackio", "tensorboard")


@pytest.fixture
def no_packages():
    """None of the packages is imported, before and after."""
    others = {n: m for n, m in sys.modules.items() if n.split(".")[0] in PACKAGES}
    for name in others:
        del sys.modules[name]
    yield
    for name in [n for n in sys.modules if n.split(".")[0] in PACKAGES]:
        del sys.modules[name]
    sys.modules.update(others)


@pytest.fixture
def fakes(no_packages, monkeypatch):
    """The imitated packages in the place of the real ones, with nothing in them."""
    monkeypatch.syspath_prepend(FAKES)


@pytest.fixture
def nothing_installed(no_packages, monkeypatch):
    for package in PACKAGES:
        monkeypatch.setitem(sys.modules, package, None)  # what makes an import fail


class Killed(BaseException):
    """What nobody catches, as a kill."""


def until(step, tell, stop):
    """Tell, and raise ``stop`` after this step."""

    def told(record):
        tell(record)
        if record["step"] == step:
            raise stop

    return told


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


def curves(rows, without=("seconds", "step")):
    """Of (step, numbers) pairs: for each name its points in the order in which they came."""
    found = {}
    for step, numbers in rows:
        for name, value in numbers.items():
            if name not in without and isinstance(value, int | float):
                found.setdefault(name, []).append((step, value))
    return found


def of_log(folder):
    return curves((record["step"], record) for record in lines(folder))


def kept_by(name, folder):
    """What the imitated package holds of the only run in it: rows and exits."""
    if name != "tensorboard":
        (kept,) = sys.modules[name].RUNS.values()
        return kept
    (files,) = sys.modules["tensorboard.summary.writer.event_file_writer"].FILES.values()
    rows, exits = [], []
    for event in (event for file in files for event in file):
        if event == "closed":
            exits.append(None)
        elif event.session_log == {"status": 1}:
            rows = [row for row in rows if row[0] < event.step]
        else:
            values = [v for v in event.summary["value"] if "simple_value" in v]
            rows += [(event.step, {v["tag"]: v["simple_value"]}) for v in values]
    return {"rows": rows, "exits": exits}


def lose(name, count):
    """What a kill takes with it: the last events that were not written yet."""
    if name == "tensorboard":
        (files,) = sys.modules["tensorboard.summary.writer.event_file_writer"].FILES.values()
        del files[-1][len(files[-1]) - count :]
    elif count:
        (kept,) = sys.modules[name].RUNS.values()
        del kept["rows"][-count:]


def run(folder, tell, **settings):
    return run_tiny(folder, tell=tell, **{"steps": 30, "log_every": 1, **settings})


@pytest.mark.parametrize("lost", [0, 1, 5, 16])
@pytest.mark.parametrize("name", TRACKERS)
def test_after_a_kill_the_curve_is_the_log_whole_and_once(name, lost, fakes, tmp_path):
    folder = tmp_path / "runs" / "book"
    begun = tracker(name, folder, SETTINGS)
    with pytest.raises(Killed):
        run(folder, until(17, begun, Killed))
    assert lines(folder)[-1]["step"] == 17  # and a checkpoint of step 15
    lose(name, lost)
    with tracker(name, folder, SETTINGS) as tell:
        run(folder, tell)
    kept = kept_by(name, folder)
    assert curves(kept["rows"]) == of_log(folder)
    assert [step for step, _ in of_log(folder)["loss"]] == [*range(1, 31)]
    assert [step for step, _ in of_log(folder)["held_out_loss"]] == [*range(0, 31, 4), 30]
    assert kept["exits"] == [0 if name == "wandb" else None]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_names_come_from_the_folder_and_settings_are_shown(name, fakes, tmp_path):
    folder = tmp_path / "my: runs" / "book?"
    with tracker(name, folder, SETTINGS) as tell:
        run(folder, tell)
    given = kept_by(name, folder)["init"]
    assert given["project"] == "my- runs"
    assert given["name"].startswith("book-")
    assert given["config"] == SETTINGS


def test_tensorboard_lies_in_the_run_with_the_settings_as_text(fakes, tmp_path):
    with tracker("tensorboard", tmp_path / "book", SETTINGS) as tell:
        run(tmp_path / "book", tell)
    files = sys.modules["tensorboard.summary.writer.event_file_writer"].FILES
    ((place, (events,)),) = files.items()
    assert Path(place) == tmp_path / "book" / "tensorboard"
    assert events[0].session_log == {"status": 1}
    (shown,) = events[1].summary["value"]
    assert shown["metadata"]["plugin_data"]["plugin_name"] == "text"
    assert b"learning_rate: 0.05" in shown["tensor"]["string_val"][0]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_run_is_the_same_one_where_it_is_moved_and_another_when_begun_anew(name, fakes, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    with pytest.raises(Killed):
        run(first, until(10, tracker(name, first, SETTINGS), Killed))
    (tmp_path / "elsewhere").mkdir()
    moved = first.rename(tmp_path / "elsewhere" / "first")
    with tracker(name, moved, SETTINGS) as tell:
        run(moved, tell)
    runs = sys.modules[name].RUNS
    assert len(runs) == 1
    shutil.rmtree(moved)
    for folder in (moved, second):
        with tracker(name, folder, SETTINGS) as tell:
            run(folder, tell, seed=4)
    assert len(runs) == 3
    assert all(len({step for step, _ in kept["rows"]}) == 31 for kept in runs.values())


@pytest.mark.parametrize("name", TRACKERS)
def test_a_finished_run_and_one_that_went_untold_are_sent_whole(name, fakes, tmp_path):
    run(tmp_path / "book", None)
    for _ in range(2):
        with tracker(name, tmp_path / "book", SETTINGS) as tell:
            run(tmp_path / "book", tell)  # is loaded: nothing is trained
        kept = kept_by(name, tmp_path)
        assert curves(kept["rows"]) == of_log(tmp_path / "book")


@pytest.mark.parametrize("name", TRACKERS)
def test_texts_and_what_is_not_finite_make_no_curve(name, fakes, tmp_path):
    class NotFinite(TinyMethod):
        def evaluate(self):
            return {"held_out_loss": float("nan"), "accuracy": np.float32(0.5)}

    with tracker(name, tmp_path / "book", SETTINGS) as tell:
        run(tmp_path / "book", tell, method=NotFinite())
        tell({"step": 31, "loss": 1.5, "device": "cuda", "precision": "bfloat16"})
    found = curves(kept_by(name, tmp_path)["rows"], without=())
    assert found.keys() == {"loss", "lr", "grad_norm", "seconds", "accuracy"}
    assert found["accuracy"][0] == (0, 0.5)
    assert found["loss"][-1] == (31, 1.5)


# ---- ends of every kind --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "step"), [(KeyboardInterrupt, 9), (DivergedError, 12), (SystemExit, 9)]
)
@pytest.mark.parametrize("name", TRACKERS)
def test_a_run_that_ends_badly_is_finished(name, stop, step, fakes, tmp_path):
    class Diverges(TinyMethod):
        def loss(self, batch, generator):
            loss = super().loss(batch, generator)
            self.losses = getattr(self, "losses", 0) + self.model.training
            return loss * np.nan if stop is DivergedError and self.losses > 2 * step else loss

    begun = tracker(name, tmp_path / "book", SETTINGS)
    told = begun if stop is DivergedError else until(step, begun, stop)
    with pytest.raises(stop), np.errstate(all="ignore"), begun:
        run(tmp_path / "book", told, method=Diverges())
    kept = kept_by(name, tmp_path)
    assert kept["exits"] == [1 if name == "wandb" else None]
    assert curves(kept["rows"]) == of_log(tmp_path / "book")
    assert kept["rows"][-1][0] == step


@pytest.mark.parametrize("name", TRACKERS)
def test_a_refused_call_sends_nothing(name, fakes, tmp_path):
    class Breaks(TinyMethod):
        def batch(self, generator):
            raise RuntimeError("no batch")

    folder = tmp_path / "runs" / "book"

    def refused(error, **settings):
        with pytest.raises(error), tracker(name, folder, SETTINGS) as tell:
            run(folder, tell, **settings)

    refused(ValueError, clip=-1)
    refused(RuntimeError, method=Breaks())  # the first step, after an evaluation
    assert not folder.exists()
    run(folder, None)
    refused(ValueError, seed=5)
    with RunFolder(folder):
        refused(BusyError)
    module = sys.modules[TRACKERS[name][1]]
    assert not getattr(module, "RUNS", {})
    assert not getattr(module, "FILES", {})


def test_the_end_may_fail_without_hiding_how_the_run_ended(fakes, tmp_path, monkeypatch):
    def fails(self, exit_code=None):
        raise ConnectionError("no network")

    begun = tracker("wandb", tmp_path / "book", SETTINGS)
    monkeypatch.setattr(sys.modules["wandb"].Run, "finish", fails)
    with pytest.warns(UserWarning, match="wandb could not be finished: no network"), begun as tell:
        method, _ = run(tmp_path / "book", tell)
    assert outcome(method, lines(tmp_path / "book")) == outcome(*run(None, None))
    with (
        pytest.warns(UserWarning, match="could not be finished"),
        pytest.raises(KeyboardInterrupt),
        tracker("wandb", tmp_path / "other", SETTINGS) as tell,
    ):
        run(tmp_path / "other", until(3, tell, KeyboardInterrupt))


# ---- what is told --------------------------------------------------------------------------------


def test_each_record_is_told_when_it_is_in_the_log_and_step_0_with_the_first(tmp_path):
    told = []

    def tell(record):
        told.append(dict(record))
        logged = lines(tmp_path / "run")
        assert logged[-1]["step"] == max(record["step"], 1)
        assert record in logged
        record.clear()  # it is a copy

    method, history = run(tmp_path / "run", tell)
    assert told == history.records == lines(tmp_path / "run")
    assert outcome(method, history) == outcome(*run(None, None))
    in_memory = []
    run(None, in_memory.append, log_every=7)
    assert [record["step"] for record in in_memory] == [0, 4, 7, 8, 12, 14, 16, 20, 21, 24, 28, 30]


def test_a_run_that_goes_on_tells_what_comes_after_its_checkpoint(tmp_path):
    told = []
    with pytest.raises(Killed):
        run(tmp_path, until(17, told.append, Killed))
    assert [record["step"] for record in told] == [*range(18)]
    told.clear()
    run(tmp_path, told.append)
    assert [record["step"] for record in told] == [*range(16, 31)]
    told.clear()
    run(tmp_path, told.append)
    assert told == []


def test_the_first_error_is_a_warning_and_the_last_call(tmp_path):
    steps = []

    def tell(record):
        steps.append(record["step"])
        if record["step"] == 5:
            raise ConnectionError("no network")

    with pytest.warns(UserWarning, match="step 5") as warned:
        method, history = run(tmp_path / "run", tell)
    assert steps == [*range(6)]
    (warning,) = warned
    assert str(warning.message) == (
        "what tells others of this run failed at step 5 and is not called again (ConnectionError: "
        "no network). The training goes on, and its own log is whole"
    )
    assert outcome(method, history) == outcome(*run(None, None))


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_cannot_begin_is_tried_once(name, fakes, tmp_path, monkeypatch):
    begun = tracker(name, tmp_path / "book", SETTINGS)
    calls = []

    def refuses(*arguments, **options):
        calls.append(options)
        raise RuntimeError("log in first")

    monkeypatch.setattr(begun, "begin", refuses)
    with pytest.warns(UserWarning, match="log in first") as warned, begun as tell:
        run(tmp_path / "book", tell)
    assert len(warned) == len(calls) == 1
    assert len(lines(tmp_path / "book")) == 31


def test_only_the_process_that_writes_tells(monkeypatch):
    monkeypatch.setattr(sys.modules[fit.__module__], "world", lambda: World(1, 1))
    run(None, pytest.fail)


# ---- packages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRACKERS)
def test_a_package_that_is_missing_is_told_before_anything(name, nothing_installed, tmp_path):
    with pytest.raises(ImportError, match=f"^{name} cannot be imported here .*pip install {name}"):
        tracker(name, tmp_path / "book", SETTINGS)
    assert not any(tmp_path.iterdir())


def test_the_folder_that_wandb_leaves_is_no_package(no_packages, monkeypatch, tmp_path):
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ImportError, match=r"wandb cannot be imported here .*'init'"):
        tracker("wandb", tmp_path / "book", SETTINGS)


def test_another_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"one of trackio, wandb, tensorboard, got 'comet'"):
        tracker("comet", tmp_path, SETTINGS)


USED = {
    "wandb": (("wandb", "init"), ("wandb", "Run.log"), ("wandb", "Run.finish")),
    "trackio": (("trackio", "init"), ("trackio", "Run.log"), ("trackio", "finish")),
    "tensorboard": (
        ("tensorboard.summary.writer.event_file_writer", "EventFileWriter"),
        ("tensorboard.summary.writer.event_file_writer", "EventFileWriter.add_event"),
        ("tensorboard.summary.writer.event_file_writer", "EventFileWriter.flush"),
        ("tensorboard.summary.writer.event_file_writer", "EventFileWriter.close"),
    ),
}
SIGNATURES = """
import importlib, inspect, json, sys
found = {}
for module, name in json.loads(sys.argv[1]):
    thing = importlib.import_module(module)
    for part in name.split("."):
        thing = getattr(thing, part)
    found[name] = list(inspect.signature(thing).parameters)
print(json.dumps(found))
"""


def signatures(package, folder):
    """The names of the parameters of what is used of a package, asked in a process of its own."""
    words = [sys.executable, "-c", SIGNATURES, json.dumps(USED[package])]
    path = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(words, env=path, capture_output=True, encoding="utf-8", check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("package", PACKAGES)
def test_the_fakes_take_what_the_real_ones_take(package, tmp_path):
    """Every parameter of a fake is one of the real function, which may have more."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    real, fake = signatures(package, tmp_path), signatures(package, FAKES)
    assert real.keys() == fake.keys()
    for name, parameters in fake.items():
        assert set(parameters) <= set(real[name]), name


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_the_real_ones_say_how_far_they_have_come(name):
    real = pytest.importorskip(name)
    if name == "wandb":
        assert isinstance(real.Run.step, property)
    else:
        assert "self._next_step =" in inspect.getsource(real.Run.__init__)


def test_tensorboard_reads_back_what_it_was_told(tmp_path):
    """With the real package, where it is installed: its own reader gives the curves of the log."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = tmp_path / "book"
    with pytest.raises(Killed):
        run(folder, until(17, tracker("tensorboard", folder, SETTINGS), Killed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with tracker("tensorboard", folder, SETTINGS) as tell:
            run(folder, tell)
        events = reading.EventAccumulator(str(folder / "tensorboard"), {"scalars": 0})
        events.Reload()
        found = {
            tag: [(e.step, e.value) for e in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }
    expected = curves(((r["step"], r) for r in lines(folder)), without=("step",))
    assert found == {n: [(s, float(np.float32(v))) for s, v in c] for n, c in expected.items()}
