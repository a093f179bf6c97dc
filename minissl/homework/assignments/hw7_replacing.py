"""Homework 7, masked tokens: task 7.3, what stands in place of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw7_oracle as oracle
from minissl.homework.assignments.hw7_hiding import BY_HAND, check_generator
from minissl.homework.task import Draw, Task, Wrong, call

# ---- 7.3 replace ---------------------------------------------------------------------------------

replace = Task(
    "7.3", f"{BY_HAND}:replace", "what stands in place of a hidden token", "lecture 08, section 3"
)
LONG = 30_000  # tokens of a row whose shares are counted


def _read(
    subject: Any, draw: Draw, tokens: NDArray, hidden: NDArray, mask: int, vocab_size: int
) -> NDArray:
    """What the model reads; Wrong where a visible token is another, or it is no row."""
    how = {"mask": mask, "vocab_size": vocab_size}
    given = {"tokens": tokens, "hidden": hidden, **how}
    got: NDArray = call(subject, tokens, hidden, draw.generator, **how)
    if not isinstance(got, np.ndarray) or got.shape != tokens.shape or got.dtype != np.int64:
        what = type(got).__name__
        if isinstance(got, np.ndarray):
            what = f"{got.dtype} of shape {got.shape}"
        sentence = f"expected int64 of shape {tokens.shape}, got {what}"
        raise Wrong(sentence, given, got, "token ids")
    if got.min() < 0 or got.max() >= vocab_size:
        raise Wrong(f"tokens are 0 to {vocab_size - 1} here", given, got, "ids of the vocabulary")
    if np.any((got != tokens) & ~hidden):
        raise Wrong("a visible token was changed", given, got, "only hidden ones are replaced")
    if np.shares_memory(got, tokens):
        sentence = "give a new array: the originals are needed for the loss"
        raise Wrong(sentence, given, got, "a copy")
    return got


NAMES = ("[MASK]", "another", "as it was")  # what can be seen of a hidden token


def _kinds(got: NDArray, tokens: NDArray, mask: int) -> tuple[str, ...]:
    """Of each hidden token, what became of it."""
    same = got == tokens
    return tuple(
        NAMES[0 if token == mask else 2 if s else 1] for token, s in zip(got.tolist(), same)
    )


def _shares(
    vocab_size: int, masked: float = 0.8, random: float = 0.1, kept_out: int = -1
) -> dict[str, float]:
    """How often each is seen; ``kept_out``: the kind that a random token never is."""
    each = [1, max(vocab_size - 2, 0), 1]  # tokens that are [MASK], another, the same
    if kept_out >= 0:
        each[kept_out] = 0
    chances = [random * n / sum(each) for n in each]
    return dict(zip(NAMES, (masked + chances[0], chances[1], 1 - masked - random + chances[2])))


@replace.check(1)
def visible_tokens_stay(subject: Any, draw: Draw) -> None:
    """Visible tokens are as they were, in a new array of int64."""
    for time in draw.cases(1, 5, 60, more=lambda g: int(g.integers(2, 50))):
        tokens = draw.generator.integers(5, 20, time)
        for hidden in (np.zeros(time, bool), draw.generator.random(time) < 0.5):
            _read(subject, draw, tokens, hidden, 3, 20)


@replace.check(3)
def eight_one_one(subject: Any, draw: Draw) -> None:
    """Of the hidden tokens 80 % are [MASK], 10 % random and 10 % as they were."""
    mask, vocab = int(draw.generator.integers(5)), 2 * LONG
    tokens = 5 + draw.generator.permutation(LONG)
    hidden = draw.generator.random(LONG) < 0.5
    got = _read(subject, draw, tokens, hidden, mask, vocab)
    kinds = _kinds(got[hidden], tokens[hidden], mask)
    given = {"tokens": tokens, "hidden": hidden, "mask": mask, "vocab_size": vocab}
    if len(set(kinds)) == 1:
        sentence = f"all {len(kinds):,} hidden tokens became {kinds[0]}: each is drawn by itself"
        raise Wrong(sentence, given, kinds[0], "80 %, 10 % and 10 %")
    order = iter(kinds)
    oracle.expect_outcomes(
        lambda: next(order),
        lambda **how: _shares(vocab, **how),
        given=given,
        symptoms={
            "no token stays as it is: 10 % are [MASK] or random, too": {"random": 0.2},
            "no token is random, and 90 % are [MASK]": {"masked": 0.9, "random": 0.0},
            "random tokens are missing: 10 % of the hidden ones": {"random": 0.0},
            "10 % of the rest are random: of all hidden ones 10 %": {"random": 0.02},
            "a second draw for random tokens: it took a tenth of what was [MASK]": {"masked": 0.72},
            "[MASK] and random tokens are exchanged": {"masked": 0.1, "random": 0.8},
            "what stays is 80 %, not what becomes [MASK]": {"masked": 0.1},
        },
        otherwise="the shares are not 80 %, 10 % and 10 %",
        draws=len(kinds),
    )
    _check_many(subject, draw)


MANY = 160_000  # hidden tokens: the share 0.8 is known to 0.001


def _check_many(subject: Any, draw: Draw) -> None:
    """The shares to two digits, and whether tokens that are near have fates of their own."""
    token, vocab = int(draw.generator.integers(5, 900)), 1000
    tokens, hidden = np.full(MANY, token), np.ones(MANY, bool)
    got = _read(subject, draw, tokens, hidden, 3, vocab)
    seen = {"[MASK]": got == 3, "as it was": got == token}
    given = {"tokens": tokens, "mask": 3, "vocab_size": vocab}
    for name, is_so in seen.items():
        share, right = float(is_so.mean()), _shares(vocab)[name]
        if abs(share - right) > 6.3 * math.sqrt(right * (1 - right) / MANY):
            sentence = f"nearly: of many tokens {share:.3f} are {name}, not {right:.3f}"
            raise Wrong(sentence, given, round(share, 4), round(right, 4))
    masked = seen["[MASK]"] - float(seen["[MASK]"].mean())
    for apart in (1, 2, 3):
        together = float(np.mean(masked[:-apart] * masked[apart:]))
        if abs(together) > 7 * 0.16 / math.sqrt(MANY):
            sentence = (
                f"the fates of tokens {apart} apart depend on each other: each is drawn by itself"
            )
            raise Wrong(sentence, given, f"covariance {together:.4f}", "about 0")


@replace.check(2)
def each_by_itself(subject: Any, draw: Draw) -> None:
    """Each hidden token is drawn by itself, whatever else is hidden and wherever it stands."""
    mask, vocab = int(draw.generator.integers(5)), int(draw.generator.integers(12, 25))
    for place, name in ((0, "first"), (3, "last"), (1, "second")):
        tokens, hidden = draw.generator.integers(5, vocab, 4), np.arange(4) == place
        rows = (_read(subject, draw, tokens, hidden, mask, vocab) for _ in range(80))
        (kind, *others) = {_kinds(row[hidden], tokens[hidden], mask) for row in rows}
        given = {"tokens": tokens, "hidden": hidden, "mask": mask, "vocab_size": vocab}
        if not others:
            sentence = f"the {name} token of the row is never replaced"
            if kind[0] != "as it was":
                sentence = "each token is drawn by itself, not a share of the row"
            raise Wrong(sentence, given, f"80 times {kind[0]}", "80 %, 10 % and 10 %")
    token = int(draw.generator.integers(5, vocab))
    tokens, hidden = np.full(2, token), np.ones(2, bool)

    def both(together: bool = False) -> oracle.Outcomes:
        fates = ((0.8, 1, 0), (0.1, 0, 1), (0.1, 0, 0)) if together else ((1, 0.8, 0.1),)
        shares = [(chance, _shares(vocab, *fate)) for chance, *fate in fates]
        return {
            (a, b): math.fsum(chance * own[a] * own[b] for chance, own in shares)
            for a in NAMES for b in NAMES
        }  # fmt: skip

    oracle.expect_outcomes(
        lambda: _kinds(_read(subject, draw, tokens, hidden, mask, vocab), tokens, mask),
        both,
        given={"tokens": tokens, "hidden": hidden, "mask": mask, "vocab_size": vocab},
        symptoms={
            "two tokens share their draw: each is drawn by itself": {"together": True},
        },
        otherwise="what becomes of one token depends on the other: each is drawn by itself",
        draws=1000,
    )


@replace.check(2)
def from_the_whole_vocabulary(subject: Any, draw: Draw) -> None:
    """A random token is any of 0 to vocab_size − 1, all alike and each drawn by itself."""
    mask, vocab = (int(draw.generator.integers(*ends)) for ends in ((1, 5), (12, 25)))
    token = int(draw.generator.integers(5, vocab - 1))
    tokens, hidden = np.full(LONG, token), np.ones(LONG, bool)
    got = _read(subject, draw, tokens, hidden, mask, vocab)
    random = got[(got != mask) & (got != tokens)].tolist()
    given = {"tokens": tokens, "mask": mask, "vocab_size": vocab}
    if len(set(random)) <= 1:
        sentence = "there is one random token for all places: draw one for each"
        if not random:
            sentence = "no token is random, or the same one for all places"
        raise Wrong(sentence, given, sorted(set(random)), "each its own")
    order = iter(random)

    def alike(never: Any = ()) -> dict[int, float]:
        every = [t for t in range(vocab) if t not in (mask, token, *never)]
        return dict.fromkeys(every, 1 / len(every))

    oracle.expect_outcomes(
        lambda: next(order),
        alike,
        given=given,
        symptoms={
            "the last token of the vocabulary is never drawn": {"never": [vocab - 1]},
            "token 0 is never drawn": {"never": [0]},
            "tokens 0 to 4 are never drawn: special ones are of the vocabulary, too": {
                "never": range(5)
            },
        },
        otherwise="not all tokens of the vocabulary are equally likely",
        draws=len(random),
    )
    _check_two(subject, draw)


def _check_two(subject: Any, draw: Draw) -> None:
    """A vocabulary of [MASK] and another: a random token is either, half of the time."""
    tokens, hidden = np.ones(LONG, np.int64), np.ones(LONG, bool)
    order = iter(_kinds(_read(subject, draw, tokens, hidden, 0, 2), tokens, 0))
    oracle.expect_outcomes(
        lambda: next(order),
        lambda **how: _shares(2, **how),
        given={"tokens": tokens, "mask": 0, "vocab_size": 2},
        symptoms={
            "[MASK] is never drawn as the random token: it may be any": {"kept_out": 0},
            "the token itself is never drawn as the random one: it may be any": {"kept_out": 2},
        },
        otherwise="a random token may be [MASK] and the token itself, as often as any other",
        draws=LONG,
    )


@replace.check(1)
def draws_of_its_generator(subject: Any, draw: Draw) -> None:
    """The same generator gives the same row, another draw another."""
    tokens, hidden = draw.generator.integers(5, 20, 200), np.ones(200, bool)
    check_generator(
        lambda generator: call(subject, tokens, hidden, generator, mask=3, vocab_size=20).tolist(),
        {"tokens": tokens, "hidden": hidden, "mask": 3, "vocab_size": 20},
        draw,
    )
