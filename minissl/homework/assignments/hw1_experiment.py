"""Homework 1, the experiment: how small should the step of a finite difference be?

Write the bodies of the five functions, then run the file. HW1.md says what the report is to have.

    python experiment.py      # a few seconds: results.json and figure.svg
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.figures import new_figure
from minissl.palette import BLUE, GREEN, PURPLE, RED

# What differs between the settings; the points and the steps are the same. You may add a setting.
SETTINGS = {
    "forward, float64": {"kind": "forward", "dtype": "float64"},
    "central, float64": {"kind": "central", "dtype": "float64"},
    "forward, float32": {"kind": "forward", "dtype": "float32"},
    "central, float32": {"kind": "central", "dtype": "float32"},
}
SEEDS = (0, 1, 2)
STEPS = 10.0 ** np.arange(-14, 0.1, 0.25)  # from 1e-14 to 1, four to each power of ten
USUAL = 1e-3  # the step that gradcheck takes


def function(x: NDArray) -> NDArray:
    """f(x) = x eˣ, in the dtype of x. Is given."""
    return x * np.exp(x)


def slope(x: NDArray) -> NDArray:
    """f'(x) = (1 + x) eˣ, in the dtype of x. Is given."""
    return (1 + x) * np.exp(x)


def points(seed: int, count: int = 200) -> NDArray:
    """Where f is looked at: random numbers between 0.5 and 1.5, float64. Is given."""
    return np.random.default_rng(seed).uniform(0.5, 1.5, size=count)


def difference(f: Any, x: NDArray, h: float, kind: str) -> NDArray:
    """The slope of f at every x by a finite difference with step h, computed in the dtype of x.

    ``kind``: "forward", (f(x + h) − f(x)) / h, or "central", (f(x + h) − f(x − h)) / 2h. ``f`` is
    elementwise. The answer has the shape and dtype of x.
    """
    step = x.dtype.type(h)
    if kind == "forward":
        return (f(x + step) - f(x)) / step
    return (f(x + step) - f(x - step)) / (2 * step)


def errors(f: Any, df: Any, x: NDArray, steps: Sequence[float] | NDArray, kind: str) -> NDArray:
    """The relative error |difference − df| / |df| for every step and every x, as float64.

    ``df(x)`` is the true slope: ask it in float64, at the very x that ``difference`` was given.
    Shapes: x (points,); the answer (steps, points).
    """
    true = df(x.astype(np.float64))
    found = np.array([difference(f, x, h, kind) for h in steps], dtype=np.float64)
    return np.abs(found - true) / np.abs(true)


def summary(table: NDArray, steps: Sequence[float] | NDArray) -> dict[str, float]:
    """What the errors (steps, points) of one seed say, in four numbers.

    - "step": the step whose median error over the points is smallest;
    - "error": that median;
    - "usual": the median error at the step that is nearest to ``USUAL``;
    - "mistake": twice the largest error of any point at the best step. A check must allow that
      error, or it refuses right rules; a rule that is too steep by more than twice as much cannot
      hide behind it. So this is the smallest mistake that a check is sure to see.
    """
    medians = np.median(table, axis=1)
    best = int(medians.argmin())
    nearest = int(np.abs(np.asarray(steps) - USUAL).argmin())
    return {
        "step": float(steps[best]),
        "error": float(medians[best]),
        "usual": float(medians[nearest]),
        "mistake": 2 * float(table[best].max()),
    }


def measure(seed: int, kind: str, dtype: str) -> dict[str, float]:
    """The four numbers of ``summary`` for f at the points of this seed, with all ``STEPS``.

    The same seed gives the same numbers, another seed others.
    """
    return summary(errors(function, slope, points(seed).astype(dtype), STEPS, kind), STEPS)


def draw(curves: Mapping[str, Sequence[NDArray]], path: Path) -> None:
    """The plot for the report: the median error against the step, both logarithmic.

    ``curves``: for every setting one curve for each seed, of one number for each of ``STEPS``.
    """
    figure, (axis,) = new_figure()
    styles = ("-", "--", "-.", ":")
    colors = (BLUE, RED, GREEN, PURPLE)
    for (setting, seeds), style, color in zip(curves.items(), styles, colors):
        for i, curve in enumerate(seeds):
            shown = np.where(curve > 0, curve, np.nan)
            label = setting if i == 0 else None
            axis.loglog(STEPS, shown, style, color=color, linewidth=1.1, alpha=0.8, label=label)
    axis.set(xlabel="step h", ylabel="median relative error", ylim=(1e-13, 10))
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(path)


def main() -> None:
    """Measure every setting with every seed; write the rows, and draw the curves."""
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[NDArray]] = {}
    for setting, options in SETTINGS.items():
        kind, dtype = options["kind"], options["dtype"]
        for seed in SEEDS:
            rows.append({"setting": setting, "seed": seed, **measure(seed, kind, dtype)})
            print(rows[-1], flush=True)
            table = errors(function, slope, points(seed).astype(dtype), STEPS, kind)
            curves.setdefault(setting, []).append(np.median(table, axis=1))
    Path("results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    draw(curves, Path("figure.svg"))


if __name__ == "__main__":
    main()
