"""The loop: what it does in what order, and how it ends when it cannot go on."""

import io
import json
import math
import os
import signal
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest

from minissl.autograd import Tensor
from minissl.autograd import operations as ops
from minissl.autograd.recording import is_recording
from minissl.nn.module import Module, Parameter
from minissl.optim import SGD, AdamW
from minissl.training import CheckpointError, DivergedError, History, find_checkpoint, fit
from minissl.training import run as run_module
from tests.systems import posix
from tests.training.tiny import TinyMethod, outcome, run_tiny


class Regression:
    """Least squares on fixed slices of the data, in order: nothing is random."""

    def __init__(self, rows_per_batch=4):
        rng = np.random.default_rng(0)
        self.x, self.y = rng.standard_normal((24, 3)), rng.standard_normal(24)
        self.rows, self.next = rows_per_batch, 0
        self.model = Module()
        self.model.weight = Parameter(np.zeros(3))

    def batch(self, generator):
        rows = np.arange(self.next, self.next + self.rows) % len(self.x)
        self.next += self.rows
        return self.x[rows], self.y[rows]

    def loss(self, batch, generator):
        x, y = batch
        difference = ops.linear(Tensor(x), self.model.weight.reshape(1, 3)).reshape(-1) - y
        return (difference * difference).mean()

    def represent(self, examples):
        return examples


def stop_after(folder, steps, **settings):
    """A run of ``run_tiny`` that ends with an error in the batch after so many steps."""
    method = TinyMethod()
    calls = iter(range(2 * steps))  # two batches for each

    def batch(generator, usual=method.batch):
        if next(calls, None) is None:
            raise InterruptedError
        return usual(generator)

    method.batch = batch
    with pytest.raises(InterruptedError):
        run_tiny(folder, method=method, **settings)


def fit_quietly(method, steps=6, lr=0.05, optimizer=None, **settings):
    optimizer = optimizer or SGD(method.model.named_parameters(), lr=lr)
    return fit(method, optimizer, steps=steps, progress=False, **settings)


def test_equals_gradient_descent_written_out():
    method = Regression()
    history = fit_quietly(method, steps=12, schedule=lambda step: 0.05 / (step + 1))
    weight, expected = np.zeros(3), []
    for step in range(12):
        rows = np.arange(4 * step, 4 * step + 4) % 24
        difference = method.x[rows] @ weight - method.y[rows]
        gradient = 2 * method.x[rows].T @ difference / 4
        rate = 0.05 / (step + 1)
        expected.append((step + 1, np.mean(difference**2), rate, np.linalg.norm(gradient)))
        weight -= rate * gradient
    np.testing.assert_allclose(method.model.weight.array, weight, rtol=1e-12)
    found = [(r["step"], r["loss"], r["lr"], r["grad_norm"]) for r in history]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    seconds = [r["seconds"] for r in history]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


