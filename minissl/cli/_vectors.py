"""What the commands about word vectors have in common: where the vectors are, and their tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minissl.cli._shared import argument, methods_with, path

RULES = {"add": "3CosAdd", "multiply": "3CosMul"}  # as the field calls them
COUNT, MOST_COUNT = 10, 10_000
TOY = "a toy set, which compares with nothing published"


def add_vectors(parser: argparse.ArgumentParser) -> None:
    """Add the file or run with the vectors."""
    parser.add_argument(
        "vectors", type=path, metavar="VECTORS",
        help="a file (.vec: word2vec text, .bin: word2vec binary, .txt: GloVe text), or the folder "
        "of a run that has word vectors",
    )  # fmt: skip


def add_count(parser: argparse.ArgumentParser) -> None:
    """Add ``--count``."""
    parser.add_argument(
        "--count", type=argument(COUNT, least=1, most=MOST_COUNT), default=COUNT, metavar="N",
        help="how many words are printed (default: %(default)s)",
    )  # fmt: skip


def load_vectors(place: Path) -> Any:
    """The ``WordVectors`` of a file or of a run.

    Raises ValueError for a run that has none, naming the methods whose runs have them.
    """
    from minissl.data.vector_files import read_vectors
    from minissl.pretrain.run import open_run

    if not place.exists():
        raise FileNotFoundError(
            f"no file {str(place)!r}: give word vectors (.vec, .bin, .txt) or the folder of a run"
        )
    return vectors_of(open_run(place), place) if place.is_dir() else read_vectors(place)


def vectors_of(opened: Any, place: Path) -> Any:
    """The ``WordVectors`` of a run opened there. ValueError for one of a method without them."""
    from minissl.pretrain.method import HasVectors

    if not isinstance(opened.method, HasVectors):
        raise ValueError(
            f"{place} holds a run of {opened.name!r}, which has no word vectors; methods "
            f"that have: {', '.join(methods_with('vectors')) or 'none'}"
        )
    return opened.method.vectors()


def print_columns(titles: Sequence[str], columns: Sequence[Sequence[tuple[str, float]]]) -> None:
    """Words with their scores, the best first: a column for each title."""
    widths = [max(map(len, (title, *(w for w, _ in one)))) for title, one in zip(titles, columns)]
    head = [f"  {title:{width}} {'':6}" for title, width in zip(titles, widths)]
    print("".join(head).rstrip())
    for row in range(max(map(len, columns))):
        cells = [one[row] if row < len(one) else ("", None) for one in columns]
        line = [
            f"  {word:{width}} {'' if score is None else f'{score:.3f}':>6}"
            for (word, score), width in zip(cells, widths)
        ]
        print("".join(line).rstrip())


def size_of(vectors: Any) -> str:
    """In words, how many there are."""
    return f"{len(vectors):,} words, {vectors.width:,} numbers each"
