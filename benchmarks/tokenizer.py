"""Our tokenizer beside tiktoken and Hugging Face's tokenizers: training, one-thread encoding.

    python -m benchmarks.tokenizer [--text FILE] [--megabytes 10] [--repeats 5]

All three encode with the same vocabulary and must give the same ids. *Cold* is a tokenizer that
has just been made; *warm* is one that has seen the text before. The text is British fiction from
the folder in MINISSL_TEST_DATA where that is set, else English out of Python's own library.
"""

import argparse
import lzma
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import tiktoken
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from benchmarks.common import compare, report
from minissl.conditions import environment
from minissl.text import GPT2, Tokenizer, load_gpt2_tokenizer, save_huggingface
from minissl.text.corpora import python_english

VOCAB_SIZE = 8192
TRAINING_FIGURES = {"tokenizers": ("0.33 x", "1 x")}  # to reach, to aim at
ENCODING_FIGURES = {"tiktoken": ("0.5 x", "0.8 x"), "tokenizers": ("3 x", "6 x")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, help="a UTF-8 file to train on and encode")
    parser.add_argument("--megabytes", type=float, default=10, help="how much of it (default 10)")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds (default 5)")
    arguments = parser.parse_args()
    machine = environment(["regex", "tiktoken", "tokenizers"])
    text, source = read_text(arguments.text)
    text = text.encode()[: int(arguments.megabytes * 1e6)].decode("utf-8", "ignore")
    megabytes = len(text.encode()) / 1e6

    rows = measure_training(text, megabytes, arguments.repeats)
    tokenizer, vocabulary = make_tokenizer(text)
    for size in sorted({1.0, megabytes}):
        part = text.encode()[: int(size * 1e6)].decode("utf-8", "ignore")
        rows += measure_encoding(tokenizer, part, min(size, megabytes), arguments.repeats)
    notes = [
        f"text: {megabytes:.2f} MB of {source}; encoding with {vocabulary}, ids compared",
        "speed: the peer's median time over ours, in the same run, taking turns; 1 is as fast",
        f"median of {arguments.repeats} rounds; minissl and all encoding run on one thread",
        "training of tokenizers gets the text line by line, which is faster for it than whole",
    ]
    report("tokenizer", rows, machine, notes)


def read_text(path: Path | None) -> tuple[str, str]:
    """The text to measure on, and what it is."""
    if path is not None:
        return path.read_text(encoding="utf-8"), path.name
    fiction = shared_file("text/british_fiction.txt.xz")
    if fiction is not None:
        return lzma.decompress(fiction.read_bytes()).decode(), "British fiction"
    return "\n".join(document.text for document in python_english()), "Python's own English"


def shared_file(name: str) -> Path | None:
    """A published file in the folder that MINISSL_TEST_DATA names, if it is there."""
    folder = os.environ.get("MINISSL_TEST_DATA")
    path = Path(folder, name) if folder else None
    return path if path is not None and path.exists() else None


def make_tokenizer(text: str) -> tuple[Tokenizer, str]:
    """GPT-2's tokenizer if its files are there, else one trained on the text."""
    packed = [shared_file(f"tokenizers/gpt2_{name}.xz") for name in ("vocab.bpe", "encoder.json")]
    if not all(packed):
        return Tokenizer.train(text, VOCAB_SIZE, special_tokens=["<|endoftext|>"]), "8,192 tokens"
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, path.stem) for path in packed if path is not None]
        for path, source in zip(paths, packed):
            path.write_bytes(lzma.decompress(source.read_bytes()))  # type: ignore[union-attr]
        return load_gpt2_tokenizer(*paths), "GPT-2's 50,257 tokens"


