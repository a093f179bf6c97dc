"""labels for new examples, from an adapted run"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from minissl.cli._shared import (
    DATA_HELP,
    add_base,
    add_device,
    add_fields,
    fields_from,
    other_than,
    path,
    tell_what_is_not_read,
    tell_what_was_fitted,
)

DESCRIPTION = """\
Predicts the class of every example with what `minissl adapt --run` has kept, or what else was
learned: a number, the tags of the words, the answer to a question, the best of several endings. The
result is a table in CSV with the name of the example, the prediction and, where there is one, its
probability. Where a model that writes its answers named no class, the prediction is empty."""
EXAMPLES = """\
examples:
  minissl predict runs/reviews more.csv
  minissl predict runs/names more.conll        or more.txt: a sentence on each line
  minissl predict runs/answers questions.json  as SQuAD's, answers are not needed
  minissl predict runs/animals photos/ --out predicted.csv"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("folder", type=path, metavar="RUN", help="the folder of an adaptation")
    parser.add_argument(
        "data",
        type=path,
        metavar="DATA",
        help=f"{DATA_HELP}; labels are not looked at",
    )
    parser.add_argument("--out", type=path, metavar="FILE", help="the table (default: printed)")
    add_base(parser)
    add_fields(parser, of_run=True)
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read, predict, write."""
    from minissl.adapt.run import open_adaptation
    from minissl.durable import make_parents, replace_durably

    if arguments.out is not None:
        other_than(arguments.out, arguments.data)
    opened = open_adaptation(arguments.folder, arguments.base)
    fields = fields_from(arguments, opened.read_fields())
    raw = opened.read_examples(arguments.data, fields)
    examples = opened.data.examples(raw)
    if arguments.out is not None:
        make_parents(arguments.out)
    opened.method.to(arguments.device)
    table = _table(opened, examples)
    told = sys.stderr if arguments.out is None else sys.stdout
    tell_what_was_fitted(raw, told)
    inputs, names = examples
    tell_what_is_not_read(opened.method, opened.data, inputs, names, told)
    if arguments.out is None:
        sys.stdout.write(table)
        return
    replace_durably(arguments.out, table.encode("utf-8", "surrogateescape"))
    print(f"{arguments.out}: {len(examples.names):,} predictions")


def _table(opened: Any, examples: Any) -> str:
    """One line for each example, below a line with the names of the columns."""
    import csv
    import io

    from minissl.adapt.method import Confident
    from minissl.adapt.trained import Trained
    from minissl.data.labels import likeliest

    method, classes = opened.method, opened.data.class_names
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if isinstance(method, Trained):
        columns, rows = method.table(examples.inputs)
        writer.writerows([["name", *columns], *([n, *r] for n, r in zip(examples.names, rows))])
        return file.getvalue()
    if isinstance(method, Confident):
        probabilities = method.probabilities(examples.inputs)
        writer.writerow(["name", "prediction", "probability"])
        for name, row, first in zip(examples.names, probabilities, likeliest(probabilities)):
            writer.writerow([name, classes[first], f"{row[first]:.4f}"])
        return file.getvalue()
    writer.writerow(["name", "prediction"])
    for name, value in zip(examples.names, method.predict(examples.inputs)):
        writer.writerow([name, _named(value, classes)])
    return file.getvalue()


def _named(value: Any, classes: Sequence[str]) -> str:
    """The name of a class, "" for none of them, or a number."""
    if not classes:
        return f"{value:.6g}"
    return classes[value] if value >= 0 else ""
