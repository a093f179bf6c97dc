"""What the claims about SimCLR share: digits -> pretraining -> representation -> linear probes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.adapt.heads.probe import few_label_curve
from minissl.claims.cache import shared
from minissl.claims.claim import Measured, Setup, chosen
from minissl.claims.drawing import DOTS
from minissl.data.images import Images
from minissl.nn.evaluating import evaluating
from minissl.palette import EDGES, GREY, OCHRE
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.pretrain.run import train
from minissl.training import History
from minissl.vision.augment import Augmentation
from minissl.vision.images import LabelledSplit, load_digits

Represent = Callable[[NDArray], NDArray]
HELD_OUT = 256  # test images whose views are examined during training
PACKAGES = ("sklearn",)  # has the digits
OWN = ("draws",)  # what the experiments read in a scale, beside settings: see ``scales``
RAW, RANDOM = "raw pixels", "random network"  # the baselines of every claim here
DATA = (
    "Data: scikit-learn's 1,797 handwritten digits, 1,200 for training, 597 for testing. A seed "
    "decides the split, the initial weights, the batches and which examples are labelled."
)


def scales(
    quick: Mapping[str, Any] | None = None,
    small: Mapping[str, Any] | None = None,
    full: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """The three scales; what is given replaces or adds to what all these claims use."""
    return {
        "quick": {"steps": 3, "batch_size": 32, "evaluations": 1, "draws": 1, **(quick or {})},
        "small": {"steps": 300, "batch_size": 256, "evaluations": 1, "draws": 10, **(small or {})},
        "full": {"steps": 3000, "batch_size": 1024, "evaluations": 1, "draws": 20, **(full or {})},
    }


def column(labels_per_class: int) -> str:
    """The name of the table's column: accuracy of a probe with so many labels per class."""
    return f"{labels_per_class} label" + "s" * (labels_per_class > 1)


def load(setup: Setup) -> LabelledSplit:
    """The digits, split by the seed."""
    return load_digits(seed=setup.seed)


def pretrain(
    setup: Setup, data: LabelledSplit, augment: Augmentation | None = None, **changes: Any
) -> tuple[SimCLR, History]:
    """SimCLR on the training images, without their labels. ``changes``: of the settings."""
    settings = chosen(SimCLRSettings, setup, **changes)
    method = build(setup, data, settings, augment)
    return method, train(method, settings, seed=setup.seed, progress=False)


def shared_simclr(setup: Setup, data: LabelledSplit, row: str, **changes: Any) -> SimCLR:
    """The same method as ``pretrain`` gives, where its history is not asked for: see ``cache``.

    ``row``: where it stands in the table.
    """
    settings = chosen(SimCLRSettings, setup, **changes)
    found = shared(setup, SimCLR, Images(data.train_images), settings, row=row)
    method: SimCLR = found.method
    return method


def build(
    setup: Setup,
    data: LabelledSplit,
    settings: SimCLRSettings,
    augment: Augmentation | None = None,
) -> SimCLR:
    """The method before the first step, on the device."""
    model = SimCLR.new_model(settings, seed=setup.seed)
    model.to(setup.device)
    return SimCLR(
        model,
        data.train_images,
        augment or settings.augment(),
        batch_size=settings.batch_size,
        loss=settings.loss,
        temperature=settings.temperature,
        held_out=data.test_images[:HELD_OUT],
    )


def random_network(setup: Setup, data: LabelledSplit) -> SimCLR:
    """The network that ``pretrain`` starts from, as it is before the first step."""
    return build(setup, data, chosen(SimCLRSettings, setup))


def raw_pixels(images: NDArray) -> NDArray:
    """The images themselves as features: (count, height · width · channels)."""
    return images.reshape(len(images), -1)


def embed(method: SimCLR, images: NDArray) -> NDArray:
    """What the loss sees of images: (count, embedding), after the head."""
    with evaluating(method.model):
        return method.model(images).numpy()


def probe(
    setup: Setup, data: LabelledSplit, represent: Represent, labels: Sequence[int] = (1,)
) -> dict[str, float]:
    """Test accuracy in percent for each number of labels per class, the mean over the draws.

    Every representation meets the same draws of labelled examples.
    """
    curve = few_label_curve(
        represent(data.train_images),
        data.train_labels,
        represent(data.test_images),
        data.test_labels,
        labels_per_class=labels,
        draws=setup.settings["draws"],
        seed=setup.seed,
    )
    return {column(point.labels_per_class): 100 * point.mean for point in curve}


def baselines(
    setup: Setup, data: LabelledSplit, labels: Sequence[int] = (1,)
) -> dict[str, dict[str, float]]:
    """Two rows of the table that need no pretraining: pixels, and a network that learnt nothing."""
    untrained = random_network(setup, data)
    return {
        RAW: probe(setup, data, raw_pixels, labels),
        RANDOM: probe(setup, data, untrained.represent, labels),
    }


# ---- for the figures ----------------------------------------------------------------------------

WIDTH = 5.0  # inches: in a column of 390 pixels the letters stay readable


def over_seeds(measured: Sequence[Measured], row: str, column: str) -> NDArray[np.float64]:
    """One cell for every seed: (seeds,)."""
    return np.array([run.table[row][column] for run in measured])


def bars(axis: Any, measured: Sequence[Measured], colors: Mapping[str, str], column: str) -> None:
    """A horizontal bar per row (its name: its color), the baselines below them.

    The mean over the seeds, a dot for every seed, a dotted line where the random network is.
    """
    colors = {**colors, RANDOM: OCHRE, RAW: GREY}
    values = np.stack([over_seeds(measured, row, column) for row in colors])
    places = np.arange(len(colors))[::-1]
    axis.barh(
        places, values.mean(axis=1), height=0.62, color=[*colors.values()],
        edgecolor=[EDGES.get(color, color) for color in colors.values()],
    )  # fmt: skip
    for place, seeds in zip(places, values):
        axis.plot(seeds, np.full(len(seeds), place), **DOTS)
    axis.axvline(values[-2].mean(), color=OCHRE, linestyle=":", linewidth=1.4)
    axis.set_yticks(places, [name.replace(", ", ",\n") for name in colors])
    axis.tick_params(axis="y", length=0)
