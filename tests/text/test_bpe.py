"""Training and segmentation of single words: worked examples, a fixture, and naive against fast."""

import json
import lzma
import random
import time
from collections import deque
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minissl.text import bpe
from minissl.text.bpe import count_pairs, learn_merges, learn_merges_naive, merge, segment
from minissl.text.formats import from_printable
from minissl.text.patterns import GPT2, count_pieces
from tests.shared_data import shared_data

BYTES = {bytes([byte]): byte for byte in range(256)}


def ranks_of(merges):
    return BYTES | {left + right: 256 + i for i, (left, right) in enumerate(merges)}


def segment_by_replaying(word, merges):
    """The definition of BPE: apply every merge in the order it was learned."""
    tokens = tuple(bytes([byte]) for byte in word)
    for pair in merges:
        tokens = merge(tokens, pair)
    return list(tokens)


def test_count_pairs_weights_by_word_count():
    words = {(b"a", b"b", b"a"): 2, (b"a", b"b"): 3, (b"x",): 9}
    assert count_pairs(words) == {(b"a", b"b"): 5, (b"b", b"a"): 2}


@pytest.mark.parametrize(
    ("word", "expected"),
    [(b"", b""), (b"a", b"a"), (b"aa", b"A"), (b"aaa", b"Aa"), (b"aaaa", b"AA"), (b"baab", b"bAb")],
)
def test_merge_goes_from_left_to_right(word, expected):
    tokens = tuple(bytes([byte]) for byte in word)
    joined = merge(tokens, (b"a", b"a"))
    assert joined == tuple({65: b"aa"}.get(byte, bytes([byte])) for byte in expected)


@pytest.mark.parametrize("learn", [learn_merges, learn_merges_naive])
def test_wikipedia_example(learn):
    merges = list(islice(learn({b"aaabdaaabac": 1}), 3))
    assert merges == [(b"a", b"a"), (b"aa", b"a"), (b"aaa", b"b")]
    ranks = ranks_of(merges)
    ids = [ranks[token] for token in segment(b"aaabdaaabac", ranks)]
    assert ids == [258, 100, 258, 97, 99]


@pytest.mark.parametrize("learn", [learn_merges, learn_merges_naive])
@pytest.mark.parametrize(
    ("counts", "first"),
    [
        ({b"ab": 2, b"ac": 2, b"ba": 1}, (b"a", b"c")),  # the second token decides
        ({b"ab": 2, b"ca": 2}, (b"c", b"a")),  # the first token decides
        ({b"ab": 3, b"zz": 2}, (b"a", b"b")),  # the count decides before both
        ({b"a\x00": 2, b"a\xff": 2}, (b"a", b"\xff")),  # bytes count from 0 to 255
    ],
)
def test_tie_rule(learn, counts, first):
    assert next(learn(counts)) == first


def test_tie_between_a_token_and_its_beginning():
    # After ab (count 9): (ab, q) and (a, q), (ab, abq)... the longer token is the greater.
    counts = {b"ab": 9, b"abq": 2, b"aq": 2}
    assert list(islice(learn_merges(counts), 2)) == [(b"a", b"b"), (b"ab", b"q")]
    assert list(islice(learn_merges_naive(counts), 2)) == [(b"a", b"b"), (b"ab", b"q")]


def test_nothing_to_learn():
    for learn in (learn_merges, learn_merges_naive):
        assert list(learn({})) == []
        assert list(learn({b"": 3, b"x": 5})) == []


def test_equal_to_naive_on_a_thousand_random_corpora():
    draw = random.Random(20261120)
    for _ in range(1000):
        alphabet = draw.choice([b"a", b"ab", b"abc", b"\x00a\xff", bytes(range(97, 110))])
        corpus = {
            bytes(draw.choices(alphabet, k=draw.randint(0, 12))): draw.randint(1, 4)
            for _ in range(draw.randint(1, 12))
        }
        assert list(learn_merges(corpus)) == list(learn_merges_naive(corpus))


def test_equal_to_naive_on_long_words():
    draw = random.Random(20261128)
    for alphabet in (b"-", b"ab", b"acgt", bytes(range(97, 123))):
        word = bytes(draw.choices(alphabet, k=300))
        corpus = {word: 2, word[:150] * 2: 1, alphabet * 40: 1}
        assert list(learn_merges(corpus)) == list(learn_merges_naive(corpus))


