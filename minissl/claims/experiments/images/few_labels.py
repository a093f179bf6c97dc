"""Lecture 11: when labels are few, pretraining without labels wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minissl.claims import simclr_on_digits as digits
from minissl.claims.claim import Claim, Measured, Setup, ahead, chosen
from minissl.data.labels import draw_few_labels
from minissl.figures import accuracy_against_labels
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.pretrain.images.supervised import Classifier, Supervised, SupervisedSettings
from minissl.pretrain.run import train
from minissl.vision.images import LabelledSplit

LABELS = (1, 2, 5, 10, 20, 50)
SIMCLR, SCRATCH = "SimCLR, no labels", "supervised from scratch"


def measure(setup: Setup) -> Measured:
    """Four ways of using the same labelled examples."""
    data = digits.load(setup)
    table = digits.baselines(setup, data, LABELS)
    table[SCRATCH] = {}
    for count in LABELS:
        setup.note(f"{SCRATCH}, {digits.column(count)}")
        draws = range(setup.settings["scratch_draws"])
        accuracies = [from_scratch(setup, data, count, draw) for draw in draws]
        table[SCRATCH][digits.column(count)] = 100 * float(np.mean(accuracies))
    setup.note(SIMCLR)
    method = digits.shared_simclr(setup, data, SIMCLR)
    table[SIMCLR] = digits.probe(setup, data, method.represent, LABELS)
    return Measured(table)


def from_scratch(setup: Setup, data: LabelledSplit, count: int, draw: int) -> float:
    """The same encoder and the same augmentation, but only the labelled examples: its accuracy."""
    settings = chosen(SimCLRSettings, setup)
    generator = np.random.default_rng([setup.seed, count, draw])  # the draws of the probes
    labelled = draw_few_labels(data.train_labels, count, generator)
    encoder = SimCLR.new_model(settings, seed=setup.seed + 1000 * draw).encoder
    model = Classifier(encoder, 10, features=settings.features, generator=generator)
    model.to(setup.device)
    method = Supervised(
        model, data.train_images[labelled], data.train_labels[labelled], settings.augment()
    )
    alone = SupervisedSettings(steps=setup.settings["scratch_steps"])
    train(method, alone, seed=setup.seed + 1000 * draw, progress=False)
    return method.accuracy(data.test_images, data.test_labels)


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Accuracy against labels per class; the band is one standard deviation over the seeds."""
    curves = {
        row: np.stack(
            [digits.over_seeds(measured, row, digits.column(count)) / 100 for count in LABELS],
            axis=1,
        )
        for row in measured[0].table
    }
    return accuracy_against_labels(LABELS, curves, width=digits.WIDTH)


CLAIM = Claim(
    name="few-labels",
    title="Few labels",
    statement="When only a few examples are labelled, a linear classifier on a network that was "
    "pretrained without labels beats the same network trained on those examples alone.",
    lecture="11, section 4",
    measure=measure,
    expectations=(
        ahead(SIMCLR, digits.RAW, "1 label", 10),
        ahead(SIMCLR, digits.RANDOM, "1 label", 10, "it is not the convolutions alone"),
        ahead(SIMCLR, SCRATCH, "1 label", 5),
        ahead(SIMCLR, digits.RAW, "5 labels", 4),
        ahead(SIMCLR, SCRATCH, "5 labels", 0.5, "few means 5, 10 or 20 in the lecture"),
        ahead(SIMCLR, SCRATCH, "20 labels", 0.5),
    ),
    figure=figure,
    scales=digits.scales(
        quick={"scratch_steps": 2, "scratch_draws": 1},
        small={"steps": 800, "scratch_steps": 300, "scratch_draws": 3},
        full={"steps": 5000, "scratch_steps": 1500, "scratch_draws": 10},
    ),
    settings=[SimCLRSettings],
    own=(*digits.OWN, "scratch_steps", "scratch_draws"),
    packages=digits.PACKAGES,
    formats={digits.column(count): ".1f" for count in LABELS},
    rows="accuracy in %, labels per class",
    about=digits.DATA + " The network from scratch sees the same augmentations; its learning rate "
    "was chosen for it. Seen: no crossing of the two; the lead falls from 15 points with one label "
    "per class to 3 with five and less than one with twenty.",
)
