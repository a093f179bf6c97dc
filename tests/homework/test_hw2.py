"""Homework 2: what its experiment's report says, its milestone, and an oracle that needs one."""

import json
from pathlib import Path

import numpy as np
import pytest

from minissl.homework.assignments import hw2_oracle as oracle
from minissl.homework.assignments.hw2_cases import letters, long_case, starts_anew
from minissl.homework.experiment import FILE, files_beside
from minissl.homework.task import Wrong
from tests.homework.right.hw2 import RIGHT

REPORT = Path(__file__).parent / "experiments" / "hw2" / FILE
SETTINGS = ("prose", "mixed", "code")


def test_our_report_on_other_texts_says_what_was_measured():
    files = files_beside(REPORT)
    rows, text = json.loads(files["results.json"]), files["report.md"].decode()
    for setting in SETTINGS:
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {setting} |"))
        own = [row for row in rows if row["setting"] == setting]
        for measured, scale, digits in (("prose", 1, 2), ("code", 1, 2), ("unused", 100, 1)):
            values = scale * np.array([row[measured] for row in own])
            assert f"| {values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f} |" in line


def test_what_the_report_says_of_the_mixed_vocabulary_holds_for_every_seed():
    rows = json.loads(files_beside(REPORT)["results.json"])
    at = {(row["setting"], row["seed"]): row for row in rows}
    losses = {
        kind: [100 * (1 - at["mixed", seed][kind] / at[kind, seed][kind]) for seed in range(3)]
        for kind in ("prose", "code")
    }
    assert [round(f(losses["prose"]), 1) for f in (min, max)] == [2.3, 3.2]
    assert [round(f(losses["code"]), 1) for f in (min, max)] == [2.5, 3.4]


@pytest.mark.parametrize("seed", range(5))
def test_the_two_oracles_learn_the_same(seed):
    """By substitution in text, and in arrays of numbers: with runs, ties and words of one byte."""
    generator = np.random.default_rng(seed)
    words = {letters(generator, 9, "ab").encode(): int(n) for n in generator.integers(1, 4, 12)}
    assert oracle.learn_in_arrays(words, 30) == oracle.learn(words, 30)


@pytest.mark.parametrize("how", ["2.7 re.split", "2.7 letter by letter"])
def test_a_students_encode_has_the_published_shape(how):
    """Bytes in GPT-2's order, merges after them: the ids follow the ranks, not the bytes."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    order = visible + [byte for byte in range(256) if byte not in visible]
    ranks = {bytes([byte]): number for number, byte in enumerate(order)}
    ranks |= {b" t": 256, b"he": 257, b" the": 258}
    encode = RIGHT[how](ranks, special_tokens={"<|endoftext|>": 50256}).encode
    assert encode("! the<|endoftext|>", allow_special="all") == [0, 258, 50256]


def test_a_function_that_calls_itself_is_told_so():
    def count(n):
        return 1 + count(n - 1) if n else 0

    assert long_case(count, 20) == 20
    with pytest.raises(Wrong, match="calls itself"):
        long_case(count, 600)
    assert count(600) == 600, "the limit is as it was"


def test_an_answer_that_is_only_wrong_is_no_memory():
    for wrong in (lambda n: n + 1, lambda n: 7, lambda n: []):
        starts_anew(wrong, ((1,), 1), ((2,), 2), what=["n"])
    with pytest.raises(Wrong, match="answer to an earlier call"):
        starts_anew(lambda n: 1, ((1,), 1), ((2,), 2), what=["n"])
    numbers = iter(range(10))
    with pytest.raises(Wrong, match="earlier call has changed"):
        starts_anew(lambda n: next(numbers), ((0,), 0), ((1,), 1), what=["n"])
    kept: list = []
    with pytest.raises(Wrong, match="changed the list"):
        starts_anew(lambda n: kept.append(n) or kept, ((1,), [1]), ((2,), [2]), what=["n"])
