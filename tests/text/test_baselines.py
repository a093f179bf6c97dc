"""Counting models against dictionaries and worked examples; compressors against themselves."""

import gzip
import lzma
import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minissl.text.baselines import (
    bigram_loss,
    bigram_probabilities,
    bits_per_byte,
    compressed_bits_per_byte,
    unigram_loss,
    unigram_probabilities,
)

VOCAB_SIZE = 6
tokens = st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=60)


def unigram_by_dictionary(train, vocab_size, pseudo_count):
    counts = Counter(train)
    total = len(train) + pseudo_count * vocab_size
    return [(counts[w] + pseudo_count) / total for w in range(vocab_size)]


def bigram_by_dictionary(train, v, w, vocab_size):
    """The formulas of Chen and Goodman, word for word, with sets and dictionaries."""
    pairs = Counter(pairwise(train))
    n1 = sum(1 for count in pairs.values() if count == 1)
    n2 = sum(1 for count in pairs.values() if count == 2)
    discount = min(max(n1 / (n1 + 2 * n2) if n1 else 0.0, 0.1), 0.9)
    before = {x: {a for a, b in pairs if b == x} for x in range(vocab_size)}
    q = (len(before[w]) + 1) / (sum(map(len, before.values())) + vocab_size)
    followed = sum(count for (a, _), count in pairs.items() if a == v)
    if followed == 0:
        return q
    different = len({b for a, b in pairs if a == v})
    return max(pairs[v, w] - discount, 0) / followed + discount * different / followed * q


@given(tokens, st.floats(0.01, 5))
def test_unigram_equals_the_dictionary_and_sums_to_one(train, pseudo_count):
    found = unigram_probabilities(train, VOCAB_SIZE, pseudo_count)
    np.testing.assert_allclose(
        found, unigram_by_dictionary(train, VOCAB_SIZE, pseudo_count), rtol=1e-12
    )
    assert math.isclose(found.sum(), 1, rel_tol=1e-12)
    assert found.dtype == np.float64


