"""Homework 2, the half that learns merges: tasks 2.1 to 2.3, and 2.8."""

import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import numpy as np

from minissl.homework.assignments import hw2_oracle as oracle
from minissl.homework.assignments.hw2_oracle import Pair, Word
from minissl.homework.task import Draw, Task, Wrong, call, expect
from minissl.text.bpe import learn_merges_naive


def tokens(text: str) -> Word:
    """ "ab c" -> (b"ab", b"c"): a word as the tasks take it."""
    return tuple(token.encode() for token in text.split())


def letters(generator: np.random.Generator, longest: int = 7, alphabet: str = "abc") -> str:
    """From a small alphabet, so that pairs repeat and counts are often equal."""
    return "".join(generator.choice(list(alphabet), size=generator.integers(1, longest + 1)))


def spaced(generator: np.random.Generator) -> str:
    """Two to six tokens, some of two bytes."""
    return " ".join(generator.choice(["a", "b", "ab"], size=generator.integers(2, 7)))


def counted(generator: np.random.Generator) -> dict[bytes, int]:
    """A few words with small counts."""
    words = dict.fromkeys(letters(generator).encode() for _ in range(5))
    return {word: int(generator.integers(1, 4)) for word in words}


def unchanged(function: Callable[..., Any], *arguments: Any) -> Any:
    """``call``, and see that dictionaries stay as they were."""
    before = [dict(a) if isinstance(a, dict) else a for a in arguments]
    result = call(function, *arguments)
    for was, now in zip(before, arguments):
        if isinstance(was, dict) and was != now:
            raise Wrong("it changed the dictionary it was given", {"given": was}, now, was)
    return result


# ---- 2.1 count_pairs -----------------------------------------------------------------------------

count_pairs = Task("2.1", "minissl.text.bpe:count_pairs", "count pairs", "lectures/03, section 3")


def _check_pairs(subject: Any, words: dict[Word, int]) -> None:
    given = {"words": words}
    got = unchanged(subject, words)
    if not isinstance(got, Mapping):
        raise Wrong(f"expected a Counter, got {type(got).__name__}", given, got, "a Counter")
    glued = {tuple(token for word, count in words.items() for token in word * count): 1}
    symptoms = {
        "the words' counts are ignored: a word of count n has each of its pairs n times": (
            oracle.pairs(words, weighted=False)
        ),
        "in a a a the pair (a, a) stands twice: pairs may overlap": (
            oracle.pairs(words, overlapping=False)
        ),
        "a pair that comes again replaces its count: add to it": oracle.pairs(words, add=False),
        "pairs across the border of two words are counted": oracle.pairs(glued),
        "the last pair of each word is missing": oracle.pairs(
            {(*word[:-1], *[b"|"] * i): count for i, (word, count) in enumerate(words.items())},
            key=lambda a, b: None if b"|" in a + b else (a, b),
        ),
        "the key of a pair is a tuple of its two tokens, not their joined bytes": (
            oracle.pairs(words, key=lambda a, b: a + b)
        ),
        "(a, b) and (b, a) are two different pairs": (
            oracle.pairs(words, key=lambda a, b: (min(a, b), max(a, b)))
        ),
    }
    symptoms = {s: {k: n for k, n in v.items() if k is not None} for s, v in symptoms.items()}
    expect(dict(got), oracle.pairs(words), given=given, symptoms=symptoms)


@count_pairs.check(4)
def neighbours(subject: Any, draw: Draw) -> None:
    """Each two neighbours of a word are a pair."""
    for word in draw.cases("", "a", "a b", "a b c", "a b a b", "a a a", "ab c ab c", more=spaced):
        _check_pairs(subject, {tokens(word): 1})


@count_pairs.check(4)
def counted_words(subject: Any, draw: Draw) -> None:
    """A word of count n counts n times, and words do not touch each other."""
    fixed: list[dict[str, int]] = [{}, {"a b": 2}, {"a b": 2, "a b c": 3}, {"c a": 2, "b c": 1}]
    for words in draw.cases(*fixed, more=lambda g: {spaced(g): i + 1 for i in range(4)}):
        _check_pairs(subject, {tokens(word): count for word, count in words.items()})


