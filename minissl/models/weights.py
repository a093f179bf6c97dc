"""Weights in safetensors files, one or several: what is in them is known before any is read.

Nothing is unpickled: a file that can run a program when it is opened is refused. Lecture 10.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minissl.reading import read_json
from minissl.tensors import Stored, stored_tensors

ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")  # pickles and the like
_FLOATS = ("F64", "F32", "F16", "BF16")


def stored_arrays(path: Path) -> dict[str, Stored]:
    """The arrays of a safetensors file, or of a folder with one, or with an index and its shards.

    Raises FileNotFoundError for a missing file, ValueError for one that is damaged, for two files
    that disagree, and for a folder whose weights could run code; each names the file.
    """
    if not path.is_dir():
        return stored_tensors(path)
    if (path / ONE_FILE).exists():
        return stored_tensors(path / ONE_FILE)
    if (path / INDEX).exists():
        return _shards(path / INDEX)
    if code := sorted(file.name for pattern in PICKLES for file in path.glob(pattern)):
        raise ValueError(
            f"{path} has its weights only as {code[0]}, which can run any program when it is "
            f"opened: get {ONE_FILE}, or, where you trust the file, have transformers write one: "
            "CLASS.from_pretrained(folder).save_pretrained(new_folder), where CLASS is what "
            'config.json calls its "architectures"'
        )
    raise FileNotFoundError(f"{path} has neither {ONE_FILE} nor {INDEX}")


def read_float32(array: Stored) -> NDArray[np.float32]:
    """The array as float32, writable. ValueError, naming the file, for what has none."""
    if array.dtype not in _FLOATS:
        raise ValueError(
            f"{array.file}: {array.name} is of type {array.dtype}, expected one of "
            f"{', '.join(_FLOATS)}: these weights are quantised, get the original ones"
        )
    try:
        with np.errstate(over="raise"):
            return array.read().astype(np.float32)
    except FloatingPointError:
        raise ValueError(
            f"{array.file}: {array.name} has a number that is infinite in float32: these weights "
            "are damaged, or were never meant for it; get them again"
        ) from None


def _shards(index: Path) -> dict[str, Stored]:
    """The arrays of all files that the index names; each has what the index says, and no more."""
    places = read_json(index, "an index of shards", {"weight_map": dict})["weight_map"]
    if not all(isinstance(place, str) for place in places.values()):
        raise ValueError(f'{index}: expected "weight_map", an object of names and file names')
    found: dict[str, Stored] = {}
    for name in sorted(set(places.values())):
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            raise ValueError(f"{index}: {name!r:.60} is no name of a file in the same folder")
        arrays = stored_tensors(index.parent / name)
        told = {array for array, place in places.items() if place == name}
        if odd := sorted(arrays.keys() ^ told):
            raise ValueError(
                f"{index} and {name} disagree on {len(odd)} array(s), such as {odd[0]!r}: one "
                "belongs to other weights, or is incomplete; get both again"
            )
        found |= arrays
    return found
