"""Reading files: what is damaged is refused by its name, before memory is taken for it."""

import json
import math
import os

import pytest

from minissl.reading import (
    DEEPEST,
    FileError,
    parse_json,
    read_bytes,
    read_json,
    reading,
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
