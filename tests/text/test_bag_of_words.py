"""Bags of words: by hand, and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from minissl.text import Bytes, Tokenizer, WordVocabulary, bag_of_words, words_of
from minissl.text.bag_of_words import (
    count_vectors,
    inverse_document_frequency,
    presence_vectors,
    tf_idf,
)

DOCUMENTS = ["the cat sat", "the dog saw the cat", "the dog, the dog, a dog!", "…", "the the the"]


def bags(documents, vocabulary):
    ids = [vocabulary.encode(text) for text in documents]
    return count_vectors(ids, vocabulary.vocab_size, unknown=0)


def test_by_hand():
    """The example of the lecture: the, cat and dog, in three documents."""
    vocabulary = WordVocabulary.train(DOCUMENTS[:3], min_count=2)
    assert vocabulary.tokens == ["[UNK]", "the", "dog", "cat"]
    counts = bags(DOCUMENTS[:3], vocabulary)
    assert counts.dtype == np.float32
    assert counts.tolist() == [[0, 1, 0, 1], [0, 2, 1, 1], [0, 2, 3, 0]]
    assert presence_vectors(counts).tolist() == [[0, 1, 0, 1], [0, 1, 1, 1], [0, 1, 1, 0]]
    idf = inverse_document_frequency(counts)
    telling = 1 + math.log(4 / 3)  # cat and dog, in two of three
    np.testing.assert_allclose(idf[1:], [1, telling, telling], rtol=1e-15)
    last = np.array([0, 2, 3 * telling, 0]) / math.hypot(2, 3 * telling)
    np.testing.assert_allclose(tf_idf(counts, idf)[2], last, rtol=1e-7)
    slower = np.array([0, 1 + math.log(2), (1 + math.log(3)) * telling, 0])
    slower /= np.linalg.norm(slower)
    np.testing.assert_allclose(tf_idf(counts, idf, sublinear=True)[2], slower, rtol=1e-7)


def test_what_was_not_seen_is_not_counted_and_what_is_empty_stays_so():
    vocabulary = WordVocabulary({"cat": 2, "dog": 1}, 9)
    counts = bags(["a cat, a bird, a cat", "nothing", ""], vocabulary)
    assert counts.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 0]]
    ids = [vocabulary.encode("a cat, a bird")]
    assert count_vectors(ids, 3).tolist() == [[3, 1, 0]]
    weights = tf_idf(counts, inverse_document_frequency(counts))
    assert weights.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("sublinear", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_as_scikit_learn(seed, sublinear):
    """Learned on some documents, used on others that have other words."""
    draw = np.random.default_rng(seed)
    words = [f"word{n}" for n in range(30)]
    rare = 1 / np.arange(1, 31)
    texts = [" ".join(draw.choice(words, draw.integers(0, 40), p=rare / rare.sum()))
             for _ in range(60)] + DOCUMENTS  # fmt: skip
    vocabulary = WordVocabulary.train(texts[:40], min_count=2)
    given = {"vocabulary": vocabulary.tokens[1:], "analyzer": words_of}
    theirs = TfidfVectorizer(**given, sublinear_tf=sublinear, norm="l2", smooth_idf=True)
    theirs.fit(texts[:40])
    idf = inverse_document_frequency(bags(texts[:40], vocabulary))
    np.testing.assert_allclose(idf[1:], theirs.idf_, rtol=1e-12)
    counts = bags(texts, vocabulary)
    assert (counts[:, 1:] == CountVectorizer(**given).fit_transform(texts).toarray()).all()
    binary = CountVectorizer(**given, binary=True).fit_transform(texts).toarray()
    assert (presence_vectors(counts)[:, 1:] == binary).all()
    ours = tf_idf(counts, idf, sublinear=sublinear)
    assert not ours[:, 0].any()
    np.testing.assert_allclose(ours[:, 1:], theirs.transform(texts).toarray(), rtol=1e-6)
    lengths = np.linalg.norm(ours, axis=1)
    np.testing.assert_allclose(lengths[counts.any(axis=1)], 1, rtol=1e-6)


@pytest.mark.parametrize("tokens", [Bytes(), Tokenizer.train("the dog " * 9, 260)])
def test_of_any_tokenizer(tokens):
    ids = [tokens.encode(text) for text in DOCUMENTS]
    counts = count_vectors(ids, tokens.vocab_size)
    assert counts.sum(axis=1).tolist() == [len(document) for document in ids]
    for row, document in zip(counts, ids):
        assert all(row[token] == document.count(token) for token in document)


def test_what_is_refused(monkeypatch):
    for wrong in ("a text", [1.5], [3], [-1], [[1]], [True, False], 7):
        with pytest.raises(ValueError, match=r"document 1 is .*ids from 0 to 2: encode"):
            count_vectors([[0], wrong], 3)
    assert count_vectors([np.array([2], np.uint8), ()], 3).tolist() == [[0, 0, 1], [0, 0, 0]]
    assert count_vectors([], 3).shape == (0, 3)
    with pytest.raises(ValueError, match="counts have shape"):
        tf_idf(np.ones((2, 3)), np.ones(2))
    for wrong in (3, -1):  # of which -1 would be the last column
        with pytest.raises(ValueError, match=r"unknown is .*, expected an id from 0 to 2"):
            count_vectors([[0]], 3, unknown=wrong)
    functions = presence_vectors, inverse_document_frequency, lambda c: tf_idf(c, np.ones(3))
    for wrong in (np.ones(3), np.full((1, 3), 0.5), -np.ones((1, 3)), np.full((1, 3), np.nan)):
        for function in functions:
            with pytest.raises(ValueError, match="of whole numbers from 0, as count_vectors"):
                function(wrong)
    with pytest.raises(ValueError, match=r"1,000,000 doc.* of 50,000 .* 186.3 GB, .* most 8"):
        count_vectors(range(1_000_000), 50_000)
    monkeypatch.setattr(bag_of_words, "MOST_NUMBERS", 6)
    assert count_vectors([[], []], 3).shape == (2, 3)


def test_a_document_of_words_without_a_weight_is_zero_and_no_nan():
    assert tf_idf([[2, 0], [1, 1]], [0, 1]).tolist() == [[0, 0], [0, 1]]
