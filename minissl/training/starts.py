"""Where and when a run was trained: one line for each time that its training began or went on.

``starts.jsonl`` is no part of the settings: a run may go on elsewhere, and this says so.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from minissl.conditions import environment
from minissl.reading import FileError, parse_json, read_bytes

STARTS = "starts.jsonl"


def add_start(folder: Path, step: int, device: str, processes: int) -> None:
    """Append what the machine is, and after which step it begins. One write: a line is whole.

    Raises OSError, with the file's name, where it cannot be written.
    """
    about = {"step": step, "device": device, "processes": processes, **environment(["torch"])}
    place = folder / STARTS
    try:
        with open(place, "ab") as file:
            end = b"" if _is_at_line(place) else b"\n"  # behind a line that was cut off
            file.write(end + json.dumps(about).encode() + b"\n")
    except OSError as error:
        raise OSError(error.errno, f"{place} cannot be written: {error.strerror}") from error


def read_starts(folder: Path) -> list[dict[str, Any]]:
    """All starts, the first one first; none of an older run. A line that is damaged is left out."""
    try:
        lines = read_bytes(folder / STARTS).splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(parse_json(line, STARTS, "a start of a run", {"step": int}))
        except FileError:
            continue
    return found


def _is_at_line(path: Path) -> bool:
    """Whether what is written next begins a line."""
    if not path.stat().st_size:
        return True
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def in_words(start: dict[str, Any]) -> str:
    """A start as a sentence: "From step 0: 2 cores of ..., Python 3.11.7, numpy 2.4.6, ..."."""
    packages = start.get("packages")
    versions = [
        f"{name} {number}"
        for name, number in (packages.items() if isinstance(packages, dict) else ())
        if number != "absent"
    ]
    processes, device = start.get("processes"), start.get("device")
    cores = start.get("cores") or "?"  # where the system does not say, None
    told = [
        f"{cores} core{'s' * (cores != 1)} of {start.get('processor', 'an unknown processor')}",
        *([f"on {device}"] if device not in (None, "cpu") else []),
        *([f"{processes} processes"] if processes not in (None, 1) else []),
        f"{start.get('system', 'an unknown system')}",
        f"Python {start.get('python', '?')}",
        *versions,
        str(start.get("date", ""))[:10],
    ]
    return f"From step {start['step']:,}: {', '.join(part for part in told if part)}."
