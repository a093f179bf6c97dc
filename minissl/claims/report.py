"""Judges what the seeds of a claim have measured, and says it: as JSON and as Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from minissl.claims.claim import Claim, Expectation, Measured, Table
from minissl.conditions import markdown_table


def result(claim: Claim, measured: Sequence[Measured], how: Mapping[str, Any]) -> dict[str, Any]:
    """What the JSON says: the claim, what was measured and judged, and how. In JSON types.

    Raises ValueError for numbers that are not finite, or seeds that measured different things.
    """
    tables = [run.table for run in measured]
    found = {
        "name": claim.name,
        "title": claim.title,
        "statement": claim.statement,
        "lecture": claim.lecture,
        "about": claim.about,
        "rows": claim.rows,
        "formats": dict(claim.formats),
        "table": summary(tables),
        "expectations": [judge(expectation, tables) for expectation in claim.expectations],
        "curves": [
            {name: [list(x), list(y)] for name, (x, y) in run.curves.items()} for run in measured
        ],
        **how,
    }
    return json.loads(json.dumps(found, default=float, allow_nan=False))


def command(name: str, scale: str, seeds: Sequence[int], device: str) -> str:
    """The command that does it again."""
    text = f"python -m minissl claim {name}"
    if scale != "small":
        text += f" --scale {scale}"
    if list(seeds) != [0, 1, 2]:
        text += " --seeds " + " ".join(map(str, seeds))
    return text if device == "cpu" else f"{text} --device {device}"


def summary(tables: Sequence[Table]) -> dict[str, dict[str, dict[str, Any]]]:
    """Mean, smallest and largest over the seeds, and all values, for every cell.

    Raises ValueError when the seeds have different cells, or one is not a finite number.
    """
    shape = {(row, column) for row, columns in tables[0].items() for column in columns}
    for table in tables[1:]:
        other = {(row, column) for row, columns in table.items() for column in columns}
        if other != shape:
            raise ValueError(f"the seeds measured different things: {sorted(shape ^ other)}")
    for row, column in sorted(shape):
        values = [table[row][column] for table in tables]
        if not all(map(math.isfinite, values)):
            raise ValueError(f"{column} of {row} is {values}: expected finite numbers")
    return {
        row: {
            column: _spread([float(table[row][column]) for table in tables]) for column in columns
        }
        for row, columns in tables[0].items()
    }


def _spread(values: list[float]) -> dict[str, Any]:
    return {
        "mean": sum(values) / len(values),
        "low": min(values),
        "high": max(values),
        "values": values,
    }


def judge(expectation: Expectation, tables: Sequence[Table]) -> dict[str, Any]:
    """Whether it came out: the mean reaches the margin, and no seed has the wrong sign."""
    differences, seen = expectation.differences(tables), expectation.seen(tables)
    right = sum(difference > 0 or difference >= expectation.margin for difference in differences)
    mean = sum(differences) / len(differences)
    return {
        "text": str(expectation),
        "margin": expectation.margin,
        "differences": differences,
        "mean": mean,
        "seen": sum(seen) / len(seen),
        "held": right,
        "reproduced": mean >= expectation.margin and right == len(differences),
    }


def verdict(result: Mapping[str, Any]) -> str:
    """One line: reproduced, in part, or not."""
    held = sum(expectation["reproduced"] for expectation in result["expectations"])
    count = len(result["expectations"])
    if result["scale"] == "quick":
        return f"a quick run proves nothing ({held} of {count} expectations hold)"
    if held == count:
        return "reproduced"
    part = "reproduced in part" if held else "not reproduced"
    return f"{part} at this scale ({held} of {count} expectations hold)"


def to_markdown(result: Mapping[str, Any]) -> str:
    """The claim and its verdict, then what they rest on, as Markdown."""
    return f"{headline(result)}\n{details(result)}"


def headline(result: Mapping[str, Any]) -> str:
    """What a reader must see: the claim, and whether it came out."""
    return f"**Claim.** {result['statement']}\n\n**Verdict: {verdict(result)}.**\n"


def details(result: Mapping[str, Any]) -> str:
    """The numbers, what was expected of them, how it was run, and what we saw, as Markdown.

    What the claim's text says was seen is about the run that is kept with the lectures; the numbers
    here may be those of another.
    """
    about, _, seen = result["about"].rpartition(" Seen: ")
    if not about:
        about, seen = result["about"], ""
    conditions = result["conditions"]
    versions = ", ".join(
        f"{name} {number}" for name, number in conditions["packages"].items() if number != "absent"
    )
    seeds = ", ".join(map(str, result["seeds"]))
    lines = [_table(result), "", expected(result), "", about, ""]
    if seen:
        lines += [f"What we saw in the run that is kept with the lectures: {seen}", ""]
    lines.append(
        f"`{result['command']}`: scale {result['scale']}, seeds {seeds}; {_cost(result)}, "
        f"{result['device']}; {conditions.get('gpu', conditions['processor'])}, "
        f"{conditions['cores']} cores, Python {conditions['python']}, "
        f"{versions}; {conditions['date'][:10]}"
    )
    return "\n".join(lines) + "\n"


def expected(result: Mapping[str, Any]) -> str:
    """A table: what was written down before the run, what was seen, and which seeds agree."""
    rows = []
    for expectation in result["expectations"]:
        expectation = {"seen": expectation["mean"], **expectation}
        rows.append(
            {
                "expected before the run": expectation["text"],
                "seen": f"{expectation['seen']:.3g}",
                "seeds": f"{expectation['held']} of {len(result['seeds'])}",
                "": "held" if expectation["reproduced"] else "**did not hold**",
            }
        )
    return markdown_table(rows)


def _table(result: Mapping[str, Any]) -> str:
    """Rows by columns; each cell the mean, with the range over the seeds where it has one."""
    fullest_first = sorted(result["table"].values(), key=len, reverse=True)
    columns = list(dict.fromkeys(column for cells in fullest_first for column in cells))
    rows = []
    for row, cells in result["table"].items():
        line: dict[str, object] = {result["rows"] or " ": row}
        for column in columns:
            style = result["formats"].get(column, ".2f")
            line[column] = _cell(cells[column], style) if column in cells else ""
        rows.append(line)
    return markdown_table(rows)


def _cell(cell: Mapping[str, Any], style: str) -> str:
    mean, low, high = (format(cell[key], style) for key in ("mean", "low", "high"))
    return mean if low == high else f"{mean} ({low} to {high})"


def _cost(result: Mapping[str, Any]) -> str:
    """What it costs to run again: when other programs had the processor too, the time used of it.

    On a GPU the time on the clock, because the processor waits.
    """
    wall, used = result["seconds"], result["cpu_seconds"]
    if result["device"] == "cpu" and wall > 1.25 * used:
        return f"{_duration(used)} of processor time; the machine was shared"
    return _duration(wall)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
