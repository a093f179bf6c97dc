"""Two and three real processes against one: the same run, the same losses, and what a kill does."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from minissl.autograd import Tensor
from minissl.autograd.processes import World, agree, gather_rows, joined, mean_of_all, world
from tests.training import in_processes

ROOT = Path(__file__).parents[2]


def start(task, folder, processes, device="cpu", restarts=0, **environment):
    """Run a task under torchrun; returns what process 0 found."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
    command += [f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    command += ["--monitor-interval=0.2", sys.executable, "-m", in_processes.__name__]
    folder.mkdir(exist_ok=True)
    ended = subprocess.run(
        [*command, task, str(folder), device],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
    if ended.returncode:
        raise subprocess.SubprocessError(ended.stderr)
    return dict(np.load(folder / "result.npz"))


@pytest.mark.parametrize(("processes", "device"), [(2, "cpu"), (3, "torch")])
def test_contrastive_losses_see_the_whole_batch(processes, device, tmp_path):
    found = start("losses", tmp_path, processes, device)
    for name, loss_function in in_processes.LOSSES.items():
        rows = in_processes.rows_of_everybody(name, processes)
        first, second = (Tensor(a, requires_grad=True) for a in rows)
        loss = loss_function(first, second)
        loss.backward()
        assert found[name] == pytest.approx(loss.item(), rel=1e-5)
        for label, tensor in (("first", first), ("second", second)):
            ours = found[f"{name} {label}"]
            assert np.allclose(ours, tensor.grad, rtol=1e-4, atol=1e-6), (name, label)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process that takes the batches of two, or of three."""

    def run(accumulate):
        folder = tmp_path_factory.mktemp("alone")
        return start("training", folder, 1, ACCUMULATE=str(accumulate))

    return {count: run(count) for count in (2, 3)}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"weight seen"}:  # a buffer follows the batches of process 0
        assert np.allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize(("processes", "device"), [(2, "torch"), (3, "cpu")])
def test_the_same_run_as_one_process_with_the_whole_batch(alone, processes, device, tmp_path):
    assert_same(start("training", tmp_path, processes, device), alone[processes])
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 2
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 6


def test_a_killed_process_ends_the_others_and_the_restart_is_the_undisturbed_run(tmp_path):
    whole = start("training", tmp_path / "whole", 2)
    began = time.time()
    killed = start("training", tmp_path / "killed", 2, restarts=1, KILLED="1", KILL_STEP="4")
    assert time.time() - began < 120
    assert killed.keys() == whole.keys()
    for name in whole:
        assert np.array_equal(killed[name], whole[name]), name
    log = [(tmp_path / name / "run" / "log.jsonl").read_text() for name in ("whole", "killed")]
    assert [line.count("loss") for line in log] == [6, 6]


def test_without_a_restart_the_error_says_what_happened(tmp_path):
    with pytest.raises(subprocess.SubprocessError):
        start("training", tmp_path, 3, KILLED="2", KILL_STEP="3")
    told = [tmp_path / f"error-{rank}.txt" for rank in (0, 1)]
    texts = [path.read_text() for path in told if path.exists()]
    assert texts  # torchrun ends the others itself if it is quicker than the news
    for text in texts:
        seconds, message = text.split("\n", 1)
        assert float(seconds) < 60
        assert "another process of this run is gone" in message
        assert "the same torchrun command continues from the last checkpoint" in message


def test_what_travels_is_what_the_instructors_page_says(tmp_path):
    """docs/several_gpus.md: 16 rows of 6 numbers in each of two processes."""
    found = start("counting", tmp_path, 2)
    assert found["all_gather"] == 4 * 16 * 6
    gradients = 4 * (found["parameters"] + found["arrays"])
    assert found["all_reduce"] == gradients + 4 * 2 * 16 * 6 + 8 + 8


def test_all_stop_when_one_is_told_to(tmp_path):
    assert start("stopping", tmp_path, 3)["steps"] == 3


def test_one_process_is_a_world_of_its_own():
    assert world() == World(0, 1)
    with joined("cpu") as device:
        assert device == "cpu"
        assert world().size == 1
    x = Tensor(np.float32([[1, 2]]), requires_grad=True)
    gather_rows(x).backward(np.float32([[3, 4]]))
    assert np.array_equal(x.grad, [[3, 4]])
    assert (agree(True), agree(False), mean_of_all(2.5)) == (True, False, 2.5)
