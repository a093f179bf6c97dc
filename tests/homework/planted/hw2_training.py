"""Wrong answers to the half of homework 2 that learns merges: tasks 2.1 to 2.3, and 2.8."""

from collections import Counter
from itertools import chain, pairwise

from minissl.text import bpe
from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 2.1 count_pairs -----------------------------------------------------------------------------


@PLANTED.add("2.1", "the words' counts forgotten", shows="counts are ignored")
def _(words):
    return Counter(chain.from_iterable(pairwise(word) for word in words))


@PLANTED.add("2.1", "counts overwritten instead of added", shows="replaces its count")
def _(words):
    return Counter({pair: count for word, count in words.items() for pair in pairwise(word)})


@PLANTED.add("2.1", "pairs across words", shows="across the border")
def _(words):
    text = [token for word, count in words.items() for token in word * count]
    return Counter(pairwise(text))


@PLANTED.add("2.1", "no overlapping pairs", shows="pairs may overlap")
def _(words):
    counts: Counter = Counter()
    for word, count in words.items():
        i = 0
        while i + 1 < len(word):
            counts[word[i], word[i + 1]] += count
            i += 2 if word[i : i + 2] == word[i + 1 : i + 3] else 1
    return counts


@PLANTED.add("2.1", "the range ends one too early", shows="last pair")
def _(words):
    counts: Counter = Counter()
    for word, count in words.items():
        for i in range(len(word) - 2):
            counts[word[i], word[i + 1]] += count
    return counts


@PLANTED.add("2.1", "the range ends one too late", shows="IndexError")
def _(words):
    counts: Counter = Counter()
    for word, count in words.items():
        for i in range(len(word)):
            counts[word[i], word[i + 1]] += count
    return counts


@PLANTED.add("2.1", "joined bytes as the key", shows="tuple of its two tokens")
def _(words):
    counts: Counter = Counter()
    for word, count in words.items():
        for left, right in pairwise(word):
            counts[left + right] += count
    return counts


# ---- 2.2 merge -----------------------------------------------------------------------------------


@PLANTED.add("2.2", "overlapping merges", shows="overlap")
def _(word, pair):
    merged, skip = [], False
    for i, token in enumerate(word):
        if word[i : i + 2] == pair:
            merged.append(pair[0] + pair[1])
            skip = True
        elif skip:
            skip = False
        else:
            merged.append(token)
    return tuple(merged)


@PLANTED.add("2.2", "from right to left", shows="right to left")
def _(word, pair):
    merged, i = [], len(word)
    while i > 0:
        hit = word[max(i - 2, 0) : i] == pair
        merged.append(pair[0] + pair[1] if hit else word[i - 1])
        i -= 2 if hit else 1
    return tuple(merged[::-1])


@PLANTED.add("2.2", "only the first occurrence", shows="only the first")
def _(word, pair):
    for i in range(len(word) - 1):
        if word[i : i + 2] == pair:
            return (*word[:i], pair[0] + pair[1], *word[i + 2 :])
    return word


@PLANTED.add("2.2", "the last token is never reached", shows="last token of the word is lost")
def _(word, pair):
    merged, i = [], 0
    while i < len(word) - 1:
        hit = word[i : i + 2] == pair
        merged.append(pair[0] + pair[1] if hit else word[i])
        i += 2 if hit else 1
    return tuple(merged)


@PLANTED.add("2.2", "bytes compared instead of tokens", shows="same bytes may come from other")
def _(word, pair):
    merged, i = [], 0
    while i < len(word):
        hit = i + 1 < len(word) and word[i] + word[i + 1] == pair[0] + pair[1]
        merged.append(pair[0] + pair[1] if hit else word[i])
        i += 2 if hit else 1
    return tuple(merged)


@PLANTED.add("2.2", "the second token is not skipped", shows="still there")
def _(word, pair):
    return tuple(pair[0] + t if word[i : i + 2] == pair else t for i, t in enumerate(word)) and (
        tuple(pair[0] + pair[1] if word[i : i + 2] == pair else t for i, t in enumerate(word))
    )


@PLANTED.add("2.2", "a list, which is no key of a dictionary", shows="not a list")
def _(word, pair):
    return list(bpe.merge(word, pair))


# ---- 2.3 learn_merges_naive, 2.8 learn_merges ----------------------------------------------------


def _singles(word):
    return tuple(bytes([byte]) for byte in word)


