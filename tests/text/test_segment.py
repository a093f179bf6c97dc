"""Segmentations: against every possible one, worked examples, and BPE's own at probability 0."""

from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minissl.text import Tokenizer
from minissl.text.bpe import segment
from minissl.text.segment import fewest_pieces, longest_match, merges_with_dropout

LETTERS = {b"a", b"b", b"c", b"d"}

words = st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), max_size=9).map(b"".join)
vocabularies = st.sets(
    st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), min_size=2, max_size=4).map(b"".join),
    max_size=12,
).map(lambda longer: LETTERS | longer)


def every_segmentation(word, tokens):
    """All ways to cut the word into tokens, by trying every set of borders."""
    inner = range(1, len(word))
    for count in range(len(word)):
        for borders in combinations(inner, count):
            edges = [0, *borders, len(word)]
            pieces = [word[a:b] for a, b in pairwise(edges)]
            if all(piece in tokens for piece in pieces):
                yield pieces


def test_worked_examples():
    tokens = LETTERS | {b"ab", b"abc", b"cd", b"bcd"}
    assert longest_match(b"abcd", tokens) == [b"abc", b"d"]
    assert fewest_pieces(b"abcd", tokens) == [b"abc", b"d"]
    assert longest_match(b"", tokens) == fewest_pieces(b"", tokens) == []
    # The longest first piece is a trap: ab + cdab is shorter than abc + d + ab.
    tokens = LETTERS | {b"ab", b"abc", b"cdab"}
    assert longest_match(b"abcdab", tokens) == [b"abc", b"d", b"ab"]
    assert fewest_pieces(b"abcdab", tokens) == [b"ab", b"cdab"]


@given(words, vocabularies)
def test_fewest_is_the_least_of_all_and_its_first_pieces_the_longest(word, tokens):
    everything = list(every_segmentation(word, tokens)) or [[]]
    least = min(map(len, everything))
    best = max((p for p in everything if len(p) == least), key=lambda p: [len(x) for x in p])
    assert fewest_pieces(word, tokens) == best


@given(words, vocabularies)
def test_longest_match_takes_the_longest_token_at_every_step(word, tokens):
    pieces = longest_match(word, tokens)
    assert b"".join(pieces) == word
    start = 0
    for piece in pieces:
        longer = [t for t in tokens if word.startswith(t, start) and len(t) > len(piece)]
        assert piece in tokens
        assert not longer
        start += len(piece)


@given(words, vocabularies)
def test_no_dropout_is_bpe_and_full_dropout_leaves_bytes(word, tokens):
    ranks = {token: rank for rank, token in enumerate(sorted(tokens, key=lambda t: (len(t), t)))}
    generator = np.random.default_rng(0)
    assert merges_with_dropout(word, ranks, 0.0, generator) == segment(word, ranks)
    assert merges_with_dropout(word, ranks, 1.0, generator) == [bytes([b]) for b in word]


def test_dropout_leaves_out_merges_as_often_as_it_says():
    ranks = {b"a": 0, b"b": 1, b"ab": 2}
    generator = np.random.default_rng(0)
    split = sum(len(merges_with_dropout(b"ab", ranks, 0.3, generator)) == 2 for _ in range(2000))
    assert abs(split / 2000 - 0.3) < 5 * (0.3 * 0.7 / 2000) ** 0.5


def test_dropout_gives_several_spellings_of_one_word():
    ranks = {t: i for i, t in enumerate([b"a", b"b", b"c", b"ab", b"bc", b"abc"])}
    generator = np.random.default_rng(0)
    seen = {tuple(merges_with_dropout(b"abc", ranks, 0.5, generator)) for _ in range(200)}
    # bc + a is not a token: after bc nothing is left to merge but a + bc = abc.
    assert seen == {(b"a", b"b", b"c"), (b"ab", b"c"), (b"a", b"bc"), (b"abc",)}


def test_what_cannot_be_cut_is_said():
    for cut in (longest_match, fewest_pieces):
        with pytest.raises(ValueError, match=r"begins at byte 2 \(b'x'\)"):
            cut(b"abxa", LETTERS)
    for probability in (-0.1, 1.1):
        with pytest.raises(ValueError, match=f"got {probability}"):
            merges_with_dropout(b"ab", {}, probability, np.random.default_rng(0))


# ---- whole texts with dropout --------------------------------------------------------------------


TEXT = "unable undo, don't  caf\u00e9 \U0001f642\n\n<|end|> unable"


@pytest.mark.parametrize("text", [TEXT, TEXT.encode() + b"\xe9\xff", "", "<|end|>"])
def test_a_text_is_cut_in_many_ways_that_all_spell_it(text):
    tokenizer = Tokenizer.train(TEXT * 3, 280, special_tokens=["<|end|>"])
    generator = np.random.default_rng(0)

    def cut(probability, allow_special="all"):
        return tokenizer.encode_with_dropout(
            text, probability, generator, allow_special=allow_special
        )

    data = text.encode() if isinstance(text, str) else text
    assert cut(0.0) == tokenizer.encode(text, allow_special="all")
    assert cut(0.0, "none") == tokenizer.encode(text, allow_special="none")
    assert cut(1.0, "none") == list(data)
    ways = [cut(0.3) for _ in range(60)]
    assert all(tokenizer.decode_bytes(way) == data for way in ways)
    assert {way.count(tokenizer.special_tokens["<|end|>"]) for way in ways} == {
        data.count(b"<|end|>")
    }
    assert len(set(map(tuple, ways))) > 30 or len(data) < 9
    if b"<|end|>" in data:
        with pytest.raises(ValueError, match="contains the special token"):
            cut(0.3, "raise")


def test_what_cannot_be_cut_with_dropout_is_refused():
    tokenizer, generator = Tokenizer.from_merges([]), np.random.default_rng(0)
    with pytest.raises(TypeError, match="encode takes a text or bytes, got int"):
        tokenizer.encode_with_dropout(3, 0.1, generator)
    with pytest.raises(ValueError, match=r"probability must be in \[0, 1\], got 1.5"):
        tokenizer.encode_with_dropout("a", 1.5, generator)


def test_the_ways_to_cut_undo_come_as_often_as_lecture_03_says():
    tokens = [b"n", b"d", b"u", b"o", b"nd", b"un", b"do"]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    p, generator, draws = 0.3, np.random.default_rng(0), 20_000
    expected = {
        (b"u", b"nd", b"o"): 1 - p,
        (b"un", b"do"): p * (1 - p) ** 2 + p**2 * (1 - p) ** 2,
        (b"un", b"d", b"o"): p * (1 - p) * p,
        (b"u", b"n", b"do"): p**2 * (1 - p) * p,
        (b"u", b"n", b"d", b"o"): p**3,
    }
    assert sum(expected.values()) == pytest.approx(1)
    found = Counter(tuple(merges_with_dropout(b"undo", ranks, p, generator)) for _ in range(draws))
    assert found.keys() == expected.keys()
    for way, share in expected.items():  # five standard deviations
        assert abs(found[way] / draws - share) < 5 * np.sqrt(share * (1 - share) / draws)
