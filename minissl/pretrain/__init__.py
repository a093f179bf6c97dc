"""Pretraining methods, one file each: ``pretrain/FAMILY/NAME.py``, whose class is ``METHOD``.

A method says how a batch is made, what its loss is and what an example's representation is; which
settings it has; and which kind of data it takes. A new file in a family is a new method: there is
no table of names. The first line of the file is the method's help.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from minissl.registry import first_line, modules_in

if TYPE_CHECKING:
    from minissl.pretrain.method import Pretraining


def method_names() -> list[str]:
    """The names of all methods, family by family. Nothing is imported."""
    return list(_files())


def about(name: str) -> str:
    """The first line of a method's file."""
    return first_line(_file(name))


def family(name: str) -> str:
    """The folder of a method: "language", "images"."""
    return _file(name).parent.name


def load_method(name: str) -> type[Pretraining]:
    """The class of a method. Raises ValueError with the names that there are."""
    kind: type[Pretraining] = import_module(
        f"minissl.pretrain.{family(name)}.{module_name(name)}"
    ).METHOD
    return kind


def module_name(name: str) -> str:
    """The file of a method: "noise-contrastive" is in noise_contrastive.py."""
    return name.replace("-", "_")


def _file(name: str) -> Path:
    files = _files()
    if name not in files:
        raise ValueError(f"there is no method {name!r}; choose one of: {', '.join(files)}")
    return files[name]


def _files() -> dict[str, Path]:
    """Every method's file, by the method's name."""
    folders = sorted(path for path in Path(__file__).parent.iterdir() if path.is_dir())
    return {name: file for folder in folders for name, file in modules_in(folder).items()}
