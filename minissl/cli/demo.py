"""pretrain a GPT and SimCLR on data that is already here; write a report"""

from __future__ import annotations

import argparse
from pathlib import Path

from minissl.cli._shared import add_device, add_seed, path

DESCRIPTION = """\
Trains a tokenizer and a GPT on the English that ships with Python, and SimCLR on scikit-learn's
digits; compares both with simple baselines, prints a table and writes report.html. About three
minutes on two cores. An interrupted demo continues."""
EXAMPLES = "example:\n  minissl demo --out runs/demo --seed 1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--out", type=path, default=Path("runs/demo"), help="(default: %(default)s)"
    )
    add_seed(parser, "of everything")
    add_device(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the training, to see that it works"
    )
    parser.add_argument("--part", choices=("text", "images"), help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> None:
    """Run the demo."""
    from minissl.autograd.devices import resolve_device
    from minissl.demo.demo import run_demo, run_part

    options = {
        "seed": arguments.seed,
        "device": resolve_device(arguments.device),
        "progress": not arguments.quiet,
        "quick": arguments.quick,
    }
    if arguments.part:  # one of the two processes that run_demo starts
        run_part(arguments.part, arguments.out, **options)
    else:
        run_demo(arguments.out, **options)
