"""Published weights against what their configuration asks for, before anything is allocated."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from minissl.models.weights import read_float32
from minissl.tensors import Stored

Shapes = Mapping[str, tuple[int, ...]]


def require_layers(
    found: Mapping[str, Stored], size: str, layers: int, path: Path, place: Path
) -> None:
    """Raise ValueError for more layers than arrays: before a list of so many layers is made.

    found: the arrays of ``path``; place: of the configuration, which calls the layers ``size``.
    """
    if layers > len(found):
        raise ValueError(f"{place} says {size} = {layers}, {path} has only {len(found)} arrays")


def require_layout(
    found: Mapping[str, Stored],
    expected: Shapes,
    copies: Shapes,
    path: Path,
    place: Path,
    sizes: Mapping[str, int],
) -> None:
    """Raise ValueError unless the weights are exactly the arrays that are expected, with copies.

    found: the arrays of ``path`` by name. copies: what may be there as well. place: of the
    configuration, with the sizes that it asks for under its own names, the layers first.
    """
    name, layers = next(iter(sizes.items()))
    if missing := expected.keys() - found.keys():
        raise ValueError(
            f"{path} lacks {listed(missing)}, which {place} asks for ({name} = {layers})"
        )
    if left := found.keys() - expected.keys() - copies.keys():
        raise ValueError(
            f"{path} has {listed(left)}, which {place} ({name} = {layers}) has no "
            "place for: the two belong to different models"
        )
    told = ", ".join(f"{name} = {size}" for name, size in sizes.items())
    for name, array in found.items():
        shape = {**copies, **expected}[name]
        if array.shape != shape:
            raise ValueError(
                f"{array.file}: {name} has shape {array.shape}, {place} asks for {shape} ({told})"
            )


def is_copy(one: Stored, other: Stored) -> bool:
    """Whether two arrays of the same shape have the same values, NaN at the same places too."""
    return np.array_equal(read_float32(one), read_float32(other), equal_nan=True)


def listed(names: Iterable[str], most: int = 3) -> str:
    """The first of many names, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more
