"""Files of word vectors, as word2vec and GloVe write them: text and binary. Lecture 04.

=========  ==============================================================================
``.vec``   word2vec text: a line "words width", then a line "word number number ..." each
``.bin``   word2vec binary: the same first line, then "word ", the numbers as float32 with
           the low byte first, and perhaps a line end
``.txt``   GloVe text: the lines alone; with a first line "words width" it is word2vec text
=========  ==============================================================================

Other programs read what is written here, and vectors that were published are read. What is written
comes back bit for bit: 9 digits tell any two float32 apart.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minissl.data.vectors import WordVectors
from minissl.durable import replace_durably
from minissl.reading import reading, shown
from minissl.text.files import MARKS, PACKED, SAMPLE, signature

SUFFIXES = (".vec", ".bin", ".txt")
LONGEST_LINE = 1 << 22  # bytes; 100,000 numbers have less
LONGEST_WORD = 1 << 12  # bytes
MARK = b"\xef\xbb\xbf"  # that some editors put before UTF-8
LINES = 1024  # parsed at once
NUMBER = "%#.9g"  # "#": always with a point, so that no line of vectors looks like a first line


class Header(NamedTuple):
    """The first line of word2vec's files."""

    words: int
    width: int


def read_vectors(path: str | os.PathLike[str]) -> WordVectors:
    """The word vectors of a file; its format is that of its name, see above.

    Of text the first line decides, whatever the name: two whole numbers promise the size. A .bin
    with text below that line is read as text. Words are UTF-8; in text they may have spaces in
    them, as some that were published have.

    Raises FileError with the file's name, and the line where there is one, for what is damaged or
    cut off: another number of words or numbers than promised, a number that is none or not finite,
    an empty word, one that stands twice or is no UTF-8. ValueError for another name, OSError for
    what cannot be read.
    """
    path = Path(path)
    suffix = check_suffix(path)
    with reading(path, "word vectors"):
        if path.exists() and not path.is_file():
            raise ValueError("it is no ordinary file")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            _require_vectors(file, size)
            first = _line(file, 1).removeprefix(MARK)
            header = _header(first)
            if suffix == ".bin" and not _is_text(file, header):
                return _read_binary(file, header, size)
            return _read_text(file, first, header, size)


def write_vectors(vectors: WordVectors, path: str | os.PathLike[str]) -> None:
    """Write a file in the format of its name, whole or not at all.

    Raises ValueError for another name, and for a word with a space or line end in it, which other
    programs would take for two.
    """
    path = Path(path)
    suffix = check_suffix(path)
    for word in vectors.words:
        data = word.encode()
        if data.split() != [data] or data.startswith(MARK) or b"\0" in data:
            raise ValueError(
                f"the word {word!r:.60} has a space, a line end or another mark of files in it, "
                f"and {shown(path)} is to be a file of words: replace it, for example by _"
            )
    begin = b"" if suffix == ".txt" else f"{len(vectors)} {vectors.width}\n".encode()
    written = _binary(vectors) if suffix == ".bin" else _text(vectors)
    replace_durably(path, b"".join([begin, *written]))


def check_suffix(path: Path) -> str:
    """The ending of a name of a file of vectors. ValueError for any other."""
    suffix = path.suffix.lower()
    if suffix in PACKED:
        raise ValueError(f"{shown(path)} is packed: unpack it first, and give what was in it")
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{shown(path)}: the name of a file of word vectors ends with .vec (word2vec text), "
            ".bin (word2vec binary) or .txt (GloVe text)"
        )
    return suffix


def _text(vectors: WordVectors) -> Iterator[bytes]:
    form = " ".join([NUMBER] * vectors.width)
    for start in range(0, len(vectors), LINES):
        rows = vectors.matrix[start : start + LINES].tolist()
        words = vectors.words[start : start + LINES]
        lines = [f"{word} {form % tuple(row)}\n" for word, row in zip(words, rows)]
        yield "".join(lines).encode()


def _binary(vectors: WordVectors) -> Iterator[bytes]:
    for word, row in zip(vectors.words, vectors.matrix.astype("<f4", copy=False)):
        yield b"%b %b\n" % (word.encode(), row.tobytes())


