"""Homework 2, from text to ids (2.7) and back (2.6), with vocabularies of several kinds."""

import codecs
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minissl.homework.assignments import hw2_oracle as oracle
from minissl.homework.assignments.hw2_cases import counted, letters, starts_anew
from minissl.homework.assignments.hw2_cutting import RUNS, ranks_of
from minissl.homework.assignments.hw2_oracle import BYTES
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error, unwritten

TOKENIZER = "minissl.text.tokenizer:Tokenizer"
NAMES = ("<|end|>", "<|end|>!")


class Vocabulary(NamedTuple):
    """What a tokenizer is made of, and how a student is told."""

    ranks: dict[bytes, int]
    special: dict[str, int]
    said: Any

    def tokenizer(self, subject: Any) -> Any:
        return call(subject, self.ranks, pattern=RUNS, special_tokens=self.special)

    def ask(self, name: str, method: Any, asked: Any, **options: Any) -> Any:
        """``call`` of a method; what it raises is shown beside the vocabulary."""
        try:
            return call(method, asked, **options)
        except Wrong as error:
            given = {name: asked, **options, **self.given}
            raise Wrong(error.symptom, given, error.got, error.expected) from error

    @property
    def given(self) -> dict[str, Any]:
        return {"vocabulary": self.said}

    @property
    def table(self) -> dict[int, bytes]:
        """The bytes of each id."""
        names = {number: name.encode() for name, number in self.special.items()}
        return {rank: token for token, rank in self.ranks.items()} | names


def usual(merges: Sequence[bytes]) -> Vocabulary:
    """The bytes, these merges, the two special tokens."""
    special = {name: 256 + len(merges) + i for i, name in enumerate(NAMES)}
    said = f"bytes: 0 to 255, then {list(merges)}, then {special}"
    return Vocabulary(ranks_of(merges), special, said)


def shuffled(generator: np.random.Generator, merges: Sequence[bytes]) -> Vocabulary:
    """As published ones are: the bytes in another order, special tokens far behind."""
    numbers = generator.permutation(256).tolist()
    ranks = dict(zip(BYTES, numbers)) | {token: 256 + i for i, token in enumerate(merges)}
    special = dict(zip(NAMES, (int(generator.integers(900, 999)), 1000)))
    shown = {token: ranks[token] for token in (b"h", b"e", b" ")}
    said = f"bytes in another order: {shown}, ...; 256 on: {list(merges)}; then {special}"
    return Vocabulary(ranks, special, said)


MERGES = [b"he", b"ll", b"hell", b"hello", b" w", "é".encode(), b"\xa9o", "東".encode()[:2]]
USUAL = usual([*MERGES, b"or", b"wo"])


def drawn(generator: np.random.Generator, alphabet: str = "heloé w") -> Vocabulary:
    """Merges of random words, in a shuffled vocabulary."""
    data = {letters(generator, 12, alphabet).encode(): 1 + i for i in range(4)}
    return shuffled(generator, [a + b for a, b in oracle.learn(data | counted(generator), 12)])


# ---- 2.6 Tokenizer.decode ------------------------------------------------------------------------

decode = Task(
    "2.6",
    f"{TOKENIZER}.decode",
    "decode",
    "lecture 03, section 6",
    allows=("Tokenizer.decode_bytes", "Tokenizer.token_bytes"),
)


def _check_decode(subject: Any, ids: Any, vocabulary: Vocabulary = USUAL, **options: str) -> None:
    tokenizer, given = vocabulary.tokenizer(subject), {"ids": ids, **options, **vocabulary.given}
    errors = options.get("errors", "replace")
    numbers, table = [int(i) for i in ids], vocabulary.table
    expected = b"".join(table[i] for i in numbers).decode("utf-8", errors)
    got = vocabulary.ask("ids", tokenizer.decode, ids, **options)
    expect(got, expected, given=given, symptoms=_wrong_texts(numbers, vocabulary, errors))
    again = vocabulary.ask("ids", tokenizer.decode, iter(numbers), **options)
    if again != expected:
        sentence = "ids may be an iterator, which can be read only once"
        raise Wrong(sentence, {**given, "ids": f"iter({numbers})"}, again, expected)


