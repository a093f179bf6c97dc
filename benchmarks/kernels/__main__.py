"""Every Triton kernel beside its peers, on one GPU: correctness first, then times.

All tables take less than ten minutes; each row is on disk as soon as it is measured.
"""

import argparse
import importlib
import os
import shlex
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.gpu_session import (
    GPU_FAILED,
    make_parser,
    measure_in_processes,
    missing,
    parse,
    say,
)

# The share of the time that each table may take; attention, last, also gets what others leave.
TABLES = {
    "layer_norm": 1.0,
    "cross_entropy": 1.0,
    "linear_cross_entropy": 1.5,
    "contrastive": 2.0,
    "attention": 4.5,
}
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
    parser = make_parser(MODULE, [*TABLES], __doc__, EPILOG)
    parser.add_argument("--tune", action="store_true", help="measure each kernel's CANDIDATES")
    parser.add_argument("--tutorial", type=Path, metavar="PATH", help="Triton's 06-fused-attention")
    given = parse(parser, [*TABLES])
    if given.tutorial is not None and not given.tutorial.is_file():
        parser.error(f"--tutorial: there is no file {given.tutorial}")
    return given


# ---- one table, in a process of its own ---------------------------------------------------------


def measure_table(name: str, given: argparse.Namespace) -> int:
    """Measure, record and print; stop before a row that would begin too late."""
    import torch
    import torch._functorch.config

    from benchmarks.common import RESULTS
    from benchmarks.kernels.measure import GPUFailed, Machine, measure
    from benchmarks.kernels.record import Record, shown

    torch.manual_seed(0)
    torch._functorch.config.donated_buffer = False  # a compiled backward may then run repeatedly
    module = importlib.import_module(f"benchmarks.kernels.{name}")
    machine = Machine(given.dry_run)
    machine.measure_yardsticks()
    machine.free()
    yardsticks = {"copy GB/s": machine.bandwidth, "product TFLOP/s": machine.matmul_rate}
    folder = None if given.dry_run else RESULTS
    record = Record(command(name, given.tutorial), given.run, folder)
    table = f"{name}_tuning" if given.tune else name
    done = record.finished(table)
    title = module.TITLE + (", block sizes" if given.tune else "")
    record.start(table, title, module.NOTES, yardsticks)
    settings = {"tutorial": given.tutorial} if name == "attention" else {}
    cases = module.tuning(machine) if given.tune else module.cases(machine, **settings)
    for case in cases:
        if case.name in done:
            continue
        if time.time() > given.until:
            say(f"{name}: no time left for {case.name} and what follows")
            break
        start = time.time()
        try:
            row, failed = measure(machine, case, keep=partial(record.add, table)), False
        except GPUFailed as error:
            row, failed = error.args[0], True
        record.add(table, row)
        for head, cell in shown([row])[0].items():
            if head != "case":
                say(f"    {head}: {cell}")
        say(f"{name}: {case.name}: {time.time() - start:.1f} s\n")
        if failed:
            return GPU_FAILED
    print(record.text(table))
    if record.path is not None:
        print(f"{name}: recorded in {record.path.with_suffix('.md')} and .json\n", flush=True)
    return 0


def command(name: str, tutorial: Path | None) -> str:
    """What was typed, for this table alone, without the folders of this machine."""
    words = [word for word in sys.argv[1:] if word not in TABLES]
    words = [word.replace(str(tutorial), tutorial.name) if tutorial else word for word in words]
    for option in ("--until", "--run"):
        if option in words:
            at = words.index(option)
            del words[at : at + 2]
    return shlex.join(["python", "-m", "benchmarks.kernels", name, *words])


# ---- all tables ---------------------------------------------------------------------------------


def measure_all(names: list[str], given: argparse.Namespace) -> int:
    options = [word for word in sys.argv[1:] if word not in TABLES]
    return measure_in_processes(MODULE, TABLES, names, given.minutes, options)


def main() -> int:
    given = arguments()
    names = given.names or list(TABLES)
    if given.dry_run:
        os.environ["TRITON_INTERPRET"] = "1"  # triton reads it when it is imported
        given.until, given.run = time.time() + 60 * given.minutes, "dry run"
        return max(measure_table(name, given) for name in names)
    lacking = missing()
    if lacking:
        say(f"benchmarks.kernels: {lacking}")
        return 2
    if given.until is not None:
        return measure_table(names[0], given)
    return measure_all(names, given)


if __name__ == "__main__":
    sys.exit(main())
