"""Lecture 12: without something that keeps images apart, everything collapses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minissl.claims import simclr_on_digits as digits
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import line, panels
from minissl.figures import label_ends
from minissl.palette import BLUE, GREEN, OCHRE, PURPLE, RED, SOFT_INK
from minissl.pretrain.images.byol import BYOL, BYOLSettings
from minissl.pretrain.images.sigreg import SIGReg, SIGRegSettings
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.pretrain.images.simsiam import SimSiam, SimSiamSettings
from minissl.pretrain.run import train
from minissl.pretrain.views import TwoViews
from minissl.training import History
from minissl.vision.images import LabelledSplit

NT_XENT, CS229, POSITIVES = "NT-Xent", "CS229's SimCLR", "positives only"
SIMSIAM, NO_STOP = "SimSiam", "SimSiam, no stop-gradient"
FULL_BYOL, NO_AVERAGE = "BYOL", "BYOL, no slow average"
NO_PREDICTOR, FREE = "BYOL, no predictor", "BYOL, no stop-gradient"
SIGREG = "SIGReg"

# The method of each arm and what is changed in it. Without its slow average BYOL predicts its own
# embedding, held still; without the stop-gradient the same, and both sides learn.
ARMS: dict[str, tuple[type[TwoViews], dict[str, Any]]] = {
    NT_XENT: (SimCLR, {}),
    CS229: (SimCLR, {"loss": "simclr_cs229"}),
    SIMSIAM: (SimSiam, {}),
    NO_STOP: (SimSiam, {"stop_gradient": False}),
    POSITIVES: (SimCLR, {"loss": "positives_only"}),
    FULL_BYOL: (BYOL, {}),
    NO_AVERAGE: (BYOL, {"target": "still"}),
    NO_PREDICTOR: (BYOL, {"predictor": False}),
    FREE: (BYOL, {"target": "free"}),
    SIGREG: (SIGReg, {}),
}
# Five in each of two panels; red is what falls.
FIVE = (BLUE, GREEN, PURPLE, OCHRE, RED, BLUE, GREEN, PURPLE, RED, OCHRE)
COLORS = dict(zip(ARMS, FIVE, strict=True))
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
    for name in ARMS:
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
    """One of the arms; all begin with the same encoder."""
    kind, changes = ARMS[name]
    settings = chosen(kind.Settings, setup, **changes)
    model = kind.new_model(settings, seed=setup.seed)
    model.to(setup.device)
    method = kind(
        model,
        data.train_images,
        settings.augment(),
        batch_size=settings.batch_size,
        held_out=data.test_images[: digits.HELD_OUT],
        **kind.choices(settings),
    )
    return method, train(method, settings, seed=setup.seed, progress=False)


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """The spread of the embeddings during training; what the labels say, and the rank beside it."""
    drawn, (above, middle, below) = panels(3.2, 3.2, 5.4, width=digits.WIDTH)
    names = list(ARMS)
    for axis, shown in ((above, names[:5]), (middle, names[5:])):
        for name in shown:
            line(axis, measured, name, color=COLORS[name])
        axis.axhline(0, color=SOFT_INK, linewidth=0.8)
        axis.set(ylabel="spread (z-std)", ylim=(-0.03, 1.08))
        label_ends(axis)
    middle.set(xlabel="step")
    digits.bars(below, measured, COLORS, ACCURACY)
    for place, name in zip(below.get_yticks(), [*COLORS, digits.RANDOM]):
        rank = digits.over_seeds(measured, name, RANK).mean()
        below.annotate(f"{rank:.0f}", (103, place), va="center", fontsize=9, annotation_clip=False)
    below.annotate("rank", (101, len(names) + 1.7), fontsize=9, annotation_clip=False)
    below.set(xlabel="test accuracy with one label per class (%)", xlim=(0, 100))
    below.tick_params(axis="y", labelsize=9)
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
        ahead(FULL_BYOL, digits.RANDOM, ACCURACY, 10, "no negatives, and no collapse"),
        ahead(FULL_BYOL, NO_AVERAGE, ACCURACY, 3, "the paper needs the slow copy"),
        ahead(FULL_BYOL, NO_PREDICTOR, SPREAD, 0.4, "and the predictor"),
        ahead(FULL_BYOL, NO_PREDICTOR, ACCURACY, 10),
        ahead(FULL_BYOL, FREE, SPREAD, 0.4, "and that the target is held still"),
        ahead(FULL_BYOL, FREE, ACCURACY, 10),
        ahead(SIGREG, POSITIVES, SPREAD, 0.5, "a Gaussian cloud has no collapsed direction"),
        ahead(SIGREG, digits.RANDOM, ACCURACY, 10),
        ahead(SIGREG, FULL_BYOL, RANK, 5, "and uses them all"),
    ),
    figure=figure,
    scales=digits.scales(
        quick={"steps": 24, "evaluations": 2, "learning_rate": 3e-3},
        small={"evaluations": 20, "learning_rate": 1e-3},
        full={"evaluations": 50, "learning_rate": 1e-3},
    ),
    settings=[SimCLRSettings, SimSiamSettings, BYOLSettings, SIGRegSettings],
    own=digits.OWN,
    packages=digits.PACKAGES,
    formats={ACCURACY: ".1f", RANK: ".1f"},
    about=digits.DATA + " z-std is 1 for directions spread evenly and 0 for a single one; "
    "the effective rank is at most 64; both are of the embeddings, after the head, where the loss "
    "is. The accuracy is of the representation before it. SimSiam has the paper's BatchNorm in "
    "head and predictor; in a first run without it, it collapsed in spite of the stop-gradient. "
    "Seen: without its stop-gradient SimSiam keeps its z-std and loses its rank, from 27 to 7 "
    "directions; a look at z-std alone would have missed that. BYOL collapses without "
    "stop-gradient, loses most directions without predictor, and does not need its slow average "
    "here. SIGReg does as well as the negatives.",
)
