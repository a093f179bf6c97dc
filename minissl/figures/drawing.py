"""What all figures share: the empty figure, and the names of its curves."""

import textwrap
from typing import Any

import numpy as np

WIDE = 2.8  # of a legend's samples, in letters: room for the pattern of a dashed line


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


def label_ends(axis: Any, size: float = 9, letters: int = 16) -> bool:
    """Write the name of each curve where it ends, right of the axes: no legend to look up.

    Call it last, when scales and limits stand. Names move apart where they would touch; a thin line
    in the curve's color leads to each. A name is broken after so many ``letters``.

    Returns False, and draws a legend, where that does not work: when a curve does not end at the
    right, or the names need more height than there is.
    """
    curves = [
        line for line in axis.get_lines() if line.get_label()[0] != "_" and len(line.get_xdata())
    ]
    axis.figure.draw_without_rendering()  # limits are chosen now, and how high the axes are
    ends = [_end(axis, line) for line in curves]
    if any(not 0.85 < x < 1.01 for x, _ in ends):
        legend(axis, fontsize=size)
        return False
    order = sorted(range(len(curves)), key=lambda i: ends[i][1])
    names = [textwrap.fill(curves[i].get_label(), letters) for i in order]
    inches = axis.get_window_extent().height / axis.figure.dpi
    heights = [(name.count("\n") + 1) * 1.25 * size / 72 / inches for name in names]
    places = _apart(np.array([ends[i][1] for i in order]), np.array(heights))
    if places is None:
        legend(axis, fontsize=size)
        return False
    for i, name, place in zip(order, names, places):
        (x, y), color = ends[i], curves[i].get_color()
        leader = {"transform": axis.transAxes, "clip_on": False, "color": color, "linewidth": 0.8}
        axis.plot([x, 1.015, 1.03], [y, place, place], label="_leader", **leader)
        axis.annotate(name, (1.04, place), xycoords="axes fraction", va="center", fontsize=size,
                      annotation_clip=False, linespacing=1.05)  # fmt: skip
    return True


def _end(axis: Any, line: Any) -> tuple[float, float]:
    """The last point that is a number, in parts of the axes: (0, 0) below left, (1, 1) above."""
    points = np.column_stack([np.asarray(c, float) for c in line.get_data()])
    last = points[np.isfinite(points).all(axis=1)][-1]
    x, y = axis.transAxes.inverted().transform(line.get_transform().transform(last))
    return float(x), float(np.clip(y, 0, 1))


def _apart(wanted: np.ndarray, heights: np.ndarray) -> np.ndarray | None:
    """Places as near as possible to those wanted (ascending), where nothing of a height overlaps.

    All in parts of the axes, none beyond them; None if there is no room. Least squares under an
    order: neighbors that would overlap become one block around their mean.
    """
    gaps = np.concatenate([[0], np.cumsum((heights[1:] + heights[:-1]) / 2)])
    lowest, highest = heights[0] / 2, 1 - heights[-1] / 2 - gaps[-1]
    if highest < lowest:
        return None
    blocks: list[tuple[float, int]] = []
    for start in wanted - gaps:
        mean, count = float(start), 1
        while blocks and blocks[-1][0] > mean:
            before, many = blocks.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        blocks.append((mean, count))
    starts = np.repeat([mean for mean, _ in blocks], [count for _, count in blocks])
    return np.clip(starts, lowest, highest) + gaps


def legend(axis: Any, **options: Any) -> Any:
    """A legend without a frame whose samples are long enough to show the pattern of a line."""
    return axis.legend(**{"frameon": False, "handlelength": WIDE, **options})


def plain_text(name: str) -> str:
    """A name as matplotlib shows it: a dollar begins no formula, a lone _ hides no entry."""
    return f" {name}".replace("$", r"\$") if name.startswith("_") else name.replace("$", r"\$")
