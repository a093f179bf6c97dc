"""Homework 7, masked tokens: tasks 7.1 and 7.2."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minissl.homework.assignments import hw7_oracle as oracle
from minissl.homework.task import Draw, Task, Wrong, call, expect, expect_error

BY_HAND = "minissl.homework.assignments.hw7_by_hand"


NEARLY = "nearly: was it computed in float32, or with an ε in the logarithm?"


def check_generator(
    sample: Callable[[np.random.Generator], Any], given: dict[str, Any], draw: Draw
) -> None:
    """Raise Wrong unless all randomness is that of the generator, and there is some."""
    seed = int(draw.generator.integers(2**31))
    first, again = (sample(np.random.default_rng(seed)) for _ in range(2))
    if first != again:
        sentence = "the same generator gave another answer: draw from the one that is given"
        raise Wrong(sentence, given, again, first)
    generator = np.random.default_rng(seed)
    if all(sample(generator) == first for _ in range(20)):
        sentence = "twenty draws from one generator were all alike: let it go on, make no other"
        raise Wrong(sentence, given, "20 times the same", "different draws")


def unless_near(got: float, right: float, sentence: str = "the values are wrong") -> str:
    """The sentence for a number that is wrong, or ``NEARLY``."""
    return NEARLY if abs(got - right) <= 1e-5 * abs(right) else sentence


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
    "7.1", f"{BY_HAND}:choose_pieces", "which tokens are hidden", "lecture 08, section 2"
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
            answer = call(subject, may, draw.generator, share)
            got = is_mask(answer, len(may), given)
            if any(h and not m for h, m in zip(got, may)):
                raise Wrong("a token is hidden that is not allowed", given, np.array(got), may)
            if np.shares_memory(answer, may):
                sentence = "give a new array, not the one that you were given"
                raise Wrong(sentence, given, "the argument itself", "a new array")
            found.append(sum(got))
        right = min(max(round(share * allowed), 1), allowed)
        if len(set(found)) > 1:
            sentence = (
                "how many are hidden changes from draw to draw: each was drawn by itself, or one "
                "was drawn twice"
            )
            raise Wrong(sentence, given, found, [right] * len(found))
        symptoms = {
            "a half goes to the even number, as with Python's round": max(
                int(share * allowed + 0.5), 1
            ),
            "at least one token has to be hidden": round(share * allowed),
            "the share is of the tokens that are allowed, not of all": round(share * len(may)),
            "rounded down: to the nearest whole number": max(math.floor(share * allowed), 1),
            "rounded up: to the nearest whole number": math.ceil(share * allowed),
            "the share is not handed on: it is not always 0.15": max(round(0.15 * allowed), 1),
        }
        if share == 1:
            symptoms["all of them are hidden where the share says so"] = allowed - 1
        expect(
            found[0], right, given=given, symptoms=symptoms, otherwise="another number is hidden"
        )


@choose_pieces.check(3)
def all_sets_alike(subject: Any, draw: Draw) -> None:
    """Every set of so many allowed tokens is equally likely."""
    rows = ((4, 2, 0.5, 300), (2, 1, 0.15, 200), (3, 1, 0.3, 12_000))
    for allowed, special, share, draws in rows:
        may = draw.generator.permutation(np.repeat([True, False], [allowed, special]))
        places = np.flatnonzero(may)

        def sets(never: int = -1) -> oracle.Outcomes:
            left = [m and i != never for i, m in enumerate(may.tolist())]  # noqa: B023
            return oracle.subsets(left, max(round(share * len(places)), 1))  # noqa: B023

        oracle.expect_outcomes(
            lambda may=may, share=share: tuple(  # type: ignore[misc]
                np.asarray(call(subject, may, draw.generator, share)).tolist()
            ),
            sets,
            given={"allowed": may, "share": share},
            symptoms={
                "the first token that is allowed is never hidden": {"never": places[0]},
                "the last token that is allowed is never hidden": {"never": places[-1]},
            },
            otherwise="not all sets of tokens are equally likely",
            draws=draws,
        )
    _check_long_rows(subject, draw)


def _check_long_rows(subject: Any, draw: Draw) -> None:
    """Of rows with many tokens each is hidden once in a while: 70 draws of 0.4 miss none."""
    for allowed in draw.generator.integers([22, 60, 200], [50, 150, 400]).tolist():
        may = draw.generator.permutation(np.repeat([True, False], [allowed, 3]))
        often = sum(np.asarray(call(subject, may, draw.generator, 0.4), int) for _ in range(70))
        never = np.flatnonzero(may & (often == 0))
        if len(never):
            where = {may.argmax(): "first", len(may) - 1 - may[::-1].argmax(): "last"}
            name = where.get(never[0], "a")
            sentence = f"of a long row the {name} token that is allowed is never hidden"
            sentence = sentence if name != "a" else "some tokens of a long row are never hidden"
            given = {"allowed": may, "share": 0.4}
            raise Wrong(sentence, given, f"never in 70 draws: {never}", "each of them, in turn")


@choose_pieces.check(2)
def draws_of_the_generator(subject: Any, draw: Draw) -> None:
    """The same generator gives the same tokens, another draw others; 15 % unless told otherwise."""
    may = draw.generator.permutation(100) > 0
    given = {"allowed": may}
    check_generator(
        lambda generator: is_mask(call(subject, may, generator), 100, given), given, draw
    )
    got = int(np.sum(call(subject, may, draw.generator)))
    expect(got, 15, given=given, otherwise="without a share it is 0.15")


# ---- 7.2 masked_loss -----------------------------------------------------------------------------

masked_loss = Task("7.2", f"{BY_HAND}:masked_loss", "the loss", "lecture 08, section 2")


def _hidden_rows(draw: Draw) -> Any:
    """States, vectors, bias, originals, and what is hidden of them: not everything."""
    for time, vocab, width in draw.cases(
        (3, 2, 1),
        (4, 5, 3),
        (6, 3, 2),
        more=lambda g: (int(g.integers(3, 9)), int(g.integers(3, 7)), 4),
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
        right, p = costs[hidden].mean(), np.exp(-costs[hidden])
        count, as_places = int(hidden.sum()), hidden.astype(int)
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
            "the mean of probabilities was taken, not of their logarithms": -math.log(p.mean()),
            "this is the probability, not its logarithm": (1 - p).mean(),
            "this is a perplexity: the loss is its logarithm": math.exp(right),
            "take the originals of the hidden places, too": float(
                np.mean(oracle.cross_entropy(logits[hidden], originals[:count]))
            ),
            "hidden is booleans, not places 0 and 1": costs[as_places].mean(),
            "one hidden place was looked at: take the mean of all of them": costs[hidden][0],
        }
        got = float(call(subject, *row))
        expect(got, right, given=_named(row), symptoms=symptoms, otherwise=unless_near(got, right))


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
    size = float(draw.generator.integers(900, 1100))
    sentence = "e¹⁰⁰⁰ is too large for a float: take the largest logit off first"
    for own in (0.0, 1.0):
        states, vectors = np.array([[size], [0.0], [own]]), np.array([[1.0], [-1.0]])
        originals, hidden = np.array([1, 0, 0]), np.array([True, False, own > 0])
        row = (states, vectors, np.zeros(2), originals, hidden)
        logits = (states @ vectors.T)[hidden]
        right = float(np.mean(oracle.cross_entropy(logits, originals[hidden])))
        got = float(call(subject, *row))
        if not math.isfinite(got):
            raise Wrong(sentence, _named(row), got, right)
        if 10 < got < 100:
            sentence = "an ε in the logarithm cuts the loss off: take −ln p from the logits"
        expect(got, right, given=_named(row), otherwise=unless_near(got, right, sentence))
        sentence = "a p became 0: take the largest logit of each row off, not that of all"
    states, vectors, bias = draw.normal(4, 3), draw.normal(5, 3), draw.normal(5)
    nothing = np.zeros(4, bool)
    expect_error(ValueError, subject, states, vectors, bias, np.arange(4), nothing)
