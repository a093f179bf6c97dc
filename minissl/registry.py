"""Files that are found by their names: methods and commands need no table that lists them."""

from __future__ import annotations

import ast
from pathlib import Path


def modules_in(folder: Path) -> dict[str, Path]:
    """The modules of a folder by name, with dashes; those that begin with ``_`` are nobody's."""
    files = sorted(folder.glob("*.py"))
    return {f.stem.replace("_", "-"): f for f in files if not f.name.startswith("_")}


def first_line(file: Path) -> str:
    """The first line of a module's docstring. The module is read, not imported."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]
