"""Arrays in safetensors files, one or several: what is in them is known before any is read.

Nothing is unpickled: a file that can run a program when it is opened is refused. Lecture 10.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
_CODE = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")  # pickles and the like
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True)
class Stored:
    """An array that lies in a file, not read yet. ``start``: its first byte there."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int

    def read(self) -> np.ndarray:
        """The array as float32. Raises ValueError, with the file's name, for other numbers."""
        if self.dtype not in _DTYPES:
            raise ValueError(
                f"{self.file}: {self.name} is of type {self.dtype}, expected one of "
                f"{', '.join(_DTYPES)}: these weights are quantised, get the original ones"
            )
        numbers = np.fromfile(
            self.file, _DTYPES[self.dtype], math.prod(self.shape), offset=self.start
        ).reshape(self.shape)
        if self.dtype == "BF16":  # the upper half of a float32
            return (numbers.astype(np.uint32) << 16).view(np.float32)
        return numbers.astype(np.float32)


def stored_arrays(path: Path) -> dict[str, Stored]:
    """The arrays of a safetensors file, or of a folder with one, or with an index and its shards.

    Raises FileNotFoundError for a missing file, ValueError for one that is damaged, for two files
    that disagree, and for a folder whose weights could run code; each names the file.
    """
    if not path.is_dir():
        return _header(path)
    if (path / ONE_FILE).exists():
        return _header(path / ONE_FILE)
    if (path / INDEX).exists():
        return _shards(path / INDEX)
    if code := sorted(file.name for pattern in _CODE for file in path.glob(pattern)):
        raise ValueError(
            f"{path} has its weights only as {code[0]}, which can run any program when it is "
            f"opened: get {ONE_FILE}, or, where you trust the file, have transformers write one: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder)"
        )
    raise FileNotFoundError(f"{path} has neither {ONE_FILE} nor {INDEX}")


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises ValueError, with the file's name, for anything else."""
    try:
        found = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: not JSON ({error}): damaged or cut short, get it again"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a JSON object, got {found!r:.60}")
    return found


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _header(file: Path) -> dict[str, Stored]:
    """What the first bytes say; the library has compared it with the size of the file."""
    from safetensors import SafetensorError, safe_open

    with open(file, "rb") as opened:  # a missing file has its usual error
        try:
            with safe_open(file, "numpy"):
                pass
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length))
        except (SafetensorError, ValueError, OSError) as error:
            raise ValueError(
                f"{file}: no safetensors file ({error}): it is damaged, cut short, or a Git LFS "
                "pointer instead of the file; get it again"
            ) from error
    header.pop("__metadata__", None)
    return {
        name: Stored(
            file, name, about["dtype"], tuple(about["shape"]), 8 + length + about["data_offsets"][0]
        )
        for name, about in header.items()
    }


def _shards(index: Path) -> dict[str, Stored]:
    """The arrays of all files that the index names; each has what the index says, and no more."""
    places = read_object(index).get("weight_map")
    if not isinstance(places, Mapping) or not all(isinstance(p, str) for p in places.values()):
        raise ValueError(f'{index}: expected "weight_map", an object of names and file names')
    found: dict[str, Stored] = {}
    for name in sorted(set(places.values())):
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            raise ValueError(f"{index}: {name!r:.60} is no name of a file in the same folder")
        arrays = _header(index.parent / name)
        told = {array for array, place in places.items() if place == name}
        if odd := sorted(arrays.keys() ^ told):
            raise ValueError(
                f"{index} and {name} disagree on {len(odd)} array(s), such as {odd[0]!r}: one "
                "belongs to other weights, or is incomplete; get both again"
            )
        found |= arrays
    return found
