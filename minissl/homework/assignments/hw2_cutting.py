"""Homework 2, what cuts: a word into tokens (2.4), texts into pieces (2.5)."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minissl.homework.assignments import hw2_oracle as oracle
from minissl.homework.assignments.hw2_cases import (
    counted,
    letters,
    long_case,
    require_bytes,
    starts_anew,
)
from minissl.homework.assignments.hw2_oracle import BYTES
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error
from minissl.text.patterns import Pattern

RUNS = Pattern(r"\S+|\s+")  # simple enough for an oracle: runs of visible characters, and of space

# ---- 2.4 segment ---------------------------------------------------------------------------------

segment = Task(
    "2.4",
    "minissl.text.bpe:segment",
    "split a word into tokens",
    "lecture 03, section 5",
    hides=("_BYTES", "_LONG", "_NEVER", "_segment_long"),
)


def ranks_of(merges: Iterable[bytes]) -> dict[bytes, int]:
    """The bytes, then the merges in order."""
    return BYTES | {token: 256 + i for i, token in enumerate(merges)}


def _check_segment(
    subject: Any, word: bytes, ranks: Mapping[bytes, int], said: Any, long: bool = False
) -> None:
    """``said``: what a student reads of the ranks."""
    given = {"word": word, "ranks": said}
    expected = oracle.join(word, ranks)
    symptoms: dict[str, Any] = {
        s: oracle.join(word, ranks, choice) for s, choice in oracle.WRONG_CHOICES.items()
    }
    in_order = {token: i for i, token in enumerate(ranks)}
    without_zero = {token: rank for token, rank in ranks.items() if rank}
    small = {token: rank for token, rank in ranks.items() if rank < 1 << 20}
    symptoms |= {
        "a word that is a token is not cut: a token counts only where joins lead to it": (
            [word] if word in ranks else expected
        ),
        "the longest token is taken from the left: join pairs by rank": (
            oracle.longest_first(word, ranks)
        ),
        "the order of the dictionary is taken for the rank: its numbers say it": (
            oracle.join(word, in_order)
        ),
        "rank 0 is taken for no rank: ask for None, or whether the token is there": (
            oracle.join(word, without_zero)
        ),
        "a pair of large rank is not joined: no rank is too large": oracle.join(word, small),
        "the word comes back as single bytes": oracle.join(word, ranks, most=0),
        "only one pair is joined: go on while any two neighbours form a token": (
            oracle.join(word, ranks, most=1)
        ),
        "an empty word has no tokens": expected or [word],
        "the answer must be the tokens' bytes, not their ids": [ranks[t] for t in expected],
        "the answer must be a list, not a tuple": tuple(expected),
    }
    got = long_case(subject, word, ranks) if long else call(subject, word, ranks)
    if isinstance(got, list) and got != [ranks[t] for t in expected]:
        require_bytes(got, given)
    expect(got, expected, given=given, symptoms=symptoms)


def _check_merges(subject: Any, word: bytes, merges: list[bytes], long: bool = False) -> None:
    said = f"256 bytes: 0 to 255; then from 256 on {merges}"
    _check_segment(subject, word, ranks_of(merges), said, long)


@segment.check(4)
def joins_what_forms_a_token(subject: Any, draw: Draw) -> None:
    """Neighbours are joined as long as any two form a token."""
    answers = (([b"ab"], [b"ab", b"c"]), ([b"bc"], [b"a", b"bc"]))
    starts_anew(
        lambda word, merges: call(subject, word, ranks_of(merges)),
        *(((b"abc", merges), tokens) for merges, tokens in answers),
        what=["word", "merges in ranks"],
    )
    fixed = [b"", b"a", b"ab", b"ba", b"abab", b"abc", b"abcab"]
    for word in draw.cases(*fixed, more=lambda g: letters(g, 20).encode()):
        _check_merges(subject, word, [b"ab", b"abc"])


@segment.check(5)
def lowest_rank_first(subject: Any, draw: Draw) -> None:
    """Among all pairs the lowest rank is joined first, of equal ranks the leftmost."""
    fixed: list[tuple[bytes, list[bytes]]] = [
        (b"aaa", [b"aa"]),
        (b"abc", [b"ab", b"bc"]),
        (b"abcda", [b"bc", b"ab", b"abcd"]),  # the leftmost, the longest, the lowest rank differ
        (b"abcd", [b"bc", b"ab", b"abcd"]),
        (b"abcd", [b"cd", b"ab", b"abc"]),
    ]

    def more(generator: np.random.Generator) -> tuple[bytes, list[bytes]]:
        merges = oracle.learn(counted(generator), 12)
        return letters(generator, 20).encode(), [a + b for a, b in merges]

    for word, merges in draw.cases(*fixed, more=more):
        _check_merges(subject, word, merges)


@segment.check(2)
def any_ranks_any_bytes(subject: Any, draw: Draw) -> None:
    """Ranks are numbers of any size, in any order in the dictionary; bytes need be no text."""
    generator = draw.generator
    first = dict.fromkeys([b"bc", b"ab", *BYTES])
    said = "bc: 0, ab: 1, then 256 bytes: 2 to 257"
    _check_segment(subject, b"bcab", {token: i for i, token in enumerate(first)}, said)
    ranks = {**BYTES, b"bc": 300, b"cd": 301, b"ab": 299}
    _check_segment(subject, b"abcd", ranks, "256 bytes: 0 to 255; then bc: 300, cd: 301, ab: 299")
    ranks = {**BYTES, b"bc": 300, b"abc": 10**12}
    _check_segment(subject, b"abcab", ranks, "256 bytes: 0 to 255; then bc: 300, abc: 10 ** 12")
    for word in draw.cases("é".encode(), b"\xff\xfe", more=lambda g: g.bytes(6)):
        _check_merges(subject, word * 2, [word[:2], word[1:3]])
    for _ in range(max(draw.extra, 1)):
        merges = [a + b for a, b in oracle.learn(counted(generator, "ab \xe9"), 12)]
        numbers = np.sort(generator.choice(10**6, len(merges) + 256, replace=False))
        ranks = dict(zip([*merges, *BYTES], map(int, numbers)))
        tokens = list(ranks)
        generator.shuffle(tokens)
        word = letters(generator, 20, "ab \xe9").encode("latin-1")
        said = f"{ {token: ranks[token] for token in merges} }, and 256 bytes of higher ranks"
        _check_segment(subject, word, {token: ranks[token] for token in tokens}, said)


@segment.check(2)
def long_words(subject: Any, draw: Draw) -> None:
    """A word of three hundred bytes is split the same way."""
    merges = [b"ab", b"ba", b"aab", b"abab", b"bb"]
    for word in draw.cases(b"ab" * 150, more=lambda g: (letters(g, 9, "ab") * 300)[:300].encode()):
        _check_merges(subject, word, merges, long=True)


# ---- 2.5 count_pieces ----------------------------------------------------------------------------

count_pieces = Task(
    "2.5",
    "minissl.text.patterns:count_pieces",
    "cut texts into pieces",
    "lecture 03, section 2",
    hides=("without_surrogates",),
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
    symptoms = _wrong_pieces(texts, special, parts, single)
    expect(dict(got), _count(parts), given=given, symptoms=symptoms)
    again = call(subject, iter(texts), RUNS, tuple(special)) if not single else got
    if again != got:
        sentence = "texts may be an iterator, which can be read only once"
        raise Wrong(sentence, {**given, "texts": f"iter({texts})"}, dict(again), dict(got))


def _wrong_pieces(
    texts: list[str], special: list[str], parts: list[str], single: bool
) -> dict[str, Any]:
    """Sentence -> the counts of a well-known mistake."""
    right = _count(parts)
    symptoms: dict[str, Any] = {
        "line ends are changed: texts are counted as they are": _count(
            part.replace("\r\n", "\n") for part in parts
        ),
        "U+FEFF at the beginning is lost: texts are counted as they are": _count(
            part.lstrip("\ufeff") for part in parts
        ),
        "capitals count in special tokens: <|E|> is not <|e|>": _count(
            piece for part in parts for piece in re.split(r"(?i)<\|e\|>|\[x\]", part)
        ),
        "the keys must be bytes: encode each piece": {k.decode(): n for k, n in right.items()},
        "special tokens are counted as text": _count(texts),
        "special tokens are counted": _count(
            part for text in texts for part in oracle.cut_at(text, special)
        ),
        "a piece crosses a special token: it is a border": _count(
            "".join(oracle.cut_at(text, special)[::2]) for text in texts
        ),
        "special tokens become spaces: cut the text there": _count(
            " ".join(oracle.cut_at(text, special)[::2]) for text in texts
        ),
        "only the first special token of a text is a border": _count(
            part for text in texts for part in _cut_once(text, special)
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
            piece: n for piece, n in right.items() if piece.strip()
        },
        "white space at the ends of a text is lost": _count(
            part for text in texts for part in oracle.cut_at(text.strip(), special)[::2]
        ),
        "accents are composed: texts are counted as they are": _count(
            unicodedata.normalize("NFC", part) for part in parts
        ),
        "capitals became lower case: texts are counted as they are": _count(
            part.lower() for part in parts
        ),
        "the count of a later text replaces those before: add to them": {
            piece: n
            for text in texts
            for piece, n in _count(oracle.cut_at(text, special)[::2]).items()
        },
        "each piece counts once, however often it occurs": dict.fromkeys(right, 1),
        "where two special tokens begin at one place, the longer is meant": _count(
            part for text in texts for part in _cut_shortest(text, special)
        ),
        "the pattern is not used: this is GPT-2's pattern, which is only the default": (
            _by_words(parts)
        ),
        "UTF-8 was asked for: these are other bytes": {
            piece.decode().encode("utf-16-le"): n for piece, n in right.items()
        },
        "letters that are not ASCII are lost: encode as UTF-8": _summed(
            (piece.decode().encode("ascii", "ignore"), n) for piece, n in right.items()
        ),
        "an empty piece is counted": {**right, b"": len(parts)},
    }
    if special:
        expression = "|".join(special[::-1])
        symptoms["special tokens are read as regular expressions: escape them"] = _count(
            part for text in texts for part in re.split(expression, text)
        )
    return symptoms


def _summed(pairs: Iterable[tuple[bytes, int]]) -> dict[bytes, int]:
    found: Counter[bytes] = Counter()
    for piece, count in pairs:
        found[piece] += count
    return dict(found)


def _by_words(parts: Iterable[str]) -> dict[bytes, int]:
    """GPT-2's pattern where there are letters and single spaces only."""
    return _summed((p.encode(), 1) for part in parts for p in re.findall(r" ?[^\W\d_]+|\s+", part))


