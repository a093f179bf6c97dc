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


# ---- what representations are worth --------------------------------------------------------------

ROWS = ("#8a8f98", "#c9a227", "#0b6bcb", "#c2452d", "#3a9d5d")  # raw, untrained, pretrained, ...
MOST_POINTS = 600  # drawn of a set of embeddings
MOST_NAMES = 20  # classes with a colour of their own


def evaluation(
    few: Mapping[str, Mapping[int, np.ndarray]],
    rocs: Mapping[str, tuple[np.ndarray, np.ndarray]],
    features: Mapping[str, np.ndarray],
    classes: np.ndarray,
    class_names: Sequence[str],
    projection: str = "pca",
) -> Any:
    """Few-label curves, ROC curves and spectra above the embeddings, one colour for each row.

    few: accuracies (draws,) by the number of labels; rocs: shares of false and of true accepts;
    features (examples, width); classes (examples,) numbers of the names, without names all alike.
    What is empty is left out.
    """
    from matplotlib.figure import Figure

    all_panels: list[tuple[Any, Any]] = [
        (_few_labels, {name: curve for name, curve in few.items() if curve}),
        (_roc_curves, rocs),
        (_spectra, {name: one for name, one in features.items() if len(one) > 2}),
    ]
    above = [(draw, content) for draw, content in all_panels if content]
    columns = max(len(features), 1)
    figure = Figure(figsize=(max(10.0, 3.3 * columns), 7.2), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.05))
    top, below = parts
    colors = dict(zip(dict.fromkeys((*features, *few, *rocs)), ROWS))
    for number, ((draw, content), axis) in enumerate(zip(above, _axes(top, len(above)))):
        draw(axis, content, colors)
        axis.spines[["top", "right"]].set_visible(False)
        if number == 0 and colors:
            axis.legend(frameon=False, fontsize=8)  # the colours are those of all panels
    if features:
        _embeddings(below, features, classes, class_names, projection)
    return figure


def _axes(figure: Any, columns: int) -> Any:
    return figure.subplots(1, max(columns, 1), squeeze=False).ravel()


def _few_labels(axis: Any, few: Mapping[str, Mapping[int, np.ndarray]], colors: Any) -> None:
    labels = sorted({count for curve in few.values() for count in curve})
    for name, curve in few.items():
        counts = sorted(curve)
        mean = [100 * np.mean(curve[count]) for count in counts]
        spread = [100 * np.std(curve[count]) for count in counts]
        low, high = np.subtract(mean, spread), np.add(mean, spread)
        axis.plot(counts, mean, marker="o", markersize=4, color=colors[name], label=name)
        axis.fill_between(counts, low, high, color=colors[name], alpha=0.15, linewidth=0)
    axis.set(xscale="log", xlabel="labels per class", ylabel="test accuracy (%)")
    axis.set_xticks(labels, [str(n) for n in labels])
    axis.minorticks_off()
    axis.grid(axis="y", color="#eee")


def _roc_curves(axis: Any, rocs: Mapping[str, tuple[np.ndarray, np.ndarray]], colors: Any) -> None:
    """The false accepts on a logarithmic axis: the left end is what a lock is judged by."""
    least = 1.0
    for name, (false, true) in rocs.items():
        keep = np.unique(np.linspace(0, len(false) - 1, 2000).astype(int))  # all points: megabytes
        shown = keep[false[keep] > 0]
        least = min(least, false[false > 0].min())
        axis.plot(100 * false[shown], 100 * true[shown], color=colors[name], label=name)
    least = min(max(least, 1e-4), 0.1)
    errors = np.geomspace(least, 1, 100)
    axis.plot(100 * errors, 100 * errors, color="#bbb", linewidth=0.8, linestyle=":")
    axis.plot(100 * errors, 100 * (1 - errors), color="#bbb", linewidth=0.8, linestyle="--")
    axis.annotate("equal errors", (100 * errors[30], 99), (0, -3), textcoords="offset points",
                  fontsize=8, color="#888", ha="center", va="top")  # fmt: skip
    axis.annotate("chance", (100, 40), (-14, 0), textcoords="offset points", fontsize=8,
                  color="#888", ha="right")  # fmt: skip
    axis.set(xscale="log", xlim=(100 * least, 100), ylim=(0, 101))
    axis.set(xlabel="different pairs accepted (%)", ylabel="same pairs accepted (%)")
    axis.xaxis.set_major_formatter("{x:g}")


def _spectra(axis: Any, features: Mapping[str, np.ndarray], colors: Any) -> None:
    """The share of the variance along each direction, the largest first."""
    for name, vectors in features.items():
        centred = vectors - vectors.mean(axis=0)
        variances = np.linalg.svd(centred, compute_uv=False) ** 2
        variances = variances[variances > 1e-12 * max(variances.max(initial=0), 1e-300)]
        if len(variances):
            shares = 100 * variances / variances.sum()
            axis.plot(np.arange(1, len(shares) + 1), shares, color=colors[name], label=name)
    axis.set(xscale="log", yscale="log", xlabel="direction", ylabel="share of the variance (%)")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter("{x:g}")
        if np.diff(np.log10(side.get_view_interval())) > 1:  # else there is no other tick
            side.set_minor_formatter("")
        else:
            side.set_minor_formatter("{x:g}")


