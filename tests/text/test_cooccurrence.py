"""Counting words that stand near each other, against loops; thinning and noise, by hand."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minissl.text.cooccurrence import (
    Cooccurrences,
    cooccurrences,
    keep_probabilities,
    noise_distribution,
    pointwise_mutual_information,
)

# ---- keeping and drawing words ------------------------------------------------------------------


def test_the_same_words_are_kept_as_in_word2vecs_program():
    """gensim 4.4, sample=1e-3, of words that occur 1000, 50, 10 times and once."""
    kept = keep_probabilities([1000, 50, 10, 1], 1e-3)
    np.testing.assert_allclose(kept, [0.033633995, 0.166890862, 0.431829949, 1], rtol=2e-9)


def test_keeping_by_hand():
    """f = 1/2 and t = 1/200: √.01 + .01."""
    assert keep_probabilities([3, 3], 1 / 200) == pytest.approx([0.11, 0.11])
    assert keep_probabilities([5, 0, 5], 1e-3)[1] == 1
    assert keep_probabilities([5, 7], 0).tolist() == [1, 1]
    assert keep_probabilities([0, 0], 1e-3).tolist() == [1, 1]
    assert keep_probabilities([], 1e-3).shape == (0,)
    assert keep_probabilities([1], 50).tolist() == [1]


def test_the_noise_of_gensims_table():
    """Of the same words with power 3/4; the shares of the 2³¹ − 1 places of its table."""
    noise = noise_distribution([1000, 50, 10, 1])
    np.testing.assert_allclose(noise, [0.87490341, 0.09250977, 0.02766688, 0.00491994], atol=5e-9)


def test_noise_by_hand():
    assert noise_distribution([16, 1, 0]) == pytest.approx([8 / 9, 1 / 9, 0])
    assert noise_distribution([3, 1], power=1) == pytest.approx([0.75, 0.25])
    assert noise_distribution([3, 1, 0], power=0) == pytest.approx([0.5, 0.5, 0])
    assert noise_distribution([2, 1, 0], power=-1) == pytest.approx([1 / 3, 2 / 3, 0])
    assert noise_distribution([1e6, 1e6, 1], power=1000) == pytest.approx([0.5, 0.5, 0])
    assert noise_distribution([1e6, 1, 1], power=-1000) == pytest.approx([0, 0.5, 0.5])
    assert noise_distribution(np.array([1, 1], np.uint8)).dtype == np.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: keep_probabilities([1, -2, 3]), "finite numbers ≥ 0, got -2.0"),
        (lambda: keep_probabilities([math.nan]), "got nan"),
        (lambda: keep_probabilities([[1]]), r"\(words,\), got shape \(1, 1\)"),
        (
            lambda: keep_probabilities([1], -1e-3),
            "threshold must be a finite number ≥ 0, got -0.001",
        ),
        (lambda: keep_probabilities([1], math.nan), "threshold must be .* got nan"),
        (lambda: keep_probabilities([1], math.inf), "threshold must be .* got inf"),
        (lambda: noise_distribution([0, 0]), "all counts are 0: there is no word to draw"),
        (lambda: noise_distribution([]), "no word to draw"),
        (lambda: noise_distribution([math.inf]), "got inf"),
        (lambda: noise_distribution([1], math.nan), "power must be a finite number, got nan"),
    ],
)
def test_counts_that_are_none(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- co-occurrences -----------------------------------------------------------------------------


def by_loops(words, documents, window, by_distance):
    found = Counter()
    for i, left in enumerate(words):
        for j, right in enumerate(words):
            if 1 <= abs(i - j) <= window and documents[i] == documents[j]:
                found[int(left), int(right)] += 1 / abs(i - j) if by_distance else 1
    return found


@settings(max_examples=80, deadline=None)
@given(
    words=st.lists(st.integers(0, 4), max_size=14),
    cuts=st.lists(st.integers(0, 14), max_size=3),
    window=st.integers(1, 20),
    by_distance=st.booleans(),
)
def test_cooccurrences_are_those_of_two_loops(words, cuts, window, by_distance):
    documents = np.sum([np.arange(len(words)) >= cut for cut in cuts], axis=0, dtype=int)
    documents = np.broadcast_to(documents, len(words))
    found = cooccurrences(words, documents, 5, window, by_distance=by_distance)
    expected = by_loops(words, documents, window, by_distance)
    keys = list(zip(found.rows.tolist(), found.columns.tolist()))
    assert keys == sorted(expected)
    np.testing.assert_allclose(found.counts, [expected[key] for key in keys], rtol=1e-14)
    assert (found.rows.dtype, found.columns.dtype, found.counts.dtype) == ("i4", "i4", "f8")


def test_a_sentence_by_hand():
    """0 1 0 2 | 1: a window of 2 in which nothing crosses the bar."""
    found = cooccurrences([0, 1, 0, 2, 1], [7, 7, 7, 7, 8], 3, 2)
    pairs = dict(zip(zip(found.rows.tolist(), found.columns.tolist()), found.counts.tolist()))
    assert pairs == {
        (0, 0): 1,
        (0, 1): 2,
        (0, 2): 1,
        (1, 0): 2,
        (1, 2): 0.5,
        (2, 0): 1,
        (2, 1): 0.5,
    }


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint16, np.int64, np.uint64])
def test_ids_of_every_integer_dtype(dtype):
    found = cooccurrences(np.array([1, 200], dtype), np.zeros(2, dtype), 201, 3)
    assert found.rows.tolist() == [1, 200]
    assert found.columns.tolist() == [200, 1]


def test_a_large_vocabulary():
    found = cooccurrences([2_000_000, 0], [0, 0], 2_000_001, 10)
    assert found.rows.tolist() == [0, 2_000_000]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cooccurrences([0, 1], [0, 0], 2, 0), ValueError, "whole number of words.* got 0"),
        (lambda: cooccurrences([0, 1], [0, 0], 2, 2.5), ValueError, r"got 2\.5"),
        (lambda: cooccurrences([0, 1], [0, 0], 2, True), ValueError, "got True"),
        (lambda: cooccurrences([0, 1], [0], 2, 1), ValueError, r"got \(2,\) and \(1,\)"),
        (lambda: cooccurrences([[0]], [[0]], 2, 1), ValueError, r"\(time,\), got \(1, 1\)"),
        (lambda: cooccurrences([0, 5], [0, 0], 5, 1), ValueError, "ids from 0 to 4, got 0 to 5"),
        (lambda: cooccurrences([-1, 2], [0, 0], 5, 1), ValueError, "0 to 4, got -1 to 2"),
        (lambda: cooccurrences([0, 2**40], [0, 0], 5, 1), ValueError, "got 0 to 1099511627776"),
        (lambda: cooccurrences([0.5, 1], [0, 0], 2, 1), TypeError, "integer ids, got float64"),
    ],
)
def test_streams_that_are_none(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- pointwise mutual information ---------------------------------------------------------------


def test_information_by_hand():
    """0 and 1 are always together: p(0, 1) = 1/2 of p(0) p(1) = 1/4."""
    pairs = cooccurrences([0, 1, 5, 5], [0, 0, 1, 1], 6, 1)
    found = pointwise_mutual_information(pairs, 6)
    assert pairs.rows.tolist() == [0, 1, 5]
    # counts 1, 1 and 2 of 4: p(0, 1) = 1/4, p(0) = 1/4; p(5, 5) = 1/2 = p(5)
    np.testing.assert_allclose(found, np.log([4, 4, 2]), rtol=1e-14)


def test_information_is_symmetric_and_none_where_words_are_independent():
    generator = np.random.default_rng(0)
    words, documents = generator.integers(0, 6, 300), np.repeat(np.arange(3), 100)
    pairs = cooccurrences(words, documents, 6, 4)
    table = np.full((6, 6), np.nan)
    table[pairs.rows, pairs.columns] = pointwise_mutual_information(pairs, 6)
    np.testing.assert_allclose(table, table.T, rtol=1e-12, atol=1e-14)
    joint = np.zeros((6, 6))
    joint[pairs.rows, pairs.columns] = pairs.counts / pairs.counts.sum()
    marginal = joint.sum(axis=1)
    np.testing.assert_allclose(table, np.log(joint / np.outer(marginal, marginal)), atol=1e-12)
    assert np.sum(joint * np.exp(-table)) == pytest.approx(1)  # Σ p(w) p(c): all pairs were seen
    rows, columns = np.divmod(np.arange(12), 4)
    product = Cooccurrences(rows, columns, (rows + 1.0) * (columns + 2.0))
    np.testing.assert_allclose(pointwise_mutual_information(product, 4), 0, atol=1e-14)


def test_information_of_nothing():
    assert pointwise_mutual_information(cooccurrences([], [], 5, 2), 5).shape == (0,)


@pytest.mark.parametrize(
    ("rows", "counts", "message"),
    [
        ([0], [0.0], "seen, with finite counts > 0"),
        ([0], [-1.0], "seen, with finite counts > 0"),
        ([0], [math.nan], "seen, with finite counts > 0"),
        ([9], [1.0], "ids from 0 to 4, got 9 to 9"),
        ([-1], [1.0], "ids from 0 to 4, got -1"),
    ],
)
def test_pairs_that_are_none(rows, counts, message):
    for swap in (False, True):
        axes = (np.array(rows), np.array([1]))
        pairs = Cooccurrences(*(axes[::-1] if swap else axes), np.array(counts))
        with pytest.raises(ValueError, match=message):
            pointwise_mutual_information(pairs, 5)
