"""Files that are found by their names: methods and commands need no table that lists them."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path
from typing import Any


def modules_in(folder: Path) -> dict[str, Path]:
    """The modules of a folder by name, with dashes; those that begin with ``_`` are nobody's."""
    files = sorted(folder.glob("*.py"))
    return {f.stem.replace("_", "-"): f for f in files if not f.name.startswith("_")}


def first_line(file: Path) -> str:
    """The first line of a module's docstring. The module is read, not imported."""
    with file.open(encoding="utf-8") as lines:
        first = lines.readline().strip()
    if re.fullmatch(r'"""[^"\\]+("""|)', first):  # nearly all; to parse each takes every start long
        return first.strip('" ')
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


class Families:
    """What lies in a package as ``FAMILY/NAME.py``: a new file in a family is a new member.

    ``file``: that of the package (its ``__file__``). ``attribute``: what each file has, its class
    ``METHOD``. ``noun``: what a member is called in messages. Nothing is imported before ``load``.
    """

    def __init__(self, package: str, file: str, attribute: str, noun: str):
        self.package, self.folder = package, Path(file).parent
        self.attribute, self.noun = attribute, noun

    def names(self) -> list[str]:
        """The names of all members, family by family."""
        return list(self._files())

    def about(self, name: str) -> str:
        """The first line of a member's file."""
        return first_line(self._file(name))

    def family(self, name: str) -> str:
        """The folder that a member lies in."""
        return self._file(name).parent.name

    def load(self, name: str) -> Any:
        """The class of a member. Raises ValueError with the names that there are."""
        file = self._file(name)
        module = f"{self.package}.{file.parent.name}.{file.stem}"
        return getattr(import_module(module), self.attribute)

    def _file(self, name: str) -> Path:
        files = self._files()
        if name not in files:
            names = ", ".join(files)
            raise ValueError(f"there is no {self.noun} {name!r}; choose one of: {names}")
        return files[name]

    def _files(self) -> dict[str, Path]:
        folders = sorted(path for path in self.folder.iterdir() if path.is_dir())
        return {name: file for folder in folders for name, file in modules_in(folder).items()}


def file_name_of(kind: type) -> str:
    """The name of a member: that of its file, with dashes."""
    return kind.__module__.rpartition(".")[2].replace("_", "-")
