"""From the library's source to a student's file: signatures and docstrings without the bodies.

Everything is read from the source text, nothing is imported, so that a file for kernels can be
written where Triton is not installed.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import sys
import textwrap
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from minissl.homework.experiment import Experiment
from minissl.homework.task import Assignment, Task

_OURS = ("minissl", "minissl_kernels")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Import(NamedTuple):
    """What binds a name: ``from module import name``; ``name`` is None for ``import module``."""

    module: str
    name: str | None
    bound: str  # under which name


class Module(NamedTuple):
    """A source file: its lines, its tree, and what its module-level names are."""

    lines: list[str]
    tree: ast.Module
    bindings: dict[str, Import]


def student_file(assignment: Assignment, solved: Collection[str] = ()) -> str:
    """The text of ``hwN.py``; the tasks with the numbers in ``solved`` keep their bodies."""
    pieces, imports = [], set()
    for task in assignment.tasks:
        imports |= imports_of(assignment, task, task.number in solved)
        if task.method is None:
            pieces.append(_heading(task) + _text(task, task.number in solved))
        elif task is (methods := _same_class(assignment, task))[0]:
            base = f"Library{task.name}"
            imports.add(Import(task.module, task.name, base))
            bodies = [_heading(t, 4) + _text(t, t.number in solved) for t in methods]
            pieces.append(f"class {task.name}({base}):\n" + "\n".join(bodies))
    head = [_opening(assignment), *import_lines(imports), ""]
    return "\n".join(head) + ("" if pieces[0][0] == "#" else "\n") + "\n" + "\n\n".join(pieces)


def experiment_file(experiment: Experiment, solved: bool = False) -> str:
    """The text of ``experiment.py``: our own, without the bodies of what is to be written."""
    lines = list(read(experiment.module).lines)
    names = () if solved else experiment.writes
    nodes = [find(f"{experiment.module}:{name}")[1] for name in names]
    for node in sorted(nodes, key=lambda node: -node.lineno):
        docstring = node.body[0]
        unwritten = f'raise NotImplementedError("{experiment.unwritten}")'
        lines[docstring.end_lineno : node.end_lineno] = [" " * docstring.col_offset + unwritten]
    return "\n".join(lines) + "\n"


def _opening(assignment: Assignment) -> str:
    number = assignment.number
    hidden = [task.name for task in assignment.tasks if hasattr(builtins, task.name)]
    note = "".join(
        f"\nThis file defines {name}, which hides Python's own {name} in all of it.\n"
        for name in hidden
    )
    return (
        f'"""Homework {number}: {assignment.title}.\n\n'
        f"Write the bodies; HW{number}.md says what each is for. Then:\n\n"
        f"    python -m minissl homework check {number}\n"
        f"    python -m minissl homework check {number} --task {assignment.tasks[0].number}\n"
        f'{note}"""\n'
    )


def _heading(task: Task, indent: int = 0) -> str:
    line = f"# ---- {task.number} {task.title} ({task.points} points; {task.lecture}) ".ljust(
        99 - indent, "-"
    )
    return f"{' ' * indent}{line}\n\n" + ("" if indent else "\n")


def _same_class(assignment: Assignment, task: Task) -> list[Task]:
    return [t for t in assignment.tasks if t.name == task.name and t.module == task.module]


def _text(task: Task, solved: bool) -> str:
    """Decorators, signature and docstring, then the original body or that it is to be written."""
    module, node = find(task.target)
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    end = node.end_lineno or first
    if not solved:
        docstring = node.body[0]
        if ast.get_docstring(node) is None or docstring.end_lineno is None:
            raise ValueError(f"{task.target} has no docstring to say what a student should write")
        end = docstring.end_lineno
    lines = module.lines[first - 1 : end]
    if not solved:
        indent = " " * node.body[0].col_offset
        imports = (n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom))
        local = (n for n in imports if not {alias.name for alias in n.names} <= {*task.hides})
        lines += [f"{indent}{ast.unparse(statement)}" for statement in local]
        lines.append(f'{indent}raise NotImplementedError("{task.unwritten}")')
    return "\n".join(lines) + "\n"


def find(target: str) -> tuple[Module, Definition]:
    """The function or method of a target ("module:Class.method") in its source.

    Raises ValueError when it is not there.
    """
    module = read(target.split(":")[0])
    node: ast.AST = module.tree
    for name in target.split(":")[1].split("."):
        body = getattr(node, "body", [])
        found = [n for n in body if isinstance(n, Definition) and n.name == name]
        if not found:
            raise ValueError(f"{target}: there is no {name} in the source")
        node = found[-1]
    assert isinstance(node, Definition)
    return module, node


