"""A student's file: find it, load it for one task, and take from it what is checked."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import sys
import traceback
from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from minissl.homework.experiment import Experiment, Handed, files_beside
from minissl.homework.plain import plain, told
from minissl.homework.task import Assignment, Task

_LIBRARY = Path(__file__).resolve().parents[1]  # which has files of these names, too
_OURS = {_LIBRARY, _LIBRARY.parent / "tests"}  # files of these names that are no student's
EXTRAS = {"torch": "torch", "triton": "kernels", "matplotlib": "demo", "sklearn": "demo"}


class NotLoaded(Exception):
    """The file cannot be loaded for this task."""


class NotPython(NotLoaded):
    """Its syntax is wrong: the file cannot be loaded for any task."""


class NotThere(Exception):
    """The task's function is not in the file: this task loses."""


def find_file(assignment: Assignment, place: Path) -> Path:
    """The student's file: ``place`` itself, or the ``hwN.py`` in that folder nearest to its top.

    Raises ValueError if there is none within three folders, or if two are equally near.
    """
    name = f"hw{assignment.number}.py"
    if place.is_file():
        if place.suffix != ".py":
            raise ValueError(f"{place} is not a Python file: give {name} or its folder")
        return place
    for deeper in ("", "*/", "*/*/", "*/*/*/"):
        found = sorted(p for p in place.glob(deeper + name) if not _OURS & {*p.resolve().parents})
        if len(found) > 1:
            raise ValueError(f"which one is meant? {found[0]} or {found[1]}")
        if found:
            return found[0]
    raise ValueError(
        f"there is no {name} in {place.resolve()}: give the folder that "
        f"`minissl homework start {assignment.number}` wrote, or the file"
    )


def missing_packages(task: Task) -> str | None:
    """What to install for this task, None if everything is there."""
    missing = [p for p in task.requires if importlib.util.find_spec(p) is None]
    if not missing:
        return None
    extras = ",".join(sorted({EXTRAS.get(package, package) for package in missing}))
    extras = "kernels" if "triton" in missing else extras  # which has torch as well
    linux = " (on Linux)" if "triton" in missing and sys.platform != "linux" else ""
    return f'{" and ".join(missing)} not installed: pip install "minissl[{extras}]"{linux}'


def subject_of(
    path: Path,
    assignment: Assignment,
    task: Task,
    *,
    use_mine: bool = False,
    only_load: bool = False,
) -> Any:
    """The function or class of one task, from the student's file; all of an experiment's files.

    Every other function of the assignment is the library's, in the file too, unless ``use_mine``.
    ``only_load``: so is the task's own, which shows whether the rest of the file can be loaded.
    Raises NotLoaded or NotThere, with a sentence for the student.
    """
    if isinstance(task, Experiment):
        return _handed_in(path, task)
    module = _load(path, assignment, task, use_mine, only_load)
    if only_load:
        return task.answer()
    subject = vars(module).get(task.name)
    if subject is None:
        raise NotThere(f"{path.name} does not define {task.name}")
    answer = task.answer()
    if subject is answer:
        raise NotThere(f"{task.name} is the library's own: write it in {path.name}")
    if task.method is None:
        return subject
    if vars(subject).get(task.method) is None:
        raise NotThere(f"{path.name}: the class {task.name} does not define {task.method}")
    others = [t.method for t in assignment.tasks if t.name == task.name and t is not task]
    if use_mine:
        return subject
    kept = {name: vars(answer)[name] for name in others if name is not None}
    return type(task.name, (subject,), kept) if kept else subject


def _handed_in(path: Path, task: Experiment) -> Handed:
    """What lies beside ``hwN.py``: a file of another name may stand among other students' files."""
    own, hw = task.file_of(path), f"hw{task.number.partition('.')[0]}.py"
    if path.name != hw:
        raise NotThere(f"an experiment is handed in as a folder with {hw} and {own.name} in it")
    if not own.is_file():
        raise NotThere(f"there is no {own.name} beside {hw}")
    module = _execute(own, task.stem, {})
    return Handed(vars(module), files_beside(path))


def failed_imports(task: Task) -> list[str]:
    """What the imports said that failed when the file was loaded for this task."""
    found: list[str] = getattr(sys.modules.get(task.stem), "failed_imports", [])
    return found


def _load(
    path: Path, assignment: Assignment, task: Task, use_mine: bool, only_load: bool
) -> ModuleType:
    """The file as a module in which all other tasks' functions are the library's."""
    others = [t for t in assignment.tasks if t.name != task.name or only_load]
    replaced = {t.name: t for t in others if not use_mine or missing_packages(t)}
    answers = {
        name: t.answer() for name, t in replaced.items() if set(t.requires) <= set(task.requires)
    }
    return _execute(path, task.stem, answers, replaced)


def _execute(
    path: Path, name: str, answers: Mapping[str, Any], replaced: Collection[str] = ()
) -> ModuleType:
    """The file as a module of that name in which ``answers`` stand for what is ``replaced``."""
    loader = _Loader(name, path, replaced)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    vars(module).update(answers, failed_imports=[])
    sys.modules[name] = module  # where dataclasses and Triton look for it
    shown = plain(path.name, 100)
    try:
        code = loader.get_code(name)
    except SyntaxError as error:
        raise NotPython(f"{shown}, line {error.lineno}: {plain(error.msg)}") from error
    except (ValueError, MemoryError, RecursionError) as error:  # a zero byte, or far too deep
        raise NotPython(f"{shown}: {told(error)}") from error
    try:
        exec(code, vars(module))
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        where = f", line {lines[-1]}" if lines else ""
        what = "exit()" if issubclass(type(error), SystemExit) else told(error)
        raise NotLoaded(f"{shown}{where}: {what}") from error
    vars(module).update(answers)  # also over what the file made of these names in another way
    return module


class _Loader(importlib.machinery.SourceFileLoader):
    """Leaves out the definitions that are replaced, so that their decorators do not run either, and
    lets an import fail: only the tasks that need it suffer, by a NameError.
    """

    def __init__(self, name: str, path: Path, replaced: Collection[str]):
        super().__init__(name, str(path))
        self.replaced = replaced

    def get_code(self, fullname: str) -> Any:
        """Always from the source: a cached compilation holds all definitions."""
        source = self.get_data(self.path)
        tree = ast.parse(source, self.path)  # all lines keep their numbers
        tree.body = [_tolerant(s) for s in tree.body if getattr(s, "name", "") not in self.replaced]
        return compile(tree, self.path, "exec", dont_inherit=True)


def _tolerant(statement: ast.stmt) -> ast.stmt:
    """An import that may fail, for an import; other statements as they are."""
    future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
    if future or not isinstance(statement, ast.Import | ast.ImportFrom):
        return statement
    template = "try: pass\nexcept ImportError as error: failed_imports.append(str(error))"
    attempt = ast.parse(template).body[0]
    assert isinstance(attempt, ast.Try)
    for node in ast.walk(attempt):
        if hasattr(node, "lineno"):
            ast.copy_location(node, statement)
    attempt.body = [statement]
    return attempt
