"""The command line: one file per command, found by its name, with ``add_arguments`` and ``run``.

The first line of a command's file is its help. A command is imported when it is called, and what it
needs when it runs, so that every ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from minissl.cli._shared import Parser, out_of_memory_advice
from minissl.registry import first_line, modules_in

EXAMPLES = """\
examples:
  minissl lecture                                 what to read; lecture 00 is the first
  minissl demo                                    everything once, in about three minutes
  minissl tokenizer train book.txt --out tok.json a tokenizer from any text file or folder
  minissl data list                               data sets that have a name
  minissl pretrain gpt book.txt --run runs/book   a GPT on the same text
  minissl sample runs/book --prompt "It was"      what it writes
  minissl pretrain simclr photos/ --run runs/img  SimCLR on a folder of images
  minissl probe runs/img labelled/                what a few labels are worth afterwards
  minissl adapt finetune runs/img labelled/ --run runs/kinds    learn from the labels
  minissl predict runs/kinds photos/              a label for every image
  minissl embed runs/img photos/ --out img.npz    a vector for every image
  minissl neighbors glove.6B.50d.txt king queen   the nearest words, by their vectors
  minissl claim --list                            what the lectures claim; run any of it
  minissl homework start 1                        functions to write yourself, and their checks
"""


def command_names() -> list[str]:
    """The commands, by the names of their files."""
    return list(_files())


def _files() -> dict[str, Path]:
    return modules_in(Path(__file__).parent)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the name of a command; the rest is for the command's own."""
    listing = [f"  {name:12} {first_line(_files()[name])}" for name in command_names()]
    parser = Parser(
        prog="minissl",
        usage="minissl [--help] [--version] [--debug] COMMAND ...",
        description="Self-supervised learning from scratch: pretrain without labels, then use it.",
        epilog="\n".join(["commands:", *listing, "", EXAMPLES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def parser_of(command: str, argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of one command. ``argv``: what follows its name and may decide the options."""
    module = import_module(f"minissl.cli.{command.replace('-', '_')}")
    parser = Parser(
        prog=f"minissl {command}",
        description=getattr(module, "DESCRIPTION", None) or first_line(_files()[command]),
        epilog=getattr(module, "EXAMPLES", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # "--fro" must not be half of "--from"
    )
    parser.set_defaults(function=getattr(module, "run", None))
    if hasattr(module, "add_arguments_for"):
        module.add_arguments_for(parser, argv)
    else:
        module.add_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, or after a clear message 1 (it failed) or 130 (Ctrl-C).

    A wrong call ends with SystemExit(2), as argparse does it.
    """
    _survive_any_terminal()
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.simplefilter(
                "ignore", RuntimeWarning
            )  # NumPy's; a run says itself what is bad
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            _dispatch(argv)
            sys.stdout.flush()  # here, where it is noticed that the reader of a pipe has gone
    except KeyboardInterrupt as stop:
        print(f"\n{str(stop) or 'stopped'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `minissl ... | head`: the reader has seen enough
        sys.stderr.close()
        return 0
    except Exception as error:
        if debug:
            raise
        if message := describe(error):
            print(f"minissl: {message}", file=sys.stderr)
        return 1
    return 0


def _dispatch(argv: list[str]) -> None:
    """Find the command and call it."""
    parser = build_parser()
    first = parser.parse_args(argv)
    if first.version:
        from minissl import __version__

        print(f"minissl {__version__}")
        return
    if first.command not in command_names():
        names = ", ".join(command_names())
        got = "a command is missing" if first.command is None else f"no command {first.command!r}"
        parser.error(f"{got}: choose one of {names}")
    arguments = parser_of(first.command, first.rest).parse_args(first.rest)
    arguments.function(arguments)


def describe(error: Exception) -> str:
    """What a person is told of an error; "" where another process has told it."""
    from minissl.autograd.processes import FailedElsewhere

    if isinstance(error, FailedElsewhere):
        return ""
    if isinstance(error, KeyError):
        return str(error.args[0])
    if isinstance(error, MemoryError):
        return f"the computer's memory is too small for this ({error or 'no more of it'})"
    if isinstance(error, ValueError | OSError | ImportError | RuntimeError):
        return f"{error}{out_of_memory_advice(error)}"
    return (
        f"{type(error).__name__}: {error}. This should have been noticed earlier, and said better: "
        "minissl --debug shows where it was"
    )


def _show_warning(message: Any, category: Any, *place: Any) -> None:
    """A warning is for the person who typed the command: no line of the library's source."""
    print(f"minissl: {message}", file=sys.stderr)


def _survive_any_terminal() -> None:
    """No character stops a command, whatever the system's encoding is.

    A file or a pipe gets UTF-8, as from Python 3.15 on, unless PYTHONIOENCODING asks for another;
    a terminal gets its own, with "?" for what it lacks; a stream that is closed is nowhere.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # open as long as we run
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            own = stream.isatty() or bool(os.environ.get("PYTHONIOENCODING"))
            stream.reconfigure(encoding=None if own else "utf-8", errors="replace")
