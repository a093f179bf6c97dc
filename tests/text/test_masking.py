"""Masking of long and ragged rows, token by token; lengths of spans; what is read instead.

The chances of each outcome of small rows are in ``test_masking_chances.py``.
"""

import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from minissl.text import masking
from minissl.text.masking import (
    boundaries,
    budget,
    choose,
    choose_pieces,
    choose_spans,
    choose_words,
    hide_spans_of_row,
    replace,
    span_lengths,
    span_starts,
)
from tests.text.hidden_rows import new_generator, ragged, runs_of, to_hide, within, words_of

KINDS = masking.KINDS
MASK, VOCABULARY = 103, 5000


# ---- every row -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 0.01, 0.15, 0.5, 1])
def test_the_budget_is_the_share_and_one_at_least(share):
    allowed = np.tri(130, 130, -1, dtype=bool)[:, new_generator().permutation(130)]
    counts = budget(allowed, share)
    assert counts.tolist() == [0] + [to_hide(count, share) for count in range(1, 130)]
    assert budget(allowed[:0], share).shape == (0,)


@pytest.mark.parametrize("share", [0.05, 0.15, 0.4])
@pytest.mark.parametrize("kind", KINDS)
def test_ragged_rows(kind, share):
    allowed, begins = ragged(300, 48)
    kept = allowed.copy(), begins.copy()
    hidden = choose(kind, allowed, begins, new_generator(), share)
    assert (allowed == kept[0]).all()
    assert (begins == kept[1]).all()
    assert hidden.shape == allowed.shape
    assert hidden.dtype == bool
    assert not (hidden & ~allowed).any()
    full = 0
    for row, may, new in zip(hidden, allowed, begins, strict=True):
        budget_of_row, words = to_hide(int(may.sum()), share), words_of(may, new)
        if kind == "pieces":
            assert row.sum() == budget_of_row
            continue
        taken = [len(word) for word in words if row[list(word)].any()]
        assert sum(taken) == row.sum()  # whole words
        visible = [len(word) for word in words if not row[list(word)].any()]
        full += row.sum() == budget_of_row
        if words and min(taken + visible) > budget_of_row:
            assert len(taken) == 1
            continue
        assert row.sum() <= budget_of_row
        assert bool(words) == row.any()
        if kind == "words":  # only what does not fit is left over
            assert all(size > budget_of_row - row.sum() for size in visible)
    assert kind == "pieces" or full > 180


@pytest.mark.parametrize("longest", [1, 3])
def test_spans_never_touch_and_never_are_too_long(longest):
    """Of spans of one word each, no two words that are side by side are hidden."""
    allowed, begins = ragged(300, 48, seed=2)
    hidden = choose_spans(allowed, begins, new_generator(), 0.3, p=0.05, longest=longest)
    most = 0
    for row, may, new in zip(hidden, allowed, begins, strict=True):
        starts = {word[0] for word in words_of(may, new)}
        for start, stop in runs_of(row):
            most = max(most, len(starts & set(range(start, stop))))
    assert most == longest


def test_spans_spend_the_whole_budget_of_single_tokens():
    allowed = np.ones((200, 128), bool)
    allowed[:, ::64] = False
    hidden = choose_spans(allowed, allowed, new_generator())
    assert (hidden.sum(axis=1) == 19).all()
    lengths = [stop - start for row in hidden for start, stop in runs_of(row)]
    assert 2.5 < np.mean(lengths) < 3.8  # cut at the budget and at what is special


def test_rows_of_nothing_and_of_little():
    for kind in KINDS:
        for rows, time in ((0, 0), (0, 5), (3, 0)):
            nothing = np.zeros((rows, time), bool)
            assert choose(kind, nothing, nothing, new_generator()).shape == (rows, time)
        assert not choose(kind, *(np.zeros((2, 9), bool),) * 2, new_generator()).any()
        for time in (1, 2):
            all_of_them = np.ones((50, time), bool)
            hidden = choose(kind, all_of_them, all_of_them, new_generator())
            assert (hidden.sum(axis=1) == 1).all()
            assert hidden.any(axis=0).all()
        whole = np.ones((4, 7), bool)
        assert choose(kind, whole, whole, new_generator(), 1.0).all() == (kind != "spans")
        if kind != "pieces":  # one word that is the whole row
            assert choose(kind, whole, ~whole, new_generator()).all()
    for empty in (np.zeros((0, 5), bool), np.zeros((3, 0), bool)):
        tokens = empty.astype(int)
        read = replace(tokens, empty, new_generator(), mask=1, vocab_size=9, together=True)
        assert read.shape == empty.shape
        assert span_starts(empty).shape == empty.shape
        assert [len(part) for part in boundaries(empty)] == [0, 0, 0]
    assert hide_spans_of_row(*np.zeros((2, 0), bool), new_generator()).shape == (0,)


