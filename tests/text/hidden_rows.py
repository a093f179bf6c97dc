"""Rows to hide tokens of, and what is known of each, by loops over one row."""

import math

import numpy as np


def new_generator(seed=0):
    return np.random.default_rng(seed)


def row_of(text):
    """``allowed`` and ``begins`` of a row: "a" begins a word, "-" goes on with it, "." is special.

    "..a-a." has a word of two tokens and one of one.
    """
    return np.array([c != "." for c in text]), np.array([c == "a" for c in text])


def words_of(allowed, begins):
    """The places of each word, by a loop over one row."""
    found, open_word = [], False
    for place, (may, new) in enumerate(zip(allowed, begins, strict=True)):
        if may and (new or not open_word):
            found.append([])
        if may:
            found[-1].append(place)
        open_word = may
    return [tuple(word) for word in found]


def to_hide(count, share=0.15):
    """The budget in words: the share, rounded (a half to the even number), one at least."""
    return min(max(round(share * count), 1), count)


def ragged(rows, time, seed=0):
    """Rows such as [CLS] A [SEP] B [SEP], padded to many lengths, in words of 1 to 6 pieces."""
    generator = new_generator(seed)
    allowed = np.zeros((rows, time), bool)
    for row in allowed:
        end = generator.integers(3, time + 1)
        row[1 : end - 1] = True
        row[generator.integers(1, end)] = False
    return allowed, allowed & (generator.random((rows, time)) < 0.7)


def runs_of(hidden):
    """(start, stop) of each run of hidden tokens of one row, by a loop."""
    found, start = [], None
    for place, now in enumerate([*hidden, False]):
        if now and start is None:
            start = place
        if not now and start is not None:
            found.append((start, place))
            start = None
    return found


def within(count, draws, chance, deviations=4):
    """Whether a binomial count is where all but one in 16,000 would be."""
    return abs(count - draws * chance) <= deviations * math.sqrt(draws * chance * (1 - chance))