def _wrong_texts(ids: list[int], vocabulary: Vocabulary, errors: str) -> dict[str, Any]:
    """Sentence -> the text of a well-known mistake."""
    table = vocabulary.table
    parts = [table[i] for i in ids]
    data = b"".join(parts)
    text = data.decode("utf-8", errors)
    special = vocabulary.special.values()
    in_order = dict(enumerate([*vocabulary.ranks, *(n.encode() for n in vocabulary.special)]))
    escaped = data.decode("utf-8", "surrogateescape")
    return {
        "the tokens are decoded one by one: join the bytes first, a character may be cut": (
            "".join(part.decode("utf-8", errors) for part in parts)
        ),
        "each byte became a character: the bytes are UTF-8": data.decode("latin-1"),
        "an incomplete character at the end is lost: the decoder has to know that this is all": (
            codecs.getincrementaldecoder("utf-8")(errors).decode(data)
        ),
        "bytes that are not UTF-8 are lost: errors is not handed on": data.decode(
            "utf-8", "ignore"
        ),
        "errors is not handed on: bytes that are not UTF-8 always become U+FFFD": (
            data.decode("utf-8", "replace")
        ),
        "U+FFFD stands for the beginning of a character, here it is there for every byte": (
            re.sub("[\udc80-\udcff]", "\ufffd", escaped)
        ),
        "special tokens are left out": b"".join(
            part for i, part in zip(ids, parts) if i not in special
        ).decode("utf-8", errors),
        "there are spaces between the tokens": " ".join(
            p.decode("utf-8", "replace") for p in parts
        ),
        "line ends are changed: the text is what the bytes say": text.replace("\r\n", "\n"),
        "U+FEFF at the beginning is lost: it is a character": text.lstrip("\ufeff"),
        "white space at the ends is lost": text.strip(),
        "each id stands for its token as often as it comes": b"".join(
            table[i] for i in dict.fromkeys(ids)
        ).decode("utf-8", errors),
        "a byte's id need not be its value: look it up": b"".join(
            bytes([i]) if i < 256 else table[i] for i in ids
        ).decode("utf-8", errors),
        "the id of a special token is the one in self.special_tokens, not the next one free": (
            b"".join(in_order.get(i, b"") for i in ids).decode("utf-8", errors)
        ),
        "the answer must be a str, not bytes": data,
    }


@decode.check(3)
def whole_characters(subject: Any, draw: Draw) -> None:
    """The bytes of the ids, joined, read as UTF-8: a character may be spread over two tokens."""
    whole = list(USUAL.table.values())
    fixed = [[], [104], [259, 260], [260, 260, 97], [195, 169], [262, 97], [230, 157, 177]]
    fixed += [[263, 177], [266, 97], [239, 187, 191, 97], [97, 13, 10, 98]]

    def more(generator: np.random.Generator) -> list[int]:
        text = letters(generator, 9, "hello wé東").encode()
        return [whole.index(token) for token in oracle.join(text, USUAL.ranks)]

    for ids in draw.cases(*fixed, more=more):
        _check_decode(subject, ids)
        _check_decode(subject, np.array(ids, dtype=np.uint16))


@decode.check(3)
def broken_characters(subject: Any, draw: Draw) -> None:
    """Where the bytes are not UTF-8, ``errors`` decides, "replace" unless given."""
    fixed = [[255], [195], [104, 195], [263], [255, 104, 169]]
    for ids in draw.cases(*fixed, more=lambda g: _any_ids(g)):
        _check_decode(subject, ids)
        for errors in ("ignore", "replace", "backslashreplace"):
            _check_decode(subject, ids, errors=errors)
    expect_error(UnicodeDecodeError, USUAL.tokenizer(subject).decode, [195], errors="strict")


@decode.check(2)
def any_vocabulary(subject: Any, draw: Draw) -> None:
    """The ids are those of this tokenizer: bytes in any order, special tokens anywhere."""
    generator = draw.generator
    first, other = usual([b"ab", b"cd"]), usual([b"cd", b"ab"])
    cases = [((v, [256, 99]), text) for v, text in ((first, "abc"), (other, "cdc"))]
    starts_anew(
        lambda vocabulary, ids: call(vocabulary.tokenizer(subject).decode, ids),
        *cases,
        what=["vocabulary", "ids"],
    )
    for vocabulary in (shuffled(generator, MERGES), *(drawn(generator) for _ in range(2))):
        special = vocabulary.special.values()
        for ids in ([vocabulary.ranks[b"h"], *special], generator.choice([*vocabulary.table], 9)):
            _check_decode(subject, [int(i) for i in ids], vocabulary)


@decode.check(1)
def unknown_ids(subject: Any, draw: Draw) -> None:
    """An id that is not in the vocabulary raises ValueError."""
    for number in draw.cases(268, -1, more=lambda g: int(g.integers(268, 9999))):
        expect_error(ValueError, USUAL.tokenizer(subject).decode, [104, number])
    expect_error(ValueError, shuffled(draw.generator, MERGES).tokenizer(subject).decode, [600])


def _any_ids(generator: np.random.Generator) -> list[int]:
    return [int(i) for i in generator.choice([104, 195, 169, 262, 263, 266], size=6)]


