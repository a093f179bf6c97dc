"""The command line: one file per command, each with ``add(commands)`` and ``run(arguments)``.

What a command needs is imported when it runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from minissl.cli import claim, demo, homework, pretrain, probe, sample, tokenizer
from minissl.cli.where import out_of_memory_advice

EXAMPLES = """\
examples:
  minissl demo                                    everything once, in about three minutes
  minissl tokenizer train book.txt --out tok.json a tokenizer from any text file or folder
  minissl pretrain gpt book.txt --run runs/book   a GPT on the same text
  minissl sample runs/book --prompt "It was"      what it writes
  minissl pretrain simclr photos/ --run runs/img  SimCLR on a folder of images
  minissl probe runs/img labelled/                what a few labels are worth afterwards
  minissl claim --list                            what the lectures claim; run any of it
  minissl homework start 1                        functions to write yourself, and their checks
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="minissl",
        description="Self-supervised learning from scratch: pretrain without labels, then use it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (demo, tokenizer, pretrain, sample, probe, claim, homework):
        command.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, or after a clear message 1 (it failed), 2 (wrong call) or 130."""
    arguments = build_parser().parse_args(argv)
    try:
        arguments.function(arguments)
    except KeyboardInterrupt as stop:
        print(f"\n{stop or 'stopped'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `minissl ... | head`: the reader has seen enough
        sys.stderr.close()
        return 0
    except (ValueError, KeyError, OSError, ImportError, RuntimeError) as error:
        if arguments.debug:
            raise
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f"minissl: {message}{out_of_memory_advice(error)}", file=sys.stderr)
        return 1
    return 0
