"""Safetensors files: as the library writes them, and nothing else."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import save

from minissl.reading import FileError
from minissl.tensors import parse_tensors, read_tensors, stored_tensors

KINDS = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]


def test_tensors_are_what_the_library_wrote(tmp_path):
    generator = np.random.default_rng(0)
    arrays = {f"of {k}": generator.normal(0, 9, (2, 3)).astype(k) for k in KINDS}
    arrays |= {"scalar": np.full((), 3, np.float32), "empty": np.zeros((3, 0), np.float32)}
    path = tmp_path / "a.safetensors"
    path.write_bytes(save(arrays, metadata={"format": "pt"}))
    found = read_tensors(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        assert not found[name].flags.writeable
        stored = stored_tensors(path)[name]
        assert stored.shape == array.shape
        np.testing.assert_array_equal(stored.read(), array)
    assert read_tensors_of({}) == {}


def read_tensors_of(header, body=b""):
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return parse_tensors(struct.pack("<Q", len(data)) + data + body, "my file")


def test_a_truth_is_any_byte_but_0():
    """As other readers have it."""
    found = read_tensors_of({"a": entry("BOOL", (4,), (0, 4))}, bytes([0, 1, 2, 255]))["a"]
    assert found.tolist() == [False, True, True, True]


def test_bfloat16_becomes_float32():
    torch = pytest.importorskip("torch")
    from safetensors.torch import save as save_torch

    values = torch.tensor([1.0, -2.5, 3e38, 1e-40, float("inf"), float("nan"), 0.1]).bfloat16()
    found = parse_tensors(save_torch({"a": values}), "f")["a"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.float().numpy())


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_tensors_that_are_not_what_they_say(tmp_path):
    assert read_tensors_of({"a": entry()}, bytes(8))["a"].tolist() == [0, 0]
    for header in (
        {"a": entry(shape=[3])},
        {"a": entry(shape=[1])},
        {"a": entry(shape=[-2])},
        {"a": entry(shape=[1 << 62, 1 << 62])},
        {"a": entry(shape=[2.0])},
        {"a": entry(shape=[True, 2])},
        {"a": entry(shape=2)},
        {"a": entry(shape=[1 << 80, 0], offsets=[0, 0]), "b": entry()},
        {"a": entry(offsets=[0, 8, 8])},
        {"a": entry(offsets=[8, 16])},
        {"a": entry(offsets=[8, 0])},
        {"a": entry(dtype="F8_E4M3")},
        {"a": entry(dtype=["F32"])},
        {"a": entry(), "b": entry()},  # two arrays in the same bytes
        {"a": entry(shape=[1], offsets=[0, 4])},  # bytes of nobody
        {"a": entry(shape=[1], offsets=[0, 4]), "b": entry(shape=[0], offsets=[8, 8])},
        {"a": []},
        {"a": None},
        [],
        b'{"a": 1, "a": 1}',
        b"\xff",
    ):  # fmt: skip
        with pytest.raises(FileError, match="my file"):
            read_tensors_of(header, bytes(8))
        data = header if isinstance(header, bytes) else json.dumps(header).encode()
        (tmp_path / "my file").write_bytes(struct.pack("<Q", len(data)) + data + bytes(8))
        with pytest.raises(FileError, match="my file"):
            stored_tensors(tmp_path / "my file")
    for data in (b"", b"abc", bytes(8), b"\xff" * 8 + b"{}", struct.pack("<Q", 90 << 20) + b"{}"):
        with pytest.raises(FileError, match="my file"):
            parse_tensors(data, "my file")


def test_a_tensor_that_promises_much_takes_no_memory(tmp_path):
    path = tmp_path / "a.safetensors"
    header = json.dumps({"a": entry(shape=[1 << 40], offsets=[0, 1 << 42])}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(100))
    huge = tmp_path / "b.safetensors"
    with open(huge, "wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing
    tracemalloc.start()
    with pytest.raises(FileError, match="safetensors"):
        read_tensors(path)
    with pytest.raises(FileError, match="safetensors"):
        read_tensors(huge)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
