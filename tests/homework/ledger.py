"""Which checks homeworks have, in ``checks.json``: ``python -m tests.homework.ledger`` writes it.

A student may meet a changed check in the middle of a term, so ``CHANGELOG.md`` names every one. A
check is the syntax tree of its function and of all that it uses below ``minissl/homework``, without
docstrings, comments and form, with its points and what the task allows. What many tasks share
(``expect``, the guard) is one row.
"""

import ast
import hashlib
import json
import re
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

from minissl.homework.assignments import assignment_numbers, load_assignment

ROOT = Path(__file__).parent.parent.parent
LEDGER = Path(__file__).with_name("checks.json")
CHANGELOG = ROOT / "CHANGELOG.md"
ASSIGNMENTS = "minissl.homework.assignments"
SHARED = "what tasks share"
TOLD = "what CHANGELOG.md said when this was written"
GUARDS = ("minissl.homework.guard", "minissl.homework.allowed", "minissl.homework.outcome")
WHAT_TO_DO = (
    'say in a new line of CHANGELOG.md, under "Unreleased", what changes for a student, with the '
    f'number of the task ("every check" for {SHARED}), then: python -m tests.homework.ledger'
)


def plain(node):
    """A tree as lists of values: the same in every version of Python, without docstrings."""
    if isinstance(node, ast.AST):
        fields = {name: plain(value) for name, value in ast.iter_fields(node) if name != "kind"}
        return [type(node).__name__, *([n, v] for n, v in fields.items() if v not in (None, []))]
    if isinstance(node, list):
        return [plain(part) for part in node if not is_text(part)]
    return repr(node)


def is_text(node):
    """A statement that is a string only: a docstring."""
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


@cache
def source(module):
    """What a module defines, by name: a tree, or from which module of ours it was imported."""
    tree = ast.parse(Path(import_module(module).__file__).read_text(encoding="utf-8"))
    names = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "minissl.homework"
        ):
            names |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for part in ast.walk(node):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    names[part.id] = node
    return tree, names


@cache
def used(module, name):
    """The places (module, name) that a definition uses, itself included, in any order."""
    found, waiting = set(), [(module, name)]
    while waiting:
        place = module, name = waiting.pop()
        names = source(module)[1]
        node = names.get(name)
        if place in found or node is None:
            continue
        if isinstance(node, tuple):
            waiting.append(node)
            continue
        found.add(place)
        if not is_task(module, name):
            inside = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            waiting += [(module, other) for other in inside]
    return frozenset(found)


def is_task(module, name):
    """Whether a name is a task: what matters of it has a row of its own."""
    return type(getattr(import_module(module), name, None)).__name__ in ("Task", "Experiment")


def digest(content):
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


@cache
def of_place(module, name):
    """The digest of one definition; of a task "", which has a row of its own."""
    return "" if is_task(module, name) else digest(plain(source(module)[1][name]))


def of_places(places):
    """One digest for several definitions."""
    return digest([[*place, of_place(*place)] for place in sorted(places)])


def places_of(task, check):
    """What a check uses, wherever it lies."""
    module, name = check.run.__module__, check.run.__qualname__.split(".")[0]
    places = set(used(module, name))
    if name != check.name:  # one that experiments have in common, with arguments of the task's own
        own = sys.modules[type(task).__module__]
        for where in {c.run.__module__ for c in task.checks if c.run.__module__ != own.__name__}:
            for variable in (n for n, value in vars(import_module(where)).items() if value is task):
                for node in source(where)[0].body:
                    inside = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
                    if isinstance(node, ast.Expr) and variable in inside:
                        places |= {place for other in inside for place in used(where, other)}
    return places


def ledger():
    """The rows as they are now: of every task its checks with points and digest."""
    rows, shared = {}, set()
    for number in assignment_numbers():
        for task in load_assignment(number).parts:
            rows[task.number] = row = {"task": digest(
                [task.target, task.seconds, task.requires, task.allows, task.hides]
            )}  # fmt: skip
            for check in task.checks:
                places = places_of(task, check)
                own = {place for place in places if place[0].startswith(ASSIGNMENTS)}
                row[check.name] = f"{check.points}: {of_places(own)}"
                shared |= places - own
    for module in GUARDS:
        shared |= {(module, n) for n, v in source(module)[1].items() if not isinstance(v, tuple)}
    return {SHARED: {"": of_places(shared)}, **rows}


def changes(before, now):
    """One line for each row that differs: which task, which of its checks."""
    lines = {}
    for number in (n for n in dict.fromkeys([*before, *now]) if n != TOLD):
        old, new = before.get(number, {}), now.get(number, {})
        names = [n for n in dict.fromkeys([*old, *new]) if old.get(n) != new.get(n)]
        if names:
            lines[number] = f"{number}: {', '.join(names)}".removesuffix(": ")
    return lines


def unreleased():
    """What CHANGELOG.md says of the version to come."""
    return CHANGELOG.read_text(encoding="utf-8").split("\n## ")[1]


def said(number, text, new=False):
    """The lines that name a task, or every check, or the homework that a new task is of."""
    words = ["every check", rf"(?<![\d.]){re.escape(number)}(?!\d|\.\d)"]
    words += [rf"homework {number.partition('.')[0]}\b"] * new
    return [line for line in text.splitlines() if re.search("|".join(words), line, re.IGNORECASE)]


def write():
    """Write the ledger, if the changelog names what has changed in it; else say what to do."""
    before = json.loads(LEDGER.read_text(encoding="utf-8")) if LEDGER.exists() else None
    now, text = ledger(), unreleased()
    found = {} if before is None else changes(before, now)
    lines = {number: said(number, text, number not in before) for number in found}
    told = {} if before is None else before.get(TOLD, {})  # lines of earlier changes are not enough
    silent = [found[n] for n in found if not lines[n] or digest(lines[n]) == told.get(n)]
    if silent:
        return f"not written. Changed, and not named: {'; '.join(silent)}. First {WHAT_TO_DO}"
    named = {number: digest(kept) for number in now if (kept := said(number, text))}
    written = {**now, TOLD: named}
    LEDGER.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8", newline="\n")
    print(f"changed rows of {LEDGER.name}: {'; '.join(found.values()) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(write())