def test_a_generator_says_all():
    allowed, begins = ragged(20, 60)
    named = {
        "pieces": lambda generator: choose_pieces(allowed, generator),
        "words": lambda generator: choose_words(allowed, begins, generator),
        "spans": lambda generator: choose_spans(allowed, begins, generator),
    }
    for kind, function in named.items():
        first, again = (choose(kind, allowed, begins, new_generator(5)) for _ in range(2))
        assert (first == again).all()
        assert (first == function(new_generator(5))).all()
        assert (first != choose(kind, allowed, begins, new_generator(6))).any()


def test_words_are_those_of_a_loop():
    allowed, begins = (array[:, 1:] for array in ragged(100, 40, seed=3))
    begins |= ~allowed  # what a special token says does not matter
    words = masking.Words.of(allowed, begins)
    for row, (may, new) in enumerate(zip(allowed, begins, strict=True)):
        found = [(word[0], len(word)) for word in words_of(may, new)]
        starts, sizes = words.starts[row].tolist(), words.sizes[row].tolist()
        assert list(zip(starts, sizes, strict=True))[: len(found)] == found
        assert not any(sizes[len(found) :])
    everything = np.ones(words.sizes.shape, bool)
    assert (words.tokens(everything) == allowed).all()
    assert not words.tokens(~everything).any()


# ---- lengths -------------------------------------------------------------------------------------


def test_lengths_of_spans_are_geometric_and_cut():
    """Mean of the closed form: 1/p − 10 q^10 / (1 − q^10), with q = 1 − p."""
    mean = 1 / 0.2 - 10 * 0.8**10 / (1 - 0.8**10)
    assert mean == pytest.approx(3.797, abs=5e-4)
    lengths = span_lengths(50_000, new_generator())
    chances = np.array([0.2 * 0.8 ** (length - 1) for length in range(1, 11)]) / (1 - 0.8**10)
    counts = np.bincount(lengths, minlength=11)
    assert counts[0] == 0
    assert chisquare(counts[1:], 50_000 * chances).pvalue > 0.001
    deviation = math.sqrt(chances @ np.arange(1, 11) ** 2 - mean**2)
    assert abs(lengths.mean() - mean) < 4 * deviation / math.sqrt(50_000)
    assert span_lengths(9, new_generator(), p=1, longest=4).tolist() == [1] * 9
    assert span_lengths(0, new_generator()).shape == (0,)


# ---- what is read instead ------------------------------------------------------------------------


