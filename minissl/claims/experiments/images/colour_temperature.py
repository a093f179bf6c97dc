"""Lecture 12: the temperature once more, on colour images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minissl.claims import images_by_name as named
from minissl.claims import simclr_on_digits as digits
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, chosen
from minissl.figures import label_ends, new_figure
from minissl.palette import BLUE, GREY, OCHRE, look
from minissl.pretrain.images.simclr import SimCLRSettings

TEMPERATURES = (0.05, 0.2, 0.5, 1.0, 5.0)
LABELS = 20


def at(temperature: float) -> str:
    """The row of a temperature."""
    return f"τ = {temperature:g}"


def measure(setup: Setup) -> Measured:
    """SimCLR at every temperature, and the two baselines."""
    data, count = named.load(setup), setup.settings["labels"]
    data = named.halved(data) if setup.settings["halved"] else data
    settings = chosen(SimCLRSettings, setup, **named.shape(data))
    rows: dict[str, digits.Represent] = {digits.RAW: digits.raw_pixels}
    rows[digits.RANDOM] = digits.build(setup, data, settings).represent
    for temperature in TEMPERATURES:
        setup.note(at(temperature))
        method = digits.shared_simclr(
            setup, data, at(temperature), temperature=temperature, **named.shape(data)
        )
        rows[at(temperature)] = method.represent
    table = {}
    for row, represent in rows.items():
        setup.note(f"measuring {row}")
        table[row] = digits.probe(setup, data, represent, (count,))
        table[row][named.NEIGHBORS] = named.neighbors(data, represent)
    return Measured(table)


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """k-NN accuracy against the temperature, a dot for every seed."""
    drawn, (axis,) = new_figure(width=digits.WIDTH, height=3)
    values = np.stack(
        [digits.over_seeds(measured, at(t), named.NEIGHBORS) for t in TEMPERATURES], axis=1
    )
    axis.semilogx(TEMPERATURES, values.mean(axis=0), color=BLUE, marker="o", label="SimCLR")
    for seed in values:
        axis.semilogx(TEMPERATURES, seed, color=BLUE, linestyle="", marker=".", alpha=0.5)
    for row, color in ((digits.RANDOM, OCHRE), (digits.RAW, GREY)):
        level = digits.over_seeds(measured, row, named.NEIGHBORS).mean()
        axis.axhline(level, **look(color), label=row)
    axis.set_xticks(TEMPERATURES, [f"{t:g}" for t in TEMPERATURES])
    axis.minorticks_off()
    axis.set(xlabel="temperature τ", ylabel="k-NN accuracy in %")
    label_ends(axis)
    return drawn


CLAIM = Claim(
    name="colour-temperature",
    title="The temperature on colour images",
    statement="On colour images, too, the temperature matters: it can be too small and too large.",
    lecture="12, section 6",
    measure=measure,
    expectations=(
        Expectation(
            Cell(at(0.5), named.NEIGHBORS), Cell(at(5.0), named.NEIGHBORS), 1, "5 is too large"
        ),
        Expectation(
            Cell(at(0.5), named.NEIGHBORS), Cell(at(0.05), named.NEIGHBORS), 0.5,
            "0.05 is too small",
        ),
        Expectation(
            Cell(at(0.2), named.NEIGHBORS), Cell(at(1.0), named.NEIGHBORS), 0.5,
            "and the best is smaller than on digits",
        ),
        Expectation(
            Cell(at(0.5), named.NEIGHBORS), Cell(digits.RANDOM, named.NEIGHBORS), 3,
            "it has learned something",
        ),
    ),
    figure=figure,
    scales=named.scales(
        "cifar10",
        quick={"labels": 5, "halved": True},
        small={"labels": LABELS, "halved": True, "steps": 200},
        full={"labels": LABELS, "halved": False},
    ),
    settings=[SimCLRSettings],
    own=("draws", "labels", "halved", *named.OWN),
    formats=dict.fromkeys([digits.column(LABELS), named.NEIGHBORS], ".1f"),
    rows="accuracy in %",
    about=named.about("CIFAR-10") + " At the scale small they are averaged to 16 x 16 pixels. All "
    "runs have the same number of steps and the same learning rate. Seen: the smallest is the best "
    "so early; between 0.2 and 1 there is no order.",
)  # fmt: skip
