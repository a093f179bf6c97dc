"""What every benchmark shares: its options, a table and its JSON beside the machine they are of."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def add_options(parser: argparse.ArgumentParser, *, repeats: int) -> argparse.ArgumentParser:
    """The options of every race: how often, and on how many threads."""
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--repeats", type=int, default=repeats, help=f"turns that are timed (default {repeats})"
    )
    parser.add_argument(
        "--threads", type=int, default=cores, help=f"of every contender (default: all {cores})"
    )
    return parser


def report(
    name: str,
    rows: Sequence[Mapping[str, object]],
    environment: Mapping[str, Any],
    notes: Sequence[str] = (),
    picture: str = "",
) -> str:
    """Print the rows as a Markdown table; write it and a JSON file to ``results/``, by that name.

    All rows have the same keys, the heads of the columns. ``picture``: what an SVG file of that
    name, which the caller writes, shows. Returns the text of the table's file.
    """
    from minissl.conditions import markdown_table  # not above: a bare machine may lack NumPy

    command = shlex.join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]])
    versions = ", ".join(f"{key} {value}" for key, value in environment["packages"].items())
    lines = [
        f"# {name}",
        "",
        *([f"![{picture}]({name}.svg)", ""] if picture else []),
        markdown_table(rows),
        "",
        *(f"- {note}" for note in notes),
        f"- {environment['processor']}, {environment['cores']} cores, {environment['system']}, "
        f"Python {environment['python']}, {versions}; {environment['date'][:10]}, "
        f"load before the run {environment['load_before']}",
        f"- `{command}`",
    ]
    text = "\n".join(lines) + "\n"
    state = {"command": command, "environment": environment, "notes": notes, "rows": rows}
    write(RESULTS / f"{name}.md", text)
    write(RESULTS / f"{name}.json", json.dumps(state, indent=1) + "\n")
    print(text, end="")
    return text


def write(path: Path, text: str) -> None:
    """Whole or not at all, also when the program is stopped in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