def test_eight_tenths_are_masked_one_is_random_and_one_stays():
    generator = new_generator()
    tokens = generator.integers(200, VOCABULARY - 200, size=(300, 200)).astype(np.int32)
    hidden, kept = generator.random(tokens.shape) < 0.3, tokens.copy()
    read = replace(tokens, hidden, generator, mask=MASK, vocab_size=VOCABULARY)
    assert read.dtype == np.int64
    assert (tokens == kept).all()
    assert (read == tokens)[~hidden].all()
    draws = int(hidden.sum())
    masked, same = (read == MASK)[hidden].sum(), (read == tokens)[hidden].sum()
    assert within(masked, draws, 0.8 + 0.1 / VOCABULARY)
    assert within(same, draws, 0.1 + 0.1 / VOCABULARY)
    changed = read[hidden & (read != MASK) & (read != tokens)]
    assert changed.min() < 20  # the first ids too: of the whole vocabulary
    assert VOCABULARY - 20 <= changed.max() < VOCABULARY
    assert chisquare(np.bincount(changed // 500)).pvalue > 0.001
    # Of two neighbours each has a draw of its own.
    both = hidden[:, 1:] & hidden[:, :-1]
    twice = ((read == MASK)[:, 1:] & (read == MASK)[:, :-1])[both].sum()
    assert within(twice, int(both.sum()), 0.64, deviations=6)


def test_a_span_is_replaced_in_one_way():
    generator = new_generator()
    tokens = generator.integers(200, VOCABULARY, size=(500, 120))
    hidden = choose_spans(np.ones(tokens.shape, bool), tokens > 0, generator, 0.3)
    read = replace(tokens, hidden, generator, mask=MASK, vocab_size=VOCABULARY, together=True)
    assert (read == tokens)[~hidden].all()
    ways, drawn = Counter(), []
    for row, before, now in zip(hidden, tokens, read, strict=True):
        for start, stop in runs_of(row):
            masked, same = now[start:stop] == MASK, now[start:stop] == before[start:stop]
            way = "masked" if masked.all() else "same" if same.all() else "random"
            ways[way] += 1
            if way == "random":
                assert masked.mean() < 0.5 or stop - start < 3
                assert same.mean() < 0.5 or stop - start < 3
                drawn.append(now[start:stop].tolist())
    spans = ways.total()
    assert within(ways["masked"], spans, 0.8)
    assert within(ways["random"], spans, 0.1)
    several = [one for one in drawn if len(one) > 1]
    assert np.mean([len(set(one)) > 1 for one in several]) > 0.98  # each token of its own


def test_other_shares():
    tokens = np.full((40, 50), 7)
    hidden = new_generator().random(tokens.shape) < 0.5
    settings = {"mask": 3, "vocab_size": 6}
    only_mask = replace(tokens, hidden, new_generator(), shares=(1, 0), **settings)
    assert (only_mask == np.where(hidden, 3, 7)).all()
    none = replace(tokens, hidden, new_generator(), shares=(0, 0), **settings)
    assert (none == tokens).all()
    random = replace(tokens, hidden, new_generator(), shares=(0, 1), **settings)
    assert set(random[hidden].tolist()) == set(range(6))
    assert (random[~hidden] == 7).all()
    first, again = (replace(tokens, hidden, new_generator(4), **settings) for _ in range(2))
    assert (first == again).all()


# ---- spans that are there ------------------------------------------------------------------------


def test_starts_and_boundaries_by_a_loop():
    """Also of spans at the ends of rows, of rows without one, and of whole rows."""
    hidden = new_generator().random((60, 17)) < np.linspace(0, 1, 60)[:, None]
    assert hidden[-1].all()
    starts, found = np.zeros(hidden.shape, int), []
    for number, row in enumerate(hidden):
        for start, stop in runs_of(row):
            starts[number, start:stop] = start
            before = -1 if start == 0 else number * 17 + start - 1
            behind = -1 if stop == 17 else number * 17 + stop
            found += [(before, behind, place - start) for place in range(start, stop)]
    assert (span_starts(hidden) == starts).all()
    assert np.stack(boundaries(hidden), axis=1).tolist() == [list(one) for one in found]
    visible = ~hidden.ravel()
    before, behind, _ = boundaries(hidden)
    assert visible[before[before >= 0]].all()
    assert visible[behind[behind >= 0]].all()


# ---- what is refused -----------------------------------------------------------------------------

ROW = np.ones((1, 9), bool)
WRONG = [
    (
        lambda g: choose("lines", ROW, ROW, g),
        ValueError,
        "one of pieces, words, spans, got 'lines'",
    ),
    (
        lambda g: choose_pieces(ROW.astype(int), g),
        TypeError,
        "expected an array of bool, got int64",
    ),
    (lambda g: choose_words(ROW, ROW, g, 1.5), ValueError, "expected 0 to 1, got 1.5"),
    (lambda g: choose_spans(ROW, ROW, g, -0.1), ValueError, "expected 0 to 1, got -0.1"),
    (lambda g: choose_pieces(ROW, g, math.nan), ValueError, "expected 0 to 1, got nan"),
    (lambda g: span_lengths(2, g, p=0), ValueError, "0 < p <= 1 and 1 <= longest, got 0 and 10"),
    (lambda g: span_lengths(2, g, longest=0), ValueError, "got 0.2 and 0"),
    (
        lambda g: replace(ROW, ROW, g, mask=0, vocab_size=2, shares=(0.8, 0.3)),
        ValueError,
        "at most",
    ),
    (lambda g: replace(ROW, ROW, g, mask=0, vocab_size=2, shares=(-1, 0.3)), ValueError, "at most"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(new_generator())
