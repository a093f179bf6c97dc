"""continue a text with a pretrained model"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from minissl.cli._shared import add_device, add_seed, argument, methods_with, path

EXAMPLES = """\
examples:
  minissl sample runs/book --prompt "Return the" --temperature 0.7
  minissl sample runs/book --tokens 300 --top-p 0.9 --seed 3
  minissl sample runs/book --temperature 0        always the likeliest token"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("folder", type=path, metavar="RUN", help="a run of a method that writes")
    parser.add_argument(
        "--prompt", default="", help="how the text begins (default: a new document)"
    )
    parser.add_argument(
        "--tokens", type=argument(100, least=1), default=100, metavar="N",
        help="at most (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--temperature", type=argument(0.8, least=0), default=0.8, metavar="X",
        help="0: always the likeliest token (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--top-k", type=argument(1, least=1), metavar="N", help="only the N likeliest tokens"
    )
    parser.add_argument(
        "--top-p", type=argument(1.0, above=0, most=1), metavar="P",
        help="only the likeliest tokens that make up P",
    )  # fmt: skip
    add_seed(parser)
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the prompt, then each piece of text as soon as it is whole characters."""
    import codecs

    import numpy as np

    from minissl.pretrain.method import Generates
    from minissl.pretrain.run import open_run

    opened = open_run(arguments.folder)
    method: Any = opened.method
    if not isinstance(method, Generates):
        raise ValueError(
            f"{arguments.folder} holds a run of {opened.name!r}, which cannot write text; "
            f"methods that can: {', '.join(methods_with('sample'))}"
        )
    opened.method.to(arguments.device)
    prompt = os.fsencode(arguments.prompt)
    characters = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def write(piece: bytes) -> None:
        sys.stdout.write(characters.decode(piece))
        sys.stdout.flush()

    write(prompt)
    method.sample(
        prompt,
        arguments.tokens,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        generator=np.random.default_rng(arguments.seed),
        write=write,
    )
    sys.stdout.write(characters.decode(b"", final=True) + "\n")
