"""A run's folder: one process at a time, nothing written by a refusal, nothing good thrown away."""

import errno
import json
import math
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest

from minissl import durable
from minissl.autograd import Tensor
from minissl.training import (
    BusyError,
    DivergedError,
    History,
    RunFolder,
    find_checkpoint,
)
from minissl.training import folder as folder_module
from tests.systems import posix
from tests.training.test_fit import stop_after
from tests.training.test_resume import ENVIRONMENT, finished, start, wait_for_records
from tests.training.tiny import TinyMethod, outcome, run_tiny


def snapshot(folder):
    """Every file with its bytes and the time it was written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


# ---- one process at a time -----------------------------------------------------------------------


@posix
def test_a_second_process_is_refused_at_once_and_told_who_holds_it(tmp_path):
    process = start("slow_run", tmp_path / "run", 30, 0.05)
    try:
        wait_for_records(tmp_path / "run", 4)
        began = time.monotonic()
        with pytest.raises(BusyError, match=rf"run is in use by process {process.pid} on .*: wait"):
            run_tiny(tmp_path / "run", steps=30, log_every=1)
        assert time.monotonic() - began < 5
        second = start("slow_run", tmp_path / "run", 30, 0.05)  # and another one from outside
        assert "BusyError" in second.communicate(timeout=60)[1]
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    result, undisturbed = finished(tmp_path / "run", 30)  # the lock went with the process
    assert result == undisturbed


def test_two_starts_at_the_same_moment_give_one_run(tmp_path):
    """Again and again: one of two trains, the log is never doubled."""
    for number in range(2):
        folder = tmp_path / f"run-{number}"
        both = [start("slow_run", folder, 8, 0.05) for _ in "ab"]
        errors = [process.communicate(timeout=60)[1] for process in both]
        assert sorted(process.returncode for process in both) == [0, 1]
        assert sum("BusyError" in text for text in errors) == 1
        steps = [record["step"] for record in History.read(folder)]
        assert steps == [0, *range(1, 9)]


def test_the_same_process_cannot_hold_it_twice_and_closing_lets_go(tmp_path):
    with RunFolder(tmp_path / "a" / "run") as held:
        with pytest.raises(BusyError, match=f"process {os.getpid()}"):
            RunFolder(held.path)
        assert (
            (held.path / ".lock")
            .read_text(encoding="utf-8")
            .startswith(f"process {os.getpid()} on ")
        )
    assert not (tmp_path / "a").exists()  # made for nothing, and removed
    with RunFolder(tmp_path / "a" / "run"):
        pass


@posix
def test_a_lock_that_a_kill_left_behind_is_nobodys(tmp_path):
    (tmp_path / ".lock").write_text("process 1 on nowhere" * 20, encoding="utf-8")
    with RunFolder(tmp_path):
        assert re.fullmatch(
            rf"process {os.getpid()} on \S+\n", (tmp_path / ".lock").read_text(encoding="utf-8")
        )
    run_tiny(tmp_path)
    assert not (tmp_path / ".lock").exists()


@posix
def test_a_lock_whose_name_its_holder_took_away_meanwhile_is_none(tmp_path, monkeypatch):
    """Opened while another process held it, locked when that one had let go and removed it."""
    usual, calls = folder_module._lock, iter(range(1))

    def lock(descriptor, place, new):
        usual(descriptor, place, new)
        if next(calls, None) is not None:
            place.unlink()

    monkeypatch.setattr(folder_module, "_lock", lock)
    with RunFolder(tmp_path), pytest.raises(BusyError, match=f"process {os.getpid()}"):
        RunFolder(tmp_path)


@posix
@pytest.mark.parametrize("how", ["no module", "no locks on this disk"])
def test_without_locks_of_the_system_the_file_itself_is_one(tmp_path, monkeypatch, how):
    if how == "no module":
        monkeypatch.setattr(folder_module, "fcntl", None)
    else:

        def flock(*arguments):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(folder_module.fcntl, "flock", flock)
    with RunFolder(tmp_path), pytest.raises(BusyError, match=r"no such process any more, remove"):
        RunFolder(tmp_path)
    assert not (tmp_path / ".lock").exists()
    run_tiny(tmp_path)


@posix
def test_closing_leaves_the_lock_of_a_run_that_stands_in_our_place(tmp_path):
    mine = RunFolder(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    with RunFolder(tmp_path / "run") as theirs:
        mine.close()
        theirs.begin({}, {})
        theirs.require_present()
        with pytest.raises(BusyError):
            RunFolder(tmp_path / "run")


@posix
def test_a_lock_that_cannot_be_made_is_a_sentence_and_no_endless_loop(tmp_path, monkeypatch):
    (tmp_path / ".lock").symlink_to("/nonexistent/place")
    with pytest.raises(BusyError, match=r"\.lock cannot be made or locked: remove it"):
        RunFolder(tmp_path)
    usual, calls = folder_module._make, []

    def vanishing(folder):
        made = usual(folder)
        calls.append(folder)
        if len(calls) == 1:  # somebody who was refused removes what he had made
            folder.rmdir()
        return made

    monkeypatch.setattr(folder_module, "_make", vanishing)
    with RunFolder(tmp_path / "new" / "run") as held:
        assert held.path.exists()


def test_the_program_may_change_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    method, history = run_tiny("run", method=Meddling(lambda: os.chdir(tmp_path / "elsewhere")))
    assert outcome(method, history)[0] == outcome(*run_tiny(None))[0]
    assert not (tmp_path / "run" / ".lock").exists()


# ---- a refusal writes nothing --------------------------------------------------------------------


def test_a_refused_start_leaves_no_folder(tmp_path):
    settings = [{"seed": -1}, {"clip": 0.0}, {"config": {"a": {1, 2}}}, {"precision": "float16"}]
    for wrong in settings:
        with pytest.raises((ValueError, TypeError)):
            run_tiny(tmp_path / "deep" / "run", **wrong)
        assert not list(tmp_path.iterdir())


def test_no_name_is_not_the_folder_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="the run folder is '', expected a path"):
        run_tiny("")
    assert not list(tmp_path.iterdir())


def test_a_refused_continuation_leaves_every_byte(tmp_path):
    run_tiny(tmp_path)
    before = snapshot(tmp_path)
    for other in ({"seed": 4}, {"steps": 9}, {"clip": 0.1}, {"accumulate": 1}):
        with pytest.raises(ValueError, match="other settings"):
            run_tiny(tmp_path, **other)
    assert outcome(*run_tiny(tmp_path)) == outcome(*run_tiny(None))  # finished: read, not written
    assert snapshot(tmp_path) == before


def test_files_of_somebody_else_are_not_replaced(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"notes.txt is there already and is not of this run"):
        run_tiny(tmp_path, files={"notes.txt": b"theirs"})
    assert snapshot(tmp_path).keys() == {tmp_path / "notes.txt"}
    run_tiny(tmp_path, files={"other.txt": b"theirs"})
    assert (tmp_path / "other.txt").read_bytes() == b"theirs"


def test_fewer_checkpoints_are_kept_only_when_the_run_goes_on(tmp_path, monkeypatch):
    stop_after(tmp_path, 6, keep=None, checkpoint_every=1)
    before = snapshot(tmp_path)
    full = types.SimpleNamespace(disk_usage=lambda path: types.SimpleNamespace(free=0))
    with monkeypatch.context() as patch:
        patch.setattr("minissl.training.run.shutil", full)
        with pytest.raises(OSError, match="make room, keep fewer"):
            run_tiny(tmp_path, keep=1, checkpoint_every=1)
    assert snapshot(tmp_path) == before
    run_tiny(tmp_path, keep=1, checkpoint_every=1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000007"]


def test_the_room_for_more_checkpoints_than_a_run_makes_is_not_asked_for(tmp_path):
    run_tiny(tmp_path, keep=10**12)


def test_a_new_run_whose_first_evaluation_fails_leaves_the_folder_as_it_was(tmp_path):
    class Failing(TinyMethod):
        def evaluate(self):
            raise ValueError("nothing to measure")

    with pytest.raises(ValueError, match="nothing to measure"):
        run_tiny(tmp_path / "deep" / "run", method=Failing(), files={"kept.txt": b"kept"})
    assert not list(tmp_path.iterdir())
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_bytes(b"mine")
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="nothing to measure"):
        run_tiny(tmp_path / "there", method=Failing(), files={"kept.txt": b"kept"})
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "files",
    [{"../evil": b"x"}, {"config.json": b"x"}, {"log.jsonl": b"x"}, {"a/b": b"x"}, {"x": "text"}],
)
def test_files_that_are_not_plain_are_refused(tmp_path, files):
    with pytest.raises(ValueError, match="files: expected plain names with bytes"):
        run_tiny(tmp_path / "run", files=files)
    assert not list(tmp_path.iterdir())


def test_a_closed_folder_is_not_trained_in(tmp_path):
    folder = RunFolder(tmp_path)
    folder.close()
    with pytest.raises(ValueError, match="was closed: open it again"):
        run_tiny(folder)


# ---- good records stay ---------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [b"\x00\x00\x00\n", b'{"step": 2, "lo\n', b"[]\n", b"\n"])
def test_a_damaged_line_costs_itself_alone(tmp_path, damage):
    """In a finished run, and in one that goes on: the good lines around it are read and kept."""
    run_tiny(tmp_path / "whole", log_every=1)
    stop_after(tmp_path / "run", 6, log_every=1)
    for folder, last in (("whole", 7), ("run", 6)):
        log = tmp_path / folder / "log.jsonl"
        lines = log.read_bytes().splitlines(keepends=True)
        log.write_bytes(b"".join([*lines[:2], damage, *lines[3:]]))
        gap = pytest.warns(UserWarning, match="the log has a gap, the run has none")
        with gap, pytest.warns(UserWarning, match=r"log.jsonl: line 3 of"):
            run_tiny(tmp_path / folder, log_every=1)
        with pytest.warns(UserWarning, match="is not a record"):
            steps = [record["step"] for record in History.read(tmp_path / folder)]
        assert steps == [0, 1, 3, 4, 5, 6, 7], last
        assert log.read_bytes().splitlines(keepends=True)[:2] == lines[:2]


def test_a_record_after_the_checkpoint_is_cut_and_those_before_damage_stay(tmp_path):
    """Damage beyond the checkpoint goes with what is trained again; nothing is doubled."""
    stop_after(tmp_path, 5, log_every=1, checkpoint_every=3)
    log = tmp_path / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)  # steps 0 to 5, a checkpoint at 3
    log.write_bytes(b"".join([*lines[:5], b"damage\n", lines[5], b'{"step": 5']))
    with pytest.warns(UserWarning, match="line 6 of 8"):
        run_tiny(tmp_path, log_every=1, checkpoint_every=3)
    assert [r["step"] for r in History.read(tmp_path)] == [0, 1, 2, 3, 4, 5, 6, 7]


def test_a_last_line_that_lacks_its_line_end_alone_is_whole(tmp_path):
    _, history = run_tiny(tmp_path)
    log = tmp_path / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[:-1])
    assert History.read(tmp_path).records == history.records
    assert run_tiny(tmp_path)[1].records == history.records
    assert log.read_bytes() == whole


@pytest.mark.parametrize("value", [[1], {"a": 1}])
def test_a_record_whose_loss_is_no_number_is_damage(tmp_path, value):
    run_tiny(tmp_path, log_every=1)
    log = tmp_path / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    lines[3] = json.dumps({**json.loads(lines[3]), "loss": value}).encode() + b"\n"
    log.write_bytes(b"".join(lines))
    with pytest.warns(UserWarning, match="line 4 of 8 is not a record"):
        assert len(History.read(tmp_path)) == 7


# ---- bad checkpoints and folders that are gone ---------------------------------------------------


def test_a_buffer_that_is_not_finite_makes_no_checkpoint(tmp_path):
    """The loss stays finite: only a running sum that evaluation would use has become infinite."""

    class Overflowing(TinyMethod):
        def loss(self, batch, generator):
            self.calls = getattr(self, "calls", 0) + 1
            loss = super().loss(batch, generator)
            if self.calls > 6:
                self.model.seen = Tensor(np.full(2, math.inf, np.float32))
            return loss

    with pytest.raises(DivergedError, match="no longer finite: weight seen"):
        run_tiny(tmp_path, method=Overflowing(), evaluate_every=None, checkpoint_every=2)
    assert find_checkpoint(tmp_path).step == 2


class Meddling(TinyMethod):
    """Something happens to the folder in the batch of the fourth step."""

    def __init__(self, what):
        super().__init__()
        self.what, self.calls = what, 0

    def batch(self, generator):
        self.calls += 1
        if self.calls == 7:
            self.what()
        return super().batch(generator)


@posix
def test_a_folder_that_is_removed_while_training_is_noticed_at_the_next_save(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(OSError, match="was removed or replaced while this run was training"):
        run_tiny(folder, method=Meddling(lambda: shutil.rmtree(folder)))
    assert not folder.exists()


def test_a_run_whose_visible_files_were_removed_is_noticed(tmp_path):
    """``rm -r run/*`` leaves the lock, whose name begins with a dot."""

    def remove():
        shutil.rmtree(tmp_path / "checkpoints")
        (tmp_path / "config.json").unlink()

    with pytest.raises(OSError, match="was removed or replaced while this run was training"):
        run_tiny(tmp_path, method=Meddling(remove))
    assert not (tmp_path / "checkpoints").exists()


@posix
def test_a_folder_in_whose_place_another_stands_is_noticed(tmp_path):
    def replace():
        (tmp_path / "run").rename(tmp_path / "moved")
        run_tiny(tmp_path / "run", seed=9)

    with pytest.raises(OSError, match="removed or replaced"):
        run_tiny(tmp_path / "run", method=Meddling(replace))
    assert find_checkpoint(tmp_path / "run").state["seed"] == 9
    assert find_checkpoint(tmp_path / "moved").step == 3


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_finished_run_on_a_disk_that_cannot_be_written(tmp_path, monkeypatch, number):
    expected = outcome(*run_tiny(tmp_path / "done"))
    stop_after(tmp_path / "half", 6)
    usual = os.open

    def read_only(path, flags, *rest, **options):
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(number, "Read-only file system", str(path))
        return usual(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", read_only)
    before = snapshot(tmp_path)
    assert outcome(*run_tiny(tmp_path / "done")) == expected
    with pytest.raises(OSError, match="Read-only file system"):
        run_tiny(tmp_path / "half")
    with pytest.raises(OSError, match="Read-only file system"):
        RunFolder(tmp_path / "new")  # at once: before anything is learned from data
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"\xff", b'{"a": ', b"null", b"[" * 100_000], ids=range(6)
)
def test_a_config_that_is_none_is_named_and_left(tmp_path, content):
    run_tiny(tmp_path)
    (tmp_path / "config.json").write_bytes(content)
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match=r"config.json"):
        run_tiny(tmp_path)
    assert snapshot(tmp_path) == before


# ---- files that are whole ------------------------------------------------------------------------

WRITERS = """
import os, sys, time
from pathlib import Path
from minissl.durable import replace_durably
usual = os.fsync
os.fsync = lambda d: (time.sleep(0.001), usual(d))
for n in range(200):
    replace_durably(Path(sys.argv[1]), sys.argv[2].encode() * 1000)
"""


def test_two_processes_that_replace_one_file_never_meet(tmp_path):
    target = tmp_path / "file.json"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", WRITERS, str(target), letter],
            env=ENVIRONMENT, stderr=subprocess.PIPE, encoding="utf-8",
        )
        for letter in "ab"
    ]  # fmt: skip
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert errors == ["", ""]
    assert target.read_bytes() in (b"a" * 1000, b"b" * 1000)
    assert list(tmp_path.iterdir()) == [target]


@posix
def test_what_a_killed_writer_left_is_removed_by_the_next_run(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead, alive = (tmp_path / f".tokenizer.json.{n}.unfinished" for n in (child.pid, os.getpid()))
    for path in (dead, alive):
        path.write_bytes(b"half")
    run_tiny(tmp_path)
    assert not dead.exists()
    assert alive.exists()


@posix
def test_what_a_killed_writer_left_is_removed_by_the_next_writer_of_the_file(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    names = (f".tok[1].json.{child.pid}", f".tok1.json.{child.pid}", f".tok[1].json.{os.getppid()}")
    for name in names:
        (tmp_path / f"{name}.unfinished").write_bytes(b"half")
    durable.replace_durably(tmp_path / "tok[1].json", b"whole")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted([f"{name}.unfinished" for name in names[1:]] + ["tok[1].json"])


def test_a_process_of_another_user_is_alive(monkeypatch):
    def kill(process, signal):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "kill", kill)
    assert durable.is_alive(1)


@posix
def test_bytes_then_the_name_are_forced_to_the_disk(tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, os.replace

    def note_fsync(descriptor):
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "bytes")
        fsync(descriptor)

    def note_replace(*paths):
        events.append("name")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    durable.replace_durably(tmp_path / "file.json", b"new")
    assert events == ["bytes", "name", "folder"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    durable.replace_durably(path, b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable.replace_durably(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]
    assert path.read_bytes() == b"old"


def test_all_checkpoints_can_be_kept(tmp_path):
    run_tiny(tmp_path, keep=None, checkpoint_every=2)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == [f"step-{step:08d}" for step in (0, 2, 4, 6, 7)]
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["seed"] == 3
    assert Path(tmp_path / "log.jsonl").stat().st_size


# ---- a first step that fails ---------------------------------------------------------------------


class Failing(TinyMethod):
    """Its batch number ``at``, from 0, raises."""

    def __init__(self, at, error=ValueError):
        super().__init__()
        self.left, self.error = at, error

    def batch(self, generator):
        if not self.left:
            raise self.error("there is nothing to make a batch of")
        self.left -= 1
        return super().batch(generator)


def test_a_first_step_that_fails_leaves_the_folder_as_it_was(tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    for folder in (tmp_path, tmp_path / "new"):
        with pytest.raises(ValueError, match="nothing to make a batch of"):
            run_tiny(folder, method=Failing(0))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(ValueError, match="nothing to make a batch of"):
        run_tiny(None, method=Failing(0))
    run_tiny(tmp_path, steps=3)  # and it is no obstacle to another run
    assert find_checkpoint(tmp_path).step == 3


def test_a_later_step_that_fails_and_an_interrupted_one_lose_nothing(tmp_path):
    for at, error in ((2, ValueError), (0, KeyboardInterrupt)):  # two batches are a step
        folder = tmp_path / error.__name__
        with pytest.raises(error, match="nothing to make a batch of"):
            run_tiny(folder, method=Failing(at, error))
        assert find_checkpoint(folder).step == 0
        with pytest.raises(ValueError, match="nothing to make a batch of"):
            run_tiny(folder, method=Failing(0))  # continued: it is not new
        assert find_checkpoint(folder).step == 0
        assert len(History.read(folder)) >= 1
