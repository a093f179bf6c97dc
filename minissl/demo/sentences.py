"""What the demo's page says of its numbers: every sentence about a result is made from it.

A short run, another seed or another machine may turn an order around; the sentence follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
