"""The table and the picture of ``evaluate``: read, represent, measure, print, write."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minissl.cli._shared import add_seed, argument, path, place_of
from minissl.data.asked import load_reads
from minissl.data.tasks import TASKS

FILES = ("evaluation.json", "evaluation.csv", "evaluation.svg")
SHEET, CURVES = "neighbors.svg", "curves.svg"
HEADS = {
    "knn": "k-NN", "probe": "probe", "effective_rank": "rank", "alignment": "align",
    "uniformity": "uniform", "equal_error_rate": "EER",
}  # fmt: skip
ALL = (*HEADS, "roc_area", "true_accepts_at_0.01", "true_accepts_at_0.001")
PERCENT = ("knn", "probe", "equal_error_rate")


def add_measures(parser: argparse.ArgumentParser) -> None:
    """Add the options of the table."""
    group = parser.add_argument_group("the table and the picture, where DATA is given")
    group.add_argument(
        "--out", type=path, metavar="FOLDER", help="for the files (default: RUN/evaluation)"
    )
    group.add_argument(
        "--labels", type=argument(1, least=1), nargs="+", default=[1, 5, 10, 50], metavar="N",
        help="labels per class of the probes (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--draws", type=argument(10, least=1, most=1000), default=10, metavar="N",
        help="of labelled examples, for the means (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--k", type=argument(0, least=0), default=0, metavar="N",
        help="neighbors that vote; 0: a tenth of the training examples, at most 200",
    )  # fmt: skip
    group.add_argument(
        "--temperature", type=argument(0.1, above=0), default=0.1, metavar="X",
        help="of their votes (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--standardize", action="store_true",
        help="for the probes divide each feature by its own deviation, not all by one number",
    )  # fmt: skip
    group.add_argument(
        "--hold-out-classes", type=argument(0, least=0), default=0, metavar="N",
        help="random classes left to the verification: no probe or fine-tuning sees them",
    )  # fmt: skip
    group.add_argument(
        "--pairs", type=argument(200_000, least=2, most=20_000_000), default=200_000, metavar="N",
        help="that are verified at most; of more a random half is of the same class (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--finetune", type=argument(300, least=1, most=10**9), nargs="?", const=300,
        metavar="STEPS", help="a row after fine-tuning as well, which takes long (300 steps)",
    )  # fmt: skip
    group.add_argument(
        "--projection", choices=("pca", "tsne"), default="pca",
        help="how the embeddings are drawn in two dimensions; tsne is scikit-learn's (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--neighbors", type=argument(0, least=0, most=50), default=0, metavar="N",
        help=f"of images: also {SHEET}, the N nearest ones of some of them",
    )  # fmt: skip
    group.add_argument(
        "--curves", action="store_true",
        help=f"also {CURVES}: what the log of the run says, step by step (needs no DATA)",
    )  # fmt: skip
    add_seed(parser, "of draws, views, pairs and the untrained network")
    parser.set_defaults(of_the_table=[action.dest for action in group._group_actions])


# ---- reading -------------------------------------------------------------------------------------


def read_labelled_or_not(opened: Any, data: Path, fields: Any) -> tuple[Any, str]:
    """``Labelled`` examples, and why there are no classes among them ("" where there are)."""
    from minissl.adapt.evaluation import why_no_classes
    from minissl.data.asked import labelled_of

    base = getattr(opened, "base", None) or opened
    try:
        labelled = labelled_of(base.data, read_with_labels(opened, data, fields))
    except ValueError as error:  # of data that can be read without labels: that is tried next
        return unlabelled(base, data, fields), f"no labels were read: {error}"
    return labelled, why_no_classes(labelled)


def read_with_labels(opened: Any, data: Path, fields: Any) -> Any:
    """Raw data with the labels of an adaptation's form, or with classes."""
    base = getattr(opened, "base", None)
    if base is not None:
        return opened.read(data, fields)
    task, kind = TASKS.get(fields.layout), type(opened.method).Data.with_labels
    if task and task.pairs and not hasattr(kind, "reads"):
        return load_reads("pairs").read(data, opened.settings, fields, labels=task.kind)
    return kind.read(data, opened.settings, fields)


def unlabelled(base: Any, data: Path, fields: Any) -> Any:
    """The examples alone; images are their own raw features, texts have none without labels."""
    import numpy as np

    from minissl.data.labels import Labelled

    inputs, names = base.data.examples(base.read_examples(data, fields))
    width = None if isinstance(inputs, np.ndarray) else 0
    raw = inputs.reshape(len(inputs), -1) if width is None else np.zeros((len(inputs), 0))
    return Labelled(inputs, tuple(names), np.zeros(len(inputs)), (), raw, "raw pixels")


def folder_for(arguments: argparse.Namespace, opened: Any) -> Path:
    """Where the files go, seen to be writable: before long work.

    Raises ValueError for a folder in the data, of which they would become a part.
    """
    from minissl.durable import make_parents

    out: Path = arguments.out or opened.folder / "evaluation"
    data: Path | None = arguments.data
    if data is not None and data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise ValueError(f"--out {out} is in the data: give a folder outside of {data}")
    for name in FILES:
        make_parents(out / name)
    return out