def learner(choose, *, weigh=True, least=1, split=_singles):
    """The naive loop with something to get wrong in it."""

    def learn(counts):
        words = {split(word): count if weigh else 1 for word, count in counts.items()}
        made = [bytes([byte]) for byte in range(256)]
        while (pairs := bpe.count_pairs(words)) and max(pairs.values()) >= least:
            pair = choose(pairs, made)
            yield pair
            made.append(pair[0] + pair[1])
            words = {bpe.merge(word, pair): count for word, count in words.items()}

    return learn


def smallest(pairs, made):
    return min(pairs, key=lambda pair: (-pairs[pair], pair))


def largest(pairs, made):
    return max(pairs, key=lambda pair: (pairs[pair], pair))


_LEARNERS = [
    ("of equal counts the smallest pair", "tie rule is reversed", learner(smallest)),
    (
        "of equal counts the first in the dictionary",
        "met first",
        learner(lambda pairs, made: pairs.most_common(1)[0][0]),
    ),
    (
        "of equal counts the last in the dictionary",
        "met last",
        learner(lambda pairs, made: sorted(pairs, key=pairs.get)[-1]),
    ),
    (
        "ties by the order in which tokens were made",
        "order in which tokens were made",
        learner(lambda p, made: max(p, key=lambda ab: (p[ab], *map(made.index, ab)))),
    ),
    (
        "ties by the joined bytes",
        "joined bytes",
        learner(lambda p, made: max(p, key=lambda ab: (p[ab], ab[0] + ab[1]))),
    ),
    ("the words' counts forgotten", "counts are ignored", learner(largest, weigh=False)),
    ("it stops when no pair comes twice", "occur once", learner(largest, least=2)),
    (
        "the greatest pair, not the most frequent",
        "whatever its count",
        learner(lambda p, m: max(p)),
    ),
]
for _mistake, _shows, _learn in _LEARNERS:
    PLANTED.add("2.3", _mistake, shows=_shows)(_learn)


@PLANTED.add("2.3", "merges cross the borders of words", shows="crosses the border")
def _(counts):
    text = b"".join(word * count for word, count in counts.items())
    return bpe.learn_merges_naive({text: 1})


@PLANTED.add("2.3", "the merge is not applied to the words", shows="occurs 0 times by then")
def _(counts):
    words = {tuple(bytes([byte]) for byte in word): count for word, count in counts.items()}
    while pairs := bpe.count_pairs(words):
        pair = largest(pairs, ())
        yield pair
        for word in words:
            word = bpe.merge(word, pair)


@PLANTED.add(
    "2.3", "pairs counted once, at the beginning", shows=r"merge \d+ joins a pair that occurs"
)
def _(counts):
    pairs = bpe.count_pairs({tuple(bytes([b]) for b in word): n for word, n in counts.items()})
    yield from sorted(pairs, key=lambda pair: (pairs[pair], pair), reverse=True)


@PLANTED.add("2.8", "the naive loop once more", shows="too slow")
def _(counts):
    return bpe.learn_merges_naive(counts)


def quick_learner(choose=largest, *, take_back=True, note=True, weigh=True):
    """Only the words that have the pair are touched, with something to get wrong in it."""

    def learn(counts):
        words = [tuple(bytes([byte]) for byte in word) for word in counts]
        number = list(counts.values())
        pairs = bpe.count_pairs(dict(zip(words, number)))
        places: dict = {}
        for i, word in enumerate(words):
            for pair in pairwise(word):
                places.setdefault(pair, set()).add(i)
        while pairs:
            pair = choose(pairs, ())
            yield pair
            for i in places.pop(pair, ()):
                old, words[i] = words[i], bpe.merge(words[i], pair)
                weight = number[i] if weigh else 1
                for other in pairwise(old) if take_back else ():
                    pairs[other] -= weight
                for other in pairwise(words[i]):
                    if take_back or pair[0] + pair[1] in other:
                        pairs[other] += weight
                    if note:
                        places.setdefault(other, set()).add(i)
            pairs = Counter({p: n for p, n in pairs.items() if n > 0 and p != pair})

    return learn


for _mistake, _shows, _learn in [
    ("of equal counts the smallest pair", "tie rule is reversed", quick_learner(smallest)),
    (
        "ties by the joined bytes",
        "joined bytes",
        quick_learner(lambda p, made: max(p, key=lambda ab: (p[ab], ab[0] + ab[1]))),
    ),
    ("old pairs not taken back", "does not stop", quick_learner(take_back=False)),
    ("new pairs not noted", "joins a pair that occurs", quick_learner(note=False)),
    (
        "counts brought up to date by one each",
        "joins a pair that occurs",
        quick_learner(weigh=False),
    ),
]:
    PLANTED.add("2.8", _mistake, shows=_shows)(_learn)
