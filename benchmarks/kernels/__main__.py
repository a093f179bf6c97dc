"""Every Triton kernel beside its peers, on one GPU: correctness first, then times.

All tables take less than ten minutes; each row is on disk as soon as it is measured.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

from benchmarks.gpu_day.rows import Group
from benchmarks.gpu_session import make_parser, measure_tables, missing, parse, say

TABLES = (  # attention, which has most rows, gets what the others leave of the time
    "layer_norm", "cross_entropy", "linear_cross_entropy", "contrastive", "attention",
)  # fmt: skip
MODULE = "benchmarks.kernels"

EPILOG = """\
`python -m benchmarks.gpu_day` brings checks, tests and the headline rows of this benchmark in a few
minutes; here are all rows, from a fresh checkout on a machine with a GPU:

    python -m venv .venv && . .venv/bin/activate
    pip install -e ".[test]" liger-kernel cut-cross-entropy   # a torch built for the GPU's CUDA
    pytest -m gpu tests/kernels                # correctness first, on the compiled kernels
    python -m benchmarks.kernels               # all tables -> benchmarks/results/kernels_<gpu>.md
    python -m benchmarks.kernels --tune        # which block sizes are fastest here

liger-kernel and cut-cross-entropy are optional: a peer that is absent is an entry in the table.
The attention kernel of Triton's tutorial is not part of this repository; to see it in the table,
download python/tutorials/06-fused-attention.py of triton-lang/triton, at the tag of the installed
version, and name the file: --tutorial 06-fused-attention.py. It is imported, so look at it first.

Without a GPU, --dry-run walks through every benchmark at tiny sizes in Triton's interpreter.
"""


def arguments() -> argparse.Namespace:
    parser = make_parser(MODULE, TABLES, __doc__, EPILOG)
    parser.add_argument("--tune", action="store_true", help="measure each kernel's CANDIDATES")
    parser.add_argument("--tutorial", type=Path, metavar="PATH", help="Triton's 06-fused-attention")
    given = parse(parser, TABLES)
    if given.tutorial is not None and not given.tutorial.is_file():
        parser.error(f"--tutorial: there is no file {given.tutorial}")
    return given


def command(name: str, given: argparse.Namespace) -> str:
    """What was typed, for this table alone, without the folders of this machine."""
    words = ["python", "-m", MODULE, name, *(["--tune"] if given.tune else [])]
    if name == "attention" and given.tutorial:
        words += ["--tutorial", given.tutorial.name]
    return shlex.join([*words, *(["--dry-run"] if given.dry_run else [])])


def main() -> int:
    given = arguments()
    if given.dry_run:
        os.environ["TRITON_INTERPRET"] = "1"  # triton reads it when it is imported
    elif lacking := missing():
        say(f"{MODULE}: {lacking}")
        return 2
    groups = [Group(name, limit=120, peers=True, tune=given.tune) for name in given.names]
    commands = {group: command(group.name, given) for group in groups}
    return measure_tables(commands, given, tutorial=given.tutorial)


if __name__ == "__main__":
    sys.exit(main())
