"""Under which conditions something was measured, and a table of what came out."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def environment(packages: Sequence[str] = ()) -> dict[str, Any]:
    """The machine, Python, and the versions of the packages that were measured."""
    versions = {}
    for package in ("numpy", *packages):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    threads = {name: os.environ[name] for name in sorted(os.environ) if name.endswith("_THREADS")}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": versions,
        "thread_variables": threads,
    }


def require_packages(who: str, *packages: str) -> None:
    """Import them now: before long work, not at its end.

    ``who``: needs them, in words. Raises ImportError that says what to install.
    """
    for package in packages:
        try:
            import_module(package)
        except ImportError as error:
            raise ImportError(
                f"{who} needs {package}, which cannot be imported ({error}): "
                'pip install "minissl[demo]"'
            ) from error


def markdown_table(rows: Sequence[Mapping[str, object]]) -> str:
    """The rows as Markdown; all have the same keys, the heads of the columns."""
    cells = [[*rows[0]], *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def processor() -> str:
    """The processor by its name, or by what the system calls it where /proc does not say."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown processor"
