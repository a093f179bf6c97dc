"""Homework 5, the part that counts: tasks 5.3 to 5.6."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw5_oracle as oracle
from minissl.homework.assignments.manners import call_twice
from minissl.homework.task import Draw, Task, Wrong, expect, expect_error
from minissl.text.cooccurrence import Cooccurrences

COUNTING = "minissl.text.cooccurrence"

# ---- 5.3 cooccurrences ---------------------------------------------------------------------------

cooccurrences = Task(
    "5.3",
    f"{COUNTING}:cooccurrences",
    "which words stand together",
    "lecture 04, section 2",
    hides=("_require_ids", "coo_array", "csr_array"),
)


def _stream(generator: np.random.Generator) -> tuple[list[int], list[int]]:
    size = int(generator.integers(3, 16))
    return generator.integers(0, 4, size).tolist(), sorted(generator.integers(0, 3, size).tolist())


def _check_near(
    subject: Any, words: list[int], documents: list[int], window: int, by_distance: bool
) -> None:
    """A pair is compared as a dictionary first, so that the order is a mistake of its own."""

    def share(distance: int) -> float:
        return 1 / distance if by_distance else 1.0

    def wrong(share: Any = share, window: int = window, **how: bool) -> oracle.Counts:
        return oracle.near(words, documents, window, share, **how)

    expected = wrong()
    given = {"words": words, "documents": documents, "window": window, "by_distance": by_distance}
    arrays = np.array(words, np.int64), np.array(documents, np.int64)
    got = call_twice(subject, *arrays, 6, window, by_distance=by_distance)
    if not isinstance(got, tuple) or getattr(got, "_fields", ()) != Cooccurrences._fields:
        sentence = "expected Cooccurrences, whose three parts have names: rows, columns, counts"
        raise Wrong(sentence, given, got, "Cooccurrences(rows, columns, counts)")
    rows, columns, counts = (np.asarray(part) for part in got)
    if not rows.shape == columns.shape == counts.shape == (rows.size,):
        shapes = (rows.shape, columns.shape, counts.shape)
        raise Wrong("rows, columns and counts have one number for each pair", given, shapes, "")
    keys = list(zip(rows.tolist(), columns.tolist()))
    if len(set(keys)) < len(keys):
        raise Wrong(
            "a pair stands twice: add its counts up", given, got, oracle.as_arrays(expected)
        )
    symptoms = {
        "a word may stand near itself, where it stands twice": {
            pair: n for pair, n in expected.items() if pair[0] != pair[1]
        },
        "each pair stands in both directions: (a, b) and (b, a)": wrong(both=False),
        "the window is one word too small: a word ``window`` away is still in it": wrong(
            window=window - 1
        ),
        "the window is one word too large": wrong(window=window + 1),
        "a pair crosses from one document into the next": wrong(cross=True),
        "a pair that is d words apart counts 1/d here": wrong(lambda distance: 1.0),
        "with by_distance=False each pair counts 1": wrong(lambda distance: 1 / distance),
        "a pair of a word with itself counts in both directions, too": wrong(itself_twice=False),
        "everything is counted twice": {pair: 2 * n for pair, n in expected.items()},
        "each pair counts once, however often it occurs": dict.fromkeys(expected, 1.0),
        "words that stand side by side are 1 apart: what stands between them does not count": wrong(
            lambda distance: share(max(distance - 1, 1))
        ),
        "1/d, not by the window: at the distance d it counts 1/d, whatever the window is": wrong(
            lambda distance: (window - distance + 1) / window
        ),
    }
    found = {key: round(float(n), 9) for key, n in zip(keys, counts)}
    expect(
        found,
        {key: round(n, 9) for key, n in expected.items()},
        given=given,
        symptoms={s: {k: round(n, 9) for k, n in v.items()} for s, v in symptoms.items()},
    )
    for part, right, name in zip(got, oracle.as_arrays(expected), Cooccurrences._fields):
        sentence = f"the order of the pairs is wrong ({name}): rows rise, and in a row its columns"
        expect(np.asarray(part), right, given=given, otherwise=sentence)


@cooccurrences.check(5)
def near_words(subject: Any, draw: Draw) -> None:
    """Every two words that stand at most ``window`` apart, in both directions."""
    fixed = [([0, 1], 1), ([0, 1, 2], 1), ([0, 1, 2, 0], 2), ([0, 0], 1), ([1, 0, 1, 1], 3)]
    for words, window in draw.cases(*fixed, more=lambda g: (_stream(g)[0], 2)):
        _check_near(subject, words, [0] * len(words), window, False)


@cooccurrences.check(4)
def by_distance(subject: Any, draw: Draw) -> None:
    """Words that are d apart count 1/d, as in GloVe."""
    fixed = [([0, 1], 1), ([0, 1, 2, 3], 3), ([0, 1, 2], 2), ([0, 1, 0, 1, 1], 4)]
    for words, window in draw.cases(*fixed, more=lambda g: (_stream(g)[0], 3)):
        _check_near(subject, words, [0] * len(words), window, True)


@cooccurrences.check(3)
def documents_are_borders(subject: Any, draw: Draw) -> None:
    """No pair crosses a document's border; a stream may be empty; what cannot be is an error."""
    fixed: list[tuple[list[int], list[int]]] = [
        ([0, 1], [0, 1]),
        ([0, 1], [1, 0]),  # a document's number may be any
        ([0, 1, 2], [0, 0, 1]),
        ([0, 1, 2, 3, 0], [0, 0, 1, 1, 2]),
        ([3], [0]),
        ([], []),
    ]
    for words, documents in draw.cases(*fixed, more=_stream):
        _check_near(subject, words, documents, 2, True)
    three = np.zeros(3, np.int64)
    expect_error(ValueError, subject, three, three, 6, 0)
    expect_error(ValueError, subject, three + 6, three, 6, 1)
    expect_error(ValueError, subject, three - 1, three, 6, 1)
    expect_error(ValueError, subject, three, three[:2], 6, 1)


