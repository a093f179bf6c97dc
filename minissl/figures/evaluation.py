"""What representations are worth: few labels, pairs, spectra, and the embeddings themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minissl.figures.drawing import legend, plain_text
from minissl.figures.projections import principal_components, tsne
from minissl.palette import BLUE, GREEN, GREY, LINE, OCHRE, RED, SOFT_INK, look, style

ROWS = (GREY, OCHRE, BLUE, RED, GREEN)  # raw, untrained, pretrained, ...
MOST_POINTS = 600  # drawn of a set of embeddings
MOST_NAMES = 20  # classes with a color and a marker of their own


def evaluation(
    few: Mapping[str, Mapping[int, np.ndarray]],
    rocs: Mapping[str, tuple[np.ndarray, np.ndarray]],
    features: Mapping[str, np.ndarray],
    classes: np.ndarray,
    class_names: Sequence[str],
    projection: str = "pca",
) -> Any:
    """Few-label curves, ROC curves, spectra; the embeddings below. Each row has a color and a line.

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
    wide = 6.4 if columns == 1 and len(above) < 2 else 10.0
    figure = Figure(figsize=(max(wide, 3.3 * columns), 7.2), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.05))
    top, below = parts
    rows = dict.fromkeys((*features, *few, *rocs))
    colors = dict(zip(rows, ROWS if len(rows) > 1 else (BLUE,)))
    for number, ((draw, content), axis) in enumerate(zip(above, _axes(top, len(above)))):
        draw(axis, content, colors)
        axis.spines[["top", "right"]].set_visible(False)
        if number == 0 and colors:
            legend(axis, fontsize=8)  # the colors and lines are those of all panels
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
        axis.plot(counts, mean, **look(colors[name], marker=True), label=name)
        axis.fill_between(counts, low, high, color=colors[name], alpha=0.15, linewidth=0)
    axis.set(xscale="log", xlabel="labels per class", ylabel="test accuracy (%)")
    axis.set_xticks(labels, [str(n) for n in labels])
    axis.minorticks_off()
    axis.grid(axis="y", color=LINE)


def _roc_curves(axis: Any, rocs: Mapping[str, tuple[np.ndarray, np.ndarray]], colors: Any) -> None:
    """The false accepts on a logarithmic axis: the left end is what a lock is judged by."""
    least = 1.0
    for name, (false, true) in rocs.items():
        keep = np.unique(np.linspace(0, len(false) - 1, 2000).astype(int))  # all points: megabytes
        shown = keep[false[keep] > 0]
        least = min(least, false[false > 0].min())
        axis.plot(100 * false[shown], 100 * true[shown], **look(colors[name]), label=name)
    least = min(max(least, 1e-4), 0.1)
    errors = np.geomspace(least, 1, 100)
    axis.plot(100 * errors, 100 * errors, color=SOFT_INK, linewidth=0.8, linestyle=":")
    axis.plot(100 * errors, 100 * (1 - errors), color=SOFT_INK, linewidth=0.8, linestyle="--")
    axis.annotate("equal errors", (100 * errors[30], 99), (0, -3), textcoords="offset points",
                  fontsize=8, color=SOFT_INK, ha="center", va="top")  # fmt: skip
    axis.annotate("chance", (100, 40), (-14, 0), textcoords="offset points", fontsize=8,
                  color=SOFT_INK, ha="right")  # fmt: skip
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
            axis.plot(np.arange(1, len(shares) + 1), shares, **look(colors[name]), label=name)
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
    """Points in two dimensions, a color and a marker for each of the most frequent classes."""
    numbers, counts = np.unique(classes, return_counts=True)
    shown = np.sort(numbers[np.argsort(-counts, kind="stable")[:MOST_NAMES]])
    axes = _axes(figure, len(features))
    for axis, (name, vectors) in zip(axes, features.items()):
        points = tsne(vectors) if projection == "tsne" else principal_components(vectors)
        points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))  # of one number for each
        others = ~np.isin(classes, shown)
        axis.scatter(*points[others].T, s=8, color=LINE, linewidths=0, rasterized=True)
        for place, number in enumerate(shown):
            form = style(place, marker=True)
            form = {"color": form["color"], "marker": form["marker"], "s": 8, "linewidths": 0}
            label = plain_text(names[number]) if names else None
            axis.scatter(*points[classes == number].T, label=label, rasterized=True, **form)
        axis.set(title=name, xticks=[], yticks=[])
        axis.title.set_fontsize(10)
        axis.spines[:].set_color(LINE)
    if names:
        more = f"{len(numbers) - len(shown)} more in grey" if len(numbers) > len(shown) else None
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False,
            fontsize=8, markerscale=2, title=more, title_fontsize=8,
            ncols=1 if len(shown) <= 12 else 2,
        )  # fmt: skip
