"""Files of text: which lie below a folder, and how their bytes become text. Lecture 05.

What is no text is refused with what it is and what to do, since a model would learn it all the
same: the NULs of UTF-16, the brackets of JSON, the tags of a page.
"""

from __future__ import annotations

import json
import os
import re
from itertools import islice
from pathlib import Path

from minissl.reading import read_bytes, shown

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
PACKED = (".gz", ".tgz", ".xz", ".zst", ".bz2", ".zip", ".7z", ".tar")

# UTF-32's mark for little-endian begins with UTF-16's.
MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16",
         b"\xfe\xff": "utf-16"}  # fmt: skip
SIGNATURES = {
    b"\x89PNG": "a PNG image", b"\xff\xd8\xff": "a JPEG image", b"GIF8": "a GIF image",
    b"%PDF-": "a PDF", b"\x1f\x8b": "packed (gzip)", b"\xfd7zXZ": "packed (xz)",
    b"\x28\xb5\x2f\xfd": "packed (zstd)", b"BZh": "packed (bzip2)", b"7z\xbc\xaf": "packed (7z)",
    b"PK\x03\x04": "packed (zip, or an office document)", b"PAR1": "a parquet table",
    b"\x93NUMPY": "a NumPy array", b"SQLite format 3": "a database", b"\x7fELF": "a program",
    b"\x80\x02": "a pickle", b"\x80\x03": "a pickle", b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
}  # fmt: skip

_STRIP = "strip its markup first, for example with `minissl clean FILE --out NEW.txt`"
_JSON = "write its texts as one object a line into a .jsonl file"
OTHER_KINDS = {
    **dict.fromkeys(
        TABLES, ("a table", "it is read by its fields: Texts.read, or --text-field NAME")
    ),
    **dict.fromkeys((".html", ".htm", ".xhtml"), ("HTML", _STRIP)),
    **dict.fromkeys((".xml", ".svg"), ("XML", _STRIP)),
    ".json": ("JSON", _JSON),
    ".ipynb": ("a notebook", "convert it first: jupyter nbconvert --to markdown"),
}
SAMPLE = 4096  # bytes or characters that tell what a file is
_OBJECT = re.compile(r'\s*(?:\[\s*)?\{\s*"(?:[^"\\\n]|\\.)*"\s*:')


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder in the order of their relative paths, hidden ones passed over.

    Links to folders are not followed. Raises OSError for a folder that cannot be listed.
    """

    def stop(error: OSError) -> None:
        raise OSError(f"{shown(error.filename)!r} cannot be listed: {error.strerror}") from error

    files = []
    for place, folders, names in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(files, key=lambda file: file.relative_to(folder).as_posix())


def read_text(file: Path, *, any_kind: bool = False, keep_mark: bool = False) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte-order mark.

    The mark is left out, unless ``keep_mark``: then the text encodes to the bytes of the file,
    which must be UTF-8. Line ends stay as they are. Raises ValueError that names the file for what
    is no text, or (unless ``any_kind``) JSON, markup or a table; OSError for what cannot be read.
    """
    if file.suffix.lower() in PACKED:
        raise ValueError(f"{shown(file)!r} is packed: unpack it first, and give what was in it")
    text = decode(read_bytes(file), shown(file), keep_mark=keep_mark)
    if not any_kind and (kind := OTHER_KINDS.get(file.suffix.lower()) or _kind(text)):
        raise ValueError(f"{shown(file)!r} is {kind[0]}, not plain text: {kind[1]}")
    return text


def decode(data: bytes, name: str, *, keep_mark: bool = False) -> str:
    """Bytes as text, see ``read_text``. ``name``: the file, for the ValueError."""
    encoding = next((e for mark, e in MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in data:
        raise ValueError(f"{name!r} {_without_text(data)}")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{name!r} {_bad_byte(data, encoding, error)}") from None
    if "\0" in text:
        raise ValueError(f"{name!r} {_without_text(data)}")
    if encoding == "utf-8":
        return text if keep_mark else text.removeprefix("\ufeff")
    if keep_mark:
        raise ValueError(
            f"{name!r} is {encoding.upper()}, and UTF-8 is wanted: convert it first, "
            f"`iconv -f {encoding} -t utf-8 FILE > NEW`"
        )
    return text


def _without_text(data: bytes) -> str:
    """What bytes with a NUL are."""
    if kind := signature(data):
        return kind
    for place, encoding in ((1, "utf-16le"), (0, "utf-16be")):
        text = data[:SAMPLE].decode(encoding, "ignore")
        nuls = data[place:SAMPLE:2].count(0)  # the upper halves of spaces, if of nothing else
        printable = all(c.isprintable() or c in "\t\n\f\r" for c in text)
        if printable and len(data) % 2 == 0 and nuls > len(text) / 50:
            return (
                f"looks like UTF-16 without a byte-order mark: convert it first, "
                f"`iconv -f {encoding} -t utf-8 FILE > NEW`"
            )
    return (
        f"is binary, not text: it has a NUL at offset {data.find(0)}. Leave it out; if it is text "
        r"all the same, remove them: `tr -d '\000' < FILE > NEW`"
    )


def signature(data: bytes) -> str:
    """In words, what a file that is no text begins like; "" for nothing known."""
    kind = next((kind for begin, kind in SIGNATURES.items() if data.startswith(begin)), "")
    if kind.startswith("packed"):
        return f"is {kind}, not text: unpack it first"
    return f"is {kind}, not text: leave it out" if kind else ""


def _bad_byte(data: bytes, encoding: str, error: UnicodeDecodeError) -> str:
    """Where bytes stop to be text, and what they may be instead."""
    if kind := signature(data):
        return kind
    what = (
        f"is not {encoding.upper()} text: byte 0x{data[error.start]:02x} at offset {error.start} "
        f"({error.reason}). "
    )
    sample = data[:SAMPLE]
    control = sum(byte < 32 and byte not in b"\t\n\f\r\x1b" for byte in sample)
    if encoding != "utf-8" or control > len(sample) / 50:
        return what + "It is binary or damaged: leave it out."
    if "end of data" in error.reason and any(byte > 127 for byte in data[: error.start]):
        return what + "It ends in the middle of a character: it was cut off, get it again."
    try:
        data.decode("cp1252")
        foreign = sum(byte > 127 for byte in sample) > len(sample) / 3
    except UnicodeDecodeError:
        foreign = True
    if foreign:
        return what + (
            "Convert it first from the encoding it was written in (cp1251, gb18030, shift_jis, "
            "...), for example with `iconv -f gb18030 -t utf-8`, or leave it out."
        )
    return what + "Convert it first, for example with `iconv -f cp1252 -t utf-8`, or leave it out."


def _kind(text: str) -> tuple[str, str] | None:
    """What a text is that is not plain, by how it begins, and what to do; None for a plain one."""
    begin = text[:SAMPLE].lstrip().lower()
    if begin.startswith(("<!doctype html", "<html")):
        return OTHER_KINDS[".html"]
    if begin.startswith("<?xml"):
        return OTHER_KINDS[".xml"]
    if not _OBJECT.match(text):
        return None
    lines = [line for line in islice(text.split("\n", 8), 8) if line.strip()]
    if len(lines) > 1 and all(_is_object(line) for line in lines[:3]):
        return "JSON lines", "name the file .jsonl, and the field with --text-field NAME"
    return OTHER_KINDS[".json"] if _is_object(text) else None


def _is_object(text: str) -> bool:
    """Whether it is a JSON object, or a list."""
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False
