"""Byte-pair encoding by other means than the library's: the oracles of homework 2.

Training is done as in the program of Sennrich, Haddow and Birch (2016): a word is a string of its
tokens with spaces between them, and merging is a substitution in that string.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

import numpy as np

Pair = tuple[bytes, bytes]
Word = tuple[bytes, ...]
Choose = Callable[[Mapping[Pair, int], Sequence[bytes]], Pair]

BYTES = {bytes([byte]): byte for byte in range(256)}


# ---- training ------------------------------------------------------------------------------------


def pairs(
    words: Mapping[Word, int],
    *,
    weighted: bool = True,
    overlapping: bool = True,
    add: bool = True,
    once: bool = False,
    key: Callable[[bytes, bytes], Any] = lambda a, b: (a, b),
) -> dict[Any, int]:
    """The counts of all pairs; each flag is a mistake when it is not as it stands here."""
    counts: dict[Any, int] = {}
    for word, count in words.items():
        met, i = set(), 0
        while i < len(word) - 1:
            pair = key(word[i], word[i + 1])
            if not once or pair not in met:
                counts[pair] = (counts.get(pair, 0) if add else 0) + (count if weighted else 1)
            met.add(pair)
            i += 1 if overlapping or word[i : i + 2] != word[i + 1 : i + 3] else 2
    return counts


def merged(word: Word, pair: Pair, most: int = -1) -> Word:
    """By ``str.replace``: every token is a letter of its own, and "*" the new one."""
    letters = {token: chr(ord("A") + i) for i, token in enumerate(dict.fromkeys([*word, *pair]))}
    text = "".join(letters[token] for token in word)
    back = {letter: token for token, letter in letters.items()} | {"*": pair[0] + pair[1]}
    joined = text.replace(letters[pair[0]] + letters[pair[1]], "*", most)
    return tuple(back[letter] for letter in joined)


def merged_from_the_right(word: Word, pair: Pair) -> Word:
    """The same on the reversed word, whose tokens are spelled backwards too."""
    reverse = merged(tuple(t[::-1] for t in word[::-1]), (pair[1][::-1], pair[0][::-1]))
    return tuple(token[::-1] for token in reverse[::-1])


def merged_overlapping(word: Word, pair: Pair) -> Word:
    """A token that was just joined is joined again with the next one."""
    starts = {i for i in range(len(word) - 1) if word[i : i + 2] == pair}
    kept = [i for i in range(len(word)) if i in starts or i - 1 not in starts]
    return tuple(pair[0] + pair[1] if i in starts else word[i] for i in kept)


def merged_in_bytes(word: Word, pair: Pair) -> Word:
    """Tokens are merged wherever their bytes, joined, are those of the pair."""
    new, tokens, i = pair[0] + pair[1], [], 0
    while i < len(word):
        hit = i + 1 < len(word) and word[i] + word[i + 1] == new
        tokens.append(new if hit else word[i])
        i += 2 if hit else 1
    return tuple(tokens)


def merged_in_part(word: Word, pair: Pair) -> Word:
    """Tokens are merged wherever one ends and the next begins like the pair."""
    tokens: list[bytes] = []
    i = 0
    while i < len(word):
        hit = word[i].endswith(pair[0]) and i + 1 < len(word) and word[i + 1].startswith(pair[1])
        tokens.append(word[i] + word[i + 1] if hit else word[i])
        i += 2 if hit else 1
    return tuple(tokens)


def merged_and_skipped(word: Word, pair: Pair) -> Word:
    """Three tokens are passed over for each joined pair."""
    tokens, i = [], 0
    while i < len(word):
        hit = word[i : i + 2] == pair
        tokens.append(pair[0] + pair[1] if hit else word[i])
        i += 3 if hit else 1
    return tuple(tokens)


def merged_where_it_is_met(word: Word, pair: Pair) -> Word:
    """The search ends where the pair's first token stands before another token."""
    tokens = list(word)
    while pair[0] in tokens:
        i = tokens.index(pair[0])
        if tuple(tokens[i : i + 2]) != pair:
            break
        tokens[i : i + 2] = [pair[0] + pair[1]]
    return tuple(tokens)