# ---- reading -------------------------------------------------------------------------------------


def _require_vectors(file: BinaryIO, size: int) -> None:
    """Raise ValueError with what it is for a file that is empty, packed or in another encoding."""
    begin = file.peek(SAMPLE)[:SAMPLE]  # type: ignore[attr-defined]
    if not size:
        raise ValueError("it is empty")
    if kind := signature(begin):
        raise ValueError(f"it {kind}")
    if encoding := next((name for mark, name in MARKS.items() if begin.startswith(mark)), None):
        raise ValueError(
            f"it is {encoding.upper()}, and UTF-8 is wanted: convert it first, "
            f"`iconv -f {encoding} -t utf-8 FILE > NEW`"
        )


def _line(file: BinaryIO, number: int) -> bytes:
    """The next line without its end; FileError where none ends."""
    line = file.readline(LONGEST_LINE)
    if line.endswith(b"\n"):
        return line.rstrip()
    if len(line) == LONGEST_LINE:
        raise ValueError(f"line {number} has more than {LONGEST_LINE:,} bytes")
    raise ValueError(
        f"line {number} has no end: the file was cut off there (if it is whole, add a line end)"
    )


def _header(line: bytes) -> Header | None:
    """What a first line promises; None when it is the line of a word."""
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        return None
    if max(map(len, parts)) > 18 or 0 in map(int, parts):
        raise ValueError(
            f"its first line promises {line.decode()[:60]} (words, and numbers for each)"
        )
    return Header(*map(int, parts))


def _is_text(file: BinaryIO, header: Header | None) -> bool:
    """Whether the line below the header is a word with so many numbers, in characters."""
    line = file.peek(1).partition(b"\n")[0].split()  # type: ignore[attr-defined]
    return header is not None and len(line) > header.width and all(map(_is_number, line[1:]))


def _check_size(header: Header, least: int, size: int) -> None:
    """Raise ValueError when so many words, each of at least so many bytes, cannot be there."""
    if header.words * least > size:
        raise ValueError(
            f"its first line promises {header.words:,} words of {header.width:,} numbers, at least "
            f"{header.words * least:,} bytes, and it has {size:,}: it was cut off, or is no "
            "such file"
        )


def _read_binary(file: BinaryIO, header: Header | None, size: int) -> WordVectors:
    if header is None:
        raise ValueError(
            "a .bin begins with a line of two whole numbers, as word2vec writes it: how many "
            "words, and how many numbers for each"
        )
    _check_size(header, 2 + 4 * header.width, size)
    matrix = np.empty(header, "<f4")
    words = []
    ended = set()  # whether vectors end with a line end: all or none, or a byte was lost
    for row in range(header.words):
        word = _word(file, row)
        if row:
            ended.add(word.startswith(b"\n"))
        if len(ended) > 1 or b"\n" in (word := word.removeprefix(b"\n")):
            raise ValueError(
                f"a line end is missing or misplaced at word {row + 1:,}: bytes were lost or added"
            )
        words.append(_decode(word, f"word {row + 1:,}"))
        if file.readinto(memoryview(matrix[row]).cast("B")) < 4 * header.width:  # type: ignore[attr-defined]
            raise ValueError(f"it ends in the vector of word {row + 1:,}, {words[-1]!r:.60}")
    more = file.read(2)
    if more not in (b"", b"\n"):
        raise ValueError(f"more follows after {header.words:,} words: {more!r}")
    if len(ended | {bool(more)}) > 1:
        raise ValueError("its last vector does not end as the others do: bytes were lost or added")
    return _vectors(words, matrix.astype(np.float32, copy=False), lambda row: f"word {row + 1:,}")


def _word(file: BinaryIO, row: int) -> bytes:
    """The bytes up to a space, with the line end that may stand before them."""
    word = bytearray()
    while (byte := file.read(1)) != b" ":
        if not byte:
            raise ValueError(f"it ends before the vector of word {row + 1:,}")
        word += byte
        if len(word) > LONGEST_WORD:
            raise ValueError(
                f"word {row + 1:,} has more than {LONGEST_WORD:,} bytes: if it is text, its name "
                "ends with .vec"
            )
    return bytes(word)


