"""Homework 4, the experiment: which temperature?

Write the bodies of the four functions, then run the file. HW4.md says what the report is to have.

    python experiment.py      # half a minute: results.json and figure.svg
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.autograd import no_grad
from minissl.autograd.tensor import Tensor
from minissl.figures import new_figure
from minissl.losses.contrastive import nt_xent  # yours: from hw4 import nt_xent
from minissl.models.convolutional import ConvEncoder
from minissl.optim.adamw import AdamW
from minissl.palette import BLUE, RED
from minissl.training.diagnostics import z_std  # yours: from hw4 import z_std
from minissl.training.plain import plain_loop
from minissl.vision.augment import digits_augmentation
from minissl.vision.images import LabelledSplit, load_digits

# One thing is changed; all else is the same for every setting. You may add a setting.
SETTINGS = {
    "untrained": {"steps": 0, "temperature": 0.5},
    "sharp": {"temperature": 0.05},
    "middle": {"temperature": 0.5},
    "flat": {"temperature": 5.0},
}
TRAINING = {"steps": 600, "width": 16, "batch_size": 64, "learning_rate": 3e-3}
SEEDS = (0, 1, 2)
AUGMENT = digits_augmentation()  # (images, generator) -> views: turned, shifted, darker, noisy


class ViewNetwork:
    """A small convolutional network on two views of each image: a method for ``plain_loop``."""

    def __init__(self, images: NDArray, options: Mapping[str, Any], *, seed: int) -> None:
        self.images, self.options = images, options
        self.model = ConvEncoder(
            images.shape[1],
            widths=(16, 32),
            features=options["width"],
            generator=np.random.default_rng(seed),
        )

    def batch(self, generator: np.random.Generator) -> NDArray:
        """Some images."""
        rows = generator.choice(len(self.images), self.options["batch_size"], replace=False)
        return self.images[rows]

    def loss(self, batch: NDArray, generator: np.random.Generator) -> Tensor:
        """SimCLR's, of two views of every image of the batch."""
        first, second = (self.model(AUGMENT(batch, generator)) for _ in range(2))
        return nt_xent(first, second, self.options["temperature"])

    def represent(self, examples: NDArray) -> NDArray:
        """What the network makes of images: (images, width), of any length."""
        with no_grad():
            return self.model(examples).numpy()


def _unit_rows(rows: NDArray) -> NDArray:
    """Rows of length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def alignment(first: NDArray, second: NDArray) -> float:
    """The mean squared distance of the two views of an image, 0 to 4, for vectors of length 1.

    first, second (images, width): row i of both shows image i. Rows of any length are given, and
    scaled to length 1 first.
    """
    return float(((_unit_rows(first) - _unit_rows(second)) ** 2).sum(axis=1).mean())


def neighbors(first: NDArray, second: NDArray, labels: NDArray) -> float:
    """The share of the rows of ``first`` whose nearest row in ``second`` has their label, 0 to 1.

    first, second (images, width), labels (images,). Near is what has a large cosine. Row i of
    ``second`` shows the same image as row i of ``first``, and is left out: another image is to be
    found.
    """
    cosines = _unit_rows(first) @ _unit_rows(second).T
    np.fill_diagonal(cosines, -np.inf)
    return float(np.mean(labels[cosines.argmax(axis=1)] == labels))


def measure(split: LabelledSplit, options: Mapping[str, Any], seed: int) -> dict[str, float]:
    """Train on the training images, and say in three numbers what came of it on the test images.

    ``options``: those of ``TRAINING`` with a ``temperature``. A ``ViewNetwork`` of the training
    images is trained by ``plain_loop`` with ``AdamW`` for ``steps`` updates; the seed is that of
    the network and of the loop. Then two views of every test image are made by ``AUGMENT`` with one
    generator, ``np.random.default_rng(seed)``: first the first views of all, then the second ones.
    The numbers are of what the network makes of these (``represent``):

    - "spread": ``z_std`` of the first views;
    - "alignment": ``alignment`` of both;
    - "neighbors": ``neighbors`` of both.

    The same seed gives the same numbers, another seed others.
    """
    method = ViewNetwork(split.train_images, options, seed=seed)
    optimizer = AdamW(method.model.named_parameters(), lr=options["learning_rate"])
    plain_loop(method, optimizer, options["steps"], seed=seed)
    generator = np.random.default_rng(seed)
    views = (AUGMENT(split.test_images, generator) for _ in range(2))
    first, second = (method.represent(v) for v in views)
    return {
        "spread": z_std(first),
        "alignment": alignment(first, second),
        "neighbors": neighbors(first, second, split.test_labels),
    }


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The plot for the report: the three numbers of every setting, every seed to be seen."""
    figure, axes = new_figure(3)
    names = list(dict.fromkeys(row["setting"] for row in rows))
    for axis, (measured, marker) in zip(
        axes, (("spread", "s"), ("alignment", "^"), ("neighbors", "o"))
    ):
        for at, name in enumerate(names):
            own = [row[measured] for row in rows if row["setting"] == name]
            axis.plot([at] * len(own), own, marker, color=BLUE, markersize=6, alpha=0.6)
            axis.plot([at - 0.2, at + 0.2], 2 * [np.mean(own)], color=RED)
        axis.set_xticks(range(len(names)), names, rotation=30)
        axis.set(ylabel=f"{measured} (line: mean)", ylim=(0, None), xlim=(-0.5, len(names) - 0.5))
    figure.savefig(path)


def milestone(rows: Sequence[Mapping[str, Any]], split: LabelledSplit) -> None:
    """Say what neighbors the pixels of views find, without any network, and whether the loss helps.

    It does when one setting with training is above the pixels and the untrained network with every
    seed.
    """
    least: list[float] = []
    for seed in SEEDS:
        generator = np.random.default_rng(seed)
        views = (AUGMENT(split.test_images, generator) for _ in range(2))
        first, second = (v.reshape(len(v), -1) for v in views)
        least.append(neighbors(first, second, split.test_labels))
    print(f"neighbors of pixels, without any network: {', '.join(f'{p:.3f}' for p in least)}")
    least += [row["neighbors"] for row in rows if row["setting"] == "untrained"]
    for name in {row["setting"] for row in rows} - {"untrained"}:
        if all(row["neighbors"] > max(least) for row in rows if row["setting"] == name):
            whose = "Your" if nt_xent.__module__ == "hw4" else "The library's"
            print(f"{whose} loss keeps digits apart.")
            return


def main() -> None:
    """Measure every setting with every seed; write the rows, draw them, and say how it went."""
    split, rows = load_digits(), []
    for setting, changed in SETTINGS.items():
        for seed in SEEDS:
            measured = measure(split, {**TRAINING, **changed}, seed)
            rows.append({"setting": setting, "seed": seed, **measured})
            print(rows[-1], flush=True)
    Path("results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    draw(rows, Path("figure.svg"))
    milestone(rows, split)


if __name__ == "__main__":
    main()
