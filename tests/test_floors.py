"""The house: imports only point down, heavy packages wait until they are needed."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "minissl"
# From below. What stands on one floor may see each other.
FLOORS = [
    {
        "durable",
        "reading",
        "tensors",
        "registry",
        "options",
        "conditions",
        "page",
        "places",
        "course",
        "palette",
    },
    {"autograd"},
    {"nn", "optim", "interop"},
    {"losses", "text", "vision"},
    {"data", "models"},
    {"training"},
    {"pretrain", "adapt", "forms"},
    {"figures", "claims", "homework", "demo", "report"},
    {"cli"},
    {"__init__", "__main__"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file):
    """The modules of minissl that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minissl."):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("minissl."))


def test_every_room_has_a_floor():
    assert {room(file) for file in FILES} == FLOOR.keys()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_down(file):
    own = FLOOR[room(file)]
    above = {m for m in imported(file) if FLOOR.get(m.split(".")[1], 0) > own}
    assert not above


def test_no_circle_in_training_and_above():
    """The circle around ``autograd/tensor.py`` is one import at its end; there is no other."""
    rooms = ("data", "models", "training", "pretrain", "adapt", "forms", "cli", "text", "losses")
    names = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in FILES
        if room(file) in rooms
    }

    def at_the_top(file):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module:
                inside = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from [m for m in inside if m in names] or [node.module]

    arrows = {name: {m for m in at_the_top(file) if m in names} for name, file in names.items()}
    while free := [name for name, targets in arrows.items() if not targets - {name}]:
        for name in free:
            del arrows[name]
        arrows = {name: targets & arrows.keys() for name, targets in arrows.items()}
    assert not arrows


HEAVY = ("torch", "matplotlib", "sklearn", "scipy", "PIL", "triton")


@pytest.mark.parametrize(
    "statement",
    [
        "import minissl",
        "from minissl.pretrain import *; from minissl import pretrain as p; "
        "[p.load_method(n) for n in p.method_names()]",
        "import minissl.cli as c; [c.parser_of(n, []) for n in c.command_names()]; "
        "from minissl.pretrain import method_names; "
        "[c.parser_of('pretrain', [n]).format_help() for n in method_names()]",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(statement):
    program = f"import sys, json; {statement}; print(json.dumps([*sys.modules]))"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True, cwd=ROOT
    ).stdout
    assert not {*HEAVY} & {*json.loads(output)}


def test_the_library_does_without_its_tests():
    """Nothing that is installed needs ``tests``: the planted answers of the homework stay there."""
    for file in FILES:
        tree = [*ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
        names = [node.module or "" for node in tree if isinstance(node, ast.ImportFrom)]
        names += [a.name for node in tree if isinstance(node, ast.Import) for a in node.names]
        assert "tests" not in {name.split(".")[0] for name in names}, file
    assert not [*PACKAGE.rglob("*planted*")]


def test_files_and_functions_stay_small():
    """What AGENTS.md asks of the library: files below 400 lines, functions below 40 of code."""
    for file in FILES:
        lines = file.read_text(encoding="utf-8").splitlines()
        assert len(lines) < 400, file


def test_no_command_names_a_method():
    from minissl.pretrain import METHODS, load_method, method_names

    words = {n: load_method(n).__name__ for n in method_names()}
    for file in sorted((PACKAGE / "cli").glob("*.py")):
        if file.name in ("demo.py", "__init__.py"):
            continue  # the demo is about two of them; the list of examples shows some
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert not names & ({*words} | {*words.values()}), file
        modules = {f"minissl.pretrain.{METHODS.family(n)}" for n in words}
        assert not [m for m in imported(file) if m.startswith(tuple(modules))], file
