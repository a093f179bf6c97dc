"""Homework 2, the half that learns merges: tasks 2.1 to 2.3, and 2.8."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np

from minissl.homework.assignments import hw2_oracle as oracle
from minissl.homework.assignments.hw2_cases import (
    counted,
    letters,
    long_case,
    odd_word,
    require_bytes,
    spaced,
    starts_anew,
    tokens,
)
from minissl.homework.assignments.hw2_oracle import Pair, Word
from minissl.homework.task import Draw, Task, Wrong, call, expect
from minissl.text.bpe import learn_merges_naive

# ---- 2.1 count_pairs -----------------------------------------------------------------------------

count_pairs = Task("2.1", "minissl.text.bpe:count_pairs", "count pairs", "lecture 03, section 3")


def _check_pairs(subject: Any, words: dict[Word, int]) -> None:
    given = {"words": words}
    got = call(subject, words)
    if not isinstance(got, Mapping):
        raise Wrong(f"expected a Counter, got {type(got).__name__}", given, got, "a Counter")
    expected = oracle.pairs(words)
    if 0 in got.values():
        sentence = "a pair that never stands together is in the answer, with the count 0"
        raise Wrong(sentence, given, dict(got), expected)
    if odd := [n for n in got.values() if not isinstance(n, int | np.integer)]:
        sentence = f"counts are whole numbers, got {type(odd[0]).__name__}"
        raise Wrong(sentence, given, dict(got), expected)
    expect(dict(got), expected, given=given, symptoms=_wrong_counts(words))


def _wrong_counts(words: Mapping[Word, int]) -> dict[str, Any]:
    """Sentence -> the counts of a well-known mistake."""
    glued = {tuple(t for word, count in words.items() for t in word * min(count, 99)): 1}
    symptoms = {
        "in a a a the pair (a, a) stands twice: pairs may overlap": (
            oracle.pairs(words, overlapping=False)
        ),
        "a pair that stands twice in a word counts twice each time the word occurs": (
            oracle.pairs(words, once=True)
        ),
        "a pair that comes again replaces its count: add to it": oracle.pairs(words, add=False),
        "the words' counts are ignored: a word of count n has each of its pairs n times": (
            oracle.pairs(words, weighted=False)
        ),
        "pairs across the border of two words are counted": oracle.pairs(glued),
        "the two ends of a word are no neighbours: the last token and the first": (
            _with_ends(words)
        ),
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
        "a token of several bytes is taken apart: a pair is two tokens": (
            oracle.pairs({tuple(_bytes_of(b"".join(word))): n for word, n in words.items()})
        ),
    }
    return {s: {k: n for k, n in v.items() if k is not None} for s, v in symptoms.items()}


def _bytes_of(word: bytes) -> Word:
    return tuple(word[i : i + 1] for i in range(len(word)))


def _with_ends(words: Mapping[Word, int]) -> dict[Pair, int]:
    counts = Counter(oracle.pairs(words))
    for word, count in words.items():
        counts.update({(word[-1], word[0]): count} if len(word) > 1 else {})
    return dict(counts)


@count_pairs.check(3)
def neighbours(subject: Any, draw: Draw) -> None:
    """Each two neighbours of a word are a pair, each time that they stand there."""
    cases = [(({tokens(f"{a} {b}"): 1},), {(a.encode(), b.encode()): 1}) for a, b in ("ab", "cd")]
    starts_anew(subject, *cases, what=["words"])
    fixed = [[""], ["a"], ["a b"], ["a b c"], ["a b", "a b c"], ["a b a b"], ["a a a"]]
    for words in draw.cases(*fixed, ["ab c ab c"], more=lambda g: [spaced(g)]):
        _check_pairs(subject, {tokens(word): 1 for word in words})
    for word in draw.cases(more=odd_word):
        _check_pairs(subject, {word: 1})


@count_pairs.check(4)
def counted_words(subject: Any, draw: Draw) -> None:
    """A word of count n counts n times, and words do not touch; any count, any length."""
    fixed: list[dict[str, int]] = [{}, {"a b": 2}, {"a b": 2, "a b c": 3}, {"c a": 2, "b c": 1}]
    for words in draw.cases(*fixed, more=lambda g: {spaced(g): i + 1 for i in range(4)}):
        _check_pairs(subject, {tokens(word): count for word, count in words.items()})
    _check_pairs(subject, {tokens("a b"): 3_000_000_000, tokens("b a b"): 1 << 60})
    word = tuple(_bytes_of(draw.generator.bytes(600)))
    _check_pairs(lambda words: long_case(subject, words), {word: 2})


# ---- 2.2 merge -----------------------------------------------------------------------------------

merge = Task("2.2", "minissl.text.bpe:merge", "merge a pair", "lecture 03, section 3")


def _check_merge(subject: Any, word: Word, pair: Pair) -> None:
    expected = oracle.merged(word, pair)
    new = pair[0] + pair[1]
    symptoms = {
        "occurrences overlap: a token that was just joined is used again": (
            oracle.merged_overlapping(word, pair)
        ),
        "the word is merged from right to left": oracle.merged_from_the_right(word, pair),
        "only the first place where the pair's first token stands is looked at": (
            oracle.merged_where_it_is_met(word, pair)
        ),
        "only the first occurrence is joined": oracle.merged(word, pair, most=1),
        "the token after each joined pair is lost": oracle.merged_and_skipped(word, pair),
        "the last token of the word is lost": expected[:-1],
        "the word comes back as it was": word,
        "compare tokens, not joined bytes: the same bytes may come from other tokens": (
            oracle.merged_in_bytes(word, pair)
        ),
        "compare whole tokens: one that only ends or begins like the pair's is another": (
            oracle.merged_in_part(word, pair)
        ),
        "a token may be any bytes, a space or a comma too: compare tokens, do not search in text": (
            oracle.merged_in_text(word, pair)
        ),
        "tokens are read as regular expressions: escape them, or compare tokens": (
            oracle.merged_in_text(word, pair, escape=bytes, separator=b"\0")
        ),
        "the answer must be a tuple of tokens, not a list": list(expected),
        "the answer must be a tuple of tokens, not their joined bytes": b"".join(word),
        "the second token of the pair is still there after the new one": tuple(
            part for token in expected for part in ((new, pair[1]) if token == new else (token,))
        ),
    }
    given = {"word": word, "pair": pair}
    got = call(subject, word, pair)
    if isinstance(got, tuple):
        require_bytes(got, given)
    expect(got, expected, given=given, symptoms=symptoms)


@merge.check(3)
def joins(subject: Any, draw: Draw) -> None:
    """Every occurrence of the pair becomes one token; the rest stays."""
    fixed = ["", "a", "a b", "b a", "a b c", "a c a b", "c a b", "a b a b", "a c a b b", "a a b"]
    for word in draw.cases(*fixed, more=lambda g: " ".join(letters(g, 12))):
        _check_merge(subject, tokens(word), (b"a", b"b"))


@merge.check(3)
def from_left_to_right(subject: Any, draw: Draw) -> None:
    """In a a a the left two are joined, and no token is used twice; in a long word too."""
    for word in draw.cases("aa", "aaa", "aaaa", "aaaaa", more=lambda g: letters(g, 12, "aab")):
        _check_merge(subject, tokens(" ".join(word)), (b"a", b"a"))
    long = tokens(" ".join(draw.generator.choice(list("aab"), size=600)))
    _check_merge(lambda *given: long_case(subject, *given), long, (b"a", b"b"))


@merge.check(2)
def longer_tokens(subject: Any, draw: Draw) -> None:
    """Tokens of several bytes, any bytes: the same bytes in other tokens are no occurrence."""
    for word in draw.cases("ab a", "a ba", "a ba ab a", more=spaced):
        _check_merge(subject, tokens(word), (b"ab", b"a"))
    for word in ("cab a", "ab ab", "c ab a"):
        _check_merge(subject, tokens(word), (b"ab", b"a"))
    fixed: list[Word] = [(b" ", b"a"), (b"a", b" ", b"b"), (b"a", b"b", b".", b"b")]
    for odd in draw.cases(*fixed, (b"\xc3", b"\xa9"), more=odd_word):
        for pair in dict.fromkeys([odd[-2:], odd[:2], (b".", b"b")]):
            _check_merge(subject, odd, (pair[0], pair[1]))


# ---- 2.3 learn_merges_naive, 2.8 learn_merges ----------------------------------------------------

learn_naive = Task(
    "2.3",
    "minissl.text.bpe:learn_merges_naive",
    "learn merges",
    "lecture 03, section 3",
    allows=("count_pairs", "merge"),
)
learn_fast = Task(
    "2.8",
    "minissl.text.bpe:learn_merges",
    "learn merges, fast",
    "lecture 03, section 4",
    hides=("_descending",),
    allows=("count_pairs", "merge"),
)


def _check_learning(subject: Any, counts: dict[bytes, int], *, any_of_equals: bool) -> None:
    """``any_of_equals``: whichever of the most frequent pairs is taken is right."""
    most = 2 * sum(map(len, counts)) + 5
    got = call(lambda counts: list(islice(subject(counts), most)), counts)
    _require_pairs(got, {"counts": counts})
    rule = oracle.follow(got) if any_of_equals else oracle.greatest
    expected = oracle.learn(counts, choose=rule)
    if got == expected:
        return
    together = {b"".join(word * count for word, count in counts.items()): 1}
    symptoms = {
        "the words' counts are ignored": oracle.learn(counts, choose=rule, weighted=False),
        "a merge crosses the border of two words": oracle.learn(together, choose=rule),
        "it stops at pairs that occur once: go on until every word is one token": (
            oracle.learn(counts, choose=rule, least=2)
        ),
        "only one merge came": expected[:1],
        "the last merge is missing": expected[:-1],
        "a space is a byte like any other: it is lost where words are text with spaces in it": (
            oracle.learn(_without_spaces(counts), choose=rule)
        ),
        "a token's bytes changed on the way: bytes above 127 are no characters of UTF-8": [
            (left.decode("latin-1").encode(), right.decode("latin-1").encode())
            for left, right in expected
        ],
    }
    symptoms |= {s: oracle.learn(counts, choose=wrong) for s, wrong in oracle.WRONG_RULES.items()}
    otherwise = _first_difference(counts, got, expected)
    expect(got, expected, given={"counts": counts}, symptoms=symptoms, otherwise=otherwise)


def _require_pairs(got: list[Any], given: dict[str, Any]) -> None:
    """Raise Wrong for a merge that is no tuple of two byte strings."""
    for pair in got:
        if not isinstance(pair, tuple) or len(pair) != 2:
            sentence = "a merge must be a tuple of two tokens, the left and the right one"
            raise Wrong(sentence, given, pair, (b"a", b"b"))
        require_bytes(pair, given)
        if [type(token) for token in pair] != [bytes, bytes]:
            raise Wrong("the two tokens of a merge must be bytes", given, pair, (b"a", b"b"))


def _without_spaces(counts: Mapping[bytes, int]) -> dict[bytes, int]:
    found: Counter[bytes] = Counter()
    for word, count in counts.items():
        found[word.replace(b" ", b"")] += count
    return dict(found)


def _first_difference(counts: dict[bytes, int], got: list[Pair], expected: list[Pair]) -> str:
    """A sentence on the first merge that is wrong."""
    for number, (merge, right) in enumerate(zip(got, expected)):
        if merge != right:
            by_then = oracle.pairs_after(counts, expected[:number])
            equal = by_then.get(merge) == by_then[right]
            return (
                f"merge {number + 1} joins a pair that occurs {by_then.get(merge, 0)} times by "
                f"then, while {right} occurs {by_then[right]} times"
                + (": the tie rule decides" if equal else "")
            )
    if len(got) < len(expected):
        return "merges are missing at the end: go on until every word is one token"
    return "it does not stop when every word is one token"


def most_frequent_first(subject: Any, draw: Draw) -> None:
    """Each merge joins a most frequent pair, and changes the words before the next is chosen."""
    answer = ({b"ab": 1}, [(b"a", b"b")]), ({b"cd": 5}, [(b"c", b"d")])
    cases = [((counts,), merges) for counts, merges in answer]
    starts_anew(lambda counts: list(islice(subject(counts), 9)), *cases, what=["counts"])
    fixed = [{}, {b"a": 3}, {b"ab": 1}, {b"ab": 1, b"bc": 2}, {b"abc": 2, b"bc": 1}]
    fixed += [{b"abab": 1, b"bc": 1}, {b"ab": 5, b"bc": 3}]
    for counts in draw.cases(*fixed, {b"aabaa": 3}, more=counted):
        _check_learning(subject, counts, any_of_equals=True)


def equal_counts(subject: Any, draw: Draw) -> None:
    """Of equal counts the lexicographically greatest pair of byte strings."""
    # Each tells one wrong rule from the others: see the order of WRONG_RULES.
    fixed = [{b"bc": 1, b"ad": 1, b"ca": 1, b"ba": 1}, {b"ab": 9, b"xab": 2, b"zy": 2}]
    fixed += [{b"ab": 9, b"abq": 2, b"az": 2}, {b"ab": 9, b"abx": 2, b"zx": 2}]
    for counts in draw.cases(*fixed, more=counted):
        _check_learning(subject, counts, any_of_equals=False)


def any_words(subject: Any, draw: Draw) -> None:
    """Any bytes, any number of merges, each given before the next is made (yield)."""
    fixed = [{b" a": 2, b"b a": 3}, {b"a\x00": 2, b"a\xff": 2}]
    for counts in draw.cases(*fixed, more=lambda g: counted(g, "a \x00\xff\xa0")):
        _check_learning(subject, counts, any_of_equals=False)
    _many(subject, draw)
    _one_by_one(subject, draw)


def _many(subject: Any, draw: Draw) -> None:
    """Words of two different bytes each: the merges are the words, by count."""
    chosen = draw.generator.choice(1 << 16, size=320, replace=False)
    words = [bytes(divmod(int(word), 256)) for word in chosen]
    counts = {word: int(draw.generator.integers(1, 30)) for word in words if word[0] != word[1]}
    right = sorted(counts, key=lambda word: (counts[word], word), reverse=True)
    expected = [(word[:1], word[1:]) for word in right]
    got = long_case(lambda: list(islice(subject(counts), 2 * len(counts))))
    sentence = "merges are missing" if len(got) < len(expected) else "the merges are wrong"
    given = {"counts": f"{len(counts)} words of two bytes, each with a count up to 29"}
    expect(got, expected, given=given, otherwise=sentence)


def _one_by_one(subject: Any, draw: Draw) -> None:
    """The first merge takes a small part of the time of all; never nearly all of it."""
    counts = {draw.generator.bytes(200): 1}
    start = time.process_time()
    merges = iter(subject(counts))
    next(merges)
    first = time.process_time() - start
    others = sum(1 for _ in merges)
    after = time.process_time() - start - first
    if after < first / 20:
        sentence = "all merges are made before the first is given: yield each when it is found"
        given = {"counts": "one word of 200 random bytes"}
        got = f"the first merge after {first:.3g} s, {others} others in {after:.3g} s"
        raise Wrong(sentence, given, got, "the first merge at once")


def fast(subject: Any, draw: Draw) -> None:
    """Three hundred merges of about three thousand words take less than a hundred naive ones."""
    words = dict.fromkeys(letters(draw.generator, 12, "abcdefghijklmnop") for _ in range(3300))
    counts = {word.encode(): 1 + 3300 // (i + 1) for i, word in enumerate(words)}
    most, got = 300, []
    given = {"counts": f"{len(counts)} random words", "merges": most}
    start = time.process_time()  # of this process: other programs do not count
    list(islice(learn_merges_naive(counts), 10))
    limit = 10 * (time.process_time() - start)  # a yardstick of this machine, not an oracle
    start = time.process_time()
    merges = call(lambda counts: iter(subject(counts)), dict(counts))
    for pair in islice(merges, most):
        got.append(pair)
        seconds = time.process_time() - start
        if seconds > limit:
            sentence = "too slow: after a merge touch only the words that contain its pair"
            raise Wrong(
                sentence, given, f"{len(got)} merges in {seconds:.1f} s", f"{most} in {limit:.1f} s"
            )
    expected = oracle.learn_in_arrays(counts, most)
    rare = {word: n for word, n in counts.items() if n > 1}
    symptoms: Mapping[str, Iterable[Pair]] = {
        "merges are missing": expected[: len(got)] if len(got) < most else [],
        "the words that occur once are left out": oracle.learn_in_arrays(rare, most),
    }
    same = sum(1 for _ in _while_equal(got, expected))
    otherwise = f"merge {same + 1} of many words is wrong: are rare words left out?"
    expect(got, expected, given=given, symptoms=symptoms, otherwise=otherwise)


def _while_equal(got: list[Pair], expected: list[Pair]) -> Iterable[Pair]:
    for one, other in zip(got, expected):
        if one != other:
            return
        yield one


learn_naive.check(5)(most_frequent_first)
learn_naive.check(5)(equal_counts)
learn_naive.check(2)(any_words)
learn_fast.check(2)(most_frequent_first)
learn_fast.check(2)(equal_counts)
learn_fast.check(1)(any_words)
learn_fast.check(8)(fast)