# ---- 2.7 Tokenizer.encode ------------------------------------------------------------------------

encode = Task(
    "2.7",
    f"{TOKENIZER}.encode",
    "encode",
    "lecture 03, section 6",
    hides=("_as_text",),
    # What a body of one's own needs; and not the methods that do the work.
    allows=("segment", "Pattern.split", "!Tokenizer.encode_*", "!Tokenizer._[a-z]*"),
)


def _check_encode(
    subject: Any, text: str | bytes, allow: Any, vocabulary: Vocabulary = USUAL
) -> None:
    """``allow`` is what is given as allow_special: the names that are in the text, or a word."""
    plain = text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
    tokenizer = vocabulary.tokenizer(subject)
    got = vocabulary.ask("text", tokenizer.encode, text, allow_special=allow)
    given = {"text": text, "allow_special": allow, **vocabulary.given}
    special = vocabulary.special if allow != "none" else {}
    expected = oracle.encode(plain, vocabulary.ranks, special)
    if (tokenizer.ranks, tokenizer.special_tokens) != (vocabulary.ranks, vocabulary.special):
        sentence = "it changed the tokenizer: ranks and special_tokens must stay as they are"
        raise Wrong(sentence, given, "other ones", "the same")
    if (
        isinstance(got, list)
        and got
        and not all(isinstance(i, int | np.integer | bytes) for i in got)
    ):
        raise Wrong("ids must be whole numbers (int)", given, got, expected)
    symptoms = _wrong_ids(plain, allow, vocabulary)
    if isinstance(text, bytes):
        symptoms = _wrong_bytes(text, vocabulary) | symptoms
    expect(got, expected, given=given, symptoms=symptoms)


def _wrong_ids(plain: str, allow: Any, vocabulary: Vocabulary) -> dict[str, Any]:
    """Sentence -> the ids of a well-known mistake."""
    ranks, all_special = vocabulary.ranks, vocabulary.special
    usual_special = all_special if allow != "none" else {}

    def ids(special: Any = usual_special, text: str = plain, **how: Any) -> list[int]:
        return oracle.encode(text, how.pop("ranks", ranks), special, **how)

    expected = ids()
    end = NAMES[0]
    next_free = {name: len(ranks) + i for i, name in enumerate(usual_special)}
    back = {rank: token for token, rank in ranks.items()}
    return {
        "special tokens are encoded as text": ids({}),
        'special tokens become ids though allow_special is "none"': ids(all_special),
        "the special tokens are lost": [i for i in expected if i not in all_special.values()],
        "where two special tokens begin at one place, the longer is meant": (
            ids({end: all_special[end]})
        ),
        "the text is not cut into pieces first: a merge crosses their border": (
            ids(split=lambda part: [part])
        ),
        "white space at the ends of the text is lost": ids(text=plain.strip()),
        "white space is lost: the pattern's pieces, joined, are the text again": (
            ids(split=str.split)
        ),
        "line ends are changed: encode the text as it is": ids(text=plain.replace("\r\n", "\n")),
        "accents are composed: encode the text as it is": ids(text=plain.replace("e\u0301", "é")),
        "capitals became lower case": ids(text=plain.lower()),
        "the longest token is taken from the left: use segment": (
            ids(segment=oracle.longest_first)
        ),
        "as few tokens as possible: the order of the merges decides, use segment": (
            ids(segment=oracle.fewest)
        ),
        "a byte's id need not be its value: look every token up in self.ranks": [
            back[i][0] if i in back and len(back[i]) == 1 else i for i in expected
        ],
        "no pair is joined: split each piece into tokens": [
            ranks[bytes([b])] for b in plain.encode("utf-8", "surrogateescape")
        ],
        "characters are taken for bytes: encode each piece as UTF-8": [ord(c) for c in plain],
        "the id of a special token is the one in self.special_tokens, not the next one free": (
            ids(next_free)
        ),
        "there is a special token at the beginning that nobody asked for": [
            next(iter(all_special.values())), *expected
        ],
        "the answer must be a list of ids, not of tokens": [back.get(i, b"") for i in expected],
    }  # fmt: skip


def _wrong_bytes(text: bytes, vocabulary: Vocabulary) -> dict[str, Any]:
    ways = {
        "special tokens in bytes are special tokens too": text.decode("utf-8", "surrogateescape"),
        "bytes are UTF-8, not Latin-1": text.decode("latin-1"),
        "bytes that are not UTF-8 are replaced: keep them": text.decode("utf-8", "replace"),
        "bytes that are not UTF-8 are lost: keep them": text.decode("utf-8", "ignore"),
    }
    return {s: oracle.encode(other, vocabulary.ranks, {}) for s, other in ways.items()}


