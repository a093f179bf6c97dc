"""What a run shows of itself: its curves, and the nearest neighbors of what it has learned."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minissl.figures.drawing import legend, new_figure, plain_text
from minissl.palette import BLUE, INK, RED, SOFT_INK, style

BLACK_EDGE = 0.05  # the median at the edges of digits and letters that are drawn on black


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
    width = min(len(order), 2)  # on a phone three would be too small to read
    rows = -(-len(order) // width)
    inches = 6.4 if width > 1 else 5.2
    figure, axes = new_figure(columns=width, width=inches, height=2.5 * rows, rows=rows)
    for axis, title in zip(axes, order):
        for place, name in enumerate(panels[title]):
            steps, values = columns[name]
            scale = 100 if title == ends["accuracy"] else 1
            few = len(steps) < 60
            form = style(place, marker=few) | ({} if few else {"linewidth": 0.8})
            label = name.replace("held_out", "held-out").replace("knn", "k-NN").replace("_", " ")
            axis.plot(steps, scale * values, label=label, **form)
        axis.set(xlabel="step", ylabel=title)
        if len(panels[title]) > 1 or title in ends.values():
            legend(axis, fontsize=8)
    for axis in axes[len(order) :]:
        axis.set_axis_off()
    return figure


def contact_sheet(
    images: np.ndarray, names: Sequence[str], nearest: np.ndarray, cosines: np.ndarray,
    classes: np.ndarray | None = None,
) -> Any:  # fmt: skip
    """A row for each query, at the left, with its nearest images, the nearest first.

    images (count, height, width, channels); nearest (queries, 1 + neighbours) numbers of images,
    the query first, and cosines alike. classes: a frame is whole where it is that of the query.
    """
    from matplotlib.figure import Figure

    rows, columns = nearest.shape
    figure = Figure(figsize=(1.1 * columns + 0.2, 1.3 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    colors = _grey(images[nearest.ravel()])
    for place, (axis, number) in enumerate(zip(axes, nearest.ravel().tolist())):
        query = nearest[place // columns, 0]
        image = np.clip(images[number], 0, 1)
        shown = image[..., 0] if image.shape[-1] == 1 else image
        axis.imshow(shown, cmap=colors, vmin=0, vmax=1)
        title, color, line = _shortened(names[number]), INK, "-"
        if place % columns:
            title = f"{title}\n{cosines.ravel()[place]:.2f}"
            color = SOFT_INK
            if classes is not None:
                color, line = (BLUE, "-") if classes[number] == classes[query] else (RED, ":")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set(color=color, linewidth=2, linestyle=line)
        axis.set_title(plain_text(title), fontsize=6, color=color, pad=2)
    if classes is not None:
        figure.supxlabel(
            "blue frame: of the class of the query at the left; red dots: of another", fontsize=8
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
    colors = _grey(images)
    for number, (axis, image) in enumerate(zip(axes, np.clip(images, 0, 1))):
        axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap=colors, vmin=0, vmax=1)
        wrong = right is not None and not right[number]
        other = f"\nit is {_shortened(labels[number])}" if wrong else ""
        title = f"{_shortened(said[number])}{other}"
        axis.set_title(plain_text(title), fontsize=8, weight="bold" if wrong else "normal")
    return figure


def _grey(images: np.ndarray) -> str:
    """How grey images are shown: strokes on black as on paper, photographs as they are."""
    edges = [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]]
    black = np.median(np.concatenate([edge.ravel() for edge in edges])) < BLACK_EDGE
    return "gray_r" if black else "gray"


def _shortened(name: str, most: int = 18) -> str:
    """The end of a long name: of a path the file."""
    return name if len(name) <= most else f"…{name[1 - most :]}"
