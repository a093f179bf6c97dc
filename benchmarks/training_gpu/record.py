"""The tables of training as Markdown and JSON, on disk after every contender."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.kernels.record import Record
from minissl import conditions as machine


class TrainingRecord(Record):
    """One file for a GPU; a table that is measured again replaces the old one, with its date.

    A row is ``{"case": ..., "cells": {head: value}, ...}``: the cells are printed; what else it
    holds (``"verdicts"``, below the table, apart) only goes into the JSON file.
    """

    def __init__(self, command: str, run: str, folder: Path | None) -> None:
        super().__init__(command, run, folder, "training")

    def put(self, name: str, title: str, notes: Sequence[str], rows: list[dict[str, Any]]) -> None:
        """These are now the rows of the table, unless this run has measured more already."""
        old = self.state["tables"].get(name, {})
        if old.get("run") == self.run and said(rows) < said(old["rows"]):
            return
        self.state["tables"][name] = {
            "run": self.run, "title": title, "command": self.command, "notes": list(notes),
            "environment": self.environment, "rows": rows,
        }  # fmt: skip
        self.save()

    def text(self, name: str | None = None) -> str:
        """All tables, or one, each with what it was measured on."""
        parts = [] if name else [f"# Training on {self.state['gpu']}"]
        for key, table in self.state["tables"].items():
            if name in (None, key):
                verdicts = [f"{what}: {v}" for row in table["rows"]
                            for what, v in row.get("verdicts", {}).items()]  # fmt: skip
                lines = [f"## {table['title']}", ""]
                lines += [machine.markdown_table([row["cells"] for row in table["rows"]]), ""]
                lines += [f"- {text}" for text in (*verdicts, *table["notes"], *conditions(table))]
                parts.append("\n".join(lines))
        return "\n\n".join(parts) + "\n"


def said(rows: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """How much the rows say: of how many contenders there is a time, from how many rounds."""
    measured = [row for row in rows if isinstance(row.get("milliseconds"), float)]
    return len(measured), sum(row.get("rounds", 0) for row in measured)


def conditions(table: dict[str, Any]) -> list[str]:
    """The hardware, driver, versions and the command."""
    described = table["environment"]
    gpu = described.get("gpu")
    where = (
        f"{gpu['name']} ({gpu['multiprocessors']} multiprocessors, {gpu['memory_gigabytes']} GB), "
        f"driver {gpu['driver']}, {gpu['runtime']}, "
        if gpu
        else ""
    )
    installed = described["packages"].items()
    versions = ", ".join(f"{name} {number}" for name, number in installed if number != "absent")
    return [
        f"{where}{described['processor']}, Python {described['python']}, {versions}; "
        f"{described['date'][:10]}, sources {described.get('commit', 'unknown')}",
        f"`{table['command']}`",
    ]
