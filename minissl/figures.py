"""Figures of the demo, the claims, the lectures: plain numbers in, a matplotlib figure out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COLORS = {
    "raw pixels": "#8a8f98",
    "random network": "#c9a227",
    "supervised from scratch": "#c2452d",
    "SimCLR, no labels": "#0b6bcb",
}


def new_figure(
    columns: int = 1, width: float = 7.2, height: float = 3.6, rows: int = 1
) -> tuple[Any, Any]:
    """A figure (inches) and its axes, row after row, without matplotlib's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def language_loss(
    steps: np.ndarray,
    losses: np.ndarray,
    held_out: Sequence[tuple[int, float]],
    levels: Mapping[str, float],
) -> Any:
    """Training and held-out loss in nats per token against the step, with horizontal ``levels``."""
    figure, (axis,) = new_figure()
    axis.plot(steps, losses, color="#9fc5ee", linewidth=1, label="GPT, training batch")
    axis.plot(
        *zip(*held_out), color="#0b6bcb", marker="o", markersize=4, label="GPT, held-out text"
    )
    for (name, level), style in zip(levels.items(), ((0, (1, 2)), "--", "-.")):
        axis.axhline(level, color="#c2452d", linestyle=style, linewidth=1)
        axis.annotate(
            f"{name} {level:.2f}",
            (1, level),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=9,
            color="#c2452d",
        )
    axis.set(xlabel="step", ylabel="loss (nats per token)")
    axis.legend(frameon=False, loc="center right")
    return figure


def bits_per_byte(values: Mapping[str, float], best: str) -> Any:
    """Horizontal bars, the shorter the better; ``best`` in color."""
    figure, (axis,) = new_figure(height=0.42 * len(values) + 0.7)
    names = sorted(values, key=lambda name: -values[name])
    colors = ["#0b6bcb" if name == best else "#b6bcc5" for name in names]
    bars = axis.barh(names, [values[name] for name in names], color=colors)
    axis.bar_label(bars, fmt="%.2f", padding=3)
    axis.set(xlabel="bits per byte of held-out text (shorter is better)")
    return figure


def accuracy_against_labels(
    labels: Sequence[int], curves: Mapping[str, Any], width: float = 7.2
) -> Any:
    """Test accuracy against labels per class; each curve (draws, len(labels)), with its spread."""
    figure, (axis,) = new_figure(width=width, height=4)
    for name, draws in curves.items():
        accuracy = 100 * np.asarray(draws)
        mean, spread = accuracy.mean(axis=0), accuracy.std(axis=0)
        color = COLORS.get(name)
        axis.plot(labels, mean, marker="o", color=color, label=name)
        axis.fill_between(
            labels, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0
        )
    axis.set(xscale="log", xlabel="labels per class", ylabel="test accuracy (%)")
    axis.set_xticks(labels, [str(n) for n in labels])
    axis.minorticks_off()
    axis.legend(frameon=False, loc="lower right")
    axis.grid(axis="y", color="#eee")
    return figure


def embeddings(panels: Mapping[str, np.ndarray], classes: np.ndarray) -> Any:
    """The first two principal components of each set of vectors, colored by class."""
    from matplotlib import colormaps

    figure, axes = new_figure(columns=len(panels), width=9, height=3.3)
    for axis, (name, vectors) in zip(axes, panels.items()):
        points = principal_components(vectors)
        for label in np.unique(classes):
            chosen = points[classes == label]
            color = colormaps["tab10"](int(label) % 10)
            axis.scatter(*chosen.T, s=5, color=color, linewidths=0)
            axis.annotate(
                str(label), np.median(chosen, axis=0), weight="bold", ha="center", va="center"
            )
        axis.set(title=name, xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure


def principal_components(vectors: np.ndarray, count: int = 2) -> np.ndarray:
    """Coordinates along the directions of largest variance: (examples, count)."""
    centered = vectors - vectors.mean(axis=0)
    left, scales, _ = np.linalg.svd(centered, full_matrices=False)
    return left[:, :count] * scales[:count]


def collapse(spreads: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Any:
    """How far apart the embeddings stay: (steps, spread) with and without negatives."""
    figure, (axis,) = new_figure(height=3)
    for (name, (steps, values)), color in zip(spreads.items(), ("#0b6bcb", "#c2452d")):
        axis.plot(steps, values, color=color, marker="o", markersize=3, label=name)
    axis.set(xlabel="step", ylabel="spread (z-std · √d)", ylim=(-0.03, 1.1))
    axis.axhline(0, color="#888", linewidth=0.8)
    axis.legend(frameon=False, loc="center right")
    return figure


def attention_map(weights: np.ndarray, tokens: Sequence[str]) -> Any:
    """One panel per head: weights (heads, time, time), rows look, columns are looked at."""
    figure, axes = new_figure(columns=len(weights), width=11, height=3.6)
    for head, (axis, matrix) in enumerate(zip(axes, weights)):
        axis.imshow(matrix, cmap="Blues", vmin=0)
        axis.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=6)
        axis.set_yticks(range(len(tokens)), tokens if head == 0 else [], fontsize=6)
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
