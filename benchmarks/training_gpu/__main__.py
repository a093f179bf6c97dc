"""Whole training steps on one GPU: ours through `fit`, beside the same models in torch.

gpt2: GPT-2 124M, 32 x 1024 tokens, bfloat16. overhead: how long the GPU waits during that step.
simclr: ResNet-18, 512 pairs of 32 x 32 views. shakespeare: a whole run, by its validation loss.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

from benchmarks.gpu_day.rows import TRAINING, Group
from benchmarks.gpu_session import make_parser, measure_tables, missing, parse, say

MODULE = "benchmarks.training_gpu"
SECONDS = 600  # the most for a table

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
    parser = make_parser(MODULE, TRAINING, __doc__, EPILOG)
    parser.add_argument("--shakespeare", type=Path, metavar="PATH", help="the text, by characters")
    given = parse(parser, TRAINING)
    if given.shakespeare is not None and not given.shakespeare.is_file():
        parser.error(f"--shakespeare: there is no file {given.shakespeare}")
    return given


def command(name: str, given: argparse.Namespace) -> str:
    """What was typed, for this table alone, without the folders of this machine."""
    words = ["python", "-m", MODULE, name]
    if given.minutes != 9:
        words += ["--minutes", f"{given.minutes:g}"]
    if name == "shakespeare" and given.shakespeare:
        words += ["--shakespeare", given.shakespeare.name]
    return shlex.join([*words, *(["--dry-run"] if given.dry_run else [])])


def main() -> int:
    given = arguments()
    if given.dry_run:
        os.environ["TRITON_INTERPRET"] = "1"
    elif lacking := missing():
        say(f"{MODULE}: {lacking}")
        return 2
    elif not given.shakespeare and "shakespeare" in given.names:
        say("shakespeare: left out, no --shakespeare PATH (see --help)")
        given.names = [name for name in given.names if name != "shakespeare"]
        if not given.names:
            return 2
    groups = [Group(name, limit=SECONDS, peers=name == "gpt2") for name in given.names]
    commands = {group: command(group.name, given) for group in groups}
    return measure_tables(commands, given, shakespeare=given.shakespeare)


if __name__ == "__main__":
    sys.exit(main())
