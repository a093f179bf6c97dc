"""Counting words: which are kept, which are drawn as noise, which stand near others. Lecture 04.

Streams are word ids (time,), with ``documents`` (time,) beside them: the number of the document
that a word stands in. No pair crosses from one document into another.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minissl.options import is_whole


def keep_probabilities(counts: ArrayLike, threshold: float = 1e-3) -> NDArray[np.float64]:
    """How likely each word stays when frequent ones are thinned out: (words,) in [0, 1].

        min(1, √(t / f) + t / f)   with f = count / all counts

    as word2vec's program has it (the paper has 1 − √(t / f) for leaving it out, with t = 1e-5).
    A word whose count is 0 stays. ``threshold`` t = 0 keeps every word. Raises ValueError for
    counts or a threshold that are negative or not finite. Mikolov et al. (2013). Lecture 04.
    """
    counts = _counts(counts)
    if not (0 <= threshold < np.inf):
        raise ValueError(f"threshold must be a finite number ≥ 0, got {threshold}")
    if threshold == 0:
        return np.ones(len(counts))
    ratio = threshold * counts.sum() / np.where(counts > 0, counts, 1)
    ratio[counts == 0] = 1
    return np.minimum(1, np.sqrt(ratio) + ratio)


def noise_distribution(counts: ArrayLike, power: float = 0.75) -> NDArray[np.float64]:
    """The probabilities with which words are drawn as negatives: count^power / Σ, (words,).

    Power 1 draws as often as in the text, 0 all words alike. A word whose count is 0 is never
    drawn. Raises ValueError for counts or a power that are not finite, for negative counts, and
    when all counts are 0. Mikolov et al. (2013). Lecture 04.
    """
    counts = _counts(counts)
    if not np.isfinite(power):
        raise ValueError(f"power must be a finite number, got {power}")
    if not counts.any():
        raise ValueError("all counts are 0: there is no word to draw")
    logs = power * np.log(np.where(counts > 0, counts, 1))
    weights = np.exp(logs - logs[counts > 0].max()) * (counts > 0)  # no power is too large
    return weights / weights.sum()


def _counts(counts: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(counts, np.float64)
    if array.ndim != 1:
        raise ValueError(f"expected a count for each word, (words,), got shape {array.shape}")
    if not (fine := np.isfinite(array) & (array >= 0)).all():
        raise ValueError(f"expected counts, finite numbers ≥ 0, got {array[~fine][0]}")
    return array


class Cooccurrences(NamedTuple):
    """Pairs that stand within a window, each once: row and column (pairs,) int32, count float64."""

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    counts: NDArray[np.float64]


def cooccurrences(
    words: ArrayLike,
    documents: ArrayLike,
    vocab_size: int,
    window: int,
    *,
    by_distance: bool = True,
) -> Cooccurrences:
    """How often each word stands near each other one, in both directions.

    words, documents: (time,) integers. ``by_distance``: words that are d apart count 1/d, as in
    GloVe, else 1. Rows, and in them columns, rise; both are int32, counts float64. Raises
    ValueError for a window that is no whole number from 1, ids outside of the vocabulary, or
    documents of another shape, TypeError for words that are no integers. Lecture 04.
    """
    from scipy.sparse import coo_array, csr_array

    if not is_whole(window) or window < 1:
        raise ValueError(f"window must be a whole number of words, 1 or more, got {window!r}")
    words, documents = np.asarray(words), np.asarray(documents)
    if words.ndim != 1 or words.shape != documents.shape:
        raise ValueError(
            f"expected words and documents (time,), got {words.shape} and {documents.shape}"
        )
    _require_ids(words, vocab_size)
    shape = (vocab_size, vocab_size)
    table = csr_array(shape, dtype=np.float64)
    for distance in range(1, min(window, len(words) - 1) + 1):
        same = documents[:-distance] == documents[distance:]
        left, right = words[:-distance][same], words[distance:][same]
        ones = np.full(len(left), 1 / distance if by_distance else 1.0)
        table = table + coo_array((ones, (left, right)), shape=shape).tocsr()
    both = (table + table.T).tocsr()
    both.sort_indices()
    found = both.tocoo()
    rows, columns = (axis.astype(np.int32) for axis in (found.row, found.col))
    return Cooccurrences(rows, columns, found.data)


def _require_ids(ids: NDArray, vocab_size: int) -> None:
    if not len(ids):
        return
    if ids.dtype.kind not in "iu":
        raise TypeError(f"expected words as integer ids, got {ids.dtype}")
    if ids.min() < 0 or ids.max() >= vocab_size:
        raise ValueError(f"expected ids from 0 to {vocab_size - 1}, got {ids.min()} to {ids.max()}")


def pointwise_mutual_information(pairs: Cooccurrences, vocab_size: int) -> NDArray[np.float64]:
    """PMI(w, c) = log p(w, c) / (p(w) p(c)) of each of the pairs, (pairs,), in nats.

    Probabilities are shares of the pairs' counts. Raises ValueError for counts that are not
    positive and finite, and for ids outside of the vocabulary. Church and Hanks (1990). Lecture 04.
    """
    if not (np.isfinite(pairs.counts) & (pairs.counts > 0)).all():
        raise ValueError("expected pairs that were seen, with finite counts > 0")
    for ids in (pairs.rows, pairs.columns):
        _require_ids(ids, vocab_size)
    rows = np.bincount(pairs.rows, pairs.counts, vocab_size)
    columns = np.bincount(pairs.columns, pairs.counts, vocab_size)
    expected = rows[pairs.rows] * columns[pairs.columns] / pairs.counts.sum()
    return np.log(pairs.counts / expected)
