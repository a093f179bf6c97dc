"""Unpack a student's .zip without believing it: see ``unpack``."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

MOST_ENTRIES, MOST_BYTES = 2000, 64 << 20  # bytes of all files together, unpacked
_CHUNK = 1 << 16


def unpack(archive: Path, folder: Path) -> list[str]:
    """Unpack into an empty folder, and return the names that were left out, with the reasons.

    Left out: links, and names that lead out of the folder. Raises ValueError, with a sentence, for
    what is no .zip, is encrypted or damaged, or holds more than MOST_ENTRIES or MOST_BYTES (which
    are counted while they are unpacked: what the archive says of itself may be wrong).
    """
    left_out: list[str] = []
    room = MOST_BYTES
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            if len(entries) > MOST_ENTRIES:
                raise ValueError(f"it holds {len(entries):,} files, expected {MOST_ENTRIES:,}")
            for entry in entries:
                path = PurePosixPath(entry.filename.replace("\\", "/"))
                if path.is_absolute() or ".." in path.parts or ":" in entry.filename:
                    left_out.append(f"{entry.filename} (leads out of the archive)")
                elif stat.S_ISLNK(entry.external_attr >> 16):
                    left_out.append(f"{entry.filename} (a link)")
                elif not entry.is_dir():
                    room -= _write(opened, entry, folder / path, room)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{archive.name} is no .zip, or damaged ({error})") from error
    except (RuntimeError, NotImplementedError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{archive.name} cannot be unpacked: {error}") from error
    except ValueError as error:
        raise ValueError(f"{archive.name} is not unpacked: {error}") from error
    return left_out


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, room: int) -> int:
    """Write one file, and return its size. Raises ValueError when there is no room for it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with opened.open(entry) as source, open(target, "wb") as file:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > room:
                raise ValueError(f"its files have more than {MOST_BYTES:,} bytes")
            file.write(chunk)
    return size
