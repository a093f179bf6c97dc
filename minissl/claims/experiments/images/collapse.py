"""Lecture 12: without something that keeps images apart, everything collapses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minissl.claims import simclr_on_digits as digits
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.figures import new_figure
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.pretrain.images.simsiam import SimSiam, SimSiamModel
from minissl.pretrain.run import train
from minissl.pretrain.views import TwoViews
from minissl.training import History
from minissl.vision.images import LabelledSplit

NT_XENT, CS229, POSITIVES = "NT-Xent", "CS229's SimCLR", "positives only"
SIMSIAM, NO_STOP = "SimSiam", "SimSiam, no stop-gradient"
COLORS = {
    NT_XENT: "#0b6bcb",
    CS229: "#6aa9e6",
    SIMSIAM: "#2e8b57",
    NO_STOP: "#9a6fb0",
    POSITIVES: "#c2452d",
}
SPREAD, RANK, ACCURACY = "z-std", "effective rank", "accuracy (%), 1 label"


def measure(setup: Setup) -> Measured:
    """The same network trained with each loss, and examined on views of test images."""
    data = digits.load(setup)
    table = {
        row: {ACCURACY: cells[digits.column(1)]}
        for row, cells in digits.baselines(setup, data).items()
    }
    health = digits.random_network(setup, data).evaluate()
    table[digits.RANDOM] |= {SPREAD: health["z_std"], RANK: health["effective_rank"]}
    curves = {}
    for name in COLORS:
        setup.note(name)
        method, history = trained(setup, data, name)
        curves[name] = tuple(column.tolist() for column in history.column("z_std"))
        last = history[-1]
        accuracy = digits.probe(setup, data, method.represent)[digits.column(1)]
        table[name] = {
            ACCURACY: accuracy,
            SPREAD: last["z_std"],
            RANK: last["effective_rank"],
        }
    return Measured(table, curves)


def trained(setup: Setup, data: LabelledSplit, name: str) -> tuple[TwoViews, History]:
    """One of the five."""
    losses = {NT_XENT: "nt_xent", CS229: "simclr_cs229", POSITIVES: "positives_only"}
    if name in losses:
        return digits.pretrain(setup, data, loss=losses[name])
    settings = chosen(SimCLRSettings, setup)
    model = SimSiamModel(
        SimCLR.new_model(settings, seed=setup.seed).encoder,
        features=settings.features,
        embedding=settings.embedding,
        generator=np.random.default_rng([setup.seed, 1]),
    )
    model.to(setup.device)
    method = SimSiam(
        model,
        data.train_images,
        settings.augment(),
        batch_size=settings.batch_size,
        stop_gradient=name == SIMSIAM,
        held_out=data.test_images[: digits.HELD_OUT],
    )
    return method, train(method, settings, seed=setup.seed, progress=False)


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Above the spread of the embeddings during training, below what the labels say."""
    drawn, (above, below) = new_figure(rows=2, width=digits.WIDTH, height=6.4)
    for name, color in COLORS.items():
        steps = measured[0].curves[name][0]
        spreads = np.array([run.curves[name][1] for run in measured])
        above.plot(steps, spreads.mean(axis=0), color=color, label=name)
        above.fill_between(
            steps, spreads.min(axis=0), spreads.max(axis=0), color=color, alpha=0.2, linewidth=0
        )
    above.axhline(0, color="#888", linewidth=0.8)
    above.set(xlabel="step", ylabel="spread of the embeddings (z-std)", ylim=(-0.03, 1.08))
    above.legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.33), fontsize=9)
    digits.bars(below, measured, COLORS, ACCURACY)
    below.set(xlabel="test accuracy with one label per class (%)", xlim=(0, 100))
    return drawn


CLAIM = Claim(
    name="collapse",
    title="Collapse without negatives",
    statement="If views of one image are only pulled together, and nothing keeps different images "
    "apart, the network maps every image to the same point and its representation is ruined.",
    lecture="12, section 2",
    measure=measure,
    expectations=(
        ahead(NT_XENT, POSITIVES, SPREAD, 0.5, "the negatives keep the embeddings apart"),
        ahead(CS229, POSITIVES, SPREAD, 0.5),
        Expectation(0.2, Cell(POSITIVES, SPREAD), 0.1, "all images on one point"),
        ahead(NT_XENT, digits.RANDOM, ACCURACY, 10),
        ahead(CS229, digits.RANDOM, ACCURACY, 5),
        ahead(digits.RANDOM, POSITIVES, ACCURACY, 3, "worse than not training at all"),
        ahead(SIMSIAM, NO_STOP, SPREAD, 0.4, "the stop-gradient is another counterweight"),
        ahead(SIMSIAM, NO_STOP, ACCURACY, 15),
    ),
    figure=figure,
    scales=digits.scales(
        quick={"steps": 24, "evaluations": 2, "learning_rate": 3e-3},
        small={"evaluations": 20, "learning_rate": 1e-3},
        full={"evaluations": 50, "learning_rate": 1e-3},
    ),
    settings=[SimCLRSettings],
    own=digits.OWN,
    packages=digits.PACKAGES,
    formats={ACCURACY: ".1f", RANK: ".1f"},
    about=digits.DATA + " z-std is 1 for directions spread evenly and 0 for a single one; "
    "the effective rank is at most 64; both are of the embeddings, after the head, where the loss "
    "is. The accuracy is of the representation before it. SimSiam has the paper's BatchNorm in "
    "head and predictor; in a first run without it, it collapsed in spite of the stop-gradient. "
    "Seen: with it, the embeddings without stop-gradient keep their z-std and lose their rank, "
    "from 26 to 7 directions. A look at z-std alone would have missed that.",
)
