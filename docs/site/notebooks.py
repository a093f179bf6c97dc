"""From ``notebooks/NN_title.py`` to Jupyter: ``make notebooks`` converts, the site executes.

Each ``.ipynb`` beside its source has no outputs and is the same bytes at every conversion; its
first code cell installs the library where it is not (Colab). An executed one is kept in
``build/notebooks`` under a hash of its source and of the library, so that the tests and the site
share one run. ``make notebooks EXECUTED=1`` writes those that a code host shows with their outputs,
``notebooks/executed``.
"""

import argparse
import hashlib
import re
import sys
import tempfile
import time
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from docs.site.python_source import ROOT
from minissl.durable import replace_durably
from minissl.places import PACKAGES

FOLDER = ROOT / "notebooks"
KEPT = ROOT / "build" / "notebooks"
SECONDS = 120  # what a notebook may take
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TRITON_INTERPRET": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
INSTALL = """\
# Where minissl is installed this does nothing. A hosted notebook (Colab) gets it from a wheel here.
import importlib.util

if importlib.util.find_spec("minissl") is None:
    import glob
    import os
    import subprocess
    import sys

    wheels = sorted(glob.glob("./minissl-*.whl"), key=os.path.getmtime)
    if not wheels:
        raise ModuleNotFoundError(
            "minissl is not installed, and no minissl-*.whl lies in this notebook's folder. In a "
            "checkout of the course 'pip wheel . --no-deps' makes one: upload it, run this again."
        )
    command = [sys.executable, "-m", "pip", "install", "-q", f"{wheels[-1]}[EXTRAS]"]
    subprocess.run(command, check=True)
    importlib.invalidate_caches()"""


class NotebookFailed(RuntimeError):
    """A cell raised, hung, or killed its kernel; the message shows the cell and the exception."""


def sources(folder: Path = FOLDER) -> list[Path]:
    """The notebooks of the course, in the order of the lectures."""
    return sorted(folder.glob("[0-9][0-9]_*.py"))


def convert(source: Path) -> str:
    """The notebook of a percent-format file as JSON, without outputs."""
    import nbformat

    return nbformat.writes(_notebook(source)) + "\n"


def _notebook(source: Path) -> Any:
    import jupytext

    text = source.read_text(encoding="utf-8")
    notebook = jupytext.reads(text, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # nbformat draws a random one
    notebook.cells.insert(notebook.cells[0].cell_type == "markdown", _install(text))
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def _install(text: str) -> Any:
    """The first code cell: minissl from a wheel, with the extras that a notebook's imports need."""
    import nbformat

    extras = "demo,kernels" if re.search(r"^ *(import|from) (torch|triton)", text, re.M) else "demo"
    cell = nbformat.v4.new_code_cell(INSTALL.replace("EXTRAS", extras), id="install")
    cell.metadata["tags"] = ["remove-cell"]  # from the page of the site
    return cell


def executed(source: Path, kept: Path = KEPT) -> Path:
    """The executed notebook of ``source``: the kept one, or it is run now.

    Processes that ask for the same one wait for the first. Raises NotebookFailed.
    """
    from filelock import FileLock

    digest = hashlib.sha256(convert(source).encode() + library_digest())
    path = kept / f"{source.stem}-{digest.hexdigest()[:16]}.ipynb"
    kept.mkdir(parents=True, exist_ok=True)
    with FileLock(kept / f".{source.stem}.lock"):
        if not path.is_file():
            text = run(source)
            for old in kept.glob(f"{source.stem}-*.ipynb"):
                old.unlink()
            replace_durably(path, text.encode())
    return path


@cache
def library_digest() -> bytes:
    """A hash of the library and the kernels: what a notebook's outputs depend on."""
    digest = hashlib.sha256(sys.version.encode())
    for folder in PACKAGES.values():
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.digest()


def run(source: Path) -> str:
    """Execute a notebook in a kernel and a folder of its own, with one BLAS thread.

    Returns it with its outputs, as JSON; ``metadata.minissl`` has the seconds that it took, and the
    date.
    """
    import os

    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError

    notebook = _notebook(source)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            record_timing=False,
            extra_arguments=["--IPKernelApp.log_level=40"],  # it warns of its own transport
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute(env={**os.environ, **ENVIRONMENT})
        except (CellControlSignal, CellExecutionError, DeadKernelError, TimeoutError) as error:
            raise NotebookFailed(_failure(source, notebook, error)) from None
    seconds = round(time.perf_counter() - started, 1)
    notebook.metadata["minissl"] = {"seconds": seconds, "date": date.today().isoformat()}
    return nbformat.writes(notebook) + "\n"


def _failure(source: Path, notebook: Any, error: Exception) -> str:
    """Which cell, its source, and what was raised."""
    started = [c for c in notebook.cells if c.cell_type == "code" and c.execution_count]
    raised = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "error"
    ]
    bad = [c for c in notebook.cells if raised and raised[0] in c.get("outputs", ())] or started
    what = "\n".join(raised[0].traceback) if raised else f"{type(error).__name__}: {error}"
    cell = f" in this cell:\n\n{bad[-1].source}\n" if bad else ":\n"
    return f"{source.name} failed{cell}\n" + re.sub(r"\x1b\[[0-9;]*m", "", what)


def main() -> None:
    """Rewrite the ``.ipynb`` of every source; delete those whose source is gone."""
    from docs.site import published

    parser = argparse.ArgumentParser(prog="python -m docs.site.notebooks", description=main.__doc__)
    parser.add_argument(
        "--executed", action="store_true", help="also run them, and write those with outputs"
    )
    shown = parser.parse_args().executed
    found = {source.with_suffix(".ipynb"): source for source in sources()}
    for path, source in found.items():
        _write(path, convert(source))
        copy = published.FOLDER / path.name
        if shown and not published.same(text := published.publish(executed(source)), copy):
            _write(copy, text)
    for folder in (FOLDER, published.FOLDER):
        for path in sorted(folder.glob("*.ipynb")):
            if FOLDER / path.name not in found:
                path.unlink()
                print(f"deleted {path.relative_to(ROOT)}: it has no source")


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        replace_durably(path, text.encode())
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
