"""Wrong answers to homework 5, words: counting them and cutting them."""

import math
from collections import Counter

import numpy as np

from minissl.text import cooccurrence, wordpiece, words
from minissl.text.cooccurrence import Cooccurrences
from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 5.1 unknown_rate ----------------------------------------------------------------------------


def rate(weight=lambda n: n, lost=lambda word, known: word not in known, by=None, finish=float):
    """unknown_rate in a loop, with something to get wrong in it."""

    def unknown_rate(counts, known):
        unknown = total = 0
        for word, count in counts.items():
            total += weight(count)
            unknown += weight(count) if lost(word, known) else 0
        if not total:
            raise ValueError("there is no word")
        return finish(unknown / (by(unknown, total, counts) if by else total))

    return unknown_rate


def rate_by_running_words(counts, known):
    """Every running word, one by one."""
    running = [*Counter(counts).elements()]
    if not running:
        raise ValueError("there is no word")
    return float(np.mean([word not in known for word in running]))


for _mistake, _shows, _rate in [
    ("types instead of running words", "different words were counted", rate(weight=lambda n: 1)),
    ("the known part", "the part that is known", rate(lambda n: n, lambda w, known: w in known)),
    ("a percentage", "not a percentage", rate(finish=lambda x: 100 * x)),
    ("divided by what is known", "divided by the known", rate(by=lambda u, t, c: max(t - u, 1e-9))),
    ("divided by the types", "number of different words", rate(by=lambda u, t, c: len(c))),
    ("not divided", "this is a number of words", rate(by=lambda u, t, c: 1)),
]:
    PLANTED.add("5.1", _mistake, shows=_shows)(_rate)


@PLANTED.add("5.1", "sets only", shows="TypeError")
def _(counts, known):
    total = sum(counts.values())
    if not total:
        raise ValueError("there is no word")
    return sum(counts[word] for word in counts.keys() & (known | set())) / total


@PLANTED.add("5.1", "0 without a word", shows="should raise a ValueError")
def _(counts, known):
    return words.unknown_rate(counts, known) if counts else 0.0


# ---- 5.2 longest_pieces --------------------------------------------------------------------------


def cutter(
    ends=lambda start, size: range(size, start, -1),
    inside="##",
    first="",
    unknown=lambda pieces: None,
    finish=list,
):
    """longest_pieces as it reads, with something to get wrong in it."""

    def longest_pieces(word, tokens):
        pieces, start = [], 0
        while start < len(word):
            prefix = inside if start else first
            for end in ends(start, len(word)):
                if prefix + word[start:end] in tokens:
                    break
            else:
                return unknown(pieces)
            pieces.append(prefix + word[start:end])
            start = end
        return finish(pieces)

    return longest_pieces


def recursive(word, tokens, prefix=""):
    """The first piece, then the rest of the word in the same way."""
    if not word:
        return []
    for size in range(len(word), 0, -1):
        if prefix + word[:size] in tokens:
            rest = recursive(word[size:], tokens, "##")
            return None if rest is None else [prefix + word[:size], *rest]
    return None


for _mistake, _shows, _cut in [
    ("the shortest", "shortest piece", cutter(lambda start, size: range(start + 1, size + 1))),
    ("no ##", "only looked up without|written with ##|cannot be cut", cutter(inside="")),
    ("## on the first piece", "the first piece has no ##|expected list", cutter(first="##")),
    ("what fitted", "cut to its end is None", cutter(unknown=list)),
    ("[UNK]", r"\[UNK\] is what the tokenizer", cutter(unknown=lambda pieces: ["[UNK]"])),
    ("pieces and [UNK]", "makes all of the word", cutter(unknown=lambda p: [*p, "[UNK]"])),
    ("an empty list", "not an empty list", cutter(unknown=lambda pieces: [])),
    ("a tuple", "not a tuple", cutter(finish=tuple)),
    (
        "## stripped at the end",
        "written with ##",
        cutter(finish=lambda pieces: [p.removeprefix("##") for p in pieces]),
    ),
]:
    PLANTED.add("5.2", _mistake, shows=_shows)(_cut)