# ---- 2.2 merge -----------------------------------------------------------------------------------

merge = Task("2.2", "minissl.text.bpe:merge", "merge a pair", "lectures/03, section 3")


def _check_merge(subject: Any, word: Word, pair: Pair) -> None:
    expected = oracle.merged(word, pair)
    new = pair[0] + pair[1]
    symptoms = {
        "occurrences overlap: a token that was just joined is used again": (
            oracle.merged_overlapping(word, pair)
        ),
        "the word is merged from right to left": oracle.merged_from_the_right(word, pair),
        "only the first occurrence is joined": oracle.merged(word, pair, most=1),
        "the last token of the word is lost": expected[:-1],
        "the word comes back as it was": word,
        "compare tokens, not joined bytes: the same bytes may come from other tokens": (
            oracle.merged_in_bytes(word, pair)
        ),
        "the answer must be a tuple of tokens, not a list": list(expected),
        "the answer must be a tuple of tokens, not their joined bytes": b"".join(word),
        "the second token of the pair is still there after the new one": tuple(
            part for token in expected for part in ((new, pair[1]) if token == new else (token,))
        ),
    }
    given = {"word": word, "pair": pair}
    expect(call(subject, word, pair), expected, given=given, symptoms=symptoms)


@merge.check(4)
def joins(subject: Any, draw: Draw) -> None:
    """Every occurrence of the pair becomes one token; the rest stays."""
    fixed = ["", "a", "a b", "b a", "a b c", "c a b", "a b a b", "a c a b b", "a a b"]
    for word in draw.cases(*fixed, more=lambda g: " ".join(letters(g, 12))):
        _check_merge(subject, tokens(word), (b"a", b"b"))


@merge.check(4)
def from_left_to_right(subject: Any, draw: Draw) -> None:
    """In a a a the left two are joined, and no token is used twice."""
    for word in draw.cases("aa", "aaa", "aaaa", "aaaaa", more=lambda g: letters(g, 12, "aab")):
        _check_merge(subject, tokens(" ".join(word)), (b"a", b"a"))


@merge.check(2)
def longer_tokens(subject: Any, draw: Draw) -> None:
    """Tokens of several bytes: the same bytes in other tokens are no occurrence."""
    for word in draw.cases("ab a", "a ba", "a ba ab a", more=spaced):
        _check_merge(subject, tokens(word), (b"ab", b"a"))


# ---- 2.3 learn_merges_naive, 2.8 learn_merges ----------------------------------------------------

learn_naive = Task(
    "2.3", "minissl.text.bpe:learn_merges_naive", "learn merges", "lectures/03, section 3"
)
learn_fast = Task(
    "2.8", "minissl.text.bpe:learn_merges", "learn merges, fast", "lectures/03, section 4"
)