def merged_in_text(
    word: Word,
    pair: Pair,
    escape: Callable[[bytes], bytes] = re.escape,
    separator: bytes = b" ",
) -> Word:
    """By a substitution in the tokens written one after the other, with something between."""
    left, right = map(escape, pair)
    place = rb"(?<![^%s])%s%s%s(?![^%s])" % (separator, left, separator, right, separator)
    try:
        text = re.sub(place, lambda _: pair[0] + pair[1], separator.join(word))
    except re.error:
        return word
    return tuple(token for token in text.split(separator) if token)


def greatest(found: Mapping[Pair, int], made: Sequence[bytes]) -> Pair:
    """The tie rule: of the most frequent pairs the lexicographically greatest."""
    return max(found, key=lambda pair: (found[pair], pair))


def follow(merges: Sequence[Pair]) -> Choose:
    """Of the most frequent pairs the one that these merges take, if they take one of them."""

    def choose(found: Mapping[Pair, int], made: Sequence[bytes]) -> Pair:
        number = len(made) - 256
        taken = merges[number] if number < len(merges) else None
        return taken if taken and found.get(taken) == max(found.values()) else greatest(found, made)

    return choose


def learn(
    counts: Mapping[bytes, int],
    most: int = 10_000,
    choose: Choose = greatest,
    *,
    weighted: bool = True,
    least: int = 1,
) -> list[Pair]:
    """The merges by substitution: b"ab" is the string "61 62", its tokens in hexadecimal."""
    words = {" ".join(f"{byte:02x}" for byte in word): count for word, count in counts.items()}
    made = list(BYTES)
    merges: list[Pair] = []
    while len(merges) < most:
        found: Counter[Pair] = Counter()
        for word, count in words.items():
            tokens = [bytes.fromhex(token) for token in word.split()]
            for pair in pairwise(tokens):
                found[pair] += count if weighted else 1
        if not found or max(found.values()) < least:
            break
        left, right = choose(found, made)
        merges.append((left, right))
        made.append(left + right)
        place = re.compile(rf"(?<!\S){left.hex()} {right.hex()}(?!\S)")
        words = {place.sub((left + right).hex(), word): count for word, count in words.items()}
    return merges


def pairs_after(counts: Mapping[bytes, int], merges: Sequence[Pair]) -> dict[Pair, int]:
    """The counts of all pairs when these merges are done."""
    words = {tuple(bytes([byte]) for byte in word): count for word, count in counts.items()}
    for pair in merges:
        words = {merged(word, pair): count for word, count in words.items()}
    return pairs(words)