@PLANTED.add("5.2", "tries again with a shorter first piece", shows="never given back")
def _(word, tokens):
    def search(start):
        if start == len(word):
            return []
        prefix = "##" if start else ""
        for end in range(len(word), start, -1):
            if prefix + word[start:end] in tokens and (rest := search(end)) is not None:
                return [prefix + word[start:end], *rest]
        return None

    return search(0)


@PLANTED.add("5.2", "goes through the tokens and uses them up", shows="changed its input")
def _(word, tokens):
    pieces = wordpiece.longest_pieces(word, tokens)
    for piece in set(pieces or ()):
        tokens.pop(piece)
    return pieces


# ---- 5.3 cooccurrences ---------------------------------------------------------------------------


def near(
    *,
    reach=lambda window: window,
    share=lambda distance, by_distance: 1 / distance if by_distance else 1.0,
    borders=True,
    both=True,
    itself=2,
    once=False,
    check=True,
    order=sorted,
    dtype=np.int32,
):
    """cooccurrences with a dictionary, with something to get wrong in it."""

    def cooccurrences(words, documents, vocab_size, window, *, by_distance=True):
        if check and (
            window < 1
            or words.shape != documents.shape
            or (len(words) and not 0 <= words.min() <= words.max() < vocab_size)
        ):
            raise ValueError("this cannot be")
        found = {}
        for i, a in enumerate(words.tolist()):
            for j in range(i + 1, min(len(words), i + reach(window) + 1)):
                b = int(words[j])
                if borders and documents[i] != documents[j]:
                    continue
                ways = [(a, b), (b, a)] if both else [(a, b)]
                for pair in ways if a != b else ways[:itself]:
                    step = share(j - i, by_distance)
                    found[pair] = step if once else found.get(pair, 0.0) + step
        keys = order(found)
        rows, columns = (np.array([key[k] for key in keys], dtype) for k in (0, 1))
        return Cooccurrences(rows, columns, np.array([found[key] for key in keys], np.float64))

    return cooccurrences


def near_by_table(words, documents, vocab_size, window, *, by_distance=True):
    """cooccurrences with a table of all pairs, and np.add.at."""
    if window < 1 or words.shape != documents.shape:
        raise ValueError("this cannot be")
    if len(words) and not (words.min() >= 0 and words.max() < vocab_size):
        raise ValueError("there is no such word")
    table = np.zeros((vocab_size, vocab_size))
    for distance in range(1, min(window, len(words) - 1) + 1):
        same = documents[distance:] == documents[:-distance]
        pair = words[:-distance][same], words[distance:][same]
        np.add.at(table, pair, 1 / distance if by_distance else 1)
        np.add.at(table, pair[::-1], 1 / distance if by_distance else 1)
    rows, columns = np.nonzero(table)
    return Cooccurrences(rows.astype(np.int32), columns.astype(np.int32), table[rows, columns])


for _mistake, _shows, _near in [
    ("one direction", "both directions: .a, b.", near(both=False)),
    ("window too small", "one word too small", near(reach=lambda window: window - 1)),
    ("window too large", "one word too large", near(reach=lambda window: window + 1)),
    ("documents joined", "crosses from one document", near(borders=False)),
    ("never by distance", "counts 1/d here", near(share=lambda d, by_distance: 1.0)),
    ("always by distance", "each pair counts 1", near(share=lambda d, by_distance: 1 / d)),
    ("the diagonal once", "with itself", near(itself=1)),
    ("each pair once", "however often|values are wrong", near(once=True)),
    ("unsorted", "order of the pairs", near(order=lambda found: sorted(found)[::-1])),
    ("by columns", "order of the pairs", near(order=lambda f: sorted(f, key=lambda k: k[::-1]))),
    ("int64", "dtype", near(dtype=np.int64)),
    ("no errors", "should raise a ValueError|IndexError", near(check=False)),
]:
    PLANTED.add("5.3", _mistake, shows=_shows)(_near)


