"""Reading files: what is damaged is refused by its name, before memory is taken for it."""

import json
import math
import os
import struct
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import save

from minissl.reading import (
    DEEPEST,
    FileError,
    parse_json,
    parse_tensors,
    read_bytes,
    read_json,
    read_tensors,
    reading,
    tensor_shapes,
)


def refused(data, **how):
    with pytest.raises(FileError, match="my file") as caught:
        parse_json(data, "my file", "a thing", **how)
    return str(caught.value)


# ---- the context ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        KeyError("a"),
        TypeError("b"),
        ZeroDivisionError(),
        RecursionError(),
        EOFError(),
        OSError("c"),
    ],
)
def test_whatever_is_raised_gets_the_name(error):
    said = r"^x.bin cannot be read as a thing: .*[.] Do this$"
    with pytest.raises(FileError, match=said), reading("x.bin", "a thing", "Do this"):
        raise error


def test_what_says_it_already_stays_as_it_is():
    for error in (ValueError("x.bin is bad"), FileError("other.bin is bad")):
        with pytest.raises(FileError) as caught, reading("x.bin", "a thing"):
            raise error
        assert str(caught.value) == str(error)
    for error in (ImportError("pillow"), FileNotFoundError(2, "none", "y"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, reading("x.bin", "a thing"):
            raise error
        assert caught.value is error
    with pytest.raises(MemoryError, match="x"), reading("x.bin", "a thing"):
        raise MemoryError


def test_another_error_can_be_asked_for():
    with (
        pytest.raises(RuntimeError, match="y is bad"),
        reading("x", "a thing", raised=RuntimeError),
    ):
        raise FileError("y is bad")


# ---- bytes and JSON ------------------------------------------------------------------------------


def test_bytes_are_counted_before_they_are_read(tmp_path):
    path = tmp_path / "huge.json"
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing
    with pytest.raises(FileError, match=r"huge.json has 1,099,511,627,776 bytes"):
        read_json(path, "a thing")
    with pytest.raises(FileError, match=r"huge.json"):
        read_tensors(path)
    with pytest.raises(OSError, match="no ordinary file"):
        read_bytes(tmp_path)


def test_json_of_every_kind_is_read():
    for value in ({"a": [1, -2.5, True, None, "ä"]}, [1], "text", 3, None, {}):
        for data in (
            json.dumps(value),
            json.dumps(value).encode(),
            b"\xef\xbb\xbf" + json.dumps(value).encode(),
        ):
            assert parse_json(data, "f", "a thing", kind=object) == value


def test_json_that_means_two_things_or_none_is_refused():
    assert "comes twice" in refused(b'{"a": 1, "a": 2}')
    assert "NaN is no number" in refused(b'{"a": NaN}')
    assert "Infinity is no number" in refused(b'{"a": -Infinity}')
    assert "too large" in refused(b'{"a": 1e999}')
    assert "half of a character" in refused(rb'{"a": "\ud800"}')
    path = os.fsdecode(b"caf\xe9")
    assert parse_json(json.dumps({"path": path}), "f", "a thing") == {"path": path}
    assert parse_json(r'"\ud83d\ude00"', "f", "a text", kind=str) == "\U0001f600"
    assert "digits" in refused(b'{"a": ' + b"9" * 5000 + b"}")
    assert "digits" in refused(b'{"a": ' + b"9" * 500 + b"}")
    assert "an object" in refused(b"[]")
    assert "null" in refused(b"null")
    for data in (b"", b"{", b'{"a": 1}}', b"\xff\xfe\x00", b"PK\x03\x04"):
        refused(data)
    assert math.isnan(parse_json("NaN", "f", "a thing", kind=object, loose=True))


def test_json_may_be_deep_only_as_far_as_it_can_be_printed():
    parse_json("[" * DEEPEST + "]" * DEEPEST, "f", "a thing", kind=list)
    for depth in (DEEPEST + 1, 900, 100_000):
        assert "nested" in refused("[" * depth + "]" * depth, kind=list)
        assert "nested" in refused('{"a":' * depth + "1" + "}" * depth)


def test_keys_and_their_types():
    kinds = {"a": int, "b": float, "c": (str, type(None))}
    parse_json('{"a": 1, "b": 2, "c": null, "d": 0}', "f", "a thing", kinds)
    assert "has no 'a', expected a whole number" in refused("{}", keys=kinds)
    assert "'a' is true or false" in refused('{"a": true}', keys=kinds)
    assert "'a' is the number 1.5" in refused('{"a": 1.5}', keys=kinds)
    assert "expected a text or null" in refused('{"a": 1, "b": 1.5, "c": []}', keys=kinds)


# ---- safetensors ---------------------------------------------------------------------------------

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
        assert tensor_shapes(path)[name][1] == array.shape
    assert read_tensors_of({}) == {}


def read_tensors_of(header, body=b""):
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return parse_tensors(struct.pack("<Q", len(data)) + data + body, "my file")


def test_bfloat16_becomes_float32():
    torch = pytest.importorskip("torch")
    from safetensors.torch import save as save_torch

    values = torch.tensor([1.0, -2.5, 3e38, 1e-40, float("inf"), float("nan"), 0.1]).bfloat16()
    found = parse_tensors(save_torch({"a": values}), "f")["a"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.float().numpy())


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_tensors_that_are_not_what_they_say():
    assert read_tensors_of({"a": entry()}, bytes(8))["a"].tolist() == [0, 0]
    for header in (
        {"a": entry(shape=[3])},
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
    for data in (b"", b"abc", bytes(8), b"\xff" * 8 + b"{}", struct.pack("<Q", 90 << 20) + b"{}"):
        with pytest.raises(FileError, match="my file"):
            parse_tensors(data, "my file")


def test_a_tensor_that_promises_much_takes_no_memory(tmp_path):
    path = tmp_path / "a.safetensors"
    header = json.dumps({"a": entry(shape=[1 << 40], offsets=[0, 1 << 42])}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(100))
    tracemalloc.start()
    with pytest.raises(FileError, match="safetensors"):
        read_tensors(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
