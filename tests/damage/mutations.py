"""How a file is damaged: by a disk, by a cut-off, by hand, by another program, on purpose."""

import io
import json
import re
import struct
import zipfile

import numpy as np

# What stands in JSON instead of what should: first as values, then as they are written.
VALUES = [
    None, True, [], {}, "", "x", "\ud800", "\udcff", "\0", "../../x", "/", "NaN", -1, 0, 1.5,
    1 << 40, 10**30, -(10**30), 1e308, [[]], [None], {"a": 1}, ["x"] * 3,
]  # fmt: skip
TEXTS = [
    "NaN", "-Infinity", "1e999", "9" * 90, "9" * 5000, "[" * 300 + "]" * 300, "[" * 100_000,
    '{"a":' * 200 + "1" + "}" * 200, '{"a": 1, "a": 2}', "1 2", "'x'", "",
]  # fmt: skip
SHAPES = [(), (0,), (-1, 8, 8), (1 << 40,), (1 << 62, 1 << 62), (1 << 70, 0), (6.0,), "x", (8, 8)]
DTYPES = ["|O", "<U1000000000", "|V8", "<f4", "<f8", ">u2", "|b1", "<c8", "<M8[ns]", "x", "|i1"]
MARK = "@mark@"


def damaged(data, kind, rng, others):
    """The bytes of a file of a kind ("json", "tensors", "npy", "npz", or else) after damage."""
    special = {"json": _json, "jsonl": _lines, "tensors": _tensors, "npy": _npy, "npz": _npz}
    if kind in special and rng.random() < 0.7:
        return special[kind](data, rng)
    return _bytes(data, rng, others)


def _bytes(data, rng, others):
    """What can happen to any file."""
    size, place = len(data), rng.randrange(len(data) or 1)
    near = min(place, rng.randrange(200))  # a head has most to say
    cases = (
        lambda: data[:place],
        lambda: data[:near],
        lambda: b"",
        lambda: data[:near] + bytes([rng.randrange(256)]) + data[near + 1 :],
        lambda: data[:near] + rng.choice((b"\xff", b"\0", b"\x7f")) * 4 + data[near + 4 :],
        lambda: data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :],
        lambda: data[:place] + rng.randbytes(20) + data[place + 20 :],
        lambda: data[:place] + bytes(min(64, size)) + data[place + 64 :],
        lambda: data[:near] + data[place:],
        lambda: data + data,
        lambda: data + rng.randbytes(9),
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data.decode("latin-1").encode("utf-16"),
        lambda: data[:place] + b"\xc3\x28" + data[place:],
        lambda: rng.choice(others),
        lambda: rng.randbytes(100),
        lambda: b"\n" * 50,
        lambda: _numbers(data, rng),
    )
    return rng.choice(cases)() if data else rng.choice(others)


def _numbers(data, rng):
    """One number in the text of a file is another."""
    found = list(re.finditer(rb"\d+", data[:2000]))
    if not found:
        return data[::-1]
    chosen = rng.choice(found)
    other = rng.choice((b"-1", b"0", b"999999999999", b"9" * 400, b"nan", b"1e999", b"1_0"))
    return data[: chosen.start()] + other + data[chosen.end() :]


def _json(data, rng):
    """Another value, or none, somewhere in a JSON text."""
    if rng.random() < 0.1:
        text = rng.choice([json.dumps(value) for value in VALUES] + TEXTS)
        return text.encode("utf-8", "surrogatepass")
    whole = [json.loads(data)]
    holder, key = whole, 0
    while isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.85:
        holder = holder[key]
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        weights = [4 if isinstance(holder[key], dict | list) else 1 for key in keys]
        key = rng.choices(keys, weights)[0]  # what is deep is seldom otherwise
    old, text = holder[key], None
    case = rng.randrange(6)
    if case == 0 and holder is not whole:
        del holder[key]
    elif case == 1:
        holder[key], text = MARK, rng.choice(TEXTS)
    elif case == 2 and isinstance(holder, dict):
        holder[key], text = MARK, f"{json.dumps(old)}, {json.dumps(key)}: {json.dumps(old)}"
    elif case == 3 and isinstance(holder, dict):
        holder["unknown"] = holder.pop(key)
    elif case == 4:
        holder[key] = [old]
    else:
        holder[key] = rng.choice(VALUES)
    written = json.dumps(whole[0])
    if text is not None:
        written = written.replace(json.dumps(MARK), text)
    return written.encode()


def _lines(data, rng):
    """Damage in one line of several."""
    lines = data.split(b"\n")
    number = rng.randrange(max(1, len(lines) - 1))
    lines[number] = _json(lines[number], rng)
    return b"\n".join(lines)


def _tensors(data, rng):
    """Another header, or another length of it."""
    length = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + length], data[8 + length :]
    case = rng.randrange(5) if body else 4
    if case == 0:
        lie = rng.choice((0, 1, length - 1, length + 8, len(data), 1 << 62, (1 << 64) - 1))
        return struct.pack("<Q", lie) + header + body
    if case == 1:
        return struct.pack("<Q", length) + header + body[: rng.randrange(len(body))]
    if case == 2:  # numbers that are none
        floats = np.frombuffer(body[: len(body) // 4 * 4], np.float32).copy()
        floats[rng.randrange(len(floats))] = rng.choice((np.nan, np.inf, -np.inf))
        return data[: 8 + length] + floats.tobytes() + body[floats.nbytes :]
    other = _json(header.rstrip(), rng)
    return struct.pack("<Q", len(other)) + other + body


def _npy(data, rng):
    """Another head."""
    array = np.load(io.BytesIO(data))
    about = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    name = rng.choice(list(about))
    about[name] = rng.choice({"descr": DTYPES, "shape": SHAPES, "fortran_order": [True, 3]}[name])
    if rng.random() < 0.1:
        about["more"] = 1
    head = (repr(about) + "\n").encode()
    version = rng.choice((b"\x01\0", b"\x01\0", b"\x01\0", b"\x03\0", b"\x09\0"))
    return b"\x93NUMPY" + version + struct.pack("<H", len(head)) + head + array.tobytes()


def _npz(data, rng):
    """One of the arrays damaged, renamed, left out or twice."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    number, case = rng.randrange(len(members)), rng.randrange(6)
    name, content = members[number]
    if case == 0:
        del members[number]
    elif case == 1:
        members[number] = (rng.choice(("../x.npy", "images.npy", "\ud7ff")), content)
    elif case == 2:
        members[number] = (name, members[number - 1][1])
    else:
        members[number] = (name, (_npy if case > 3 else _cut)(content, rng))
    written = io.BytesIO()
    with zipfile.ZipFile(
        written, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as to:
        for name, content in dict(members).items():
            to.writestr(name, content)
    return written.getvalue()


def _cut(data, rng):
    return data[: rng.randrange(len(data))]
