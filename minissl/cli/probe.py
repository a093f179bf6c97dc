"""what a few labels are worth on a pretrained model's representation"""

from __future__ import annotations

import argparse
from typing import Any

from minissl.cli._shared import (
    add_device,
    add_fields,
    add_run_and_data,
    add_seed,
    argument,
    fields_from,
    tell_what_was_fitted,
)

DESCRIPTION = """\
Fits linear probes on the frozen representation of a run with few labels per class, beside the same
probes on the raw inputs and on the untrained network, and asks the k nearest neighbours. The
examples lie in one folder per class, in a table or an .npz, or are a data set; a third of them is
kept for testing, or its own test set. Pretraining may have seen these examples too, without their
labels. `minissl adapt probe` fits one probe and keeps it."""
EXAMPLES = """\
examples:
  minissl probe runs/demo/simclr                      scikit-learn's digits
  minissl probe runs/photos labelled/ --labels 1 5 20"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_run_and_data(parser, "labelled examples (default: what every machine has)")
    parser.add_argument(
        "--labels", type=argument(1, least=1), nargs="+", default=[1, 2, 5, 10, 20, 50],
        metavar="N", help="labels per class",
    )  # fmt: skip
    parser.add_argument(
        "--draws", type=argument(10, least=1), default=10, metavar="N",
        help="of labelled examples (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--standardize", action="store_true",
        help="divide each feature by its own deviation; without it all by one number",
    )  # fmt: skip
    add_seed(parser)
    add_device(parser)
    add_fields(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print accuracies in percent, a row per representation."""
    import numpy as np

    from minissl.adapt.heads.neighbors import nearest_neighbor_accuracy
    from minissl.adapt.heads.probe import few_label_curve
    from minissl.data.labels import split_labelled
    from minissl.pretrain.run import open_run

    opened = open_run(arguments.folder)
    kind = type(opened.method).Data.with_labels
    fields = fields_from(arguments)
    raw = kind.read(arguments.data, opened.settings, fields)
    tell_what_was_fitted(raw)
    data = opened.data.labelled(raw)
    untrained = type(opened.method).build(opened.settings, opened.data, seed=arguments.seed)
    features: dict[str, Any] = {data.raw_name: data.raw}
    for name, method in (("untrained network", untrained), ("pretrained network", opened.method)):
        method.to(arguments.device)
        features[name] = method.represent(data.inputs, progress=name)
    train, test = split_labelled(len(data), data.held_out)
    if len(data.class_names) < 2:
        raise ValueError(
            f"{len(data)} labelled examples of {len(data.class_names)} class(es): a probe needs two"
        )
    smallest = int(np.bincount(data.labels[train], minlength=len(data.class_names)).min())
    labels = [number for number in arguments.labels if number <= smallest]
    if not labels:
        raise ValueError(
            f"--labels: the smallest class has {smallest} training examples: ask for fewer labels"
        )
    k = max(1, min(200, len(train) // 10))
    print(f"{len(train)} training and {len(test)} test examples, {len(data.class_names)} classes")
    way = "each by its deviation" if arguments.standardize else "all by one number"
    print(f"for the probes features are centred and divided, {way}")
    print(f"{'labels per class':20}" + "".join(f"{n:>8}" for n in labels) + f"{f'{k}-NN':>8}")
    for name, vectors in features.items():
        split = (vectors[train], data.labels[train], vectors[test], data.labels[test])
        curve = few_label_curve(
            *split, labels_per_class=labels, draws=arguments.draws, seed=arguments.seed,
            standardize=arguments.standardize,
        )  # fmt: skip
        neighbors = nearest_neighbor_accuracy(*split, k=k)
        cells = [f"{100 * point.mean:8.1f}" for point in curve] + [f"{100 * neighbors:8.1f}"]
        print(f"{name:20}" + "".join(cells))
    if dropped := [n for n in arguments.labels if n > smallest]:
        print(f"no row for {dropped}: the smallest class has {smallest} training examples")