# ---- 5.4 pointwise_mutual_information ------------------------------------------------------------

mutual_information = Task(
    "5.4",
    f"{COUNTING}:pointwise_mutual_information",
    "more often than chance",
    "lecture 04, section 2",
    hides=("_require_ids",),
)


def _pairs(table: NDArray, order: NDArray | None = None) -> Cooccurrences:
    rows, columns = np.nonzero(table)
    if order is not None:
        rows, columns = rows[order], columns[order]
    return Cooccurrences(
        rows.astype(np.int32), columns.astype(np.int32), table[rows, columns].astype(np.float64)
    )


def _check_mutual(subject: Any, table: NDArray) -> None:
    pairs = _pairs(table)
    expected, total = oracle.mutual(pairs), float(pairs.counts.sum())
    symptoms = {
        "the logarithm is to base 2: nats are asked for": oracle.mutual(pairs, log=math.log2),
        "there is no logarithm: this is p(w, c) / (p(w) p(c))": oracle.mutual(pairs, log=float),
        "counts are not shares: divide by the sum of all counts": expected - math.log(total),
        "only p(w, c) is divided by the sum of all counts": expected - 2 * math.log(total),
        "p(w) was taken for both words: a context's share is that of its column": oracle.mutual(
            pairs, column=lambda pair: pair[0]
        ),
        "the shares of words count pairs, not how often they occur": oracle.mutual(
            pairs, weighted=False
        ),
        "the sign is wrong": -expected,
        "negative values were set to 0: that is the positive PMI": np.maximum(expected, 0),
        "this is the normalized PMI, divided by −log p(w, c): the PMI itself is asked for": (
            expected / np.maximum(-np.log(pairs.counts / total), 1e-300)
        ),
    }
    given = {"rows": pairs.rows, "columns": pairs.columns, "counts": pairs.counts}
    got = call_twice(subject, pairs, len(table) + 1)
    expect(got, expected, given=given, symptoms=symptoms)
    order = np.argsort(np.arange(len(pairs.rows)) % 2, kind="stable")
    mixed = _pairs(table, order)
    given = {"rows": mixed.rows, "columns": mixed.columns, "counts": mixed.counts}
    sentence = "pairs may stand in any order: rows need not rise"
    got = call_twice(subject, mixed, len(table) + 1)
    expect(got, expected[order], given=given, otherwise=sentence)


