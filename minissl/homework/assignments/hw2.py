"""Homework 2: the tokenizer, from counting pairs to special tokens. Lecture 03."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minissl.homework.assignments import hw2_oracle as oracle
from minissl.homework.assignments.hw2_oracle import BYTES
from minissl.homework.assignments.hw2_training import (
    count_pairs,
    counted,
    learn_fast,
    learn_naive,
    letters,
    merge,
    unchanged,
)
from minissl.homework.task import Assignment, Draw, Task, Wrong, call, expect, expect_error
from minissl.text.patterns import Pattern

RUNS = Pattern(r"\S+|\s+")  # simple enough for an oracle: runs of visible characters, and of space

# ---- 2.4 segment ---------------------------------------------------------------------------------

segment = Task(
    "2.4",
    "minissl.text.bpe:segment",
    "split a word into tokens",
    "lectures/03, section 5",
    hides=("_LONG", "_NEVER", "_segment_long"),
)


def _ranks(merges: Iterable[bytes]) -> dict[bytes, int]:
    return BYTES | {token: 256 + i for i, token in enumerate(merges)}


def _check_segment(subject: Any, word: bytes, merges: list[bytes]) -> None:
    ranks = _ranks(merges)
    expected = oracle.join(word, ranks)
    symptoms: dict[str, Any] = {
        s: oracle.join(word, ranks, choice) for s, choice in oracle.WRONG_CHOICES.items()
    }
    symptoms |= {
        "the longest token is taken from the left: join pairs by rank": (
            oracle.longest_first(word, ranks)
        ),
        "the word comes back as single bytes": oracle.join(word, ranks, most=0),
        "only one pair is joined: go on while any two neighbours form a token": (
            oracle.join(word, ranks, most=1)
        ),
        "the answer must be the tokens' bytes, not their ids": [ranks[t] for t in expected],
        "the answer must be a list, not a tuple": tuple(expected),
    }
    given = {"word": word, "ranks": f"256 bytes: 0 to 255; then from 256 on {merges}"}
    expect(unchanged(subject, word, ranks), expected, given=given, symptoms=symptoms)


@segment.check(6)
def joins_what_forms_a_token(subject: Any, draw: Draw) -> None:
    """Neighbours are joined as long as any two form a token."""
    fixed = [b"", b"a", b"ab", b"ba", b"abab", b"abc", b"abcab"]
    for word in draw.cases(*fixed, more=lambda g: letters(g, 20).encode()):
        _check_segment(subject, word, [b"ab", b"abc"])


@segment.check(8)
def lowest_rank_first(subject: Any, draw: Draw) -> None:
    """Among all pairs the lowest rank is joined first, of equal ranks the leftmost."""
    fixed: list[tuple[bytes, list[bytes]]] = [
        (b"aaa", [b"aa"]),
        (b"abc", [b"ab", b"bc"]),
        (b"abcd", [b"bc", b"ab", b"abcd"]),
        (b"abcd", [b"cd", b"ab", b"abc"]),
    ]

    def more(generator: np.random.Generator) -> tuple[bytes, list[bytes]]:
        merges = oracle.learn(counted(generator), 12)
        return letters(generator, 20).encode(), [a + b for a, b in merges]

    for word, merges in draw.cases(*fixed, more=more):
        _check_segment(subject, word, merges)


@segment.check(2)
def long_words(subject: Any, draw: Draw) -> None:
    """A word of two hundred bytes is split the same way."""
    merges = [b"ab", b"ba", b"aab", b"abab", b"bb"]
    for word in draw.cases(b"ab" * 100, more=lambda g: (letters(g, 9, "ab") * 99)[:200].encode()):
        _check_segment(subject, word, merges)


# ---- 2.5 count_pieces ----------------------------------------------------------------------------

count_pieces = Task(
    "2.5", "minissl.text.patterns:count_pieces", "cut texts into pieces", "lectures/03, section 2"
)


def _count(texts: Iterable[str]) -> dict[bytes, int]:
    return dict(Counter(piece.encode() for text in texts for piece in oracle.runs(text)))


def _check_pieces(subject: Any, texts: list[str], special: list[str], single: bool = False) -> None:
    given = {"texts": texts[0] if single else texts, "pattern": RUNS.expression}
    given |= {"special_tokens": special}
    got = call(subject, given["texts"], RUNS, special)
    if not isinstance(got, Mapping):
        raise Wrong(f"expected a Counter, got {type(got).__name__}", given, got, "a Counter")
    parts = [part for text in texts for part in oracle.cut_at(text, special)[::2]]
    expected = _count(parts)
    symptoms = {
        "the keys must be bytes: encode each piece": {k.decode(): n for k, n in expected.items()},
        "special tokens are counted as text": _count(texts),
        "special tokens are counted": _count(
            part for text in texts for part in oracle.cut_at(text, special)
        ),
        "a piece crosses a special token: it is a border": _count(
            "".join(oracle.cut_at(text, special)[::2]) for text in texts
        ),
        "a piece crosses the border of two texts": _count(
            oracle.cut_at("".join(texts), special)[::2]
        ),
        (
            "a single text was taken for a list of texts, its characters"
            if single
            else "the pieces are cut again: count whole pieces, not their characters"
        ): _count(letter for part in parts for letter in part),
        "white space is lost: pieces, joined, are the text again": {
            piece: n for piece, n in expected.items() if piece.strip()
        },
        "each piece counts once, however often it occurs": dict.fromkeys(expected, 1),
        "where two special tokens begin at one place, the longer is meant": _count(
            part for text in texts for part in _cut_shortest(text, special)
        ),
    }
    if special:
        expression = "|".join(special[::-1])
        symptoms["special tokens are read as regular expressions: escape them"] = _count(
            part for text in texts for part in re.split(expression, text)
        )
    expect(dict(got), expected, given=given, symptoms=symptoms)


def _cut_shortest(text: str, special: list[str]) -> list[str]:
    parts = [text]
    for token in sorted(special, key=len):
        parts = [piece for part in parts for piece in part.split(token)]
    return parts


@count_pieces.check(5)
def pieces(subject: Any, draw: Draw) -> None:
    """The pieces of all texts, as bytes, with how often each occurs."""
    fixed = [["to be"], ["", "a"], ["ab", "ba"], ["to be or", "to be"], ["déjà vu 東京 déjà"]]
    for texts in draw.cases(*fixed, more=lambda g: [letters(g, 12, "abé \n") for _ in range(3)]):
        _check_pieces(subject, texts, [])


@count_pieces.check(2)
def one_text(subject: Any, draw: Draw) -> None:
    """``texts`` may be a single string; the default pattern is GPT-2's."""
    for text in draw.cases("", "to be", more=lambda g: letters(g, 12, "abé ")):
        _check_pieces(subject, [text], [], single=True)
    got = call(subject, "to be, to be")
    expected = {b"to": 1, b" be": 2, b",": 1, b" to": 1}
    expect(dict(got), expected, given={"texts": "to be, to be"})


