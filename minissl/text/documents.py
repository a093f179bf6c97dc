"""Text documents: read from files, cut into pieces, split into training and held-out parts.

Lecture 05 (language models) trains on them.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Document", "cut", "digest", "read_text_documents", "split_documents"]

TEXT_SUFFIXES = (".txt", ".md", ".rst")


class Document(NamedTuple):
    """One document: a unique name, where it came from (a package, a folder), and its text."""

    name: str
    source: str
    text: str


def read_text_documents(
    path: str | os.PathLike[str],
    suffixes: Sequence[str] | None = TEXT_SUFFIXES,
    piece_characters: int = 10_000,
) -> list[Document]:
    """The documents of a UTF-8 text file, or of every text file below a folder.

    A text longer than ``piece_characters`` is cut into documents of about that length, after a
    blank line where there is one, so that a single long file can be split as well; the pieces,
    joined, are the file (a byte-order mark apart). A file of the folder counts as text when its
    name ends with one of ``suffixes`` (``None``: every file); hidden files are passed over. A file
    given by name is read whatever its suffix. Files are read whole into memory.

    Returns documents in the order of their names. Raises ``FileNotFoundError`` for a path that does
    not exist or a folder without text files, and ``ValueError`` naming the file for text that is
    not UTF-8 (with the position of the first bad byte) or when all files are empty.
    """
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"no file or folder {str(root)!r}: give one with UTF-8 text")
    documents = []
    files = [root] if not root.is_dir() else _text_files(root, suffixes)
    for file in files:
        relative = file.relative_to(root if root.is_dir() else root.parent)
        whole = Document(relative.as_posix(), relative.parts[0], _decode(file))
        documents.extend(cut(whole, piece_characters))
    if not documents:
        raise ValueError(f"{str(root)!r} holds no text: its {len(files)} file(s) are empty")
    return documents


def _text_files(folder: Path, suffixes: Sequence[str] | None) -> list[Path]:
    every_file = [
        file
        for file in sorted(folder.rglob("*"), key=lambda file: file.relative_to(folder).as_posix())
        if file.is_file() and not any(p.startswith(".") for p in file.relative_to(folder).parts)
    ]
    files = [f for f in every_file if suffixes is None or f.suffix.lower() in suffixes]
    if not files:
        names = [file.name for file in every_file]
        found = f"{len(names)} other file(s) such as {names[0]!r}" if names else "no files at all"
        raise FileNotFoundError(
            f"no text files below {str(folder)!r}: expected names that end with "
            f"{', '.join(suffixes or ['anything'])}, found {found}"
        )
    return files


def _decode(file: Path) -> str:
    data = file.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{str(file)!r} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at offset "
            f"{error.start} ({error.reason}). Convert it first, for example with "
            "`iconv -f latin1 -t utf-8`, or leave it out."
        ) from None


def cut(document: Document, piece_characters: int) -> list[Document]:
    """Cut a text into pieces of at most ``piece_characters``, after blank lines where possible."""
    if piece_characters < 1:
        raise ValueError(f"piece_characters is {piece_characters}, expected at least 1")
    text, pieces, start = document.text, [], 0
    while start < len(text):
        end = min(start + piece_characters, len(text))
        if end < len(text):
            blank_line = text.rfind("\n\n", start + piece_characters // 2, end)
            end = end if blank_line < 0 else blank_line + 2
        pieces.append(text[start:end])
        start = end
    if len(pieces) == 1:
        return [document]
    return [
        document._replace(name=f"{document.name}[{number}]", text=piece)
        for number, piece in enumerate(pieces)
    ]


def split_documents(
    documents: Sequence[Document], held_out_fraction: float = 0.05
) -> tuple[list[Document], list[Document]]:
    """Split documents into a training and a held-out part, each in a shuffled, fixed order.

    The hash of a document's text decides its part and its place, so neither depends on the other
    documents, and a new version of the corpus moves none of the old ones. (One exception: when the
    rule would leave a part empty, the one document nearest to the boundary changes sides.)

    Returns ``(train, held_out)``. Raises ``ValueError`` for fewer than two documents or a fraction
    that is not between 0 and 1.
    """
    if not 0 < held_out_fraction < 1:
        raise ValueError(f"held_out_fraction is {held_out_fraction}, expected between 0 and 1")
    if len(documents) < 2:
        raise ValueError(
            f"{len(documents)} document(s) cannot be split into training and held-out text: give "
            "more text, or cut it into smaller pieces (piece_characters of read_text_documents)"
        )
    shuffled = sorted(documents, key=digest)
    limit = round(held_out_fraction * 2**64).to_bytes(8, "big")
    number = sum(digest(document)[:8] < limit for document in documents)
    number = min(max(number, 1), len(documents) - 1)
    return shuffled[number:], shuffled[:number]


def digest(document: Document) -> bytes:
    """The sha256 of a document's text: what orders and splits documents."""
    return hashlib.sha256(document.text.encode()).digest()