@mutual_information.check(5)
def log_of_the_ratio(subject: Any, draw: Draw) -> None:
    """log p(w, c) / (p(w) p(c)), each a share of all counts, in nats."""
    fixed = [np.array([[1, 1], [1, 0]]), np.array([[3.0, 1], [0, 2]])]
    for table in draw.cases(*fixed, more=lambda g: g.integers(0, 5, (4, 4)) + np.eye(4) / 2):
        _check_mutual(subject, table)


@mutual_information.check(3)
def known_cases(subject: Any, draw: Draw) -> None:
    """0 for words that do not care for each other; twice the text changes nothing; errors."""
    apart = np.outer([1.0, 2.0, 3.0], [2.0, 5.0, 1.0])
    given = {"counts, in every row a multiple of the first": apart}
    got = np.asarray(call_twice(subject, _pairs(apart), 3))
    expect(got + 1.0, np.ones(9), given=given, otherwise="independent words have PMI 0 (+ 1 here)")
    for table in draw.cases(np.diag([1.0, 1.0]), more=lambda g: g.integers(1, 5, (3, 3)) / 2):
        once, twice = (np.asarray(call_twice(subject, _pairs(t), 4)) for t in (table, 2 * table))
        sentence = "all counts doubled must give the same: they are shares"
        expect(twice, once, given={"counts": table}, otherwise=sentence)
        _check_mutual(subject, table)
    two = _pairs(np.eye(2))
    for count in (0.0, -1.0, math.inf, math.nan):
        expect_error(ValueError, subject, two._replace(counts=np.array([1.0, count])), 2)
    expect_error(ValueError, subject, two, 1)


# ---- 5.5 keep_probabilities, 5.6 noise_distribution ----------------------------------------------

keep_probabilities = Task(
    "5.5",
    f"{COUNTING}:keep_probabilities",
    "thin out frequent words",
    "lecture 04, section 4",
    hides=("_counts",),
)
noise_distribution = Task(
    "5.6",
    f"{COUNTING}:noise_distribution",
    "what noise is drawn from",
    "lecture 04, section 4",
    hides=("_counts",),
)


def _counts(generator: np.random.Generator) -> list[int]:
    counts: list[int] = generator.integers(0, 50, 6).tolist()
    return [*counts, 400]


def _check_keep(subject: Any, counts: list[int], *threshold: float) -> None:
    t, total = (threshold or (1e-3,))[0], sum(counts)

    def each(formula: Any) -> NDArray:
        return np.array([formula(t * total / n) if n else 1.0 for n in counts])

    expected = each(lambda ratio: min(1.0, math.sqrt(ratio) + ratio))
    symptoms = {
        "a probability is at most 1": each(lambda ratio: math.sqrt(ratio) + ratio),
        "this is how likely a word is left out: 1 minus it stays": 1 - expected,
        "this is the paper's √(t / f): the program, and we, add t / f": each(
            lambda ratio: min(1.0, math.sqrt(ratio))
        ),
        "the square root is missing": each(lambda ratio: min(1.0, 2 * ratio)),
        "this is t / f alone: add √(t / f)": each(lambda ratio: min(1.0, ratio)),
        "f is a share of all counts: count / sum": np.array(
            [min(1.0, math.sqrt(t / n) + t / n) if n else 1.0 for n in counts]
        ),
        "f is count / all counts, not count / the largest": np.array(
            [
                min(1.0, math.sqrt(t * max(counts) / n) + t * max(counts) / n) if n else 1.0
                for n in counts
            ]
        ),
        "a word whose count is 0 stays": np.where(np.array(counts) > 0, expected, 0.0),
    }
    given = {"counts": counts, "threshold": t}
    for kind in (np.array(counts), np.array(counts, np.float64)):
        got = call_twice(subject, kind, *threshold)
        expect(got, expected, given=given, symptoms=symptoms)


def _accepts_lists(subject: Any) -> None:
    """Raise Wrong unless a list of counts is as good as an array of them."""
    try:
        subject([3, 1])
    except (AttributeError, TypeError) as error:
        sentence = "counts may be a list of numbers (np.asarray makes an array of it): it raised "
        raise Wrong(f"{sentence}{error}", {"counts": [3, 1]}, type(error).__name__, "") from error


