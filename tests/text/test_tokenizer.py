"""The tokenizer against tiktoken, round trips, streams, special tokens, and the edges."""

import base64
import csv
import io
import itertools
import json
import lzma
import re
import textwrap
import tracemalloc
from itertools import islice

import numpy as np
import pytest
import regex
import tiktoken
import tiktoken.load
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiktoken_ext.openai_public import r50k_pat_str

from minissl.text import CL100K, GPT2, Pattern, Tokenizer
from minissl.text.bpe import learn_merges_naive
from minissl.text.patterns import (
    _SPACE,
    PATTERNS,
    count_pieces,
    get_pattern,
)
from tests.shared_data import shared_data

# As published with tiktoken for cl100k_base.
CL100K_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
CL100K_SPECIAL = {
    "<|endoftext|>": 100257,
    "<|fim_prefix|>": 100258,
    "<|fim_middle|>": 100259,
    "<|fim_suffix|>": 100260,
    "<|endofprompt|>": 100276,
}
# As published with tiktoken for o200k_base, and with Llama 3.
O200K_PATTERN = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PEER_PATTERNS = {
    "gpt2": r50k_pat_str,
    "cl100k": CL100K_PATTERN,
    "llama3": LLAMA3_PATTERN,
    "o200k": O200K_PATTERN,
}
# Letters of each case, a mark, every kind of white space.
ALPHABET = " \n\r\taAB1!/'slLé\u0301ǅ\u3000"


