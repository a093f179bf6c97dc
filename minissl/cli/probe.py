"""``minissl probe``: what a few labels are worth on a pretrained encoder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from minissl.cli.where import add_device


def add(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "probe",
        help="linear probes and nearest neighbours on a pretrained encoder",
        description="Fits linear probes on the frozen features of a SimCLR run with few labels per "
        "class, beside the same probes on raw pixels and on the untrained encoder. The images lie "
        "in one folder per class; a third of them is kept for testing. Pretraining may have seen "
        "these images too, without their labels.",
        epilog="""examples:
  minissl probe runs/demo/simclr                      scikit-learn's digits
  minissl probe runs/photos labelled/ --labels 1 5 20""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="a run folder of `minissl pretrain simclr`")
    parser.add_argument("data", nargs="?", type=Path, help="class folders (default: the digits)")
    parser.add_argument(
        "--labels", type=int, nargs="+", default=[1, 2, 5, 10, 20, 50], help="labels per class"
    )
    parser.add_argument("--draws", type=int, default=10, help="of labelled examples (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    add_device(parser)
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> None:
    """Print accuracies in percent, a row per representation."""
    import numpy as np

    from minissl.adapt.linear_probe import few_label_curve
    from minissl.adapt.nearest_neighbors import nearest_neighbor_accuracy
    from minissl.pretrain.simclr import SimCLR
    from minissl.pretrain.simclr_run import augmentation, build_simclr, open_simclr, read_images

    method, settings = open_simclr(arguments.folder)
    data = read_images(arguments.data, settings)
    if data.labels is None:
        raise ValueError(
            f"{arguments.data} has images outside of class folders: put the images of each class "
            "into a folder of their own, named after the class"
        )
    order = np.random.default_rng(arguments.seed).permutation(len(data.images))
    test, train = np.split(order, [len(order) // 3])
    untrained = SimCLR(
        build_simclr(settings, seed=arguments.seed),
        data.images,
        augmentation(settings),
        batch_size=1,
    )
    for part in (method, untrained):
        part.model.to(arguments.device)
    features = {
        "raw pixels": data.images.reshape(len(data.images), -1),
        "untrained encoder": untrained.represent(data.images),
        "pretrained encoder": method.represent(data.images),
    }
    smallest = int(np.bincount(data.labels[train], minlength=len(data.class_names)).min())
    labels = [count for count in arguments.labels if count <= smallest]
    if not labels:
        raise ValueError(f"the smallest class has {smallest} training images: ask for fewer labels")
    print(f"{len(train)} training and {len(test)} test images, {len(data.class_names)} classes")
    print(f"{'labels per class':20}" + "".join(f"{count:>8}" for count in labels) + f"{'kNN':>8}")
    for name, vectors in features.items():
        split = (vectors[train], data.labels[train], vectors[test], data.labels[test])
        curve = few_label_curve(
            *split, labels_per_class=labels, draws=arguments.draws, seed=arguments.seed
        )
        neighbors = nearest_neighbor_accuracy(*split, k=min(200, len(train) // 10))
        cells = [f"{100 * point.mean:8.1f}" for point in curve] + [f"{100 * neighbors:8.1f}"]
        print(f"{name:20}" + "".join(cells))
