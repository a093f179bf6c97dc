"""a page of a run: curves, samples or neighbors, settings, data, machine, how to go on"""

from __future__ import annotations

import argparse

from minissl.cli._shared import (
    DATA_HELP,
    add_base,
    add_device,
    add_fields,
    add_run_and_data,
    add_seed,
    fields_from,
    other_than,
    path,
)

DESCRIPTION = """\
Writes one HTML page about a run or an adaptation, with all figures inside: what was measured on the
way and how to read it, what the network can do now (it writes, fills gaps, finds words, texts or
images alike, answers), its settings with their meanings, a fingerprint of its data, the machines it
was trained on, and the commands that go on from here. The page needs no network and can be sent to
somebody as it is. The data is read again from where it was."""
EXAMPLES = """\
examples:
  minissl report runs/book
  minissl report runs/photos moved/photos/      if the data is no longer where it was
  minissl report runs/reviews --out reviews.html"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_run_and_data(parser, f"{DATA_HELP}: where the run's data lies now (default: where it was)")
    parser.add_argument(
        "--out", type=path, metavar="FILE", help="the page (default: RUN/report.html)"
    )
    add_base(parser)
    add_fields(parser, of_run=True)
    add_seed(parser, "of the samples")
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    """Open the run, write the page."""
    from minissl.adapt.run import open_any
    from minissl.autograd.devices import resolve_device
    from minissl.conditions import require_packages
    from minissl.durable import make_parents, replace_durably

    require_packages("the report", "matplotlib")
    opened = open_any(arguments.folder, arguments.base)
    out = arguments.out or opened.folder / "report.html"
    other_than(out, arguments.data)
    if out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"--out {out}: expected a name that ends with .html")
    make_parents(out)
    opened.method.to(resolve_device(arguments.device))
    from minissl.report.run_page import page_of

    fields = fields_from(arguments, opened.read_fields())
    page = page_of(opened, arguments.data, fields, seed=arguments.seed)
    replace_durably(out, page.html().encode())
    print(f"{out}: open it in a browser")
