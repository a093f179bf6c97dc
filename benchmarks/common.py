"""What every benchmark shares: its options, a table and its JSON beside the machine they are of."""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
MEMORY_KEPT = (  # notes of several tables
    "memory kept: the process told the C library to keep what was freed (as minissl's fit does; "
    "torch's users do not)"
)
PEAK = "peak MB: the process at its largest, less its size after imports"


def new_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """For the options of ``python -m benchmarks.name``, whose docstring is its help."""
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def positive(text: str) -> int:
    """The number that an option was given. Raises argparse's error for less than 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {number}, expected 1 or more")
    return number


def require_peers(*packages: str) -> None:
    """Before anything is computed: SystemExit that says how to install what is absent."""
    absent = [package for package in packages if find_spec(package) is None]
    if absent:
        raise SystemExit(
            f"this benchmark compares with {' and '.join(absent)}, not installed here: "
            'pip install "minissl[test]" ("make bench" does so itself)'
        )


def stoppable(main: Callable[[], None]) -> None:
    """Call it; Ctrl-C ends it with one line, not with the tracebacks of all its processes."""
    try:
        main()
    except KeyboardInterrupt:
        print("\nstopped: no results were written", file=sys.stderr)
        raise SystemExit(130) from None


def add_options(parser: argparse.ArgumentParser, *, repeats: int) -> argparse.ArgumentParser:
    """The options of every race: how often, and on how many threads."""
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--repeats",
        type=positive,
        default=repeats,
        help=f"turns that are timed (default {repeats})",
    )
    parser.add_argument(
        "--threads", type=positive, default=cores, help=f"of every contender (default: all {cores})"
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
