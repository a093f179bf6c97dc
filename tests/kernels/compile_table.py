"""The kept table: ``compiled.md`` to read, ``compiled.json`` to tell what must be compiled again.

That is the table of the triton which the tests have. Other versions that people run, BY_HAND, have
``compiled_3.6.md`` and so on beside it, written in an environment with that version.

All rows take nine minutes of one core. Therefore each row of ``compiled.json`` has a hash of

- its launch: whatever the machine code depends on, see ``compile_harness.fingerprint``;
- its own numbers, so that a number changed by hand is as good as no row.

A row whose hash agrees is trusted, but for a few that are drawn in every run; the others are
compiled. With another triton, or another ``compile_report.py``, no hash agrees.
"""

import dataclasses
import hashlib
import json
import random
import re
from pathlib import Path

import triton

from tests.kernels.compile_report import Row

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "kernels" / "minissl_kernels"
BY_HAND = ("3.6",)  # torch 2.11 brings it
HEADER = (
    "| launch | kernel | target | warps | stages | registers | spills | shared KB | matrix units "
    "| loads | loops | programs |\n" + "| --- " * 12 + "|"
)
LEGEND = """\
# What the compiler makes of the kernels

Every launch of `tests/kernels/launches_*.py`, forward and backward, compiled without a GPU for
sm_80 (A100), sm_90 (H100, H200) and gfx942 (MI300X). `make kernel-table` writes this file;
`tests/kernels/test_compiled.py` compares it, so that a kernel that got slower shows in a diff.

- registers: of one thread. spills: instructions that move them to memory and back (AMD: registers
  moved).
- matrix units: multiply instructions in the code. loads: bytes of one thread's load x how many
  stand in the code.
- loops: instructions in one round of the longest two innermost loops (of attention: the tiles at an
  edge, which take masks, and the full tiles).
- programs: how many one NVIDIA multiprocessor holds at a time.

The JSON file has the same rows and hashes of the launches. The test compiles the rows whose hash
changed, and a few that it draws; `make kernel-table` compiles all. A version of triton that the
tests do not have writes files of its own: `make kernel-table TABLE_PYTHON=PYTHON`, that of an
environment which has it.
"""


def markdown(row: Row) -> str:
    """The row as a line of ``compiled.md``."""
    cells = [row.launch, row.kernel, row.target]
    if row.error:
        cells += [f"does not compile: {row.error}", *[""] * 8]
    else:
        widths = sorted(row.loads, key=int, reverse=True)
        cells += [row.warps, row.stages, row.registers, row.spills]
        cells += [f"{row.shared / 1024:.1f}"]
        cells += [f"{row.matrix_count} {row.matrix_unit}" if row.matrix_count else "-"]
        cells += [", ".join(f"{width} x {row.loads[width]}" for width in widths) or "-"]
        cells += [", ".join(map(str, row.loops[:2])) or "-", row.programs or "-"]
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def table(rows: list[Row]) -> str:
    """``compiled.md``: sorted, one row a line, so that a diff shows what changed."""
    parts = [LEGEND, version_line()]
    if stem() != "compiled":
        parts.append(sources_line())
    for module in sorted({row.module for row in rows}):
        lines = [markdown(row) for row in rows if row.module == module]
        parts += [f"\n## {module}\n", HEADER, *sorted(lines)]
    return "\n".join(parts) + "\n"


def version_line() -> str:
    """Another triton brings another compiler: its table is not comparable."""
    return f"Compiled by triton {triton.__version__}."


def stem(version: str = triton.__version__) -> str:
    """The name of this version's two files, without .md and .json."""
    by_hand = [short for short in BY_HAND if version.startswith(f"{short}.")]
    return f"compiled_{by_hand[0]}" if by_hand else "compiled"


def sources_line() -> str:
    """What ties a table that the tests cannot compile again to the sources it was compiled from.

    All of their code, without comments, docstrings and white space.
    """
    files = [*KERNELS.rglob("*.py"), *HERE.glob("launches_*.py"), HERE / "compile_report.py"]
    digest = hashlib.sha256()
    for path in sorted(files):
        text = path.read_text(encoding="utf-8")
        digest.update(re.sub(r'"""(.|\n)*?"""|#.*|\s', "", text).encode())
    return f"Sources: {digest.hexdigest()[:20]}."


def as_json(rows: list[Row]) -> str:
    """``compiled.json``: the rows in the order of ``compiled.md``, each on one line."""
    ordered = sorted(rows, key=lambda row: (row.module, markdown(row)))
    return "[\n" + ",\n".join(json.dumps(dataclasses.asdict(row)) for row in ordered) + "\n]\n"


def write(folder: Path, rows: list[Row]) -> None:
    """Both files of the kept table."""
    (folder / f"{stem()}.md").write_text(table(rows), encoding="utf-8")
    (folder / f"{stem()}.json").write_text(as_json(rows), encoding="utf-8")


def read_json(path: Path) -> list[Row]:
    """The rows of a ``compiled.json``; none where there is no such file."""
    if not path.exists():
        return []
    try:
        return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is no list of compiled rows ({error}); `make kernel-table` writes it again"
        ) from error


def sealed(row: Row, launch: str) -> Row:
    """The row with the hash of its launch's fingerprint and its own numbers."""
    numbers = json.dumps(dataclasses.asdict(dataclasses.replace(row, hash="")), sort_keys=True)
    digest = hashlib.sha256(f"{launch} {numbers}".encode()).hexdigest()
    return dataclasses.replace(row, hash=digest[:20])


class Trust:
    """The kept rows that need not be compiled: all whose hash agrees, but for ``draw`` of them."""

    def __init__(self, rows: list[Row] = (), draw: int = 0, seed: int = 0):
        drawn = random.Random(seed).sample(range(len(rows)), min(draw, len(rows)))
        self.drawn = [rows[i] for i in drawn]
        self.rows = [row for i, row in enumerate(rows) if i not in drawn]

    def find(self, found: Row, launch: str) -> Row | None:
        """The kept row of this kernel, launch and target, if it was made of the same code."""
        names = ("module", "launch", "kernel", "target")
        for row in self.rows:
            same = all(getattr(row, name) == getattr(found, name) for name in names)
            if same and not row.error and sealed(row, launch).hash == row.hash:
                return row
        return None
