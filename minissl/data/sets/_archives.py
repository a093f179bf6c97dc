"""Reading published archives: by the names of members, within bounds; nothing is extracted.

A member's path is only compared, never written to. What a file declares is checked before it is
believed, and no more is read than it declared, so a small file cannot become a full disk.
"""

from __future__ import annotations

import gzip
import math
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import NDArray

from minissl.reading import reading

ARCHIVE = "a published archive"


def read_idx(path: Path, axes: int, most: int) -> NDArray[np.uint8]:
    """The array of bytes in a gzipped IDX file, the format of MNIST, with this number of axes.

    The format: two zero bytes, 8 for bytes, the number of axes, each axis as a big-endian 32-bit
    number, then the entries. ``most``: entries that are believed. Raises ValueError that names the
    file for anything else.
    """
    with reading(path, ARCHIVE), gzip.open(path) as file:
        head = file.read(4 + 4 * axes)
        if len(head) != 4 + 4 * axes or head[:4] != bytes([0, 0, 8, axes]):
            raise ValueError(
                f"{path} begins with {head[:4].hex(' ') or 'nothing'}, expected "
                f"00 00 08 {axes:02x}: it is no IDX file of bytes with {axes} axes"
            )
        shape = tuple(int(n) for n in np.frombuffer(head[4:], ">u4"))
        if (size := math.prod(shape)) > most:
            raise ValueError(f"{path} declares the shape {shape}, expected at most {most:,} bytes")
        data = file.read(size + 1)
    if len(data) != size:
        more = "more" if len(data) > size else f"only {len(data):,}"
        raise ValueError(f"{path} declares the shape {shape}, {size:,} bytes, and holds {more}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def tar_members(path: Path) -> Iterator[tuple[str, IO[bytes], int]]:
    """Name (without folders), content and size of each plain file in a .tar.gz, in its order.

    The archive is read once, from its beginning: a member is read before the next is asked for.
    What a damaged one raises is made readable by ``reading`` around the loop.
    """
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            if member.isreg():
                content = archive.extractfile(member)
                assert content is not None
                yield PurePosixPath(member.name).name, content, member.size


def count_records(path: Path, name: str, size: int, record: int, most: int) -> int:
    """How many records of ``record`` bytes a member has. Raises ValueError unless 1 to ``most``."""
    count, rest = divmod(size, record)
    if rest or not 1 <= count <= most:
        raise ValueError(
            f"{path}: {name} has {size:,} bytes, expected 1 to {most:,} records of {record:,} bytes"
        )
    return count


def zip_member(path: Path, name: str, most: int) -> bytes:
    """The content of the one member of a .zip with this name, whatever folder it is in.

    Raises ValueError when there is none or several, or one of more than ``most`` bytes.
    """
    with reading(path, ARCHIVE), zipfile.ZipFile(path) as archive:
        found = [i for i in archive.infolist() if PurePosixPath(i.filename).name == name]
        if len(found) != 1:
            held = ", ".join(archive.namelist()[:5]) or "nothing"
            raise ValueError(f"{path} has {len(found)} files named {name}: it holds {held}")
        if found[0].file_size > most or found[0].flag_bits & 1:
            raise ValueError(
                f"{path}: {name} has {found[0].file_size:,} bytes"
                f"{', and a password' * (found[0].flag_bits & 1)}: expected at most {most:,}"
            )
        return archive.read(found[0])


def check_members(path: Path, found: Mapping[str, NDArray], names: Sequence[str]) -> None:
    """Raise ValueError that names the members which were not found in an archive."""
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{path} lacks {', '.join(missing)}: it is cut off, or another archive")
