"""``minissl demo``: both pretraining runs, one table, one page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from minissl.cli.where import add_device


def add(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "demo",
        help="pretrain a GPT and SimCLR on data that is already here; write a report",
        description="Trains a tokenizer and a GPT on the English that ships with Python, and "
        "SimCLR on scikit-learn's digits; compares both with simple baselines, prints a table and "
        "writes report.html. About three minutes on two cores. An interrupted demo continues.",
        epilog="example:\n  minissl demo --out runs/demo --seed 1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="(default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything (default: %(default)s)")
    add_device(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the training, to see that it works"
    )
    parser.add_argument("--part", choices=("text", "images"), help=argparse.SUPPRESS)
    parser.set_defaults(function=run)


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
