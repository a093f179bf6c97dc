"""Text documents: read from files, cut into pieces, split into training and held-out parts.

Lecture 05 (language models) trains on them.
"""

import hashlib
import os
from collections.abc import Sequence
from itertools import chain, groupby, islice
from pathlib import Path
from typing import NamedTuple

from minissl.options import several
from minissl.text.files import files_below, read_text, shown

__all__ = [
    "SEPARATOR",
    "Document",
    "cut",
    "digest",
    "held_out_share",
    "read_text_documents",
    "split_documents",
]

SEPARATOR = "<|endoftext|>"  # the special token between two documents, GPT-2's
TEXT_SUFFIXES = (".txt", ".md", ".rst")

MANY_DOCUMENTS = 200  # with fewer, the hashes of whole documents miss the fraction by too much
FEWEST_CHARACTERS = 20  # one of them is the twentieth part that is held out


class Document(NamedTuple):
    """One document: a unique name, where it came from (a package, a folder), and its text."""

    name: str
    source: str
    text: str


def read_text_documents(
    path: str | os.PathLike[str],
    suffixes: Sequence[str] | None = TEXT_SUFFIXES,
    piece_characters: int = 10_000,
    *,
    any_kind: bool = False,
    keep_mark: bool = False,
    keep_empty: bool = False,
) -> list[Document]:
    """The documents of a text file, or of every text file below a folder.

    A text longer than ``piece_characters`` is cut into documents of about that length, after a
    blank line where there is one, so that a single long file can be split as well; the pieces,
    joined, are the file. Encodings and byte-order marks: see ``files.read_text``, also for
    ``keep_mark``. Line ends stay as they are. A file of the folder counts as text when its name
    ends with one of ``suffixes`` (``None``: every file); hidden files are passed over. A file given
    by name is read whatever its suffix, but JSON, markup and tables are refused unless
    ``any_kind``, and empty ones are passed over unless ``keep_empty``. Files are read whole into
    memory.

    Returns documents in the order of their names. Raises ``FileNotFoundError`` for a path that does
    not exist or a folder without text files, ``OSError`` naming the file that cannot be read, and
    ``ValueError`` naming the one that is no plain text, or when all are empty.
    """
    root, suffixes = Path(path), suffixes and several(suffixes, "suffixes")
    if not root.exists():
        raise FileNotFoundError(f"no file or folder {shown(root)!r}: give one with UTF-8 text")
    documents = []
    files = [root] if not root.is_dir() else _text_files(root, suffixes)
    for file in files:
        relative = file.relative_to(root if root.is_dir() else root.parent)
        text = read_text(file, any_kind=any_kind, keep_mark=keep_mark)
        whole = Document(shown(relative.as_posix()), shown(relative.parts[0]), text)
        documents.extend(cut(whole, piece_characters) or [whole] * keep_empty)
    if not documents:
        raise ValueError(f"{shown(root)!r} holds no text: its {len(files)} file(s) are empty")
    return documents


def _text_files(folder: Path, suffixes: Sequence[str] | None) -> list[Path]:
    every_file = files_below(folder)
    files = [f for f in every_file if suffixes is None or f.suffix.lower() in suffixes]
    if not files:
        names = [shown(file.name) for file in every_file]
        found = f"{len(names)} other file(s) such as {names[0]!r}" if names else "no files at all"
        raise FileNotFoundError(
            f"no text files below {shown(folder)!r}: expected names that end with "
            f"{', '.join(suffixes or ['anything'])}, found {found}"
        )
    return files


