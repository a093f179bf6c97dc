"""Checkpoints: exact, whole or not there, and never trusted when a byte is wrong."""

import errno
import os
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save as save_tensors

from minissl.autograd import Tensor
from minissl.nn.module import Module, Parameter
from minissl.optim import SGD, AdamW
from minissl.tensors import parse_tensors
from minissl.training import (
    CheckpointError,
    find_checkpoint,
    load_checkpoint,
    load_model,
    save_checkpoint,
)
from minissl.training import checkpoint as module
from tests.systems import posix


class Model(Module):
    """Arrays of every kind that a model may hold."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.weight = Parameter(rng.standard_normal((3, 4)).astype(np.float32).T)  # not C order
        self.double = Parameter(rng.standard_normal(5))
        self.scalar = Parameter(np.asarray(rng.standard_normal(), np.float32))
        self.empty = Parameter(np.zeros((0, 3), np.float32))
        self.counts = Tensor(rng.integers(0, 9, 4))
        self.mask = Tensor(rng.random(3) < 0.5)


def trained(seed=0, steps=3):
    model = Model(seed)
    optimizer = AdamW(model.named_parameters())
    for step in range(steps):
        rng = np.random.default_rng([seed, step])
        for parameter in model.parameters():
            parameter.grad = np.asarray(rng.standard_normal(parameter.shape), parameter.dtype)
        optimizer.step()
    return model, optimizer


def save(folder, step=5, seed=0, **options):
    model, optimizer = trained(seed)
    state = {"step": step, "seed": 11, "config": {"width": 4}}
    return save_checkpoint(folder, model, optimizer, state, **options)


def assert_equal(loaded, state):
    assert loaded.keys() == state.keys()
    for name, array in state.items():
        assert loaded[name].dtype == array.dtype, name
        assert loaded[name].shape == array.shape, name
        assert loaded[name].tobytes() == array.tobytes(), name


def test_round_trip_is_exact(tmp_path):
    model, optimizer = trained()
    path = save(tmp_path)
    assert path == tmp_path / "step-00000005"
    checkpoint = load_checkpoint(path)
    assert_equal(checkpoint.weights, model.state_dict())
    assert_equal(checkpoint.moments, optimizer.state_dict())
    assert checkpoint.step == 5
    assert checkpoint.config == {"width": 4}
    assert checkpoint.state["seed"] == 11
    assert checkpoint.state["format_version"] == 1
    assert checkpoint.state["minissl"]

    other = Model(seed=8)
    restored = AdamW(other.named_parameters())
    other.load_state_dict(checkpoint.weights)
    restored.load_state_dict(checkpoint.moments)
    assert_equal(other.state_dict(), model.state_dict())
    assert_equal(restored.state_dict(), optimizer.state_dict())


def test_other_tools_can_read_it(tmp_path):
    path = save(tmp_path)
    assert sorted(p.name for p in path.iterdir()) == [
        "SHA256SUMS",
        "checkpoint.json",
        "model.safetensors",
        "optimizer.safetensors",
    ]
    with safe_open(path / "model.safetensors", framework="np") as file:
        np.testing.assert_array_equal(file.get_tensor("weight"), trained()[0].weight.array)
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=path, check=True, capture_output=True)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return save(tmp_path_factory.mktemp("sample"))


def damaged_copy(sample, tmp_path_factory):
    copy = tmp_path_factory.mktemp("damaged") / sample.name
    shutil.copytree(sample, copy)
    return copy


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_changed_byte_is_noticed(sample, tmp_path_factory, data):
    copy = damaged_copy(sample, tmp_path_factory)
    path = copy / data.draw(st.sampled_from(sorted(p.name for p in copy.iterdir())))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"is not what was saved.*damaged"):
        load_checkpoint(copy)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_truncation_and_any_missing_file_is_noticed(sample, tmp_path_factory, data):
    copy = damaged_copy(sample, tmp_path_factory)
    path = copy / data.draw(st.sampled_from(sorted(p.name for p in copy.iterdir())))
    size = data.draw(st.integers(-1, path.stat().st_size - 2))
    if size < 0:
        path.unlink()
        message = f"{path.name}' cannot be read .No such file"
    else:
        os.truncate(path, size)
        message = "is not what was saved"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(copy)


def test_a_newer_format_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path)
    monkeypatch.setattr(module, "FORMAT_VERSION", 0)
    with pytest.raises(CheckpointError, match=r"format version 1.*reads up to 0: update minissl"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("checkpoint.json", b"{}"), ("checkpoint.json", b"[1"), ("model.safetensors", b"pickle")],
)
def test_files_of_something_else_are_refused(tmp_path, name, content):
    path = save(tmp_path)
    (path / name).write_bytes(content)
    lines = [module._sum_line(f, (path / f).read_bytes()) for f in module.FILES]
    (path / "SHA256SUMS").write_bytes(b"\n".join(lines))
    said = "cannot be read as (a checkpoint of minissl|safetensors)"
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(path)


def test_the_newest_is_found_in_a_run_in_a_folder_and_by_its_path(tmp_path):
    for step in (9, 99_999_999, 100_000_000):
        newest = save(tmp_path / "run" / "checkpoints", step=step, keep=3)
    (tmp_path / "run" / "checkpoints" / "step-notes").mkdir()
    for place in (tmp_path / "run", tmp_path / "run" / "checkpoints", newest):
        assert find_checkpoint(place).path == newest
    assert find_checkpoint(tmp_path / "run/checkpoints/step-00000009").step == 9


def test_a_broken_newest_one_falls_back_with_a_warning(tmp_path):
    save(tmp_path, step=1)
    newest = save(tmp_path, step=2)
    (newest / "model.safetensors").write_bytes(b"")
    with pytest.warns(
        UserWarning, match=r"model.safetensors \(0 bytes\).*Falling back to .*-00000001"
    ):
        assert find_checkpoint(tmp_path).step == 1
    os.remove(tmp_path / "step-00000001" / "checkpoint.json")
    with pytest.raises(CheckpointError, match=r"no usable checkpoint.*0 bytes.*checkpoint.json"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["checkpoint.json", "SHA256SUMS"])
def test_a_file_that_is_far_too_large_takes_no_memory(tmp_path, name):
    save(tmp_path, step=5)
    newest = save(tmp_path, step=6)
    os.truncate(newest / name, 1 << 33)  # with a hole, so that the disk is not full
    tracemalloc.start()
    with pytest.warns(UserWarning, match=f"{name} has 8,589,934,592 bytes.*Falling back"):
        assert find_checkpoint(tmp_path).path.name == "step-00000005"
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_none_there(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"no usable checkpoint in .*nowhere: there is no such folder"
    ):
        find_checkpoint(tmp_path / "nowhere")
    (tmp_path / "pairs.tsv").touch()
    with pytest.raises(CheckpointError, match="it is a file, expected the folder of a run"):
        find_checkpoint(tmp_path / "pairs.tsv")
    (tmp_path / "runs" / "book" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="runs: it is no run, and holds some: 'book'"):
        find_checkpoint(tmp_path / "runs")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused_though_the_sums_are_right(tmp_path, name, bad):
    path = save(tmp_path)
    arrays = dict(parse_tensors((path / name).read_bytes(), name))
    chosen = next(n for n, a in arrays.items() if a.dtype.kind == "f" and a.size)
    arrays[chosen] = np.full_like(arrays[chosen], bad)
    (path / name).write_bytes(save_tensors(arrays))
    lines = [module._sum_line(f, (path / f).read_bytes()) for f in module.FILES]
    (path / "SHA256SUMS").write_bytes(b"\n".join(lines))
    with pytest.raises(CheckpointError, match=f"{name} has numbers that are not finite: {chosen}"):
        load_checkpoint(path)


def test_load_model_takes_the_weights_only(tmp_path):
    save(tmp_path / "checkpoints", seed=3)
    model = Model()
    state = load_model(tmp_path, model)
    assert_equal(model.state_dict(), trained(3)[0].state_dict())
    assert state["config"] == {"width": 4}

    class Other(Module):
        def __init__(self):
            self.weight = Parameter(np.zeros((4, 3), np.float32))

    with pytest.raises(ValueError, match=r"step-00000005 .* Was it saved by another configuration"):
        load_model(tmp_path, Other())


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_only_the_last_ones_are_kept(tmp_path, keep):
    for step in range(5):
        save(tmp_path, step=step, keep=keep)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"step-{step:08d}" for step in range(5 - keep, 5)
    ]
    with pytest.raises(ValueError, match="keep must be 1 or more, got 0"):
        save(tmp_path, step=9, keep=0)


def test_a_broken_one_that_is_newer_does_not_push_out_a_good_one(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step=step, keep=3)
    (tmp_path / "step-00000003" / "model.safetensors").write_bytes(b"broken")
    save(tmp_path, step=2, keep=2)  # the run resumed from 1 and is here again
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"step-0000000{n}" for n in (1, 2, 3)]


def test_leftovers_go_and_a_broken_one_is_written_again(tmp_path):
    save(tmp_path, step=1)
    save(tmp_path, step=2)
    (tmp_path / "step-00000002" / "model.safetensors").write_bytes(b"broken")
    (tmp_path / ".step-00000003.unfinished").mkdir()
    save(tmp_path, step=2)
    assert load_checkpoint(tmp_path / "step-00000002").step == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000002"]


@posix
def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    events = []
    fsync, rename = os.fsync, os.replace

    def note_fsync(descriptor):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        size = path.stat().st_size if path.is_file() else None
        events.append(("fsync", path.name, size))
        fsync(descriptor)

    def note_rename(a, b):
        events.append(("rename", Path(a).name, Path(b).name))
        rename(a, b)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_rename)
    path = save(tmp_path)
    names = ["model.safetensors", "optimizer.safetensors", "checkpoint.json", "SHA256SUMS"]
    assert events == [
        *[("fsync", name, (path / name).stat().st_size) for name in names],
        ("fsync", ".step-00000005.unfinished", None),
        ("rename", ".step-00000005.unfinished", "step-00000005"),
        ("fsync", tmp_path.name, None),
    ]


@posix
def test_a_full_disk_leaves_the_older_checkpoints_whole(tmp_path):
    save(tmp_path, step=1)
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))  # no file may grow beyond 64 bytes
    try:
        with pytest.raises(
            CheckpointError, match=r"step 2 could not be written.*step-00000001"
        ) as e:
            save(tmp_path, step=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(e.value.__cause__, OSError)
    assert e.value.__cause__.errno == errno.EFBIG
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert load_checkpoint(tmp_path / "step-00000001").step == 1


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"could not be written .* Not a directory"):
        save(tmp_path / "file")


def test_an_optimizer_without_state(tmp_path):
    model = Model()
    path = save_checkpoint(tmp_path, model, SGD(model.named_parameters(), 0.1), {"step": 0})
    assert load_checkpoint(path).moments == {}
    assert load_checkpoint(path).config == {}
