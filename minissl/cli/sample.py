"""``minissl sample``: text from a pretrained GPT."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from minissl.cli.where import add_device


def add(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "sample",
        help="continue a text with a pretrained GPT",
        epilog="""examples:
  minissl sample runs/demo/gpt --prompt "Return the" --temperature 0.7
  minissl sample runs/demo/gpt --tokens 300 --top-p 0.9 --seed 3
  minissl sample runs/demo/gpt --temperature 0        always the likeliest token""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="a run folder of `minissl pretrain gpt`")
    parser.add_argument(
        "--prompt", default="", help="how the text begins (default: a new document)"
    )
    parser.add_argument("--tokens", type=int, default=100, help="at most (default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.8, help="(default: %(default)s)")
    parser.add_argument("--top-k", type=int, help="only the k likeliest tokens")
    parser.add_argument("--top-p", type=float, help="only the likeliest tokens that make up p")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    add_device(parser)
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the prompt, then each piece of text as soon as it is whole characters."""
    import codecs

    import numpy as np

    from minissl.pretrain.generate import generate
    from minissl.pretrain.gpt_run import open_gpt

    model, tokenizer, separator = open_gpt(arguments.folder)
    model.to(arguments.device)
    characters = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def write(token: int) -> None:
        if token != separator:
            sys.stdout.write(characters.decode(tokenizer.token_bytes(token)))
            sys.stdout.flush()

    sys.stdout.write(arguments.prompt)
    generate(
        model,
        [separator, *tokenizer.encode(arguments.prompt)],
        arguments.tokens,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        generator=np.random.default_rng(arguments.seed),
        stop=[separator],
        on_token=write,
    )
    sys.stdout.write(characters.decode(b"", final=True) + "\n")
