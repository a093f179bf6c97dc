"""``minissl tokenizer``: train, encode, decode and look at a tokenizer."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Describe the command and its four actions."""
    parser = commands.add_parser(
        "tokenizer",
        help="train a byte-level BPE tokenizer, encode, decode, see how a text is split",
        epilog="""examples:
  minissl tokenizer train book.txt --vocab-size 4096 --out tok.json
  echo "Hello there" | minissl tokenizer encode --tokenizer tok.json
  echo "72 101 108" | minissl tokenizer decode --tokenizer tok.json
  minissl tokenizer show --tokenizer tok.json --text "unbelievable" """,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    train = actions.add_parser("train", help="learn a vocabulary from text")
    train.add_argument(
        "text", nargs="?", type=Path, help="file or folder (default: Python's own English)"
    )
    train.add_argument("--vocab-size", type=int, default=4096, help="(default: %(default)s)")
    train.add_argument("--pattern", choices=("gpt2", "cl100k"), default="gpt2")
    train.add_argument("--out", type=Path, default=Path("tokenizer.json"), help="(%(default)s)")
    train.add_argument("--huggingface", type=Path, help="also write a Hugging Face tokenizer.json")
    train.set_defaults(function=run_train)

    for name, run, what in (
        ("encode", run_encode, "text to ids"),
        ("decode", run_decode, "ids to text"),
        ("show", run_show, "the pieces of a text, coloured"),
    ):
        action = actions.add_parser(name, help=what)
        action.add_argument("file", nargs="?", type=Path, help="(default: standard input)")
        action.add_argument("--text", help="the input itself, instead of a file")
        action.add_argument(
            "--tokenizer", type=Path, required=True, help="tokenizer.json, *.tiktoken or run folder"
        )
        action.add_argument(
            "--pattern",
            choices=("gpt2", "cl100k"),
            default="gpt2",
            help="of a .tiktoken file, which does not say (default: %(default)s)",
        )
        action.set_defaults(function=run)


def run_train(arguments: argparse.Namespace) -> None:
    """Train and save."""
    from minissl.pretrain.gpt_run import SEPARATOR
    from minissl.text import Tokenizer, save_huggingface, save_tokenizer

    texts = [document.text for document in documents(arguments.text)]
    tokenizer = Tokenizer.train(
        texts,
        arguments.vocab_size,
        pattern=arguments.pattern,
        special_tokens=[SEPARATOR],
        progress=True,
    )
    save_tokenizer(tokenizer, arguments.out)
    if arguments.huggingface:
        save_huggingface(tokenizer, arguments.huggingface)
    size = sum(len(text.encode()) for text in texts)
    count = sum(len(tokenizer.encode(text, allow_special="none")) for text in texts)
    print(
        f"{arguments.out}: {tokenizer.vocab_size:,} tokens; "
        f"{size:,} bytes are {count:,} tokens ({size / max(count, 1):.2f} bytes per token)"
    )


def run_encode(arguments: argparse.Namespace) -> None:
    """Print the ids, separated by spaces."""
    tokenizer = _load(arguments.tokenizer, arguments.pattern)
    print(*tokenizer.encode(_input(arguments), allow_special="all"))


def run_decode(arguments: argparse.Namespace) -> None:
    """Write the bytes the ids stand for."""
    tokenizer = _load(arguments.tokenizer, arguments.pattern)
    words = _input(arguments).replace(",", " ").split()
    if bad := [word for word in words if not word.lstrip("-").isdigit()]:
        raise ValueError(f"decode expects ids, got {bad[0]!r}: numbers separated by spaces")
    sys.stdout.flush()
    sys.stdout.buffer.write(tokenizer.decode_bytes([int(word) for word in words]))
    sys.stdout.buffer.flush()


def run_show(arguments: argparse.Namespace) -> None:
    """Print the pieces."""
    from minissl.text import show_tokens

    print(show_tokens(_load(arguments.tokenizer, arguments.pattern), _input(arguments)))


def documents(path: Path | None) -> Any:
    """The documents of a path, or Python's own English."""
    from minissl.text.corpora import python_english, read_text_documents

    return python_english() if path is None else read_text_documents(path)


def _load(path: Path, pattern: str = "gpt2") -> Any:
    from minissl.text import load_tiktoken, load_tokenizer

    if path.suffix == ".tiktoken":
        return load_tiktoken(path, pattern=pattern)
    return load_tokenizer(path / "tokenizer.json" if path.is_dir() else path)


def _input(arguments: argparse.Namespace) -> str:
    if arguments.text is not None:
        return arguments.text
    if arguments.file is not None:
        return arguments.file.read_text(encoding="utf-8")
    return sys.stdin.read()