@PLANTED.add("5.3", "pairs are not added up", shows="a pair stands twice")
def _(words, documents, vocab_size, window, *, by_distance=True):
    found = []
    for distance in range(1, window + 1):
        for a, b, c, d in zip(words, words[distance:], documents, documents[distance:]):
            if c == d:
                found += [(a, b, 1 / distance), (b, a, 1 / distance)]
    rows, columns, counts = np.array(sorted(found)).reshape(-1, 3).T
    return Cooccurrences(rows.astype(np.int32), columns.astype(np.int32), counts)


# ---- 5.4 pointwise_mutual_information ------------------------------------------------------------


def refuse_pairs(pairs, vocab_size):
    """ValueError for what has to be refused."""
    ids = np.concatenate([pairs.rows, pairs.columns])
    if not ((pairs.counts > 0) & np.isfinite(pairs.counts)).all():
        raise ValueError("these pairs were not seen")
    if len(ids) and not 0 <= ids.min() <= ids.max() < vocab_size:
        raise ValueError("there is no such word")


def mutual(
    log=np.log,
    total=np.sum,
    columns=lambda p: p.columns,
    weights=lambda p: p.counts,
    check=refuse_pairs,
):
    """PMI by sums of where a word stands, with something to get wrong in it."""

    def pointwise_mutual_information(pairs, vocab_size):
        check(pairs, vocab_size)
        weight = weights(pairs)
        p_pair = pairs.counts / total(pairs.counts)
        context = columns(pairs)
        p_word = np.array([weight[pairs.rows == w].sum() for w in pairs.rows]) / weight.sum()
        p_context = np.array([weight[context == c].sum() for c in context]) / weight.sum()
        return log(p_pair / (p_word * p_context))

    return pointwise_mutual_information


def mutual_by_table(pairs, vocab_size):
    """PMI from a dense table of joint probabilities."""
    refuse_pairs(pairs, vocab_size)
    joint = np.zeros((vocab_size, vocab_size))
    joint[pairs.rows, pairs.columns] = pairs.counts / pairs.counts.sum()
    apart = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    return np.log(joint[pairs.rows, pairs.columns]) - np.log(apart[pairs.rows, pairs.columns])


for _mistake, _shows, _mutual in [
    ("bits", "base 2", mutual(log=np.log2)),
    ("no logarithm", "there is no logarithm", mutual(log=lambda x: x)),
    ("only positive", "positive PMI", mutual(log=lambda x: np.maximum(np.log(x), 0))),
    ("the sign", "the sign is wrong", mutual(log=lambda x: -np.log(x))),
    ("counts of pairs", "count pairs", mutual(weights=lambda p: np.ones(len(p.counts)))),
    ("rows for both", "p.w. was taken for both", mutual(columns=lambda p: p.rows)),
    ("joint not divided", "values are wrong", mutual(total=lambda x: 1.0)),
]:
    PLANTED.add("5.4", _mistake, shows=_shows)(_mutual)


@PLANTED.add("5.4", "counts instead of shares", shows="divide by the sum of all counts")
def _(pairs, vocab_size):
    rows = np.bincount(pairs.rows, pairs.counts, vocab_size)
    columns = np.bincount(pairs.columns, pairs.counts, vocab_size)
    return np.log(pairs.counts / (rows[pairs.rows] * columns[pairs.columns]))


@PLANTED.add("5.4", "counts that were rounded", shows="values are wrong|NaN|doubled")
def _(pairs, vocab_size):
    return mutual_by_table(pairs._replace(counts=np.ceil(pairs.counts)), vocab_size)


# ---- 5.5 keep_probabilities, 5.6 noise_distribution ----------------------------------------------


def checked(counts, *numbers):
    """As floats, after what has to be refused."""
    counts = np.asarray(counts, float)
    if not np.isfinite(counts).all() or (counts < 0).any() or not np.isfinite(numbers).all():
        raise ValueError("not finite, or negative")
    return counts


