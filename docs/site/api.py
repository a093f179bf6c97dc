"""The API reference as Markdown, read from the source: one page for each folder of a package."""

import ast
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from minissl.places import PACKAGES, NameGone, definitions, find, modules, syntax

# The house, from the ground up. A folder that is not named here comes last.
FLOORS = {
    "minissl.autograd": "Floor 0: the engine",
    "minissl.nn": "Floor 1: layers and networks",
    "minissl.optim": "Floor 1: optimizers",
    "minissl.losses": "Floor 2: losses",
    "minissl.text": "Floor 2: text",
    "minissl.vision": "Floor 2: images",
    "minissl.data": "Floor 2: what a path becomes",
    "minissl.models": "Floor 2: networks that are kept",
    "minissl.training": "Floor 3: training",
    "minissl.pretrain": "Floor 4: pretraining methods",
    "minissl.adapt": "Floor 4: what one does with a pretrained network",
    "minissl.forms": "Floor 4: what is asked of it: a class, a number, tags, a span, a choice",
    "minissl.demo": "Floor 5: the demo",
    "minissl.claims": "Floor 5: claims",
    "minissl.homework": "Floor 5: homework",
    "minissl.cli": "Floor 6: the command line",
    "minissl": "Beside the floors",
    "minissl_kernels": "The kernels",
}
# Material of the lectures and the homework, nobody's interface.
LEFT_OUT = (
    "minissl.claims.experiments",
    "minissl.homework.assignments",
)
# Called by Triton and torch, never by a reader's own code.
INTERNAL = re.compile(r"triton\.jit|custom_op|\.register_")


def api_pages() -> dict[str, str]:
    """Page name -> Markdown, in reading order."""
    folders: dict[str, dict[str, Path]] = {}
    for module, path in modules().items():
        if module.startswith(LEFT_OUT):
            continue
        package, *rest = module.split(".")
        inside = rest and package == "minissl" and path.parent.name != package
        folder = f"{package}.{rest[0]}" if inside else package
        folders.setdefault(folder, {})[module] = path
    order = [*FLOORS, *folders]
    return {folder: _page(folder, folders[folder]) for folder in sorted(folders, key=order.index)}


def _page(folder: str, found: Mapping[str, Path]) -> str:
    parts = [f"# {FLOORS.get(folder, folder)}\n"]
    for module, path in found.items():
        tree = qualified(module, path)
        objects = [
            _described(node, f":module: {module}\n")
            for name, node in definitions(tree).items()
            if not name.startswith("_") and not INTERNAL.search(_decorators(node))
        ]
        if any(objects) or ast.get_docstring(tree):
            parts += [f"## {module}\n", f"```{{py:module}} {module}\n```\n"]
            parts += [f"{{source}}`{module}`\n"]
            parts += [to_markdown(ast.get_docstring(tree)), *objects]
    return "\n".join(parts)


@cache
def _ours() -> tuple[dict[Path, str], set[str]]:
    """The module of each file, and every name that one of them defines."""
    own = {path: name for name, path in modules().items()}
    return own, {name for path in own for name in definitions(syntax(path))}


def qualified(module: str, path: Path) -> ast.Module:
    """The tree with full names in its annotations, so that each links to its own class."""
    tree = ast.parse(path.read_text(encoding="utf-8"))  # of its own: it is changed
    own, ours = _ours()
    names = {name: f"{module}.{name}" for name in definitions(tree)}
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)):
        for alias in node.names:
            name = alias.asname or alias.name
            if (node.module or "").split(".")[0] in PACKAGES:
                with suppress(NameGone):
                    place = find(f"{node.module}:{alias.name}")
                    names[name] = f"{own.get(place.path)}.{place.name}"
            elif name in ours:  # torch's Tensor is not ours
                names[name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            for inner in ast.walk(annotation) if isinstance(annotation, ast.AST) else ():
                if isinstance(inner, ast.Name):
                    inner.id = names.get(inner.id, inner.id)
    return tree


def _described(node: ast.stmt, options: str, depth: int = 0) -> str:
    """A function, or a class with its public methods, as Sphinx's directives; else nothing."""
    fence = "`" * (5 - depth)
    inside = ""
    if isinstance(node, ast.ClassDef):
        opening = f"class}} {node.name}{_constructor(node)}"
        inside = "\n".join(
            _described(inner, "", depth + 1)
            for name, inner in definitions(node).items()
            if not name.startswith("_")
        )
    elif not isinstance(node, ast.FunctionDef):
        return ""
    elif "property" in _decorators(node):
        opening = f"property}} {node.name}"
    else:
        kind = "method" if depth else "function"
        opening = f"{kind}}} {node.name}{_signature(node.args, node.returns, depth)}"
    doc = to_markdown(ast.get_docstring(node))
    return f"{fence}{{py:{opening}\n{options}\n{doc}\n{inside}\n{fence}\n"


def _decorators(node: ast.AST) -> str:
    return " ".join(ast.unparse(d) for d in getattr(node, "decorator_list", []))


def _signature(arguments: ast.arguments, returns: ast.expr | None, skip: int = 0) -> str:
    """``(query, key, *, temperature: Any) -> Tensor``, without ``self``."""
    first = (arguments.posonlyargs or arguments.args)[:skip]
    text = ast.unparse(arguments)
    if first and first[0].arg in ("self", "cls"):
        text = re.sub(r"^(self|cls)(: [^,]+)?(, /)?(, )?", "", text)
    return f"({text})" + (f" -> {ast.unparse(returns)}" if returns else "")


def _constructor(node: ast.ClassDef) -> str:
    """What the class is called with: its ``__init__``, or its fields."""
    methods = definitions(node)
    if isinstance(methods.get("__init__"), ast.FunctionDef):
        return _signature(methods["__init__"].args, None, 1)
    bases = " ".join(ast.unparse(base) for base in node.bases)
    if "dataclass" in _decorators(node) or "NamedTuple" in bases:
        fields = [f for f in node.body if isinstance(f, ast.AnnAssign)]
        return "(" + ", ".join(ast.unparse(f) for f in fields) + ")"
    return ""


def to_markdown(docstring: str | None) -> str:
    """A docstring as Markdown: ``code`` and indented blocks stay, nothing else is markup."""
    lines: list[str] = []
    for line in (docstring or "").splitlines():
        if line.startswith("    ") and (not lines or not lines[-1].lstrip().startswith("- ")):
            if lines and lines[-1] and not lines[-1].startswith("    "):
                lines.append("")
            lines.append(line)
            continue
        pieces = re.split(r"(``.+?``)", line)
        pieces[::2] = [_prose(piece) for piece in pieces[::2]]
        lines.append("".join(pieces))
    return "\n".join(lines) + "\n"


def _prose(text: str) -> str:
    text = re.sub(r"([\\*<$_\[\]{}`|#])", r"\\\1", text)
    return re.sub(r"^([=-]{2,}\s*)$", r"\\\1", text)
