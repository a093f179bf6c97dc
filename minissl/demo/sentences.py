"""What the demo's page says of its numbers: every sentence about a result is made from it.

A short run, another seed or another machine may turn an order around; the sentence follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

NEAR = 1.5  # percentage points that count as equal: some two standard errors of a difference


def difference(ours: float, other: float) -> str:
    """ "12.3 points ahead", "4.0 points behind", "level": of two accuracies from 0 to 1."""
    points = 100 * (ours - other)
    if abs(points) < NEAR:
        return "level"
    return f"{abs(points):.1f} points {'ahead' if points > 0 else 'behind'}"


def where_the_help_ends(labels: Sequence[int], accuracy: Mapping[str, Sequence[float]]) -> str:
    """SimCLR against training from scratch, with the fewest and with the most labels per class."""
    ours, scratch = accuracy["SimCLR, no labels"], accuracy["supervised from scratch"]
    few, many = difference(ours[0], scratch[0]), difference(ours[-1], scratch[-1])
    said = (
        f"Against the same network trained on the labels alone, SimCLR is {few} with {labels[0]} "
        f"per class and {many} with {labels[-1]}."
    )
    if "ahead" in few and many == "level":
        return f"{said} The curves meet, because these images are easy. Labels are what it saves."
    if "ahead" in few and "behind" in many:
        return f"{said} The curves cross: labels are what it saves, where there are few."
    if "ahead" in few:
        return f"{said} The curves have not met."
    return f"{said} Here it saves no labels; a longer pretraining may."


def first_message(labels: Sequence[int], accuracy: Mapping[str, Sequence[float]]) -> str:
    """The title of the accuracy's figure: what it says of the fewest labels, in words."""
    points = 100 * (accuracy["SimCLR, no labels"][0] - accuracy["supervised from scratch"][0])
    few = "one label" if labels[0] == 1 else f"{labels[0]} labels"
    worth = f"is worth {points:.0f} points" if points >= NEAR else "is not worth anything yet"
    return f"With {few} per digit, pretraining {worth}"


def accuracy_seen(labels: Sequence[int], accuracy: Mapping[str, Sequence[float]]) -> str:
    """Who is ahead with the fewest labels, and how far all lie apart with the most."""
    first = sorted(accuracy, key=lambda name: -accuracy[name][0])
    best, second = (100 * accuracy[name][0] for name in first[:2])
    last = [100 * values[-1] for values in accuracy.values()]
    return (
        f"With {labels[0]} per digit {first[0]} is ahead ({best:.0f} %, then {first[1]} with "
        f"{second:.0f} %); with {labels[-1]} all lie between {min(last):.0f} and {max(last):.0f} %."
    )


def points_seen(accuracy: Mapping[str, Sequence[float]], panels: Sequence[str]) -> str:
    """What the three clouds of points are worth, for who asks whether they look apart."""
    found = ", ".join(f"{100 * accuracy[name][0]:.0f} % ({name})" for name in panels)
    return f"A classifier that gets one label per digit names rightly: {found}."


def loss_seen(nats: Mapping[str, float]) -> str:
    """Where the curve of the loss ends, between which of the models that only count."""
    below = [name for name in ("uniform", "unigram", "bigram") if nats["GPT"] < nats[name]]
    under = f"below {' and '.join([', '.join(below[:-1]), below[-1]] if below[1:] else below)}"
    return f"It ends at {nats['GPT']:.2f}, {under if below else 'above all three'}."


def bits_seen(bits: Mapping[str, float]) -> str:
    """Which place the GPT has among the compressors, and who is before it."""
    order = sorted(bits, key=lambda name: bits[name])
    place = order.index("GPT")
    before = f", after {' and '.join(order[:place])}" if place else ""
    return f"Of {len(bits)} the GPT is number {place + 1} with {bits['GPT']:.2f}{before}."


def head_seen(weights: np.ndarray, tokens: Sequence[str], head: int) -> str:
    """The heaviest look of a head back at another token: weights (heads, time, time)."""
    back = np.tril(weights[head], -1)
    row, column = np.unravel_index(back.argmax(), back.shape)
    return (
        f"Head {head} is shown large: of all it is furthest from looking everywhere alike and from "
        f"looking only at itself. Its heaviest look back is from “{tokens[row].strip()}” to "
        f"“{tokens[column].strip()}”: {100 * back[row, column]:.0f} % of what that token takes."
    )


def what_collapse_costs(spread: Mapping[str, float], with_negatives: float, without: float) -> str:
    """The spread of embeddings with and without negatives, and the accuracy with one label."""
    apart = spread["with negatives"] - spread["without negatives"]
    fell = spread["without negatives"] < 0.5 * spread["with negatives"]
    ending = f"ends at {spread['with negatives']:.2f} with negatives and at "
    ending += f"{spread['without negatives']:.2f} without"
    ending += "" if fell else (", so no collapse" if apart <= 0 else ", not yet a collapse")
    shown = f"{100 * without:.0f} % with one label per class, {100 * with_negatives:.0f} % with"
    order = difference(without, with_negatives)
    if "behind" in order:
        worth = "the representation " + ("goes with it" if fell else "is worse all the same")
    else:
        worth = "the representation has not suffered"
    return f"{ending}, and {worth}: {shown} negatives."


def collapse_description(spread: Mapping[str, float]) -> str:
    """The figure of both spreads, for who cannot see it."""
    return (
        f"The spread ends at {spread['with negatives']:.2f} with negatives, at "
        f"{spread['without negatives']:.2f} without"
    )


def without_negatives(spread: Mapping[str, float]) -> str:
    """The legend of that curve: a collapse only where it is one."""
    fell = spread["without negatives"] < 0.5 * spread["with negatives"]
    return "without: collapse" if fell else "without negatives"


def against_counting(nats: Mapping[str, float]) -> str:
    """The GPT's held-out loss beside those of counting tokens and pairs of them."""
    beaten = [name for name in ("unigram", "bigram") if nats["GPT"] < nats[name]]
    what = {
        0: "It is behind both: the training was too short",
        1: f"It is ahead of one of the two, the {''.join(beaten)}s",
        2: "It is ahead of both",
    }[len(beaten)]
    return (
        f"counting tokens gives {nats['unigram']:.2f}, counting pairs {nats['bigram']:.2f}. {what}."
    )


def curve_description(nats: Mapping[str, float]) -> str:
    """The figure of the loss, for who cannot see it."""
    levels = ", ".join(f"{name} {nats[name]:.2f}" for name in ("uniform", "unigram", "bigram"))
    return f"Loss curve of the GPT, which ends at {nats['GPT']:.2f}, and three levels: {levels}"
