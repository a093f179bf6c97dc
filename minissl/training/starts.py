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
    """Append what the machine is, and after which step it begins. One write: a line is whole."""
    about = {"step": step, "device": device, "processes": processes, **environment(["torch"])}
    with open(folder / STARTS, "ab") as file:
        end = b"" if _is_at_line(folder / STARTS) else b"\n"  # behind a line that was cut off
        file.write(end + json.dumps(about).encode() + b"\n")


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