@count_pieces.check(5)
def special_tokens_are_borders(subject: Any, draw: Draw) -> None:
    """Special tokens are not counted, no piece crosses them, and the longest one wins."""
    names = ["[x]", "<|e|>", "<|e|>!"]
    for texts in draw.cases(
        ["a<|e|>b"],
        ["to be[x]to be", "ex"],
        ["a<|e|>!b"],
        more=lambda g: ["".join(g.choice(["a", "b", " ", *names], size=9)) for _ in range(2)],
    ):
        _check_pieces(subject, texts, names)


# ---- 2.6 Tokenizer.decode ------------------------------------------------------------------------

decode = Task("2.6", "minissl.text.tokenizer:Tokenizer.decode", "decode", "lectures/03, section 6")
MERGES = [
    b"he",
    b"ll",
    b"hell",
    b"hello",
    b" w",
    "é".encode(),
    b"\xa9o",
    "東".encode()[:2],
    b"or",
    b"wo",
]
SPECIAL = {"<|end|>": 266, "<|end|>!": 267}


VOCABULARY = {"vocabulary": f"bytes: 0 to 255, then {MERGES}, then {SPECIAL}"}


def _tokenizer(subject: Any) -> Any:
    return call(subject, _ranks(MERGES), pattern=RUNS, special_tokens=SPECIAL)


