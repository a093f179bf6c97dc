"""Names to lines of the source: where a function is, what it looks like, highlighted.

Modules are read, never imported: the site needs neither torch nor triton, and runs no code.
"""

import ast
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"minissl": ROOT / "minissl", "minissl_kernels": ROOT / "kernels" / "minissl_kernels"}


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
        """``minissl/losses/contrastive.py``: the path without the folder of a package's own."""
        return label(self.path)


def label(path: Path) -> str:
    """A path of the repository as the site writes it."""
    return path.relative_to(ROOT).as_posix().removeprefix("kernels/")


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
    node: ast.AST = syntax(path)
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


@cache
def highlighted_lines(path: Path) -> list[str]:
    """Each line of a file as HTML."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import TextLexer, get_lexer_for_filename
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_for_filename(path.name, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    text = path.read_text(encoding="utf-8")
    return highlight(text, lexer, HtmlFormatter(nowrap=True)).splitlines()


def listing(
    path: Path, numbers: list[int], page: str, anchors: bool = False, width: int = 0
) -> str:
    """Lines of a file as an HTML block; each number links to its line on ``page``.

    ``width``: the columns of a number; 0: those of the last one.
    """
    lines = highlighted_lines(path)
    width = width or (len(str(numbers[-1])) if numbers else 1)
    rows = [
        f'<span class="line"{f""" id="L{n}" """.rstrip() if anchors else ""}>'
        f'<a class="number" href="{escape(page)}#L{n}">{n:>{width}}</a>  {lines[n - 1]}</span>'
        for n in numbers
    ]
    return (
        '<div class="highlight notranslate listing"><div class="highlight">'
        f'<pre tabindex="0">{chr(10).join(rows)}\n</pre></div></div>'
    )
