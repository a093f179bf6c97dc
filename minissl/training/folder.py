"""The folder of a run, opened first and by one process at a time.

``config.json`` says what was asked for; ``data.json`` on which data; what the data needed to become
batches (a tokenizer) lies beside them; ``log.jsonl``, ``starts.jsonl`` and ``checkpoints/`` are
written by ``Run``.

Nothing is written before everything is known to fit: a call that is refused leaves every byte.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from minissl.durable import remove_leftovers, replace_durably
from minissl.reading import MOST_JSON, FileError, read_bytes, read_json


def _if_there(module: str) -> Any:
    """A module of the standard library that some systems have; None on the others."""
    try:
        return import_module(module)
    except ImportError:
        return None


fcntl, msvcrt = _if_there("fcntl"), _if_there("msvcrt")  # the second on Windows

LOCK, CONFIG, DATA = ".lock", "config.json", "data.json"
OF_THE_RUN = ("log.jsonl", "starts.jsonl")  # what ``Run`` adds to, line by line
ADVICE = "It is damaged. Put the old one back, or use a new run folder"
FAR = 1 << 30  # where a byte is locked on Windows, which lets nobody read it: behind the text
TRIES = 100  # to make and lock a file that others make and remove
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # some network disks


class BusyError(RuntimeError):
    """Another process trains in the folder of this run."""


class RunFolder:
    """A folder that this process holds until ``close()``: a context manager.

    ``config``: what its ``config.json`` says, None in a folder where no run has begun.
    ``read_only``: the error of a disk that cannot be written, where a finished run is opened still.

    Raises BusyError when another process holds it, OSError when it cannot be made or read,
    ValueError for a ``config.json`` that is none.
    """

    def __init__(self, path: str | os.PathLike[str]):
        if not os.fspath(path):
            raise ValueError("the run folder is '', expected a path: \".\" is the folder here")
        self.path = Path(os.path.abspath(path))  # the program may change its folder
        self.read_only: OSError | None = None
        self._made = _make(self.path)
        self._descriptor: int | None = None
        self._begun: list[str] = []  # what this process has written in a new run
        try:
            self._hold()
            if self.read_only is None:
                remove_leftovers(self.path)
            self.config = read_if_there(self.path / CONFIG, "the configuration of a run")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ---- one process at a time --------------------------------------------------------------

    def _hold(self) -> None:
        """Lock the file ``.lock``, which says who has it; a killed process loses the lock."""
        place = self.path / LOCK
        for _ in range(TRIES):
            try:
                descriptor, new = _open(place)
            except FileNotFoundError:  # whoever held it, or had made the folder, has removed it
                self._made = _make(self.path) or self._made
                continue
            except OSError as error:
                if error.errno not in READ_ONLY or not (self.path / CONFIG).exists():
                    raise
                self.read_only = error
                return
            try:
                _lock(descriptor, place, new)
                # Whoever held it may have removed it in between: then ours has no name any more.
                if _is_at(descriptor, place):
                    self._descriptor = descriptor
                    os.truncate(descriptor, 0)
                    os.write(descriptor, f"process {os.getpid()} on {_host()}\n".encode())
                    return
            finally:
                if self._descriptor is None:
                    os.close(descriptor)
        raise BusyError(f"{place} cannot be made or locked: remove it, or use another run folder")

    def close(self) -> None:
        """Let others have it; a folder that was made for nothing is removed."""
        if self._descriptor is not None:
            _let_go(self._descriptor, self.path / LOCK)
            self._descriptor = None
        for folder in self._made:
            with suppress(OSError):  # it is not empty: a run has begun
                folder.rmdir()

    @property
    def closed(self) -> bool:
        """Whether others may have it now."""
        return self._descriptor is None and self.read_only is None

    # ---- what is in it ----------------------------------------------------------------------

    def require(self, settings: Mapping[str, Any]) -> None:
        """Raise ValueError when a run with other settings was begun here."""
        if self.config is not None and (changes := differences(self.config, settings)):
            raise other_settings(self.path, changes)

    def require_data(self, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Raise ValueError, with what differs, unless the data has the recorded ``"sha256"``."""
        if recorded.get("sha256") == now["sha256"]:
            return
        about = read_if_there(self.path / DATA, "what the data of a run is") or {}
        before = about.get("fingerprint")
        changes = differences(before if isinstance(before, dict) else recorded, now)
        more = f" and {len(changes) - 8} more" if len(changes) > 8 else ""
        raise ValueError(
            f"{self.path} was begun with other data: {'; '.join(changes[:8])}{more}. "
            "Use the data of that run to continue it, or a new run folder"
        )

    def begin(self, config: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Write the files of a new run, ``config.json`` last: with it the run exists.

        Raises ValueError when a file of the same name and another content is there already.
        """
        if self.config is not None:
            return
        _check_files(files)
        for name, data in files.items():
            place = self.path / name
            if place.exists() and read_bytes(place) != data:
                raise ValueError(
                    f"{place} is there already and is not of this run: use a new run folder"
                )
        for name, data in files.items():
            replace_durably(self.path / name, data)
        self._begun = [*files, CONFIG]
        replace_durably(self.path / CONFIG, json.dumps(config, indent=1).encode())
        self.config = dict(config)

    def withdraw(self) -> None:
        """Remove what ``begin`` wrote: the run has failed before its first checkpoint."""
        if self._begun:
            for name in (*self._begun, *OF_THE_RUN):
                (self.path / name).unlink(missing_ok=True)
            with suppress(OSError):  # there is none, or something in it
                (self.path / "checkpoints").rmdir()
            self.config, self._begun = None, []

    def require_present(self) -> None:
        """Raise OSError when the folder was removed, or its run replaced, while it was held."""
        same = self._descriptor is not None and _is_at(self._descriptor, self.path / LOCK)
        if not same or not (self.path / CONFIG).exists():
            raise OSError(
                f"the run folder {self.path} was removed or replaced while this run was training: "
                "what was learned since its last checkpoint is lost. Start the run again"
            )


def other_settings(folder: Path, changes: Sequence[str]) -> ValueError:
    """The error that says which settings differ from those of the run in a folder."""
    return ValueError(
        f"{folder} holds a run with other settings: {'; '.join(changes)}. Use the settings of "
        "that run to continue it, or a new run folder"
    )


def sums(files: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of every file, by name."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def read_kept(folder: Path, expected: Mapping[str, str]) -> dict[str, bytes]:
    """The files that a run keeps, whose SHA-256 its config has. FileError for any other content.

    Raises FileError that names the file also when it is missing.
    """
    files = {}
    for name, digest in expected.items():
        place = folder / name
        if Path(name).name != name or not place.is_file():
            raise FileError(f"{place} is missing, which this run needs: put it back")
        files[name] = read_bytes(place, MOST_JSON)
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise FileError(
                f"{place} is not the file that this run was trained with: it was replaced or "
                "damaged. Put the old one back, or train again"
            )
    return files


def read_if_there(path: Path, what: str) -> dict[str, Any] | None:
    """The object in a JSON file of a run, None where there is none; see ``reading.read_json``."""
    try:
        return read_json(path, what, advice=ADVICE)
    except FileNotFoundError:
        return None


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """How two dicts of JSON types differ, one ``path: old, now new`` for each place."""
    found = []
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name:.60}: {before!r:.200}, now {after!r:.200}")
    return found


def _make(folder: Path) -> list[Path]:
    """Make a folder; returns which folders had to be made, the innermost first."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"{folder} cannot be the folder of a run: {error.strerror}"
        raise OSError(error.errno, why) from error
    return missing


def _is_at(descriptor: int, place: Path) -> bool:
    """Whether the open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(descriptor), place.stat())
    except OSError:
        return False


def _check_files(files: Mapping[str, bytes]) -> None:
    """Raise ValueError for files that are not plain, or not the caller's."""
    for name, data in files.items():
        plain = Path(name).name == name and not name.startswith(".")
        taken = name in (CONFIG, "checkpoints", *OF_THE_RUN)
        if not plain or taken or type(data) is not bytes:
            raise ValueError(
                f"files: expected plain names with bytes, got {name!r} with a "
                f"{type(data).__name__}; a run writes {CONFIG} and log.jsonl itself"
            )


def _open(place: Path) -> tuple[int, bool]:
    """A descriptor of the lock's file, and whether this call made it."""
    try:
        return os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        return os.open(place, os.O_RDWR), False


def _lock(descriptor: int, place: Path, new: bool) -> None:
    """Lock an open file, or raise BusyError with what it says.

    Where the system has no locks that end with their process, having made the file is the lock.
    """
    advice = "wait for it, stop it, or use another run folder"
    try:
        _lock_or_raise(descriptor)
        return
    except BlockingIOError:
        pass
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        if new:
            return
        advice += f" (if there is no such process any more, remove {place})"
    holder = os.read(descriptor, 200).decode("utf-8", "replace").strip()
    raise BusyError(f"{place.parent} is in use by {holder or 'another process'}: {advice}")


def _lock_or_raise(descriptor: int) -> None:
    """BlockingIOError: another process has it; another OSError: there are no such locks here."""
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    elif msvcrt is not None:
        os.lseek(descriptor, FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(error.errno, "locked by another process") from error
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        raise OSError(errno.ENOSYS, "no locks here")


def _let_go(descriptor: int, place: Path) -> None:
    """Remove the lock's file, unless it is that of a run in our place, and close it."""
    ours = _is_at(descriptor, place)
    try:
        if ours:  # while it is open: nobody may lock a file that loses its name afterwards
            place.unlink()
    except PermissionError:  # Windows removes only what is closed, and nobody else's
        os.close(descriptor)
        with suppress(OSError):
            place.unlink()
    else:
        os.close(descriptor)


def _host() -> str:
    return socket.gethostname() or "this computer"
