"""What both benchmarks of whole tables on a GPU share: their options, and how they measure."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from benchmarks.common import RESULTS
from benchmarks.gpu_day import pool, rows
from benchmarks.gpu_day.folder import Folder, good
from benchmarks.gpu_day.rows import Group

LOG = Path(__file__).parents[1] / "runs" / "gpu_tables"


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
    return parser


def parse(parser: argparse.ArgumentParser, tables: Sequence[str]) -> argparse.Namespace:
    """The options that were given; an error for a table that is none."""
    given = parser.parse_args()
    unknown = sorted({*given.names} - {*tables})
    if unknown:
        parser.error(f"no table named {', '.join(unknown)}; there are {', '.join(tables)}")
    given.names = given.names or [*tables]
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


def measure_tables(
    commands: Mapping[Group, str], given: argparse.Namespace, **settings: object
) -> int:
    """All rows of these groups in turn, for ``given.minutes``, each with the command for its table.

    In a process that is replaced when the GPU fails in it; a dry run takes place in this one, and
    writes nothing. Prints the tables; returns the exit status.
    """
    dry, ends = given.dry_run, list[bool]()
    run = datetime.now(UTC).isoformat(timespec="seconds")
    until = time.time() + 60 * given.minutes

    def told(part: str, said: str, seconds: float) -> None:
        ends.append(good(said))
        say(f"{seconds:5.1f} s  {part}: {said}")

    with tempfile.TemporaryDirectory() as scratch:
        folder = Folder(Path(scratch) if dry else LOG, fresh=True)
        records = Path(scratch) if dry else RESULTS
        jobs = [
            {"name": group.label, "group": group, "limit": group.limit, "command": command,
             "done": [], "path": folder.path, "records": records, "dry": dry, "run": run,
             "until": until, **settings}
            for group, command in commands.items()
        ]  # fmt: skip
        if dry:
            for job in jobs:
                rows.work(job, pool.Here(told))
        elif left := pool.do(rows.work, jobs, folder, told, workers=1, until=until, limit=120):
            say(f"no time was left for {', '.join(left)}: give more --minutes")
        print_tables([rows.table(group) for group in commands], run, records)
        if not dry:
            say(f"recorded in {records}; what went wrong, if anything: {folder.failures}")
    return int(not all(ends))


def print_tables(names: Sequence[str], run: str, folder: Path) -> None:
    """Those of this run."""
    from benchmarks.kernels.record import Record
    from benchmarks.training_gpu.record import TrainingRecord

    for record in (Record("", run, folder), TrainingRecord("", run, folder)):
        for name in names:
            if record.state["tables"].get(name, {}).get("run") == run:
                print(record.text(name), flush=True)
