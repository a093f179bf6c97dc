"""Where a run was trained: a line for each start, read whatever has happened to the file."""

import errno
import os

import numpy as np
import pytest

from minissl.training import starts
from minissl.training.starts import STARTS, add_start, in_words, read_starts
from tests.training.tiny import TinyMethod, run_tiny


def test_each_start_adds_a_line_and_a_finished_run_none(tmp_path):
    run_tiny(tmp_path)
    (first,) = read_starts(tmp_path)
    assert (first["step"], first["device"], first["processes"]) == (0, "cpu", 1)
    assert first["cores"] == os.cpu_count()
    before = (tmp_path / STARTS).read_bytes()
    run_tiny(tmp_path)
    assert (tmp_path / STARTS).read_bytes() == before


def test_a_line_that_was_cut_off_stays_and_the_next_one_is_whole(tmp_path):
    add_start(tmp_path, 0, "cpu", 1)
    with open(tmp_path / STARTS, "ab") as file:
        file.write(b'{"step": 3, "dev')
    add_start(tmp_path, 7, "cuda", 2)
    assert [start["step"] for start in read_starts(tmp_path)] == [0, 7]


def test_what_somebody_wrote_is_read_as_far_as_it_is_a_start(tmp_path):
    lines = [b"\xff\xfe", b"[]", b'{"step": "1"}', b'{"step": 2, "packages": 3, "date": 4}', b""]
    (tmp_path / STARTS).write_bytes(b"\n".join(lines))
    (start,) = read_starts(tmp_path)
    assert in_words(start).startswith("From step 2: ? cores of an unknown processor")
    assert read_starts(tmp_path / "nothing") == []


def test_a_start_that_cannot_be_written_names_its_file_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*what, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(starts, "_is_at_line", full)
    with pytest.raises(OSError, match=r"starts\.jsonl cannot be written: No space left"):
        run_tiny(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_machine_is_told_in_words():
    told = {"step": 1200, "cores": 1, "processor": "an abacus", "packages": {"torch": "absent"}}
    assert in_words(told) == ("From step 1,200: 1 core of an abacus, an unknown system, Python ?.")
    assert "2 cores" in in_words(told | {"cores": 2})
    alone = in_words(told | {"processes": 1, "device": "cpu"})
    assert "process" not in alone.replace("processor", "")
    assert "on cpu" not in alone
    assert ", on cuda, 2 processes, " in in_words(told | {"processes": 2, "device": "cuda"})
    assert "torch" not in alone
    assert "? cores" in in_words(told | {"cores": None})


def test_a_run_that_fails_at_its_first_step_leaves_no_start(tmp_path):
    method = TinyMethod()
    method.data = np.zeros((64, 5))  # too narrow for the loss
    method.evaluate = dict
    with pytest.raises(ValueError, match="shape"):
        run_tiny(tmp_path / "run", method=method)
    assert not (tmp_path / "run" / STARTS).exists()
