"""More wrong answers to tasks 2.1 to 2.3 and 2.8: odd tokens, long words, many merges, ties."""

import re
from collections import Counter
from heapq import heapify, heappop, heappush
from itertools import pairwise

import numpy as np

from minissl.text import bpe
from tests.homework.planted import Collection
from tests.homework.planted.hw2_training import largest, learner, quick_learner

PLANTED = Collection()


# ---- 2.1 count_pairs -----------------------------------------------------------------------------


def pair_counter(pairs=pairwise, start=dict, weight=lambda count: count, finish=Counter):
    """A loop over words and pairs, with something to get wrong in it."""

    def count_pairs(words):
        counts = start()
        for word, count in words.items():
            for pair in pairs(word):
                counts[pair] = counts.get(pair, 0) + weight(count)
        return finish(counts)

    return count_pairs


KEPT: dict = {}


def zeros(counts):
    """Every two tokens that there are, also those that never stand together."""
    tokens = {token for pair in counts for token in pair}
    return Counter({(a, b): counts.get((a, b), 0) for a in tokens for b in tokens})


def one_after_the_other(words):
    """By recursion: the first pair, then the rest of the word."""

    def add(word, count, counts):
        if len(word) > 1:
            counts[word[:2]] += count
            add(word[1:], count, counts)
        return counts

    counts: Counter = Counter()
    for word, count in words.items():
        add(word, count, counts)
    return counts


for _mistake, _shows, _count in [
    (
        "a pair counts once in a word",
        "stands twice in a word",
        pair_counter(pairs=lambda word: {*pairwise(word)}),
    ),
    (
        "the last token and the first are a pair",
        "ends of a word",
        pair_counter(pairs=lambda word: zip(word, word[1:] + word[:1]) if word[1:] else ()),
    ),
    ("pairs that never occur, with 0", "with the count 0", pair_counter(finish=zeros)),
    ("the counts are kept for the next call", "earlier call", pair_counter(start=lambda: KEPT)),
    (
        "the words' letters instead of their tokens",
        "taken apart",
        pair_counter(pairs=lambda word: pairwise([bytes([b]) for b in b"".join(word)])),
    ),
    (
        "counts as numbers of 32 bits",
        "OverflowError",
        pair_counter(weight=lambda n: int(np.int32(n))),
    ),
    (
        "floating-point counts",
        "whole numbers",
        pair_counter(weight=float),
    ),
    ("recursion over a word", "calls itself", one_after_the_other),
]:
    PLANTED.add("2.1", _mistake, shows=_shows)(_count)


# ---- 2.2 merge -----------------------------------------------------------------------------------


def in_text(word, pair, separator=b" ", escape=re.escape):
    """A substitution in the tokens with something between them."""
    left, right = map(escape, pair)
    place = rb"(?<![^%s])%s%s%s(?![^%s])" % (separator, left, separator, right, separator)
    text = re.sub(place, lambda _: b"".join(pair), separator.join(word))
    return tuple(text.split(separator)) if word else ()


@PLANTED.add("2.2", "a string with spaces between the tokens", shows="a space or a comma")
def _(word, pair):
    return tuple(token for token in in_text(word, pair) if token)


@PLANTED.add("2.2", "a regular expression that is not escaped", shows="regular expression")
def _(word, pair):
    return in_text(word, pair, separator=b"\0", escape=bytes)


@PLANTED.add("2.2", "tokens become text", shows="UnicodeDecodeError")
def _(word, pair):
    return _merged([token.decode() for token in word], [token.decode() for token in pair])


def _merged(word, pair):
    merged, i = [], 0
    while i < len(word):
        hit = list(word[i : i + 2]) == list(pair)
        merged.append("".join(pair) if hit else word[i])
        i += 2 if hit else 1
    return tuple(token.encode() for token in merged)


@PLANTED.add("2.2", "by recursion", shows="calls itself")
def recursive_merge(word, pair):
    if len(word) < 2:
        return word
    if word[:2] == pair:
        return (pair[0] + pair[1], *recursive_merge(word[2:], pair))
    return (word[0], *recursive_merge(word[1:], pair))


