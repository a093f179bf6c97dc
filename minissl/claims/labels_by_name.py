"""Lecture 12: what pretraining without labels is worth on MNIST and CIFAR-10, in two claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minissl.claims import images_by_name as named
from minissl.claims import simclr_on_digits as digits
from minissl.claims.claim import Measured, Setup, chosen
from minissl.data.labels import draw_few_labels
from minissl.figures import accuracy_against_labels
from minissl.pretrain.images.simclr import SimCLRSettings
from minissl.pretrain.images.supervised import Supervised, SupervisedSettings
from minissl.pretrain.run import train
from minissl.vision.images import LabelledSplit

LABELS = (1, 5, 20, 100)
SIMCLR, SCRATCH = "SimCLR, no labels", "supervised from scratch"
OWN = ("draws", "scratch_steps", "labels", *named.OWN)


def measure(setup: Setup) -> Measured:
    """Four ways of using the same labelled images, and a vote of all of them."""
    data, labels = named.load(setup), setup.settings["labels"]
    settings = chosen(SimCLRSettings, setup, **named.shape(data))
    untrained = digits.build(setup, data, settings)
    setup.note(SIMCLR)
    trained = digits.shared_simclr(setup, data, SIMCLR, **named.shape(data))
    table = {}
    for row, represent in (
        (digits.RAW, digits.raw_pixels),
        (digits.RANDOM, untrained.represent),
        (SIMCLR, trained.represent),
    ):
        setup.note(f"probes, {row}")
        table[row] = digits.probe(setup, data, represent, labels)
        table[row][named.NEIGHBORS] = named.neighbors(data, represent)
    table[SCRATCH] = {}
    for count in labels:
        setup.note(f"{SCRATCH}, {digits.column(count)}")
        chosen_ones = draw_few_labels(
            data.train_labels, count, np.random.default_rng([setup.seed, count, 0])
        )  # the first draw of the probes
        method = from_scratch(setup, data, chosen_ones)
        accuracy = 100 * method.accuracy(data.test_images, data.test_labels)
        table[SCRATCH][digits.column(count)] = accuracy
    setup.note(f"{SCRATCH}, all labels")
    method = from_scratch(setup, data, np.arange(len(data.train_labels)))
    table[SCRATCH][named.NEIGHBORS] = named.neighbors(data, method.represent)
    return Measured(table)


def from_scratch(setup: Setup, data: LabelledSplit, labelled: Any) -> Supervised:
    """The same encoder with the same augmentation, trained on these images and labels alone."""
    settings = chosen(
        SupervisedSettings, setup, steps=setup.settings["scratch_steps"], **named.shape(data)
    )
    model = Supervised.new_model(settings, int(data.train_labels.max()) + 1, seed=setup.seed)
    model.to(setup.device)
    method = Supervised(
        model, data.train_images[labelled], data.train_labels[labelled], settings.augment(),
        batch_size=settings.batch_size,
    )  # fmt: skip
    train(method, settings, seed=setup.seed, progress=False)
    return method


def scales(name: str) -> dict[str, dict[str, Any]]:
    """A small convolutional network on two cores; ResNet-18 on a GPU."""
    return named.scales(
        name,
        quick={"scratch_steps": 2, "labels": [1, 5]},
        small={"scratch_steps": 150, "labels": [*LABELS]},
        full={"scratch_steps": 2000, "labels": [*LABELS]},
    )


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Accuracy against labels per class; the band is one standard deviation over the seeds."""
    labels = settings["labels"]
    curves = {
        row: np.stack(
            [digits.over_seeds(measured, row, digits.column(count)) / 100 for count in labels],
            axis=1,
        )
        for row in measured[0].table
    }
    return accuracy_against_labels(labels, curves, width=digits.WIDTH)
