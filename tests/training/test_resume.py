"""Runs that are killed continue bit for bit: real processes, real signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minissl.training import History, find_checkpoint
from tests.systems import posix
from tests.training.slow_run import SlowMethod
from tests.training.tiny import outcome, run_tiny

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs fork and POSIX signals")


def start(module, *arguments):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", f"tests.training.{module}", *map(str, arguments)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def test_killed_at_every_dealing_with_the_disk(tmp_path):
    process = start("kill_everywhere", tmp_path)
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    result = json.loads(output)
    assert result["problems"] == []
    assert result["calls"] > 30
    assert result["killed"] > 2 * result["calls"]


def wait_for_records(folder, count):
    deadline = time.monotonic() + 60
    log = folder / "log.jsonl"
    while not log.exists() or log.read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.005)


def finished(folder, steps):
    """What the run is when this process has finished it, and what it would be undisturbed."""
    method, history = run_tiny(folder, steps=steps, log_every=1, method=SlowMethod(0.0))
    undisturbed = outcome(*run_tiny(None, steps=steps, log_every=1))
    logged = [{k: v for k, v in r.items() if k != "seconds"} for r in History.read(folder)]
    assert logged == undisturbed[1]
    saved = {n: a.tobytes() for n, a in find_checkpoint(folder).weights.items()}
    assert saved == undisturbed[0]
    return outcome(method, history), undisturbed


@posix
def test_killed_from_outside_at_no_chosen_moment(tmp_path):
    for records in (5, 9, 16):  # three times the same run, each time a little further
        process = start("slow_run", tmp_path / "run", 20, 0.005)
        wait_for_records(tmp_path / "run", records)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    result, undisturbed = finished(tmp_path / "run", 20)
    assert result == undisturbed


@posix
def test_ctrl_c_saves_says_how_to_continue_and_ends_the_process(tmp_path):
    process = start("slow_run", tmp_path / "run", 50, 0.02)
    wait_for_records(tmp_path / "run", 6)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode not in (0, -signal.SIGKILL)
    last_line = errors.strip().splitlines()[-1]
    assert last_line.startswith("KeyboardInterrupt: stopped, and saved in ")
    assert last_line.endswith("The same call again continues up to step 50")
    checkpoint = find_checkpoint(tmp_path / "run")
    assert checkpoint.step == History.read(tmp_path / "run")[-1]["step"] >= 5
    assert str(checkpoint.path) in last_line
    result, undisturbed = finished(tmp_path / "run", 50)
    assert result == undisturbed
