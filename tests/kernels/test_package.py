"""The kernels as a package: beside Hugging Face's ``kernels``, and apart from ``minissl``."""

import ast
import os
import sys
from pathlib import Path

import pytest

from tests.kernels.child import ROOT, run

FOLDER = ROOT / "kernels"
ALLOWED = {"numpy", "torch", "triton"}


def test_the_other_package_named_kernels_wins(tmp_path):
    """From the project's root, which Python searches first: a folder without __init__.py loses.

    ``transformers`` imports the other one when it loads a model, if it is installed.
    """
    other = tmp_path / "kernels"
    other.mkdir()
    (other / "__init__.py").write_text('NAME = "other"\n', encoding="utf-8")
    code = """
        import kernels, minissl_kernels
        print(kernels.NAME, kernels.__file__, minissl_kernels.__file__)
        """
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    name, found, ours = run(code, PYTHONPATH=path).split()
    assert name == "other"
    assert Path(found).is_relative_to(tmp_path)
    assert Path(ours) == FOLDER / "minissl_kernels" / "__init__.py"


def test_the_folder_is_no_package():
    assert not (FOLDER / "__init__.py").exists()
    assert [p.name for p in FOLDER.glob("*.py")] == []


def test_minissl_alone_needs_no_torch():
    code = """
        import sys
        import minissl
        print(*sorted({name.split(".")[0] for name in sys.modules}))
        """
    loaded = set(run(code).split())
    assert "minissl" in loaded
    assert not loaded & {"torch", "triton", "minissl_kernels"}


def imported(file):
    """The names of the packages that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


FILES = sorted(FOLDER.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_imports(file):
    """NumPy, torch and triton, nothing of minissl: a practitioner may copy the folder."""
    foreign = set(imported(file)) - ALLOWED - set(sys.stdlib_module_names) - {"minissl_kernels"}
    assert foreign == set()