def _check_decode(subject: Any, ids: Any, **options: str) -> None:
    tokenizer, given = _tokenizer(subject), {"ids": ids, **options, **VOCABULARY}
    table = list(BYTES) + MERGES
    names = {number: name.encode() for name, number in SPECIAL.items()}
    parts = [names.get(int(i)) or table[int(i)] for i in ids]
    expected = b"".join(parts).decode("utf-8", options.get("errors", "replace"))
    symptoms = {
        "the tokens are decoded one by one: join the bytes first, a character may be cut": (
            "".join(part.decode("utf-8", options.get("errors", "replace")) for part in parts)
        ),
        "each byte became a character: the bytes are UTF-8": b"".join(parts).decode("latin-1"),
        "bytes that are not UTF-8 are lost: errors is not handed on": b"".join(parts).decode(
            "utf-8", "ignore"
        ),
        "errors is not handed on: bytes that are not UTF-8 always become U+FFFD": (
            b"".join(parts).decode("utf-8", "replace")
        ),
        "special tokens are left out": b"".join(
            part for i, part in zip(ids, parts) if i not in names
        ).decode("utf-8", "replace"),
        "there are spaces between the tokens": " ".join(
            p.decode("utf-8", "replace") for p in parts
        ),
        "the answer must be a str, not bytes": b"".join(parts),
    }
    expect(call(tokenizer.decode, ids, **options), expected, given=given, symptoms=symptoms)


@decode.check(4)
def whole_characters(subject: Any, draw: Draw) -> None:
    """The bytes of the ids, joined, read as UTF-8: a character may be spread over two tokens."""
    whole = list(BYTES) + MERGES
    fixed = [[], [104], [259, 260], [195, 169], [262, 97], [230, 157, 177], [263, 177], [266, 97]]

    def more(generator: np.random.Generator) -> list[int]:
        text = letters(generator, 9, "hello wé東").encode()
        return [whole.index(token) for token in oracle.join(text, _ranks(MERGES))]

    for ids in draw.cases(*fixed, more=more):
        _check_decode(subject, ids)
        _check_decode(subject, np.array(ids, dtype=np.uint16))


@decode.check(4)
def broken_characters(subject: Any, draw: Draw) -> None:
    """Where the bytes are not UTF-8, ``errors`` decides, "replace" unless given."""
    for ids in draw.cases([195], [104, 195], [263], [255, 104, 169], more=lambda g: _any_ids(g)):
        _check_decode(subject, ids)
        for errors in ("ignore", "replace", "backslashreplace"):
            _check_decode(subject, ids, errors=errors)
    tokenizer = _tokenizer(subject)
    expect_error(UnicodeDecodeError, tokenizer.decode, [195], errors="strict")


@decode.check(2)
def unknown_ids(subject: Any, draw: Draw) -> None:
    """An id that is not in the vocabulary raises ValueError."""
    for number in draw.cases(268, -1, more=lambda g: int(g.integers(268, 9999))):
        expect_error(ValueError, _tokenizer(subject).decode, [104, number])


def _any_ids(generator: np.random.Generator) -> list[int]:
    return [int(i) for i in generator.choice([104, 195, 169, 262, 263, 266], size=6)]


# ---- 2.7 Tokenizer.encode ------------------------------------------------------------------------

encode = Task("2.7", "minissl.text.tokenizer:Tokenizer.encode", "encode", "lectures/03, section 6")