@encode.check(4)
def text_without_special_tokens(subject: Any, draw: Draw) -> None:
    """Pieces of the pattern, their UTF-8 bytes, then merges by rank."""
    fixed = ["", "a", "he", "hello", "hello w", "ahell", "word", "é", "été", "東京 hello\n"]
    fixed += ["e\u0301", "a\r\nb"]
    for text in draw.cases(*fixed, " He", more=lambda g: letters(g, 20, "hello Wordé東")):
        _check_encode(subject, text, "none")
    merges = [b"nd", b"un", b"do"]  # replay, the longest first and the fewest all differ
    for text in ("undo", "undone und"):
        _check_encode(subject, text, "none", usual(merges))
    given = {"text": "hello w", "pattern": "GPT-2's", **USUAL.given}
    tokenizer = call(subject, USUAL.ranks)
    expect(call(tokenizer.encode, "hello w"), [259, 260], given=given)


@encode.check(3)
def special_tokens(subject: Any, draw: Draw) -> None:
    """With "all" each special token becomes its id, with "none" it is ordinary text."""
    for text in draw.cases(
        "<|end|>", "a<|end|>he", "<|end|>!", "he<|end|>ll <|end|>!", "end", more=_mixed
    ):
        _check_encode(subject, text, "all")
        _check_encode(subject, text, "none")


@encode.check(2)
def the_caller_decides(subject: Any, draw: Draw) -> None:
    """Unless allowed, a special token in the text raises ValueError that names it."""
    for text in draw.cases("<|end|>", "he<|end|>", more=lambda g: letters(g) + "<|end|>"):
        _check_refused(subject, text, "raise")
        _check_refused(subject, text, ["<|end|>!"])
        for kind in (list, set, tuple):
            _check_encode(subject, text, kind(["<|end|>"]))
        _check_encode(subject, text + "a<|end|>!", ["<|end|>", "<|end|>!"])
        _check_encode(subject, "<|end|>!" + text[:-7], ["<|end|>!"])
        _check_refused(subject, text[:-7] + "<|end|>!", ["<|end|>"], "<|end|>!")
    tokenizer = USUAL.tokenizer(subject)
    expect_error(ValueError, tokenizer.encode, "he", allow_special="everything")
    expect_error(ValueError, tokenizer.encode, "he", allow_special=["<|unknown|>"])


def _check_refused(subject: Any, text: str, allow: Collection[str], name: str = "<|end|>") -> None:
    """The text has a special token that must not pass."""
    given = {"text": text, "allow_special": allow, **USUAL.given}
    try:
        got = USUAL.tokenizer(subject).encode(text, allow_special=allow)
    except ValueError as error:
        if name not in str(error):
            sentence = f"the error does not name the special token, here {name}"
            raise Wrong(sentence, given, str(error), f"an error with {name} in it") from error
        return
    except Exception as error:
        if unwritten(error):
            raise
        sentence = f"it raised {type(error).__name__}: {error}"
        raise Wrong(sentence, given, type(error).__name__, "ValueError") from error
    sentence = "it should raise a ValueError here: a special token that is not allowed"
    raise Wrong(sentence, given, got, "ValueError")


@encode.check(2)
def bytes_as_they_are(subject: Any, draw: Draw) -> None:
    """Bytes are taken as UTF-8, and those that are not UTF-8 encode as themselves."""
    fixed = [b"hello", "é".encode(), b"\xff", b"he\xc3ll"]
    for data in draw.cases(*fixed, more=lambda g: bytes(g.choice([104, 101, 195, 255], size=6))):
        _check_encode(subject, data, "none")
        _check_encode(subject, data + b"<|end|>", "all")


@encode.check(2)
def any_vocabulary_too(subject: Any, draw: Draw) -> None:
    """The ids are those of this tokenizer: bytes in any order, special tokens anywhere."""
    generator = draw.generator
    first, other = usual([b"ab", b"bc"]), usual([b"bc", b"ab"])
    cases = [((v, "abc"), ids) for v, ids in ((first, [256, 99]), (other, [97, 256]))]
    starts_anew(
        lambda vocabulary, text: call(vocabulary.tokenizer(subject).encode, text),
        *cases,
        what=["vocabulary", "text"],
    )
    for vocabulary in (shuffled(generator, MERGES), *(drawn(generator) for _ in range(2))):
        for text in ("h", "<|end|>", "hello <|end|>!", _mixed(generator)):
            _check_encode(subject, text, "all", vocabulary)


def _mixed(generator: np.random.Generator) -> str:
    chosen: Iterable[str] = generator.choice(["he", "llo", " ", "é", "|", "d", *NAMES], size=7)
    return "".join(chosen)
