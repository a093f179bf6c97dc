"""Figures of lecture 08: what is hidden, what a visible word is worth, lengths, a training."""

import functools
import math
from typing import Any

import numpy as np

from minissl.figures import legend, new_figure
from minissl.palette import BLUE, GREY, GREY_TINT, INK, OCHRE, PAPER, RED, SOFT_INK
from minissl.pretrain.masked.bert import BERT, BERTSettings
from minissl.pretrain.run import Pretrained, pretrain
from minissl.text.baselines import unigram_loss
from minissl.text.masking import KINDS, LONGEST_SPAN, SPAN, choose

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
    figure, axes = new_figure(rows=2, width=5.8, height=2.9)
    half = PIECES.index("was")
    widths = [
        _hidden(axis, PIECES[part], begins[0, part], [row[part] for row in rows])
        for axis, part in zip(axes, (slice(None, half), slice(half, None)))
    ]
    for axis in axes:
        axis.set_xlim(-0.1, max(widths))
    return figure


def _hidden(axis: Any, pieces: list[str], begins: Any, rows: list[Any]) -> float:
    """A row for each way to hide, a box for each piece; those of a word stand closer."""
    place = 0.0
    for i, piece in enumerate(pieces):
        size = 0.36 + 0.165 * len(piece)
        for y, hidden in enumerate(rows):
            axis.barh(-y, size, left=place, height=0.72, color=BLUE if hidden[i] else GREY_TINT)
            axis.text(place + size / 2, -y, "?" if hidden[i] else piece, ha="center", va="center",
                      fontsize=8, color=PAPER if hidden[i] else INK)  # fmt: skip
        goes_on = i + 1 < len(pieces) and not begins[i + 1]
        place += size + (0.03 if goes_on else 0.14)
    axis.set_yticks([0, -1, -2], KINDS)
    axis.set(xticks=[])
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    return place


def visible() -> Any:
    """The shares of all tokens; how sure a model may be that a visible word is the right one."""
    figure, (left, right) = new_figure(rows=2, width=5.6, height=5.2)
    shares = {"visible, not asked for": 85, "[MASK]": 12, "another word": 1.5, "kept": 1.5}
    bars = left.barh(list(shares), list(shares.values()), color=[GREY, BLUE, RED, OCHRE])
    left.bar_label(bars, fmt="%g %%", padding=3)
    left.set(xlabel="of 100 tokens", xlim=(0, 104))
    left.invert_yaxis()
    p = np.logspace(-8, 0, 200)
    right.plot(p, p / (p + 1 / V), color=BLUE)
    right.axvline(1 / V, color=GREY, linestyle="--", linewidth=1)
    right.annotate("1 / V", (1 / V, 0.02), (4, 0), textcoords="offset points", color=SOFT_INK)
    right.set(xscale="log", ylim=(0, 1.03), xlabel="p(word | context)",
              ylabel="p(it is the right one)")  # fmt: skip
    return figure


def lengths() -> Any:
    """The distribution of the lengths of spans, with its mean, beside single words."""
    figure, (axis,) = new_figure(width=5.2, height=2.8)
    k = np.arange(1, LONGEST_SPAN + 1)
    for p, color, width, hatch in ((SPAN, BLUE, -0.4, ""), (0.3, OCHRE, 0.4, "///")):
        weights = p * (1 - p) ** (k - 1)
        weights /= weights.sum()
        label = f"p = {p:g}: mean {np.sum(k * weights):.2f} words"
        axis.bar(k, 100 * weights, width=width, align="edge", facecolor=color, edgecolor=PAPER,
                 linewidth=0, hatch=hatch, label=label)  # fmt: skip
    axis.set(xlabel="words of a span", ylabel="of all spans (%)", xticks=k)
    legend(axis)
    return figure


@functools.cache
def trained() -> Pretrained:
    """A small BERT on Python's English: about half a minute."""
    settings = BERTSettings(steps=800, evaluations=20)
    return pretrain(BERT, BERT.Data.read(None, settings), settings, seed=0, progress=False)


def training() -> Any:
    """Both held-out losses of a BERT against the step, with what guessing would cost."""
    _, data, history = trained()
    figure, (left, right) = new_figure(rows=2, width=5.6, height=5.2)
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
