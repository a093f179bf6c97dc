"""the words whose vectors are nearest, also to king - man + woman"""

from __future__ import annotations

import argparse
from collections.abc import Container, Sequence

from minissl.cli._vectors import (
    RULES,
    add_count,
    add_vectors,
    load_vectors,
    print_columns,
    size_of,
)

DESCRIPTION = """\
Prints the nearest words by the cosine of their vectors: of every word that is given, or of one sum,
words with + and - between them. The words that are given are left out of the answer."""
EXAMPLES = """\
examples:
  minissl neighbors glove.6B.50d.txt king queen
  minissl neighbors runs/words king - man + woman --count 3
  minissl neighbors vectors.bin -- -            of a word that begins with a minus"""

SIGNS = "+-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_vectors(parser)
    parser.add_argument(
        "words", nargs="+", metavar="WORD", help="words, or a sum such as: king - man + woman"
    )
    add_count(parser)
    parser.add_argument(
        "--rule", choices=tuple(RULES),
        help="of a sum: add the cosines (3CosAdd, the default), or multiply them (3CosMul), so "
        "that no word outweighs the others",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    """Read the vectors, print what is near."""
    vectors = load_vectors(arguments.vectors)
    given, count = words_of_line(arguments.words, vectors), arguments.count
    signs = signs_of(given)
    if arguments.rule and not signs:
        raise ValueError(f"--rule is of a sum, king - man + woman: leave it out for {given}")
    if not signs and (lone := next((w for w in given if w in SIGNS and w not in vectors), None)):
        raise ValueError(
            f"{' '.join(given)!r:.60} is no sum: expected a {lone} between two words, as in "
            "king - man + woman"
        )
    if signs:
        rule = arguments.rule or "add"
        plus = [word for word, sign in zip(given[::2], signs) if sign == "+"]
        minus = [word for word, sign in zip(given[::2], signs) if sign == "-"]
        titles = [f"{' '.join(given)} ({RULES[rule]})"]
        columns = [vectors.combine(plus, minus, rule, count)]
    else:
        titles, columns = given, [vectors.neighbors(word, count) for word in given]
    print(size_of(vectors))
    print_columns(titles, columns)


def words_of_line(given: Sequence[str], vectors: Container[str]) -> list[str]:
    """The words; what is in quotes, "king - man", is taken apart unless it is one of the words."""
    parts = ([word] if word in vectors else word.split() or [word] for word in given)
    return [word for part in parts for word in part]


def signs_of(words: Sequence[str]) -> list[str]:
    """The sign of every word of a sum, + of the first; empty for words that are no sum.

    A sum is "a - b + c": a lone sign is a word like any other.
    """
    between = words[1::2]
    is_sum = len(words) > 2 and len(words) % 2 and set(between) <= set(SIGNS)
    return ["+", *between] if is_sum else []
