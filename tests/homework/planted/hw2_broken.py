"""Wrong answers to homework 2 that change the text before they read it."""

import re
import unicodedata
from collections import Counter

from minissl.text.patterns import GPT2
from minissl.text.tokenizer import Tokenizer
from tests.homework.planted import Collection

PLANTED = Collection()


def counter(before=lambda text: text, flags=0):
    """count_pieces, with something done to the text, or to the search for special tokens."""

    def count_pieces(texts, pattern=GPT2, special_tokens=()):
        if isinstance(special_tokens, str):
            raise ValueError("expected several special tokens")
        names = sorted(special_tokens, key=len, reverse=True)
        found = Counter()
        for text in [texts] if isinstance(texts, str) else texts:
            text = before(text)
            parts = (
                re.split("|".join(map(re.escape, names)), text, flags=flags) if names else [text]
            )
            found.update(piece.encode() for part in parts for piece in pattern.split(part))
        return found

    return count_pieces


def changing(method, change):
    """A tokenizer of which one method changes what is given, or what comes out."""
    return type("Tokenizer", (Tokenizer,), {method: change})


def decoded(change):
    """decode, with the text changed at the end."""

    def decode(self, ids, errors="replace"):
        return change(self.decode_bytes(ids).decode("utf-8", errors))

    return changing("decode", decode)


def encoded(change):
    """encode, with the text changed at the beginning."""

    def encode(self, text, *, allow_special="raise"):
        text = change(text) if isinstance(text, str) else text
        return Tokenizer.encode(self, text, allow_special=allow_special)

    return changing("encode", encode)


def unix(text):
    """The text with the line ends of Unix."""
    return text.replace("\r\n", "\n")


def without_mark(text):
    """The text without a byte order mark."""
    return text.removeprefix("\ufeff")


for _task, _mistake, _shows, _answer in [
    ("2.5", "line ends of Unix", "line ends", counter(unix)),
    ("2.5", "no byte order mark", "FEFF", counter(without_mark)),
    ("2.5", "special tokens in capitals", "capitals count", counter(flags=re.IGNORECASE)),
    ("2.6", "line ends of Unix", "line ends", decoded(unix)),
    ("2.6", "no byte order mark", "FEFF", decoded(without_mark)),
    ("2.7", "line ends of Unix", "line ends", encoded(unix)),
    ("2.7", "accents composed", "accents are composed", encoded(
        lambda text: unicodedata.normalize("NFC", text))),
]:  # fmt: skip
    PLANTED.add(_task, _mistake, shows=_shows)(_answer)
