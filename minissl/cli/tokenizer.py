"""train a byte-level BPE tokenizer, encode, decode, see how a text is split

Input is bytes throughout, never text in the terminal's encoding: what is no UTF-8, a byte-order
mark and every kind of line end come back from ``decode`` as they went into ``encode``.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from minissl.cli._shared import DATA_HELP, path

SMALLEST_VOCABULARY = 257  # every byte, and the separator of documents
LARGEST_VOCABULARY = 2**31 - 1
PATTERNS = ("gpt2", "cl100k", "llama3", "o200k")  # as in minissl.text.patterns
_IDS = 1 << 16  # written at once
_BYTES = 1 << 16  # of written ids, read at once
_LONGEST_ID = 20  # digits


DESCRIPTION = """\
Input is bytes throughout: what is no UTF-8, a byte-order mark and every kind of line end come back
from `decode` as they went into `encode`."""
EXAMPLES = """\
examples:
  minissl tokenizer train book.txt --vocab-size 4096 --out tok.json
  echo "Hello there" | minissl tokenizer encode --tokenizer tok.json
  echo "72 101 108" | minissl tokenizer decode --tokenizer tok.json
  minissl tokenizer show --tokenizer tok.json --text "unbelievable" """


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the command its four actions."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    train = actions.add_parser("train", help="learn a vocabulary from text")
    train.add_argument(
        "text",
        nargs="?",
        type=path,
        help=f"{DATA_HELP} (default: python-english)",
    )
    train.add_argument(
        "--vocab-size", type=_vocabulary_size, default=4096, help="(default: %(default)s)"
    )
    train.add_argument("--pattern", choices=PATTERNS, default="gpt2")
    train.add_argument("--out", type=path, default=Path("tokenizer.json"), help="(%(default)s)")
    train.add_argument("--huggingface", type=path, help="also write a Hugging Face tokenizer.json")
    train.set_defaults(function=run_train)

    for name, run, what in (
        ("encode", run_encode, "text to ids"),
        ("decode", run_decode, "ids to text"),
        ("show", run_show, "the pieces of a text, coloured"),
    ):
        action = actions.add_parser(name, help=what)
        given = action.add_mutually_exclusive_group()
        given.add_argument("file", nargs="?", type=path, help="(default: standard input)")
        given.add_argument("--text", help="the input itself, instead of a file")
        action.add_argument(
            "--tokenizer",
            type=path,
            required=True,
            help="tokenizer.json (also Hugging Face's), *.tiktoken or run folder",
        )
        action.add_argument(
            "--pattern",
            choices=PATTERNS,
            default="gpt2",
            help="of a .tiktoken file, which does not say (default: %(default)s)",
        )
        action.set_defaults(function=run)


def run_train(arguments: argparse.Namespace) -> None:
    """Train and save, after a look at whether there is a place to save to."""
    from minissl.text import Tokenizer, save_huggingface, save_tokenizer
    from minissl.text.documents import SEPARATOR

    texts = _whole_texts(arguments.text)
    _make_places(arguments)
    tokenizer = Tokenizer.train(
        texts,
        arguments.vocab_size,
        pattern=arguments.pattern,
        special_tokens=[SEPARATOR],
        progress=True,
    )
    save_tokenizer(tokenizer, arguments.out)
    if arguments.huggingface:
        save_huggingface(tokenizer, arguments.huggingface)
    size = sum(len(text.encode()) for text in texts)
    count = sum(len(tokenizer.encode(text, allow_special="all")) for text in texts)
    print(
        f"{arguments.out}: {tokenizer.vocab_size:,} tokens; "
        f"{size:,} bytes are {count:,} tokens ({size / max(count, 1):.2f} bytes per token)"
    )


def run_encode(arguments: argparse.Namespace) -> None:
    """Print the ids, separated by spaces, while the input is read."""
    tokenizer = _load(arguments.tokenizer, arguments.pattern)
    with _input(arguments) as (_, file):
        ids = tokenizer.encode_binary(file, allow_special="all")
        space = ""
        while block := list(islice(ids, _IDS)):
            sys.stdout.write(space + " ".join(map(str, block)))
            space = " "
    print()


def run_decode(arguments: argparse.Namespace) -> None:
    """Write the bytes the ids stand for, while the ids are read."""
    tokenizer = _load(arguments.tokenizer, arguments.pattern)
    sys.stdout.flush()
    with _input(arguments) as (name, file):
        number = 1  # of the word the block begins with
        for words in _words(file):
            sys.stdout.buffer.write(_decoded(tokenizer, words, name, number))
            number += len(words)
    sys.stdout.buffer.flush()


def run_show(arguments: argparse.Namespace) -> None:
    """Print the pieces."""
    from minissl.text import show_tokens

    tokenizer = _load(arguments.tokenizer, arguments.pattern)
    with _input(arguments) as (_, file):
        print(str(show_tokens(tokenizer, file.read())))


# ---- what is read --------------------------------------------------------------------------------


def _whole_texts(path: Path | None) -> list[str]:
    """The texts to train on: every file whole, so that ``encode`` finds the same tokens in it."""
    from minissl.data import located
    from minissl.text.documents import read_text_documents

    place = located(path, "python-english", "texts")
    if isinstance(place, Path):
        found = read_text_documents(
            place, piece_characters=sys.maxsize, any_kind=True, keep_mark=True
        )
    else:
        found = place.load()
    return [document.text for document in found]


def _load(path: Path, pattern: str) -> Any:
    from minissl.text import load_huggingface, load_tiktoken, load_tokenizer
    from minissl.text.huggingface import is_huggingface

    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.exists():
        raise FileNotFoundError(
            f"no tokenizer {str(file)!r}: expected a file of `minissl tokenizer train`, Hugging "
            "Face's tokenizer.json, a .tiktoken file, or the run folder of `minissl pretrain gpt`"
        )
    if file.suffix == ".tiktoken":
        return load_tiktoken(file, pattern=pattern)
    if is_huggingface(file):
        return load_huggingface(file, add_special_tokens=False)
    return load_tokenizer(file)


@contextmanager
def _input(arguments: argparse.Namespace) -> Iterator[tuple[str, BinaryIO]]:
    """What the input is called in messages, and its bytes."""
    path: Path | None = arguments.file
    if arguments.text is not None:
        yield "--text", io.BytesIO(os.fsencode(arguments.text))  # as they were typed
    elif path is None:
        if sys.stdin is None:
            raise ValueError("standard input is closed: give a file or --text")
        yield "standard input", sys.stdin.buffer
    elif path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder: give one file")
    elif not path.exists():
        raise FileNotFoundError(f"no file {str(path)!r}: give one, --text or standard input")
    else:
        with open(path, "rb") as file:
            yield str(path), file


def _words(file: BinaryIO) -> Iterator[list[bytes]]:
    """The words between white space and commas, in lists: one for each block of the file."""
    begun = b""
    for block in iter(partial(file.read, _BYTES), b""):
        words = (begun + block + b".").replace(b",", b" ").split()
        begun = words.pop()[:-1]  # the point shows whether the last word may go on
        if len(begun) > _LONGEST_ID:
            words.append(begun)  # no id, whatever follows
            begun = b""
        yield words
    yield [begun] if begun else []


def _decoded(tokenizer: Any, words: list[bytes], name: str, number: int) -> bytes:
    """The bytes of the ids that the words are; the first has the number in the input."""
    try:
        return tokenizer.decode_bytes([_id(word) for word in words])
    except ValueError:
        for place, word in enumerate(words, start=number):
            try:
                tokenizer.token_bytes(_id(word))
            except ValueError as error:
                raise ValueError(f"{name}, word {place}: {error}") from None
        raise


def _id(word: bytes) -> int:
    if not word.removeprefix(b"-").isdigit() or len(word) > _LONGEST_ID:
        text = word[:40].decode("utf-8", "backslashreplace")
        raise ValueError(
            f"decode expects ids, got {text!r}: whole numbers with spaces, commas or line ends "
            "between them, as encode prints them"
        )
    return int(word)


# ---- what is written -----------------------------------------------------------------------------


def _vocabulary_size(text: str) -> int:
    try:
        if SMALLEST_VOCABULARY <= int(text) <= LARGEST_VOCABULARY:
            return int(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"got {text!r}, expected a whole number from {SMALLEST_VOCABULARY} (256 bytes and the "
        f"separator) to {LARGEST_VOCABULARY}"
    )


def _make_places(arguments: argparse.Namespace) -> None:
    """Make the folders of the files to be; ``OSError`` where one could not be written."""
    given = {"--out": arguments.out, "--huggingface": arguments.huggingface}
    options = {option: place for option, place in given.items() if place is not None}
    taken = {arguments.text.resolve(): "the text"} if arguments.text else {}
    for option, place in options.items():
        if (other := taken.setdefault(place.resolve(), option)) != option:
            raise ValueError(f"{option} {str(place)!r} is also {other}: name another file")
        if place.exists() and not place.is_file():
            what = "a folder" if place.is_dir() else "no ordinary file"
            raise OSError(f"{option} {str(place)!r} is {what}: name the file to write")
    for option, place in options.items():
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=place.parent).close()
        except OSError as error:
            raise OSError(
                f"{option} {str(place)!r} cannot be written: {error.strerror} "
                f"({str(error.filename or place.parent)!r}); choose another place"
            ) from None
