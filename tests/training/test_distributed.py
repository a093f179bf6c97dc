"""Two and three real processes against one: the same run, the same losses, and what a kill does."""

import os
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor
from minissl.autograd.fused import gpu
from minissl.autograd.processes import World, agree, gather_rows, joined, mean_of_all, world
from minissl.nn.module import Parameter
from minissl.training import distributed
from minissl.training.distributed import GradientMean
from tests.systems import posix
from tests.training import in_processes

ROOT = Path(__file__).parents[2]


def start(task, folder, processes, device="cpu", restarts=0, **environment):
    """Run a task under torchrun, or alone without it; returns what process 0 found."""
    command = [sys.executable, "-m", in_processes.__name__]
    if processes > 1:
        run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
        run += [f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
        command = [*run, "--monitor-interval=0.2", *command]
    folder.mkdir(exist_ok=True)
    ended = subprocess.run(
        [*command, task, str(folder), device],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=200,
    )
    if ended.returncode:
        raise subprocess.SubprocessError(ended.stderr)
    return dict(np.load(folder / "result.npz"))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes found of the losses, and of the bytes that they sent."""
    return start("losses_and_counting", tmp_path_factory.mktemp("two"), 2)


@pytest.mark.parametrize(("processes", "device"), [(2, "cpu"), (3, "torch")])
def test_contrastive_losses_see_the_whole_batch(processes, device, two, tmp_path):
    found = two if processes == 2 else start("losses", tmp_path, processes, device)
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
    assert len((tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()) == 6


@posix
def test_a_killed_process_ends_the_others_and_the_restart_is_the_undisturbed_run(tmp_path):
    whole = start("training", tmp_path / "whole", 2)
    began = time.time()
    killed = start("training", tmp_path / "killed", 2, restarts=1, KILLED="1", KILL_STEP="4")
    assert time.time() - began < 120
    assert killed.keys() == whole.keys()
    for name in whole:
        assert np.array_equal(killed[name], whole[name]), name
    log = [
        (tmp_path / name / "run" / "log.jsonl").read_text(encoding="utf-8")
        for name in ("whole", "killed")
    ]
    assert [line.count("loss") for line in log] == [6, 6]


def test_without_a_restart_the_error_says_what_happened(tmp_path):
    with pytest.raises(subprocess.SubprocessError):
        start("training", tmp_path, 3, KILLED="2", KILL_STEP="3")
    told = [tmp_path / f"error-{rank}.txt" for rank in (0, 1)]
    texts = [path.read_text(encoding="utf-8") for path in told if path.exists()]
    assert texts  # torchrun ends the others itself if it is quicker than the news
    for text in texts:
        seconds, message = text.split("\n", 1)
        assert float(seconds) < 60
        assert "another process of this run is gone" in message
        assert "the same torchrun command continues from the last checkpoint" in message


def test_corners_are_the_same_in_one_process_and_in_several(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "_interpreted", lambda: False)  # as below: kernels are not the point
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        in_processes.begin(folder)
    alone = in_processes.corners(folders[0], "cpu")
    found = start("corners", folders[1], 2, TRITON_INTERPRET="0")
    assert found.keys() == alone.keys()
    assert alone["that_diverge: step"] == 3
    for name in alone:
        # The gradient of a key's bias is 0 but for rounding: softmax does not see it.
        assert np.allclose(found[name], alone[name], rtol=1e-4, atol=5e-6), name


def test_an_error_in_one_process_ends_the_run_and_is_told(tmp_path):
    began = time.time()
    with pytest.raises(subprocess.SubprocessError, match="OSError: no such image"):
        start("failing", tmp_path, 2)
    assert time.time() - began < 60


@pytest.fixture
def sent(monkeypatch):
    """What a process sends, while another one has the same gradients."""
    sent = []

    class Work:
        def wait(self):
            pass

    def all_reduce(flat, async_op):
        sent.append(flat.numpy().copy())
        flat *= 2
        return Work()

    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
    return sent


def parameters(*sizes):
    return [Parameter(np.zeros(size, np.float32)) for size in sizes]


def test_a_bucket_is_sent_when_it_is_full_and_those_before_it_are_gone(sent, monkeypatch):
    monkeypatch.setattr(distributed, "BUCKET_BYTES", 12)
    a, b, c, d = parameters(1, 2, 2, 3)
    mean = GradientMean([a, b, c, d], World(0, 2))
    assert [[p.size for p in bucket] for bucket in mean.buckets] == [[3, 2], [2, 1]]

    def ready(parameter, value):
        parameter.grad = np.full(parameter.shape, value, np.float32)
        mean.ready(parameter)
        return len(sent)

    assert [ready(a, 1), ready(b, 2), ready(d, 4), ready(c, 3)] == [0, 0, 0, 2]
    assert [flat.tolist() for flat in sent] == [[4, 4, 4, 3, 3, 1, 1], [2, 2, 1, 1, 1]]
    mean.finish()
    assert [p.grad.tolist() for p in (a, b, c, d)] == [[1], [2, 2], [3, 3], [4, 4, 4]]
    assert len(sent) == 2


def test_a_full_bucket_waits_for_no_other(sent, monkeypatch):
    monkeypatch.setattr(distributed, "BUCKET_BYTES", 1)
    order = parameters(1, 2, 3)
    mean = GradientMean(order, World(0, 2))
    for number, parameter in enumerate(reversed(order)):
        assert len(sent) == number
        parameter.grad = np.ones(parameter.shape, np.float32)
        mean.ready(parameter)
    assert [flat.size for flat in sent] == [4, 3, 2]


def test_a_bucket_has_one_dtype(sent):
    a, b, c = parameters(1, 1, 1)
    b.array = b.array.astype(np.float64)
    mean = GradientMean([a, b, c], World(0, 2))
    for parameter in (a, b, c):
        parameter.grad = np.ones_like(parameter.array)
    mean.finish()
    assert [flat.dtype for flat in sent] == [np.float32, np.float64, np.float32]
    assert all(p.grad.dtype == p.array.dtype for p in (a, b, c))


def test_what_was_never_ready_is_sent_at_the_end(sent):
    a, b = parameters(1, (2, 2))
    mean = GradientMean([a, b], World(0, 2))
    a.grad = np.float32([5])
    mean.ready(a)
    assert not sent
    mean.finish()
    assert sent[0].tolist() == [0, 0, 0, 0, 5, 0, 1]
    assert (a.grad.tolist(), b.grad) == ([5], None)


def test_a_gradient_of_others_only_is_taken(monkeypatch):
    def all_reduce(flat, async_op):
        flat += torch.tensor([0.0, 0, 8, 0, 1])  # b, a, who has them
        return types.SimpleNamespace(wait=lambda: None)

    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
    a, b = parameters(2, 1)
    mean = GradientMean([a, b], World(0, 2))
    mean.finish()
    assert (a.grad.tolist(), b.grad) == ([0, 4], None)


def test_a_gradient_that_changes_after_it_was_sent_is_an_error(sent):
    (a,) = parameters(2)
    mean = GradientMean([a], World(0, 2))
    a.grad = np.float32([1, 2])
    mean.ready(a)
    a.grad = a.grad + 1
    with pytest.raises(RuntimeError, match="inside and outside of recompute"):
        mean.finish()


def test_a_gpu_that_this_machine_does_not_have_is_named(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "100")
    monkeypatch.setenv("LOCAL_RANK", "99")
    with pytest.raises(RuntimeError, match="'cuda:99' is not there"), joined("cuda:0"):
        pass


def test_what_travels_is_what_the_instructors_page_says(two):
    """docs/several_gpus.md: 16 rows of 6 numbers in each of two processes."""
    found = two
    assert found["all_gather"] == 4 * 16 * 6 + 16
    gradients = 4 * (found["parameters"] + found["arrays"])
    assert found["all_reduce"] == gradients + 4 * 2 * 16 * 6 + 8 + 8


def test_one_process_is_a_world_of_its_own():
    assert world() == World(0, 1)
    with joined("cpu") as device:
        assert device == "cpu"
        assert world().size == 1
    x = Tensor(np.float32([[1, 2]]), requires_grad=True)
    gather_rows(x).backward(np.float32([[3, 4]]))
    assert np.array_equal(x.grad, [[3, 4]])
    assert (agree(True), agree(False), mean_of_all(2.5)) == (True, False, 2.5)


def test_frozen_parameters_do_not_travel():
    """A frozen encoder under a probe, or below an adapter, is most of the model."""
    first, frozen, last = (Parameter(np.zeros(3, np.float32)) for _ in range(3))
    frozen.requires_grad = False
    mean = GradientMean([first, frozen, last], World(0, 2))
    assert [[id(p) for p in bucket] for bucket in mean.buckets] == [[id(last), id(first)]]
