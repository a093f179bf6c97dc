"""what a method measures, on what it held out or on other data"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from minissl.cli._shared import (
    DATA_HELP,
    add_base,
    add_device,
    add_fields,
    add_run_and_data,
    fields_from,
    tell_what_was_fitted,
)

DESCRIPTION = """\
Prints what the method of a run measures of itself: the held-out loss and what else it knows. With
DATA on all of that data, none of which is trained on; without, on what the run held out of its own,
which is read again from where it was."""
EXAMPLES = """\
examples:
  minissl evaluate runs/book
  minissl evaluate runs/book another_book.txt"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_run_and_data(parser, f"{DATA_HELP} (default: the run's)")
    add_base(parser)
    add_fields(parser, of_run=True)
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print one line for each number."""
    from minissl.adapt.run import open_any
    from minissl.training.method import Evaluated

    opened = open_any(arguments.folder, arguments.base)
    if not isinstance(opened.method, Evaluated):
        raise ValueError(
            f"{arguments.folder} holds a run of {opened.name!r}, which measures nothing"
        )
    prepared = _data(opened, arguments.data, fields_from(arguments, opened.read_fields()))
    method = opened.on(prepared)
    method.to(arguments.device)
    metrics = method.evaluate()
    if not metrics:
        if arguments.data is not None:
            raise ValueError(
                f"{arguments.data} has nothing that {arguments.folder} could be measured on: give "
                "more of it, or data like that of the run"
            )
        raise ValueError(f"{arguments.folder}: nothing held out can be measured: give other data")
    for name, value in metrics.items():
        print(f"{name.replace('_', ' '):28} {value:.6g}")


def _data(opened: Any, path: Path | None, fields: Any) -> Any:
    """All of the data given, as unseen; or that of the run, split as it was."""
    if path is not None:
        raw = opened.read(path, fields)
        tell_what_was_fitted(raw)
        return opened.data.unseen(raw)
    place = opened.read_from()
    raw = opened.read(place, fields)
    tell_what_was_fitted(raw)
    if raw.fingerprint()["sha256"] != opened.checkpoint.config["data"]["sha256"]:
        raise ValueError(
            f"{place or type(raw).default} is not what {opened.folder} was trained on, so nobody "
            "knows what was held out: give the data to measure on"
        )
    return opened.prepare(raw)
