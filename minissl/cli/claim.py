"""run the experiment behind a claim of the lectures"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from minissl.cli._shared import add_device, argument, path

DESCRIPTION = """\
Runs the experiment behind a claim with several seeds, prints the table and whether the expectation
held, and writes NAME.json and NAME.svg. Every seed is kept: a claim that was stopped goes on."""
EXAMPLES = """\
examples:
  minissl claim --list
  minissl claim collapse
  minissl lecture 12            # what it belongs to: see its name in the list
  minissl claim few-labels --scale full --device cuda --seeds 0 1 2 3 4"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("name", nargs="?", help="which one; see --list")
    parser.add_argument("--list", action="store_true", help="all claims, and what they say")
    parser.add_argument(
        "--scale",
        default="small",
        help="small: minutes on two cores; full: larger, for a GPU; quick: seconds, to see that it "
        "runs (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds",
        type=argument(0, least=0),
        nargs="+",
        default=[0, 1, 2],
        metavar="N",
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=path, default=Path("runs/claims"), help="(default: %(default)s)"
    )
    parser.add_argument(
        "--redraw",
        action="store_true",
        help="run nothing: judge and draw the numbers kept in --out once more",
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="use nothing that is kept in --out: no seeds, and no pretrained methods (in shared/)",
    )
    add_device(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> None:
    """List the claims, or run one."""
    from minissl.autograd.devices import resolve_device
    from minissl.claims import claim_names, load_claim
    from minissl.claims.report import to_markdown
    from minissl.claims.run import redraw_claim, run_claim

    if arguments.list:
        claims = [(name, load_claim(name)) for name in claim_names()]
        for name, claim in sorted(claims, key=_place):
            print(f"{name}  (lecture {claim.lecture})\n    {claim.statement}")
        return
    if arguments.name is None:
        raise ValueError(f"which claim? Choose one of: {', '.join(claim_names())}")
    claim = load_claim(arguments.name)
    if arguments.redraw:
        result = redraw_claim(claim, arguments.out)
    else:
        result = run_claim(
            claim,
            arguments.out,
            scale=arguments.scale,
            seeds=arguments.seeds,
            device=resolve_device(arguments.device),
            progress=not arguments.quiet,
            fresh=arguments.fresh,
            cache=None if arguments.fresh else arguments.out / "shared",
        )
    print(to_markdown(result))
    print(f"written: {arguments.out / arguments.name}.json and .svg")


def _place(named: tuple[str, Any]) -> list[int]:
    """Lecture and section: the list is in the order of the course."""
    return [int(number) for number in re.findall(r"\d+", named[1].lecture)]