@pytest.mark.parametrize("accumulate", [2, 3, 6])
def test_accumulated_small_batches_equal_the_large_one(accumulate):
    small, large = Regression(24 // accumulate), Regression(24)
    records = fit_quietly(small, accumulate=accumulate, clip=0.7)
    expected = fit_quietly(large, clip=0.7)
    np.testing.assert_allclose(small.model.weight.array, large.model.weight.array, rtol=1e-12)
    for name in ("loss", "grad_norm"):
        np.testing.assert_allclose(records.column(name)[1], expected.column(name)[1], rtol=1e-12)
    assert small.next == 6 * 24


def test_clipping_bounds_the_step_and_the_log_has_the_norm_before():
    method = Regression(24)
    history = fit_quietly(method, steps=1, lr=1.0, clip=0.01)
    assert history[0]["grad_norm"] > 0.1
    assert np.linalg.norm(method.model.weight.array) == pytest.approx(0.01)


def test_same_seed_same_run_other_seed_other_run():
    first, second = outcome(*run_tiny(None)), outcome(*run_tiny(None))
    assert first == second
    assert outcome(*run_tiny(None, seed=4)) != first


def test_every_batch_has_its_own_generator():
    draws = {}

    class Recorder(Regression):
        def batch(self, generator):
            draws[len(draws)] = generator.random()
            return super().batch(generator)

    fit_quietly(Recorder(), steps=5, accumulate=3, seed=9)
    expected = [np.random.default_rng([9, s, m]).random() for s in range(5) for m in range(3)]
    assert list(draws.values()) == expected


def test_what_is_logged_when(tmp_path):
    _, history = run_tiny(tmp_path, steps=11, log_every=3, evaluate_every=4)
    assert [r["step"] for r in history if "loss" in r] == [3, 4, 6, 8, 9, 11]
    assert [r["step"] for r in history if "held_out_loss" in r] == [0, 4, 8, 11]
    assert "loss" not in history[0]
    assert History.read(tmp_path).records == history.records


def test_evaluation_sees_evaluation_mode_and_leaves_no_trace():
    modes = []

    class Watched(TinyMethod):
        def loss(self, batch, generator):
            modes.append(("training", self.model.training, is_recording()))
            return super().loss(batch, generator)

        def evaluate(self):
            modes.append(("evaluation", self.model.training, is_recording()))
            return {"metric": 1.0}

    method = Watched()
    method.model.eval()
    run_tiny(None, method=method, steps=3, evaluate_every=2, accumulate=1)
    training, evaluation = ("training", True, True), ("evaluation", False, False)
    assert modes == [evaluation, training, training, evaluation, training, evaluation]
    with_evaluation = outcome(*run_tiny(None))[0]
    assert outcome(*run_tiny(None, evaluate_every=None))[0] == with_evaluation


# ---- the run folder -----------------------------------------------------------------------------


def test_a_finished_run_is_loaded_and_not_trained_again(tmp_path):
    first = outcome(*run_tiny(tmp_path))

    class NoBatches(TinyMethod):
        def batch(self, generator):
            raise AssertionError("a finished run needs no batch")

    NoBatches.__name__ = "TinyMethod"
    assert outcome(*run_tiny(tmp_path, method=NoBatches(seed=5))) == first


def test_with_and_without_a_folder_it_is_the_same_run(tmp_path):
    assert outcome(*run_tiny(tmp_path)) == outcome(*run_tiny(None))


def test_the_folder_holds_what_another_command_needs(tmp_path):
    method, history = run_tiny(tmp_path / "deep" / "run", config={"width": (4, 3), "name": "tiny"})
    run = tmp_path / "deep" / "run"
    assert sorted(p.name for p in run.iterdir()) == [
        "checkpoints",
        "config.json",
        "log.jsonl",
        "starts.jsonl",
    ]
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert settings["config"] == {"width": [4, 3], "name": "tiny"}
    assert settings["seed"] == 3
    checkpoint = find_checkpoint(run)
    assert checkpoint.config == settings["config"]
    assert checkpoint.step == checkpoint.state["steps"] == 7
    assert checkpoint.state["records"] == len(history)
    weights = method.model.state_dict()
    assert all((checkpoint.weights[name] == weights[name]).all() for name in weights)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 4}, "seed: 3, now 4"),
        ({"steps": 8}, "steps: 7, now 8"),
        ({"accumulate": 1}, "accumulate: 2, now 1"),
        ({"clip": None}, "clip: 0.5, now None"),
        ({"config": {"width": 9}}, "config.width: 4, now 9"),
        ({"config": {"width": 4, "heads": 2}}, "config.heads: None, now 2"),
        ({"schedule": lambda step: 0.5}, "learning_rates: .*, now .0.5, 0.5, 0.5"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(tmp_path, changed, message):
    run_tiny(tmp_path, config={"width": 4})
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=f"holds a run with other settings: .*{message}"):
        run_tiny(tmp_path, **{"config": {"width": 4}, **changed})
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_schedule_that_differs_first_last_or_in_the_middle_is_refused(tmp_path, place):
    run_tiny(tmp_path, schedule=lambda step: 0.05)
    with pytest.raises(ValueError, match="learning_rates"):
        run_tiny(tmp_path, schedule=lambda step: 0.04 if step == place else 0.05)


def test_another_optimizer_or_method_in_the_same_folder_is_refused(tmp_path):
    fit_quietly(Regression(), run=tmp_path)
    method = Regression()
    optimizer = SGD(method.model.named_parameters(), lr=0.05, momentum=0.5)
    with pytest.raises(ValueError, match=r"optimizer.momentum: 0.0, now 0.5"):
        fit_quietly(method, optimizer=optimizer, run=tmp_path)
    with pytest.raises(ValueError, match="method: 'Regression', now 'TinyMethod'"):
        fit_quietly(TinyMethod(), run=tmp_path)


