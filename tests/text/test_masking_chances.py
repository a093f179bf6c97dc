"""Which tokens are hidden, and how often: outcomes of small rows enumerated with their chances."""

import math
from collections import Counter
from functools import cache
from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.stats import chisquare

from minissl.text.masking import choose, hide_spans_of_row
from tests.text.hidden_rows import new_generator, row_of, runs_of, to_hide, words_of


def exact_pieces(allowed, _, share):
    places = np.flatnonzero(allowed).tolist()
    sets = list(combinations(places, to_hide(len(places), share)))
    return {frozenset(one): 1 / len(sets) for one in sets}


def exact_words(allowed, begins, share):
    """Every order of the words is equally likely; what does not fit is passed over."""
    words, found = words_of(allowed, begins), Counter()
    for order in permutations(words):
        hidden, left = set(), to_hide(int(allowed.sum()), share)
        for word in order:
            if len(word) <= left:
                hidden.update(word)
                left -= len(word)
        found[frozenset(hidden or order[0])] += 1 / math.factorial(len(words))
    return found


def exact_spans(allowed, begins, share, p=0.2, longest=10):
    """All that can be drawn from each state of a row; what changes nothing is drawn again."""
    words, total = words_of(allowed, begins), to_hide(int(allowed.sum()), share)
    weights = [p * (1 - p) ** (length - 1) for length in range(1, longest + 1)]

    def span(first, length, left):
        places = words[first]
        for word in words[first + 1 : first + length]:
            if word[0] > places[-1] + 1 or len(places) + len(word) > left:
                break
            places = places + word
        return places

    @cache
    def end(hidden):
        left, steps = total - len(hidden), Counter()
        if left > 0:
            for first, word in enumerate(words):
                if len(word) > left and (hidden or min(map(len, words)) <= left):
                    continue
                for length, weight in enumerate(weights, 1):
                    places = span(first, length, left)
                    if not hidden & set(range(places[0] - 1, places[-1] + 2)):
                        steps[hidden | set(places)] += weight
        if not steps:
            return Counter({hidden: 1.0})
        found = Counter()
        for state, weight in steps.items():
            for last, chance in end(state).items():
                found[last] += chance * weight / steps.total()
        return found

    return end(frozenset())


EXACT = {"pieces": exact_pieces, "words": exact_words, "spans": exact_spans}


def by_row(_, allowed, begins, generator, share):
    return np.array(
        [hide_spans_of_row(*row, generator, share) for row in zip(allowed, begins, strict=True)]
    )


def disagreement(seen, expected):
    """The chi-square test's p of outcomes (sets of places), the rare ones taken together."""
    assert set(seen) <= set(expected)
    draws = seen.total()
    often = [one for one, chance in expected.items() if chance * draws >= 8]
    rest = 1 - sum(expected[one] for one in often)
    counts, chances = [seen[one] for one in often], [expected[one] for one in often]
    if rest * draws >= 8:
        counts, chances = [*counts, draws - sum(counts)], [*chances, rest]
    assert len(counts) > 1
    total = sum(chances)
    return chisquare(counts, [sum(counts) * c / total for c in chances]).pvalue


CASES = [
    ("pieces", ".aaaa.aaa.", 0.4),  # 3 of 7
    ("words", ".a-aa--aa-.", 0.5),  # 4 or 5 of 9
    ("words", "a---a--a----", 0.1),  # every word is larger than the budget
    ("spans", ".aaaaaa.aaa.", 0.5),  # 4 of 9, in spans of at most 4 words
    ("spans", "a-aa--a.--a-aa", 0.4),  # 5 of 13
    ("spans", "aa-aaa--.", 0.4),  # 3 of 8: rows that cannot be filled
    ("spans", "-a---a--.a----", 0.15),  # 2 of 13: only one word of 1, none but it fits
    ("spans", "a---a--.a----", 0.1),  # every word is larger than the budget
]


@pytest.mark.parametrize(("kind", "text", "share"), CASES)
def test_outcomes_are_as_likely_as_enumerated(kind, text, share):
    expected = EXACT[kind](*row_of(text), share)
    assert sum(expected.values()) == pytest.approx(1)
    several = [(choose, 20_000 if len(expected) > 1 else 1000)]
    if kind == "spans":
        several.append((by_row, 1500 if len(expected) > 1 else 20))
    for function, rows in several:
        allowed, begins = (np.tile(row, (rows, 1)) for row in row_of(text))
        hidden = function(kind, allowed, begins, new_generator(), share)
        seen = Counter(frozenset(np.flatnonzero(row).tolist()) for row in hidden)
        if len(expected) == 1:
            assert set(seen) == set(expected)
        else:
            assert disagreement(seen, expected) > 0.001


def test_many_rows_and_one_by_one_give_the_same_shares_and_lengths():
    """A longer row, words of 1 to 4 pieces: share of each place, mean length of the spans."""
    text = ".aa-a--aaa-a-aaaa---a." + "a-aaa--a-aaaaa-a--aa-."
    found = []
    for function, rows in ((choose, 20_000), (by_row, 1500)):
        allowed, begins = (np.tile(row, (rows, 1)) for row in row_of(text))
        hidden = function("spans", allowed, begins, new_generator(1), 0.15)
        lengths = [stop - start for row in hidden[:1500] for start, stop in runs_of(row)]
        found.append((hidden.mean(axis=0), rows, np.array(lengths)))
    (many, rows, lengths), (single, fewer, others) = found
    error = np.sqrt(many * (1 - many) * (1 / rows + 1 / fewer))
    assert (np.abs(many - single) <= 4 * error).all()
    error = math.sqrt(lengths.var() / len(lengths) + others.var() / len(others))
    assert abs(lengths.mean() - others.mean()) <= 4 * error
    assert 2 < others.mean() < 4