def cut(document: Document, piece_characters: int) -> list[Document]:
    """Cut a text into pieces of at most ``piece_characters``, after blank lines where possible."""
    if piece_characters < 1:
        raise ValueError(f"piece_characters is {piece_characters}, expected at least 1")
    text, pieces, start = document.text, [], 0
    while start < len(text):
        end = min(start + piece_characters, len(text))
        if end < len(text):
            end = _after_blank_line(text, start + piece_characters // 2, end) or end
        pieces.append(text[start:end])
        start = end
    if len(pieces) == 1:
        return [document]
    return [
        document._replace(name=f"{document.name}[{number}]", text=piece)
        for number, piece in enumerate(pieces)
    ]


def _after_blank_line(text: str, start: int, end: int) -> int:
    """Where the last blank line between two places ends, with any kind of line end; 0: nowhere."""
    places = []
    for blank in ("\n\n", "\n\r\n", "\r\r"):  # the second is also that of "\r\n\r\n"
        found = text.rfind(blank, start, end)
        place = found + len(blank)
        if found >= 0 and not (blank[-1] == "\r" and text.startswith("\n", place)):
            places.append(place)
    return max(places, default=0)


def split_documents(
    documents: Sequence[Document], held_out_fraction: float = 0.05
) -> tuple[list[Document], list[Document]]:
    """Split documents into a training and a held-out part; hashes of texts decide, no chance.

    With 200 documents or more the hash of a document's text decides its part and its place in a
    shuffled, fixed order, so neither depends on the other documents, and a new version of the
    corpus moves none of the old ones. (One exception: when the rule would leave a part empty, the
    one document nearest to the boundary changes sides.)

    With fewer, whole documents would miss the fraction by far. So they are cut into pieces of at
    most a fortieth of the characters, and those with the smallest hashes are held out until they
    have ``held_out_fraction`` of the characters: by default between 3 and 15 per cent for any
    text. Pieces of equal text are on one side where these limits allow it. Neighbours on one side
    are joined again, and both parts keep the order of the input: the training text is the text
    with holes. What was cut is named for its pieces, such as ``book.txt[3-17]``; an empty document
    is in neither part.

    Returns ``(train, held_out)``; ``held_out_share`` says how much that is. Raises ``ValueError``
    for fewer than 20 characters in all or a fraction that is not between 0 and 1. Lecture 05.
    """
    if not 0 < held_out_fraction < 1:
        raise ValueError(f"held_out_fraction is {held_out_fraction}, expected between 0 and 1")
    if len(documents) < MANY_DOCUMENTS:
        return _split_pieces(documents, held_out_fraction)
    shuffled = sorted(documents, key=digest)
    limit = round(held_out_fraction * 2**64).to_bytes(8, "big")
    number = sum(digest(document)[:8] < limit for document in documents)
    number = min(max(number, 1), len(documents) - 1)
    return shuffled[number:], shuffled[:number]


def held_out_share(train: Sequence[Document], held_out: Sequence[Document]) -> float:
    """The held-out part of the characters, between 0 and 1; 0 when there are none at all."""
    held_out_characters, characters = _characters(held_out), _characters([*train, *held_out])
    return held_out_characters / characters if characters else 0.0


def digest(document: Document) -> bytes:
    """The sha256 of a document's text: what orders and splits documents."""
    return hashlib.sha256(document.text.encode()).digest()


def _characters(documents: Sequence[Document]) -> int:
    return sum(len(document.text) for document in documents)


def _split_pieces(
    documents: Sequence[Document], fraction: float
) -> tuple[list[Document], list[Document]]:
    characters = _characters(documents)
    if characters < FEWEST_CHARACTERS:
        raise ValueError(
            f"{characters} character(s) in {len(documents)} document(s) cannot be split into "
            f"training and held-out text: expected at least {FEWEST_CHARACTERS}, give more text"
        )
    size = max(1, int(characters * min(1 / 40, fraction / 2, (1 - fraction) / 2)))
    pieces = [cut(document, size) for document in documents]
    every_piece = list(chain.from_iterable(pieces))
    chosen = _choose(every_piece, characters, fraction)
    sides = iter([index in chosen for index in range(len(every_piece))])
    parts: tuple[list[Document], list[Document]] = ([], [])
    for document, own in zip(documents, pieces):
        own_sides = list(islice(sides, len(own)))
        for held_out, run in groupby(range(len(own)), own_sides.__getitem__):
            parts[held_out].append(_joined(document, own, list(run)))
    return parts


def _choose(pieces: Sequence[Document], characters: int, fraction: float) -> set[int]:
    """The indices of the pieces to hold out, of a text of so many characters in all."""
    wanted = fraction * characters
    most = wanted + min(2 * wanted, (characters - wanted) / 2)  # 5 per cent: 15 at most
    # Names decide between equal texts, so that the order of the documents does not.
    order = sorted(range(len(pieces)), key=lambda i: (digest(pieces[i]), pieces[i].name))
    chosen: list[int] = []
    too_common: list[int] = []
    held_out = 0
    for text, group in groupby(order, lambda i: pieces[i].text):
        copies = list(group)
        if held_out >= wanted:
            break
        if held_out + len(text) * len(copies) > most:
            too_common += copies
        else:
            chosen += copies
            held_out += len(text) * len(copies)
    if held_out >= 0.6 * wanted:  # 5 per cent: 3 at least
        return set(chosen)
    for i in too_common:  # nothing else is left: copies come to stand on both sides
        if held_out >= wanted or held_out + len(pieces[i].text) >= characters:
            break
        chosen.append(i)
        held_out += len(pieces[i].text)
    return set(chosen)


def _joined(document: Document, pieces: Sequence[Document], run: Sequence[int]) -> Document:
    """The pieces of the run, which follow each other in the document, as one."""
    if len(run) == len(pieces):
        return document
    numbers = f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}"
    text = "".join(pieces[i].text for i in run)
    return document._replace(name=f"{document.name}[{numbers}]", text=text)
