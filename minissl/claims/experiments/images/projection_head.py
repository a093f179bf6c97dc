"""Lecture 12: the representation before the projection head beats the one after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from minissl.claims import simclr_on_digits as digits
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead
from minissl.figures import label_ends, new_figure
from minissl.palette import BLUE, GREY, LINE, RED, SOFT_INK, look
from minissl.pretrain.images.simclr import SimCLRSettings

LABELS = (1, 5)
LENGTHS = ("short", "medium", "long")
GAP = "1 label, difference"


def before(labels: int) -> str:
    """The column of probes on the representation."""
    return f"{digits.column(labels)}, before the head"


def after(labels: int) -> str:
    """The column of probes on the embeddings that the loss sees."""
    return f"{digits.column(labels)}, after it"


def measure(setup: Setup) -> Measured:
    """Separate trainings of three lengths, each with its own schedule, probed at both places."""
    data = digits.load(setup)
    pixels = digits.probe(setup, data, digits.raw_pixels, LABELS)
    table = {digits.RAW: {before(n): pixels[digits.column(n)] for n in LABELS}}
    methods = {digits.RANDOM: digits.random_network(setup, data)}
    for length in LENGTHS:
        steps = setup.settings[length]
        setup.note(f"{steps} steps")
        row = f"{length} training"
        methods[row] = digits.shared_simclr(setup, data, row, steps=steps)
    for name, method in methods.items():
        first = digits.probe(setup, data, method.represent, LABELS)
        second = digits.probe(setup, data, partial(digits.embed, method), LABELS)
        table[name] = {}
        for labels in LABELS:
            key = digits.column(labels)
            table[name] |= {before(labels): first[key], after(labels): second[key]}
        table[name][GAP] = first[digits.column(1)] - second[digits.column(1)]
    return Measured(table)


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Accuracy before and after the head against the length of the training."""
    drawn, (axis,) = new_figure(width=digits.WIDTH, height=4.2)
    steps = [settings[length] for length in LENGTHS]
    for labels, line in ((5, "--"), (1, "-")):
        for name, color in ((before(labels), BLUE), (after(labels), RED)):
            rows = [f"{length} training" for length in LENGTHS]
            values = np.stack([digits.over_seeds(measured, row, name) for row in rows], axis=1)
            form = {**look(color, marker=True), "linestyle": line}
            axis.plot(steps, values.mean(axis=0), label=name, **form)
            axis.fill_between(
                steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15, linewidth=0
            )
    for row, side in ((digits.RANDOM, "right"), (digits.RAW, "left")):
        level = digits.over_seeds(measured, row, before(1)).mean()
        axis.axhline(level, color=GREY, linestyle=":", linewidth=1.2)
        axis.annotate(
            f"{row}, 1 label",
            (side == "right", level),
            xycoords=("axes fraction", "data"),
            ha=side,
            va="bottom",
            fontsize=9,
            color=SOFT_INK,
        )
    axis.set(xscale="log", xlabel="steps of pretraining", ylabel="test accuracy (%)")
    axis.set_xticks(steps, [str(n) for n in steps])
    axis.minorticks_off()
    axis.grid(axis="y", color=LINE)
    label_ends(axis)
    return drawn


CLAIM = Claim(
    name="projection-head",
    title="The projection head is thrown away",
    statement="The representation before the projection head serves a later task better than the "
    "one after it, and the more so the longer the pretraining was.",
    lecture="12, section 8",
    measure=measure,
    expectations=(
        Expectation(Cell("long training", before(1)), Cell("long training", after(1)), 5),
        Expectation(Cell("long training", before(5)), Cell("long training", after(5)), 2),
        ahead(
            "long training",
            "short training",
            GAP,
            5,
            "the head learns to forget what the augmentation changes",
        ),
    ),
    figure=figure,
    scales=digits.scales(
        quick={"short": 2, "medium": 3, "long": 4},
        small={"short": 100, "medium": 400, "long": 1600},
        full={"short": 300, "medium": 2000, "long": 12000},
    ),
    settings=[SimCLRSettings],
    own=(*digits.OWN, *LENGTHS),
    packages=digits.PACKAGES,
    formats={GAP: ".1f"} | {name(n): ".1f" for name in (before, after) for n in LABELS},
    rows="accuracy in %, labels per class",
    about=digits.DATA + " Short, medium and long are separate trainings of 100, 400 and 1,600 "
    "steps (at the scale small), each with its own warm-up and decay of the learning rate. Seen: "
    "with one label per class the order turns. After 400 steps the embeddings are the better ones, "
    "after 1,600 they have lost 8 points while the representation went on improving; with five "
    "labels the lead of the representation stayed just below the margin.",
)
