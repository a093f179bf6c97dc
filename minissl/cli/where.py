"""The options of every command that computes: on which device, and in which precision."""

from __future__ import annotations

import argparse


def add_device(parser: argparse.ArgumentParser, *, precision: bool = False) -> None:
    """Add ``--device`` and, for training, ``--precision``."""
    parser.add_argument(
        "--device",
        default="cpu",
        metavar="cpu|cuda|auto",
        help="where to compute: NumPy on the processor, a GPU (cuda, cuda:1), or a GPU if there is "
        "one (default: %(default)s)",
    )
    if precision:
        parser.add_argument(
            "--precision",
            default="float32",
            choices=("float32", "bfloat16"),
            help="bfloat16: faster on a GPU, the weights stay float32 (default: %(default)s)",
        )


def out_of_memory_advice(error: BaseException) -> str:
    """What to try when a GPU's memory was too small; "" for any other error."""
    if type(error).__name__ != "OutOfMemoryError":
        return ""
    return (
        "\nThe GPU's memory is too small for this: use a smaller --batch-size, "
        "--precision bfloat16, a smaller model, or --device cpu"
    )
