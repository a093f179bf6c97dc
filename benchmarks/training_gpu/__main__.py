"""Whole training steps on one GPU: ours through `fit`, beside the same models in torch.

gpt2: GPT-2 124M, 32 x 1024 tokens, bfloat16. overhead: how long the GPU waits during that step.
simclr: ResNet-18, 512 pairs of 32 x 32 views. shakespeare: a whole run, by its validation loss.
"""

import argparse
import importlib
import os
import shlex
import sys
import time
from pathlib import Path

from benchmarks.gpu_session import make_parser, measure_in_processes, missing, parse, say

# The share of the time that each table may take; the last also gets what others leave.
TABLES = {"gpt2": 3.5, "overhead": 1.0, "simclr": 2.0, "shakespeare": 3.5}

MODULE = "benchmarks.training_gpu"

EPILOG = """\
`python -m benchmarks.gpu_day` brings checks, tests and the headline rows in a few minutes; here are
all rows, from a fresh checkout on a machine with a GPU:

    python -m venv .venv && . .venv/bin/activate
    pip install -e ".[test]"                   # a torch built for the GPU's CUDA
    pytest -m gpu                              # correctness first, on the compiled kernels
    python -m benchmarks.training_gpu          # all tables -> benchmarks/results/training_<gpu>.md
    python -m benchmarks.training_gpu gpt2     # one table again; the others stay

tiny Shakespeare (1,115,394 characters) is not part of this repository. Download
data/tinyshakespeare/input.txt of github.com/karpathy/char-rnn and name the file; without it that
table is left out:

    python -m benchmarks.training_gpu shakespeare --shakespeare input.txt

Without a GPU, --dry-run walks through every benchmark at tiny sizes on the CPU.
"""


def arguments() -> argparse.Namespace:
    parser = make_parser(MODULE, [*TABLES], __doc__, EPILOG)
    parser.add_argument("--shakespeare", type=Path, metavar="PATH", help="the text, by characters")
    given = parse(parser, [*TABLES])
    if given.shakespeare is not None and not given.shakespeare.is_file():
        parser.error(f"--shakespeare: there is no file {given.shakespeare}")
    return given


# ---- one table, in a process of its own ---------------------------------------------------------


def measure_table(name: str, given: argparse.Namespace) -> int:
    """Measure and print; what is measured so far is on disk at every moment."""
    import torch

    from benchmarks.common import RESULTS
    from benchmarks.kernels.measure import GPUFailed, Machine
    from benchmarks.training_gpu.record import TrainingRecord
    from minissl.autograd.threads import engine_threads

    torch.manual_seed(0)
    module = importlib.import_module(f"benchmarks.training_gpu.{name}")
    machine = Machine(given.dry_run)
    record = TrainingRecord(command(name, given), given.run, None if given.dry_run else RESULTS)
    settings = {"path": given.shakespeare} if name == "shakespeare" else {}
    start = time.time()
    try:
        with engine_threads():  # as in fit
            for notes, rows in module.measure(machine, given.until, **settings):
                record.put(name, module.TITLE, (*module.NOTES, *notes), rows)
                say(f"{name}: {rows[-1]['case']} after {time.time() - start:.0f} s")
    except GPUFailed as error:
        say(f"{name}: {error}")
        return 1
    if name not in record.state["tables"]:
        return 1
    print(record.text(name))
    if record.path is not None:
        print(f"{name}: recorded in {record.path.with_suffix('.md')} and .json\n", flush=True)
    return 0


def command(name: str, given: argparse.Namespace) -> str:
    """What was typed, for this table alone, without the folders of this machine."""
    words = ["python", "-m", "benchmarks.training_gpu", name]
    if given.minutes != 9:
        words += ["--minutes", f"{given.minutes:g}"]
    if name == "shakespeare" and given.shakespeare:
        words += ["--shakespeare", given.shakespeare.name]
    return shlex.join([*words, *(["--dry-run"] if given.dry_run else [])])


# ---- all tables ---------------------------------------------------------------------------------


def measure_all(names: list[str], given: argparse.Namespace) -> int:
    options = ["--minutes", str(given.minutes)]
    if given.shakespeare:
        options += ["--shakespeare", str(given.shakespeare)]
    return measure_in_processes(MODULE, TABLES, names, given.minutes, options)


def main() -> int:
    given = arguments()
    names = given.names or list(TABLES)
    if given.dry_run:
        os.environ["TRITON_INTERPRET"] = "0"  # compositions, which are fast
        given.until, given.run = time.time() + 60 * given.minutes, "dry run"
        return max(measure_table(name, given) for name in names)
    lacking = missing()
    if lacking:
        say(f"benchmarks.training_gpu: {lacking}")
        return 2
    if not given.shakespeare and "shakespeare" in names:
        say("shakespeare: left out, no --shakespeare PATH (see --help)")
        names = [name for name in names if name != "shakespeare"]
        if not names:
            return 2
    if given.until is not None:
        return measure_table(names[0], given)
    return measure_all(names, given)


if __name__ == "__main__":
    sys.exit(main())