def test_how_often_it_logs_and_saves_may_change(tmp_path):
    first = outcome(*run_tiny(tmp_path))
    assert outcome(*run_tiny(tmp_path, log_every=1, checkpoint_every=2, keep=3)) == first


def test_a_checkpoint_is_never_ahead_of_its_log(tmp_path, monkeypatch):
    synced, fsync = {}, os.fsync

    def note_size(descriptor):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synced[path] = path.stat().st_size
        if path.name == "checkpoint.json":
            records = json.loads(path.read_bytes())["records"]
            log = (tmp_path / "log.jsonl").read_bytes()[: synced[tmp_path / "log.jsonl"]]
            assert log.count(b"\n") == records
        fsync(descriptor)

    synced[tmp_path / "log.jsonl"] = 0
    monkeypatch.setattr(os, "fsync", note_size)
    run_tiny(tmp_path)
    assert sum(path.name == "checkpoint.json" for path in synced) == 4


def test_a_broken_newest_checkpoint_falls_back_and_ends_the_same(tmp_path):
    expected = outcome(*run_tiny(tmp_path))
    newest = tmp_path / "checkpoints" / "step-00000007"
    (newest / "optimizer.safetensors").write_bytes(b"broken")
    with pytest.warns(UserWarning, match=r"step-00000007.*Falling back to .*step-00000006"):
        assert outcome(*run_tiny(tmp_path)) == expected
    assert outcome(*run_tiny(tmp_path)) == expected  # written again: no warning


def test_when_every_checkpoint_is_broken_nothing_is_started_over(tmp_path):
    run_tiny(tmp_path)
    for path in (tmp_path / "checkpoints").glob("*/checkpoint.json"):
        path.unlink()
    log = (tmp_path / "log.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        run_tiny(tmp_path)
    assert (tmp_path / "log.jsonl").read_bytes() == log


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run_tiny(tmp_path / "one")
    run_tiny(tmp_path / "two", seed=4)
    (tmp_path / "one" / "checkpoints").rename(tmp_path / "away")
    (tmp_path / "two" / "checkpoints").rename(tmp_path / "one" / "checkpoints")
    with pytest.raises(CheckpointError, match=r"is not of this run.*seed: 4, now 3"):
        run_tiny(tmp_path / "one")


def test_checkpoints_without_config_and_config_that_is_no_json(tmp_path):
    run_tiny(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"config.json cannot be read as"):
        run_tiny(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"has checkpoints but no config.json"):
        run_tiny(tmp_path)


def test_a_log_that_lost_records_is_reported(tmp_path):
    weights = outcome(*run_tiny(tmp_path))[0]
    (tmp_path / "log.jsonl").unlink()
    with pytest.warns(UserWarning, match="has 0 records up to step 7, there were 5"):
        assert outcome(*run_tiny(tmp_path))[0] == weights


def test_a_place_that_cannot_be_written_is_noticed_before_the_first_step(tmp_path, monkeypatch):
    class NoBatches(Regression):
        def batch(self, generator):
            raise AssertionError("too late")

    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(OSError, match=r"File exists"):
        fit_quietly(NoBatches(), run=tmp_path / "file")
    with pytest.raises(OSError, match="Not a directory"):
        fit_quietly(NoBatches(), run=tmp_path / "file" / "run")
    monkeypatch.setattr(
        run_module.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=100)
    )
    with pytest.raises(OSError, match="the disk has 0 MB free: make room"):
        fit_quietly(NoBatches(), run=tmp_path / "full")
    assert not (tmp_path / "full" / "checkpoints").exists()


def test_a_resumed_run_needs_room_for_one_checkpoint_only(tmp_path, monkeypatch):
    expected = outcome(*run_tiny(None))
    stop_after(tmp_path, 6)
    one = 3 * sum(p.size * 4 for p in TinyMethod().model.parameters())
    for free, enough in ((one - 1, False), (one, True)):
        monkeypatch.setattr(
            run_module.shutil,
            "disk_usage",
            lambda path, free=free: types.SimpleNamespace(free=free),
        )
        if enough:
            assert outcome(*run_tiny(tmp_path)) == expected
        else:
            with pytest.raises(OSError, match="make room"):
                run_tiny(tmp_path)


