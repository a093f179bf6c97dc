"""Tokenizers in files: our own JSON, GPT-2's pair of files, tiktoken's ranks.

Hugging Face's JSON is in ``huggingface``.

A file that is cut short, damaged, or does not belong to its partner raises a ``ValueError`` that
names the file, what was found in it and what to do. Files are written to a temporary neighbour and
moved into place, so that a reader sees the old file or the new one, never a part. Lecture 03.
"""

import base64
import json
import os
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from minissl.durable import replace_durably
from minissl.options import several
from minissl.reading import MOST_JSON, parse_json, read_bytes, read_json, reading
from minissl.text.patterns import GPT2, Pattern, unicode_version
from minissl.text.tokenizer import Tokenizer

StrPath = str | os.PathLike[str]
SpecialTokens = Mapping[str, int] | Iterable[str]

TOKENIZER = "a tokenizer"  # what errors call it
_FORMAT = "minissl-tokenizer"
_VERSION = 1


def _printable_bytes() -> dict[int, str]:
    """GPT-2's way to write bytes as visible characters: itself, or the next free one from U+0100.

    Example: ``b" the"`` is written "Ġthe".
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    # GPT-2 gives the visible bytes the first ids, so this order is kept.
    return {byte: chr(byte) for byte in visible} | {
        byte: chr(0x100 + offset) for offset, byte in enumerate(hidden)
    }


_TO_PRINTABLE = _printable_bytes()
_FROM_PRINTABLE = {character: byte for byte, character in _TO_PRINTABLE.items()}


def to_printable(token: bytes) -> str:
    """The token in GPT-2's visible alphabet."""
    return "".join(map(_TO_PRINTABLE.__getitem__, token))


def from_printable(text: str) -> bytes:
    """The bytes of a token written in that alphabet; ``ValueError`` for any other character."""
    try:
        return bytes(map(_FROM_PRINTABLE.__getitem__, text))
    except KeyError as error:
        raise ValueError(f"{text!r} has {error.args[0]!r}, which stands for no byte") from None


# ---- our own files -------------------------------------------------------------------------------


def save_tokenizer(tokenizer: Tokenizer, path: StrPath) -> None:
    """Write everything that makes the tokenizer what it is; ``load_tokenizer`` brings it back."""
    replace_durably(Path(path), tokenizer_to_bytes(tokenizer))


def load_tokenizer(path: StrPath) -> Tokenizer:
    """The tokenizer written by ``save_tokenizer``. Raises ``ValueError`` for any other file."""
    return tokenizer_from_bytes(read_bytes(Path(path), MOST_JSON), str(path))


def tokenizer_to_bytes(tokenizer: Tokenizer) -> bytes:
    """The content of the file that ``save_tokenizer`` writes: JSON in UTF-8."""
    state = {
        "format": _FORMAT,
        "version": _VERSION,
        "unicode": unicode_version(),
        "pattern": asdict(tokenizer.pattern),
        "special_tokens": tokenizer.special_tokens,
        "num_ranks": len(tokenizer.ranks),
        "ranks": {to_printable(token): rank for token, rank in tokenizer.ranks.items()},
    }
    return to_json(state)


def tokenizer_from_bytes(data: bytes, name: str) -> Tokenizer:
    """The tokenizer that ``tokenizer_to_bytes`` made these bytes of.

    Raises ``ValueError`` for any other bytes; ``name`` is what the message calls them.
    """
    state = parse_json(data, name, TOKENIZER, kind=object)
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise ValueError(
            f'{name}: no tokenizer of minissl (no "format": "{_FORMAT}"): '
            "load_huggingface reads Hugging Face's tokenizer.json, load_gpt2_tokenizer GPT-2's two "
            "files, load_tiktoken a .tiktoken file"
        )
    if state.get("version") != _VERSION:
        raise ValueError(
            f"{name}: version {state.get('version')!r} of the format, this minissl reads "
            f"version {_VERSION}: use the minissl that wrote it, or train and save again"
        )
    with reading(name, TOKENIZER):
        if len(state["ranks"]) != state["num_ranks"]:
            raise ValueError(f"{len(state['ranks'])} ranks, {state['num_ranks']} announced")
        pattern = Pattern(**state["pattern"])
        _warn_of_unicode(state.get("unicode"), pattern, name)
        return Tokenizer(
            {from_printable(token): rank for token, rank in state["ranks"].items()},
            pattern=pattern,
            special_tokens=dict(state["special_tokens"]),
        )