def _check_learning(subject: Any, counts: dict[bytes, int], *, any_of_equals: bool) -> None:
    """``any_of_equals``: whichever of the most frequent pairs is taken is right."""
    most = 2 * sum(map(len, counts)) + 5
    got = unchanged(lambda counts: list(islice(subject(counts), most)), counts)
    for pair in got:
        if not isinstance(pair, tuple) or [type(token) for token in pair] != [bytes, bytes]:
            sentence = "a merge must be a tuple of two tokens, the left and the right one"
            if isinstance(pair, tuple) and any(isinstance(token, int) for token in pair):
                sentence = (
                    "a token must be bytes: going through bytes gives numbers, use bytes([n])"
                )
            raise Wrong(sentence, {"counts": counts}, pair, (b"a", b"b"))
    rule = oracle.follow(got) if any_of_equals else oracle.greatest
    expected = oracle.learn(counts, choose=rule)
    if got == expected:
        return
    given: dict[str, Any] = {"counts": counts}
    together = {b"".join(word * count for word, count in counts.items()): 1}
    symptoms = {
        "the words' counts are ignored": oracle.learn(counts, choose=rule, weighted=False),
        "a merge crosses the border of two words": oracle.learn(together, choose=rule),
        "it stops at pairs that occur once: go on until every word is one token": (
            oracle.learn(counts, choose=rule, least=2)
        ),
        "only one merge came": expected[:1],
        "the last merge is missing": expected[:-1],
    }
    symptoms |= {s: oracle.learn(counts, choose=wrong) for s, wrong in oracle.WRONG_RULES.items()}
    otherwise = "it does not stop when every word is one token"
    for number, (merge, right) in enumerate(zip(got, expected)):
        if merge != right:
            by_then = oracle.pairs_after(counts, expected[:number])
            equal = by_then.get(merge) == by_then[right]
            otherwise = (
                f"merge {number + 1} joins a pair that occurs {by_then.get(merge, 0)} times by "
                f"then, while {right} occurs {by_then[right]} times"
                + (": the tie rule decides" if equal else "")
            )
            break
    expect(got, expected, given=given, symptoms=symptoms, otherwise=otherwise)


def most_frequent_first(subject: Any, draw: Draw) -> None:
    """Each merge joins a most frequent pair, and changes the words before the next is chosen."""
    fixed = [{}, {b"a": 3}, {b"ab": 1}, {b"ab": 1, b"bc": 2}, {b"abc": 2, b"bc": 1}]
    fixed += [{b"abab": 1, b"bc": 1}, {b"ab": 5, b"bc": 3}]
    for counts in draw.cases(*fixed, {b"aabaa": 3}, more=counted):
        _check_learning(subject, counts, any_of_equals=True)


def equal_counts(subject: Any, draw: Draw) -> None:
    """Of equal counts the lexicographically greatest pair of byte strings."""
    # Each tells one wrong rule from the others: see the order of WRONG_RULES.
    fixed = [{b"bc": 1, b"ad": 1, b"ca": 1, b"ba": 1}, {b"ab": 9, b"abq": 2, b"az": 2}]
    fixed += [{b"ab": 9, b"abx": 2, b"zx": 2}, {b"a\x00": 2, b"a\xff": 2}]
    for counts in draw.cases(*fixed, more=counted):
        _check_learning(subject, counts, any_of_equals=False)


def fast(subject: Any, draw: Draw) -> None:
    """Three hundred merges of more than four thousand words take less than a hundred naive ones."""
    generator = np.random.default_rng(7)
    words = dict.fromkeys(letters(generator, 12, "abcdefghijklmnop") for _ in range(5000))
    counts = {word.encode(): 1 + 5000 // (i + 1) for i, word in enumerate(words)}
    first, most, got = oracle.learn(counts, 10), 300, []
    given = {"counts": f"{len(counts)} random words", "merges": most}
    start = time.process_time()  # of this process: other programs do not count
    list(islice(learn_merges_naive(counts), 10))
    limit = 10 * (time.process_time() - start)  # a yardstick of this machine, not an oracle
    start = time.process_time()
    merges = call(lambda counts: iter(subject(counts)), dict(counts))
    for pair in islice(merges, most):
        got.append(pair)
        if len(got) == len(first):
            expect(got, first, given=given, otherwise="the first merges are wrong")
        seconds = time.process_time() - start
        if seconds > limit:
            sentence = "too slow: after a merge touch only the words that contain its pair"
            raise Wrong(
                sentence, given, f"{len(got)} merges in {seconds:.1f} s", f"{most} in {limit:.1f} s"
            )
    expect(len(got), most, given=given, otherwise="merges are missing")


learn_naive.check(7)(most_frequent_first)
learn_naive.check(7)(equal_counts)
learn_fast.check(3)(most_frequent_first)
learn_fast.check(3)(equal_counts)
learn_fast.check(10)(fast)