@pytest.mark.parametrize("alphabet", [b"-", b"=-", b"acgt", bytes(range(97, 123))])
def test_training_is_linear_in_the_length_of_a_word(alphabet):
    """Eight times the length: about 8 x the time, and 64 x where a word is visited per occurrence.

    A line of dashes, a page of a language without spaces, DNA: one word of many thousand bytes.
    """

    def seconds(length):
        corpus = {bytes(random.Random(0).choices(alphabet, k=length)): 1}
        taken = []
        for _ in range(3):
            began = time.process_time()
            deque(islice(learn_merges(corpus), 60), maxlen=0)
            taken.append(time.process_time() - began)
        return min(taken)

    assert seconds(80_000) < 24 * seconds(10_000)


def test_order_of_the_text_does_not_matter():
    words = [b"low", b"lower", b"newest", b"widest", b"slow", b"west"]
    forward = dict.fromkeys(words, 2)
    backward = dict.fromkeys(reversed(words), 2)
    assert list(learn_merges(forward)) == list(learn_merges(backward))


def test_published_fixture_of_cs336():
    """Stanford CS336's reference merges and vocabulary, whose tie rule is ours."""
    folder = "tokenizers/bpe_train_reference/"
    text = lzma.decompress(shared_data(folder + "corpus.en.xz").read_bytes()).decode()
    lines = shared_data(folder + "train-bpe-reference-merges.txt").read_text("utf-8").splitlines()
    expected = [tuple(map(from_printable, line.split(" "))) for line in lines]
    vocabulary = json.loads(
        shared_data(folder + "train-bpe-reference-vocab.json").read_text("utf-8")
    )
    counts = count_pieces(text, GPT2, ["<|endoftext|>"])
    merges = list(islice(learn_merges(counts), 500 - 257))
    assert merges == expected
    ours = {*ranks_of(merges), b"<|endoftext|>"}
    assert ours == {
        token.encode() if token == "<|endoftext|>" else from_printable(token)
        for token in vocabulary
    }


words = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from([b"a", b"b", b"ab", b"aab"]), max_size=150).map(b"".join),
)


@settings(deadline=None, max_examples=100)
@given(st.lists(words, max_size=6), st.integers(0, 60), words)
def test_segment_equals_replaying_the_merges(corpus, num_merges, word):
    merges = list(islice(learn_merges(dict.fromkeys(corpus, 1)), num_merges))
    ranks = ranks_of(merges)
    for text in (word, *corpus):
        expected = segment_by_replaying(text, merges)
        assert segment(text, ranks) == expected
        assert bpe._segment_long(text, ranks) == expected


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"ab", b"bc", b"ca", b"abc", b"aa", b"bca", b"aaa"]), unique=True))
def test_short_and_long_agree_on_ranks_that_no_training_makes(tokens):
    ranks = BYTES | {token: 256 + i for i, token in enumerate(tokens)}
    draw = random.Random(len(tokens))
    for length in (*range(6), 47, 48, 49, 200):
        word = bytes(draw.choices(b"abc", k=length))
        bpe_short = _segment_by_definition(word, ranks)
        assert segment(word, ranks) == bpe_short
        assert bpe._segment_long(word, ranks) == bpe_short


def _segment_by_definition(word, ranks):
    tokens = [bytes([byte]) for byte in word]
    while True:
        pairs = [(ranks[a + b], i) for i, (a, b) in enumerate(pairwise(tokens)) if a + b in ranks]
        if not pairs:
            return tokens
        _, i = min(pairs)
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]


def test_long_words_take_no_quadratic_time():
    """Counted, not timed: ten times the length needs about ten times the look-ups."""

    class Counting(dict):
        lookups = 0

        def __contains__(self, key):
            Counting.lookups += 1
            return super().__contains__(key)

    ranks = Counting(ranks_of([(b"a" * 2**i, b"a" * 2**i) for i in range(7)]))
    counts = []
    for length in (2_000, 20_000):
        Counting.lookups = 0
        assert b"".join(segment(b"a" * length, ranks)) == b"a" * length
        counts.append(Counting.lookups)
    assert counts[1] < 11 * counts[0]
