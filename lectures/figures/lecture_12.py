"""Figures of lecture 12: views, pairs, temperature, the similarity matrix, the stuck level."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minissl import figures
from minissl.autograd import operations as ops
from minissl.autograd.tensor import Tensor
from minissl.figures import new_figure
from minissl.losses.contrastive import chance_level, nt_xent
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.pretrain.run import train
from minissl.training import History
from minissl.vision.augment import digits_augmentation
from minissl.vision.images import load_digits

BLUE, RED, OCHRE, GREY = "#0b6bcb", "#c2452d", "#c9a227", "#8a8f98"
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
    colors = {"positive": (0.04, 0.42, 0.80), "negative": (0.85, 0.87, 0.90), "left out": (1, 1, 1)}
    one_way = np.full((batch, batch, 3), colors["negative"])
    one_way[np.arange(batch), np.arange(batch)] = colors["positive"]
    both = np.full((2 * batch, 2 * batch, 3), colors["negative"])
    rows = np.arange(2 * batch)
    both[rows, rows] = colors["left out"]
    both[rows, (rows + batch) % (2 * batch)] = colors["positive"]

    figure, axes = new_figure(columns=2, width=5.6, height=3.1)
    first, second = [f"a{i}" for i in range(batch)], [f"b{i}" for i in range(batch)]
    shown = (
        (one_way, first, second, "simclr_cs229, info_nce"),
        (both, first + second, first + second, "nt_xent"),
    )
    for axis, (picture, left, top, title) in zip(axes, shown):
        axis.imshow(picture)
        axis.set_xticks(range(len(top)), top)
        axis.set_yticks(range(len(left)), left)
        axis.xaxis.tick_top()
        axis.set_title(title, pad=12)
        axis.set_xticks(np.arange(len(top)) - 0.5, minor=True)
        axis.set_yticks(np.arange(len(left)) - 0.5, minor=True)
        axis.grid(which="minor", color="white", linewidth=2)
        axis.tick_params(length=0, which="both")
        if len(top) > batch:
            axis.plot(rows, rows, linestyle="", marker="x", color=GREY)
    return figure


def temperature() -> Any:
    """What share of the pull of one view each candidate gets, by its cosine."""
    cosine = np.linspace(-1, 1, 41)
    figure, (axis,) = new_figure(width=WIDTH, height=3)
    for tau, color in ((0.1, RED), (0.5, BLUE), (1.0, OCHRE), (5.0, GREY)):
        weight = np.exp(cosine / tau - 1 / tau)
        axis.plot(cosine, weight / weight.sum(), color=color, label=f"temperature {tau}")
    axis.set(xlabel="cosine of a negative", ylabel="share of the push")
    axis.legend(frameon=False)
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
    axis.axhline(level, color=GREY, linestyle="--", linewidth=1)
    axis.annotate(f"ln(2 · {BATCH} − 1) = {level:.3f}", (1, level), ha="right", va="bottom",
                  xycoords=("axes fraction", "data"), color=GREY)  # fmt: skip
    for name, (history, color) in runs.items():
        axis.plot(*history.column("loss"), color=color, linewidth=1.4, label=name)
    axis.set(xlabel="step", ylabel="NT-Xent (nats)", ylim=(3.5, 6.2))
    axis.legend(frameon=False, loc="lower left")
    return figure


FIGURES: dict[str, Callable[[], Any]] = {
    "12_views": views,
    "12_pairs": pairs,
    "12_temperature": temperature,
    "12_similarity": similarity,
    "12_stuck": stuck,
}
