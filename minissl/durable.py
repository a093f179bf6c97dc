"""Files that survive a crash: what is written is on the disk before anything builds on it.

On the ground floor, since tokenizers, runs, claims and grades all write files that somebody reads.
"""

import glob
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# False on Windows, where a folder cannot be opened, nor a process be asked without ending it.
POSIX = hasattr(os, "killpg")
PATIENCE = 1.0  # seconds for others on Windows to close a file


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
        put_in_place(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    remove_leftovers(path.parent, path.name)


def put_in_place(new: Path, path: Path) -> None:
    """Give a file, or a folder that is new, its name; a file that had it is gone.

    Windows refuses this while somebody (a reader, a virus scanner) has a file of them open: there
    it is tried again for a second.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            os.replace(new, path)
            return
        except PermissionError:
            if POSIX or path.is_dir() or time.monotonic() > until:
                raise
            time.sleep(0.02)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new, empty folder to fill; when the block ends well it is on the disk and has its name.

    So at any moment there is no such folder, or the one that was there, or all of the new one. An
    error leaves what was there. Any number of processes may do it at once, on several computers
    that share the disk: each fills a folder of its own, and the last one's stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The computer's name: process numbers of another one say nothing about who is alive here.
    name = f"{path.name}.{platform.node()}"
    remove_leftovers(path.parent, name)
    ending = f".{os.getpid()}.unfinished"
    work = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=ending, dir=path.parent))
    new = work / "new"
    try:
        new.mkdir()
        yield new
        for file in (file for file in new.rglob("*") if file.is_file()):
            with open(file, "rb+") as opened:
                os.fsync(opened.fileno())
        sync_folder(new)
        _give_name(new, path, aside=work / "old")
        sync_folder(path.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _give_name(new: Path, path: Path, aside: Path) -> None:
    """Rename a folder; one that has the name already is moved aside first."""
    try:
        put_in_place(new, path)
    except OSError:  # only an empty folder can be replaced, and none on Windows
        if not path.is_dir():
            raise
        put_in_place(path, aside)
        put_in_place(new, path)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes were writing in a folder; what living ones write stays.

    ``name``: only what was to become this file.
    """
    for path in folder.glob(f".{'*' if name is None else glob.escape(name)}.*.unfinished"):
        number = path.name.split(".")[-2]
        if not number.isdecimal() or is_alive(int(number)):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    """Whether a process of this number runs on this computer; True where that cannot be asked."""
    if not POSIX:  # the question itself would end the process
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
    if POSIX:
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            f"{path.parent} cannot be made a folder ({error.strerror}): choose another place for "
            f"{path}"
        ) from error
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path.parent} cannot be written: choose another place for {path}")
