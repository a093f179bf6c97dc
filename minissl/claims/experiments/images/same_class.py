"""Lecture 12: how many negatives are of the same class, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.arrays import namespace
from minissl.autograd.tensor import Tensor
from minissl.claims import simclr_on_digits as digits
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead, chosen
from minissl.claims.drawing import panels
from minissl.figures import legend
from minissl.losses.contrastive import normalize, nt_xent
from minissl.losses.metric import same_and_different
from minissl.losses.supervised import supcon_loss
from minissl.palette import BLUE, GREEN, GREY, GREY_TINT, PURPLE, RED
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.pretrain.run import train
from minissl.vision.images import LabelledSplit

NT_XENT, MASKED, SUPCON = "NT-Xent", "same class left out", "SupCon"
BATCHES = ("small batch", "large batch")
SHARES, DRAWN = "Σ pₖ² of the training set", "Σ pₖ², the image itself taken out"
SHARE, NUMBER, OFF = "same class (%)", "per view", "off the sum (points)"
LABELS = (1, 5, 20)
COLORS = {NT_XENT: BLUE, MASKED: GREEN, SUPCON: PURPLE}


def without_same_class(views: Tensor, labels: NDArray, temperature: float) -> Tensor:
    """NT-Xent whose negatives are all of other classes: an oracle has taken the others out.

    Shapes: views (2 batch, width), first ones on top; labels (2 batch,).
    """
    rows = normalize(views)
    same, _ = same_and_different(labels, rows)
    xp = namespace(same)
    numbers = xp.arange(len(labels), device=rows.array.device)
    partners = (numbers + len(labels) // 2) % len(labels)
    itself = numbers[:, None] == numbers
    left_out = (same & (numbers != partners[:, None])) | itself
    logits = ops.matmul(rows, ops.matrix_transpose(rows)) / temperature
    return fused.cross_entropy(ops.where(left_out, -np.inf, logits), partners)


def with_all_negatives(views: Tensor, labels: NDArray, temperature: float) -> Tensor:
    """NT-Xent as it is: it knows no labels."""
    first, second = ops.split(views, 2)
    return nt_xent(first, second, temperature)


LOSSES: dict[str, Callable[[Tensor, NDArray, float], Tensor]] = {
    NT_XENT: with_all_negatives,
    MASKED: without_same_class,
    SUPCON: lambda views, labels, temperature: supcon_loss(views, labels, temperature=temperature),
}


class KnowsLabels(SimCLR):
    """SimCLR whose batch has the views and their labels, for a loss that may look at both."""

    labels: NDArray
    arm: str

    def batch(self, generator: np.random.Generator) -> Any:
        """The views that SimCLR would draw, and the label of each."""
        chosen = self.drawn(generator)
        return self._views(self.images[chosen], generator), np.tile(self.labels[chosen], 2)

    def drawn(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Which images the batch of this generator has."""
        return generator.choice(len(self.images), self.batch_size, replace=False)

    def loss(self, batch: Any, generator: np.random.Generator | None = None) -> Tensor:
        """The loss of the arm."""
        views, labels = batch
        return LOSSES[self.arm](self.model(views), labels, self.temperature)


def row(arm: str, size: int | str) -> str:
    """The row of an arm with a batch, which is called by its place: the sizes are settings."""
    return f"{arm}, {size}"


def measure(setup: Setup) -> Measured:
    """Count same-class negatives; train with them, without them, and with them as positives."""
    data = digits.load(setup)
    table = digits.baselines(setup, data, LABELS)
    counts = np.bincount(data.train_labels).astype(float)
    total = counts.sum()
    table[SHARES] = {SHARE: 100 * float(((counts / total) ** 2).sum())}
    table[DRAWN] = {SHARE: 100 * float((counts * (counts - 1)).sum() / (total * (total - 1)))}
    for name in BATCHES:
        size = setup.settings[name]
        for arm in COLORS:
            setup.note(f"{arm}, batch {size}")
            method = trained(setup, data, arm, size)
            table[row(arm, name)] = digits.probe(setup, data, method.represent, LABELS)
        table[row(NT_XENT, name)] |= counted(setup, method, table[DRAWN][SHARE])
    return Measured(table)


def trained(setup: Setup, data: LabelledSplit, arm: str, size: int) -> KnowsLabels:
    """One of the three: the same weights at first, the same views in every step."""
    settings = chosen(SimCLRSettings, setup, batch_size=size)
    model = KnowsLabels.new_model(settings, seed=setup.seed)
    model.to(setup.device)
    method = KnowsLabels(
        model, data.train_images, settings.augment(),
        batch_size=size, temperature=settings.temperature, held_out=data.test_images[:2],
    )  # fmt: skip
    method.labels, method.arm = data.train_labels, arm
    train(method, settings, seed=setup.seed, progress=False)
    return method


