"""Lecture 12: the augmentation decides what a representation keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.claims import simclr_on_digits as digits
from minissl.claims.claim import Claim, Measured, Setup, ahead
from minissl.claims.drawing import DOTS
from minissl.figures import legend, new_figure
from minissl.palette import BLUE, BLUE_TINT, EDGES, GREEN, GREEN_TINT, PAPER, RED, RED_TINT
from minissl.pretrain.images.simclr import SimCLRSettings
from minissl.vision.augment import compose, digits_augmentation
from minissl.vision.images import LabelledSplit
from minissl.vision.warp import affine_warp, shift

AUGMENTATIONS = {
    "none": compose(),
    "photometric": digits_augmentation(geometry=False),
    "geometric": digits_augmentation(photometric=False),
    "both": digits_augmentation(),
    "too strong": digits_augmentation(
        degrees=90, zoom_range=(0.5, 1.5), shift_pixels=3, noise=0.4, intensity=0.8
    ),
}
ACCURACY, FIVE = "accuracy (%), 1 label", "accuracy (%), 5 labels"
INTENSITY, PLACE = "intensity kept (R²)", "place kept (R²)"
INTENSITY_AFTER, PLACE_AFTER = "intensity, after the head", "place, after the head"


def measure(setup: Setup) -> Measured:
    """The same training with each augmentation: what the features know of digit, light, place."""
    data = digits.load(setup)
    untrained = digits.random_network(setup, data)
    table = {
        digits.RAW: examine(setup, data, digits.raw_pixels),
        digits.RANDOM: examine(setup, data, untrained.represent, partial(digits.embed, untrained)),
    }
    for name, augment in AUGMENTATIONS.items():
        setup.note(name)
        if name == "both":  # what the settings say, and no argument beside them
            method = digits.shared_simclr(setup, data, name)
        else:
            method, _ = digits.pretrain(setup, data, augment)
        table[name] = examine(setup, data, method.represent, partial(digits.embed, method))
    return Measured(table)


def examine(
    setup: Setup,
    data: LabelledSplit,
    represent: digits.Represent,
    embed: digits.Represent | None = None,
) -> dict[str, float]:
    """A row of the table; ``embed``: the features after the head, if there is one."""
    accuracy = digits.probe(setup, data, represent, (1, 5))
    row = {
        ACCURACY: accuracy[digits.column(1)],
        FIVE: accuracy[digits.column(5)],
        INTENSITY: kept(setup, data, represent, dimmed),
        PLACE: kept(setup, data, represent, moved),
    }
    if embed is not None:
        row[INTENSITY_AFTER] = kept(setup, data, embed, dimmed)
        row[PLACE_AFTER] = kept(setup, data, embed, moved)
    return row


def dimmed(images: NDArray, amounts: NDArray) -> NDArray:
    """Each image darker or brighter by up to 30 %: amounts (count,) in [-1, 1]."""
    return (images * (1 + 0.3 * amounts[:, None, None, None])).astype(np.float32)


def moved(images: NDArray, amounts: NDArray) -> NDArray:
    """Each image to the left or right by up to a pixel: amounts (count,) in [-1, 1]."""
    return affine_warp(images, shift(np.zeros(len(images)), amounts))


def kept(
    setup: Setup,
    data: LabelledSplit,
    represent: digits.Represent,
    change: Callable[[NDArray, NDArray], NDArray],
) -> float:
    """How much of a random change can be read off the features by a straight line: R², 0 to 1.

    Ridge regression, fitted on changed training images, judged on changed test images.
    """
    generator = np.random.default_rng([setup.seed, 8])
    features, targets = [], []
    for images in (data.train_images, data.test_images):
        amounts = generator.uniform(-1, 1, len(images))
        features.append(represent(change(images, amounts)).astype(np.float64))
        targets.append(amounts)
    mean, scale = features[0].mean(axis=0), features[0].std() or 1.0
    x, tests = ((part - mean) / scale for part in features)
    gram = x.T @ x + 1e-2 * len(x) * np.eye(x.shape[1])
    weight = np.linalg.solve(gram, x.T @ (targets[0] - targets[0].mean()))
    errors = targets[1] - (tests @ weight + targets[0].mean())
    return max(0.0, float(1 - np.mean(errors**2) / np.var(targets[1])))


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Above the accuracy, below how much of each change is still in the features."""
    drawn, (above, below) = new_figure(rows=2, width=digits.WIDTH, height=6.4)
    colors = {row: BLUE if row == "both" else BLUE_TINT for row in AUGMENTATIONS}
    digits.bars(above, measured, colors, ACCURACY)
    above.set(xlabel="test accuracy with one label per class (%)", xlim=(0, 100))
    rows = [*AUGMENTATIONS, digits.RANDOM]
    places = np.arange(len(rows))[::-1]
    for column, color, side in (
        (INTENSITY, GREEN_TINT, 0.19),
        (INTENSITY_AFTER, GREEN, 0.19),
        (PLACE, RED_TINT, -0.19),
        (PLACE_AFTER, RED, -0.19),
    ):
        values = np.stack([digits.over_seeds(measured, row, column) for row in rows])
        edge = EDGES.get(color, PAPER)
        hatch = ("////" if side < 0 else "") + (".." if edge == PAPER else "")
        below.barh(
            places + side, values.mean(axis=1), 0.36, color=color, edgecolor=edge, hatch=hatch,
            label=column,
        )  # fmt: skip
        for place, seeds in zip(places + side, values):
            below.plot(seeds, np.full(len(seeds), place), **DOTS)
    below.set_yticks(places, rows)
    below.tick_params(axis="y", length=0)
    below.set(xlabel="part that a linear regression finds in the features", xlim=(0, 1))
    legend(below, loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2, fontsize=9)
    return drawn


CLAIM = Claim(
    name="augmentation",
    title="What the augmentation changes is forgotten",
    statement="The augmentation defines what a contrastive representation keeps: it forgets what "
    "the augmentation changes, so a good one changes all that is not the digit, and no more.",
    lecture="12, section 9",
    measure=measure,
    expectations=(
        ahead("both", "none", ACCURACY, 20),
        ahead("both", "photometric", ACCURACY, 5),
        ahead("both", "geometric", ACCURACY, 3),
        ahead("both", "too strong", ACCURACY, 8, "another digit may look the same"),
        ahead(digits.RANDOM, "none", ACCURACY, 5, "equal views teach nothing worth knowing"),
        ahead("geometric", "photometric", INTENSITY, 0.1, "only one of them changes intensity"),
        ahead("photometric", "geometric", PLACE, 0.1, "only one of them moves the digit"),
        ahead(
            "geometric",
            "photometric",
            INTENSITY_AFTER,
            0.1,
            "written when the two above had failed",
        ),
        ahead("photometric", "geometric", PLACE_AFTER, 0.1),
    ),
    figure=figure,
    scales=digits.scales(),
    settings=[SimCLRSettings],
    own=digits.OWN,
    packages=digits.PACKAGES,
    formats={ACCURACY: ".1f", FIVE: ".1f"},
    about=digits.DATA + " Photometric: brightness, contrast and noise; geometric: turns up to 15 "
    "degrees, zoom and shifts up to a pixel; too strong: turns up to 90 degrees, shifts up to 3 "
    "pixels, four times the noise. Kept: test images are dimmed, or moved sideways, by a random "
    "amount, and a ridge regression on the features guesses the amount. The first run looked at "
    "the representation only, where nothing is forgotten; the columns and expectations about the "
    "embeddings, after the head, were added then and the whole run again. Seen: the head does "
    "the forgetting.",
)
