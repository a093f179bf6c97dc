"""Figure of lecture 00: three optimizers in a narrow valley."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minissl.figures import new_figure
from minissl.nn.module import Parameter
from minissl.optim import SGD, AdamW
from minissl.palette import BLACK, BLUE, GREY, LINE, RED

START, STEPS, STEEPNESS = (-4.0, 0.8), 60, 100.0
RATES = (0.3, 0.1, 0.03, 0.019, 0.01, 0.003, 0.001)
OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "gradient descent": lambda named, lr: SGD(named, lr),
    "momentum 0.9": lambda named, lr: SGD(named, lr, momentum=0.9),
    "Adam": lambda named, lr: AdamW(named, lr, weight_decay=0.0),
}


def path(name: str, rate: float) -> np.ndarray:
    """Where an optimizer goes on ½ (x² + 100 y²): (steps + 1, 2)."""
    place = Parameter(np.array(START))
    optimizer = OPTIMIZERS[name]([("place", place)], rate)
    places = [place.array.copy()]
    for _ in range(STEPS):
        x, y = place[0], place[1]
        ((x * x + STEEPNESS * y * y) * 0.5).backward()
        optimizer.step()
        optimizer.zero_grad()
        places.append(place.array.copy())
    return np.array(places)


def best(name: str) -> tuple[float, np.ndarray]:
    """The learning rate with the lowest end, and its path."""

    def height(rate: float) -> float:
        x, y = path(name, rate)[-1]
        return float(np.nan_to_num(x * x + STEEPNESS * y * y, nan=np.inf))

    rate = min(RATES, key=height)
    return rate, path(name, rate)


def steps() -> Any:
    """The paths, each with the best of seven learning rates."""
    figure, axes = new_figure(rows=3, width=5.6, height=5.4)
    x, y = np.meshgrid(np.linspace(-4.6, 2.6, 80), np.linspace(-1.1, 1.1, 60))
    for axis, name, color in zip(axes, OPTIMIZERS, (GREY, BLUE, RED)):
        rate, places = best(name)
        height = 0.5 * (x * x + STEEPNESS * y * y)
        axis.contour(x, y, height, levels=[0.5, 2, 5, 12, 25, 45, 80], colors=LINE, linewidths=0.7)
        axis.plot(*places.T, "-o", color=color, markersize=2.5, linewidth=1.2)
        axis.plot(0, 0, "+", color=BLACK, markersize=9)
        axis.set_title(f"{name}, learning rate {rate:g}", fontsize=10, loc="left")
        axis.set(xlim=(-4.6, 2.6), ylim=(-1.1, 1.1))
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0, labelsize=8)
    return figure


FIGURES: dict[str, Callable[[], Any]] = {"00_steps": steps}
