"""Homework 2, the experiment: what the checker repeats of it, and what a person judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_letters
from typing import Any, NamedTuple

import numpy as np

from minissl.homework.assignments import hw2_oracle as oracle
from minissl.homework.assignments.hw2_cases import letters
from minissl.homework.assignments.hw2_cutting import RUNS, ranks_of
from minissl.homework.experiment import Experiment, Handed, Item
from minissl.homework.task import Draw, Wrong, call, expect
from minissl.text.tokenizer import Tokenizer

experiment = Experiment(
    "2.9",
    "minissl.homework.assignments.hw2_experiment:measure",
    "what does a vocabulary know of other texts?",
    "lecture 03, section 7",
    writes=("bytes_per_token", "unused", "measure", "draw"),
    measures=("prose", "code", "unused"),
    rubric=(
        Item(1, "Expected: a guess for all three numbers that could turn out wrong, with a reason"),
        Item(2, "the plot: axes named, all seeds to be seen, readable in print without colours"),
        Item(1, "the table: means and spread over the seeds, and they are those of results.json"),
        Item(2, "Measured: what follows from the numbers; settings are compared seed by seed, "
                "since the same seed holds out the same texts"),
        Item(1, "Not shown: one thing that these numbers do not tell, and what would"),
    ),
)  # fmt: skip

SPECIAL = "<|e|>"


# ---- a tokenizer and texts that are given --------------------------------------------------------


class Case(NamedTuple):
    """What the two functions are given, and the tokens of each text."""

    ranks: dict[bytes, int]
    texts: list[str]

    @property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.ranks, pattern=RUNS, special_tokens=[SPECIAL])

    @property
    def given(self) -> dict[str, Any]:
        merges = [token for token in self.ranks if len(token) > 1]
        return {"vocabulary": f"256 bytes, {merges}, {SPECIAL}", "texts": self.texts}

    @property
    def ids(self) -> list[list[int]]:
        return [oracle.encode(text, self.ranks, {}) for text in self.texts]


def _drawn(draw: Draw) -> Case:
    """Texts with letters of two bytes, one of which spells a special token."""
    generator = draw.generator
    words = {letters(generator, 9, "abé").encode(): 1 for _ in range(4)}
    texts = [" ".join(letters(generator, 6, "abé") for _ in range(n)) for n in (1, 3, 6)]
    merges = dict.fromkeys(a + b for a, b in oracle.learn(words, 9))
    return Case(ranks_of(merges), [texts[0], f"{texts[1]}{SPECIAL}a", texts[2]])


def _told_apart(right: float, symptoms: Mapping[str, float]) -> bool:
    """No mistake gives by chance what is right, or what another one gives."""
    return len({right, *symptoms.values()}) == len(symptoms) + 1


@experiment.check(2)
def bytes_by_tokens(handed: Handed, draw: Draw) -> None:
    """bytes_per_token, of a tokenizer and texts that are given: all bytes by all tokens."""
    function = handed.function("bytes_per_token")
    for _ in draw.cases(0, 1, more=lambda g: 2):
        for case in (_drawn(draw) for _ in range(1000)):
            sizes = [len(text.encode()) for text in case.texts]
            counts = [len(ids) for ids in case.ids]
            right = sum(sizes) / sum(counts)
            special = {SPECIAL: len(case.ranks)}
            as_special = sum(len(oracle.encode(t, case.ranks, special)) for t in case.texts)
            symptoms = {
                "this is the mean of the texts' ratios: divide all bytes by all tokens": (
                    float(np.mean(np.divide(sizes, counts)))
                ),
                "these are characters per token: count the bytes of UTF-8": (
                    sum(map(len, case.texts)) / sum(counts)
                ),
                "these are tokens per byte": sum(counts) / sum(sizes),
                "a special token that a text spells is ordinary text here": sum(sizes) / as_special,
                "this is a number of tokens": float(sum(counts)),
                "these are different tokens: count each as often as it comes": (
                    sum(sizes) / len({i for ids in case.ids for i in ids})
                ),
            }
            if _told_apart(right, symptoms):
                break
        got = call(function, case.tokenizer, case.texts)
        expect(got, right, given=case.given, symptoms=symptoms)


@experiment.check(2)
def tokens_unused(handed: Handed, draw: Draw) -> None:
    """unused, of a tokenizer and texts that are given: of the learned tokens those never met."""
    function = handed.function("unused")
    for _ in draw.cases(0, 1, more=lambda g: 2):
        for case in (_drawn(draw) for _ in range(1000)):
            learned = {rank: token for token, rank in case.ranks.items() if len(token) > 1}
            met = {i for ids in case.ids for i in ids}
            data = "\n".join(case.texts).encode()
            right = len(learned.keys() - met) / len(learned)
            symptoms = {
                "single bytes are counted too: learned tokens have two bytes or more": (
                    len({*case.ranks.values()} - met) / len(case.ranks)
                ),
                "this is the share of the tokens that are used": 1 - right,
                "this is a number of tokens: divide by how many there are": right * len(learned),
                "a token that only stands inside a longer one is not used": (
                    sum(token not in data for token in learned.values()) / len(learned)
                ),
                "divide by the learned tokens, not by all ids": (
                    right * len(learned) / (len(case.ranks) + 1)
                ),
            }
            if _told_apart(right, symptoms):
                break
        got = call(function, case.tokenizer, case.texts)
        expect(got, float(right), given=case.given, symptoms=symptoms)


# ---- learning, in small --------------------------------------------------------------------------


def _measured(
    handed: Handed,
    texts: Mapping[str, Sequence[str]],
    shares: Mapping[str, float],
    vocab_size: int,
    seed: int,
) -> dict[str, float]:
    """What measure gives, three finite numbers."""
    got = call(handed.function("measure"), texts, shares, vocab_size, seed)
    given = {"shares": shares, "vocab_size": vocab_size, "seed": seed}
    return {name: float(value) for name, value in experiment.numbers(got, given).items()}


@experiment.check(1)
def nothing_leaks(handed: Handed, draw: Draw) -> None:
    """measure: nothing held out is learned from, nothing with the share 0, and as many as asked."""
    alphabet = draw.generator.permutation([*ascii_letters])
    words = ["".join(pair) for pair in alphabet.reshape(-1, 2)]
    texts = {
        "prose": [f"{w} {w} {w}" for w in words[:20]],
        "code": [f"{w} {w}" for w in words[20:]],
    }
    seed = int(draw.generator.integers(1000))
    given = {"texts": "each of two letters that no other text has"}
    for kind, other in (("prose", "code"), ("code", "prose")):
        got = _measured(handed, texts, {kind: 1.0, other: 0.0}, 400, seed)
        if got[kind] != 1.0:
            sentence = f"the texts of {kind} that are held out were learned from"
            raise Wrong(sentence, given, got, {kind: "1.0, a byte is a token"})
        same = {"prose": ["ab"] * 20, "code": ["cd"] * 20}
        got = _measured(handed, same, {kind: 1.0, other: 0.0}, 400, seed)
        if got[other] != 1.0:
            sentence = f"texts of {other} were learned from, whose share is 0"
            raise Wrong(sentence, {"texts": "20 times 'ab', 20 times 'cd'"}, got, {other: 1.0})
    # Nine of prose against one less or one more of code; a tie goes to the greater pair.
    for codes, word, right in ((9, "xy", {"prose": 2.0, "code": 1.0}),
                               (11, "AB", {"prose": 1.0, "code": 2.0})):  # fmt: skip
        texts = {"prose": ["ab"] * 20, "code": [word] * codes}
        got = _measured(handed, texts, {"prose": 0.5, "code": 1.0}, 257, seed)
        given = {"texts": f"20 times 'ab', {codes} times '{word}'", "shares": "0.5 and 1"}
        if {name: got[name] for name in right} != right:
            sentence = (
                f"with one merge, of 9 'ab' and {codes - 1} '{word}' the more frequent is joined: "
                "hold out a tenth, then take the share of the rest; hand vocab_size on"
            )
            raise Wrong(sentence, given, got, right)
    texts = {"prose": ["ab ab ab"] * 20, "code": ["cd cd"] * 20}
    got = _measured(handed, texts, {"prose": 1.0, "code": 0.5}, 300, seed)
    right = {"prose": 8 / 3, "code": 5 / 2, "unused": 0.5}
    given = {"texts": "20 times 'ab ab ab', 20 times 'cd cd'", "shares": "1 and 0.5"}
    if got != right:
        sentence = "when every piece is one token, these numbers are known: of what is held out"
        raise Wrong(sentence, given, got, right)


@experiment.check(1)
def seeds_in_small(handed: Handed, draw: Draw) -> None:
    """measure: one seed holds out the same texts in every setting, another seed other ones."""
    generator = draw.generator
    prose = [letters(generator, 9, "abc") + " " + letters(generator, 40, "ab ") for _ in range(40)]
    texts = {"prose": prose, "code": ["abab ba"] * 20}
    given = {"texts": "40 random ones of prose, 20 times the same of code"}
    shares = {"prose": 0.0, "code": 1.0}
    first, again = (_measured(handed, texts, shares, 300, 1) for _ in range(2))
    if first != again:
        raise Wrong("the same seed gave other numbers", given, again, first)
    others = [_measured(handed, texts, shares, 300, seed) for seed in range(2, 10)]
    if all(other == first for other in others):
        raise Wrong("other seeds gave the same numbers: hand them on", given, first, "others")
    half = _measured(handed, texts, {**shares, "code": 0.5}, 300, 1)
    if half["prose"] != first["prose"]:
        sentence = "with one seed all settings hold out the same texts: shuffle before all else"
        raise Wrong(sentence, {**given, "shares": "0 and 1, then 0 and 0.5"}, half, first)


experiment.check_files(results=1, report=1)
