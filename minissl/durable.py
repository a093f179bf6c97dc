"""Files that survive a crash: what is written is on the disk before anything builds on it.

On the ground floor, since tokenizers, runs, claims and grades all write files that somebody reads.
"""

import glob
import os
from pathlib import Path


def write_durably(path: Path, data: bytes) -> None:
    """Write a file and wait until its bytes are on the disk."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_durably(path: Path, data: bytes) -> None:
    """Write a file so that at any moment it has its old content, or none, or all of the new.

    It is written under a name that has the process's number in it, so that two processes cannot
    write into each other's half; see ``remove_leftovers`` for what a kill leaves behind.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        write_durably(unfinished, data)
        os.replace(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    remove_leftovers(path.parent, path.name)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes were writing in a folder; what living ones write stays.

    ``name``: only what was to become this file.
    """
    for path in folder.glob(f".{'*' if name is None else glob.escape(name)}.*.unfinished"):
        number = path.name.split(".")[-2]
        if number.isdecimal() and not is_alive(int(number)):
            path.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    """Whether a process of this number runs on this computer; True where that cannot be asked."""
    if os.name != "posix":  # on Windows the question itself would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk (where the system can: not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_parents(path: Path) -> None:
    """Make the folder that a file is to be written in, and see that it can be: before long work.

    Raises OSError that names the place: a folder of that name is in the way, or it is not writable.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the name of a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path.parent} cannot be written: choose another place for {path}")