@posix
def test_a_disk_that_fills_up_later(tmp_path, monkeypatch):
    expected = outcome(*run_tiny(tmp_path / "good"))
    fsync, files = os.fsync, [0]

    def full_from_the_second_checkpoint_on(descriptor):
        files[0] += 1
        if files[0] > 12:  # config.json 2, log 2, the first checkpoint 6, the log again 1
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_from_the_second_checkpoint_on)
        with pytest.raises(CheckpointError, match=r"step 3 could not be .* No space left"):
            run_tiny(tmp_path / "run")
    assert find_checkpoint(tmp_path / "run").step == 0
    assert outcome(*run_tiny(tmp_path / "run")) == expected


# ---- the end of a run that cannot go on ---------------------------------------------------------


class Diverging(TinyMethod):
    """The loss or a gradient is no number from step ``self.bad_step`` on."""

    bad_step, how = 5, "loss"

    def loss(self, batch, generator):
        self.calls = getattr(self, "calls", 0) + 1
        loss = super().loss(batch, generator)
        if self.calls < self.bad_step:
            return loss
        if self.how == "loss":
            return loss + math.nan
        if self.how == "infinite":
            return loss + math.inf
        return loss + (self.model.bias * 0).sum() * bad_slope(self.model.second)


def bad_slope(parameter):
    """Something that is finite and whose gradient is not."""
    return ops.sqrt((parameter * 0).sum()) + 1


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("loss", "the loss is nan and the gradient norm"),
        ("infinite", "the loss is inf and the gradient norm"),
        ("gradient", "gradient norm nan.*infinity in it: gradient of second"),
    ],
)
def test_divergence_is_an_error_that_keeps_the_last_good_checkpoint(tmp_path, how, message):
    method = Diverging()
    method.how = how
    undisturbed, _ = run_tiny(None, steps=4, evaluate_every=None, accumulate=1)
    settings = {"accumulate": 1, "evaluate_every": None, "checkpoint_every": 2}
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match=message) as error:
        run_tiny(tmp_path, method=method, **settings)
    text = str(error.value)
    assert error.value.step == 5
    assert text.startswith("step 5: ")
    assert "learning rate 0.0" in text
    assert f"The last good checkpoint is {tmp_path / 'checkpoints' / 'step-00000004'}" in text
    assert "lower learning rate" in text
    assert "(clip)" in text
    checkpoint = find_checkpoint(tmp_path)
    assert checkpoint.step == 4
    for name, array in method.model.state_dict().items():
        if name != "seen":  # the bad batch went through the model, but nothing was learned from it
            assert array.tobytes() == checkpoint.weights[name].tobytes()
    assert undisturbed.model.second.array.shape == checkpoint.weights["second"].shape


def test_weights_that_overflow_are_never_saved(tmp_path):
    class Overflowing(Regression):
        def loss(self, batch, generator):
            return super().loss(batch, generator) * 1e100

    method = Overflowing()
    with np.errstate(all="ignore"), pytest.raises(DivergedError) as error:
        fit_quietly(method, lr=1e300, run=tmp_path, checkpoint_every=1)
    assert error.value.step == 1
    assert "after step 1" in str(error.value)
    assert "no longer finite: weight weight" in str(error.value)
    assert find_checkpoint(tmp_path).step == 0


def test_moments_that_overflow_are_never_saved(tmp_path):
    method = TinyMethod()
    optimizer = AdamW(method.model.named_parameters())

    class Huge(TinyMethod):
        def loss(self, batch, generator):
            return super().loss(batch, generator) * 1e25

    method.__class__ = Huge
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match="second_moment of first"):
        fit_quietly(method, optimizer=optimizer, run=tmp_path, checkpoint_every=1)


def test_divergence_without_a_folder():
    method = Diverging()
    with pytest.raises(DivergedError, match="There is no checkpoint"):
        run_tiny(None, method=method)


class Interrupted(TinyMethod):
    """Ctrl-C is pressed in a batch, once or more often."""

    at, times = 9, 1

    def batch(self, generator):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls == self.at:
            time.sleep(0.05)
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)
        return super().batch(generator)


Interrupted.__name__ = "TinyMethod"


