"""Figures and measured numbers of lecture 04, on the English that ships with Python."""

import math
from functools import cache
from typing import Any

import numpy as np
from matplotlib.transforms import Bbox

from minissl.data import Kept
from minissl.data.vectors import WordVectors
from minissl.data.words import Words, WordTexts
from minissl.figures import legend, new_figure
from minissl.losses.words import glove_weights
from minissl.palette import BLUE, GREEN, GREY, INK, MARKERS, OCHRE, RED, SERIES, SOFT_INK, look
from minissl.pretrain.run import train
from minissl.pretrain.words.skipgram import SkipGram
from minissl.text.cooccurrence import cooccurrences, keep_probabilities, noise_distribution
from minissl.text.corpora import python_english
from minissl.training import History

SETTINGS = SkipGram.Settings(width=64, steps=150)

GROUPS = {
    "colours": "red blue yellow color",
    "calendar": "day week month year monday weekday date",
    "kinds of objects": "integer float string list tuple dictionary set sequence iterable",
    "files": "file directory path filename zip open close read write",
    "networks": "socket client connection port host http address",
    "processes": "thread process lock release wait queue semaphore",
}


@cache
def words() -> Words:
    """Training and held-out words of Python's English, as ``minissl pretrain skipgram`` has."""
    return WordTexts(python_english()).prepare(Kept(), SETTINGS)


@cache
def skipgram() -> tuple[SkipGram, History]:
    """Skip-gram trained for seconds, and its history."""
    method = SkipGram.build(SETTINGS, words(), seed=0)
    return method, train(method, SETTINGS, progress=False)


@cache
def vectors() -> WordVectors:
    """Its vectors."""
    return skipgram()[0].vectors()


# ---- what is near ------------------------------------------------------------------------------


def directions(count: int = 2) -> np.ndarray:
    """Where the words of the groups lie along their ``count`` widest directions (words, count)."""
    chosen = np.array([vectors().row(w) for group in GROUPS.values() for w in group.split()])
    units = vectors().units[chosen].astype(np.float64)
    units -= units.mean(axis=0)
    _, _, axes = np.linalg.svd(units, full_matrices=False)
    axes *= np.sign(axes[:, :1])  # a direction has no sign of its own
    return units @ axes[:count].T


def neighbourhood() -> Any:
    """Six groups of words in the two directions in which they differ most."""
    figure, (axis,) = new_figure(width=5.8, height=5.4)
    places, start = directions(), 0
    for (label, group), color, marker in zip(GROUPS.items(), SERIES, MARKERS):
        here = places[start : start + len(group.split())]
        start += len(here)
        axis.scatter(*here.T, s=16, color=color, marker=marker, label=label)
    axis.set(xlabel="first direction", ylabel="second direction")
    legend(axis, fontsize=8, handlelength=1)
    _name(axis, [name for group in GROUPS.values() for name in group.split()], places)
    return figure


def _name(axis: Any, names: list[str], places: np.ndarray) -> None:
    """Each name beside its point, on the side where it covers least: (names, 2) places."""
    axis.figure.draw_without_rendering()  # where the points lie is known then
    points = axis.transData.transform(places)
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in points]
    sides = (("left", 4, 0), ("right", -4, 0), ("center", 0, 9), ("center", 0, -9))
    for name, place in zip(names, places):
        tried = []
        for align, right, up in sides:
            text = axis.annotate(name, place, (right, up), textcoords="offset points", fontsize=8,
                                 ha=align, va="center", color=INK)  # fmt: skip
            box = text.get_window_extent()
            tried.append((box.count_overlaps(taken), len(tried), text, box))
        best = min(tried, key=lambda one: one[:2])
        for *_, text, _ in tried:
            if text is not best[2]:
                text.remove()
        taken.append(best[3])


# ---- who is read, and who is drawn ---------------------------------------------------------------


