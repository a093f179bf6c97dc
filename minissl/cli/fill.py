"""the likeliest words for the gaps of a text, by a masked language model"""

from __future__ import annotations

import argparse
from typing import Any

from minissl.cli._shared import add_device, argument, methods_with, path

DESCRIPTION = """\
Prints for each [MASK] of a text the tokens that the model of a run finds likeliest there, with
their probabilities. All gaps are filled from the same reading: what is put into one does not change
the others. A piece that goes on inside a word begins with ##."""
EXAMPLES = """\
examples:
  minissl fill runs/bert --text "the [MASK] of the file"
  minissl fill runs/bert --text "[MASK] the [MASK] of a list" --count 10"""

BAR = 24  # characters of a certain token


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("folder", type=path, metavar="RUN", help="a run of a masked language model")
    parser.add_argument("--text", required=True, help="with [MASK] where a word is missing")
    parser.add_argument(
        "--count", type=argument(5, least=1), default=5, metavar="N",
        help="tokens for each gap (default: %(default)s)",
    )  # fmt: skip
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    """Open, fill, print."""
    from minissl.pretrain.method import Fills
    from minissl.pretrain.run import open_run

    opened = open_run(arguments.folder)
    method: Any = opened.method
    if not isinstance(method, Fills):
        raise ValueError(
            f"{arguments.folder} holds a run of {opened.name!r}, which cannot fill gaps; "
            f"methods that can: {', '.join(methods_with('fill'))}"
        )
    method.to(arguments.device)  # type: ignore[attr-defined]
    gaps = method.fill(arguments.text, arguments.count)
    for number, fillers in enumerate(gaps, 1):
        if len(gaps) > 1:
            print(f"{'' if number == 1 else chr(10)}gap {number} of {len(gaps)}")
        texts = [_visible(one.text) for one in fillers]
        width = max(map(len, texts))
        for text, one in zip(texts, fillers):
            bar = "█" * round(BAR * one.probability)
            print(f"{text:{width}}  {100 * one.probability:5.1f} %  {bar}".rstrip())


def _visible(text: str) -> str:
    """A token on one line: of bytes it may be a line end or a control character."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
