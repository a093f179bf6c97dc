"""The tables as Markdown and JSON, on disk after every row: a run cut off keeps its rows."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import torch

from benchmarks import common
from benchmarks.kernels.measure import OURS
from minissl import conditions as machine
from minissl.reading import read_json

HERE = Path(__file__).parent
PACKAGES = ("torch", "triton", "liger-kernel", "cut-cross-entropy")


def environment() -> dict[str, Any]:
    """The machine, all versions and the commit; the GPU and its driver, where there is one."""
    described = machine.environment(PACKAGES)
    described["commit"] = answer("git", "-C", str(HERE), "describe", "--always", "--dirty")
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        described["gpu"] = {
            "name": properties.name,
            "memory_gigabytes": round(properties.total_memory / 1e9, 1),
            "multiprocessors": properties.multi_processor_count,
            "driver": driver_version(),
            "runtime": f"CUDA {torch.version.cuda}" if torch.version.cuda else torch.version.hip,
        }
    return described


def driver_version() -> str:
    """As nvidia-smi says it, whose library torch asks."""
    return answer("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")


def answer(*command: str) -> str:
    """The first line that a program prints; "unknown" where there is no such program, or none."""
    try:
        said = subprocess.run(
            command, capture_output=True, encoding="utf-8", check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return said.stdout.split("\n")[0].strip() or "unknown"


class Record:
    """One file for a GPU; a table that is measured again replaces the old one, with its date."""

    def __init__(self, command: str, run: str, folder: Path | None, what: str = "kernels") -> None:
        """``run`` tells one run from the next: of this run, finished rows are kept."""
        self.environment = environment()
        self.command, self.run = command, run
        gpu = self.environment.get("gpu", {}).get("name", "no GPU")
        stem = f"{what}_" + re.sub(r"[^a-z0-9]+", "_", gpu.lower()).strip("_")
        self.path = None if folder is None else folder / f"{stem}.json"
        self.state: dict[str, Any] = {"gpu": gpu, "tables": {}}
        if self.path is not None and self.path.exists():
            self.state = read_json(self.path, "kept tables", {"gpu": str, "tables": dict})

    def finished(self, name: str) -> set[str]:
        """The cases of a table that this run has done already."""
        table = self.state["tables"].get(name, {})
        return (
            {row["case"] for row in table.get("rows", ()) if not row.get("provisional")}
            if table.get("run") == self.run
            else set()
        )

    def start(self, name: str, title: str, notes, yardsticks: dict[str, float]) -> None:
        if self.state["tables"].get(name, {}).get("run") == self.run:
            return
        self.state["tables"][name] = {
            "run": self.run, "title": title, "command": self.command, "notes": list(notes),
            "environment": self.environment, "yardsticks": yardsticks, "rows": [],
        }  # fmt: skip

    def add(self, name: str, row: dict) -> None:
        """Append the row, or put it in place of the same case's, unless that one says more."""
        rows = self.state["tables"][name]["rows"]
        at = next((i for i, old in enumerate(rows) if old["case"] == row["case"]), None)
        if at is None:
            rows.append(row)
        elif said(row) >= said(rows[at]):
            rows[at] = row
        self.save()

    def save(self) -> None:
        if self.path is not None:
            common.write(self.path, json.dumps(self.state, indent=1) + "\n")
            common.write(self.path.with_suffix(".md"), self.text())

    def text(self, name: str | None = None) -> str:
        """All tables, or one, each with what it was measured on."""
        parts = [] if name else [f"# Kernels on {self.state['gpu']}"]
        for key, table in self.state["tables"].items():
            if name not in (None, key):
                continue
            lines = [f"## {table['title']}", ""]
            for rows in alike(table["rows"]):
                lines += [machine.markdown_table(shown(rows)), ""]
            lines += [f"- {note}" for note in (*table["notes"], *conditions(table))]
            parts.append("\n".join(lines))
        return "\n\n".join(parts) + "\n"


def said(row: dict) -> tuple[bool, int]:
    """How much a row says: final or not, and how many contenders it has times of."""
    measured = [time for time in row["milliseconds"].values() if isinstance(time, float)]
    return not row.get("provisional", False), len(measured)


def conditions(table: dict[str, Any]) -> list[str]:
    described, yardsticks = table["environment"], table["yardsticks"]
    gpu = described.get("gpu")
    versions = ", ".join(f"{name} {number}" for name, number in described["packages"].items())
    where = (
        f"{gpu['name']} ({gpu['multiprocessors']} multiprocessors, {gpu['memory_gigabytes']} GB), "
        f"driver {gpu['driver']}, {gpu['runtime']}, "
        if gpu
        else ""
    )
    return [
        "milliseconds: medians of runs in turn, the cache emptied before each; `n x` behind a "
        "peer's time: ours is n times as fast",
        f"this GPU in the same run: copy {yardsticks['copy GB/s']:.0f} GB/s, product of two 8192 x "
        f"8192 matrices {yardsticks['product TFLOP/s']:.0f} TFLOP/s",
        f"{where}{described['processor']}, Python {described['python']}, {versions}; "
        f"{described['date'][:10]}, sources {described.get('commit', 'unknown')}",
        f"`{table['command']}`",
    ]


def alike(rows: list[dict]) -> list[list[dict]]:
    """The rows by their contenders, whose names are the columns."""
    groups: dict[tuple[str, ...], list[dict]] = {}
    for row in rows:
        groups.setdefault((*row["milliseconds"],), []).append(row)
    return [*groups.values()]


def brief(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def shown(rows: list[dict]) -> list[dict[str, object]]:
    """The rows as they are printed: times, ours as a rate, the peers' as multiples of ours."""
    table = []
    for row in rows:
        times, rates = row["milliseconds"], row["rates"]
        ours = times[OURS]
        unsure = " (not finished: one run each)" if row.get("provisional") else ""
        cells: dict[str, object] = {"case": row["case"] + unsure, f"{OURS}, ms": brief(ours)}
        cells["rate"] = f"{rates[OURS]:.0f} {row['unit']}" if OURS in rates else "-"
        for name, value in times.items():
            if name == OURS:
                continue
            if isinstance(value, float) and isinstance(ours, float):
                cells[name] = f"{value:.3g} ({value / ours:.2f} x)"
            else:
                cells[name] = brief(value)
        if any(row["peak_gigabytes"] for row in rows):
            cells["peak GB"] = ", ".join(
                f"{name} {value:.3g}" for name, value in row["peak_gigabytes"].items()
            )
        table.append({**cells, **row["verdict"]})
    return table
