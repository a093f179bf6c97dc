"""What a task allows a student to call, for the guard that watches and for the handout that tells.

Both come from one place: what the starter imports for the task, what the library's own body reads
of the objects it is given, and the task's ``allows``.
"""

from __future__ import annotations

import ast
import copy
from functools import cache

from minissl.homework.experiment import Experiment
from minissl.homework.guard import ENGINE, PACKAGES
from minissl.homework.source import Import, find, named_in, used_by
from minissl.homework.task import Task

_SAID = {"triton*": "the language of Triton"}  # patterns that are no names


def allowed_calls(task: Task) -> tuple[str, ...]:
    """The patterns of the calls that a task allows; an experiment may use whatever helps."""
    if isinstance(task, Experiment):
        return ("*",)
    return (*_of_the_body(task.target, task.hides), *task.allows)


@cache
def _of_the_body(target: str, hides: tuple[str, ...]) -> tuple[str, ...]:
    """Functions and classes that the library's body uses, and the attributes that it reads."""
    _, node = find(target)
    owner = target.split(":")[1].split(".")[0]
    names = [entry.name for entry in _imported(target, hides) if entry.name not in (None, "Tensor")]
    if "." in target.split(":")[1]:
        names.append(owner)  # the student's class inherits from it
    read_here = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)} - {*hides}
    patterns = [p for name in names for p in (name, f"{name}.*")]
    return tuple(sorted({*patterns, *read_here, *(f"*.{name}" for name in read_here)}))


def _imported(target: str, hides: tuple[str, ...]) -> list[Import]:
    return [
        entry
        for entry in used_by(target)
        if entry.module.split(".")[0] in PACKAGES and entry.name not in hides
    ]


def what_is_allowed(task: Task, written: frozenset[str]) -> str:
    """A sentence for the handout. ``written``: what the student writes and nobody imports."""
    names = [e for e in sorted(_imported(task.target, task.hides)) if e.bound not in written]
    own = [text for entry in names if (text := _described(entry))]
    given = [*named_in(task.allows)]
    own += [_described(entry) for entry in given]
    single = {f"{entry.module}:{entry.name}" for entry in given}
    more = [p for p in task.allows if p not in {*ENGINE, *single} and p[:1] != "!"]
    if {*ENGINE} <= {*task.allows}:
        own.append("the operators and methods of `Tensor`, `minissl.autograd.operations`")
    own += [_SAID.get(pattern, f"`{pattern.replace(':', '.')}`") for pattern in more]
    denied = [p[1:].replace(":", ".") for p in task.allows if p[:1] == "!"]
    taken_back = [f"`{name}`" for name in denied if "[" not in name]
    text = f"**You may use** {', '.join(['NumPy', 'the standard library', *own])}"
    return text + (f"; but not {', '.join(taken_back)}." if taken_back else ".")


def _described(entry: Import) -> str:
    """A function with its signature, a class or a constant by its name."""
    if entry.name is None:
        return ""
    try:
        _, node = find(f"{entry.module}:{entry.name}")
    except ValueError:  # a constant, or another module
        constant = entry.name.isupper() or entry.name[:1].isupper() or entry.name[:1] == "_"
        return f"`{entry.bound}`" if constant else ""
    if isinstance(node, ast.ClassDef):
        return f"`{entry.bound}`"
    parameters = copy.deepcopy(node.args)
    for argument in ast.walk(parameters):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return f"`{entry.bound}({ast.unparse(parameters)})`"