@keep_probabilities.check(5)
def the_programs_formula(subject: Any, draw: Draw) -> None:
    """min(1, √(t / f) + t / f) with f = count / all counts."""
    fixed = [[1, 1], [9, 1], [1, 2, 3, 94], [1, 10, 100, 1000, 10_000]]
    for counts in draw.cases(*fixed, more=_counts):
        _check_keep(subject, counts, 0.05)
        _check_keep(subject, counts)
    _accepts_lists(subject)


@keep_probabilities.check(3)
def limits_of_thinning(subject: Any, draw: Draw) -> None:
    """Threshold 0 and count 0 keep a word; what is negative or not finite is an error."""
    given = {"counts": [5, 1, 0], "threshold": 0}
    got = call_twice(subject, np.array([5, 1, 0]), 0.0)
    sentence = "threshold 0 means that every word stays"
    expect(got, np.ones(3), given=given, otherwise=sentence)
    for counts in draw.cases([4, 0], [0, 0, 7], more=lambda g: [0, *_counts(g)]):
        _check_keep(subject, counts, 0.01)
    sentence = "a word whose count is 0 stays, also where all counts are 0"
    given = {"counts": [0, 0], "threshold": 0.1}
    got = call_twice(subject, np.array([0, 0]), 0.1)
    expect(got, np.ones(2), given=given, symptoms={sentence: np.full(2, math.nan)})
    for wrong in ([1, -1], [1, math.nan], [1, math.inf]):
        expect_error(ValueError, subject, np.array(wrong), 0.1)
    for threshold in (-0.1, math.nan, math.inf):
        expect_error(ValueError, subject, np.array([1, 1]), threshold)


def _check_noise(subject: Any, counts: list[int], *power: float) -> None:
    p = (power or (0.75,))[0]

    def shares(weights: list[float], total: float | None = None) -> NDArray:
        return np.array(weights) / (math.fsum(weights) if total is None else total)

    weights = [float(n) ** p if n else 0.0 for n in counts]
    total = float(sum(counts))
    symptoms = {
        "the power is missing: these are the words' shares of the text": shares([*counts]),
        "the power is given: it need not be 0.75": shares([n**0.75 if n else 0.0 for n in counts]),
        "probabilities sum to 1: divide by the sum of the powers": np.array(weights),
        "divide by the sum of the powers, not by that of the counts": shares(weights, total),
        "divide after the power: shares to a power do not sum to 1": np.array(
            [(n / total) ** p if n else 0.0 for n in counts]
        ),
        "a word whose count is 0 is never drawn": shares(
            [float(n) ** p if n or p >= 0 else math.inf for n in counts]
        ),
        "log counts are no power": shares([math.log(n) if n else 0.0 for n in counts])
        if max(counts) > 1
        else None,
    }
    given = {"counts": counts, "power": p}
    for kind in (np.array(counts), np.array(counts, np.float64)):
        got = call_twice(subject, kind, *power)
        expect(got, shares(weights), given=given, symptoms=symptoms)


@noise_distribution.check(4)
def powers_of_counts(subject: Any, draw: Draw) -> None:
    """count^power, divided by the sum of it over all words."""
    for counts in draw.cases([1, 1], [16, 1], [1, 16, 81], [3, 5, 0], more=_counts):
        _check_noise(subject, counts)
        _check_noise(subject, counts, 0.5)
        _check_noise(subject, counts, 1.0)
    _accepts_lists(subject)


@noise_distribution.check(2)
def never_drawn(subject: Any, draw: Draw) -> None:
    """Powers of 0 and below draw no word whose count is 0; no word at all is an error."""
    for counts in draw.cases([4, 1], [4, 0], [0, 2, 3], more=lambda g: [0, *_counts(g)]):
        _check_noise(subject, counts, 0.0)
        _check_noise(subject, counts, -0.5)
    for wrong in ([0, 0], [1, -1], [1, math.inf]):
        expect_error(ValueError, subject, np.array(wrong))
    for power in (math.nan, math.inf):
        expect_error(ValueError, subject, np.array([2, 1]), power)