@PLANTED.add("2.2", "what ends and begins with the pair is taken for it", shows="whole tokens")
def _(word, pair):
    merged, i = [], 0
    while i < len(word):
        hit = i + 1 < len(word) and word[i].endswith(pair[0]) and word[i + 1].startswith(pair[1])
        merged.append(word[i] + word[i + 1] if hit else word[i])
        i += 2 if hit else 1
    return tuple(merged)


@PLANTED.add("2.2", "one token too many is skipped", shows="token after each")
def _(word, pair):
    merged, i = [], 0
    while i < len(word):
        hit = word[i : i + 2] == pair
        merged.append(pair[0] + pair[1] if hit else word[i])
        i += 3 if hit else 1
    return tuple(merged)


@PLANTED.add("2.2", "only where the first token stands first", shows="first place")
def _(word, pair):
    merged = list(word)
    while pair[0] in merged:
        i = merged.index(pair[0])
        if tuple(merged[i : i + 2]) != pair:
            break
        merged[i : i + 2] = [pair[0] + pair[1]]
    return tuple(merged)


@PLANTED.add("2.2", "a bytearray as the new token", shows="bytearray")
def _(word, pair):
    merged, i = [], 0
    while i < len(word):
        hit = word[i : i + 2] == pair
        merged.append(bytearray(pair[0]) + pair[1] if hit else word[i])
        i += 2 if hit else 1
    return tuple(merged)


# ---- 2.3 learn_merges_naive, 2.8 learn_merges ----------------------------------------------------


def spaced_word(word):
    """Its tokens as text with spaces between them, as in the paper's program."""
    return tuple(token.encode("latin-1") for token in " ".join(word.decode("latin-1")).split())


def latin_learner(counts):
    """Text in Latin-1 on the way in, UTF-8 on the way out."""
    for left, right in learner(largest)(counts):
        yield left.decode("latin-1").encode(), right.decode("latin-1").encode()


def recursive_learner(counts):
    """Each merge by a call inside the call for the merge before."""

    def learn(words):
        if pairs := bpe.count_pairs(words):
            pair = largest(pairs, ())
            yield pair
            yield from learn({bpe.merge(word, pair): count for word, count in words.items()})

    return learn({tuple(bytes([byte]) for byte in word): count for word, count in counts.items()})


def two_for_each_count(counts):
    """The two leading pairs of each count are merged before the next."""
    words = {tuple(bytes([byte]) for byte in word): count for word, count in counts.items()}
    while pairs := bpe.count_pairs(words):
        best = sorted(pairs, key=lambda pair: (pairs[pair], pair))[: -1 - 2 : -1]
        for pair in best:
            yield pair
            words = {bpe.merge(word, pair): count for word, count in words.items()}


def with_memory():
    """The words of earlier calls are learned from as well."""
    made: Counter = Counter()

    def learn(counts):
        made.update(counts)
        return learner(largest)(dict(made))

    return learn


def at_once(counts):
    """All merges are made before the first is given."""
    return iter(list(learner(largest)(counts)))


def capped(counts):
    """As many merges as there are bytes, and no more."""
    for number, pair in enumerate(learner(largest)(counts)):
        if number == 256:
            return
        yield pair


for _mistake, _shows, _learn in [
    (
        "of equal counts the longest token",
        "longest token",
        learner(lambda p, made: max(p, key=lambda ab: (p[ab], len(ab[0] + ab[1]), ab))),
    ),
    (
        "of equal counts the greatest second token",
        "second token first",
        learner(lambda p, made: max(p, key=lambda ab: (p[ab], ab[::-1]))),
    ),
    ("words with a space in them", "a space is a byte", learner(largest, split=spaced_word)),
    ("Latin-1 in, UTF-8 out", "bytes changed", latin_learner),
    ("recursion over the merges", "calls itself", recursive_learner),
    ("two merges for each count", r"merge \d+ joins a pair that occurs", two_for_each_count),
    ("the counts of earlier calls are added", "earlier call", with_memory()),
    ("all merges before the first", "yield", at_once),
    ("no more than 256 merges", "missing", capped),
]:
    PLANTED.add("2.3", _mistake, shows=_shows)(_learn)


