"""what an adaptation has forgotten: the old loss, before and after"""

from __future__ import annotations

import argparse
from typing import Any

from minissl.cli._shared import (
    add_base,
    add_device,
    add_fields,
    add_run_and_data,
    fields_from,
    tell_what_was_fitted,
)

DESCRIPTION = """\
Measures the loss of the pretraining on data of the pretraining: with the weights that were adapted,
and with the adapted ones. Without DATA on what the pretrained run held out of its own, which is
read again from where it was. What was put in between frozen weights (LoRA, adapters, prefixes, ...)
can be taken off again: a third column is the network without it, which has forgotten nothing."""
EXAMPLES = """\
examples:
  minissl forget runs/reviews
  minissl forget runs/reviews another_book.txt"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_run_and_data(parser, "old data: a file, a folder or a name (default: the pretrained run's)")
    add_base(parser)
    add_fields(parser, of_run=True)
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read the old data, measure, print."""
    from minissl.adapt.forgetting import forgetting
    from minissl.adapt.run import open_adaptation, open_adapted_run

    opened = open_adaptation(arguments.folder, arguments.base)
    base = open_adapted_run(opened.checkpoint, arguments.base)
    place = arguments.data if arguments.data is not None else base.read_from()
    raw = base.read(place, fields_from(arguments, base.read_fields()))
    if arguments.data is None:
        _require_same(base, raw, place)
    tell_what_was_fitted(raw)
    found = forgetting(opened, raw, base=arguments.base, device=arguments.device)
    print("\n".join(_table(found)))


def _require_same(base: Any, raw: Any, place: Any) -> None:
    """Raise ValueError where the data of the pretrained run is no longer what it was."""
    if raw.fingerprint()["sha256"] != base.checkpoint.config["data"]["sha256"]:
        raise ValueError(
            f"{place or type(raw).default} is not what {base.folder} was trained on, so nobody "
            "knows what was held out: give the data to measure on"
        )


def _table(found: dict[str, dict[str, float]]) -> list[str]:
    """A line for each number of the method, a column for each network."""
    names = list(next(iter(found.values())))
    lines = [f"{'':28}" + "".join(f"{when:>12}" for when in found)]
    for name in names:
        cells = "".join(f"{numbers[name]:>12.6g}" for numbers in found.values())
        lines.append(f"{name.replace('_', ' '):28}{cells}")
    return lines