def learn_in_arrays(counts: Mapping[bytes, int], most: int) -> list[Pair]:
    """The merges of many words, in NumPy: all words in one array of numbers, -1 between them."""
    tokens = list(BYTES)
    number = {token: i for i, token in enumerate(tokens)}
    flat = np.concatenate([[*word, -1] for word in counts])
    weight = np.repeat([*counts.values()], [len(word) + 1 for word in counts])
    merges: list[Pair] = []
    while len(merges) < most:
        size = len(tokens)
        both = (flat[:-1] >= 0) & (flat[1:] >= 0)
        code = np.where(both, flat[:-1] * size + flat[1:], -1)
        found = np.bincount(code[both], weight[:-1][both], minlength=1)
        if not found.max():
            break
        equal = [
            (tokens[c // size], tokens[c % size]) for c in np.flatnonzero(found == found.max())
        ]
        left, right = max(equal)
        at: list[int] = []
        for i in np.flatnonzero(code == number[left] * size + number[right]).tolist():
            if not at or at[-1] < i - 1 or left != right:  # no token is used twice
                at.append(i)
        if left + right not in number:
            number[left + right] = size
            tokens.append(left + right)
        merges.append((left, right))
        flat[at] = number[left + right]
        flat, weight = (np.delete(a, np.array(at) + 1) for a in (flat, weight))
    return merges


# What decides between pairs, by the mistake it is; first the mistakes that rarer cases show.
WRONG_RULES: dict[str, Choose] = {
    "ties are decided by the joined bytes: compare the first token, then the second": (
        lambda found, made: max(found, key=lambda pair: (found[pair], pair[0] + pair[1]))
    ),
    "ties are decided by the second token first: compare the first, then the second": (
        lambda found, made: max(found, key=lambda pair: (found[pair], pair[::-1]))
    ),
    "ties are decided by the order in which tokens were made: compare their bytes": (
        lambda found, made: max(found, key=lambda p: (found[p], made.index(p[0]), made.index(p[1])))
    ),
    "of equal counts the longest token is made: compare the first token, then the second": (
        lambda found, made: max(found, key=lambda pair: (found[pair], len(b"".join(pair)), pair))
    ),
    "of equal counts the pair met first is taken: the order of the words must not matter": (
        lambda found, made: max(found, key=lambda pair: found[pair])
    ),
    "of equal counts the pair met last is taken: the order of the words must not matter": (
        lambda found, made: max(reversed(list(found)), key=lambda pair: found[pair])
    ),
    "the tie rule is reversed: of equal counts the greatest pair goes first": (
        lambda found, made: min(found, key=lambda pair: (-found[pair], pair))
    ),
    "the greatest pair is merged, whatever its count": lambda found, made: max(found),
    "the rarest pair is merged": lambda found, made: min(found, key=lambda p: (found[p], p)),
}


# ---- encoding ------------------------------------------------------------------------------------

Choice = Callable[[list[tuple[int, int]]], tuple[int, int]]


def join(
    word: bytes, ranks: Mapping[bytes, int], choose: Choice = min, most: int = 10_000
) -> list[bytes]:
    """Join neighbours again and again; ``choose`` picks one of all the (rank, place)."""
    tokens = [word[i : i + 1] for i in range(len(word))]
    for _ in range(most):
        both = [a + b for a, b in pairwise(tokens)]
        found = [(ranks[token], i) for i, token in enumerate(both) if token in ranks]
        if not found:
            break
        i = choose(found)[1]
        tokens[i : i + 2] = [both[i]]
    return tokens


WRONG_CHOICES: dict[str, Choice] = {
    "the leftmost pair is joined first: take the lowest rank in the whole word": (
        lambda found: min(found, key=lambda pair: pair[1])
    ),
    "the highest rank is joined first": lambda found: max(found, key=lambda p: (p[0], -p[1])),
    "of equal ranks the rightmost is joined first": (
        lambda found: min(found, key=lambda pair: (pair[0], -pair[1]))
    ),
}


def longest_first(word: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """From the left, always the longest token that fits (as WordPiece does)."""
    tokens = []
    while word:
        size = next(n for n in range(len(word), 0, -1) if word[:n] in ranks)
        tokens.append(word[:size])
        word = word[size:]
    return tokens


def fewest(word: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """As few tokens as the vocabulary allows, of equal ways the one found first."""
    ways: dict[int, list[bytes]] = {0: []}
    for end in range(1, len(word) + 1):
        found = [[*ways[i], word[i:end]] for i in range(end) if word[i:end] in ranks]
        ways[end] = min(found, key=len)
    return ways[len(word)]


def runs(text: str) -> list[str]:
    r"""The pieces of the pattern ``\S+|\s+``."""
    return ["".join(letters) for _, letters in groupby(text, str.isspace)]


def cut_at(text: str, special_tokens: Collection[str]) -> list[str]:
    """The text in parts, special tokens being parts of their own; the longest wins."""
    parts, i, start = [], 0, 0
    while i < len(text):
        here = [token for token in special_tokens if text.startswith(token, i)]
        if here:
            longest = max(here, key=len)
            parts += [text[start:i], longest]
            i = start = i + len(longest)
        else:
            i += 1
    return [*parts, text[start:]]


def encode(
    text: str,
    ranks: Mapping[bytes, int],
    special_tokens: Mapping[str, int],
    split: Callable[[str], list[str]] = runs,
    segment: Callable[[bytes, Mapping[bytes, int]], list[bytes]] = join,
) -> list[int]:
    """The ids of a text in which every special token becomes its id."""
    ids: list[int] = []
    for number, part in enumerate(cut_at(text, special_tokens)):
        if number % 2:
            ids.append(special_tokens[part])
        else:
            words = [piece.encode("utf-8", "surrogateescape") for piece in split(part)]
            ids += [ranks[token] for word in words for token in segment(word, ranks)]
    return ids
