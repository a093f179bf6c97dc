"""The folder of a visit's results: at every moment all that has been found, and readable.

log.txt has everything that was printed, failures.txt every traceback, journal.jsonl a line for each
part that is done (so that a second visit goes on behind it), summary.txt the end; beside them lie
the tables of ``benchmarks.kernels`` and ``benchmarks.training_gpu``, each as .md and .json.
"""

import json
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import write

OURS = ("log.txt", "failures.txt", "journal.jsonl", "summary.txt", "kernels_*", "training_*")
TABLES = ("kernels_*.json", "training_*.json")


def good(said: str) -> bool:
    """Whether a part has ended well; pytest says passed and skipped, all others ok."""
    return said.startswith("ok") or said in ("passed", "skipped")


class Folder:
    """``fresh``: what an earlier visit left is removed (of files that such a visit writes)."""

    def __init__(self, path: Path, fresh: bool = False) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path.resolve()
        self.log, self.failures = self.path / "log.txt", self.path / "failures.txt"
        self.journal = self.path / "journal.jsonl"
        for pattern in OURS if fresh else [f"{ours}.unfinished" for ours in OURS]:
            for file in self.path.glob(pattern):
                file.unlink()

    def say(self, text: str) -> None:
        """On the screen and in the log."""
        print(text, file=sys.stderr, flush=True)
        append(self.log, text + "\n")

    def failed(self, name: str, text: str) -> None:
        append(self.failures, f"\n==== {name}\n{text.rstrip()}\n")

    def failed_with(self, name: str, error: BaseException) -> None:
        self.failed(name, "".join(traceback.format_exception(error)))

    def note(self, **entry) -> None:
        """A line of the journal, with the time."""
        append(self.journal, json.dumps({**entry, "time": round(time.time(), 1)}) + "\n")

    def entries(self, stage: str | None = None, size: int | None = None) -> Iterator[dict]:
        """The journal's lines (of its first ``size`` bytes) but those cut off or damaged."""
        data = self.journal.read_bytes()[:size] if self.journal.exists() else b""
        for line in data.split(b"\n"):
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and stage in (None, entry.get("stage")):
                yield entry

    def done(self, stage: str, size: int | None = None) -> dict[str, dict]:
        """The parts of a stage that are done, well or not, each with its last entry."""
        ends = [entry for entry in self.entries(stage, size) if {"part", "said"} <= {*entry}]
        return {entry["part"]: entry for entry in ends}

    def tables(self) -> list[Path]:
        """Those that such a visit writes; other files may lie beside them."""
        return sorted(path for pattern in TABLES for path in self.path.glob(pattern))

    def save_summary(self, text: str) -> None:
        write(self.path / "summary.txt", text)


def append(path: Path, text: str) -> None:
    """In one call of the system: lines of several processes do not mix."""
    data = text.encode(errors="replace")
    with path.open("ab", buffering=0) as file:
        file.write(data)
