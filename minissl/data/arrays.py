"""Images in .npy and .npz files: checked before memory is taken for them, never unpickled."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from minissl.data.labels import as_classes, as_numbers, check_labels, check_names
from minissl.reading import reading, shown
from minissl.vision.fitting import Fit
from minissl.vision.pixels import square_image

ARRAYS = (".npy", ".npz")
MOST_PACKED = 1100  # times smaller: what a .npz can be packed at best
PACKED_WELL, LARGE = 100, 1 << 28  # times smaller, in a file that would become large
MOST_HEAD = 1 << 16  # bytes with the shape and the type
ROWS = 1024  # images that are checked at once


def is_arrays(path: Path) -> bool:
    """Whether a file holds arrays: its name says so."""
    return path.suffix.lower() in ARRAYS and not path.is_dir()


def read_arrays(path: Path) -> dict[str, NDArray]:
    """The arrays of a file: ``images``, and in a .npz perhaps ``labels`` and ``class_names``.

    A .npy is ``images`` alone. Raises ValueError with the file for one that is damaged, has no
    ``images``, or holds Python objects; OSError for what is no file.
    """
    if not path.is_file():
        raise OSError(f"{shown(path)} is no ordinary file: give one that ends with .npy or .npz")
    with reading(path, "arrays"):
        if path.suffix.lower() == ".npy":
            with open(path, "rb") as file:
                return {"images": _array(file, path.stat().st_size, "the array")}
        with zipfile.ZipFile(path) as archive:
            return _members(archive)


def _members(archive: zipfile.ZipFile) -> dict[str, NDArray]:
    found = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if len(found) < len(archive.infolist()):
        raise ValueError("two of its arrays have one name")
    if "images" not in found:
        names = ", ".join([*found][:20]) or "no arrays"
        raise ValueError(
            f"it has {names}, expected images (and labels, class_names): "
            "np.savez(path, images=..., labels=...)"
        )
    arrays = {}
    for name in ("images", "labels", "class_names"):
        if (info := found.get(name)) is None:
            continue
        packed = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: MOST_PACKED}
        if info.file_size > packed.get(info.compress_type, 0) * info.compress_size:
            raise ValueError(f"{name} is packed in a way that np.savez never does: it is damaged")
        if info.file_size > max(PACKED_WELL * info.compress_size, LARGE):
            raise ValueError(
                f"{name} would become {info.file_size:,} bytes, more than {PACKED_WELL} times what "
                "it has: save it as a .npy file, or leave it out"
            )
        with archive.open(info) as file:
            arrays[name] = _array(file, info.file_size, name)
    return arrays


def _array(file: Any, size: int, name: str) -> NDArray:
    """An array of a file of so many bytes, whose head must say the same."""
    head = io.BytesIO(file.read(MOST_HEAD))  # a head may promise gigabytes of itself
    version = npy.read_magic(head)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name} has the format {version}, of structures: save plain arrays")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(head)
    if dtype.hasobject:
        raise ValueError(
            f"{name} holds Python objects, which could run code when they are read: save numbers "
            "or texts, np.array(values, dtype=str)"
        )
    if dtype.kind not in "iufbUS":
        raise ValueError(f"{name} has dtype {dtype}, expected numbers or texts")
    needed, there = math.prod(shape) * dtype.itemsize, size - head.tell()
    if min(shape, default=1) < 0 or needed != there:
        raise ValueError(
            f"{name} has {there:,} bytes, its head promises {needed:,} (shape {shape}): the file "
            "is damaged or cut off, get it again"
        )
    file.seek(0)
    return npy.read_array(file, allow_pickle=False)


def fit_images(images: NDArray, fit: Fit, where: str) -> tuple[NDArray[np.float32], str]:
    """(count, height, width) or (..., channels) as (count, size, size, channels) in [0, 1].

    uint8 or floats in [0, 1]. What has the size and the channels already is not touched but for
    its type; the rest becomes a square of that size as image files do. Also returned is in words
    what was done to them: see ``vision.fitting``.

    Raises ValueError that begins with ``where``, with the number of the first image that is wrong,
    or for more than the memory of the computer.
    """
    if images.ndim == 3 and images.shape[2] in (3, 4) and images.shape[1] > 4:
        raise ValueError(
            f"{where}: images have shape {images.shape}, which looks like one image in colour: "
            "save images[None], or, if they are that narrow, images[..., None]"
        )
    if images.ndim > 2 and not len(images):
        raise ValueError(f"{where}: there are no images in it: they have shape {images.shape}")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or 0 in images.shape:
        turned = images.ndim == 4 and images.shape[1] in (1, 3)
        advice = "np.moveaxis(images, 1, -1)" if turned else "1 or 3 channels, last"
        raise ValueError(
            f"{where}: images have shape {images.shape}, expected (count, height, width) or "
            f"(count, height, width, channels): {advice}"
        )
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise ValueError(
            f"{where}: images are {images.dtype}, expected uint8 (0 to 255), or floats from 0 to "
            "1: divide them by the largest number that they can be, such as 65535 or 4095"
        )
    if images.dtype.kind == "f":
        _check_range(images, where)
    height, width, planes = images.shape[1:]
    stored = {(height, width, 1 if planes == 1 else 3): len(images)}
    fit = fit.settled(stored)
    fitted = fit.room_for(len(images), where)
    if (height, width, planes) == fitted.shape[1:]:
        fitted[:] = images
        if images.dtype == np.uint8:
            fitted /= 255
        return fitted, ""
    for target, image in zip(fitted, images):
        target[:] = square_image(image, *fit)
    return fitted, fit.told(stored)


def _check_range(images: NDArray, where: str) -> None:
    for start in range(0, len(images), ROWS):
        some = images[start : start + ROWS].reshape(len(images[start : start + ROWS]), -1)
        bad = np.flatnonzero(~((some >= 0) & (some <= 1)).all(axis=1))  # NaN is neither
        if len(bad):
            row = some[bad[0]]
            raise ValueError(
                f"{where}: image {start + bad[0]} has values from {row.min():.9g} "
                f"to {row.max():.9g}, expected floats from 0 to 1; bytes are given as uint8"
            )


def array_labels(
    arrays: dict[str, NDArray], kind: str, where: str
) -> tuple[NDArray, tuple[str, ...]]:
    """The labels of a file's arrays and the names of the classes, ``()`` for ``kind`` "number".

    Whole numbers are numbers of ``class_names``, or without those names themselves, as truths are.
    Raises ValueError that begins with ``where``.
    """
    if "labels" not in arrays:
        raise ValueError(
            f"{where} has no labels: write a .npz, np.savez(path, images=..., labels=...)"
        )
    labels, count = _texts(arrays["labels"]), len(arrays["images"])
    names = _texts(arrays["class_names"]).tolist() if "class_names" in arrays else []
    try:
        if labels.shape != (count,):
            raise ValueError(f"labels have shape {labels.shape}, expected ({count},)")
        if labels.dtype.kind == "U":
            values = labels.tolist()
            places = [f"image {number}" for number in range(count)]
            return (as_numbers(values, places), ()) if kind == "number" else as_classes(values)
        if kind == "number":
            return check_labels(labels, count, ()), ()
        if labels.dtype.kind == "f":
            raise ValueError(
                f"labels are {labels.dtype}, expected whole numbers or texts for classes"
            )
        return _numbered(labels, names)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _numbered(labels: NDArray, names: Sequence[Any]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Whole numbers or truths as classes, by their names or as themselves."""
    if names:
        if not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
            raise ValueError("class_names are no texts, or two of them are equal")
        check_names(names)
        return check_labels(labels, len(labels), names), tuple(names)
    values, numbers = np.unique(labels, return_inverse=True)
    return numbers.astype(np.int64), tuple(str(value).lower() for value in values.tolist())


def _texts(array: NDArray) -> NDArray:
    """Bytes as texts, everything else as it is."""
    return np.char.decode(array, "utf-8", "backslashreplace") if array.dtype.kind == "S" else array
