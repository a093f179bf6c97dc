"""What both benchmarks on a GPU share: their options, and a process of its own for each table."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec

GPU_FAILED = 3  # exit status of a table's process after an illegal access: the rest in a new one


def make_parser(
    module: str, tables: Sequence[str], description: str | None, epilog: str
) -> argparse.ArgumentParser:
    """The options that every such benchmark has."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(tables)}")
    parser.add_argument("--minutes", type=float, default=9, help="for all tables (default 9)")
    parser.add_argument("--dry-run", action="store_true", help="tiny, on the CPU, nothing written")
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)  # in a table's own process
    parser.add_argument("--run", help=argparse.SUPPRESS)
    return parser


def parse(parser: argparse.ArgumentParser, tables: Sequence[str]) -> argparse.Namespace:
    """The options that were given; an error for a table that is none."""
    given = parser.parse_args()
    unknown = sorted({*given.names} - {*tables})
    if unknown:
        parser.error(f"no table named {', '.join(unknown)}; there are {', '.join(tables)}")
    return given


def missing(dry: bool = False) -> str:
    """What a measurement needs and this machine lacks; "" when it has all.

    ``dry``: no GPU is needed.
    """
    for package in ("torch", "triton"):
        if find_spec(package) is None:
            return f'{package} is not installed: pip install -e ".[kernels]"'
    if dry:
        return ""
    import torch

    if not torch.cuda.is_available():
        return (
            f"torch {torch.__version__} sees no GPU: a machine with one is needed, and a torch "
            "built for it; --dry-run only walks through the code"
        )
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        return "TRITON_INTERPRET is set, so nothing would run on the GPU: unset it"
    return ""


def say(text: str) -> None:
    """Progress, beside the tables on stdout."""
    print(text, file=sys.stderr, flush=True)


def measure_in_processes(
    module: str,
    shares: Mapping[str, float],
    names: Sequence[str],
    minutes: float,
    options: Sequence[str],
) -> int:
    """A process for each table, so that memory begins empty and no failure spoils another's.

    ``shares``: of the time, for each table; what one leaves goes to those after it. A table whose
    process ended with GPU_FAILED goes on in another, up to three times.
    """
    run = datetime.now(UTC).isoformat(timespec="seconds")
    end = time.time() + 60 * minutes
    status = 0
    for position, name in enumerate(names):
        left = [shares[rest] for rest in names[position:]]
        until = time.time() + (end - time.time()) * left[0] / sum(left)
        child = [sys.executable, "-m", module, name, *options]
        child += ["--until", str(until), "--run", run]
        for _ in range(3):
            try:
                code = subprocess.run(child, timeout=max(end - time.time(), 1)).returncode
            except subprocess.TimeoutExpired:
                say(f"{name}: stopped, the time was over")
                code = 1
            if code != GPU_FAILED:
                break
        status = status or code
    return status
