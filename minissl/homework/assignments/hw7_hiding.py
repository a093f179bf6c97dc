"""Homework 7, masked tokens: tasks 7.1 to 7.3."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw7_oracle as oracle
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error

BY_HAND = "minissl.homework.assignments.hw7_by_hand"


def check_generator(sample: Callable[[np.random.Generator], Any], given: dict[str, Any]) -> None:
    """Raise Wrong unless all randomness is that of the generator, and there is some."""
    first, again = (sample(np.random.default_rng(7)) for _ in range(2))
    if first != again:
        sentence = "the same generator gave another answer: draw from the one that is given"
        raise Wrong(sentence, given, again, first)
    generator = np.random.default_rng(7)
    if all(sample(generator) == first for _ in range(20)):
        sentence = "twenty draws from one generator were all alike: let it go on, make no other"
        raise Wrong(sentence, given, "20 times the same", "different draws")


def is_mask(got: Any, size: int, given: dict[str, Any]) -> tuple[bool, ...]:
    """What a function that hides has given. Raises Wrong when it is no array of booleans."""
    if not isinstance(got, np.ndarray) or got.dtype != bool or got.shape != (size,):
        shape = f"booleans of shape {(size,)}"
        what = type(got).__name__
        if isinstance(got, np.ndarray):
            what = f"{got.dtype} of shape {got.shape}"
        raise Wrong(f"expected an array of {shape}, got {what}", given, got, shape)
    return tuple(got.tolist())


# ---- 7.1 choose_pieces ---------------------------------------------------------------------------

choose_pieces = Task(
    "7.1", f"{BY_HAND}:choose_pieces", "which tokens are hidden", "lectures/08, section 2"
)


def _some_row(generator: np.random.Generator) -> tuple[int, int, float]:
    allowed, special = generator.integers(1, 40, 2).tolist()
    return allowed, special, float(generator.choice([0.15, 0.4]))


@choose_pieces.check(3)
def how_many(subject: Any, draw: Draw) -> None:
    """round(share · allowed), one at least, none of what is not allowed; none of nothing."""
    rows = [(3, 2, 0.15), (1, 0, 0.15), (0, 2, 0.15), (22, 0, 0.15), (17, 9, 0.15), (30, 1, 0.15)]
    for allowed, special, share in draw.cases(*rows, (5, 2, 1.0), more=_some_row):
        may = draw.generator.permutation(np.repeat([True, False], [allowed, special]))
        given = {"allowed": may, "share": share}
        found = []
        for _ in range(8):
            got = is_mask(call(subject, may, draw.generator, share), len(may), given)
            if any(h and not m for h, m in zip(got, may)):
                raise Wrong("a token is hidden that is not allowed", given, np.array(got), may)
            found.append(sum(got))
        right = min(max(round(share * allowed), 1), allowed)
        if len(set(found)) > 1:
            sentence = (
                "how many are hidden changes from draw to draw: each was drawn by itself, or one "
                "was drawn twice"
            )
            raise Wrong(sentence, given, found, [right] * len(found))
        symptoms = {
            "at least one token has to be hidden": round(share * allowed),
            "the share is of the tokens that are allowed, not of all": round(share * len(may)),
            "rounded down: to the nearest whole number": max(math.floor(share * allowed), 1),
            "rounded up: to the nearest whole number": math.ceil(share * allowed),
        }
        expect(
            found[0], right, given=given, symptoms=symptoms, otherwise="another number is hidden"
        )


@choose_pieces.check(3)
def all_sets_alike(subject: Any, draw: Draw) -> None:
    """Every set of so many allowed tokens is equally likely."""
    for may, share in (([True, True, False], 0.15), ([False, True, True, True, True, False], 0.5)):
        given = {"allowed": np.array(may), "share": share}
        oracle.expect_outcomes(
            lambda may=may, share=share: tuple(  # type: ignore[misc]
                np.asarray(call(subject, np.array(may), draw.generator, share)).tolist()
            ),
            lambda may=may, share=share: oracle.subsets(may, max(round(share * sum(may)), 1)),
            given=given,
            otherwise="not all sets of tokens are equally likely",
            draws=200,
        )


@choose_pieces.check(2)
def draws_of_the_generator(subject: Any, draw: Draw) -> None:
    """The same generator gives the same tokens, another draw others; 15 % unless told otherwise."""
    may = np.arange(100) > 0
    given = {"allowed": may}
    check_generator(lambda generator: is_mask(call(subject, may, generator), 100, given), given)
    got = int(np.sum(call(subject, may, draw.generator)))
    expect(got, 15, given=given, otherwise="without a share it is 0.15")


# ---- 7.2 masked_loss -----------------------------------------------------------------------------

masked_loss = Task("7.2", f"{BY_HAND}:masked_loss", "the loss", "lectures/08, section 2")


def _hidden_rows(draw: Draw) -> Any:
    """States, vectors, bias, originals, and what is hidden of them: not everything."""
    for time, vocab, width in draw.cases(
        (2, 2, 1), (4, 5, 3), more=lambda g: (int(g.integers(3, 9)), int(g.integers(3, 7)), 4)
    ):
        hidden = draw.generator.permutation(np.arange(time) < max(time // 2, 1))
        yield (
            draw.normal(time, width), draw.normal(vocab, width), draw.normal(vocab),
            draw.generator.integers(vocab, size=time), hidden,
        )  # fmt: skip


def _named(row: Any) -> dict[str, Any]:
    return dict(zip(("states", "vectors", "bias", "originals", "hidden"), row))


@masked_loss.check(3)
def mean_over_hidden(subject: Any, draw: Draw) -> None:
    """The mean over the hidden places of −ln softmax(state · vectorsᵀ + bias) at the original."""
    for row in _hidden_rows(draw):
        states, vectors, bias, originals, hidden = row
        logits = states @ vectors.T + bias
        costs = np.array(oracle.cross_entropy(logits, originals))
        right = costs[hidden].mean()
        symptoms = {
            "the mean is over all places, not the hidden ones": costs.mean(),
            "the loss of the visible places was taken": costs[~hidden].mean(),
            "the sum was taken, not the mean": costs[hidden].sum(),
            "divided by all places: the mean is over the hidden ones": (
                costs[hidden].sum() / len(costs)
            ),
            "the bias is missing": float(
                np.mean(oracle.cross_entropy((logits - bias)[hidden], originals[hidden]))
            ),
            "the sign is wrong": -right,
            "these are bits: take the natural logarithm": right / math.log(2),
            "the mean of probabilities was taken, not of their logarithms": float(
                -math.log(np.exp(-costs[hidden]).mean())
            ),
        }
        got = call(subject, *row)
        expect(float(got), right, given=_named(row), symptoms=symptoms)


@masked_loss.check(1)
def visible_places(subject: Any, draw: Draw) -> None:
    """What stands at visible places changes nothing: compute nothing of them."""
    for row in _hidden_rows(draw):
        states, _, _, originals, hidden = row
        right = float(call(subject, *row))
        states[~hidden] = np.nan
        originals[~hidden] = 0
        sentence = "a visible place counts: NaN times 0 is NaN, so take the hidden rows out first"
        got = float(call(subject, *row))
        if not abs(got - right) <= 1e-9 * abs(right):
            raise Wrong(sentence, _named(row), got, right)


@masked_loss.check(1)
def large_logits(subject: Any, draw: Draw) -> None:
    """Logits of ±1000 are no overflow; a row in which nothing is hidden is an error."""
    states, vectors = np.array([[1000.0], [0.0]]), np.array([[1.0], [-1.0]])
    bias, originals, hidden = np.zeros(2), np.array([1, 0]), np.array([True, False])
    row = (states, vectors, bias, originals, hidden)
    sentence = "e¹⁰⁰⁰ is too large for a float: take the largest logit off first"
    got = float(call(subject, *row))
    if not math.isfinite(got):
        raise Wrong(sentence, _named(row), got, 2000.0)
    expect(got, 2000.0, given=_named(row))
    expect_error(ValueError, subject, states, vectors, bias, originals, np.zeros(2, bool))


# ---- 7.3 replace ---------------------------------------------------------------------------------

replace = Task(
    "7.3", f"{BY_HAND}:replace", "what stands in place of a hidden token", "lectures/08, section 3"
)
MASK, VOCAB, LONG = 3, 20, 30_000


def _read(subject: Any, draw: Draw, tokens: NDArray, hidden: NDArray) -> NDArray:
    """What the model reads; Wrong where a visible token is another, or it is no row."""
    given = {"tokens": tokens, "hidden": hidden, "mask": MASK, "vocab_size": VOCAB}
    got: NDArray = call(subject, tokens, hidden, draw.generator, mask=MASK, vocab_size=VOCAB)
    if not isinstance(got, np.ndarray) or got.shape != tokens.shape or got.dtype != np.int64:
        what = type(got).__name__
        if isinstance(got, np.ndarray):
            what = f"{got.dtype} of shape {got.shape}"
        sentence = f"expected int64 of shape {tokens.shape}, got {what}"
        raise Wrong(sentence, given, got, "token ids")
    if got.min() < 0 or got.max() >= VOCAB:
        raise Wrong(f"tokens are 0 to {VOCAB - 1} here", given, got, "ids of the vocabulary")
    if np.any((got != tokens) & ~hidden):
        raise Wrong("a visible token was changed", given, got, "only hidden ones are replaced")
    return got


@replace.check(2)
def visible_tokens_stay(subject: Any, draw: Draw) -> None:
    """Visible tokens are as they were, in a new array of int64."""
    for time in draw.cases(1, 5, 60, more=lambda g: int(g.integers(2, 50))):
        tokens = draw.generator.integers(5, VOCAB, time)
        for hidden in (np.zeros(time, bool), draw.generator.random(time) < 0.5):
            got = _read(subject, draw, tokens, hidden)
            if got is tokens or np.shares_memory(got, tokens):
                sentence = "give a new array: the originals are needed for the loss"
                raise Wrong(sentence, {"tokens": tokens}, got, "a copy")


@replace.check(4)
def eight_one_one(subject: Any, draw: Draw) -> None:
    """Of the hidden tokens 80 % are [MASK], 10 % random and 10 % as they were, each by itself."""
    tokens = draw.generator.integers(5, 10, LONG)
    hidden = draw.generator.random(LONG) < 0.5
    got = _read(subject, draw, tokens, hidden)[hidden]
    same = got == tokens[hidden]
    names = ("[MASK]", "other", "the same")
    kinds = [names[0 if token == MASK else 2 if s else 1] for token, s in zip(got.tolist(), same)]
    if len(set(kinds)) == 1:
        sentence = f"all {len(kinds):,} hidden tokens became {kinds[0]}: each is drawn by itself"
        raise Wrong(sentence, {"hidden": hidden}, kinds[0], "80 %, 10 % and 10 %")

    def shares(masked: float = 0.8, random: float = 0.1) -> dict[str, float]:
        by_chance = random / VOCAB  # that it is [MASK], or the same
        parts = (masked + by_chance, random - 2 * by_chance, 1 - masked - random + by_chance)
        return dict(zip(names, parts))

    order = iter(kinds)
    oracle.expect_outcomes(
        lambda: next(order),
        shares,
        given={"tokens": tokens, "hidden": hidden, "mask": MASK, "vocab_size": VOCAB},
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


@replace.check(2)
def from_the_whole_vocabulary(subject: Any, draw: Draw) -> None:
    """A random token is any of 0 to vocab_size − 1, all alike and each drawn by itself."""
    tokens, hidden = np.full(LONG, VOCAB // 2), np.ones(LONG, bool)
    got = _read(subject, draw, tokens, hidden)
    random = got[(got != MASK) & (got != tokens)].tolist()
    given = {"tokens": tokens, "mask": MASK, "vocab_size": VOCAB}
    if len(set(random)) <= 1:
        sentence = "there is one random token for all places: draw one for each"
        sentence = sentence if random else "no token is random"
        raise Wrong(sentence, given, sorted(set(random)), "each its own")
    order = iter(random)

    def alike(never: int = MASK) -> dict[int, float]:
        every = [t for t in range(VOCAB) if t not in (MASK, VOCAB // 2, never)]
        return dict.fromkeys(every, 1 / len(every))

    oracle.expect_outcomes(
        lambda: next(order),
        alike,
        given=given,
        symptoms={
            "the last token of the vocabulary is never drawn": {"never": VOCAB - 1},
            "token 0 is never drawn": {"never": 0},
        },
        otherwise="not all tokens of the vocabulary are equally likely",
        draws=len(random),
    )


@replace.check(1)
def draws_of_its_generator(subject: Any, draw: Draw) -> None:
    """The same generator gives the same row, another draw another."""
    tokens, hidden = np.full(200, 7), np.ones(200, bool)
    check_generator(
        lambda generator: call(
            subject, tokens, hidden, generator, mask=MASK, vocab_size=VOCAB
        ).tolist(),
        {"tokens": tokens, "hidden": hidden, "mask": MASK, "vocab_size": VOCAB},
    )