def write_curves(arguments: argparse.Namespace, opened: Any) -> list[str]:
    """Draw the log of a run; the line that says where. ValueError for a log without any number."""
    from minissl import figures
    from minissl.conditions import require_packages
    from minissl.durable import replace_durably
    from minissl.page import svg_bytes
    from minissl.training import History

    require_packages("the picture", "matplotlib")
    out = folder_for(arguments, opened)
    history = History.read(opened.folder)
    names = dict.fromkeys(name for record in history for name in record)
    unseen = ("step", "seconds", "lr", "device", "precision")
    numbers = [
        name for name in names
        if name not in unseen and isinstance(_last_number(history, name), int | float)
    ]  # fmt: skip
    if not numbers:
        raise ValueError(f"{opened.folder / 'log.jsonl'} has no number to draw")
    figure = figures.curves({name: history.column(name) for name in numbers})
    replace_durably(out / CURVES, svg_bytes(figure))
    return [f"{out / CURVES}: {len(history):,} records up to step {history.latest('step')}"]


def _last_number(history: Any, name: str) -> Any:
    """The last value of this name that is there: a metric that was not finite is None."""
    values = (record.get(name) for record in reversed(history.records))
    return next((value for value in values if value is not None), None)


# ---- measuring, writing, printing ----------------------------------------------------------------


def evaluate(
    arguments: argparse.Namespace, opened: Any, data: Any, why: str, own: dict[str, float]
) -> list[str]:
    """Measure every representation and write the files; returns the table to be printed.

    why: the data has no classes, which is said; own: what the method measured of itself.
    """
    import numpy as np

    from minissl.adapt.evaluation import Measures, compare
    from minissl.conditions import require_packages
    from minissl.durable import replace_durably

    require_packages("the picture", "matplotlib")
    if arguments.neighbors and not isinstance(data.inputs, np.ndarray):
        raise ValueError(f"--neighbors draws images, {arguments.data} has texts: leave it out")
    out = folder_for(arguments, opened)
    measures = Measures(
        tuple(arguments.labels), arguments.draws, arguments.k, arguments.temperature,
        arguments.standardize, arguments.pairs, arguments.seed,
    )  # fmt: skip
    found = compare(
        opened, data, measures, hold_out=arguments.hold_out_classes,
        finetune_steps=arguments.finetune or 0, device=arguments.device, progress=True,
    )  # fmt: skip
    if why:
        found.notes.append(f"{why}; so nothing but rank, alignment and uniformity is measured")
    files = {
        "evaluation.json": as_json(arguments, opened, data, found, measures, own),
        "evaluation.csv": as_csv(found),
        "evaluation.svg": picture(found, data, arguments),
    }
    if arguments.neighbors and found.representations[-1].bad:
        found.notes.append(f"no {SHEET}: features that are not finite have no neighbors")
    elif arguments.neighbors:
        files[SHEET] = sheet(found, data, arguments)
    for name, content in files.items():
        replace_durably(out / name, content)
    return [*as_lines(found, measures, data), f"{out}: {', '.join(files)}"]


def columns_of(found: Any) -> list[str]:
    """The scores that some row has, in their order."""
    names = dict.fromkeys(name for row in found.rows for name in row.scores)
    return [name for name in ALL if name in names]


def as_lines(found: Any, measures: Any, data: Any) -> list[str]:
    """The table for a terminal, below what it was measured with, above what is to be known."""
    split, there = found.split, [name for name in HEADS if name in columns_of(found)]
    first = [name for name in ("knn", "probe") if name in there]
    table = [["", *(HEADS[n] for n in first), *(f"{n} lab." for n in found.counts)]]
    table[0] += [HEADS[n] for n in there if n not in first]
    for row in found.rows:
        few = [row.few.get(n) for n in found.counts]
        table.append(
            [row.name, *(_cell(n, row.scores.get(n)) for n in first)]
            + ["-" if few_n is None else f"{100 * few_n.mean():.1f}" for few_n in few]
            + [_cell(n, row.scores.get(n)) for n in there if n not in first]
        )
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in table
    ]
    notes: dict[str, list[str]] = {}
    for row in found.rows:
        for note in row.notes:
            notes.setdefault(note, []).append(row.name)
    of_rows = [f"{', '.join(names)}: {note}" for note, names in notes.items()]
    return [*_conditions(split, measures, data, found), *lines, *found.notes, *of_rows]


