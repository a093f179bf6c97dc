"""Lecture 12: larger batches help, and the temperature matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minissl.claims import simclr_on_digits as digits
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead
from minissl.figures import new_figure
from minissl.palette import INK, PAPER
from minissl.pretrain.images.simclr import SimCLRSettings
from minissl.vision.images import LabelledSplit

BATCHES = ("small batch", "medium batch", "large batch")
TEMPERATURES = (0.05, 0.1, 0.3, 1.0, 5.0)
CONTROL = 0.3  # the temperature of the runs that see as many images as the large batch
AS_MANY = f"τ = {CONTROL:g}, as many images"


def at(temperature: float) -> str:
    """The column of a temperature."""
    return f"τ = {temperature:g}"


def measure(setup: Setup) -> Measured:
    """Every batch size with every temperature, and a control for the number of images seen."""
    data = digits.load(setup)
    one = digits.column(1)
    table = {
        row: dict.fromkeys(map(at, TEMPERATURES), cells[one])
        for row, cells in digits.baselines(setup, data).items()
    }
    largest = setup.settings[BATCHES[-1]]
    for row in BATCHES:
        size, table[row] = setup.settings[row], {}
        for temperature in TEMPERATURES:
            setup.note(f"batch {size}, τ {temperature:g}")
            table[row][at(temperature)] = accuracy(setup, data, row, temperature)
        more = largest // size
        table[row][AS_MANY] = table[row][at(CONTROL)]
        if more > 1:
            setup.note(f"batch {size}, {more} times the steps")
            table[row][AS_MANY] = accuracy(setup, data, row, CONTROL, more)
    return Measured(table)


def accuracy(
    setup: Setup, data: LabelledSplit, row: str, temperature: float, more: int = 1
) -> float:
    """In percent with one label per class, after ``more`` times the steps of the scale."""
    method = digits.shared_simclr(
        setup,
        data,
        f"{row}, {AS_MANY if more > 1 else at(temperature)}",
        batch_size=setup.settings[row],
        temperature=temperature,
        steps=setup.settings["steps"] * more,
    )
    return digits.probe(setup, data, method.represent)[digits.column(1)]


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """A heat map: mean accuracy over the seeds in every cell, with half the range."""
    drawn, (axis,) = new_figure(width=digits.WIDTH, height=3.7)
    columns = [*map(at, TEMPERATURES), AS_MANY]
    values = np.array(
        [[digits.over_seeds(measured, row, column) for column in columns] for row in BATCHES]
    )
    mean, spread = values.mean(axis=2), (values.max(axis=2) - values.min(axis=2)) / 2
    axis.imshow(mean, cmap="Blues", vmin=min(50, mean.min()), vmax=100, aspect="auto")
    for (i, j), value in np.ndenumerate(mean):
        color = PAPER if value > 80 else INK
        text = f"{value:.0f}\n±{spread[i, j]:.0f}"
        axis.text(j, i, text, ha="center", va="center", color=color, fontsize=11)
    axis.axvline(len(TEMPERATURES) - 0.5, color=PAPER, linewidth=6)
    names = [*(f"{t:g}" for t in TEMPERATURES), f"{CONTROL:g}, as\nmany images"]
    axis.set_xticks(range(len(columns)), names)
    axis.set_yticks(range(len(BATCHES)), [str(settings[row]) for row in BATCHES])
    axis.set(xlabel="temperature τ", ylabel="batch size")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    level = digits.over_seeds(measured, digits.RANDOM, columns[0]).mean()
    pixels = digits.over_seeds(measured, digits.RAW, columns[0]).mean()
    axis.set_title(
        "test accuracy in %, one label per class\n"
        f"(random network {level:.0f}, raw pixels {pixels:.0f})",
        fontsize=10,
    )
    return drawn


CLAIM = Claim(
    name="batch-and-temperature",
    title="Batch size and temperature",
    statement="Contrastive learning wants large batches, which bring many negatives, and the right "
    "temperature.",
    lecture="12, section 6",
    measure=measure,
    expectations=(
        ahead(BATCHES[-1], BATCHES[0], at(CONTROL), 3, "more negatives, and more images seen"),
        ahead(BATCHES[-1], BATCHES[0], AS_MANY, 1, "more negatives, as many images seen"),
        Expectation(Cell(BATCHES[-1], at(1.0)), Cell(BATCHES[-1], at(0.05)), 5, "τ matters"),
        Expectation(
            Cell(BATCHES[-1], at(1.0)), Cell(BATCHES[-1], at(5.0)), 0.5, "and can be too large"
        ),
    ),
    figure=figure,
    scales=digits.scales(
        quick={"small batch": 8, "medium batch": 16, "large batch": 32, "steps": 2},
        small={"small batch": 16, "medium batch": 64, "large batch": 256, "steps": 200},
        full={"small batch": 32, "medium batch": 256, "large batch": 1024, "steps": 2000},
    ),
    settings=[SimCLRSettings],
    own=(*digits.OWN, *BATCHES),
    packages=digits.PACKAGES,
    formats=dict.fromkeys([*map(at, TEMPERATURES), AS_MANY], ".1f"),
    rows="accuracy in %, 1 label per class",
    about=digits.DATA + " Batches of 16, 64 and 256 images at the scale small. All trainings "
    "have the same number of steps and the same learning rate, so a larger batch has seen more "
    "images; in the last column the smaller batches train until they have seen as many. Seen: the "
    "large batch's lead is the images it has seen. Given as many, the small batch is ahead, with "
    "sixteen times the steps. Temperatures from 0.05 to 1 differ little here; 5 is too large.",
)
