"""what a method measures of itself, and what its representation is worth beside others"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from minissl.cli._evaluation import add_measures, evaluate, read_labelled_or_not, write_curves
from minissl.cli._shared import (
    DATA_HELP,
    add_base,
    add_device,
    add_fields,
    add_run_and_data,
    fields_from,
    reader_of,
    tell_what_is_not_read,
    tell_what_was_fitted,
)

DESCRIPTION = """\
Prints what the method of a run measures of itself: the held-out loss and what else it knows. With
DATA on all of that data, and a line says so if it is what the run was trained on; without, on what
the run held out of its own, which is read again from where it was.

With DATA there follows a table: the raw examples, the untrained network and the pretrained one (of
an adaptation the adapted one too), all measured alike. Where the data has classes (a folder for
each, a column of a table, labels in an .npz): the vote of the k nearest neighbors, linear probes
on all labels and on few, and verification: are two examples of the same class? The pairs come from
the test examples, with --hold-out-classes from classes that no probe has met, and those of a run
that learned from labels from other classes where there are two. Always: the effective rank, the
uniformity, and of methods that make views the alignment. Networks are in evaluation mode.

With --curves the log of the run is drawn; --watch of `minissl pretrain` puts accuracies into it.

The table is also written as evaluation.json and .csv, and drawn with the embeddings as
evaluation.svg; an earlier evaluation in that folder is replaced."""
EXAMPLES = """\
examples:
  minissl evaluate runs/book
  minissl evaluate runs/book another_book.txt
  minissl evaluate runs/photos labelled/ --labels 1 5 --out results
  minissl evaluate runs/photos labelled/ --hold-out-classes 3 --finetune
  minissl evaluate runs/digits digits --neighbors 8         and a contact sheet
  minissl evaluate runs/digits --curves                     its log as a picture"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_run_and_data(parser, f"{DATA_HELP} (default: the run's)")
    add_base(parser)
    add_fields(parser, of_run=True)
    add_device(parser)
    add_measures(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print one line for each number of the method, then the table."""
    from minissl.adapt.run import open_any

    opened = open_any(arguments.folder, arguments.base)
    fields = fields_from(arguments, opened.read_fields())
    if arguments.data is None:
        refuse_of_the_table(arguments, "which is made of examples: give DATA")
        if arguments.curves:
            print("\n".join(write_curves(arguments, opened)))
            return
        print("\n".join(lines_of(_own(opened, _own_data(opened, fields), arguments))))
        return
    if getattr(opened.data, "form", "class") not in ("class", "number"):  # of its own shape
        refuse_of_the_table(arguments, "which is made of classes and numbers: leave it out")
        _, lines = _own_on(opened, arguments, fields, needed=True)
        print("\n".join(lines + (write_curves(arguments, opened) if arguments.curves else [])))
        return
    data, why = read_labelled_or_not(opened, arguments.data, fields)
    needed = bool(why) and (len(data) < 2 or not _learns_labels(opened))
    own, lines = _own_on(opened, arguments, fields, needed=needed)
    if arguments.curves:
        lines += write_curves(arguments, opened)
    try:  # what is printed comes after what is written: perhaps nobody reads the one
        if len(data) > 1:
            lines += evaluate(arguments, opened, data, why, own)
        else:
            lines.append(f"{why}, and there is one example: nothing to compare it with")
    finally:
        print("\n".join(lines))
    base = getattr(opened, "base", opened)
    tell_what_is_not_read(reader_of(base.method), base.data, data.inputs, data.names)


def _learns_labels(opened: Any) -> bool:
    """Whether the method itself can do nothing without labels: its representation can."""
    if getattr(opened, "base", None) is not None:
        return True
    kind = type(opened.method).Data
    return bool(kind is kind.with_labels)


def refuse_of_the_table(arguments: argparse.Namespace, why: str) -> None:
    """Raise ValueError for an option of the table, which would be ignored.

    ``why``: "which is made of ...", what there is not.
    """
    parser = argparse.ArgumentParser()
    add_measures(parser)
    for name in arguments.of_the_table:
        if name == "curves" or (name == "out" and arguments.curves):
            continue
        if getattr(arguments, name) != parser.get_default(name):
            option = name.replace("_", "-")
            raise ValueError(f"--{option} is of the table, {why}")


def lines_of(metrics: dict[str, float]) -> list[str]:
    """One line for each number."""
    return [f"{name.replace('_', ' '):28} {value:.6g}" for name, value in metrics.items()]


def _own(opened: Any, prepared: Any, arguments: argparse.Namespace) -> dict[str, float]:
    """What the method measures of itself. Raises ValueError where that is nothing."""
    from minissl.training.method import Evaluated

    if not isinstance(opened.method, Evaluated):
        raise ValueError(f"{opened.folder} holds a run of {opened.name!r}, which measures nothing")
    method = opened.on(prepared)
    method.to(arguments.device)
    metrics: dict[str, float] = method.evaluate()
    if not metrics and arguments.data is not None:
        raise ValueError(
            f"{arguments.data} has nothing that {opened.folder} could be measured on: give more of "
            "it, or data like that of the run"
        )
    if not metrics:
        raise ValueError(f"{opened.folder}: nothing held out can be measured: give other data")
    return metrics


def _own_on(
    opened: Any, arguments: argparse.Namespace, fields: Any, *, needed: bool
) -> tuple[dict[str, float], list[str]]:
    """The same on other data, with its lines. What cannot be is an error, if needed, or a line."""
    data: Path = arguments.data
    fitted: list[str] = []
    try:
        raw = opened.read(data, fields)
        fitted = [raw.fitted] if getattr(raw, "fitted", "") else []
        metrics = _own(opened, opened.data.unseen(raw), arguments)
    except ValueError as error:
        if needed:
            raise
        return {}, [*fitted, f"the method measures nothing of itself on {data}: {error}"]
    return metrics, fitted + lines_of(metrics) + _known(opened, raw, data)


def _known(opened: Any, raw: Any, data: Path) -> list[str]:
    """The line that says so where these are the very examples that were trained on."""
    if raw.fingerprint()["sha256"] != opened.checkpoint.config["data"]["sha256"]:
        return []
    return [
        f"these numbers are of examples that {opened.folder} has learned from, too: {data} is what "
        "it was trained on"
    ]


def _own_data(opened: Any, fields: Any) -> Any:
    """That of the run, split as it was."""
    place = opened.read_from()
    raw = opened.read(place, fields)
    tell_what_was_fitted(raw)
    if raw.fingerprint()["sha256"] != opened.checkpoint.config["data"]["sha256"]:
        raise ValueError(
            f"{place or type(raw).default} is not what {opened.folder} was trained on, so nobody "
            "knows what was held out: give the data to measure on"
        )
    return opened.prepare(raw)
