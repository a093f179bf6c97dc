"""Where fetched data sets lie, and how one gets there: whole, or not at all."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from minissl.data.sets._download import collect, download
from minissl.durable import whole_folder

if TYPE_CHECKING:
    from minissl.data.sets import DataSet

VARIABLE = "MINISSL_DATA"
_ELSEWHERE = f"choose another folder with --cache FOLDER or the environment variable {VARIABLE}"


def cache_folder() -> Path:
    """The folder of ``$MINISSL_DATA``, else the one that the system has for such files."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser()
    import pooch  # here: it takes a tenth of a second, and most commands need no cache

    return pooch.os_cache("minissl")


def in_bytes(size: int) -> str:
    """A number of bytes for people: "1.1 MB", "170 MB", "2.6 GB"."""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB"


def fetch(
    dataset: DataSet,
    cache: Path | None = None,
    *,
    by_hand: Path | None = None,
    progress: bool = False,
) -> Path:
    """Fetch a data set, check its sums, unpack it, and only then give the folder its name.

    ``by_hand``: a folder with the published files, or the file itself where there is only one,
    instead of the network; the sums are the same. A set that is here already is left as it is. A
    kill, a full disk or a cut-off leaves no part of a set, and what it leaves behind is removed by
    the next try. Two processes may do it at once.

    Returns the folder. Raises OSError for a network, a disk or a missing file, and ValueError for a
    wrong sum or a damaged file; each says what to do.
    """
    folder = dataset.folder(cache)
    if dataset.is_here(cache):
        return folder
    assert dataset.unpack is not None
    files = collect(dataset, by_hand) if by_hand else {}
    try:
        with whole_folder(folder) as new:
            _check_room(dataset, new, 0 if by_hand else dataset.size)
            downloads = new / ".downloads"
            downloads.mkdir()
            for file in dataset.files if not by_hand else ():
                files[file.name] = downloads / file.name
                download(dataset.name, file, files[file.name], progress=progress)
            if progress:
                print(f"unpacking {dataset.name}", file=sys.stderr, flush=True)
            dataset.unpack(files, new)
            shutil.rmtree(downloads)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(
                errno.ENOSPC, f"{dataset.name}: the disk of {folder.parent} is full; {_ELSEWHERE}"
            ) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise type(error)(
                f"{dataset.name}: {folder.parent} cannot be written ({error.strerror}); "
                f"{_ELSEWHERE}"
            ) from None
        raise
    return folder


def remove(dataset: DataSet, cache: Path | None = None) -> bool:
    """Remove a fetched set from the cache. Returns whether there was one."""
    folder = dataset.folder(cache)
    if not dataset.files or not folder.is_dir():
        return False
    # What is half removed must not look like a set: it loses its name first.
    aside = folder.with_name(f".{folder.name}.{platform.node()}.{os.getpid()}.unfinished")
    os.replace(folder, aside)
    shutil.rmtree(aside)
    return True


def _check_room(dataset: DataSet, place: Path, size: int) -> None:
    """Raise OSError when the disk has no room for what is fetched and what it becomes."""
    free, needed = shutil.disk_usage(place).free, size + dataset.room
    if needed > free:
        raise OSError(
            f"{dataset.name} needs {in_bytes(needed)} while it is unpacked, and "
            f"{place.parent.parent} has {in_bytes(free)}: free some room, or {_ELSEWHERE}"
        )