def _embeddings(
    figure: Any,
    features: Mapping[str, np.ndarray],
    classes: np.ndarray,
    names: Sequence[str],
    projection: str,
) -> None:
    """Points in two dimensions, a colour for each of the most frequent classes, one legend."""
    from matplotlib import colormaps

    numbers, counts = np.unique(classes, return_counts=True)
    shown = np.sort(numbers[np.argsort(-counts, kind="stable")[:MOST_NAMES]])
    palette = colormaps["tab10" if len(shown) <= 10 else "tab20"]
    axes = _axes(figure, len(features))
    for axis, (name, vectors) in zip(axes, features.items()):
        points = tsne(vectors) if projection == "tsne" else principal_components(vectors)
        points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))  # of one number for each
        others = ~np.isin(classes, shown)
        axis.scatter(*points[others].T, s=8, color="#ddd", linewidths=0, rasterized=True)
        for place, number in enumerate(shown):
            style = {"color": palette(place), "s": 8, "linewidths": 0, "rasterized": True}
            label = plain_text(names[number]) if names else None
            axis.scatter(*points[classes == number].T, label=label, **style)
        axis.set(title=name, xticks=[], yticks=[])
        axis.title.set_fontsize(10)
        axis.spines[:].set_color("#ddd")
    if names:
        more = f"{len(numbers) - len(shown)} more in grey" if len(numbers) > len(shown) else None
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False,
            fontsize=8, markerscale=2, title=more, title_fontsize=8,
            ncols=1 if len(shown) <= 12 else 2,
        )  # fmt: skip


def tsne(vectors: np.ndarray) -> np.ndarray:
    """scikit-learn's t-SNE (van der Maaten and Hinton 2008): (examples, 2), always the same."""
    from sklearn.manifold import TSNE

    if len(vectors) < 4:
        return principal_components(vectors)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    points: np.ndarray = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(
        vectors
    )
    return points


def curves(columns: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Any:
    """A run on its way: (steps, values) by name, what has one unit in one panel.

    The losses, the accuracies (0 to 1, shown in percent), the ranks; each other one for itself.
    """
    ends = {"loss": "loss", "accuracy": "accuracy (%)", "rank": "effective rank"}
    panels: dict[str, list[str]] = {}
    for name in columns:
        end = next((title for word, title in ends.items() if name.endswith(word)), None)
        panels.setdefault(end or name.replace("_", " "), []).append(name)
    order = [title for title in dict.fromkeys((*ends.values(), *panels)) if title in panels]
    width = min(len(order), 3)
    rows = -(-len(order) // width)
    figure, axes = new_figure(columns=width, width=3.6 * width, height=2.8 * rows, rows=rows)
    for axis, title in zip(axes, order):
        for name, color in zip(panels[title], (*ROWS[2:], *ROWS[:2])):
            steps, values = columns[name]
            scale = 100 if title == ends["accuracy"] else 1
            few = {"marker": "o", "markersize": 3} if len(steps) < 60 else {"linewidth": 0.8}
            label = name.replace("_", " ")
            axis.plot(steps, scale * values, color=color, label=label, **few)
        axis.set(xlabel="step", ylabel=title)
        if len(panels[title]) > 1 or title in ends.values():
            axis.legend(frameon=False, fontsize=7)
    for axis in axes[len(order) :]:
        axis.set_axis_off()
    return figure


def contact_sheet(
    images: np.ndarray, names: Sequence[str], nearest: np.ndarray, cosines: np.ndarray,
    classes: np.ndarray | None = None,
) -> Any:  # fmt: skip
    """A row for each query, at the left, with its nearest images, the nearest first.

    images (count, height, width, channels); nearest (queries, 1 + neighbours) numbers of images,
    the query first, and cosines alike. classes: a frame is blue where it is that of the query.
    """
    from matplotlib.figure import Figure

    rows, columns = nearest.shape
    figure = Figure(figsize=(1.1 * columns + 0.2, 1.3 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for place, (axis, number) in enumerate(zip(axes, nearest.ravel().tolist())):
        query = nearest[place // columns, 0]
        image = np.clip(images[number], 0, 1)
        colors = "gray_r" if image.mean() < 0.5 else "gray"  # strokes dark, as on paper
        shown = image[..., 0] if image.shape[-1] == 1 else image
        axis.imshow(shown, cmap=colors, vmin=0, vmax=1)
        title, color = _shortened(names[number]), "#222"
        if place % columns:
            title = f"{title}\n{cosines.ravel()[place]:.2f}"
            color = "#888"
            if classes is not None:
                color = "#0b6bcb" if classes[number] == classes[query] else "#c2452d"
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set(color=color, linewidth=2)
        axis.set_title(plain_text(title), fontsize=6, color=color, pad=2)
    if classes is not None:
        figure.supxlabel(
            "blue: of the class of the query at the left; red: of another one", fontsize=8
        )
    return figure


def gallery(
    images: np.ndarray, said: Sequence[str], labels: Sequence[str] = (),
    right: np.ndarray | None = None, columns: int = 6,
) -> Any:  # fmt: skip
    """Images with what is said of each; below it the label, where that is another.

    images (count, height, width, channels); right (count,) booleans, None where nobody knows.
    """
    from matplotlib.figure import Figure

    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.2 * columns, 1.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for number, (axis, image) in enumerate(zip(axes, np.clip(images, 0, 1))):
        colors = "gray_r" if image.mean() < 0.5 else "gray"  # strokes dark, as on paper
        axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap=colors, vmin=0, vmax=1)
        wrong = right is not None and not right[number]
        other = f"\nit is {_shortened(labels[number])}" if wrong else ""
        title = f"{_shortened(said[number])}{other}"
        axis.set_title(plain_text(title), fontsize=8, weight="bold" if wrong else "normal")
    return figure


def plain_text(name: str) -> str:
    """A name as matplotlib shows it: a dollar begins no formula, a lone _ hides no entry."""
    return f" {name}".replace("$", r"\$") if name.startswith("_") else name.replace("$", r"\$")


def _shortened(name: str, most: int = 18) -> str:
    """The end of a long name: of a path the file."""
    return name if len(name) <= most else f"…{name[1 - most :]}"