def _warn_of_unicode(made_with: Any, pattern: Pattern, name: str) -> None:
    """Say so when letters are not the same characters as where the file was written."""
    here = unicode_version()
    if made_with not in (None, here) and pattern.needs_unicode:  # older files do not say
        warnings.warn(
            f"{name} was written with Unicode {made_with}, the package regex here has {here}: text "
            "with characters that only one of them knows may become other ids",
            stacklevel=4,
        )


# ---- published files -----------------------------------------------------------------------------


def load_gpt2_tokenizer(
    vocab_bpe: StrPath,
    encoder_json: StrPath,
    *,
    pattern: str | Pattern = GPT2,
    special_tokens: Collection[str] = ("<|endoftext|>",),
) -> Tokenizer:
    """GPT-2's tokenizer, from its list of merges and its table of ids.

    ``special_tokens`` names the entries of the table that no merge makes. Raises ``ValueError``
    when a file is damaged or the two do not belong together.
    """
    special_tokens = several(special_tokens, "special_tokens")
    ids = read_json(encoder_json, "a table of tokens and ids")
    singles = [to_printable(bytes([byte])) for byte in range(256)]
    made = [left + right for left, right in _read_merges(vocab_bpe)]
    if ids.keys() != {*singles, *made, *special_tokens}:
        odd = sorted(ids.keys() ^ {*singles, *made, *special_tokens})
        raise ValueError(
            f"{encoder_json} and {vocab_bpe} disagree on {len(odd)} token(s), such as {odd[0]!r}: "
            "they belong to different tokenizers, one is incomplete, or special_tokens "
            f"(here {[*special_tokens]}) should name others"
        )
    with reading(encoder_json, TOKENIZER):
        order = [ids[token] for token in made]
        if order != sorted(order):
            raise ValueError(
                f"{encoder_json}: its ids do not follow the order of the merges in {vocab_bpe}: "
                "the two belong to different tokenizers"
            )
        return Tokenizer(
            {from_printable(token): ids[token] for token in chain(singles, made)},
            pattern=pattern,
            special_tokens={token: ids[token] for token in special_tokens},
        )


def load_tiktoken(
    path: StrPath,
    *,
    pattern: str | Pattern,
    special_tokens: SpecialTokens = (),
    num_tokens: int | None = None,
) -> Tokenizer:
    """A tokenizer from a ``.tiktoken`` file: lines of a token in base64 and its rank.

    The file holds neither pattern nor special tokens, so both are given here: ``"gpt2"`` with
    r50k_base, ``"cl100k"`` with cl100k_base, ``"o200k"`` with o200k_base. ``num_tokens``, when
    given, is how many lines the file must have: one cut short between two lines cannot be told
    otherwise.

    Raises ``ValueError`` for a line that is not of this kind or repeats a token or rank.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(read_bytes(Path(path), MOST_JSON).splitlines(), start=1):
        try:
            token, rank = line.split()
            if not rank.isdigit():  # int takes "1_0" as well
                raise ValueError("no whole number")
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number}: {line[:60]!r} is not a token in base64 and its rank "
                f"({error}): download the file again"
            ) from error
        if len(ranks) != number:
            raise ValueError(f"{path}, line {number}: {line[:60]!r} repeats an earlier token")
    if num_tokens is not None and len(ranks) != num_tokens:
        raise ValueError(f"{path}: {len(ranks)} tokens, expected {num_tokens}: it is incomplete")
    with reading(path, TOKENIZER):
        return Tokenizer(ranks, pattern=pattern, special_tokens=special_tokens)


# ---- reading and writing -------------------------------------------------------------------------


def _read_merges(path: StrPath) -> list[tuple[str, str]]:
    """The merges of a ``vocab.bpe`` or ``merges.txt``, in its printable alphabet."""
    with reading(path, "a list of merges"):
        lines = read_bytes(Path(path), MOST_JSON).decode("utf-8").split("\n")
    merges = []
    for number, line in enumerate(lines, start=1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.rstrip("\r").split(" ")
        if len(pair) != 2 or not all(pair):
            raise ValueError(
                f"{path}, line {number}: {line[:60]!r} is not two tokens with a space between "
                "them: the file is damaged or cut short, download it again"
            )
        merges.append((pair[0], pair[1]))
    return merges


def to_json(state: Any) -> bytes:
    return json.dumps(state, ensure_ascii=False, indent=1).encode()