def counted(setup: Setup, method: KnowsLabels, expected: float) -> dict[str, float]:
    """How many of a view's negatives are of its own class, in the batches of the training."""
    found = []
    for step in range(setup.settings["steps"]):  # with the generators that the training had
        chosen = method.drawn(np.random.default_rng([setup.seed, step, 0]))
        same, _ = same_and_different(np.tile(method.labels[chosen], 2))
        found.append(same.sum(axis=1).mean() - 1)  # the partner is no negative
    share = 100 * float(np.mean(found)) / (2 * method.batch_size - 2)
    return {SHARE: share, NUMBER: float(np.mean(found)), OFF: abs(share - expected)}


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Above the negatives of a view, counted; below what each loss makes of them."""
    drawn, (above, below) = panels(1.3, 3.6, width=digits.WIDTH)
    names = [f"batch {settings[name]}" for name in BATCHES]
    same = [digits.over_seeds(measured, row(NT_XENT, name), NUMBER).mean() for name in BATCHES]
    other = [2 * settings[name] - 2 - few for name, few in zip(BATCHES, same)]
    above.barh(names, same, color=RED, label="of its own class")
    above.barh(
        names,
        other,
        left=same,
        color=GREY_TINT,
        edgecolor=GREY,
        hatch="....",
        label="of other classes",
    )
    for place, few in enumerate(same):
        above.annotate(f"{few:.1f}", (few, place), (3, 0), textcoords="offset points", va="center")
    above.invert_yaxis()
    above.set(xlabel="negatives of a view")
    legend(above, fontsize=9, loc="upper right")
    colors, labels = {}, []
    for name, said in zip(BATCHES, names):
        for arm, color in COLORS.items():
            colors[row(arm, name)] = color
            labels.append(f"{arm}, {said}")
    digits.bars(below, measured, colors, digits.column(1))
    below.set_yticks(below.get_yticks(), [*labels, digits.RANDOM, digits.RAW])
    below.set(xlabel="test accuracy with one label per class (%)", xlim=(0, 100))
    return drawn


def expected() -> list[Expectation]:
    """The count is the formula's; taking accidents out helps, and using them helps more."""
    small, large = BATCHES
    return [
        Expectation(Cell(SHARES, SHARE), 0.0, 9.5, "ten classes, nearly alike in size"),
        *(
            Expectation(0.2, Cell(row(NT_XENT, size), OFF), 0.0, "the batches follow the formula")
            for size in BATCHES
        ),
        ahead(row(MASKED, large), row(NT_XENT, large), "1 label", 2, "they pushed classes apart"),
        ahead(row(MASKED, small), row(NT_XENT, small), "1 label", 2),
        ahead(row(MASKED, large), row(NT_XENT, large), "5 labels", 1),
        ahead(row(SUPCON, large), row(MASKED, large), "1 label", 3, "and now they are pulled"),
        ahead(row(SUPCON, large), row(NT_XENT, large), "1 label", 8, "SupCon knows all labels"),
        ahead(row(SUPCON, small), row(NT_XENT, small), "1 label", 8),
    ]


CLAIM = Claim(
    name="same-class",
    title="Negatives of the same class",
    statement="A tenth of the negatives of ten classes show the class of the image itself. The "
    "loss pushes them away too; without them, or with them as positives, classes separate better.",
    lecture="12, section 1",
    measure=measure,
    expectations=expected(),
    figure=figure,
    scales=digits.scales(
        quick={"small batch": 8, "large batch": 16, "steps": 2},
        small={"small batch": 32, "large batch": 128, "steps": 400},
        full={"small batch": 128, "large batch": 1024, "steps": 3000},
    ),
    settings=[SimCLRSettings],
    own=(*digits.OWN, *BATCHES),
    packages=digits.PACKAGES,
    formats={digits.column(count): ".1f" for count in LABELS} | {NUMBER: ".1f", SHARE: ".2f"},
    rows="accuracy in %, labels per class",
    about=digits.DATA + " Batches of 32 and 128 images, all arms with the same views in the same "
    "400 steps. Left out: an oracle with all labels takes negatives of the same class out of "
    "NT-Xent. SupCon has them as positives. Counted in the batches of the training, where an image "
    "is drawn once. Seen: the count is the formula's, 25 of 254 in a batch of 128. To leave them "
    "out gains 7 points with one label per class in both batches, and it does so without naming "
    "one class. SupCon gains 13.5 in the large batch; in the small one it is unsteady, 50 to 83 "
    "%, below NT-Xent with one of the seeds.",
)
