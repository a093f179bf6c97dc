"""Wrong answers to homework 5 that are right for most numbers."""

import numpy as np

from minissl.autograd import operations as ops
from minissl.text.cooccurrence import Cooccurrences
from tests.homework.planted import Collection

PLANTED = Collection()


@PLANTED.add("5.3", "only documents whose numbers rise are told apart", shows="crosses")
def rising_documents(words, documents, vocab_size, window, *, by_distance=True):
    words, documents = np.asarray(words), np.asarray(documents)
    if window < 1 or words.shape != documents.shape:
        raise ValueError("a window of 1 or more, and a document for each word")
    if len(words) and not 0 <= words.min() <= words.max() < vocab_size:
        raise ValueError("an id is not in the vocabulary")
    table = np.zeros((vocab_size, vocab_size))
    for here in range(len(words)):
        for there in range(here + 1, min(here + window + 1, len(words))):
            if documents[here] >= documents[there]:
                count = 1 / (there - here) if by_distance else 1
                table[words[here], words[there]] += count
                table[words[there], words[here]] += count
    rows, columns = np.nonzero(table)
    return Cooccurrences(rows.astype(np.int32), columns.astype(np.int32), table[rows, columns])


def weights(counts, largest=100.0, power=0.75):
    """The weights, with a power of at most 1."""
    counts = np.asarray(counts)
    if not (0 < largest < np.inf and 0 < power < np.inf) or not (counts >= 0).all():
        raise ValueError("expected positive numbers")
    return (counts / largest).clip(max=1) ** min(power, 1)


PLANTED.add("5.8", "a power above 1 is 1", shows="the power is missing")(weights)


@PLANTED.add("5.9", "counts below 0.01 are 0.01", shows="rare|small|below")
def without_small_counts(predicted, counts, largest=100.0, power=0.75):
    counts = np.asarray(counts)
    if predicted.shape != counts.shape or not (counts > 0).all():
        raise ValueError("expected a positive count for each prediction")
    error = predicted - np.log(counts.clip(0.01))
    return 0.5 * ops.mean(weights(counts, largest, power) * error * error)


@PLANTED.add("5.11", "three words of each kind", shows="three")
def three_of_each(plus, minus, rule="add"):
    plus, minus = list(plus)[:3], list(minus)[:3]
    if rule == "add":
        return np.asarray(sum(plus) - sum(minus))
    if rule != "multiply":
        raise ValueError("another rule")
    near = [(1 + cosines) / 2 for cosines in plus]
    far = [(1 + cosines) / 2 + 0.001 for cosines in minus]
    return np.asarray(np.prod(near, axis=0) / np.prod(far, axis=0))
