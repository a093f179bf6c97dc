"""Lecture 12: contrastive learning wants many images without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minissl.adapt.heads.neighbors import nearest_neighbor_accuracy
from minissl.claims import simclr_on_digits as digits
from minissl.claims.claim import Claim, Measured, Setup, ahead
from minissl.claims.drawing import line, panels
from minissl.data.labels import draw_few_labels
from minissl.figures import label_ends, legend
from minissl.palette import BLUE, GREEN, GREY, LINE, OCHRE, RED
from minissl.pretrain.images.simclr import SimCLRSettings
from minissl.vision.images import LabelledSplit

COUNTS = (50, 100, 200, 400, 800, 1200)
LABELS = (1, 5, 20)
NEIGHBORS = "k-NN, 5 labels"
COLUMNS = {"1 label": BLUE, "5 labels": RED, "20 labels": OCHRE, NEIGHBORS: GREEN}


def row(count: int) -> str:
    """The row of a number of images."""
    return f"{count:,} images"


def measure(setup: Setup) -> Measured:
    """SimCLR on the first images of the training set, always with as many steps and views."""
    data = digits.load(setup)
    untrained = digits.random_network(setup, data._replace(train_images=data.train_images[:50]))
    table = {
        digits.RAW: examine(setup, data, digits.raw_pixels),
        digits.RANDOM: examine(setup, data, untrained.represent),
    }
    for count in COUNTS:
        setup.note(row(count))
        seen = data._replace(train_images=data.train_images[:count])
        method, _ = digits.pretrain(setup, seen)
        table[row(count)] = examine(setup, data, method.represent)
    curves = {name: (COUNTS, [table[row(count)][name] for count in COUNTS]) for name in COLUMNS}
    return Measured(table, curves)


def examine(setup: Setup, data: LabelledSplit, represent: digits.Represent) -> dict[str, float]:
    """Probes and neighbours; the labelled examples are drawn from the whole training set."""
    cells = digits.probe(setup, data, represent, LABELS)
    train, tests = represent(data.train_images), represent(data.test_images)
    accuracies = []
    for draw in range(setup.settings["draws"]):  # those of the probes with five labels
        generator = np.random.default_rng([setup.seed, 5, draw])
        chosen = draw_few_labels(data.train_labels, 5, generator)
        accuracies.append(
            nearest_neighbor_accuracy(
                train[chosen], data.train_labels[chosen], tests, data.test_labels, k=5
            )
        )
    return {**cells, NEIGHBORS: 100 * float(np.mean(accuracies))}


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Accuracy against the number of images without labels; dashed where a random network is."""
    drawn, (axis,) = panels(4.0, width=digits.WIDTH)
    for name, color in COLUMNS.items():
        line(axis, measured, name, color=color, marker="o", markersize=4)
        level = digits.over_seeds(measured, digits.RANDOM, name).mean()
        axis.axhline(level, color=color, linestyle="--", linewidth=1, alpha=0.7)
    (dashed,) = axis.plot([], [], color=GREY, linestyle="--", linewidth=1, label="random network")
    axis.set(xscale="log", xlabel="images without labels", ylabel="test accuracy (%)")
    axis.set_xticks(COUNTS, [f"{count:,}" for count in COUNTS])
    axis.minorticks_off()
    axis.grid(axis="y", color=LINE)
    label_ends(axis)
    legend(axis, handles=[dashed], fontsize=9, loc="lower right", bbox_to_anchor=(1, 0.07))
    return drawn


FEW, ALL = row(COUNTS[0]), row(COUNTS[-1])

CLAIM = Claim(
    name="unlabelled-images",
    title="How many images without labels",
    statement="More images without labels make a better representation, also when the network "
    "takes no more steps and sees no more views.",
    lecture="12, section 6",
    measure=measure,
    expectations=(
        ahead(ALL, FEW, "1 label", 5, "large training data, says the course"),
        ahead(ALL, FEW, "5 labels", 3),
        ahead(ALL, FEW, "20 labels", 1),
        ahead(ALL, FEW, NEIGHBORS, 3),
        ahead(row(400), row(100), "5 labels", 1, "and it rises on the way"),
        ahead(FEW, digits.RANDOM, "5 labels", 2, "fifty are already better than none"),
        ahead(ALL, digits.RAW, "5 labels", 4),
    ),
    figure=figure,
    scales=digits.scales(
        quick={"steps": 2, "batch_size": 16},
        small={"steps": 600, "batch_size": 50, "draws": 20},
        full={"steps": 6000, "batch_size": 50, "draws": 50},
    ),
    settings=[SimCLRSettings],
    own=digits.OWN,
    packages=digits.PACKAGES,
    formats=dict.fromkeys(COLUMNS, ".1f"),
    rows="accuracy in %, labels per class",
    about=digits.DATA + " SimCLR sees the first 50, 100, ... images of the training set, in 600 "
    "steps of 50 images each; with 50, every batch has all of them. Probes and neighbours get "
    "labelled examples from the whole training set, five nearest ones vote. Steps and batch were "
    "tried with seed 7; the expectations were written before that. Seen: far less than expected. "
    "Fifty images, changed anew in each step, teach nearly all that 1,200 do; what more images "
    "bring, at most 3 points, is there with 400. On photos it may be otherwise: digits are alike.",
)