def sampling() -> Any:
    """How likely a word stays, and how often it is drawn as noise, by its share of the text."""
    counts = words().vocabulary.counts[1:]
    share = counts / counts.sum()
    figure, (left, right) = new_figure(rows=2, width=5.4, height=5.8)
    paper = np.minimum(1, np.sqrt(1e-3 / share))
    left.plot(share, keep_probabilities(counts), color=BLUE, label="program, t = 1e-3")
    left.plot(share, paper, color=BLUE, linestyle=":", label="paper's formula, t = 1e-3")
    left.plot(share, keep_probabilities(counts, 1e-5), **look(RED), label="program, t = 1e-5")
    left.set(xscale="log", xlabel="share of the text", ylabel="probability to stay", ylim=(0, 1.4))
    left.set_yticks([0, 0.25, 0.5, 0.75, 1])
    for power, color in ((1.0, GREY), (0.75, BLUE), (0.0, OCHRE)):
        noise = noise_distribution(counts, power)
        right.plot(share, noise, **look(color), label=f"power {power:g}")
    right.set(xscale="log", yscale="log", xlabel="share of the text", ylabel="share of the noise")
    legend(left, fontsize=8, loc="upper left")
    legend(right, fontsize=8)
    return figure


# ---- GloVe and AdaGrad ---------------------------------------------------------------------------


def rarity() -> tuple[float, float, float]:
    """Of all pairs of words: the part that stood within 5 words of each other; of those the part
    counted at most once; and its part of all counts.
    """
    stream, size = words().stream, words().vocabulary.vocab_size
    counts = cooccurrences(stream.words, stream.documents, size, 5).counts
    rare = counts <= 1
    of_counts = counts[rare].sum() / counts.sum()
    return len(counts) / (size - 1) ** 2, float(rare.mean()), float(of_counts)


def travelled(gradients: np.ndarray, rate: float = 0.05) -> np.ndarray:
    """How far AdaGrad has moved a number after each of these gradients, all of one sign."""
    return np.cumsum(rate * gradients / np.sqrt(1 + np.cumsum(gradients**2)))


def weights() -> Any:
    """GloVe's weight of a count, and how far AdaGrad moves a frequent and a rare word."""
    figure, (left, right) = new_figure(rows=2, width=5.4, height=5.4)
    counts = np.linspace(0, 160, 321)
    for power, style in ((0.75, "-"), (1.0, "--")):
        weight = glove_weights(counts, power=power)
        left.plot(counts, weight, color=BLUE, linestyle=style, label=f"power {power:g}")
    left.set(xlabel="count of the pair", ylabel="weight", ylim=(0, 1.05))
    steps = np.arange(1, 1001)
    for every, color in ((1, BLUE), (10, RED), (100, GREEN)):
        far = travelled((steps % every == 0).astype(float))
        label = "in every batch" if every == 1 else f"in one of {every}"
        right.plot(steps, far, **look(color), label=label)
        right.plot(steps, 0.05 * (steps // every), color=color, linestyle=":", linewidth=0.9)
    right.set(xlabel="batch", ylabel="distance moved", ylim=(0, 3.5))
    legend(left, fontsize=8, loc="lower right")
    legend(right, fontsize=8)
    return figure


# ---- the loss ------------------------------------------------------------------------------------


def loss() -> Any:
    """The loss of each step and the held-out one, below the level of vectors that are all 0."""
    figure, (axis,) = new_figure(width=5.4, height=3.2)
    method, history = skipgram()
    level = (1 + method.settings.negatives) * math.log(2)
    axis.axhline(level, color=GREY, linestyle="--", linewidth=1)
    axis.annotate(f"6 ln 2 = {level:.3f}", (1, level), xycoords=("axes fraction", "data"),
                  ha="right", va="top", color=SOFT_INK)  # fmt: skip
    axis.plot(*history.column("loss"), color=BLUE, alpha=0.45, linewidth=0.9, label="batch")
    axis.plot(*history.column("held_out_loss"), color=BLUE, marker="o", markersize=4,
              label="held-out text")  # fmt: skip
    axis.set(xlabel="step", ylabel="nats for a pair and its noise", ylim=(1.8, 6.2))
    legend(axis, loc="upper right")
    return figure


FIGURES = {
    "04_words": neighbourhood,
    "04_sampling": sampling,
    "04_weights": weights,
    "04_loss": loss,
}
