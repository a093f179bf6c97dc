"""Which tokens of a text are hidden, and what stands in their place: masked language modeling.

Devlin, Chang, Lee and Toutanova (2019, BERT): 15 per cent of the tokens, each by itself. Whole
words, and spans of whole words: Joshi et al. (2020, SpanBERT). Lecture 08.

All functions work on many rows at once. ``allowed`` (rows, time) says which tokens may be hidden:
no [CLS], [SEP] or padding. ``begins`` (rows, time) says which are the first of a word.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]  # (rows, time)

SHARE = 0.15
REPLACED = (0.8, 0.1)  # by [MASK], by a random token; the rest stays as it is
SPAN, LONGEST_SPAN = 0.2, 10  # of the geometric distribution of lengths, in words
KINDS = ("pieces", "words", "spans")


def budget(allowed: Mask, share: float = SHARE) -> NDArray[np.int64]:
    """How many tokens of each row are to be hidden: the share, one at least; (rows,).

    A row in which nothing may be hidden has none. Raises TypeError for an ``allowed`` of numbers
    and ValueError for a share outside 0 to 1.
    """
    if allowed.dtype != np.bool_:  # ~ of a 1 is -2, which is no False
        raise TypeError(f"allowed: expected an array of bool, got {allowed.dtype}: astype(bool)")
    if not 0 <= share <= 1:
        raise ValueError(f"share of hidden tokens: expected 0 to 1, got {share}")
    count = allowed.sum(axis=1)
    return np.minimum(np.maximum(np.rint(share * count).astype(np.int64), 1), count)


def choose(
    kind: str, allowed: Mask, begins: Mask, generator: np.random.Generator, share: float = SHARE
) -> Mask:
    """Hide "pieces", whole "words" or "spans" of them; see the functions of these names."""
    if kind not in KINDS:
        raise ValueError(f"what is hidden must be one of {', '.join(KINDS)}, got {kind!r:.40}")
    if kind == "pieces":
        return choose_pieces(allowed, generator, share)
    if kind == "words":
        return choose_words(allowed, begins, generator, share)
    return choose_spans(allowed, begins, generator, share)


def choose_pieces(allowed: Mask, generator: np.random.Generator, share: float = SHARE) -> Mask:
    """Each token by itself: exactly ``budget`` of each row, all sets equally likely."""
    count = budget(allowed, share)
    keys = np.where(allowed, generator.random(allowed.shape), 2)
    ordered = np.pad(np.sort(keys, axis=1), ((0, 0), (1, 0)), constant_values=-1)
    return keys <= np.take_along_axis(ordered, count[:, None], axis=1)


def choose_words(
    allowed: Mask, begins: Mask, generator: np.random.Generator, share: float = SHARE
) -> Mask:
    """Whole words in random order; one that would go over the budget is passed over.

    A row in which every word is larger than its budget has one word hidden.
    """
    words = Words.of(allowed, begins)
    left = budget(allowed, share)
    keys = generator.random(words.sizes.shape)
    keys[words.sizes == 0] = 2
    order = np.argsort(keys, axis=1)
    taken = np.zeros(words.sizes.shape, bool)
    rows = np.arange(len(allowed))
    for word in order.T:  # the first word of each row, then the second of each
        size = words.sizes[rows, word]
        fits = (size > 0) & (size <= left)
        taken[rows[fits], word[fits]] = True
        left = left - size * fits
    nothing = ~taken.any(axis=1) & allowed.any(axis=1)
    taken[rows[nothing], order[nothing, 0]] = True
    return words.tokens(taken)


def hide_spans_of_row(
    allowed: Mask, begins: Mask, generator: np.random.Generator, share: float = SHARE,
    *, p: float = SPAN, longest: int = LONGEST_SPAN, tries: int = 60,
) -> Mask:  # fmt: skip
    """One row, (time,) -> (time,), step by step: what ``choose_spans`` does with many at once."""
    words: list[list[int]] = []  # the places of each
    for place in np.flatnonzero(allowed).tolist():
        if begins[place] or place == 0 or not allowed[place - 1]:
            words.append([])
        words[-1].append(place)
    left = budget(allowed[None], share)[0]
    fitting = [number for number, word in enumerate(words) if len(word) <= left]
    hidden = np.zeros(len(allowed), bool)
    for _ in range(tries):
        if left <= 0:
            break
        first = generator.choice(fitting or len(words))
        length = span_lengths(1, generator, p=p, longest=longest)[0]
        span = list(words[first])
        for word in words[first + 1 : first + length]:
            if word[0] != span[-1] + 1 or len(span) + len(word) > left:
                break
            span += word
        near = hidden[max(span[0] - 1, 0) : span[-1] + 2]
        if not near.any() and (len(span) <= left or not fitting):
            hidden[span] = True
            left -= len(span)
    return hidden


def choose_spans(
    allowed: Mask, begins: Mask, generator: np.random.Generator, share: float = SHARE,
    *, p: float = SPAN, longest: int = LONGEST_SPAN, tries: int = 60,
) -> Mask:  # fmt: skip
    """Spans of whole words until the budget is spent: lengths of ``span_lengths``, random places.

    A span begins with any of the words that fit into the row's budget. It stops before a token that
    may not be hidden, and before it would go over what is left. No two touch: the token before and
    the token behind each stay visible (or are the row's ends); one that would is drawn again, and
    after ``tries`` draws a row is left as it is. A row in which every word is larger than its
    budget has one word hidden. ``hide_spans_of_row`` is the same, slow and plain.
    """
    words, left = Words.of(allowed, begins), budget(allowed, share)
    fitting = (words.sizes > 0) & (words.sizes <= left[:, None])
    large = fitting.sum(axis=1) == 0
    fitting[large] = words.sizes[large] > 0
    order, counts = np.argsort(~fitting, axis=1, kind="stable"), fitting.sum(axis=1)
    hidden = np.zeros((len(allowed), allowed.shape[1] + 2), bool)  # a token more at either end
    for _ in range(tries):
        rows = np.flatnonzero(left > 0)
        if not len(rows):
            break
        first = order[rows, (generator.random(len(rows)) * counts[rows]).astype(np.int64)]
        length = span_lengths(len(rows), generator, p=p, longest=longest)
        start, stop = _reach(words, rows, first, length, left[rows], large[rows])
        places = start[:, None] + np.arange(-1, int((stop - start).max()) + 1)
        near = places <= stop[:, None]  # the span and both neighbours
        at = np.minimum(places + 1, hidden.shape[1] - 1)
        touched = (hidden[rows[:, None], at] & near).any(axis=1, keepdims=True)
        inside = (places >= start[:, None]) & (places < stop[:, None]) & ~touched
        of, where = np.nonzero(inside)
        hidden[rows[of], at[of, where]] = True
        left[rows] -= inside.sum(axis=1)
    return hidden[:, 1:-1]


def _reach(
    words: Words, rows: NDArray, first: NDArray, length: NDArray, left: NDArray, large: NDArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where a span of each of ``rows`` starts and stops; in the same place if no word is ``left``.

    first: its first word. length: how many it wants. large: rows whose first may be over ``left``.
    """
    step = np.arange(int(length.max()))
    word = np.minimum(first[:, None] + step, words.sizes.shape[1] - 1)
    start = words.starts[rows[:, None], word]
    stop = start + words.sizes[rows[:, None], word]
    goes_on = (step < length[:, None]) & (stop - start[:, :1] <= left[:, None])
    goes_on[:, 0] |= large
    goes_on[:, 1:] &= start[:, 1:] == stop[:, :-1]  # a word behind the last is at 0, as no other
    reached = np.logical_and.accumulate(goes_on, axis=1)
    return start[:, 0], np.where(reached, stop, start[:, :1]).max(axis=1)


def span_lengths(
    count: int, generator: np.random.Generator, *, p: float = SPAN, longest: int = LONGEST_SPAN
) -> NDArray[np.int64]:
    """Lengths in words, (count,): P(length) ∝ p (1 − p)^(length − 1) from 1 to ``longest``.

    p = 0.2 and 10 give 3.80 words on average. Raises ValueError for p outside 0 to 1, or no length.
    """
    if not 0 < p <= 1 or longest < 1:
        raise ValueError(f"spans: expected 0 < p <= 1 and 1 <= longest, got {p} and {longest}")
    lengths = np.arange(1, longest + 1)
    weights = p * (1 - p) ** (lengths - 1)
    return generator.choice(lengths, size=count, p=weights / weights.sum())


class Words(NamedTuple):
    """The words of each row: where each starts and how many tokens it has, 0 behind the last.

    starts, sizes: (rows, words) int64. A word is what ``begins`` says, without what is not allowed.
    """

    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    shape: tuple[int, int]

    @classmethod
    def of(cls, allowed: Mask, begins: Mask) -> Words:
        """The words of rows; a token behind one that is not allowed begins a word too."""
        behind = np.pad(~allowed[:, :-1], ((0, 0), (1, 0)), constant_values=True)
        begins = allowed & (begins | behind)
        counts = begins.sum(axis=1)
        number = np.cumsum(begins, axis=1) - 1
        row, time = np.nonzero(begins)
        starts = np.zeros((len(allowed), int(counts.max(initial=0)) or 1), np.int64)
        starts[row, number[row, time]] = time
        row, time = np.nonzero(allowed)
        flat = row * starts.shape[1] + number[row, time]
        sizes = np.bincount(flat, minlength=starts.size).reshape(starts.shape)
        return cls(starts, sizes, (allowed.shape[0], allowed.shape[1]))

    def tokens(self, taken: NDArray[np.bool_]) -> Mask:
        """The tokens of the words that are taken: (rows, words) -> (rows, time)."""
        edges = np.zeros((self.shape[0], self.shape[1] + 1), np.int8)
        row, word = np.nonzero(taken & (self.sizes > 0))
        start = self.starts[row, word]
        edges[row, start] = 1
        edges[row, start + self.sizes[row, word]] -= 1  # 0 where the next word is taken too
        return np.cumsum(edges[:, :-1], axis=1, dtype=np.int8) > 0


def replace(
    tokens: NDArray, hidden: Mask, generator: np.random.Generator, *, mask: int, vocab_size: int,
    shares: tuple[float, float] = REPLACED, together: bool = False,
) -> NDArray[np.int64]:  # fmt: skip
    """What the model reads: of hidden tokens 80 % become [MASK], 10 % another token, 10 % stay.

    tokens, hidden: (rows, time). mask: the id of [MASK]. shares: of [MASK] and of random tokens,
    which are drawn from the whole vocabulary, as in BERT's program. together: one draw for each
    span, all of whose tokens are replaced in the same way (SpanBERT); else one for each token.
    Raises ValueError for shares that are no shares.
    """
    if not (min(shares) >= 0 and sum(shares) < 1 + 1e-9):
        raise ValueError(f"shares of [MASK] and random tokens: expected 1 at most, got {shares}")
    draws = generator.random(tokens.shape)
    if together:
        draws = np.take_along_axis(draws, span_starts(hidden), axis=1)
    random = generator.integers(vocab_size, size=tokens.shape)
    masked, other = hidden & (draws < shares[0]), hidden & (draws >= shares[0])
    other &= draws < shares[0] + shares[1]
    return np.where(masked, mask, np.where(other, random, tokens)).astype(np.int64)


def span_starts(hidden: Mask) -> NDArray[np.int64]:
    """Where the run of hidden tokens begins that each is of; (rows, time), 0 for visible ones."""
    before = np.pad(hidden[:, :-1], ((0, 0), (1, 0)))
    places = np.where(hidden & ~before, np.arange(hidden.shape[1]), 0)
    return np.where(hidden, np.maximum.accumulate(places, axis=1), 0)


def boundaries(hidden: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of each hidden token: the visible place before its span, that behind it, its number in there.

    Each (hidden tokens,), row by row; places count through all rows, number is 0 for the first of
    a span. A boundary that would be outside of its row is -1: no text between [CLS] and [SEP] has
    such a span.
    """
    rows, time = np.nonzero(hidden)
    length = hidden.shape[1]
    start = span_starts(hidden)[rows, time]
    backwards = span_starts(hidden[:, ::-1])[rows, length - 1 - time]
    stop = length - backwards  # behind the last
    before = np.where(start > 0, rows * length + start - 1, -1)
    behind = np.where(stop < length, rows * length + stop, -1)
    return before, behind, time - start
