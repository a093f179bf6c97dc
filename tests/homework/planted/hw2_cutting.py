"""More wrong answers to tasks 2.4 and 2.5: ranks of any size, bytes of any kind, odd texts."""

import re
import unicodedata
from collections import Counter
from itertools import pairwise

from minissl.text.patterns import GPT2
from tests.homework.planted import Collection
from tests.homework.planted.hw2_encoding import counter, segmenter

PLANTED = Collection()


# ---- 2.4 segment ---------------------------------------------------------------------------------


@PLANTED.add("2.4", "by recursion", shows="calls itself")
def recursive_segment(word, ranks):
    def join(tokens):
        both = [a + b for a, b in pairwise(tokens)]
        found = [(ranks[token], i) for i, token in enumerate(both) if token in ranks]
        if not found:
            return tokens
        _, i = min(found)
        return join([*tokens[:i], both[i], *tokens[i + 2 :]])

    return join([bytes([byte]) for byte in word])


@PLANTED.add("2.4", "a rank of 0 is taken for none", shows="rank 0")
def _(word, ranks):
    tokens = [bytes([byte]) for byte in word]
    while found := [
        (ranks[a + b], i) for i, (a, b) in enumerate(pairwise(tokens)) if ranks.get(a + b)
    ]:
        i = min(found)[1]
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]
    return tokens


@PLANTED.add("2.4", "ranks are at most 100,000", shows="large rank")
def _(word, ranks):
    tokens = [bytes([byte]) for byte in word]
    while len(tokens) > 1:
        found = [ranks.get(a + b, 100_000) for a, b in pairwise(tokens)]
        if min(found) >= 100_000:
            break
        i = found.index(min(found))
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]
    return tokens


@PLANTED.add("2.4", "the order of the dictionary for the rank", shows="order of the dictionary")
def _(word, ranks):
    order = {token: i for i, token in enumerate(ranks)}
    return segmenter(min)(word, order)


@PLANTED.add("2.4", "a word that is a token is not cut", shows="word that is a token")
def _(word, ranks):
    return [word] if word in ranks else segmenter(min)(word, ranks)


@PLANTED.add("2.4", "characters instead of bytes", shows="UnicodeDecodeError")
def _(word, ranks):
    tokens = [character.encode() for character in word.decode()]
    while found := [
        (ranks[a + b], i) for i, (a, b) in enumerate(pairwise(tokens)) if a + b in ranks
    ]:
        i = min(found)[1]
        tokens[i : i + 2] = [tokens[i] + tokens[i + 1]]
    return tokens


ANSWERS: dict = {}


@PLANTED.add("2.4", "answers are kept by word alone", shows="earlier call")
def _(word, ranks):
    if word not in ANSWERS:
        ANSWERS[word] = segmenter(min)(word, ranks)
    return ANSWERS[word]


@PLANTED.add("2.4", "a list that is kept is given out", shows="earlier call|list that")
def _(word, ranks, kept=[]):  # noqa: B006
    kept[:] = segmenter(min)(word, ranks)
    return kept


@PLANTED.add("2.4", "numbers instead of bytes", shows="numbers")
def _(word, ranks):
    return [token[0] if len(token) == 1 else token for token in segmenter(min)(word, ranks)]


@PLANTED.add("2.4", "bytearrays", shows="bytearray")
def _(word, ranks):
    return [bytearray(token) for token in segmenter(min)(word, ranks)]


@PLANTED.add("2.4", "an empty word has one empty token", shows="empty word")
def _(word, ranks):
    return segmenter(min)(word, ranks) or [word]


@PLANTED.add("2.4", "long words stay bytes", shows="longer words|single bytes")
def _(word, ranks):
    return segmenter(min)(word, ranks) if len(word) <= 256 else [bytes([byte]) for byte in word]


# ---- 2.5 count_pieces ----------------------------------------------------------------------------


def texts_of(texts):
    return [texts] if isinstance(texts, str) else texts


def changed(change):
    """count_pieces of texts that are changed first."""

    def count_pieces(texts, pattern=GPT2, special_tokens=()):
        return counter()([change(text) for text in texts_of(texts)], pattern, special_tokens)

    return count_pieces


def reads_twice(texts, pattern=GPT2, special_tokens=()):
    """The texts are looked at before they are counted."""
    texts = texts_of(texts)
    if not any(texts):
        return Counter()
    return counter()(texts, pattern, special_tokens)


def sorts(texts, pattern=GPT2, special_tokens=()):
    """The caller's list of special tokens is sorted."""
    if isinstance(special_tokens, list):
        special_tokens.sort(key=len, reverse=True)
    return counter()(texts, pattern, special_tokens)


def spaces(texts, pattern=GPT2, special_tokens=()):
    """Special tokens become spaces."""
    names = sorted(special_tokens, key=len, reverse=True)
    texts = list(texts_of(texts))
    for name in names:
        texts = [text.replace(name, " ") for text in texts]
    return counter()(texts, pattern)


def latest(texts, pattern=GPT2, special_tokens=()):
    """A later text's counts replace those before."""
    counts: dict = {}
    for text in texts_of(texts):
        counts |= counter()(text, pattern, special_tokens)
    return Counter(counts)


def own_pattern(texts, pattern=GPT2, special_tokens=()):
    """Always GPT-2's pattern."""
    return counter()(texts, GPT2, special_tokens)


def first_only(texts, pattern=GPT2, special_tokens=()):
    """Only the first special token of each text is a border."""
    border = "|".join(map(re.escape, sorted(special_tokens, key=len, reverse=True)))
    counts: Counter = Counter()
    for text in texts_of(texts):
        for part in re.split(border, text, maxsplit=1) if special_tokens else [text]:
            counts.update(piece.encode() for piece in pattern.split(part))
    return counts


for _mistake, _shows, _count in [
    ("an iterator is read twice", "only once", reads_twice),
    ("the caller's list is sorted", "changed", sorts),
    ("special tokens become spaces", "become spaces", spaces),
    ("capitals are lost", "lower case", changed(str.lower)),
    ("characters are composed", "as they are", changed(lambda t: unicodedata.normalize("NFC", t))),
    ("the ends of the texts are stripped", "ends of a text", changed(str.strip)),
    ("counts of a later text replace the earlier", "later text", latest),
    ("the pattern is not used", "GPT-2's pattern", own_pattern),
    ("only the first special token", "first special token", first_only),
    (
        "letters that are not ASCII vanish",
        "ASCII",
        counter(key=lambda p: p.encode("ascii", "ignore")),
    ),
    ("UTF-16", "UTF-8", counter(key=lambda p: p.encode("utf-16-le"))),
    ("empty pieces", "empty piece", counter(cut=lambda part: ["", *re.findall(r"\S+|\s+", part)])),
]:
    PLANTED.add("2.5", _mistake, shows=_shows)(_count)


@PLANTED.add("2.5", "one string as special tokens is a list of characters", shows="special_tokens")
def _(texts, pattern=GPT2, special_tokens=()):
    return counter()(texts, pattern, list(special_tokens))
