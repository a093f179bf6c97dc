"""how well word vectors agree with people on how alike two words are"""

from __future__ import annotations

import argparse

from minissl.cli._shared import path
from minissl.cli._vectors import TOY, add_vectors, load_vectors, size_of

DESCRIPTION = """\
Compares the cosines of word vectors with scores that people gave to pairs of words, by Spearman's
rank correlation over the pairs whose words both have vectors. A file (WordSim-353, or another that
you have) has lines "word word score" with tabs, commas or spaces between them, and perhaps a first
line with names. Without a file: a toy set of everyday words."""
EXAMPLES = """\
examples:
  minissl wordsim glove.6B.50d.txt --pairs wordsim353.tsv
  minissl wordsim runs/words --pairs wordsim353.tsv rg65.csv"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_vectors(parser)
    parser.add_argument(
        "--pairs", type=path, nargs="+", metavar="FILE", default=[], help="(default: a toy set)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Read the pairs, then the vectors, and print a row for each file."""
    from minissl.data.word_tests import WordPairs
    from minissl.reading import shown

    sets = {shown(file): WordPairs.read(file) for file in arguments.pairs}
    sets = sets or {TOY: WordPairs.toy()}
    vectors = load_vectors(arguments.vectors)
    print(size_of(vectors))
    width = max(map(len, sets))
    print(f"{'pairs':{width}} {'known':>16} {'Spearman':>9}")
    for name, pairs in sets.items():
        found = pairs.measure(vectors)
        coverage = f"{found.known:,} of {found.total:,}"
        score = "-" if found.spearman is None else f"{found.spearman:.3f}"
        print(f"{name:{width}} {coverage:>16} {score:>9}")
