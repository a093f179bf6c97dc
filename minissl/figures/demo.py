"""The figures of the demo; notebooks and claims draw some of them too."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minissl.figures.drawing import label_ends, new_figure
from minissl.figures.projections import principal_components
from minissl.palette import BLUE, GREY, LINE, OCHRE, PAPER, RED, SOFT_INK, look, style

PHONE = 5.2  # inches: on 390 pixels a letter of 9 points is nine pixels high
COLORS = {
    "raw pixels": GREY,
    "random network": OCHRE,
    "supervised from scratch": RED,
    "SimCLR, no labels": BLUE,
}


def language_loss(
    steps: np.ndarray,
    losses: np.ndarray,
    held_out: Sequence[tuple[int, float]],
    levels: Mapping[str, float],
) -> Any:
    """Training and held-out loss in nats per token against the step, with horizontal ``levels``."""
    figure, (axis,) = new_figure(width=PHONE, height=3.6)
    axis.plot(steps, losses, color=GREY, linewidth=0.8, label="GPT, training batch")
    axis.plot(*zip(*held_out), **look(BLUE, marker=True), label="GPT, held-out text")
    for (name, level), line in zip(levels.items(), ((0, (1, 2)), "--", "-.")):
        axis.axhline(level, color=RED, linestyle=line, linewidth=1, label=f"{name} {level:.2f}")
    axis.set(xlabel="step", ylabel="loss (nats per token)")
    label_ends(axis, letters=13)
    return figure


def bits_per_byte(values: Mapping[str, float], best: str) -> Any:
    """Horizontal bars, the shorter the better; ``best`` in color."""
    figure, (axis,) = new_figure(width=PHONE, height=0.42 * len(values) + 0.7)
    names = sorted(values, key=lambda name: -values[name])
    colors = [BLUE if name == best else GREY for name in names]
    bars = axis.barh(names, [values[name] for name in names], color=colors)
    axis.bar_label(bars, fmt="%.2f", padding=3)
    axis.set(xlabel="bits per byte of held-out text (shorter is better)")
    axis.margins(x=0.1)
    return figure


def accuracy_against_labels(
    labels: Sequence[int], curves: Mapping[str, Any], width: float = PHONE, title: str = ""
) -> Any:
    """Test accuracy against labels per class; each curve (draws, len(labels)), with its spread."""
    figure, (axis,) = new_figure(width=width, height=3.8)
    for place, (name, draws) in enumerate(curves.items()):
        accuracy = 100 * np.asarray(draws)
        mean, spread = accuracy.mean(axis=0), accuracy.std(axis=0)
        form = look(COLORS[name], True) if name in COLORS else style(place, True)
        axis.plot(labels, mean, **form, label=name)
        low, high = mean - spread, mean + spread
        axis.fill_between(labels, low, high, color=form["color"], alpha=0.15, linewidth=0)
    axis.set(xscale="log", xlabel="labels per class", ylabel="test accuracy (%)")
    axis.set_xticks(labels, [str(n) for n in labels])
    axis.minorticks_off()
    axis.grid(axis="y", color=LINE)
    axis.set_title(textwrap.fill(title, 40), loc="left", fontsize=11, weight="bold")
    label_ends(axis)
    return figure


def embeddings(panels: Mapping[str, np.ndarray], classes: np.ndarray) -> Any:
    """The first two principal components of each set of vectors, a color and a marker per class."""
    figure, axes = new_figure(columns=len(panels), width=6.6, height=2.5)
    for axis, (name, vectors) in zip(axes, panels.items()):
        points = principal_components(vectors)
        for label in np.unique(classes):
            chosen = points[classes == label]
            form = style(int(label) % 36, marker=True)
            axis.scatter(
                *chosen.T, s=4, color=form["color"], marker=form["marker"], linewidths=0, alpha=0.7
            )
            paper = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
            axis.annotate(
                str(label), np.median(chosen, axis=0), weight="bold", fontsize=9, ha="center",
                va="center", bbox=paper,
            )  # fmt: skip
        axis.set(xticks=[], yticks=[])
        axis.set_title(name, fontsize=10)
        axis.spines[:].set_visible(False)
    return figure


def collapse(spreads: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Any:
    """How far apart the embeddings stay: (steps, spread) with and without negatives."""
    figure, (axis,) = new_figure(width=PHONE, height=3)
    for (name, (steps, values)), color in zip(spreads.items(), (BLUE, RED)):
        axis.plot(steps, values, **look(color, marker=True), label=name)
    axis.set(xlabel="step", ylabel="spread (z-std · √d)", ylim=(-0.03, 1.1))
    axis.axhline(0, color=SOFT_INK, linewidth=0.8)
    label_ends(axis)
    return figure


def telling_head(weights: np.ndarray) -> int:
    """Which head to show large: the one furthest from looking everywhere, and only at itself.

    weights (heads, time, time). Each row's distance (half the sum of differences, 0 to 1) to equal
    weights over what the row may look at, and to the diagonal: the smaller of the two, its mean
    over the rows that have a choice. The first of equal heads.
    """
    time = weights.shape[-1]
    may = (weights > 0).any(axis=0)  # (time, time)
    equal = may / np.maximum(may.sum(axis=-1, keepdims=True), 1)
    distances = [
        np.abs(weights - other).sum(axis=-1) / 2 for other in (equal, np.eye(time))
    ]  # (heads, time) each
    chosen = may.sum(axis=-1) > 1
    if not chosen.any():
        return 0
    return int(np.minimum(*distances)[:, chosen].mean(axis=-1).argmax())


def attention_map(weights: np.ndarray, tokens: Sequence[str]) -> Any:
    """The most telling head large, the others small: weights (heads, time, time).

    Rows look, columns are looked at; the darker, the more. See ``telling_head``.
    """
    from matplotlib.figure import Figure

    large, others = telling_head(weights), len(weights) - 1
    figure = Figure(figsize=(PHONE, PHONE + 1.35 * bool(others)), layout="constrained")
    parts: Any = figure.subfigures(
        2 if others else 1, 1, height_ratios=[PHONE, 1.35][: 1 + bool(others)]
    )
    above, below = parts if others else (parts, None)
    axis = above.subplots()
    axis.imshow(weights[large], cmap="Blues", vmin=0)
    axis.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=9)
    axis.set_yticks(range(len(tokens)), tokens, fontsize=9)
    axis.set_title(f"head {large}", fontsize=10)
    axis.spines[:].set_visible(False)
    if below is not None:
        small = [head for head in range(len(weights)) if head != large]
        for head, axis in zip(small, below.subplots(1, others, squeeze=False).ravel()):
            axis.imshow(weights[head], cmap="Blues", vmin=0)
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"head {head}", fontsize=9)
            axis.spines[:].set_visible(False)
    return figure


def views(images: np.ndarray, first: np.ndarray, second: np.ndarray) -> Any:
    """Originals above their two augmented views: three arrays (count, height, width, 1)."""
    figure, (axis,) = new_figure(height=2.6)
    rows = [
        np.concatenate(
            list(np.pad(row[..., 0], ((0, 0), (1, 1), (1, 1)), constant_values=0.5)), axis=1
        )
        for row in (images, first, second)
    ]
    axis.imshow(np.concatenate(rows), cmap="gray_r", vmin=0, vmax=1)
    side = rows[0].shape[0]
    axis.set_yticks([side * (i + 0.5) for i in range(3)], ["image", "view 1", "view 2"])
    axis.set_xticks([])
    axis.spines[:].set_visible(False)
    return figure
