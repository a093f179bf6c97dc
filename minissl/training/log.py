"""The record of a run: one JSON object per line, readable at any moment and after any crash."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minissl.durable import replace_durably, sync_folder
from minissl.reading import FileError, parse_json, read_bytes

Record = dict[str, Any]


class History:
    """The records of a run in the order of its steps.

    A record is a dict: ``step`` (updates done so far), ``loss``, ``lr``, ``grad_norm`` (before
    clipping), ``seconds`` (of training so far), and what ``evaluate()`` measured, where it did.
    Step 0 is the evaluation before the first update. A metric that is not finite is None.
    """

    def __init__(self, records: Iterable[Record] = ()):
        self.records = list(records)

    @classmethod
    def read(cls, run: str | Path) -> History:
        """The history of a run folder, or of a log file, without lines that are no records."""
        path = Path(run)
        lines = _read_lines(path / "log.jsonl" if path.is_dir() else path)
        return cls(record for record, _ in lines if record is not None)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __getitem__(self, index: int) -> Record:
        return self.records[index]

    def column(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps, values) of the records that have a value of this name, ready to plot.

        Raises KeyError when no record has it.
        """
        pairs = [(r["step"], r[name]) for r in self.records if r.get(name) is not None]
        if not pairs:
            names = sorted({name for record in self.records for name in record})
            raise KeyError(f"no record has '{name}'; the names in this history: {names}")
        steps, values = zip(*pairs)
        return np.array(steps), np.array(values)

    def latest(self, name: str) -> Any:
        """The last value of this name, None where no record has one."""
        values = (record[name] for record in reversed(self.records) if name in record)
        return next(values, None)

    def losses(self) -> list[float]:
        """The training loss of every record that has one."""
        return [record["loss"] for record in self.records if "loss" in record]


class Log:
    """``log.jsonl`` open for writing, from which everything after ``last_step`` has been removed.

    A run that was killed has written records after its last checkpoint; it will come by those steps
    again, and the log must read as if it had come by once. ``history`` is what the file says. A
    damaged line stays where it is: the good ones around it are worth more than a clean file.
    """

    def __init__(self, path: Path, last_step: int):
        lines = _read_lines(path) if path.exists() else []
        kept = [line for record, line in lines if record is None or record["step"] <= last_step]
        while kept and _parse(kept[-1]) is None:  # half a line, and damage with nothing after it
            kept.pop()
        self.history = History(r for r, _ in lines if r is not None and r["step"] <= last_step)
        content = b"".join(kept)
        content += b"\n" * (not content.endswith(b"\n") and bool(content))  # cut off, or edited
        if not path.exists() or path.read_bytes() != content:
            _keep_only(path, content)
        self._file = open(path, "ab")  # noqa: SIM115  (closed by close())

    def append(self, record: Record) -> None:
        """Write one record and hand it to the operating system at once."""
        record = plain(record)
        self.history.records.append(record)
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def sync(self) -> None:
        """Wait until everything is on the disk: a checkpoint must not be ahead of its log."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def plain(record: Record) -> Record:
    """The record with Python numbers only; NaN and infinity, which JSON lacks, become None."""
    result: Record = {}
    for name, value in record.items():
        value = value.item() if isinstance(value, np.generic | np.ndarray) else value
        result[name] = None if isinstance(value, float) and not math.isfinite(value) else value
    return result


def _keep_only(path: Path, content: bytes) -> None:
    """Cut the file where the content is its beginning; write it anew where it is not."""
    if path.exists() and not path.read_bytes().startswith(content):
        replace_durably(path, content)
        return
    with open(path, "ab") as file:
        file.truncate(len(content))
    sync_folder(path.parent)


def _read_lines(path: Path) -> list[tuple[Record | None, bytes]]:
    """Every line with its record; None for one that is damaged, which is reported.

    A last line that is cut off is what a kill leaves, and not reported.
    """
    lines = read_bytes(path).splitlines(keepends=True)
    parsed = [(_parse(line), line) for line in lines]
    damaged = [number for number, (record, _) in enumerate(parsed[:-1], 1) if record is None]
    if damaged:
        warnings.warn(
            f"{path}: line {', '.join(map(str, damaged[:5]))} of {len(lines)} is not a record of a "
            "run and is left out; the others are read",
            stacklevel=4,
        )
    return parsed


def _parse(line: bytes) -> Record | None:
    """The record of a line, or None when it is cut off or damaged."""
    try:
        record = parse_json(line, "the log", "a record", {"step": int})
    except FileError:
        return None
    plain_values = all(isinstance(v, int | float | str | None) for v in record.values())
    return record if plain_values and record["step"] >= 0 else None