def keeper(
    formula=lambda ratio: np.sqrt(ratio) + ratio,
    share=lambda counts: counts / counts.sum(),
    most=1.0,
    never=1.0,
    zero=True,
    check=checked,
):
    """keep_probabilities as it reads, with something to get wrong in it."""

    def keep_probabilities(counts, threshold=1e-3):
        counts = check(counts, threshold)
        if threshold < 0:
            raise ValueError("a negative threshold")
        if threshold == 0 and zero:
            return np.ones(len(counts))
        kept = np.full(len(counts), never)
        there = counts > 0
        kept[there] = np.minimum(most, formula(threshold / share(counts)[there]))
        return kept

    return keep_probabilities


def keep_in_a_loop(counts, threshold=1e-3):
    """keep_probabilities, word by word."""
    counts = checked(counts, threshold).tolist()
    if threshold < 0:
        raise ValueError("a negative threshold")
    kept = []
    for count in counts:
        ratio = threshold * math.fsum(counts) / count if count and threshold else 1.0
        kept.append(min(1.0, math.sqrt(ratio) * (1 + math.sqrt(ratio))))
    return np.array(kept)


for _mistake, _shows, _keep in [
    ("the paper's", "this is the paper's", keeper(np.sqrt)),
    ("the ratio alone", "this is t / f alone", keeper(lambda ratio: ratio)),
    ("no root", "square root is missing", keeper(lambda ratio: 2 * ratio)),
    ("above 1", "at most 1", keeper(most=np.inf)),
    ("counts", "f is a share", keeper(share=lambda counts: counts)),
    ("of the largest", "not count / the largest", keeper(share=lambda c: c / c.max())),
    ("count 0 goes", "whose count is 0 stays|NaN", keeper(never=0.0)),
    ("threshold 0 drops all", "threshold 0 means", keeper(zero=False)),
    ("nothing refused", "should raise", keeper(check=lambda counts, *n: np.asarray(counts, float))),
]:
    PLANTED.add("5.5", _mistake, shows=_shows)(_keep)


@PLANTED.add("5.5", "how likely it is left out", shows="how likely a word is left out")
def _(counts, threshold=1e-3):
    return 1 - cooccurrence.keep_probabilities(counts, threshold)


@PLANTED.add("5.5", "counts changed in place", shows="changed its input|UFuncTypeError|raised")
def _(counts, threshold=1e-3):
    counts *= 1
    counts[counts == 0] = 1
    return keep_in_a_loop(counts, threshold)


def drawer(
    raised=lambda shares, counts, power: np.where(counts > 0, shares**power, 0.0),
    before=lambda counts: counts,
    divide=lambda weights, counts: weights / weights.sum(),
    check=checked,
    none=True,
):
    """noise_distribution as it reads, with something to get wrong in it."""

    def noise_distribution(counts, power=0.75):
        counts = check(counts, power)
        if none and not counts.any():
            raise ValueError("there is no word to draw")
        return divide(raised(before(counts), counts, power), counts)

    return noise_distribution


def draw_by_logarithms(counts, power=0.75):
    """noise_distribution as a softmax of power · log count."""
    counts = checked(counts, power)
    if not counts.any():
        raise ValueError("there is no word to draw")
    there = counts > 0
    logits = power * np.log(counts[there])
    found = np.zeros(len(counts))
    found[there] = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    return found


for _mistake, _shows, _draw in [
    ("no power", "the power is missing", drawer(lambda s, c, power: s)),
    ("always 0.75", "it need not be 0.75", drawer(lambda s, c, power: s**0.75)),
    ("not divided", "probabilities sum to 1", drawer(divide=lambda w, counts: w)),
    ("divided by the counts", "not by that of the counts", drawer(divide=lambda w, c: w / c.sum())),
    (
        "shares to a power",
        "divide after the power",
        drawer(before=lambda c: c / c.sum(), divide=lambda weights, counts: weights),
    ),
    ("0 to the 0", "is never drawn", drawer(lambda s, c, power: s**power)),
    ("logarithms", "log counts|NaN", drawer(lambda s, c, p: np.log(np.maximum(c, 1)))),
    (
        "nothing refused",
        "should raise",
        drawer(check=lambda c, p: np.asarray(c, float), none=False),
    ),
]:
    PLANTED.add("5.6", _mistake, shows=_shows)(_draw)
