"""which of two words a language model finds likelier after a text, in seven kinds of questions"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minissl.cli._shared import add_device, argument, methods_with, path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from minissl.data.cloze import ClozePair, KindScore

DESCRIPTION = """\
Compares ln p of a right and of a wrong answer to each prompt. Without a file: generated pairs about
the world that the data set small-world tells of (trivia, grammar, coreference, topic, sentiment,
location, sequence), which a model knows only if it has read that. A file has a pair a line, four
columns with tabs between them: kind, prompt, right, wrong; the answers begin with their space."""
EXAMPLES = """\
examples:
  minissl pretrain gpt small-world --run runs/world && minissl cloze runs/world --examples 2
  minissl cloze --write-pairs zoo.tsv           to see the form of a file
  minissl cloze runs/book my_pairs.tsv"""

COUNT = 100  # of each kind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "folder", nargs="?", type=path, metavar="RUN", help="a run of a language model"
    )
    parser.add_argument(
        "pairs", nargs="?", type=path, metavar="PAIRS", help="a file (default: generated pairs)"
    )
    parser.add_argument(
        "--count", type=argument(COUNT, least=2), metavar="N",
        help=f"generated pairs of each kind, an even number (default: {COUNT})",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=argument(0, least=0), metavar="N", help="of the generated pairs (default: 0)"
    )
    parser.add_argument(
        "--examples", type=argument(0, least=0), default=0, metavar="K",
        help="print the first K pairs of each kind with both ln p (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--write-pairs", type=path, metavar="FILE", help="write the generated pairs as a new file"
    )
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    """Make or read the pairs, then write them, or ask the model and print a table."""
    from minissl.data.cloze import answer_scores, by_kind, read_pairs, small_zoo
    from minissl.training.progress import patiently

    given = [name for name in ("count", "seed") if getattr(arguments, name) is not None]
    if arguments.pairs is not None and (given or arguments.write_pairs):
        name = given[0] if given else "write-pairs"
        raise ValueError(f"--{name} is of generated pairs: leave it out, or the file of pairs")
    if arguments.folder is None and arguments.write_pairs is None:
        raise ValueError("which model? Give the folder of a run, or --write-pairs FILE")
    if arguments.pairs is not None:
        pairs = read_pairs(arguments.pairs)
    else:
        count = COUNT if arguments.count is None else arguments.count
        if count % 2:
            raise ValueError(f"--count must be even, for pairs come in twos; got {count}")
        pairs = small_zoo(count, arguments.seed or 0)
    if arguments.write_pairs is not None:
        write(arguments.write_pairs, pairs)
    if arguments.folder is None:
        return
    method = open_scorer(arguments.folder, arguments.device)
    scores = answer_scores(method, pairs, lambda batches: patiently(batches, "pairs"))
    print("\n".join([*table(by_kind(pairs, scores)), *uneven(method, pairs)]))
    if arguments.examples:
        print("\n".join(examples(pairs, scores, arguments.examples)))


def open_scorer(folder: Path, device: str) -> Any:
    """The method of a run. Raises ValueError for one that cannot say how likely a text is."""
    from minissl.pretrain.method import Scores
    from minissl.pretrain.run import open_run

    opened = open_run(folder)
    method: Any = opened.method
    if not isinstance(method, Scores):
        raise ValueError(
            f"{folder} holds a run of {opened.name!r}, which cannot say how likely a text is; "
            f"methods that can: {', '.join(methods_with('score'))}"
        )
    opened.method.to(device)
    return method


def write(file: Path, pairs: Sequence[ClozePair]) -> None:
    """A new file of pairs."""
    from minissl.data.cloze import to_tsv
    from minissl.durable import make_parents, replace_durably

    if file.exists():
        raise FileExistsError(f"--write-pairs {file} is there already: name a new file")
    make_parents(file)
    replace_durably(file, to_tsv(pairs).encode())
    print(f"{file}: {len(pairs):,} pairs")


def table(kinds: Sequence[KindScore]) -> list[str]:
    """A row for each kind, their mean, and what a coin would get."""
    width = max(len("all kinds"), *(len(one.kind) for one in kinds))
    lines = [f"{'kind':{width}} {'pairs':>7} {'right %':>8} {'nats':>8}"]
    rows = [(one.kind, one.pairs, one.right, one.nats) for one in kinds]
    if len(kinds) > 1:
        total, every = sum(one.pairs for one in kinds), len(kinds)
        right, nats = sum(one.right for one in kinds), sum(one.nats for one in kinds)
        rows.append(("all kinds", total, right / every, nats / every))
    lines += [
        f"{kind:{width}} {pairs:7,} {100 * right:8.1f} {nats:+8.2f}"
        for kind, pairs, right, nats in rows
    ]
    fewest = min(one.pairs for one in kinds)
    spread = 98 / math.sqrt(fewest)  # 1.96 standard deviations of a mean of tosses, in per cent
    return [
        *lines,
        f"{'chance':{width}} {'':7} {50:8.1f} {0:+8.2f}",
        f"of {fewest} pairs a coin gets {max(0, 50 - spread):.0f} to {min(100, 50 + spread):.0f} % "
        "in 95 of 100 tries; nats: mean of ln p(right) - ln p(wrong)",
    ]


def uneven(method: Any, pairs: Sequence[ClozePair]) -> list[str]:
    """What makes pairs unfair for this run: answers of more tokens, prompts that are cut."""
    if not hasattr(method, "answer_lengths"):
        return []
    prompts = [pair.prompt for pair in pairs]
    right, cut = method.answer_lengths(prompts, [pair.right for pair in pairs])
    wrong, cut_too = method.answer_lengths(prompts, [pair.wrong for pair in pairs])
    said = []
    if (right != wrong).any():
        more, fewer = int((right > wrong).sum()), int((right < wrong).sum())
        said.append(
            f"in {more:,} pairs the right answer has more tokens than the wrong one, in {fewer:,} "
            "fewer: each token more costs something"
        )
    if lost := int((cut | cut_too).sum()):
        said.append(f"{lost:,} prompts are longer than the context: their beginnings are not seen")
    return said


def examples(pairs: Sequence[ClozePair], scores: NDArray, most: int) -> list[str]:
    """The first pairs of each kind, the likelier answer marked."""
    lines, shown = [], dict.fromkeys((pair.kind for pair in pairs), 0)
    for pair, (right, wrong) in zip(pairs, scores):
        shown[pair.kind] += 1
        if shown[pair.kind] <= most:
            mark = "=" if right == wrong else ">" if right > wrong else "<"
            lines += [
                f"{pair.kind}: {pair.prompt} ...",
                f"   {pair.right} {right:.2f}  {mark}  {pair.wrong} {wrong:.2f}",
            ]
    return lines