def _conditions(split: Any, measures: Any, data: Any, found: Any) -> list[str]:
    """What was measured on what, in sentences."""
    looked_at = f"rank, alignment and uniformity of {len(split.looked_at):,} examples"
    if not split.classes:
        return [f"{len(data):,} examples; {looked_at}"]
    k, draws = measures.neighbors(len(split.train)), measures.draws
    lines = [
        f"{len(split.train):,} training and {len(split.test):,} test examples of {split.classes} "
        f"classes; {looked_at}",
        f"accuracies in percent: {k}-NN votes at temperature {measures.temperature:g}; probes on "
        f"all labels, and on N labels per class (means of {draws} draws)",
    ]
    pairs = next((row.pairs for row in found.rows if row.pairs), None)
    if pairs:
        same, different, sampled = pairs
        drawn = f", drawn at random (seed {measures.seed})" if sampled else ", all there are"
        lines.append(
            f"EER, the equal error rate in percent: {same:,} same and {different:,} different "
            f"pairs of {_listed(split.pair_classes)}{drawn}"
        )
    return lines


def _listed(classes: tuple[str, ...]) -> str:
    """How many classes; of few their names."""
    names = f" ({', '.join(classes)})" if len(classes) < 6 else ""
    return f"{len(classes)} classes{names}"


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f}" if name in PERCENT else f"{value:.2f}"


def as_csv(found: Any) -> bytes:
    """A line for each row, all that was measured, accuracies and rates from 0 to 1."""
    import csv
    import io

    names, file = columns_of(found), io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    labels = [f"{kind}_of_{n}_labels" for n in found.counts for kind in ("mean", "std")]
    writer.writerow(["representation", *names, *labels])
    for row in found.rows:
        few = [row.few.get(n) for n in found.counts]
        spreads = [x for one in few for x in (("", "") if one is None else (one.mean(), one.std()))]
        writer.writerow([row.name, *(row.scores.get(name) for name in names), *spreads])
    return file.getvalue().encode("utf-8", "surrogateescape")


def as_json(
    arguments: argparse.Namespace, opened: Any, data: Any, found: Any, measures: Any,
    own: dict[str, float],
) -> bytes:  # fmt: skip
    """All of it, with what it was measured on and how."""
    from minissl import __version__
    from minissl.reading import shown
    from minissl.training.log import plain

    split = found.split
    pairs = next((row.pairs for row in found.rows if row.pairs), None)
    about = {
        "minissl": __version__,
        "run": shown(opened.folder),
        "method": opened.name,
        "step": opened.checkpoint.step,
        "data": shown(place_of(arguments.data) or ""),
        "examples": {
            "all": len(data), "train": len(split.train), "test": len(split.test),
            "looked_at": len(split.looked_at),
        },
        "classes": list(data.class_names),
        "k": measures.neighbors(len(split.train)) if split.classes else None,
        "measures": asdict(measures),
        "finetune_steps": arguments.finetune,
        "classes_of_pairs": list(split.pair_classes),
        "pairs": pairs and dict(zip(("same", "different", "sampled"), pairs)),
        "notes": found.notes,
        "own": plain(own),
        "rows": [_row_as_json(row) for row in found.rows],
    }  # fmt: skip
    return json.dumps(about, indent=1, allow_nan=False).encode()


def _row_as_json(row: Any) -> dict[str, Any]:
    from minissl.training.log import plain

    few = {str(n): values.tolist() for n, values in row.few.items()}
    return {
        "representation": row.name, **plain(row.scores), "few_labels": few, "notes": row.notes
    }  # fmt: skip


def picture(found: Any, data: Any, arguments: argparse.Namespace) -> bytes:
    """``figures.evaluation`` of at most so many of the examples, as SVG."""
    import numpy as np

    from minissl import figures
    from minissl.page import svg_bytes

    split, generator = found.split, np.random.default_rng(arguments.seed)
    shown = split.looked_at
    if len(shown) > figures.MOST_POINTS:
        shown = np.sort(generator.choice(shown, figures.MOST_POINTS, replace=False))
    classes = data.labels[shown] if split.classes else np.zeros(len(shown), np.int64)
    figure = figures.evaluation(
        {row.name: row.few for row in found.rows if row.few},
        {r.name: (r.roc.false_accepts, r.roc.true_accepts) for r in found.rows if r.roc},
        {one.name: one.features[shown] for one in found.representations if not one.bad},
        classes,
        data.class_names if split.classes else (),
        arguments.projection,
    )
    return svg_bytes(figure)


QUERIES = 10  # rows of a contact sheet at most: the digits, or the kinds of CIFAR-10, have one each


def sheet(found: Any, data: Any, arguments: argparse.Namespace) -> bytes:
    """The nearest images of some, one of each of the first classes where there are any, as SVG."""
    import numpy as np

    from minissl import figures
    from minissl.adapt.representations import nearest_others
    from minissl.page import svg_bytes

    last, split = found.representations[-1], found.split
    order = np.random.default_rng(arguments.seed).permutation(split.looked_at)
    if split.classes:
        _, firsts = np.unique(data.labels[order], return_index=True)
        order = order[firsts]
    nearest, cosines = nearest_others(last.features, order[:QUERIES], arguments.neighbors)
    classes = data.labels if split.classes else None
    return svg_bytes(figures.contact_sheet(data.inputs, data.names, nearest, cosines, classes))
