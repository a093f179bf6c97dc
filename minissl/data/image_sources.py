"""Where images are read from: a folder, a table that names files, arrays, or scikit-learn's digits.

All become an ``ImageFolder``: images of the size the settings want, names, and labels.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from minissl.data import Fields, check_kind, located
from minissl.data.arrays import array_labels, fit_images, is_arrays, read_arrays
from minissl.data.tables import Table, is_table, read_table
from minissl.text.files import shown
from minissl.vision.images import ImageFolder, fit_image_files, load_image_folder


def find_images(path: Path | None, settings: Any, default: str, kind: str) -> Any:
    """The file, folder or ``DataSet``; None: the default, if it has the size of the settings."""
    if path is None and (settings.image_size not in (0, 8) or settings.channels not in (0, 1)):
        raise ValueError(
            f"the {default} have size 8 and 1 channel, got {settings.shape[0]} and "
            f"{settings.shape[2]}: give images, the name {default}, or leave the two options out"
        )
    return located(path, default, kind)


def read_images(
    found: Any, settings: Any, fields: Fields, labels: str | None = None
) -> ImageFolder:
    """All images of a place, by what it is, in the size and channels of the settings.

    found: what ``find_images`` says. labels: "class" or "number", None when nobody asks for them.
    Raises ValueError where there are none, or a file is damaged.
    """
    if labels is not None:
        check_kind(labels)
    path = shown(found) if isinstance(found, Path) else found.name
    if is_table(found, fields):
        return _of_table(read_table(found, fields, ("image_field",)), settings, labels)
    if isinstance(found, Path) and is_arrays(found):
        return _of_arrays(found, settings, labels)
    if isinstance(found, Path):
        folder = load_image_folder(found, *settings.fitting())
    else:
        folder = found.load()
        images, fitted = fit_images(folder.images, settings.fitting(), path)
        folder = folder._replace(images=images, fitted=fitted)
    if labels is not None and folder.labels is None:
        raise ValueError(
            f"{path} has images outside of class folders: put the images of each class "
            "into a folder of their own, named after the class"
        )
    if labels == "number":
        raise ValueError(
            f"{path} gives classes, no numbers: those are read from a table (.csv, "
            ".tsv, .jsonl), from the column of --label-field, or from the labels of a .npz"
        )
    return folder


def images_of_table(table: Table, settings: Any) -> ImageFolder:
    """The images that a table names in its column ``image_field``, without labels.

    A path begins at the table's folder; it may lead out of it (``../images/a.png``) or be absolute,
    since a table is somebody's own file and nothing but an image is read from where it points.
    An image that comes again has a number after its name.
    """
    paths = table.texts("image_field")
    files = [table.path.parent / path for path in paths]
    for file, place in zip(files, table.places):
        if not file.is_file():
            raise FileNotFoundError(
                f"{place}: there is no file {shown(file)!r}: paths begin at the folder of the table"
            )
    images, fitted = fit_image_files(files, settings.fitting())
    times: Counter[str] = Counter()
    names = []
    for path in paths:
        times[path] += 1
        names.append(path if times[path] == 1 else f"{path}#{times[path]}")
    return ImageFolder(images, None, (), tuple(names), tuple(files), fitted)


def _of_table(table: Table, settings: Any, kind: str | None) -> ImageFolder:
    labels, class_names = (None, ()) if kind is None else table.labels(kind)
    return images_of_table(table, settings)._replace(labels=labels, class_names=class_names)


def _of_arrays(path: Path, settings: Any, kind: str | None) -> ImageFolder:
    arrays, where = read_arrays(path), shown(path)
    images, fitted = fit_images(arrays["images"], settings.fitting(), where)
    labels, class_names = (None, ()) if kind is None else array_labels(arrays, kind, where)
    names = tuple(f"{shown(path.name)}[{number}]" for number in range(len(images)))
    return ImageFolder(images, labels, class_names, names, fitted=fitted)