def _check_encode(subject: Any, text: str | bytes, allow: Any) -> None:
    """``allow`` is what is given as allow_special: the names that are in the text, or a word."""
    plain = text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
    ranks = _ranks(MERGES)

    def ids(special: Any = SPECIAL if allow != "none" else {}, **how: Any) -> list[int]:
        return oracle.encode(plain, ranks, special, **how)

    expected, data = ids(), plain.encode("utf-8", "surrogateescape")
    symptoms: dict[str, Any] = {
        "special tokens are encoded as text": ids({}),
        'special tokens become ids though allow_special is "none"': ids(SPECIAL),
        "the special tokens are lost": [i for i in expected if i not in SPECIAL.values()],
        "where two special tokens begin at one place, the longer is meant": ids({"<|end|>": 266}),
        "the text is not cut into pieces first: a merge crosses their border": (
            ids(split=lambda part: [part])
        ),
        "white space is lost: the pattern's pieces, joined, are the text again": (
            ids(split=str.split)
        ),
        "the longest token is taken from the left: use segment": (
            ids(segment=oracle.longest_first)
        ),
        "no pair is joined: split each piece into tokens": list(data),
        "characters are taken for bytes: encode each piece as UTF-8": [ord(c) for c in plain],
        "the answer must be a list of ids, not of tokens": [
            token for i in expected for token in ranks if ranks[token] == i
        ],
    }
    if isinstance(text, bytes):
        for sentence, other in (
            ("bytes are UTF-8, not Latin-1", text.decode("latin-1")),
            ("bytes that are not UTF-8 are replaced: keep them", text.decode("utf-8", "replace")),
            ("bytes that are not UTF-8 are lost: keep them", text.decode("utf-8", "ignore")),
        ):
            symptoms[sentence] = oracle.encode(other, ranks, {})
    got = call(_tokenizer(subject).encode, text, allow_special=allow)
    given = {"text": text, "allow_special": allow, **VOCABULARY}
    expect(got, expected, given=given, symptoms=symptoms)


@encode.check(5)
def text_without_special_tokens(subject: Any, draw: Draw) -> None:
    """Pieces of the pattern, their UTF-8 bytes, then merges by rank."""
    fixed = ["", "a", "he", "hello", "hello w", "ahell", "word", "é", "été", "東京 hello\n"]
    for text in draw.cases(*fixed, more=lambda g: letters(g, 20, "hello wordé東")):
        _check_encode(subject, text, "none")
    given = {"text": "hello w", "pattern": "GPT-2's", **VOCABULARY}
    tokenizer = call(subject, _ranks(MERGES))
    expect(call(tokenizer.encode, "hello w"), [259, 260], given=given)


@encode.check(4)
def special_tokens(subject: Any, draw: Draw) -> None:
    """With "all" each special token becomes its id, with "none" it is ordinary text."""
    for text in draw.cases(
        "<|end|>", "a<|end|>he", "<|end|>!", "he<|end|>ll <|end|>!", more=_mixed
    ):
        _check_encode(subject, text, "all")
        _check_encode(subject, text, "none")


@encode.check(3)
def the_caller_decides(subject: Any, draw: Draw) -> None:
    """Unless allowed, a special token in the text raises ValueError that names it."""
    tokenizer = _tokenizer(subject)
    for text in draw.cases("<|end|>", "he<|end|>", more=lambda g: letters(g) + "<|end|>"):
        expect_error(ValueError, tokenizer.encode, text)
        expect_error(ValueError, tokenizer.encode, text, allow_special=["<|end|>!"])
        _check_encode(subject, text, ["<|end|>"])
        _check_encode(subject, text + "a<|end|>!", ["<|end|>", "<|end|>!"])
    expect_error(ValueError, tokenizer.encode, "he", allow_special="everything")
    expect_error(ValueError, tokenizer.encode, "he", allow_special=["<|unknown|>"])


@encode.check(2)
def bytes_as_they_are(subject: Any, draw: Draw) -> None:
    """Bytes are taken as UTF-8, and those that are not UTF-8 encode as themselves."""
    fixed = [b"hello", "é".encode(), b"\xff", b"he\xc3ll"]
    for data in draw.cases(*fixed, more=lambda g: bytes(g.choice([104, 101, 195, 255], size=6))):
        _check_encode(subject, data, "none")


def _mixed(generator: np.random.Generator) -> str:
    return "".join(generator.choice(["he", "llo", " ", "é", *SPECIAL], size=7))


ASSIGNMENT = Assignment(
    2,
    "the tokenizer",
    (count_pairs, merge, learn_naive, segment, count_pieces, decode, encode, learn_fast),
)