@given(tokens)
def test_bigram_equals_the_dictionary_and_sums_to_one(train):
    v, w = np.indices((VOCAB_SIZE, VOCAB_SIZE)).reshape(2, -1)
    found = bigram_probabilities(train, v, w, VOCAB_SIZE)
    expected = [bigram_by_dictionary(train, a, b, VOCAB_SIZE) for a, b in zip(v, w, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(found.reshape(VOCAB_SIZE, -1).sum(axis=1), 1, rtol=1e-12)


@given(tokens, st.lists(st.integers(0, VOCAB_SIZE - 1), min_size=2, max_size=30))
def test_losses_are_means_over_the_targets_of_a_language_model(train, held_out):
    p = unigram_by_dictionary(train, VOCAB_SIZE, 1.0)
    expected = -sum(math.log(p[w]) for w in held_out[1:]) / (len(held_out) - 1)
    assert math.isclose(unigram_loss(train, held_out, VOCAB_SIZE), expected, rel_tol=1e-12)
    expected = -sum(
        math.log(bigram_by_dictionary(train, v, w, VOCAB_SIZE)) for v, w in pairwise(held_out)
    ) / (len(held_out) - 1)
    assert math.isclose(bigram_loss(train, held_out, VOCAB_SIZE), expected, rel_tol=1e-12)


def test_bigram_by_hand():
    # a b a b a c: pairs ab twice, ba twice, ac once, so n1 = 1, n2 = 2 and D = 1/5. Before a: {b};
    # before b: {a}; before c: {a}; so q = (2, 2, 2, 1) / 7 for a, b, c and the unseen d.
    train = [0, 1, 0, 1, 0, 2]
    found = bigram_probabilities(train, [0, 0, 0, 0, 2], [0, 1, 2, 3, 1], 4)
    spare = 1 / 5 * 2 / 3  # D · T(a) / c(a): a is followed three times, by b and c
    by_hand = [2 / 7 * spare, 9 / 15 + 2 / 7 * spare, 4 / 15 + 2 / 7 * spare, 1 / 7 * spare, 2 / 7]
    np.testing.assert_allclose(found, by_hand, rtol=1e-14)


def test_unigram_by_hand():
    # a a b, one added to each of a, b, c, d: 3/7, 2/7, 1/7, 1/7. The first token is not a target.
    assert math.isclose(unigram_loss([0, 0, 1], [0, 1, 2], 4), (math.log(7 / 2) + math.log(7)) / 2)


def test_what_each_model_can_and_cannot_see():
    rng = np.random.default_rng(0)
    vocab_size = 50
    noise = rng.integers(0, vocab_size, 20_000)
    cycle = np.arange(20_000) % vocab_size
    uniform = math.log(vocab_size)
    assert abs(unigram_loss(noise, noise[:5000], vocab_size) - uniform) < 0.01
    assert abs(unigram_loss(cycle, cycle[:5000], vocab_size) - uniform) < 0.01
    assert bigram_loss(cycle, cycle[:5000], vocab_size) < 0.01
    fresh = rng.integers(0, vocab_size, 20_000)
    assert uniform < bigram_loss(noise, fresh, vocab_size) < uniform + 0.15


def test_large_vocabularies_do_not_overflow():
    vocab_size = 100_277
    train = np.array([vocab_size - 1, vocab_size - 2] * 50, dtype=np.int32)
    assert bigram_loss(train, train, vocab_size) < 0.1
    assert bigram_loss(train.astype(np.uint16), [0, 1], vocab_size) > 1


def test_nothing_to_count():
    assert math.isclose(unigram_loss([], [1, 2, 3], 8), math.log(8))
    assert math.isclose(bigram_loss([], [1, 2, 3], 8), math.log(8))
    assert math.isclose(bigram_loss([5], [1, 2, 3], 8), math.log(8))


@pytest.mark.parametrize(
    ("train", "held_out", "message"),
    [
        ([0, 9], [1, 2], "train_tokens holds tokens from 0 to 9, expected 0 to 7"),
        ([0, 1], [1, -2], "held_out_tokens holds tokens from -2 to 1"),
        ([0, 1], [1], "1 held-out token"),
        ([0.5, 1], [1, 2], "dtype float64, expected integers"),
    ],
)
def test_wrong_tokens_are_refused(train, held_out, message):
    for loss in (unigram_loss, bigram_loss):
        with pytest.raises(ValueError, match=message):
            loss(train, held_out, 8)


def test_pseudo_counts_must_be_positive():
    with pytest.raises(ValueError, match="pseudo_count is 0"):
        unigram_loss([1], [1, 2], 8, pseudo_count=0)


def test_inputs_are_not_written():
    train, held_out = np.arange(8), np.arange(8)
    bigram_loss(train, held_out, 8)
    unigram_loss(train, held_out, 8)
    np.testing.assert_array_equal(train, np.arange(8))
    np.testing.assert_array_equal(held_out, np.arange(8))


# --------------------------------------------------------------------------------- bits per byte


def test_bits_per_byte_by_hand():
    assert math.isclose(bits_per_byte(math.log(256), 100, 100), 8)
    assert math.isclose(bits_per_byte(math.log(2), 30, 120), 0.25)
    with pytest.raises(ValueError, match="num_bytes is 0"):
        bits_per_byte(1.0, 1, 0)


def noise(seed, size):
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()


@pytest.mark.parametrize(("method", "tolerance"), [("gzip", 0.02), ("xz", 0.1)])
def test_noise_cannot_be_compressed(method, tolerance):
    assert abs(compressed_bits_per_byte(noise(0, 8000), method=method) - 8) < tolerance * 8


def test_sizes_are_those_of_the_two_programs():
    words = np.random.default_rng(0).choice(["to", "be", "or", "not", "question", "that"], 4000)
    text = " ".join(words).encode()
    train, held_out = text[:10_000], text[10_000:]
    gzipped = len(gzip.compress(train + held_out)) - len(gzip.compress(train))
    assert compressed_bits_per_byte(held_out, train, "gzip") == 8 * gzipped / len(held_out)
    xzipped = len(lzma.compress(held_out, preset=9 | lzma.PRESET_EXTREME))
    assert compressed_bits_per_byte(held_out) == 8 * xzipped / len(held_out)


def test_only_xz_looks_back_over_the_whole_training_text():
    train = noise(1, 200_000)
    held_out = train[:20_000]
    assert compressed_bits_per_byte(held_out, train, "xz") < 0.5
    assert compressed_bits_per_byte(held_out, train, "gzip") > 7.5


def test_unknown_methods_and_empty_text_are_refused():
    with pytest.raises(ValueError, match="'zip', expected one of 'gzip', 'xz'"):
        compressed_bits_per_byte(b"text", method="zip")
    with pytest.raises(ValueError, match="held_out is empty"):
        compressed_bits_per_byte(b"", b"train")
