"""a is to b as c is to which word? One question, or a file of them"""

from __future__ import annotations

import argparse
from typing import Any

from minissl.cli._shared import argument, path
from minissl.cli._vectors import (
    COUNT,
    RULES,
    add_count,
    add_vectors,
    load_vectors,
    print_columns,
    size_of,
)

DESCRIPTION = """\
Answers "A is to B as C is to" by word vectors, by both rules: the sum of cosines (3CosAdd) and
their product (3CosMul). A, B and C are never the answer. Or counts how many questions of a file are
answered right, section by section, of those whose four words have vectors. A file (the published
one is called questions-words.txt) has lines of four words below lines ": name of a section". With
neither words nor a file: a toy set of everyday words."""
EXAMPLES = """\
examples:
  minissl analogy glove.6B.50d.txt man king woman
  minissl analogy runs/words --questions questions-words.txt
  minissl analogy vectors.bin --questions questions-words.txt --most 30000 --rule add"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_vectors(parser)
    parser.add_argument("words", nargs="*", metavar="A B C", help="three words")
    parser.add_argument("--questions", type=path, metavar="FILE", help="(default: a toy set)")
    parser.add_argument(
        "--most", type=argument(1, least=1), metavar="N",
        help="of questions: only the first N words are known and may be answers (default: all); "
        "published results often have 30000 or 300000",
    )  # fmt: skip
    parser.add_argument("--rule", choices=tuple(RULES), help="one of both")
    add_count(parser)


def run(arguments: argparse.Namespace) -> None:
    """Check what is asked, read the vectors, answer."""
    words, file = arguments.words, arguments.questions
    if words and (file or arguments.most):
        raise ValueError(f"--questions and --most are for many questions: leave out {words}")
    if len(words) not in (0, 3):
        raise ValueError(f"got {len(words)} word(s), {words}: expected three, A B C, or none")
    if not words and arguments.count != COUNT:
        raise ValueError("--count is for one question: give three words, or leave it out")
    rules = [arguments.rule] if arguments.rule else list(RULES)
    if words:
        vectors = load_vectors(arguments.vectors)
        print(f"{size_of(vectors)}\n{words[0]} is to {words[1]} as {words[2]} is to")
        found = [vectors.analogy(*words, rule, arguments.count) for rule in rules]
        print_columns([RULES[rule] for rule in rules], found)
    else:
        _count_right(arguments, rules)


def _count_right(arguments: argparse.Namespace, rules: list[str]) -> None:
    from minissl.data.word_tests import AnalogyQuestions, summary

    file = arguments.questions
    asked = AnalogyQuestions.read(file) if file else AnalogyQuestions.toy()
    vectors = load_vectors(arguments.vectors)
    sections = [asked.measure(vectors, rule, arguments.most) for rule in rules]
    tables = [[*one, *summary(one)] for one in sections]
    first = f", the first {arguments.most:,} of them" if arguments.most else ""
    print(
        f"{size_of(vectors)}{first}; {file or 'a toy set, which compares with nothing published'}"
    )
    width = max(len(row.section) for row in tables[0])
    print(f"{'section':{width}} {'known':>16}" + "".join(f"{RULES[r]:>10}" for r in rules))
    for number, rows in enumerate(zip(*tables)):
        if number == len(sections[0]):
            print("-" * (width + 17 + 10 * len(rules)))
        coverage = f"{rows[0].known:,} of {rows[0].total:,}"
        print(f"{rows[0].section:{width}} {coverage:>16}" + "".join(map(_percent, rows)))


def _percent(row: Any) -> str:
    return f"{'-':>10}" if row.accuracy is None else f"{100 * row.accuracy:>9.1f}%"