def _cut_once(text: str, special: list[str]) -> list[str]:
    first, *rest = oracle.cut_at(text, special)
    return [first, "".join(rest[1:])]


def _cut_shortest(text: str, special: list[str]) -> list[str]:
    parts = [text]
    for token in sorted(special, key=len):
        parts = [piece for part in parts for piece in part.split(token)]
    return parts


@count_pieces.check(4)
def pieces(subject: Any, draw: Draw) -> None:
    """The pieces of all texts, as bytes, with how often each occurs; texts as they are."""
    fixed = [["to be"], ["", "a"], ["ab", "ba"], ["b b", "b"], ["to be or", "to be"]]
    fixed += [["Be be", " a "], ["déjà vu 東京 déjà"], ["e\u0301 é"], ["a\r\nb"], ["\ufeffa"]]
    for texts in draw.cases(*fixed, more=lambda g: [letters(g, 12, "abAé \n") for _ in range(3)]):
        _check_pieces(subject, texts, [])


@count_pieces.check(2)
def one_text(subject: Any, draw: Draw) -> None:
    """``texts`` may be a single string, special_tokens not; the default pattern is GPT-2's."""
    for text in draw.cases("", "to be", more=lambda g: letters(g, 12, "abé ")):
        _check_pieces(subject, [text], [], single=True)
    got = call(subject, "to be, to be")
    expected = {b"to": 1, b" be": 2, b",": 1, b" to": 1}
    expect(dict(got), expected, given={"texts": "to be, to be"})
    try:
        expect_error(ValueError, subject, "a<|e|>b", RUNS, "<|e|>")
    except Wrong as error:
        sentence = "one string as special_tokens is a mistake of the caller: raise a ValueError"
        given = {"texts": "a<|e|>b", "special_tokens": "<|e|>"}
        raise Wrong(sentence, given, error.got, "ValueError") from error


@count_pieces.check(4)
def special_tokens_are_borders(subject: Any, draw: Draw) -> None:
    """Special tokens are not counted, no piece crosses them, and the longest one wins."""
    names = ["[x]", "<|e|>", "<|e|>!"]
    for texts in draw.cases(
        ["a<|e|>b"],
        ["to be[x]to be", "ex"],
        ["a<|e|>!b"],
        ["a[x]b[x]a"],
        ["a<|E|>b", "a[X]a"],  # other letters, another token
        more=lambda g: ["".join(g.choice(["a", "b", " ", *names], size=9)) for _ in range(2)],
    ):
        _check_pieces(subject, texts, names)
