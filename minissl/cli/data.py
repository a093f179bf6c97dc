"""list the data sets that have a name, fetch them once, say where they are; the tasks of GLUE"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minissl.cli._shared import path

DESCRIPTION = """\
Where a command takes DATA, it takes a file, a folder, or the name of a data set. Sets that come
with Python or scikit-learn need no download. The others are fetched once, by `minissl data get`
and by nothing else, into the user's cache or the folder in the environment variable MINISSL_DATA.
`minissl lecture data` tells more."""
EXAMPLES = """\
examples:
  minissl data list
  minissl data get mnist                        # 12 MB, checked against a published sum
  minissl probe runs/digits mnist/test          # a part of it
  minissl data get mnist --from ~/Downloads     # files that were fetched by other means
  MINISSL_DATA=/class/data minissl data get stl10   # one copy for everybody
  minissl data where mnist
  minissl data tasks                            # what each asks, its metric, its --layout"""

ELSEWHERE = """\
Not here, for their size or their terms: ImageNet, COCO captions, IMDB, AG News, LibriSpeech, ...
Fetch them yourself and give their folder (in it a folder of images or text files for each class),
or a table (.csv, .tsv, .jsonl) with a column for each of text or image, and label."""

RULE = """\
printed: the average in the paper. It is the mean of the nine numbers of the row: the two test sets
of MNLI count as much as a task each, and WNLI is left out. "of 8": with MNLI as one task. Who
compares averages asks first what was averaged, here accuracies (acc.) with F1, Matthews and
Spearman correlations. That a method is general is argued from the columns: better in each of many
unlike tasks. Nobody can say for how many others that holds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the command its five actions."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, run, what in (
        ("list", run_list, "all data sets: what they are, how large, and whether they are here"),
        ("get", run_get, "fetch one, check its sum, and unpack it"),
        ("where", run_where, "print the path of a fetched one"),
        ("remove", run_remove, "remove a fetched one from the cache"),
        ("tasks", run_tasks, "tasks on sentences: what they ask, how they are measured and read"),
    ):
        action = actions.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        action.set_defaults(function=run)
        if name == "tasks":
            continue
        if name != "list":
            part = ", or NAME/PART" if name == "where" else ""
            action.add_argument("name", metavar="NAME", help=f"see `minissl data list`{part}")
        action.add_argument(
            "--cache", type=path, metavar="FOLDER",
            help="the folder that has a folder for each set (default: $MINISSL_DATA, else the "
            "user's cache)",
        )  # fmt: skip
    get = actions.choices["get"]
    get.add_argument(
        "--from", dest="by_hand", type=path, metavar="PATH",
        help="take the published files from this folder (or the one file) instead of the network; "
        "their sums are checked all the same",
    )  # fmt: skip
    get.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run_list(arguments: argparse.Namespace) -> None:
    """A table of all sets."""
    from minissl.data.sets import load_set, set_names
    from minissl.data.sets._cache import cache_folder, in_bytes

    cache = arguments.cache or cache_folder()
    sets = [load_set(name) for name in set_names()]
    rows = [("NAME", "DOWNLOAD", "HERE", "READ AS", "LICENCE")]
    for one in sets:
        size = in_bytes(one.size) if one.files else "none"
        here = "yes" if one.is_here(cache) else "no"
        rows.append((one.name, size, here, ", ".join(one.kinds), one.licence))
    _print_columns(rows)
    print()
    for one in sets:
        parts = f" ({', '.join(f'{one.name}/{part}' for part in one.parts)})"
        print(f"{one.name}: {one.about}{parts if len(one.parts) > 1 else ''}")
    print(f"\n{ELSEWHERE}\nfetched sets are in {cache}")


def run_get(arguments: argparse.Namespace) -> None:
    """Fetch a set, unless it is here."""
    from minissl.data.sets import load_set
    from minissl.data.sets._cache import VARIABLE, fetch, in_bytes

    _refuse_path(arguments.name)
    dataset = load_set(arguments.name)
    say = (lambda text: None) if arguments.quiet else print
    if not dataset.files:
        say(f"{dataset.name} needs no download ({dataset.licence}): give its name as DATA")
        return
    if dataset.is_here(arguments.cache):
        say(f"{dataset.name} is here already: {dataset.folder(arguments.cache)}")
        return
    say(f"{dataset.name}: {dataset.about}\nsource: {dataset.source}\nlicence: {dataset.licence}")
    if not arguments.by_hand:
        where = dataset.files[0].url.rpartition("/")[0]
        size = f", {in_bytes(dataset.size)}" if dataset.size else ""
        say(f"{len(dataset.files)} file(s) from {where}{size}")
    sys.stdout.flush()
    folder = fetch(
        dataset, arguments.cache, by_hand=arguments.by_hand, progress=not arguments.quiet
    )
    say(f"{dataset.name} is in {folder}; as DATA: {', '.join(_names(dataset))}")
    if arguments.cache:
        say(f"set {VARIABLE}={arguments.cache} and the other commands find it there")
    if Path(dataset.name).exists():
        say(f"here is something else named {dataset.name}, which goes first where DATA is asked")


def run_where(arguments: argparse.Namespace) -> None:
    """Print where the file of a set, or of a part of it, is."""
    from minissl.data.sets import load_set

    name, _, part = arguments.name.partition("/")
    dataset = load_set(name)
    file = dataset.file(part, arguments.cache)
    if not dataset.is_here(arguments.cache):
        raise FileNotFoundError(f"{name} is not in {file.parent}: `minissl data get {name}`")
    print(file)


def run_remove(arguments: argparse.Namespace) -> None:
    """Remove a set from the cache."""
    from minissl.data.sets import load_set
    from minissl.data.sets._cache import remove

    dataset = load_set(arguments.name)
    if not dataset.files:
        raise ValueError(f"{dataset.name} was not fetched: it belongs to an installed package")
    gone = remove(dataset, arguments.cache)
    folder = dataset.folder(arguments.cache)
    print(f"{'removed' if gone else 'there is no'} {folder}")


def run_tasks(arguments: argparse.Namespace) -> None:
    """What each task asks, then the published table of five systems."""
    from minissl.data.glue import COLUMNS, ROWS, average, average_of_tasks
    from minissl.data.tasks import IN_WORDS, OTHERS, TASKS

    for task in TASKS.values():
        how = f"--layout {task.name}: {task.expected()}"
        _tell_task(task, ", ".join(IN_WORDS[name] for name in task.metrics), how)
    for other in OTHERS:
        _tell_task(other, other.metric, other.read)
    print("GLUE, hidden test sets, times 100 (Devlin et al., arXiv:1810.04805v1)\n")
    table = [
        ("", *(c.title for c in COLUMNS), "mean", "mean", "printed"),
        ("", *(c.metric for c in COLUMNS), "of 9", "of 8", ""),
        ("examples", *(c.examples for c in COLUMNS), "", "", ""),
    ]
    for row in ROWS:
        means = (f"{mean(row):.2f}" for mean in (average, average_of_tasks))
        scores = (f"{score:.1f}" for score in (*row.scores, row.printed))
        *nine, printed = scores
        table.append((row.system, *nine, *means, printed))
    _print_columns(table, str.rjust)
    print(f"\n{RULE}")


def _tell_task(task: Any, metric: str, how: str) -> None:
    """A few lines of a task: what it asks, with a case, its size and metric, how it is read."""
    import textwrap

    print(f"{task.title}: {task.question}")
    size = f"{task.examples:,} examples to learn from; {metric}; {task.paper}"
    for line in (task.example, size, how):
        print(textwrap.fill(line, 100, initial_indent="    ", subsequent_indent="      "))
    print()


def _print_columns(rows: Sequence[Sequence[str]], place: Any = str.ljust) -> None:
    """A table; ``place``: how all but the first column stand."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for first, *cells in rows:
        line = [first.ljust(widths[0]), *(place(c, w) for c, w in zip(cells, widths[1:]))]
        print("  ".join(line).rstrip())


def _names(dataset: Any) -> list[str]:
    """What can be given as DATA: the set, and its parts."""
    return [dataset.name, *(f"{dataset.name}/{part}" for part in [*dataset.parts][1:])]


def _refuse_path(name: str) -> None:
    """Raise ValueError for a path of the person's own, and for a part of a set."""
    from minissl.data.sets import set_names

    whole, _, part = name.partition("/")
    if whole in set_names() and part:
        raise ValueError(f"{name} is a part of a set: `minissl data get {whole}` fetches all parts")
    if name not in set_names() and Path(name).exists():
        raise ValueError(f"{name} is on this computer: it is given as DATA as it is")