def heap_learner(check=True, twice=True, keep=None, fresh=True):
    """Words that have the pair, and a heap, with something to get wrong in it."""

    def learn(counts):
        if keep:
            counts = dict(sorted(counts.items(), key=lambda item: -item[1])[:keep])
        words = [tuple(bytes([byte]) for byte in word) for word in counts]
        number = list(counts.values())
        pairs: Counter = Counter()
        places: dict = {}
        for i, word in enumerate(words):
            for pair in pairwise(word):
                pairs[pair] += number[i]
                places.setdefault(pair, set()).add(i)
        heap = [(-count, _Reversed(pair)) for pair, count in pairs.items()]
        heapify(heap)
        while heap:
            count, entry = heappop(heap)
            pair = entry.pair
            if check and pairs[pair] != -count:
                if pairs[pair] > 0:
                    heappush(heap, (-pairs[pair], entry))
                continue
            yield pair
            changed = set()
            for i in places.pop(pair, ()):
                old, words[i] = words[i], bpe.merge(words[i], pair)
                for other in pairwise(old) if twice else {*pairwise(old)}:
                    pairs[other] -= number[i]
                for other in pairwise(words[i]) if twice else {*pairwise(words[i])}:
                    pairs[other] += number[i]
                    places.setdefault(other, set()).add(i)
                    changed.add(other)
            for other in changed if fresh else ():
                if pair[0] + pair[1] in other:
                    heappush(heap, (-pairs[other], _Reversed(other)))

    return learn


class _Reversed:
    """A pair that sorts before smaller ones."""

    def __init__(self, pair):
        self.pair = pair

    def __lt__(self, other):
        return self.pair > other.pair


def never_ends(counts):
    """Pairs whose count has become 0 are merged too."""
    pairs: Counter = Counter()
    words = [tuple(bytes([byte]) for byte in word) for word in counts]
    number = list(counts.values())
    for word, count in zip(words, number):
        for pair in pairwise(word):
            pairs[pair] += count
    while pairs:
        pair = largest(pairs, ())
        yield pair
        for i, word in enumerate(words):
            if pair in pairwise(word):
                words[i] = bpe.merge(word, pair)
                for other in pairwise(word):
                    pairs[other] -= number[i]
                for other in pairwise(words[i]):
                    pairs[other] += number[i]


def touched_together(counts):
    """Fast for many words, and each time the two leading pairs at once."""
    learn = two_for_each_count if len(counts) < 1000 else quick_learner()
    return learn(counts)


for _mistake, _shows, _learn in [
    ("an outdated count is believed", "does not stop|joins a pair", heap_learner(False)),
    ("a pair twice in a word is taken back once", "pair that occurs", heap_learner(twice=False)),
    ("new pairs do not come into the heap", "missing|joins a pair", heap_learner(fresh=False)),
    ("only the thousand most frequent words", "rare", heap_learner(keep=1000)),
    ("pairs of count 0 are merged", "does not stop", never_ends),
    ("two merges for each count where few words are", "joins a pair", touched_together),
    (
        "of equal counts the longest token",
        "longest token",
        quick_learner(lambda p, made: max(p, key=lambda ab: (p[ab], len(ab[0] + ab[1]), ab))),
    ),
    ("the counts of earlier calls are added", "earlier call", with_memory()),
    ("Latin-1 in, UTF-8 out", "bytes changed", lambda counts: (
        tuple(t.decode("latin-1").encode() for t in pair) for pair in heap_learner()(counts)
    )),
    ("no more than 256 merges", "missing", lambda counts: (
        pair for pair, _ in zip(heap_learner()(counts), range(256))
    )),
    ("all merges before the first", "yield", lambda counts: iter([*heap_learner()(counts)])),
]:  # fmt: skip
    PLANTED.add("2.8", _mistake, shows=_shows)(_learn)
