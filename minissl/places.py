"""Names to lines of the source: where a function of the library is.

Modules are read, never imported: neither torch nor triton is needed, and no code runs. Lectures
show the source by it, on the site and in the terminal.
"""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
# In the repository the kernels lie in a folder of their own, when installed beside the library.
_KERNELS = _HERE.parent / "kernels" / "minissl_kernels"
PACKAGES = {
    "minissl": _HERE,
    "minissl_kernels": _KERNELS if _KERNELS.is_dir() else _HERE.parent / "minissl_kernels",
}


class NameGone(LookupError):
    """A name that the source does not have (any more)."""


@dataclass(frozen=True)
class Place:
    """A function, class, method or constant: lines first..last, ``line`` has its ``def``.

    ``body``: the lines below its head and docstring.
    """

    path: Path
    name: str
    line: int
    first: int
    last: int
    docstring: range
    body: range

    @property
    def label(self) -> str:
        """``minissl/losses/contrastive.py``: the path from the folder of its package."""
        return label(self.path)


def label(path: Path) -> str:
    """A file of the packages as texts name it: ``minissl/losses/contrastive.py``."""
    folder = next(folder for folder in PACKAGES.values() if path.is_relative_to(folder))
    return path.relative_to(folder.parent).as_posix()


def module_file(module: str) -> Path:
    """``minissl.losses.contrastive`` -> its file. Raises NameGone."""
    package, *rest = module.split(".")
    if package not in PACKAGES:
        raise NameGone(f"{module!r} is not of {' or '.join(PACKAGES)}")
    folder = PACKAGES[package].joinpath(*rest)
    for path in (folder.with_suffix(".py"), folder / "__init__.py"):
        if path.is_file():
            return path
    raise NameGone(f"there is no module {module}: expected {label(folder)}.py")


@cache
def modules() -> dict[str, Path]:
    """Every public module of the packages, by its name."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if not any(part.startswith("_") and part != "__init__" for part in parts):
                found[".".join((package, *(p for p in parts if p != "__init__")))] = path
    return found


@cache
def syntax(path: Path) -> ast.Module:
    """The file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def find(target: str) -> Place:
    """``module:function``, ``module:Class.method`` or ``module`` -> where it is.

    Follows ``from other import name``. Raises NameGone, which says what there is instead.
    """
    module, _, name = target.strip().partition(":")
    path = module_file(module)
    if not name:
        last = len(path.read_text(encoding="utf-8").splitlines())
        return Place(path, module, 1, 1, last, _docstring(syntax(path)), range(1, last + 1))
    node: Any = syntax(path)
    for part in name.split("."):
        names = definitions(node)
        source = None if part in names else _imported(node, part)
        if source:
            rest = name.partition(".")[2]
            return find(source + (("." if ":" in source else ":") + rest if rest else ""))
        if part not in names:
            raise NameGone(
                f"there is no {name!r} in {label(path)}; it has {', '.join(names) or 'no names'}"
            )
        node = names[part]
    decorators = [d.lineno for d in getattr(node, "decorator_list", [])]
    first = min([node.lineno, *decorators])
    last, docstring = node.end_lineno or node.lineno, _docstring(node)
    return Place(path, name, node.lineno, first, last, docstring, _body(node, docstring, last))


def definitions(node: ast.AST) -> dict[str, ast.stmt]:
    """The functions, classes and constants that a module or class defines, in order."""
    found: dict[str, ast.stmt] = {}
    for child in getattr(node, "body", []):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[child.name] = child
        elif isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            found.update({t.id: child for t in targets if isinstance(t, ast.Name)})
    return found


def _imported(node: ast.AST, name: str) -> str | None:
    """``module:name`` or ``package.module`` behind ``from module import name``."""
    for child in getattr(node, "body", []):
        if isinstance(child, ast.ImportFrom) and child.module:
            for alias in child.names:
                if (alias.asname or alias.name) == name:
                    inner = f"{child.module}.{alias.name}"
                    return inner if inner in modules() else f"{child.module}:{alias.name}"
    return None


def _docstring(node: ast.AST) -> range:
    """The lines of a docstring, empty without one."""
    body = getattr(node, "body", [])
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        return range(body[0].lineno, (body[0].end_lineno or 0) + 1)
    return range(0)


def _body(node: ast.AST, docstring: range, last: int) -> range:
    """The lines of a function or class below its head and its docstring, comments included."""
    if docstring:
        return range(docstring.stop, last + 1)
    inner = getattr(node, "body", [])
    return range(inner[0].lineno if inner else last, last + 1)
