"""What the figures of claims share: panels below one another, and lines with their spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minissl.claims.claim import Measured
from minissl.figures import new_figure
from minissl.palette import BLUE, GREY, INK, PAPER, SERIES, SOFT_INK, look

# A dot for each seed on its bar, with a rim of paper: seen on every color.
DOTS = {
    "color": INK, "linestyle": "", "marker": "o", "markersize": 3.2, "markeredgecolor": PAPER,
    "markeredgewidth": 0.5,
}  # fmt: skip


def panels(*heights: float, width: float = 5.6) -> tuple[Any, Any]:
    """A figure with one panel below the other, of these heights in inches: readable on a phone."""
    figure, axes = new_figure(width=width, height=sum(heights), rows=len(heights))
    axes[0].get_gridspec().set_height_ratios(heights)
    return figure, axes


def values(measured: Sequence[Measured], row: str, column: str) -> np.ndarray:
    """One cell of the table, for each seed."""
    return np.array([run.table[row][column] for run in measured])


def line(axis: Any, measured: Sequence[Measured], name: str, **style: Any) -> None:
    """The curve of that name: its mean over the seeds, and a band from the lowest to the highest.

    The label is the name, unless the style has one. A color brings its line style; where the style
    asks for markers, its marker.
    """
    if style.get("color") in SERIES:
        own = {key: it for key, it in style.items() if key not in ("marker", "ms", "markersize")}
        style = {**look(style["color"], marker="marker" in style), **own}
    x = np.asarray(measured[0].curves[name][0], dtype=float)
    ys = np.array([run.curves[name][1] for run in measured], dtype=float)
    (drawn,) = axis.plot(x, ys.mean(axis=0), **{"label": name, **style})
    axis.fill_between(
        x, ys.min(axis=0), ys.max(axis=0), color=drawn.get_color(), alpha=0.2, linewidth=0
    )


def by_labels(
    axis: Any, measured: Sequence[Measured], styles: Mapping[str, tuple[str, str]],
    columns: Sequence[str], *, band: float = 0.12,
) -> None:  # fmt: skip
    """A row's numbers against the columns, "5 labels" and so on, with a band over the seeds.

    ``styles``: the rows in the order of the legend, with colour and line. ``band``: its opacity.
    """
    places = np.arange(len(columns))
    for row, (color, style) in styles.items():
        seen = np.stack([values(measured, row, column) for column in columns])  # (columns, seeds)
        form = {**look(color, marker=True), "linestyle": style, "markersize": 3.5}
        axis.plot(places, seen.mean(axis=1), **form, label=row)
        axis.fill_between(places, seen.min(axis=1), seen.max(axis=1), color=color, alpha=band)
    short = [column.removesuffix(" labels").removesuffix(" per class") for column in columns]
    axis.set_xticks(places, short)


def level(axis: Any, height: float, text: str, *, below: bool = False) -> None:
    """A dashed horizontal line for a baseline, with its name at the right end."""
    axis.axhline(height, color=GREY, linestyle="--", linewidth=1)
    axis.annotate(
        text,
        (1, height),
        xycoords=("axes fraction", "data"),
        xytext=(0, -2 if below else 2),
        textcoords="offset points",
        ha="right",
        va="top" if below else "bottom",
        color=SOFT_INK,
        fontsize=9,
    )


def bars(
    axis: Any,
    measured: Sequence[Measured],
    rows: Sequence[str],
    column: str,
    *,
    colors: Sequence[str] | str = BLUE,
    form: str = "%.2f",
) -> None:
    """A horizontal bar per row, the first on top; whiskers from the lowest seed to the highest."""
    seen = np.array([values(measured, row, column) for row in rows])  # (rows, seeds)
    mean = seen.mean(axis=1)
    whiskers = np.stack([mean - seen.min(axis=1), seen.max(axis=1) - mean])
    drawn = axis.barh(rows, mean, color=colors, xerr=whiskers, error_kw={"linewidth": 1})
    paper = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.5}
    axis.bar_label(drawn, fmt=form, padding=4, bbox=paper)
    axis.margins(x=0.12)
    axis.invert_yaxis()


def filling(color: str, number: int) -> dict[str, Any]:
    """How the bars of a group are told apart without their color: plain, striped, dotted, ..."""
    pattern = ("", "////", "....", "\\\\\\\\", "xxxx")[number % 5]
    return {"facecolor": color, "hatch": pattern, "edgecolor": PAPER, "linewidth": 0}


def groups(
    axis: Any, measured: Sequence[Measured], rows: Mapping[str, str], columns: Mapping[str, str]
) -> None:
    """Upright bars: for each column (and its text) one per row (and its colour); a dot per seed."""
    width = 0.8 / len(rows)
    for number, (row, color) in enumerate(rows.items()):
        for place, column in enumerate(columns):
            seen, at = values(measured, row, column), place + width * (number - (len(rows) - 1) / 2)
            label = None if place else row
            axis.bar(at, seen.mean(), 0.93 * width, label=label, **filling(color, number))
            axis.plot(np.full(len(seen), at), seen, **DOTS)
    axis.set_xticks(range(len(columns)), [*columns.values()])
    axis.tick_params(axis="x", length=0)


def smooth(numbers: Sequence[float], width: int) -> np.ndarray:
    """Means of ``width`` neighbours, cut at the end: a loss per step without its noise."""
    used = len(numbers) // width * width
    return np.asarray(numbers[:used], dtype=float).reshape(-1, width).mean(axis=1)