@pytest.fixture
def usual_ctrl_c():
    """Ctrl-C raises KeyboardInterrupt, even if whoever started the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@posix
@pytest.mark.usefixtures("usual_ctrl_c")
def test_ctrl_c_finishes_the_step_and_saves(tmp_path):
    with pytest.raises(KeyboardInterrupt) as error:
        run_tiny(tmp_path, method=Interrupted())
    newest = tmp_path / "checkpoints" / "step-00000005"
    assert str(error.value) == (
        f"stopped, and saved in {newest}. The same call again continues up to step 7"
    )
    assert find_checkpoint(tmp_path).path == newest
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    method, history = run_tiny(tmp_path)
    assert outcome(method, history) == outcome(*run_tiny(tmp_path.with_name("undisturbed")))
    seconds = history.column("seconds")[1]
    assert (np.diff(seconds) > 0).all()
    assert seconds[-1] > 0.05  # the time before the interruption counts


@posix
@pytest.mark.usefixtures("usual_ctrl_c")
def test_a_second_ctrl_c_acts_at_once(tmp_path):
    method = Interrupted()
    method.times = 2
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        run_tiny(tmp_path, method=method)
    assert find_checkpoint(tmp_path).step == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@posix
@pytest.mark.usefixtures("usual_ctrl_c")
def test_ctrl_c_in_the_last_step_and_without_a_folder(tmp_path):
    method = Interrupted()
    method.at = 14
    with pytest.raises(KeyboardInterrupt, match="after the last step"):
        run_tiny(tmp_path, method=method)
    assert find_checkpoint(tmp_path).step == 7
    with pytest.raises(KeyboardInterrupt, match="nothing was saved"):
        run_tiny(None, method=Interrupted())


@pytest.mark.usefixtures("usual_ctrl_c")
def test_after_training_ctrl_c_is_what_it_was():
    run_tiny(None)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@posix
def test_an_ignored_ctrl_c_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
    try:
        assert len(run_tiny(None, method=Interrupted())[1]) == 5
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_of_the_main_thread_it_trains_too(tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(outcome(*run_tiny(tmp_path / "a"))))
    thread.start()
    thread.join()
    assert results == [outcome(*run_tiny(tmp_path / "b"))]


# ---- what a person sees -------------------------------------------------------------------------


def test_a_log_file_gets_few_lines(capsys):
    method = Regression()
    fit(method, SGD(method.model.named_parameters(), lr=0.01), steps=500)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert 10 <= len(lines) <= 13
    assert "\r" not in err
    assert lines[0].startswith("step 1/500  loss ")
    assert lines[-1].startswith("step 500/500  loss ")
    assert "lr 1.0e-02" in lines[-1]
    assert lines[-1].endswith(" steps/s")


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    method = Regression()
    fit(method, SGD(method.model.named_parameters(), lr=0.01), steps=5)
    last = terminal.getvalue().strip().split("\r")[-1]
    assert "5/5" in last
    assert "loss " in last
    assert "lr 1.0e-02" in last
    assert "step/s" in last


def test_no_progress_is_silent(capsys):
    fit_quietly(Regression())
    assert capsys.readouterr() == ("", "")


# ---- wrong calls --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps must be a whole number ≥ 1, got 0"),
        ({"steps": 2.5}, ValueError, "steps must be"),
        ({"accumulate": 0}, ValueError, "accumulate must be"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every must be"),
        ({"log_every": -1}, ValueError, "log_every must be"),
        ({"keep": 0}, ValueError, "keep must be"),
        ({"clip": 0.0}, ValueError, "max_norm must be positive"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"evaluate_every": 2}, ValueError, r"Regression has no evaluate\(\)"),
        ({"config": {"a": np.zeros(2)}}, TypeError, "config and settings must be numbers"),
        ({"config": {"a": math.nan}}, ValueError, "config and settings must be numbers"),
        ({"schedule": lambda step: math.nan}, ValueError, "schedule gives the learning rates"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        fit_quietly(Regression(), run=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_parameters_that_would_not_be_saved_are_refused():
    method, other = Regression(), Regression()
    with pytest.raises(ValueError, match=r"\['weight'\], which are not in method.model"):
        fit_quietly(method, optimizer=SGD(other.model.named_parameters(), lr=0.1))


LOGGED = ["step", "loss", "lr", "grad_norm", "seconds", "device", "precision"]


@pytest.mark.parametrize("name", LOGGED)
def test_metrics_may_not_take_the_names_of_the_log(name):
    class Taken(Regression):
        def evaluate(self):
            return {name: 1.0}

    with pytest.raises(ValueError, match=rf"returned \['{name}'\].*held_out_loss"):
        fit_quietly(Taken(), evaluate_every=1)
