"""Figures of lecture 12: views, pairs, the stuck level; edges, mining, characteristic functions."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap

from minissl import figures
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.figures import label_ends, legend, new_figure
from minissl.figures.drawing import WIDE
from minissl.losses.contrastive import chance_level, nt_xent
from minissl.losses.distances import pairwise_distances
from minissl.losses.metric import same_and_different
from minissl.losses.regularizers import sigreg
from minissl.losses.triplets import mine_triplets
from minissl.palette import (
    BLUE,
    GREY,
    GREY_TINT,
    INK,
    OCHRE,
    OCHRE_TINT,
    PAPER,
    RED,
    SOFT_INK,
    look,
)
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.pretrain.run import train
from minissl.training import History
from minissl.vision.augment import digits_augmentation
from minissl.vision.images import load_digits

WIDTH = 5.0  # inches: in a column of 390 pixels the letters stay readable
BATCH = 128


class WrongPartners(SimCLR):
    """A usual mistake: the views come in pairs, but the loss wants all first views on top."""

    def loss(self, batch: Any, generator: np.random.Generator | None = None) -> Tensor:
        embeddings = self.model(batch)
        order = np.arange(len(batch)).reshape(2, -1).T.ravel()  # 0, B, 1, B + 1, ...
        first, second = ops.split(embeddings[order], 2)
        return nt_xent(first, second, self.temperature)


@functools.cache
def trained(
    method: type[SimCLR] = SimCLR, rate: float = 3e-3, steps: int = 150
) -> tuple[SimCLR, History]:
    """SimCLR on the digits for some seconds, seed 0."""
    settings = SimCLRSettings(batch_size=BATCH, steps=steps, learning_rate=rate, evaluations=1)
    model, images = SimCLR.new_model(settings, seed=0), load_digits().train_images
    run = method(model, images, digits_augmentation(), batch_size=BATCH)
    return run, train(run, settings, progress=False)


def views() -> Any:
    """Ten digits and two random views of each."""
    images, generator = load_digits().train_images[:10], np.random.default_rng(0)
    augment = digits_augmentation()
    return figures.views(images, augment(images, generator), augment(images, generator))


def pairs() -> Any:
    """Which entries of the similarity matrix the two losses use, for a batch of 4."""
    batch = 4
    left_out, negative, positive = range(3)
    colors = ListedColormap([PAPER, GREY_TINT, BLUE])
    one_way = np.full((batch, batch), negative)
    one_way[np.arange(batch), np.arange(batch)] = positive
    both = np.full((2 * batch, 2 * batch), negative)
    rows = np.arange(2 * batch)
    both[rows, rows] = left_out
    both[rows, (rows + batch) % (2 * batch)] = positive

    figure, axes = new_figure(columns=2, width=5.6, height=3.1)
    first, second = [f"a{i}" for i in range(batch)], [f"b{i}" for i in range(batch)]
    shown = (
        (one_way, first, second, "simclr_cs229, info_nce"),
        (both, first + second, first + second, "nt_xent"),
    )
    for axis, (picture, left, top, title) in zip(axes, shown):
        axis.pcolormesh(picture, cmap=colors, vmin=0, vmax=2, edgecolor=PAPER, linewidth=2)
        axis.set(aspect="equal")
        axis.invert_yaxis()
        axis.spines[:].set_visible(False)
        axis.set_xticks(np.arange(len(top)) + 0.5, top)
        axis.set_yticks(np.arange(len(left)) + 0.5, left)
        axis.xaxis.tick_top()
        axis.set_title(title, pad=12)
        axis.tick_params(length=0)
        if len(top) > batch:
            axis.plot(rows + 0.5, rows + 0.5, linestyle="", marker="x", color=GREY)
    return figure


def temperature() -> Any:
    """What share of the pull of one view each candidate gets, by its cosine."""
    cosine = np.linspace(-1, 1, 41)
    figure, (axis,) = new_figure(width=WIDTH, height=3)
    for tau, color in ((0.1, RED), (0.5, BLUE), (1.0, OCHRE), (5.0, GREY)):
        weight = np.exp(cosine / tau - 1 / tau)
        axis.plot(cosine, weight / weight.sum(), **look(color), label=f"temperature {tau}")
    axis.set(xlabel="cosine of a negative", ylabel="share of the push")
    label_ends(axis)
    return figure


def similarity() -> Any:
    """Cosines of the views of two images of each digit, before and after training."""
    digits = load_digits()
    generator, augment = np.random.default_rng(1), digits_augmentation()
    chosen = np.concatenate([np.flatnonzero(digits.test_labels == c)[:1] for c in range(8)])
    images = digits.test_images[chosen]
    seen = np.concatenate([augment(images, generator), augment(images, generator)])
    untrained = SimCLR.new_model(SimCLRSettings(), seed=0)

    figure, axes = new_figure(rows=2, width=4.4, height=6.8)
    for axis, model, title in zip(
        axes, (untrained, trained()[0].model), ("untrained", "after 150 steps")
    ):
        z = model(seen).numpy()
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        drawn = axis.imshow(z @ z.T, cmap="RdBu", vmin=-1, vmax=1)
        axis.set_title(title)
        names = [f"{c}" for c in range(8)] * 2
        axis.set_xticks(range(16), names, fontsize=8)
        axis.set_yticks(range(16), names, fontsize=8)
    figure.colorbar(drawn, ax=list(axes), label="cosine", shrink=0.8)
    return figure


def stuck() -> Any:
    """The loss of a healthy run, of one with far too high a rate, and of one that is stuck."""
    level = chance_level("nt_xent", BATCH)
    runs = {
        "healthy": (trained()[1], BLUE),
        "learning rate 1.0": (trained(SimCLR, 1.0)[1], OCHRE),
        "partners in the wrong order": (trained(WrongPartners)[1], RED),
    }
    figure, (axis,) = new_figure(width=WIDTH, height=3.4)
    axis.axhline(level, color=GREY, linewidth=0.8)
    axis.annotate(f"ln(2 · {BATCH} − 1) = {level:.3f}", (1, level), ha="right", va="bottom",
                  xycoords=("axes fraction", "data"), color=SOFT_INK)  # fmt: skip
    for name, (history, color) in runs.items():
        axis.plot(*history.column("loss"), **look(color), linewidth=1.2, label=name)
    axis.set(xlabel="step", ylabel="NT-Xent (nats)", ylim=(3.5, 6.2))
    legend(axis, loc="lower left")
    return figure


LABELS = np.array([0, 0, 1, 2, 1, 1, 2, 0])


def edges() -> Any:
    """Which pairs of one batch of eight the metric losses use, by the masks that they use."""
    generator = np.random.default_rng(3)
    angle = np.linspace(0, 2 * np.pi, len(LABELS), endpoint=False)
    places = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    same, different = same_and_different(LABELS)
    figure, axes = new_figure(rows=3, width=3.4, height=8.4)

    first, second = np.arange(0, 8, 2), np.arange(1, 8, 2)
    _edges(axes[0], places, [(i, j) for i, j in zip(first, second) if same[i, j]], "pulled")
    _edges(axes[0], places, [(i, j) for i, j in zip(first, second) if different[i, j]], "pushed")
    axes[0].set_title("pairs: each example once")

    noisy = places + 0.1 * generator.standard_normal(places.shape)
    hard = mine_triplets(pairwise_distances(noisy).array, LABELS, "hard")
    chosen = [0, 2, 3]  # of eight anchors: with all of them nothing could be told apart
    _edges(axes[1], places, [(hard.anchor[i], hard.positive[i]) for i in chosen], "pulled")
    _edges(axes[1], places, [(hard.anchor[i], hard.negative[i]) for i in chosen], "pushed")
    axes[1].set_title("triplets: three of the anchors")

    i, j = np.argwhere(np.triu(same))[0]
    _edges(axes[2], places, [(i, j)], "pulled")
    ends = [(end, other) for end in (i, j) for other in np.flatnonzero(different[end])]
    _edges(axes[2], places, ends, "pushed")
    axes[2].set_title("lifted: one of the positive pairs")
    return figure


def _edges(axis: Any, places: Any, pairs: Any, kind: str) -> None:
    """Lines between examples, and the examples above them, a colour for each label."""
    color, style = {"pulled": (BLUE, "-"), "pushed": (RED, "--")}[kind]
    for i, j in pairs:
        axis.plot(*places[[i, j]].T, color=color, linestyle=style, linewidth=1.6, zorder=1)
    for label, fill in enumerate((INK, PAPER, OCHRE_TINT)):
        there = places[label == LABELS]
        axis.scatter(*there.T, s=260, color=fill, edgecolor=INK, zorder=2)
    for number, (x, y) in enumerate(places):
        dark = LABELS[number] == 0
        axis.annotate(
            str(number), (x, y), ha="center", va="center", color=PAPER if dark else INK,
            fontsize=9, zorder=3,
        )  # fmt: skip
    axis.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal")
    axis.axis("off")


def mining() -> Any:
    """The distances of negatives from an anchor: hard, semi-hard, and done."""
    positive, margin = 0.5, 0.2
    figure, (axis,) = new_figure(width=WIDTH, height=2.6)
    away = np.linspace(0, 1.2, 121)
    axis.plot(away, np.maximum(0, positive - away + margin), color=INK, linewidth=1.6)
    zones = ((0, positive, RED, "hard"), (positive, positive + margin, OCHRE, "semi-hard"),
             (positive + margin, 1.2, GREY, "no loss"))  # fmt: skip
    for low, high, color, name in zones:
        axis.axvspan(low, high, color=color, alpha=0.16, linewidth=0)
        axis.annotate(name, ((low + high) / 2, 0.66), ha="center", va="top")
    axis.axvline(positive, color=BLUE, linewidth=1.4)
    axis.annotate("the positive", (positive, 0.42), xytext=(4, 0), textcoords="offset points",
                  color=BLUE, va="center")  # fmt: skip
    axis.set(xlabel="distance of the negative from the anchor", ylabel="triplet loss",
             xlim=(0, 1.2), ylim=(0, 0.7))  # fmt: skip
    return figure


def characteristic() -> Any:
    """Characteristic functions of three batches of numbers beside the Gaussian's."""
    generator, t = np.random.default_rng(0), np.linspace(0, 5, 101)
    batches = {
        "256 normal numbers": (generator.standard_normal(256), BLUE),
        "half at −1, half at 1": (np.repeat([-1.0, 1.0], 128), OCHRE),
        "collapsed at 0": (np.zeros(256), RED),
    }
    figure, (axis,) = new_figure(width=WIDTH, height=3.6)
    axis.plot(t, np.exp(-t * t / 2), color=INK, linewidth=3, alpha=0.35, label="Gaussian")
    for name, (x, color) in batches.items():
        statistic = sigreg(x[:, None], np.ones((1, 1))).item()
        real = np.cos(t[:, None] * x).mean(axis=1)
        axis.plot(t, real, **look(color), label=f"{name}: T = {statistic:.1f}")
    axis.set(xlabel="t", ylabel="mean of cos t x")
    figure.legend(loc="outside lower center", frameon=False, ncols=2, fontsize=8, handlelength=WIDE)
    return figure


FIGURES: dict[str, Callable[[], Any]] = {
    "12_views": views,
    "12_pairs": pairs,
    "12_temperature": temperature,
    "12_similarity": similarity,
    "12_stuck": stuck,
    "12_edges": edges,
    "12_mining": mining,
    "12_characteristic": characteristic,
}
