"""Byte-pair encoding: learn merges from counted words, and apply them to new ones.

Sennrich, Haddow and Birch (2016), on bytes as in GPT-2 (Radford et al. 2019). Lecture 03.

Training starts from single bytes and joins, again and again, the two neighbours that stand
together most often. This file knows neither regular expressions nor ids: it sees *words*, byte
strings with a count, and no merge crosses the border of a word.

The tie rule: among pairs of equal count the lexicographically greatest pair of byte strings is
merged first, so that the result depends on the counts alone and never on the order of the text.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush
from itertools import pairwise
from operator import add

Pair = tuple[bytes, bytes]
Word = tuple[bytes, ...]

_NEVER = 1 << 62  # the rank of a pair that no merge joins
_LONG = 48  # bytes; from about here a heap is faster than scanning a list
_BYTES = [bytes([byte]) for byte in range(256)]


# ---- training, as in the lecture -----------------------------------------------------------------


def count_pairs(words: Mapping[Word, int]) -> Counter[Pair]:
    """How often each two tokens are neighbours, a word of count n counting n times.

    Example: ``{(b"a", b"b", b"a"): 2}`` gives ``{(b"a", b"b"): 2, (b"b", b"a"): 2}``.
    """
    counts: Counter[Pair] = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            counts[pair] += count
    return counts


def merge(word: Word, pair: Pair) -> Word:
    """The word with every occurrence of the pair joined, from left to right.

    Example: ``merge((b"a", b"a", b"a"), (b"a", b"a"))`` gives ``(b"aa", b"a")``.
    """
    merged: list[bytes] = []
    position = 0
    while position < len(word):
        if word[position : position + 2] == pair:
            merged.append(pair[0] + pair[1])
            position += 2
        else:
            merged.append(word[position])
            position += 1
    return tuple(merged)


def learn_merges_naive(counts: Mapping[bytes, int]) -> Iterator[Pair]:
    """Yield the merges in order, until every word is one token: the lecture's loop, as it reads.

    ``counts`` says how often each word occurs (positive integers). Each merge joins the pair with
    the largest count; of equal counts the lexicographically greatest pair, compared as a tuple of
    two byte strings (its first token, then its second). All pairs are counted anew for each merge.

    Example: ``{b"abab": 2, b"bc": 3}`` yields ``(b"a", b"b")``, which occurs 4 times, then
    ``(b"b", b"c")``, 3 times, then ``(b"ab", b"ab")``, twice, and then there is no pair left.
    """
    words = {tuple(bytes([byte]) for byte in word): count for word, count in counts.items()}
    while pairs := count_pairs(words):
        pair = max(pairs, key=lambda pair: (pairs[pair], pair))
        yield pair
        words = {merge(word, pair): count for word, count in words.items()}


# ---- the same merges, fast -----------------------------------------------------------------------


def learn_merges(counts: Mapping[bytes, int]) -> Iterator[Pair]:
    """Yield the merges in order, until every word is one token.

    ``counts`` says how often each word occurs (positive integers). After a merge only the words
    that contain the pair are touched, and of those only the pairs beside it are counted again: the
    work of one merge grows with the length of a word, never with its square.

    Three ideas make it fast. A token is written as one character of a private alphabet, so that a
    word is a string, split at the pair and joined by the new one. A pair that exists already can
    only become rarer, because whatever a merge creates contains the new token; so each pair enters
    the heap once, and one found to be out of date goes back with its present count. The heap's
    order is the tie rule, with bytes inverted since the smallest entry of a heap comes first.
    """
    tokens = [bytes([byte]) for byte in range(256)]
    order = [_descending(token) for token in tokens]
    words = [word.decode("latin-1") for word in counts]
    word_counts = list(counts.values())

    pair_counts: defaultdict[str, int] = defaultdict(int)
    places: defaultdict[str, list[int]] = defaultdict(list)  # pair -> the words that had it

    def note(pair: str, index: int) -> None:
        where = places[pair]
        if not where or where[-1] != index:  # a word that has it many times stands there once
            where.append(index)

    for index, word in enumerate(words):
        for pair in map(add, word, word[1:]):
            pair_counts[pair] += word_counts[index]
            note(pair, index)

    def entry(pair: str) -> tuple[int, str, str, str]:
        return -pair_counts[pair], order[ord(pair[0])], order[ord(pair[1])], pair

    heap = [entry(pair) for pair in pair_counts]
    heapify(heap)
    while heap:
        count, _, _, pair = heappop(heap)
        if pair_counts[pair] != -count:
            if pair_counts[pair]:
                heappush(heap, entry(pair))
            continue
        left, right = tokens[ord(pair[0])], tokens[ord(pair[1])]
        yield left, right
        new = chr(len(tokens))
        tokens.append(left + right)
        order.append(_descending(left + right))
        created = set()
        for index in places.pop(pair):
            parts = words[index].split(pair)
            if len(parts) == 1:  # an earlier merge has taken the pair apart
                continue
            words[index] = new.join(parts)
            ends = [part[:1] + part[-1:] for part in parts]  # what lies between changes nothing
            old, word = pair.join(ends), new.join(ends)
            for neighbours in map(add, old, old[1:]):
                pair_counts[neighbours] -= word_counts[index]
            for neighbours in map(add, word, word[1:]):
                pair_counts[neighbours] += word_counts[index]
                if new in neighbours:
                    created.add(neighbours)
                    note(neighbours, index)
        for neighbours in created:
            heappush(heap, entry(neighbours))


def _descending(token: bytes) -> str:
    """A string that sorts before another exactly when its token sorts after the other's."""
    # The closing character is greater than any byte: a token comes before its own beginning.
    return token.translate(_INVERTED).decode("latin-1") + "\u0100"


