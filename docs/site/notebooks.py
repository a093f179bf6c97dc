"""From ``notebooks/NN_title.py`` to Jupyter: ``make notebooks`` converts, the site executes.

Each ``.ipynb`` beside its source has no outputs and is the same bytes at every conversion. An
executed one is kept in ``build/notebooks`` under a hash of its source and of the library, so that
the tests and the site share one run.
"""

import hashlib
import re
import sys
import tempfile
import time
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

    notebook = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # nbformat draws a random one
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def executed(source: Path, kept: Path = KEPT) -> Path:
    """The executed notebook of ``source``: the kept one, or it is run now.

    Processes that ask for the same one wait for the first. Raises NotebookFailed.
    """
    from filelock import FileLock

    digest = hashlib.sha256(source.read_bytes() + library_digest())
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

    Returns it with its outputs, as JSON; ``metadata.minissl.seconds`` is the time it took.
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
    notebook.metadata["minissl"] = {"seconds": seconds}
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
    found = {source.with_suffix(".ipynb"): source for source in sources()}
    for path in sorted(FOLDER.glob("*.ipynb")):
        if path not in found:
            path.unlink()
            print(f"deleted {path.relative_to(ROOT)}: it has no source")
    for path, source in found.items():
        text = convert(source)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            replace_durably(path, text.encode())
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