def unpacked(name):
    return lzma.decompress(shared_data(name).read_bytes())


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """tiktoken's GPT-2, read by tiktoken's own reader, and ours with the same ranks."""
    folder = tmp_path_factory.mktemp("gpt2")
    for name in ("vocab.bpe", "encoder.json"):
        (folder / name).write_bytes(unpacked(f"tokenizers/gpt2_{name}.xz"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", "")
        ranks = tiktoken.load.data_gym_to_mergeable_bpe_ranks(
            str(folder / "vocab.bpe"), str(folder / "encoder.json")
        )
    special = {"<|endoftext|>": 50256}
    peer = tiktoken.Encoding(
        "gpt2", pat_str=r50k_pat_str, mergeable_ranks=ranks, special_tokens=special
    )
    return Tokenizer(ranks, pattern="gpt2", special_tokens=special), peer


@pytest.fixture(scope="module")
def cl100k():
    lines = unpacked("tokenizers/cl100k_base.tiktoken.xz").splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    peer = tiktoken.Encoding(
        "cl100k",
        pat_str=CL100K_PATTERN,
        mergeable_ranks=ranks,
        special_tokens=CL100K_SPECIAL,
    )
    return Tokenizer(ranks, pattern="cl100k", special_tokens=CL100K_SPECIAL), peer


@pytest.fixture(params=["gpt2", "cl100k"])
def pair(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def small():
    """A small tokenizer that needs no published file."""
    text = "the cat sat on the mat, the cat's hat; 12345 \n\n  naïve café 你好 whoever antelope "
    return Tokenizer.train(text, 300, special_tokens=["<|end|>", "<|end|>!", "<pad>"])


# Characters that this Python's Unicode knows: later ones differ between the engines' tables.
scripts = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=8)
FRAGMENTS = (
    "'s 'S 'ſ 'll 'LL 'Re don't '' ’s _ __init__ 1234567 ٣٤٥٦ ½ Ⅷ x² 𝟙𝟚 \x1c \x1f \x85 \xa0 "
    "\u3000 \u200b \u2028 \ufeff \r\n \n\n \n\t\n \t\t .\n !\r\n\r\n e\u0301 ä̈ हिन्दी ภาษาไทย "
    "한국어 日本語 العربية עברית 🙂 👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 👍🏽 "
    "\x00 \x7f İ ß ﬁ // \n/ !\n/x # $$$ \ufffd <|endoftext| <|endoftext|> "
    "hello world antidisestablishmentarianism"
)
fragments = st.sampled_from([" ", " ", "  ", "   ", " \n ", *FRAGMENTS.split(" ")])
texts = st.lists(st.one_of(fragments, fragments, scripts), max_size=12).map("".join)
with_surrogates = st.lists(
    st.one_of(texts, st.characters(categories=["Cs"]), st.just("\ud83d\ude42")), max_size=6
).map("".join)
relaxed = settings(
    deadline=None,
    max_examples=250,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


# ---- the same ids as tiktoken --------------------------------------------------------------------


def test_published_vectors_of_r50k(gpt2):
    rows = list(
        csv.DictReader(io.StringIO(unpacked("tokenizers/r50k_base_encodings.csv.xz").decode()))
    )
    assert len(rows) == 423
    for row in rows:
        assert gpt2[0].encode(row["input"]) == json.loads(row["output"])


@relaxed
@given(text=texts)
def test_equals_tiktoken(pair, text):
    ours, peer = pair
    assert ours.encode(text, allow_special="none") == peer.encode_ordinary(text)
    assert ours.encode(text, allow_special="all") == peer.encode(text, allowed_special="all")


@relaxed
@given(text=st.text(ALPHABET, max_size=12))
@example(text="é!\n/!\r/\n/1é'S \n \t")
@pytest.mark.parametrize(("pattern", "peer_pattern"), PEER_PATTERNS.items())
def test_pieces_equal_those_of_tiktoken(pattern, peer_pattern, text):
    """With every two characters a token, no border between pieces goes unseen."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    for two in itertools.product(ALPHABET, repeat=2):
        ranks["".join(two).encode()] = len(ranks)
    ours = Tokenizer(ranks, pattern=pattern)
    peer = tiktoken.Encoding(
        "pairs", pat_str=peer_pattern, mergeable_ranks=ranks, special_tokens={}
    )
    assert ours.encode(text) == peer.encode(text)


# A letter of each kind and what has none; contractions in both cases; then what may follow.
WORDS = (
    "",
    *"a A aB AB é É éÉ ÉÉ ǅ ǅAb ʰ ʰAb 中 中Ab e\u0301 E\u0301Ab 1 1234 ½ ½½½½ !".split(" "),
)
SUFFIXES = ("", *(f"'{s}" for s in "s t re ve m ll d S T Re VE M lL D ſ x".split()), "//", "\n/")
FOLLOWING = ("", "x", "é", " É", "\n\u3000", "/\r")


@pytest.mark.parametrize(("pattern", "published"), PEER_PATTERNS.items())
def test_pieces_are_those_of_the_published_expression(pattern, published):
    """With letters beyond ASCII, where the expression itself is used, and without."""
    cut, find = get_pattern(pattern).split, regex.compile(published).findall
    for parts in itertools.product(("", " ", "_"), WORDS, SUFFIXES, FOLLOWING):
        text = "".join(parts)
        assert cut(text) == find(text)


@relaxed
@given(text=with_surrogates)
def test_equals_tiktoken_with_surrogates(pair, text):
    ours, peer = pair
    assert ours.encode(text, allow_special="none") == peer.encode_ordinary(text)


def test_equals_tiktoken_in_71_languages(pair):
    ours, peer = pair
    lines = unpacked("text/multilingual.jsonl.xz").decode().splitlines()
    records = [json.loads(line)["text"] for line in lines][::6]
    assert len(records) > 1000
    for text in (*records, "\n".join(records)):
        assert ours.encode(text) == peer.encode(text)


def test_equals_tiktoken_on_code_and_english(pair):
    ours, peer = pair
    with open(json.__file__, encoding="utf-8") as file:
        source = file.read()
    for text in (source, source.replace("\n", "\r\n"), "    " + source + " \n \n", source * 20):
        ids = ours.encode(text)
        assert ids == peer.encode(text)
        assert ours.decode(ids) == text


def test_books_equal_tiktoken(pair):
    """Lines of a paragraph; wrapped with blank lines between; with two spaces; with “quotes”."""
    ours, peer = pair
    plain = unpacked("text/british_fiction.txt.xz").decode()[:300_000]
    wrapped = "\n\n".join(textwrap.fill(line, 70) for line in plain.splitlines())
    quoted = re.sub(r'"([^"]*)"', "“\\1”", plain)
    assert not quoted.isascii()
    for text in (plain, wrapped, wrapped.replace("\n", "\r\n"), plain.replace(". ", ".  "), quoted):
        assert ours.encode(text) == peer.encode(text)


def test_long_pieces(gpt2):
    ours, peer = gpt2
    for text in ("a" * 5_000, "ab" * 3_000, "é" * 2_000, " " * 5_000, "=" * 5_000, "不" * 3_000):
        assert ours.encode(text) == peer.encode(text)


# ---- round trips ---------------------------------------------------------------------------------


@relaxed
@given(data=st.one_of(st.binary(max_size=60), texts.map(str.encode)))
def test_every_byte_string_comes_back(pair, small, data):
    for tokenizer in (pair[0], small):
        ids = tokenizer.encode(data, allow_special="none")
        assert tokenizer.decode_bytes(ids) == data
        assert b"".join(map(tokenizer.token_bytes, ids)) == data


def test_every_pair_of_bytes_comes_back(small):
    for first in range(256):
        for second in range(256):
            data = bytes([first, second])
            assert small.decode_bytes(small.encode(data)) == data


@relaxed
@given(text=texts)
def test_bytes_that_are_utf8_encode_as_their_text(small, text):
    assert small.encode(text.encode()) == small.encode(text)


def test_empty(small):
    assert small.encode("") == small.encode(b"") == []
    assert list(small.encode_stream([])) == list(small.encode_stream(["", ""])) == []
    assert small.decode([]) == ""
    assert small.decode_bytes(np.array([], dtype=np.int64)) == b""


def test_decoding_invalid_utf8(small):
    ids = [0xE4, 0xBD]  # the first two bytes of a character of three
    assert small.decode(ids) == "\ufffd"
    assert small.decode(ids, errors="ignore") == ""
    with pytest.raises(UnicodeDecodeError):
        small.decode(ids, errors="strict")


def test_lone_surrogates_become_the_replacement_character(small):
    assert small.decode(small.encode("a\ud800b")) == "a\ufffdb"
    assert small.decode(small.encode("\ud83d\ude42")) == "🙂"


@pytest.mark.parametrize("bad", [-1, 300, 10**9, "a", None, 1.5])
def test_unknown_ids(small, bad):
    with pytest.raises(ValueError, match="no id of this vocabulary"):
        small.decode([104, bad])
    with pytest.raises(ValueError, match="between 0 and 299"):
        small.token_bytes(bad)


def test_arrays_of_ids(small):
    ids = small.encode("the cat")
    for dtype in (np.uint16, np.int64):
        assert small.decode(np.array(ids, dtype)) == "the cat"


# ---- special tokens ------------------------------------------------------------------------------


def test_special_tokens_get_the_last_ids(small):
    assert small.special_tokens == {"<|end|>": 297, "<|end|>!": 298, "<pad>": 299}
    assert small.vocab_size == 300
    assert small.token_bytes(299) == b"<pad>"


def test_the_rule_for_special_tokens_in_a_text(small):
    text = "the<pad> cat<|end|>"
    the, cat = small.encode("the"), small.encode(" cat")
    with pytest.raises(ValueError, match=r"special token '<pad>'.*allow_special"):
        small.encode(text)
    with pytest.raises(ValueError, match=r"token '<\|end\|>'"):
        small.encode(text, allow_special=["<pad>"])
    assert small.encode(text, allow_special="all") == [*the, 299, *cat, 297]
    assert small.encode(text, allow_special={"<pad>", "<|end|>"}) == [*the, 299, *cat, 297]
    plain = small.encode(text, allow_special="none")
    assert max(plain) < 297
    assert small.decode(plain) == text
    assert small.encode(text.encode(), allow_special="all") == [*the, 299, *cat, 297]


def test_the_longest_special_token_wins(small):
    assert small.encode("<|end|>!", allow_special="all") == [298]
    assert small.encode("<|end|> !", allow_special="all")[0] == 297
    assert small.encode("<|end|<|end|>", allow_special="all")[-1] == 297


@pytest.mark.parametrize(("rule", "message"), [("some", "expected"), (["<x>"], "does not know")])
def test_unknown_rules(small, rule, message):
    with pytest.raises(ValueError, match=message):
        small.encode("a", allow_special=rule)
    with pytest.raises(ValueError, match=message):
        small.encode_stream(["a"], allow_special=rule)


# ---- streams -------------------------------------------------------------------------------------


def cut(text, places):
    places = sorted({min(place, len(text)) for place in places})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)])]


cuts = st.lists(st.integers(0, 80), max_size=12)
special_texts = st.lists(
    st.one_of(
        st.sampled_from(["<|end|>", "<|end|>!", "<pad>", "<|end", "!", "<"]), with_surrogates
    ),
    max_size=8,
).map("".join)


@relaxed
@given(text=special_texts, places=cuts)
@pytest.mark.parametrize("pattern", [*PATTERNS, r"(?s:.{1,3})"])
def test_a_stream_gives_the_same_ids(small, pattern, text, places):
    tokenizer = Tokenizer(small.ranks, pattern=pattern, special_tokens=small.special_tokens)
    for rule in ("all", "none"):
        expected = tokenizer.encode(text, allow_special=rule)
        parts = cut(text, places)
        assert list(tokenizer.encode_stream(parts, allow_special=rule)) == expected
        assert list(tokenizer.encode_stream(text, allow_special=rule)) == expected  # by character


def test_a_longer_special_token_may_still_come(small):
    """The shorter one must not be taken, nor raise, before the longer one can be excluded."""
    parts = ["the<|end|>", "!", " cat"]
    expected = small.encode("".join(parts), allow_special=["<|end|>!"])
    assert list(small.encode_stream(parts, allow_special=["<|end|>!"])) == expected
    with pytest.raises(ValueError, match="special token"):
        list(small.encode_stream(["the<|e", "nd|> cat"]))


def test_a_stream_is_encoded_as_it_comes(pair):
    """After each part nearly all of it is out: nothing waits for the end."""
    ours, _ = pair
    given_out = []

    def parts():
        for _ in range(50):
            given_out.append(True)
            yield "The cat sat on the mat.\nIt's here; 123 years, 你好 hello!\n\n" * 4

    stream = ours.encode_stream(parts())
    list(islice(stream, 500))
    assert len(given_out) < 12


def test_a_stream_holds_little_memory(small):
    part = " the cat sat on the mat." * 400
    tracemalloc.start()
    try:
        count = sum(1 for _ in small.encode_stream(part for _ in range(100)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 100 * len(small.encode(part))
    assert peak < 700_000  # bytes, for a text of a million and as many ids


def test_files(small, tmp_path):
    path = tmp_path / "text"
    data = ("the cat's hat\r\n\r\n你好 \n" * 20_000).encode()
    for content in (b"", data, data + b"\xe4\xbd", b"\xff" * 10 + data, data * 4):
        path.write_bytes(content)
        assert list(small.encode_file(path)) == small.encode(content)
    path.write_bytes(data + b"<pad>" + data)
    assert 299 in small.encode_file(path, allow_special="all")
    with pytest.raises(FileNotFoundError):
        list(small.encode_file(tmp_path / "absent"))


# ---- patterns ------------------------------------------------------------------------------------


def test_white_space_is_that_of_unicode():
    every_character = "".join(map(chr, range(0x110000)))
    assert re.findall(f"[{_SPACE}]", every_character) == regex.findall(r"\s", every_character)


@relaxed
@given(text=with_surrogates, more=texts)
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=list(PATTERNS))
def test_chunks_are_whole_pieces_and_final(pattern, text, more):
    pieces = regex.findall(pattern.expression, text)
    chunks = list(pattern.chunks(text))
    assert "".join(pieces) == "".join(chunks) == text
    assert [piece for chunk in chunks for piece in pattern.split(chunk)] == pieces
    final = chunks[:-1]
    assert list(pattern.chunks(text + more))[: len(final)] == final


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=list(PATTERNS))
@pytest.mark.parametrize("unit", ["x", "x y ", "\n", " \n", "x\n\n", "x.\n  ", "/\n/"])
def test_chunks_of_long_texts(pattern, unit):
    text = unit * 40_000
    assert "".join(pattern.chunks(text)) == text
    assert [p for c in pattern.chunks(text) for p in pattern.split(c)] == pattern.split(text)


def test_custom_patterns():
    words = Tokenizer.train("to be or not to be", 258, pattern=r"\S+|\s+")
    assert words.merges() == [(b"t", b"o"), (b"b", b"e")]
    assert words.encode("to be") == [256, ord(" "), 257]
    assert get_pattern("gpt2") is GPT2
    assert get_pattern(CL100K) is CL100K
    assert Pattern(r"\S+|\s+").split("to be") == ["to", " ", "be"]


def test_bad_patterns():
    with pytest.raises(ValueError, match="not a regular expression"):
        Pattern(r"[a")
    with pytest.raises(ValueError, match=r"1 capturing group.*\(\?:"):
        Pattern(r"(a)|.")
    with pytest.raises(ValueError, match="does not match every character of 'a b'"):
        Pattern(r"\w+").split("a b")
    with pytest.raises(ValueError, match="does not match every character"):
        Tokenizer.train("a b", 256, pattern=r"\w+")


def test_count_pieces():
    counts = count_pieces(["the cat<s> the", " the\ud800"], GPT2, ["<s>"])
    assert counts == {b"the": 1, b" cat": 1, b" the": 2, "\ufffd".encode(): 1}
    assert count_pieces("ab ab", Pattern(r"\S+|\s")) == {b"ab": 2, b" ": 1}


# ---- training and construction -------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.lists(texts, max_size=5), st.integers(0, 40))
def test_training_equals_the_naive_trainer(corpus, num_merges):
    tokenizer = Tokenizer.train(corpus, 256 + num_merges)
    pieces: dict[bytes, int] = {}
    for text in corpus:
        for piece in regex.findall(GPT2.expression, text):
            pieces[piece.encode()] = pieces.get(piece.encode(), 0) + 1
    merges = list(islice(learn_merges_naive(pieces), num_merges))
    assert tokenizer.merges() == merges
    assert tokenizer.vocab_size == 256 + len(merges)


def test_training_stays_within_texts_and_special_tokens():
    assert Tokenizer.train(["ab", "ba"], 300).merges() == [(b"b", b"a"), (b"a", b"b")]
    assert Tokenizer.train(["a", "b"], 300).merges() == []
    split = Tokenizer.train("ab<|s|>ab", 300, special_tokens=["<|s|>"])
    assert split.merges() == [(b"a", b"b")]
    assert split.special_tokens == {"<|s|>": 257}


def test_training_shows_progress_on_a_terminal(capsys, monkeypatch):
    Tokenizer.train("the cat sat on the mat", 260, progress=True)
    assert capsys.readouterr() == ("", "")  # not in a log
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    Tokenizer.train("the cat sat on the mat", 260, progress=True)
    assert "merges" in capsys.readouterr().err
    Tokenizer.train("the cat sat on the mat", 260)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("vocab_size", [-1, 0, 255, 256])
def test_vocabularies_that_are_too_small(vocab_size):
    with pytest.raises(ValueError, match=r"too small.*at least 257"):
        Tokenizer.train("text", vocab_size, special_tokens=["<s>"])


def test_merges_come_back(small, gpt2):
    again = Tokenizer.from_merges(small.merges(), special_tokens=small.special_tokens)
    assert again.ranks == small.ranks
    lines = unpacked("tokenizers/gpt2_vocab.bpe.xz").decode().splitlines()[1:]
    merges = gpt2[0].merges()
    assert len(merges) == len(lines) == 50_000
    assert [len(left) for left, _ in merges] == [len(_bytes(line.split(" ")[0])) for line in lines]


def _bytes(printable):
    """Independent of our table: characters of GPT-2's alphabet are one byte each."""
    return bytes(len(printable))


@pytest.mark.parametrize(
    ("ranks", "options", "message"),
    [
        ({b"a": 0}, {}, "255 of the 256 single bytes are no tokens, 0x00 the first"),
        ({b"ab": 97}, {}, "id 97 stands for both b'a' and b'ab'"),
        ({b"ab": -5}, {}, "id -5: expected an integer"),
        ({b"ab": True}, {}, "id True: expected an integer"),
        ({b"ab": "7"}, {}, "id '7': expected an integer"),
        ({}, {"special_tokens": {"<s>": 3}}, "id 3 stands for both"),
        ({}, {"special_tokens": ["<s>", "<s>"]}, "names one token twice"),
        ({}, {"special_tokens": "<s>"}, "is one string, '<s>': expected several"),
        ({}, {"special_tokens": [""]}, "at least 1 character"),
        ({}, {"special_tokens": ["\ud800"]}, "valid text"),
    ],
)
def test_impossible_vocabularies(ranks, options, message):
    every = {} if b"a" in ranks else {bytes([byte]): byte for byte in range(256)}
    with pytest.raises(ValueError, match=message):
        Tokenizer(every | ranks, **options)


@pytest.mark.parametrize("merges", [[(b"ab", b"c")], [(b"a", b"bc")], [(b"a", b"b"), (b"a", b"b")]])
def test_impossible_merges(merges):
    with pytest.raises(ValueError, match="must be tokens already and the result must be new"):
        Tokenizer.from_merges(merges)


def test_ranks_that_are_no_merges():
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"abc": 256}
    tokenizer = Tokenizer(ranks)
    assert tokenizer.encode("abc") == [256]
    with pytest.raises(ValueError, match="not a merge of two tokens"):
        tokenizer.merges()


def test_ids_may_have_gaps(cl100k):
    ours, _ = cl100k
    assert ours.vocab_size == 100277
    assert ours.token_bytes(100276) == b"<|endofprompt|>"
    with pytest.raises(ValueError, match="100256 is no id"):
        ours.decode([100256])


def test_memory_is_bounded_and_changes_nothing(small):
    tiny = Tokenizer(small.ranks, special_tokens=small.special_tokens, remember=4)
    text = "the cat sat on a mat, and a dog on the mat; the hat's cat " * 3 + "x" * 200
    assert tiny.encode(text) == small.encode(text) == tiny.encode(text)
    assert len(tiny._chunk_ids) <= 4
    assert len(tiny._piece_ids) <= 4
    assert all(len(chunk) <= 64 for chunk in small._chunk_ids)


def test_repr(small):
    assert repr(small).startswith("Tokenizer(vocab_size=300, special_tokens={'<|end|>': 297")


def test_what_is_no_text_is_refused():
    tokenizer = Tokenizer.train("abc abc", 258)
    with pytest.raises(TypeError, match="takes a text or bytes, got int: 5"):
        tokenizer.encode(5)
