"""How time and memory grow with size: measured slopes beside those of the formulas.

    python -m benchmarks.growth [NAME ...] [--quick]

NAME: what is measured, or how its name begins: "gpt", "attention-length", "encode" (--list shows
all). Each is run at seven sizes, the last 64 times the first (some six, 32 times), each in a
process of its own, on one thread. A slope is the exponent of a power law: the least squares of log
time against log size. The formula's slope is that of its own values at the same sizes, since few
formulas are a power alone: n² + 1000 n is still nearly straight at n = 100. What is steeper than
its formula by more than 0.15, over all sizes or over the last three, is marked.

A whole run takes about ten minutes and writes the table and the picture to benchmarks/results; one
with names, or --quick (the first three sizes, in one process, about a minute), prints only.
"""

import argparse
import io
import json
import signal
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.common import RESULTS, new_parser, report, stoppable, write
from benchmarks.growth import engine, text
from benchmarks.growth.law import TOLERANCE, Growth, Law, slopes
from benchmarks.growth.measure import in_a_process, measure
from minissl.conditions import environment, markdown_table, require_packages
from minissl.page import with_dark
from minissl.palette import BLUE, RED, look

GROWTHS = [*engine.GROWTHS, *text.GROWTHS]
UNITS = {"time": "s", "memory": "MB"}
COLORS, COLUMNS = (BLUE, RED), 5  # of time and memory; panels side by side
Found = list[tuple[float, float]]  # seconds and megabytes at each size


def at_all(growth: Growth, sizes: Sequence[int], quick: bool, place: str) -> Found:
    """Measured at each size; once more where time seems too steep, and then the lesser counts."""

    def once(remark: str = "") -> Found:
        found: Found = []
        for some in [sizes] if quick else [[size] for size in sizes]:
            line = f"{place}: {growth.name}, {some[-1]:,}{remark}"
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
            found += in_a_process(growth, some, patience=0.02 if quick else 0.4)
        return found

    found = once()
    if slopes(growth.time, sizes, [seconds for seconds, _ in found]).too_steep:
        found = np.minimum(found, once(", again")).tolist()
    return found


def curves(growth: Growth, found: Found) -> list[tuple[str, Law, list[float]]]:
    """Time and memory: the name, the law, and what was found at each size."""
    seconds, megabytes = (list(column) for column in zip(*found))
    return [("time", growth.time, seconds), ("memory", growth.memory, megabytes)]


def rows_of(growth: Growth, sizes: Sequence[int], found: Found) -> list[dict[str, object]]:
    """A row for time and one for memory."""
    rows: list[dict[str, object]] = []
    for of, law, values in curves(growth, found):
        s = slopes(law, sizes, values)
        rows.append(
            {
                "what": growth.what,
                "n": growth.against,
                "from - to": f"{sizes[0]:,} - {sizes[-1]:,}",
                "of": of,
                "at the last": f"{values[-1]:.3g} {UNITS[of]}",
                "formula": law.formula,
                "its slope": f"{s.formula:.2f}",
                "measured": f"{s.measured:.2f}",
                "its, last 3": f"{s.last_formula:.2f}",
                "measured, last 3": f"{s.last_measured:.2f}",
                "above": f"**{s.above:+.2f}**" if s.too_steep else f"{s.above:+.2f}",
                "why": growth.why.get(of, "not explained") if s.too_steep else "",
            }
        )
    return rows


def picture(measured: Sequence[tuple[Growth, Sequence[int], Found]]) -> str:
    """SVG: a panel for each, time and memory as parts of those at the last size; dashed: formulas.

    What is too steep has an exclamation mark.
    """
    from matplotlib import rc_context

    from minissl.figures import new_figure

    rows = -(-len(measured) // COLUMNS)
    figure, axes = new_figure(COLUMNS, 3.2 * COLUMNS, 2.6 * rows, rows)
    for axis in axes[len(measured) :]:
        axis.set_visible(False)
    for axis, (growth, sizes, found) in zip(axes, measured):
        for color, (of, law, values) in zip(COLORS, curves(growth, found)):
            counts = [law.count(n) / law.count(sizes[-1]) for n in sizes]
            label = f"{of}, at last {values[-1]:.3g} {UNITS[of]}"
            label += " !" * slopes(law, sizes, values).too_steep
            axis.loglog(sizes, counts, "--", color=color, linewidth=1)
            seen = np.divide(values, values[-1])
            axis.loglog(
                sizes, seen, marker=look(color, True)["marker"], ms=3, color=color, label=label
            )
        axis.set_title(growth.what, fontsize=9)
        axis.set_xlabel(growth.against, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.minorticks_off()
        axis.legend(frameon=False, fontsize=7)
    file = io.BytesIO()
    with rc_context({"svg.fonttype": "none"}):  # letters as text, not as curves
        figure.savefig(file, format="svg", metadata={"Date": None})
    return with_dark(file.getvalue()).decode("utf-8")


def chosen(names: Sequence[str]) -> list[Growth]:
    """Those whose names begin so; all without names. SystemExit for a beginning of none."""
    for name in names:
        if not any(growth.name.startswith(name) for growth in GROWTHS):
            known = ", ".join(growth.name for growth in GROWTHS)
            raise SystemExit(f"nothing is named {name}...; there are {known} (--list: one a line)")
    return [g for g in GROWTHS if not names or g.name.startswith(tuple(names))]


def options() -> argparse.ArgumentParser:
    """What the command understands."""
    parser = new_parser("growth", __doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure (default: all)")
    parser.add_argument("--quick", action="store_true", help="the first three sizes, less often")
    parser.add_argument("--list", action="store_true", help="print all names and end")
    parser.add_argument("--patience", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=int, nargs="+", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    arguments = options().parse_args()
    growths = chosen(arguments.names)
    if arguments.list:
        return print("\n".join(growth.name for growth in growths))
    if arguments.sizes:  # in a process that at_all has started, and ends on Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        (growth,) = (g for g in growths if g.name == arguments.names[0])
        found = [measure(growth, size, arguments.patience) for size in arguments.sizes]
        return print(json.dumps(found))
    require_packages("the picture", "matplotlib")
    machine = environment(["regex"])
    measured, rows = [], []
    for number, growth in enumerate(growths, 1):
        sizes = growth.sizes[:3] if arguments.quick else growth.sizes
        found = at_all(growth, sizes, arguments.quick, f"{number} of {len(growths)}")
        measured.append((growth, sizes, found))
        rows += rows_of(growth, sizes, found)
    print(file=sys.stderr)
    if arguments.names or arguments.quick:
        return print(markdown_table(rows))
    notes = [
        "slope: least squares of log time (or memory) against log n over all sizes, and over the "
        "last three; the formula's slope is that of its values at the same sizes; above: by how "
        f"much the measured one is steeper, where it is most; bold where by more than {TOLERANCE}",
        "time: processor time of one thread, the shortest; where that seemed too steep, of two "
        "measurements of everything; memory: the peak that tracemalloc counts "
        "(arrays and objects), inputs and networks included, texts, Python and its libraries not",
        "each size in a process of its own, which keeps freed memory, as a training run does",
    ]
    shown = "Time and memory against size, and the slopes of the formulas, dashed"
    write(RESULTS / "growth.svg", picture(measured))
    report("growth", rows, machine, notes, shown)
    print(f"the picture: {RESULTS / 'growth.svg'}", file=sys.stderr)
    return None


if __name__ == "__main__":
    stoppable(main)
