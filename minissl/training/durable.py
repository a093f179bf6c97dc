"""Files that survive a crash: what a run writes is on the disk before anything builds on it."""

import os
from pathlib import Path


def write_durably(path: Path, data: bytes) -> None:
    """Write a file and wait until its bytes are on the disk."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_durably(path: Path, data: bytes) -> None:
    """Write a file so that at any moment it has its old content, or none, or all of the new."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    write_durably(unfinished, data)
    os.replace(unfinished, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk (where the system can: not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
