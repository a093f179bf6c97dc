"""Homework 6, the experiment: which triplets?

Write the bodies of the four functions, then run the file. HW6.md says what the report is to have.

    python experiment.py      # well under a minute: results.json and figure.svg
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
from minissl.losses.contrastive import normalize
from minissl.losses.distances import pairwise_distances
from minissl.losses.triplets import mined_triplet_loss
from minissl.models.convolutional import ConvEncoder
from minissl.optim.adamw import AdamW
from minissl.palette import BLUE, RED
from minissl.training.plain import plain_loop
from minissl.vision.images import LabelledSplit, load_digits

# One thing is changed; all else is the same for every setting. You may add a setting.
SETTINGS = {
    "all": {"mining": "all"},
    "semi-hard": {"mining": "semi-hard"},
    "hardest": {"mining": "hard"},
}
TRAINING = {"steps": 200, "width": 3, "margin": 0.2, "batch_size": 64, "learning_rate": 3e-3}
SEEDS = (0, 1, 2)


class TripletNetwork:
    """A small convolutional network on triplets of its batches: a method for ``plain_loop``."""

    def __init__(
        self, images: NDArray, labels: NDArray, options: Mapping[str, Any], *, seed: int
    ) -> None:
        self.images, self.labels, self.options = images, labels, options
        self.model = ConvEncoder(
            images.shape[1],
            widths=(16, 32),
            features=options["width"],
            generator=np.random.default_rng(seed),
        )

    def batch(self, generator: np.random.Generator) -> NDArray:
        """The row numbers of some images."""
        return generator.choice(len(self.images), self.options["batch_size"], replace=False)

    def loss(self, batch: NDArray, generator: np.random.Generator) -> Tensor:
        """FaceNet's: squared distances of unit vectors, over the triplets that are mined."""
        options, rows = self.options, self.model(self.images[batch])
        return mined_triplet_loss(
            rows, self.labels[batch], margin=options["margin"], mining=options["mining"]
        )

    def represent(self, examples: NDArray) -> NDArray:
        """Unit vectors (images, width)."""
        with no_grad():
            return normalize(self.model(examples)).numpy()


def active_share(distances: NDArray, labels: NDArray, margin: float) -> float:
    """The share of all triplets that still have a loss, 0 to 1.

    distances (rows, rows), as the loss sees them; labels (rows,). A triplet is an anchor a, another
    row p of its label and a row n of another label, and it has a loss where d(a, p) − d(a, n) +
    margin is above 0. For thousands of rows there are too many triplets for one array: go through
    the anchors, and count.
    """
    same = labels[:, None] == labels[None, :]
    others = same & ~np.eye(len(labels), dtype=bool)
    active = every = 0
    for row, positive, negative in zip(distances, others, ~same):
        gaps = row[positive][:, None] - row[negative][None, :] + margin
        active, every = active + int((gaps > 0).sum()), every + gaps.size
    return active / every


def recall_at_1(embeddings: NDArray, labels: NDArray) -> float:
    """The share of the rows whose nearest other row has the same label, 0 to 1.

    embeddings (rows, width), labels (rows,). Near is what has a small Euclidean distance.
    """
    distances = pairwise_distances(embeddings).numpy().copy()
    np.fill_diagonal(distances, np.inf)
    return float(np.mean(labels[distances.argmin(axis=1)] == labels))


def measure(split: LabelledSplit, options: Mapping[str, Any], seed: int) -> dict[str, float]:
    """Train on the training images, and say in three numbers what came of it on the test images.

    ``options``: those of ``TRAINING`` with a ``mining``. A ``TripletNetwork`` of the training
    images is trained by ``plain_loop`` with ``AdamW`` for ``steps`` updates; the seed is that of
    the network and of the loop. The numbers are of what it makes of the test images
    (``represent``):

    - "active": ``active_share`` of all their triplets, by squared distances as the loss has them;
    - "recall": ``recall_at_1``;
    - "apart": the mean squared distance of two test images of different labels, 0 to 4.

    The same seed gives the same numbers, another seed others.
    """
    method = TripletNetwork(split.train_images, split.train_labels, options, seed=seed)
    optimizer = AdamW(method.model.named_parameters(), lr=options["learning_rate"])
    plain_loop(method, optimizer, options["steps"], seed=seed)
    rows, labels = method.represent(split.test_images), split.test_labels
    distances = pairwise_distances(rows, squared=True).numpy()
    return {
        "active": active_share(distances, labels, options["margin"]),
        "recall": recall_at_1(rows, labels),
        "apart": float(distances[labels[:, None] != labels[None, :]].mean()),
    }


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The plot for the report: recall and active share of every setting, every seed to be seen."""
    figure, axes = new_figure(2)
    names = list(dict.fromkeys(row["setting"] for row in rows))
    shown = (("recall", "recall at 1", "o"), ("active", "active triplets", "s"))
    for axis, (measured, label, marker) in zip(axes, shown):
        for at, name in enumerate(names):
            own = [row[measured] for row in rows if row["setting"] == name]
            axis.plot([at] * len(own), own, marker, color=BLUE, markersize=6, alpha=0.6)
            axis.plot([at - 0.2, at + 0.2], 2 * [np.mean(own)], color=RED)
        axis.set_xticks(range(len(names)), names)
        axis.set(ylabel=f"{label} (share; line: mean)", ylim=(0, 1.05), xlim=(-0.5, 2.5))
    figure.savefig(path)


def main() -> None:
    """Measure every setting with every seed; write the rows, and draw them."""
    split, rows = load_digits(), []
    for setting, changed in SETTINGS.items():
        for seed in SEEDS:
            measured = measure(split, {**TRAINING, **changed}, seed)
            rows.append({"setting": setting, "seed": seed, **measured})
            print(rows[-1], flush=True)
    Path("results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    draw(rows, Path("figure.svg"))


if __name__ == "__main__":
    main()