_INVERTED = bytes(range(255, -1, -1))


# ---- encoding ------------------------------------------------------------------------------------


def segment(word: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """Split a word into tokens: while two neighbours form a token, join those of lowest rank.

    ``ranks`` maps every token to its rank, the order in which it was learned; every single byte
    must be one. Of equal ranks the leftmost is joined first. Time is quadratic for short words,
    n log n for long ones.

    Example: with ranks of a, b, c, "ab", "abc", the word "abcab" becomes "abc", "ab".
    """
    if len(word) > _LONG:
        return _segment_long(word, ranks)
    rank = ranks.get
    tokens = [_BYTES[byte] for byte in word]
    pair_ranks = [rank(left + right, _NEVER) for left, right in pairwise(tokens)]
    while pair_ranks and (best := min(pair_ranks)) != _NEVER:
        i = pair_ranks.index(best)
        del pair_ranks[i]
        joined = tokens[i] = tokens[i] + tokens.pop(i + 1)
        if i > 0:
            pair_ranks[i - 1] = rank(tokens[i - 1] + joined, _NEVER)
        if i < len(pair_ranks):
            pair_ranks[i] = rank(joined + tokens[i + 1], _NEVER)
    return tokens


def _segment_long(word: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """``segment`` with the tokens in a linked list and the pairs in a heap."""
    length = len(word)
    end = list(range(1, length + 1))  # the token that starts at i is word[i : end[i]]; 0 when gone
    before = list(range(-1, length))  # the token that ends where i starts, starts here
    heap = [
        (ranks[word[i : i + 2]], i, i + 2) for i in range(length - 1) if word[i : i + 2] in ranks
    ]
    heapify(heap)
    while heap:
        _, start, stop = heappop(heap)
        middle = end[start]
        if not 0 < middle < length or end[middle] != stop:
            continue  # one of the two has been joined to something else
        end[start], end[middle], before[stop] = stop, 0, start
        for left in (before[start], start):
            if left >= 0 and end[left] < length:
                pair = word[left : end[end[left]]]
                if pair in ranks:
                    heappush(heap, (ranks[pair], left, left + len(pair)))
    return [word[start:stop] for start, stop in enumerate(end) if stop]
