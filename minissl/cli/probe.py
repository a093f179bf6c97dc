"""what a few labels are worth on a pretrained model's representation"""

from __future__ import annotations

import argparse

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
probes on the raw inputs and on the untrained network, and asks the k nearest neighbors. The
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
    from minissl.adapt import evaluation as ev
    from minissl.adapt.representations import few_label_counts, networks_of, split_with_classes
    from minissl.data.classes import require_two
    from minissl.pretrain.run import open_run

    opened = open_run(arguments.folder)
    kind = type(opened.method).Data.with_labels
    fields = fields_from(arguments)
    raw = kind.read(arguments.data, opened.settings, fields)
    tell_what_was_fitted(raw)
    data = opened.data.labelled(raw)
    require_two(data.class_names, len(data), "examples")
    split = split_with_classes(data)
    labels, left_out = few_label_counts(data, split, arguments.labels)
    if not labels:
        raise ValueError(f"--labels: {left_out}: ask for fewer labels")
    measures = ev.Measures(
        draws=arguments.draws, standardize=arguments.standardize, seed=arguments.seed
    )
    features = {data.raw_name: data.raw}
    for name, method in networks_of(opened, seed=arguments.seed).items():
        method.to(arguments.device)
        features[name] = method.represent(data.inputs, progress=name)
    k = measures.neighbors(len(split.train))
    print(
        f"{len(split.train)} training and {len(split.test)} test examples, "
        f"{len(data.class_names)} classes"
    )
    way = "each by its deviation" if arguments.standardize else "all by one number"
    print(f"for the probes features are centered and divided, {way}")
    print(f"{'labels per class':20}" + "".join(f"{n:>8}" for n in labels) + f"{f'{k}-NN':>8}")
    for name, vectors in features.items():
        vote, few = ev.neighbors_and_few(vectors, split, labels, measures)
        cells = [f"{100 * accuracies.mean():8.1f}" for accuracies in few.values()]
        print(f"{name:20}" + "".join(cells) + f"{100 * vote:8.1f}")
    if left_out:
        print(left_out)
