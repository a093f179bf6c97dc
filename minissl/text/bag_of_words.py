"""A document as a bag of its tokens: which are in it, how often, and how telling each is (tf-idf).

The order of the words is lost, nothing is trained, and it is hard to beat: every task on whole
texts is measured beside these vectors. Lecture 03; Salton and Buckley (1988), Term-weighting
approaches in automatic text retrieval.

A document is a list of ids, of a ``WordVocabulary`` or of any tokenizer, and becomes a row of a
table with a column for each id. The tables are dense float32: 4 bytes times documents times
vocabulary, though nearly all of it is 0. A search engine keeps the rest only; this does not, and
refuses tables of more than 8 GB.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_NUMBERS = 1 << 31  # in a table: 8 GB of float32


def count_vectors(
    documents: Sequence[Sequence[int]], vocab_size: int, *, unknown: int | None = None
) -> NDArray[np.float32]:
    """How often each token is in each document: (documents, vocab_size).

    ``unknown``: the id that says nothing, 0 of a ``WordVocabulary``; its column stays 0.

    Raises ValueError for what is no id, and for a table of more than ``MOST_NUMBERS``. Example:
    [[1, 2, 1], []] with a vocabulary of 3 gives [[0, 2, 1], [0, 0, 0]].
    """
    shape = len(documents), vocab_size
    if unknown is not None and not 0 <= unknown < vocab_size:
        raise ValueError(f"unknown is {unknown!r}, expected an id from 0 to {vocab_size - 1}")
    if shape[0] * shape[1] > MOST_NUMBERS:
        raise ValueError(
            f"{shape[0]:,} documents with a vocabulary of {shape[1]:,} are a table of "
            f"{4 * shape[0] * shape[1] / 2**30:,.1f} GB, expected at most "
            f"{4 * MOST_NUMBERS / 2**30:g}: take fewer documents at a time or a smaller vocabulary"
        )
    table = np.empty(shape, np.float32)
    for number, (row, document) in enumerate(zip(table, documents)):
        ids = np.asarray(document)
        whole = not ids.size or np.issubdtype(ids.dtype, np.integer)
        if not whole or ids.ndim != 1 or (ids.size and not 0 <= ids.min() <= ids.max() < shape[1]):
            raise ValueError(
                f"document {number} is {document!r:.60}, expected a list of ids from 0 to "
                f"{shape[1] - 1}: encode the text with the tokenizer of this vocabulary"
            )
        row[:] = np.bincount(ids.astype(np.int64), minlength=shape[1])
    if unknown is not None:
        table[:, unknown] = 0
    return table


def presence_vectors(counts: ArrayLike) -> NDArray[np.float32]:
    """1 where a token is in the document, else 0; shape of ``counts`` (documents, vocab_size).

    The event model of naive Bayes: a document is one yes or no for every word of the language.
    """
    return (_checked(counts) > 0).astype(np.float32)


def inverse_document_frequency(counts: ArrayLike) -> NDArray[np.float64]:
    """How telling each token is: idf(w) = 1 + ln((1 + n) / (1 + n(w))), (vocab_size,) float64.

    counts (documents, vocab_size) of n documents, of which n(w) have the token w: those to learn
    from, without any that are held out. What is in every document has 1, the least. The ones that
    are added are a document that has all tokens, so that nothing is divided by 0.
    """
    counts = _checked(counts)
    return 1 + np.log((1 + len(counts)) / (1 + np.count_nonzero(counts, axis=0)))


def tf_idf(counts: ArrayLike, idf: ArrayLike, *, sublinear: bool = False) -> NDArray[np.float32]:
    """Counts weighted by how telling the token is, as rows of length 1: (documents, vocab_size).

        x(d, w) = count(d, w) · idf(w),     then x(d) / ‖x(d)‖

    ``idf`` is that of ``inverse_document_frequency``. ``sublinear``: 1 + ln count in place of each
    count, so that ten times the word is not ten times the weight. A document without any token, or
    with none that has a weight, is all 0. Raises ValueError when the shapes do not fit. With these
    definitions the vectors are those of scikit-learn's ``TfidfVectorizer``.
    """
    counts, idf = _checked(counts), np.asarray(idf, np.float64)
    if idf.shape != counts.shape[1:]:
        raise ValueError(
            f"counts have shape {counts.shape}, idf {idf.shape}: expected (documents, vocab_size) "
            "and (vocab_size,)"
        )
    table = np.empty(counts.shape, np.float32)
    for row, count in zip(table, counts):
        used = np.flatnonzero(count)
        frequency = count[used].astype(np.float64)
        weights = (1 + np.log(frequency) if sublinear else frequency) * idf[used]
        row[:] = 0
        row[used] = weights / (np.linalg.norm(weights) or 1)  # an idf of other kinds may be 0
    return table


def _checked(counts: ArrayLike) -> NDArray:
    """The table. ValueError for shares and weights: their logarithms and zeros mean nothing."""
    table = np.asarray(counts)
    if table.ndim != 2 or not ((table >= 0) & (table == np.floor(table))).all():
        raise ValueError(
            f"counts of shape {table.shape}: expected (documents, vocab_size) of whole numbers "
            "from 0, as count_vectors gives them"
        )
    return table
