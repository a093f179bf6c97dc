"""Figures of lecture 08: what is hidden, what a visible word is worth, lengths, a training."""

import functools
import math
from typing import Any

import numpy as np

from minissl.figures import new_figure
from minissl.pretrain.masked.bert import BERT, BERTSettings
from minissl.pretrain.run import Pretrained, pretrain
from minissl.text.baselines import unigram_loss
from minissl.text.masking import KINDS, LONGEST_SPAN, SPAN, choose

BLUE, RED, OCHRE, GREY = "#0b6bcb", "#c2452d", "#c9a227", "#8a8f98"
PIECES = (
    "[CLS] the ir ##res ##ist ##ibly good cake that my sister baked for us was gone "
    "before the guests had ar ##rived , so we ate bread [SEP]"
).split()
SHARE = 0.25  # more than 15 %, so that few words show it
V = 30_522


def masks() -> Any:
    """One sentence, its pieces, and a quarter of them hidden in three ways."""
    allowed = np.array([[piece[0] != "[" for piece in PIECES]])
    begins = np.array([[not piece.startswith("##") for piece in PIECES]])
    rows = [choose(kind, allowed, begins, np.random.default_rng(178), SHARE)[0] for kind in KINDS]
    figure, (axis,) = new_figure(width=10.5, height=2.0)
    place, gap = 0.0, 0.35
    for i, piece in enumerate(PIECES):
        size = 0.36 + 0.165 * len(piece)
        for y, hidden in enumerate(rows):
            color = "#0b6bcb" if hidden[i] else "#edf1f6"
            axis.barh(-y, size, left=place, height=0.72, color=color)
            text = "?" if hidden[i] else piece
            axis.text(place + size / 2, -y, text, ha="center", va="center", fontsize=8,
                      color="white" if hidden[i] else "#333")  # fmt: skip
        place += size + (0.03 if i + 1 < len(PIECES) and not begins[0, i + 1] else gap * 0.4)
    axis.set_yticks([0, -1, -2], KINDS)
    axis.set(xticks=[], xlim=(-0.1, place))
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return figure


def visible() -> Any:
    """The shares of all tokens; how sure a model may be that a visible word is the right one."""
    figure, (left, right) = new_figure(columns=2, width=8.4, height=3.2)
    shares = {"visible, not asked for": 85, "[MASK]": 12, "another word": 1.5, "kept": 1.5}
    bars = left.barh(list(shares), list(shares.values()), color=[GREY, BLUE, RED, OCHRE])
    left.bar_label(bars, fmt="%g %%", padding=3)
    left.set(xlabel="of 100 tokens", xlim=(0, 104))
    left.invert_yaxis()
    p = np.logspace(-8, 0, 200)
    right.plot(p, p / (p + 1 / V), color=BLUE)
    right.axvline(1 / V, color=GREY, linestyle="--", linewidth=1)
    right.annotate("1 / V", (1 / V, 0.02), (4, 0), textcoords="offset points", color=GREY)
    right.set(xscale="log", ylim=(0, 1.03), xlabel="p(word | context)",
              ylabel="p(it is the right one)")  # fmt: skip
    return figure


def lengths() -> Any:
    """The distribution of the lengths of spans, with its mean, beside single words."""
    figure, (axis,) = new_figure(width=5.2, height=2.8)
    k = np.arange(1, LONGEST_SPAN + 1)
    for p, color, width in ((SPAN, BLUE, -0.4), (0.3, OCHRE, 0.4)):
        weights = p * (1 - p) ** (k - 1)
        weights /= weights.sum()
        label = f"p = {p:g}: mean {np.sum(k * weights):.2f} words"
        axis.bar(k, 100 * weights, width=width, align="edge", color=color, label=label)
    axis.set(xlabel="words of a span", ylabel="of all spans (%)", xticks=k)
    axis.legend(frameon=False)
    return figure


@functools.cache
def trained() -> Pretrained:
    """A small BERT on Python's English: about half a minute."""
    settings = BERTSettings(steps=800, evaluations=20)
    return pretrain(BERT, BERT.Data.read(None, settings), settings, seed=0, progress=False)


def training() -> Any:
    """Both held-out losses of a BERT against the step, with what guessing would cost."""
    _, data, history = trained()
    figure, (left, right) = new_figure(columns=2, width=8.4, height=3.2)
    size = data.tokenizer.vocab_size
    stream = data.stream.pieces, data.held_out.pieces
    level = unigram_loss(*(pieces.astype(np.int64) for pieces in stream), size)
    for axis, name, guess, label in (
        (left, "held_out_loss", level, "frequency of tokens"),
        (right, "held_out_next_loss", math.log(2), "a coin"),
    ):
        axis.plot(*history.column(name), color=BLUE, marker="o", markersize=3)
        axis.axhline(guess, color=RED, linestyle="--", linewidth=1)
        axis.annotate(f"{label}: {guess:.2f}", (1, guess), xycoords=("axes fraction", "data"),
                      ha="right", va="bottom", color=RED, fontsize=9)  # fmt: skip
        axis.set(xlabel="step")
    left.set(ylabel="nats per hidden token")
    right.set(ylabel="nats per pair")
    return figure


FIGURES = {
    "08_masks": masks,
    "08_visible": visible,
    "08_lengths": lengths,
    "08_training": training,
}
