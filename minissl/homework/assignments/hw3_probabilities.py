"""Homework 3, what sampling draws from: task 3.7."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments import hw3_oracle as oracle
from minissl.homework.assignments.again import asked_again
from minissl.homework.task import Draw, Task, call, expect, expect_error

GENERATE = "minissl.models.generate"


# ---- 3.7 next_token_probabilities ----------------------------------------------------------------

sampling = Task(
    "3.7",
    f"{GENERATE}:next_token_probabilities",
    "what sampling draws from",
    "lecture 10, section 3",
    hides=("_likeliest",),
)


def _check_probabilities(subject: Any, logits: NDArray, **options: Any) -> None:
    settings: dict[str, Any] = {"temperature": 1.0, "top_k": None, "top_p": None} | options

    def by(how: str = "right", **other: Any) -> NDArray:
        return oracle.probabilities(logits, **(settings | other), how=how)

    temperature = settings["temperature"]
    symptoms: dict[str, NDArray] = {}
    if settings["top_p"] is not None and temperature != 1:
        sentence = "top_p is chosen before the temperature is used: the temperature comes first"
        symptoms[sentence] = by("nucleus first")
    if settings["top_p"] is not None:
        sentence = "to reach p is enough: the set ends with the token that reaches it"
        symptoms[sentence] = by("passed")
    symptoms |= {
        "the logits are multiplied with the temperature: divide": by(temperature=1 / temperature),
        "the temperature is not used": by(temperature=1.0),
        "the probabilities are divided by the temperature: divide the logits": (
            by(temperature=1.0) / temperature
        ),
        "top_p adds up the probabilities as they were before top_k": by("of all"),
        "of equal logits no more than k are kept: ties go to the smaller token": by("ties"),
        "top_k keeps one token too many": by("one more") if settings["top_k"] else by(),
        "the least likely tokens are kept": by("least likely"),
        "top_k is not used": by(top_k=None),
        "top_p is not used": by(top_p=None),
        "the token with which the probabilities reach p is dropped: keep it": by(
            "without the crossing token"
        ),
        "top_p keeps every token likelier than p: add up the probabilities": by("alone"),
        "what is kept does not add up to 1": by("not normalised"),
        "the probabilities must stand in the order of the tokens, not of their size": (
            -np.sort(-by())
        ),
    }
    if settings["top_p"] == 1:
        one = np.eye(len(logits))[logits.argmax()]
        symptoms["top_p=1 keeps every token, though rounding may leave their sum below 1"] = one
    got = call(subject, logits, **options)
    expect(got, by(), given={"logits": logits, **options}, symptoms=symptoms)


def _draw_logits(generator: np.random.Generator) -> NDArray:
    return 2 * generator.standard_normal(generator.integers(2, 9))


@sampling.check(2)
def temperature(subject: Any, draw: Draw) -> None:
    """softmax(logits / temperature), in float64, for logits of any size."""
    logits = np.sort(_draw_logits(draw.generator))
    asked_again(subject, (logits,), (logits[::-1],))
    large, float32 = np.array([2e4, 2e4 - 1]), np.array([1.0, 3.0], np.float32)
    ruled_out = np.array([1.0, -np.inf, 0.0])
    for logits in draw.cases(np.array([0.0, 1.0]), float32, large, ruled_out, more=_draw_logits):
        for value in (1.0, 0.5, 2.0, 0.01):
            with np.errstate(all="ignore"):
                _check_probabilities(subject, logits, temperature=value)


@sampling.check(2)
def top_k(subject: Any, draw: Draw) -> None:
    """The k likeliest tokens share the probability; ties go to the smaller token."""
    fixed = [np.array([1.0, 3.0, 2.0]), np.array([1.0, 1.0, 1.0, 0.0]), np.array([0.0, 1.0])]
    for logits in draw.cases(*fixed, more=_draw_logits):
        for k in (1, 2, len(logits), len(logits) + 3):
            _check_probabilities(subject, logits, top_k=k)
            _check_probabilities(subject, logits, top_k=k, temperature=0.7)


@sampling.check(2)
def top_p(subject: Any, draw: Draw) -> None:
    """The likeliest tokens until their probabilities reach p, that one included."""
    fixed = [np.log([0.1, 0.4, 0.3, 0.2]), np.log([0.6, 0.4]), np.log([0.2, 0.5, 0.3])]
    for logits in draw.cases(*fixed, more=_draw_logits):
        for p in (0.25, 0.35, 0.55, 0.85, 0.999, 1.0):
            _check_probabilities(subject, logits, top_p=p)
            _check_probabilities(subject, logits, top_p=p, temperature=0.5)
            _check_probabilities(subject, logits, top_p=p, temperature=1.5, top_k=2)
    for p in (0.25, 0.5, 0.75):  # sums of these probabilities are exact
        _check_probabilities(subject, np.zeros(4), top_p=p)


@sampling.check(1)
def refused(subject: Any, draw: Draw) -> None:
    """ValueError for settings without a meaning, and where the largest logit is not finite."""
    for name, value in draw.cases(
        ("temperature", 0.0),
        ("temperature", -1.0),
        ("top_k", 0),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", -0.5),
        more=lambda g: ("top_p", 1 + float(g.random())),
    ):
        expect_error(ValueError, subject, np.array([0.0, 1.0]), **{name: value})
    for logit in (np.nan, np.inf):
        expect_error(ValueError, subject, np.array([0.0, logit, 1.0]))
    expect_error(ValueError, subject, np.array([-np.inf, -np.inf]))