def measure_training(text: str, megabytes: float, repeats: int) -> list[dict[str, Any]]:
    lines = text.splitlines(keepends=True)
    cores = os.cpu_count() or 1

    def train_peer(parallel: str) -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = parallel
        peer = tokenizers.Tokenizer(models.BPE())
        peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE, show_progress=False, initial_alphabet=alphabet
        )
        peer.train_from_iterator(lines, trainer)
        if peer.get_vocab_size() != VOCAB_SIZE:
            raise RuntimeError(f"the text is too short for {VOCAB_SIZE} tokens")

    seconds = compare(
        {
            "minissl": lambda: Tokenizer.train(lines, VOCAB_SIZE),
            "tokenizers, 1 thread": lambda: train_peer("false"),
            f"tokenizers, {cores} threads": lambda: train_peer("true"),
        },
        repeats,
    )
    return make_rows(f"train {VOCAB_SIZE} tokens", megabytes, seconds, TRAINING_FIGURES)


def measure_encoding(
    tokenizer: Tokenizer, text: str, megabytes: float, repeats: int
) -> list[dict[str, Any]]:
    """Encode with fresh tokenizers, then with used ones, after checking that the ids agree."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    makers = contenders(tokenizer)
    results = {name: make()(text) for name, make in makers.items()}
    for name, ids in results.items():
        if ids != results["minissl"]:
            raise RuntimeError(f"{name} and minissl do not give the same ids")
    del results

    used = {name: make() for name, make in makers.items()}
    stocks = {name: iter([make() for _ in range(repeats + 1)]) for name, make in makers.items()}
    # One warm-up round: it takes one of the fresh encoders and fills the memory of the used ones.
    cold = compare(
        {name: partial(_run_fresh, stock, text) for name, stock in stocks.items()}, repeats
    )
    warm = compare({name: partial(encode, text) for name, encode in used.items()}, repeats)
    return [
        *make_rows("encode, cold", megabytes, cold, ENCODING_FIGURES),
        *make_rows("encode, warm", megabytes, warm, ENCODING_FIGURES),
    ]


def _run_fresh(stock: Iterator[Callable[[str], list[int]]], text: str) -> list[int]:
    return next(stock)(text)


def contenders(tokenizer: Tokenizer) -> dict[str, Callable[[], Callable[[str], list[int]]]]:
    """For each library, a function that makes a new encoder with this vocabulary."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.json")
        save_huggingface(tokenizer, path)
        peer_json = path.read_text(encoding="utf-8")

    def make_minissl() -> Callable[[str], list[int]]:
        return Tokenizer(
            tokenizer.ranks, pattern=GPT2, special_tokens=tokenizer.special_tokens
        ).encode

    def make_tiktoken() -> Callable[[str], list[int]]:
        return tiktoken.Encoding(
            "benchmark",
            # How tiktoken itself writes GPT-2's pattern: the same pieces, found sooner.
            pat_str=r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$"
            r"|\s+(?!\S)|\s",
            mergeable_ranks=tokenizer.ranks,
            special_tokens=tokenizer.special_tokens,
        ).encode

    def make_tokenizers() -> Callable[[str], list[int]]:
        peer = tokenizers.Tokenizer.from_str(peer_json)
        # Its own word splitter for GPT-2 is faster than the general one in the file.
        peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        return lambda text: peer.encode(text).ids

    return {"minissl": make_minissl, "tiktoken": make_tiktoken, "tokenizers": make_tokenizers}


def make_rows(
    task: str,
    megabytes: float,
    seconds: dict[str, float],
    figures: dict[str, tuple[str, str]],
) -> list[dict[str, Any]]:
    ours = seconds.pop("minissl")
    return [
        {
            "task": task,
            "MB": round(megabytes, 2),
            "minissl, s": ours,
            "peer": peer,
            "peer, s": theirs,
            "speed": f"{theirs / ours:.2f} x",
            "reach": figures[peer.split(",")[0]][0],
            "aim": figures[peer.split(",")[0]][1],
        }
        for peer, theirs in seconds.items()
    ]


if __name__ == "__main__":
    main()
