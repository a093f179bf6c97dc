"""The log: one whole JSON object per line, whatever happens."""

import json
import math
import os

import numpy as np
import pytest

from minissl.training import History
from minissl.training.log import Log

RECORDS = [{"step": s, "loss": 1.0 / (s + 3), "note": "ä"} for s in range(1, 6)]


@pytest.fixture
def path(tmp_path):
    log = Log(tmp_path / "log.jsonl", last_step=-1)
    for record in RECORDS:
        log.append(record)
    log.sync()
    log.close()
    return tmp_path / "log.jsonl"


def test_every_line_is_json_and_numbers_come_back_exactly(path):
    lines = path.read_bytes().splitlines()
    assert [json.loads(line) for line in lines] == RECORDS
    assert History.read(path).records == RECORDS
    assert History.read(path.parent).records == RECORDS  # a run folder
    assert History.read(path).losses() == [record["loss"] for record in RECORDS]


def test_a_record_is_in_the_file_before_the_next_step(tmp_path):
    log = Log(tmp_path / "log.jsonl", last_step=-1)
    log.append({"step": 1})
    assert History.read(tmp_path).records == [{"step": 1}]
    log.close()


@pytest.mark.parametrize("last_step", [-1, 2, 6])
def test_cut_anywhere_the_whole_lines_before_the_cut_are_read(tmp_path, monkeypatch, last_step):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # hundreds of them take long
    path = tmp_path / "log.jsonl"
    content = b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS)
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        # A record that lacks its line end alone is whole.
        whole = content[:cut].count(b"\n") + (content[cut : cut + 1] == b"\n")
        assert History.read(path).records == RECORDS[:whole]
        log = Log(path, last_step=last_step)
        kept = [record for record in RECORDS[:whole] if record["step"] <= last_step]
        assert log.history.records == kept
        log.append({"step": 7})
        log.close()
        assert History.read(path).records == [*kept, {"step": 7}]


def test_a_damaged_line_inside_is_reported(path):
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b"\x00\x00\x00\n"
    path.write_bytes(b"".join(lines))
    with pytest.warns(UserWarning, match="line 3 of 5 is not a record"):
        history = History.read(path)
    assert history.records == RECORDS[:2] + RECORDS[3:]


@pytest.mark.parametrize("line", [b"[1]\n", b'{"loss": 1}\n', b'{"step": "1"}\n', b"\xff\n"])
def test_a_last_line_that_is_no_record_is_left_out(path, line):
    path.write_bytes(path.read_bytes() + line)
    assert History.read(path).records == RECORDS


def test_numbers_of_numpy_and_numbers_that_json_lacks(tmp_path):
    log = Log(tmp_path / "log.jsonl", last_step=-1)
    record = {"step": 1, "a": np.float32(0.5), "b": np.array(2), "c": math.nan, "d": -math.inf}
    log.append(record)
    log.close()
    expected = [{"step": 1, "a": 0.5, "b": 2, "c": None, "d": None}]
    assert log.history.records == expected
    assert History.read(tmp_path).records == expected


def test_columns():
    history = History([{"step": 0, "held_out": 5.0}, {"step": 1, "loss": 4.0}])
    history.records.append({"step": 2, "loss": 3.0, "held_out": None})
    history.records.append({"step": 3, "loss": 2.0, "held_out": 1.0})
    steps, values = history.column("held_out")
    np.testing.assert_array_equal(steps, [0, 3])
    np.testing.assert_array_equal(values, [5.0, 1.0])
    assert history.losses() == [4.0, 3.0, 2.0]
    assert len(history) == 4
    assert history[-1]["step"] == 3
    assert [record["step"] for record in history] == [0, 1, 2, 3]
    with pytest.raises(KeyError, match=r"no record has 'accuracy'.*held_out.*loss.*step"):
        history.column("accuracy")
