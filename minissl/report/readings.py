"""What the curves of a log say: for each kind of number a picture, and sentences made from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minissl.training import History

Curve = tuple[np.ndarray, np.ndarray]  # steps and values
UNSEEN = ("step", "seconds", "lr", "grad_norm", "device", "precision")
FEWEST = 3  # evaluations that make a course: of two there are only a first and a last


class Panel(NamedTuple):
    """Curves of one kind, under a heading, and what a reader should see in them."""

    heading: str
    curves: dict[str, Curve]
    sentences: list[str]


# By the last word of a name: the heading, and whether lower is better (None: it depends).
KINDS: dict[str, tuple[str, bool | None]] = {
    "loss": ("The loss", True),
    "accuracy": ("What it knows", False),
    "rank": ("How many directions it uses", None),
    "": ("What else was measured", None),
}
# What is said of a kind where a name of it contains these words ("": always).
MEANINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "loss": (
        ("", "What is minimized. The batches jump because each is other data."),
        ("held_out", "What is held out is always the same and was never trained on."),
    ),
    "accuracy": (
        ("", "Right answers."),
        (
            "watched",
            "A watched accuracy is read off the frozen representation of examples with labels, by "
            "the vote of the nearest neighbors or a linear probe: the look changes no weight.",
        ),
    ),
    "rank": (
        (
            "",
            "The effective rank: e to the entropy of the singular values. It is 1 when all "
            "examples are represented alike, which is a collapse, and at most the width.",
        ),
    ),
    "": (
        (
            "perplexity",
            "Perplexity is e to the loss: a choice among so many equally likely tokens would be as "
            "hard.",
        ),
        ("bits_per_byte", "Bits per byte: the loss that other tokenizers can be compared by."),
        (
            "z_std",
            "z std is the spread of the embeddings, 1 on a whole sphere and 0 where all are one "
            "point.",
        ),
        (
            "distance",
            "Distance: how far the weights have gone from the pretrained ones, in their lengths.",
        ),
        ("r2", "r2 is the share of the variance that is explained: 0 for saying always the mean."),
        ("spearman", "Spearman is the correlation of the ranks, from -1 to 1."),
        ("alignment", "Alignment is how far apart two views are."),
        ("uniformity", "Uniformity is how evenly all lie."),
    ),
}


def panels(history: History) -> list[Panel]:
    """The curves of a log by kind, each kind in one picture; nothing for a kind without numbers."""
    found: dict[str, dict[str, Curve]] = {end: {} for end in KINDS}
    for name in dict.fromkeys(name for record in history for name in record):
        if name in UNSEEN:
            continue
        try:
            steps, values = history.column(name)
        except KeyError:  # never finite
            continue
        if isinstance(values[0], np.number):
            found[kind_of(name)][name] = steps, values
    return [_panel(end, curves) for end, curves in found.items() if curves]


def kind_of(name: str) -> str:
    """By the last word of a name: a "gloss" is no loss."""
    last = name.rpartition("_")[2]
    return last if last in KINDS else ""


def _panel(end: str, curves: dict[str, Curve]) -> Panel:
    heading, lower = KINDS[end]
    meanings = [told for word, told in MEANINGS[end] if any(word in name for name in curves)]
    said = [course(name, *curve) for name, curve in curves.items()]
    said += [one for name, curve in curves.items() if (one := turned(name, *curve, lower))]
    if end == "loss" and _by_heart(curves):
        said.append("The training loss fell on while the held-out loss rose: overfitting.")
    return Panel(heading, curves, [*meanings, " ".join(said)])


def course(name: str, steps: np.ndarray, values: np.ndarray) -> str:
    """From where to where: "Held out loss: from 7.6 to 4.0 (step 1,600)."."""
    words, show = spoken(name), number_of(name)
    if len(values) == 1:
        at = f" at step {steps[0]:,}" if steps[0] else ""  # what is solved at once has no steps
        return f"{words}: {show(values[0])}{at}."
    first, last, ends = values[0], values[-1], ""
    if name == "loss" and (width := len(values) // 20) > 1:  # of single batches
        first, last = values[:width].mean(), values[-width:].mean()
        ends = f" (means of {width:,} values at each end)"
    if not np.ptp(values):
        return f"{words}: {show(last)} all the way."
    first, last = _told_apart(name, first, last)
    return f"{words}: from {first} to {last} at step {steps[-1]:,}{ends}."


def turned(name: str, steps: np.ndarray, values: np.ndarray, lower: bool | None) -> str:
    """Where what was measured was best, if it has become clearly worse since; "" if not."""
    if lower is None or name == "loss" or len(values) < FEWEST:
        return ""
    best = int(np.argmin(values) if lower else np.argmax(values))
    lost, span = abs(values[-1] - values[best]), np.ptp(values)
    if best == len(values) - 1 or lost < 0.1 * span or not span:
        return ""
    best_value = number_of(name)(values[best])
    return f"{spoken(name)} was best at step {steps[best]:,}, {best_value}."


def _by_heart(curves: dict[str, Curve]) -> bool:
    """Whether the held-out loss has clearly risen from its best, and the training loss has not."""
    if not {"loss", "held_out_loss"} <= curves.keys():
        return False
    (steps, held_out), (trained, losses) = curves["held_out_loss"], curves["loss"]
    if not turned("held_out_loss", steps, held_out, True):
        return False
    after = losses[trained > steps[np.argmin(held_out)]]
    half = len(after) // 2
    if not half:
        return False
    sooner, later = after[:half], after[half:]
    chance = np.sqrt(sooner.var() / len(sooner) + later.var() / len(later))
    return bool(sooner.mean() - later.mean() > 2 * chance)  # batches jump: a bit less is no fall


def spoken(name: str) -> str:
    """A column's name as a sentence begins: "Held-out loss"."""
    words = name.replace("held_out", "held-out").replace("knn", "k-NN").replace("_", " ")
    return words if words.startswith("k-NN") else f"{words[:1].upper()}{words[1:]}"


def number_of(name: str) -> Any:
    """How a value of this name is written: accuracies in percent."""
    if name.endswith("accuracy"):
        return lambda value: f"{100 * value:.1f} %"
    return lambda value: f"{value:,.0f}" if 999.5 <= abs(value) < 1e9 else f"{value:.3g}"


def _told_apart(name: str, first: float, last: float) -> tuple[str, str]:
    """Both as they are written, with more digits where fewer would make them the same."""
    show = number_of(name)
    told = show(first), show(last)
    for digits in (4, 5, 6):
        if told[0] == told[1] and first != last and not name.endswith("accuracy"):
            told = f"{first:.{digits}g}", f"{last:.{digits}g}"
    return told


def first_and_last(history: History) -> list[list[str]]:
    """A row for all that was measured: its name, its first and its last value; one value: last."""
    rows = []
    for panel in panels(history):
        for name, (_, values) in panel.curves.items():
            first, last = _told_apart(name, values[0], values[-1])
            rows.append([spoken(name), first if len(values) > 1 else "", last])
    return rows
