"""an adaptation by LoRA becomes a network of its own, which needs no base"""

from __future__ import annotations

import argparse

from minissl.cli._shared import add_base, path

DESCRIPTION = """\
Adds what `minissl adapt lora` has learned to the weights of the network, or puts the weights that
`adapt bias` and `adapt last-layers` have trained in their places, and writes all of them in a new
folder. It holds what fine-tuning would: predict, evaluate and embed open it without the pretrained
run, and it answers the same, up to rounding. Adapters, prompts, prefixes, experts and new layers
act on the input by themselves and cannot be merged. The folder is not trained further: there is no
state of an optimizer for all these weights."""
EXAMPLES = """\
examples:
  minissl merge runs/reviews --out runs/reviews-merged
  minissl predict runs/reviews-merged more.csv"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is read and what is written."""
    parser.add_argument("folder", type=path, metavar="RUN", help="the folder of an adaptation")
    parser.add_argument(
        "--out", type=path, metavar="FOLDER", required=True, help="a new folder for all weights"
    )
    add_base(parser)


def run(arguments: argparse.Namespace) -> None:
    """Merge, write, say what it is."""
    from minissl.adapt.costs import readable
    from minissl.adapt.merging import save_merged
    from minissl.adapt.run import open_adaptation

    opened = open_adaptation(arguments.folder, arguments.base)
    merged = save_merged(opened, arguments.out)
    size = sum(tensor.array.nbytes for _, tensor in merged.model.named_tensors())
    print(
        f"{arguments.out}: what {opened.name} learned is in {merged.model.num_parameters():,} "
        f"weights, {readable(size)}; no other run is needed"
    )
    print(f"now: minissl predict {arguments.out} DATA")
