"""Runs a claim with several seeds, judges it, and writes the table, the figure and the JSON."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from minissl.claims.claim import Claim, Expectation, Measured, Setup, Table
from minissl.conditions import environment, markdown_table
from minissl.durable import replace_durably
from minissl.training.progress import Items


def run_claim(
    claim: Claim,
    folder: Path,
    *,
    scale: str = "small",
    seeds: Sequence[int] = (0, 1, 2),
    device: str = "cpu",
    progress: bool = True,
) -> dict[str, Any]:
    """Run it, and write ``NAME.json`` and ``NAME.svg`` to the folder. Returns what the JSON says.

    Raises ValueError for a scale that the claim does not have or without a seed; nothing written
    before is touched unless the whole run succeeds.
    """
    if scale not in claim.scales:
        raise ValueError(f"scale must be one of {', '.join(claim.scales)}, got {scale!r}")
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"expected one or more different seeds, got {list(seeds)}")
    folder.mkdir(parents=True, exist_ok=True)
    settings = claim.scales[scale]
    conditions = environment(["scipy", "scikit-learn", "torch"])
    if device.startswith("cuda"):
        import torch

        conditions["gpu"] = torch.cuda.get_device_name(device)
    started, cpu = time.perf_counter(), time.process_time()
    items = Items(list(seeds), f"{claim.name}, seed", progress)
    measured = [claim.measure(Setup(seed, settings, device, items.note)) for seed in items]
    how = {
        "command": command(claim.name, scale, seeds, device),
        "scale": scale,
        "settings": dict(settings),
        "seeds": list(seeds),
        "device": device,
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "conditions": conditions,
    }
    return _write(claim, folder, measured, how)


def redraw_claim(claim: Claim, folder: Path) -> dict[str, Any]:
    """Write both files again from the numbers kept there, in the claim's present words and figure.

    Nothing is run; how it was run stays as it is. Raises FileNotFoundError when nothing was kept,
    ValueError when the file is damaged.
    """
    path = folder / f"{claim.name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: run the claim first, with the same --out")
    kept = _read(path)
    measured = [
        Measured(
            {
                row: {column: cell["values"][number] for column, cell in cells.items()}
                for row, cells in kept["table"].items()
            },
            curves,
        )
        for number, curves in enumerate(kept["curves"])
    ]
    return _write(claim, folder, measured, {key: kept[key] for key in HOW})


def _read(path: Path) -> dict[str, Any]:
    """A kept result. Raises ValueError unless it is whole."""
    advice = f"{path} is no whole result of a claim: run the claim again, with the same --out"
    try:
        kept = json.loads(path.read_bytes())
    except ValueError as error:  # cut off, or no text
        raise ValueError(f"{advice} ({error})") from error
    if not isinstance(kept, dict) or not {*HOW, "table", "curves"} <= kept.keys():
        raise ValueError(advice)
    return kept


HOW = ("command", "scale", "settings", "seeds", "device", "seconds", "cpu_seconds", "conditions")


def _write(
    claim: Claim, folder: Path, measured: Sequence[Measured], how: Mapping[str, Any]
) -> dict[str, Any]:
    """Judge what was measured, write ``NAME.json`` and ``NAME.svg``; returns what the JSON says."""
    tables = [run.table for run in measured]
    result = {
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
    text = json.dumps(result, indent=1, ensure_ascii=False, default=float, allow_nan=False) + "\n"
    figure = BytesIO()
    _figure(claim, measured, how["settings"]).savefig(figure, format="svg", metadata={"Date": None})
    replace_durably(folder / f"{claim.name}.svg", figure.getvalue())
    replace_durably(folder / f"{claim.name}.json", text.encode())
    return json.loads(text)


def _figure(claim: Claim, measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """The claim's figure; the same numbers give the same file."""
    from matplotlib import rcParams

    rcParams["svg.hashsalt"] = claim.name
    return claim.figure(measured, settings)


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
    """The claim, its table, its expectations and verdict, and how it was run, as Markdown."""
    lines = [f"**Claim.** {result['statement']}", "", _table(result), ""]
    for expectation in result["expectations"]:
        expectation = {"seen": expectation["mean"], **expectation}
        mark = "held" if expectation["reproduced"] else "**did not hold**"
        lines.append(
            f"- Expected: {expectation['text']}. Seen: {expectation['seen']:.3g} on average, "
            f"on the right side with {expectation['held']} of {len(result['seeds'])} seeds: {mark}."
        )
    conditions = result["conditions"]
    versions = ", ".join(
        f"{name} {number}" for name, number in conditions["packages"].items() if number != "absent"
    )
    lines += ["", f"**Verdict: {verdict(result)}.** {result['about']}".rstrip(), ""]
    lines.append(
        f"`{result['command']}` ({_cost(result)}, {result['device']}; "
        f"{conditions.get('gpu', conditions['processor'])}, {conditions['cores']} cores, "
        f"Python {conditions['python']}, "
        f"{versions}; {conditions['date'][:10]})"
    )
    return "\n".join(lines) + "\n"


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
