"""train a BPE or WordPiece tokenizer, encode, decode, see how a text is split

Input is bytes throughout, never text in the terminal's encoding. With byte-level BPE what is no
UTF-8, a byte-order mark and every kind of line end come back from ``decode`` as they went into
``encode``. WordPiece knows characters, and gives back words with a space between them.
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
KINDS = ("bpe", "wordpiece")
PATTERNS = ("gpt2", "cl100k", "llama3", "o200k")  # as in minissl.text.patterns
_IDS = 1 << 16  # written at once
_BYTES = 1 << 16  # of written ids, read at once
_LONGEST_ID = 20  # digits


DESCRIPTION = """\
Input is bytes throughout. With byte-level BPE (tokenizer.json) what is no UTF-8, a byte-order mark
and every kind of line end come back from `decode` as they went into `encode`. WordPiece (vocab.txt,
BERT's) reads UTF-8 only, and gives back words: case, accents and the spaces between are lost."""
EXAMPLES = """\
examples:
  minissl tokenizer train book.txt --vocab-size 4096 --out tok.json
  echo "Hello there" | minissl tokenizer encode --tokenizer tok.json
  echo "72 101 108" | minissl tokenizer decode --tokenizer tok.json
  minissl tokenizer show --tokenizer tok.json --text "unbelievable"
  minissl tokenizer train book.txt --kind wordpiece --vocab-size 4096 --out vocab.txt
  minissl tokenizer show --tokenizer vocab.txt --text "unbelievable" """


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
    train.add_argument(
        "--kind",
        choices=KINDS,
        default="bpe",
        help="byte-level BPE as in GPT, WordPiece as in BERT (default: %(default)s)",
    )
    train.add_argument("--pattern", choices=PATTERNS, help="how bpe cuts words (default: gpt2)")
    train.add_argument("--cased", action="store_true", help="of wordpiece: keep case and accents")
    train.add_argument(
        "--out", type=path, help="(default: tokenizer.json, or vocab.txt for wordpiece)"
    )
    train.add_argument(
        "--huggingface", type=path, help="of bpe: also write a Hugging Face tokenizer.json"
    )
    train.set_defaults(function=run_train)

    for name, run, what in (
        ("encode", run_encode, "text to ids"),
        ("decode", run_decode, "ids to text"),
        ("show", run_show, "the pieces of a text, colored"),
    ):
        action = actions.add_parser(name, help=what)
        given = action.add_mutually_exclusive_group()
        given.add_argument("file", nargs="?", type=path, help="(default: standard input)")
        given.add_argument("--text", help="the input itself, instead of a file")
        action.add_argument(
            "--tokenizer",
            type=path,
            required=True,
            help="tokenizer.json (also Hugging Face's), vocab.txt, *.tiktoken or run folder",
        )
        action.add_argument(
            "--cased",
            action="store_true",
            help="of a vocab.txt, which does not say: it has case and accents",
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
    _check_kind(arguments)
    texts = _whole_texts(arguments.text)
    _make_places(arguments)
    tokenizer = _trained(texts, arguments)
    size = sum(len(text.encode()) for text in texts)
    count = sum(len(tokenizer.encode(text, allow_special="all")) for text in texts)
    print(
        f"{arguments.out}: {tokenizer.vocab_size:,} tokens; "
        f"{size:,} bytes are {count:,} tokens ({size / max(count, 1):.2f} bytes per token)"
    )


def _trained(texts: list[str], arguments: argparse.Namespace) -> Any:
    """The tokenizer, already saved."""
    from minissl.text import Tokenizer, WordPiece, save_huggingface, save_tokenizer
    from minissl.text.documents import SEPARATOR

    if arguments.kind == "wordpiece":
        pieces = WordPiece.train(texts, arguments.vocab_size, lowercase=not arguments.cased)
        pieces.write(arguments.out)
        return pieces
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
    return tokenizer


def run_encode(arguments: argparse.Namespace) -> None:
    """Print the ids, separated by spaces, while the input is read."""
    tokenizer = _load(arguments)
    with _input(arguments) as (name, file):
        ids = tokenizer.encode_binary(file, allow_special="all")
        space = ""
        with _named(name):
            while block := list(islice(ids, _IDS)):
                sys.stdout.write(space + " ".join(map(str, block)))
                space = " "
    print()


def run_decode(arguments: argparse.Namespace) -> None:
    """Write the bytes the ids stand for, while the ids are read."""
    tokenizer = _load(arguments)
    sys.stdout.flush()
    with _input(arguments) as (name, file):
        number = 1  # of the word the block begins with
        for words in _words(file):
            sys.stdout.buffer.write(_decoded(tokenizer, words, name, number))
            number += len(words)
    sys.stdout.buffer.write(b"\n" if _is_wordpiece(tokenizer) else b"")
    sys.stdout.buffer.flush()


def run_show(arguments: argparse.Namespace) -> None:
    """Print the pieces."""
    from minissl.text import show_tokens

    tokenizer = _load(arguments)
    with _input(arguments) as (name, file), _named(name):
        ids = tokenizer.encode_binary(file, allow_special="all")
        print(str(show_tokens(tokenizer, ids)))


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


def _load(arguments: argparse.Namespace) -> Any:
    """A Tokenizer or a WordPiece."""
    from minissl.text import WordPiece, load_huggingface, load_tiktoken, load_tokenizer
    from minissl.text.huggingface import is_huggingface

    path: Path = arguments.tokenizer
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.exists():
        raise FileNotFoundError(
            f"no tokenizer {str(file)!r}: expected a file of `minissl tokenizer train`, Hugging "
            "Face's tokenizer.json, a vocab.txt, a .tiktoken file, or the run folder of "
            "`minissl pretrain gpt`"
        )
    if file.suffix == ".txt" and not _starts_json(file):
        return _check_case(WordPiece.read(file, lowercase=not arguments.cased), file)
    if arguments.cased:
        raise ValueError(f"--cased is of a vocab.txt, and {str(file)!r} is none: leave it out")
    if file.suffix == ".tiktoken":
        return load_tiktoken(file, pattern=arguments.pattern)
    if is_huggingface(file):
        return load_huggingface(file, add_special_tokens=False)
    return load_tokenizer(file)


def _starts_json(file: Path) -> bool:
    with open(file, "rb") as opened:
        return opened.read(1) == b"{"


def _check_case(tokenizer: Any, file: Path) -> Any:
    """Refuse capitals that a text in small letters would never meet: the ids would be others."""
    tokens = [token for token in tokenizer.tokens if token != token.lower() and token[0] != "["]
    if tokenizer.lowercase and len(tokens) > len(tokenizer.tokens) / 100:
        raise ValueError(
            f"{str(file)!r} has capital letters in {len(tokens):,} of its {tokenizer.vocab_size:,} "
            f"tokens, such as {tokens[0]!r}, and a text loses its capitals first: give --cased"
        )
    return tokenizer


@contextmanager
def _named(name: str) -> Iterator[None]:
    """A ValueError about the input says which input."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


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
        ids = [_id(word) for word in words]
        if not _is_wordpiece(tokenizer):
            return tokenizer.decode_bytes(ids)
        text = tokenizer.decode(ids)
        goes_on = number > 1 and ids
        return (f" {text}".replace(" ##", "") if goes_on else text).encode()
    except ValueError:
        for place, word in enumerate(words, start=number):
            try:
                tokenizer.token_bytes(_id(word))
            except ValueError as error:
                raise ValueError(f"{name}, word {place}: {error}") from None
        raise


def _is_wordpiece(tokenizer: Any) -> bool:
    from minissl.text import WordPiece

    return isinstance(tokenizer, WordPiece)


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
        f"got {text!r}, expected a whole number from {SMALLEST_VOCABULARY} (bpe has 256 bytes and "
        f"the separator, wordpiece the characters twice) to {LARGEST_VOCABULARY}"
    )


def _check_kind(arguments: argparse.Namespace) -> None:
    """Refuse what is of the other kind, and fill in what this kind has by default."""
    of_bpe = {"--pattern": arguments.pattern, "--huggingface": arguments.huggingface}
    of_wordpiece = {"--cased": arguments.cased}
    of_other = of_bpe if arguments.kind == "wordpiece" else of_wordpiece
    if given := next((option for option, value in of_other.items() if value), None):
        raise ValueError(f"{given} is not of --kind {arguments.kind}: leave one of them out")
    arguments.pattern = arguments.pattern or "gpt2"
    usual = "vocab.txt" if arguments.kind == "wordpiece" else "tokenizer.json"
    arguments.out = arguments.out or Path(usual)
    if arguments.kind == "wordpiece" and arguments.out.suffix != ".txt":
        raise ValueError(
            f"--out {str(arguments.out)!r}: a vocabulary of WordPiece is known by its name, which "
            "ends with .txt, as vocab.txt does"
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