@cache
def read(name: str) -> Module:
    """The source of a module, by its name."""
    package, *inside = name.split(".")
    spec = importlib.util.find_spec(package)  # of a submodule, it would import its packages
    folders = (spec and spec.submodule_search_locations) or []
    places = [Path(folder, *inside) for folder in folders]
    files = [f for place in places for f in (place.with_suffix(".py"), place / "__init__.py")]
    found = [file for file in files if file.is_file()]
    if not found:
        raise ValueError(f"there is no module {name}")
    text = found[0].read_text(encoding="utf-8")
    tree = ast.parse(text)
    return Module(text.splitlines(), tree, {b.bound: b for b in _bindings(tree.body, name)})


def _bindings(body: list[ast.stmt], module: str) -> Iterator[Import]:
    """What the statements at the top of a module bind."""
    for statement in body:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                bound = alias.asname or alias.name.split(".")[0]
                yield Import(alias.name, None, bound)
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                yield Import(statement.module or "", alias.name, alias.asname or alias.name)
        elif isinstance(statement, Definition):
            yield Import(module, statement.name, statement.name)
        elif isinstance(statement, ast.If | ast.Try):  # if TYPE_CHECKING
            yield from _bindings(statement.body, module)
        else:
            targets = [n for n in ast.walk(statement) if isinstance(n, ast.Name)]
            stored = (n.id for n in targets if isinstance(n.ctx, ast.Store))
            yield from (Import(module, name, name) for name in stored)


def imports_of(assignment: Assignment, task: Task, solved: bool) -> set[Import]:
    """What the function uses of its module, but for other tasks, which are in the file."""
    written = {t.name for t in assignment.tasks}
    found = set()
    for binding in used_by(task.target):
        if not solved and binding.bound in task.hides:
            continue
        if binding.module.split(".")[0] in _OURS and binding.name in written:
            continue
        found.add(binding)
    found |= {*named_in(task.allows)}
    if "annotations" in find(task.target)[0].bindings:
        found.add(Import("__future__", "annotations", "annotations"))
    return found


def named_in(allows: Collection[str]) -> Iterator[Import]:
    """Those of a task's patterns that are one function's name, "module:function"."""
    for pattern in allows:
        module, _, name = pattern.partition(":")
        if name.isidentifier() and "*" not in module and pattern[:1] != "!":
            yield Import(module, name, name)


def used_by(target: str) -> set[Import]:
    """The names of its module that a function uses, and where they come from."""
    module, node = find(target)
    nodes = list(ast.walk(node))
    names = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    local = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    local |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    return {module.bindings[name] for name in names - local if name in module.bindings}


def import_lines(imports: set[Import]) -> list[str]:
    """The statements, sorted and grouped as ruff sorts them. ValueError if two bind one name."""
    bound: dict[str, Import] = {}
    for entry in imports:
        other = bound.setdefault(entry.bound, entry)
        if other != entry:
            raise ValueError(f"two tasks mean different things by {entry.bound}: {other}, {entry}")
    sections: list[list[str]] = [[], [], [], []]
    for module in sorted({entry.module for entry in imports}, key=str.lower):
        entries = [entry for entry in imports if entry.module == module]
        section = sections[_section(module)]
        section += [_plain_import(entry) for entry in entries if entry.name is None]
        names = sorted((e for e in entries if e.name is not None), key=_member_order)
        if names:
            section.append(_from_import(module, names))
    ordered = [sorted(section, key=lambda line: line.startswith("from")) for section in sections]
    lines: list[str] = []
    for section in filter(None, ordered):
        lines += [""] * bool(lines) + section
    return lines


def _section(module: str) -> int:
    root = module.split(".")[0]
    if root == "__future__":
        return 0
    if root in sys.stdlib_module_names:
        return 1
    return 3 if root in _OURS else 2


def _plain_import(entry: Import) -> str:
    renamed = entry.bound != entry.module.split(".")[0]
    return f"import {entry.module}" + (f" as {entry.bound}" if renamed else "")


def _member_order(entry: Import) -> tuple[int, str]:
    name = entry.name or ""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    return kind, name


def _from_import(module: str, entries: list[Import]) -> str:
    names = [entry.name or "" for entry in entries if entry.bound == entry.name]
    lines = [
        f"from {module} import {entry.name} as {entry.bound}"
        for entry in entries
        if entry.bound != entry.name
    ]
    line = f"from {module} import {', '.join(names)}"
    if len(line) > 100:
        line = f"from {module} import (\n" + textwrap.indent(",\n".join(names), "    ") + ",\n)"
    return "\n".join(sorted([*lines, line] if names else lines))