def _read_text(file: BinaryIO, first: bytes, header: Header | None, size: int) -> WordVectors:
    begin = 1 if header is None else 2  # number of the first line with a vector
    width = _width(first) if header is None else header.width
    if header is not None:
        if b"\0" in file.peek(1):  # type: ignore[attr-defined]
            raise ValueError(
                "it has NULs and is no text: if word2vec wrote it in binary, its name "
                "ends with .bin"
            )
        _check_size(header, 2 + 2 * width, size)
    words: list[str] = []
    blocks: list[NDArray[np.float32]] = []
    lines = _lines(file, [first] if header is None else [], begin)
    while block := list(islice(lines, LINES)):
        found, rows = _parse(block, width, begin + len(words))
        words += found
        blocks.append(rows)
    if header is not None and len(words) != header.words:
        raise ValueError(
            f"its first line promises {header.words:,} words, {len(words):,} follow: it was cut "
            "off, or two files were put together"
        )
    return _vectors(words, np.concatenate(blocks), lambda row: f"line {row + begin:,}")


def _lines(file: BinaryIO, before: list[bytes], number: int) -> Iterator[bytes]:
    yield from before
    number += len(before)
    while file.peek(1):  # type: ignore[attr-defined]
        yield _line(file, number)
        number += 1


def _parse(lines: list[bytes], width: int, number: int) -> tuple[list[str], NDArray[np.float32]]:
    """The words of some lines, and their numbers (lines, width). ``number``: of the first line."""
    words, numbers = [], []
    for place, line in enumerate(lines, number):
        word, *rest = line.split(b" ")
        if len(rest) != width or b"_" in line[len(word) :]:  # Python reads 1_0 as 10
            word, rest = _parts(line, width, place)
        words.append(_decode(word, f"line {place:,}"))
        numbers += rest
    try:
        values = np.fromiter(map(float, numbers), np.float64, len(numbers))
    except ValueError:
        at = next(i for i, text in enumerate(numbers) if not _is_number(text))
        raise ValueError(
            f"line {number + at // width:,} has {_shown(numbers[at])}, expected a number"
        ) from None
    with np.errstate(over="ignore"):  # an infinity is told with its word
        return words, values.astype(np.float32).reshape(-1, width)


def _parts(line: bytes, width: int, place: int) -> tuple[bytes, list[bytes]]:
    """The word and the numbers of a line that is not of the usual form: the word has a space."""
    word, *rest = line.rsplit(b" ", width)
    inside = word.split(b" ")
    fits = len(rest) == width and all(map(_is_number, rest))
    if not fits or b"" in inside or any(map(_is_number, inside[1:])):
        count = sum(map(_is_number, line.split()[1:]))
        raise ValueError(
            f"line {place:,} is {_shown(line)} with {count:,} number(s), expected a word and "
            f"{width:,} as its first line has it, with one space between them"
        )
    return word, rest


def _width(line: bytes) -> int:
    """How many numbers stand at the end of the first line, after its word."""
    parts = line.split(b" ")[1:]
    width = next((i for i, part in enumerate(reversed(parts)) if not _is_number(part)), len(parts))
    if not width:
        raise ValueError(
            f"line 1 is {_shown(line)}, expected a word and its numbers with one space between "
            "them, or how many words and how many numbers for each"
        )
    return width


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return b"_" not in text


def _decode(word: bytes, place: str) -> str:
    try:
        text = word.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{place}: the word {_shown(word)} is no UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{place}: the word {_shown(word)} has a NUL in it")
    return text


def _shown(text: bytes) -> str:
    """For errors: how a line or word begins, as text where it is one."""
    try:
        begin: str | bytes = text.decode()[:40]
    except UnicodeDecodeError:
        begin = text[:40]
    return f"{begin!r}{'...' if len(text) > 40 else ''}"


def _vectors(words: list[str], matrix: NDArray[np.float32], place: object) -> WordVectors:
    matrix.flags.writeable = False  # so no copy is made
    return WordVectors(words, matrix, place=place)  # type: ignore[arg-type]
