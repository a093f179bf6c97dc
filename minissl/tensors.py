"""Arrays in safetensors files: what is in a file is known, and fits its size, before any is read.

The format: 8 bytes with the length of a header; the header, a JSON object with the type, the shape
and the place of each array; the arrays, one after the other and nothing between them.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.reading import is_kind, parse_json, read_bytes, reading

MOST_HEADER = 100 << 20  # bytes of a header, as in the library of that name
MOST_AXES = 32
# bfloat16, which NumPy lacks, is the upper half of a float32.
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4",
    "I16": "<i2", "I8": "<i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "|u1",
}  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """An array that lies in a file: its type as the file calls it ("F32"), and its place there."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int  # bytes

    def read(self) -> NDArray:
        """The array, not writable; bfloat16 as float32, which has all its values."""
        with reading(self.file, "safetensors"), open(self.file, "rb") as opened:
            opened.seek(self.start)
            return self.of(opened.read(self.size))

    def of(self, data: bytes | memoryview) -> NDArray:
        """The same from its own bytes: a view of them where nothing is to be converted."""
        array = np.frombuffer(data, DTYPES[self.dtype]).reshape(self.shape)
        if self.dtype == "BOOL":
            array = array != 0  # of any byte, as others read them
        if self.dtype == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        array.flags.writeable = False
        return array


def stored_tensors(path: str | os.PathLike[str]) -> dict[str, Stored]:
    """The arrays of a file by name, of which only the header is read.

    So a model can be compared with its file before memory is taken for either. Raises FileError for
    what is damaged, cut off, or of a type that NumPy has not (8-bit floats), OSError for what
    cannot be read.
    """
    path = Path(path)
    with reading(path, "safetensors"):
        if path.exists() and not path.is_file():
            raise ValueError("it is no ordinary file")
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            length = _header_length(file.read(8), size)
            return _stored(file.read(length), path, size - 8 - length)


def read_tensors(path: str | os.PathLike[str]) -> dict[str, NDArray]:
    """All arrays of a file, not writable: see ``stored_tensors``, which comes first."""
    stored_tensors(path)
    return parse_tensors(read_bytes(Path(path)), path)


def parse_tensors(data: bytes, name: str | os.PathLike[str]) -> dict[str, NDArray]:
    """The arrays in the bytes of a file, as views. ``name``: of the file, for the FileError."""
    with reading(name, "safetensors"):
        length = _header_length(data[:8], len(data))
        stored = _stored(data[8 : 8 + length], Path(name), len(data) - 8 - length)
        whole = memoryview(data)
        return {key: one.of(whole[one.start : one.start + one.size]) for key, one in stored.items()}


def _header_length(begin: bytes, size: int) -> int:
    length = int.from_bytes(begin, "little")
    if len(begin) < 8 or not 2 <= length <= min(size - 8, MOST_HEADER):
        begins = f", it begins with {begin!r}" if begin[:1].isalnum() else ""
        raise ValueError(
            f"its first 8 bytes promise a header of {length:,} bytes, it has {size:,} in "
            f"all{begins}"
        )
    return length


def _stored(header: bytes, file: Path, size: int) -> dict[str, Stored]:
    """What a header says. Together the arrays must be exactly the ``size`` bytes that follow."""
    described = parse_json(header, file, "safetensors")
    described.pop("__metadata__", None)
    first = 8 + len(header)
    found = {key: _entry(key, about, file, first) for key, about in described.items()}
    place = first
    for one in sorted(found.values(), key=lambda one: (one.start, one.size)):
        if one.start != place:
            raise ValueError(
                f"{one.name!r:.60} begins at byte {one.start - first:,} of the arrays, expected "
                f"{place - first:,}"
            )
        place += one.size
    if place - first != size:
        raise ValueError(
            f"its arrays have {place - first:,} bytes, {size:,} are there: it was cut off, or is "
            "another file"
        )
    return found


def _entry(key: str, about: Any, file: Path, first: int) -> Stored:
    about = about if isinstance(about, dict) else {}
    dtype, shape, offsets = (about.get(part) for part in ("dtype", "shape", "data_offsets"))
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(is_kind(n, int) and n >= 0 for n in numbers):
            raise ValueError(f"{key!r:.60} has no shape and data_offsets in whole numbers")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(
            f"{key!r:.60} has the type {dtype!r:.40}, expected one of {', '.join(DTYPES)}: "
            "convert it to F32 first"
        )
    if len(shape) > MOST_AXES or math.prod(n or 1 for n in shape) >= 1 << 60:
        raise ValueError(f"{key!r:.60} has the shape {tuple(shape)!r:.60}, of which no array is")
    begin, end = offsets
    needed, there = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize, end - begin
    if needed != there:
        raise ValueError(
            f"{key!r:.60} of shape {tuple(shape)!r:.60} needs {needed:,} bytes, has {there:,}"
        )
    return Stored(file, key, dtype, tuple(shape), first + begin, there)
