"""a vector for every image or text, from a pretrained model"""

from __future__ import annotations

import argparse
from pathlib import Path

from minissl.cli._shared import (
    DATA_HELP,
    add_base,
    add_device,
    add_fields,
    add_run_and_data,
    fields_from,
    other_than,
    path,
)

DESCRIPTION = """\
Writes what the model of a run makes of each example: an .npz file with `features` (examples, width)
in float32 and `names` (examples,), in the order of the names. Texts longer than the model's context
are cut at its end. numpy.load reads the file without pickle."""
EXAMPLES = """\
examples:
  minissl embed runs/photos photos/ --out photos.npz
  minissl embed runs/book notes.txt --out notes.npz"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_run_and_data(parser, f"{DATA_HELP} (default: what every machine has)")
    parser.add_argument(
        "--out", type=path, default=Path("embeddings.npz"), help="(default: %(default)s)"
    )
    add_base(parser)
    add_fields(parser, of_run=True)
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read, represent, write."""
    import io

    import numpy as np

    from minissl.adapt.run import open_any
    from minissl.durable import make_parents, replace_durably

    if arguments.out.suffix != ".npz":
        raise ValueError(f"--out {arguments.out}: expected a name that ends with .npz")
    other_than(arguments.out, arguments.data)
    opened = open_any(arguments.folder, arguments.base)
    fields = fields_from(arguments, opened.read_fields())
    raw = opened.read_examples(arguments.data, fields)
    examples = opened.data.examples(raw)
    make_parents(arguments.out)
    opened.method.to(arguments.device)
    features = np.asarray(opened.method.represent(examples.inputs, progress="features"), np.float32)
    file = io.BytesIO()
    np.savez(file, features=features, names=np.array(examples.names, dtype=np.str_))
    replace_durably(arguments.out, file.getvalue())
    print(f"{arguments.out}: {len(features):,} vectors of {features.shape[1]} numbers")
    if len(zero := np.flatnonzero(~features.any(axis=1))):
        print(
            f"{len(zero):,} of them are all 0, of {examples.names[zero[0]]} for example: the "
            "run knows nothing that is in there"
        )
