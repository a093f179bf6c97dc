"""What was found, in less than 8000 characters, from the files alone: the failures come last."""

from pathlib import Path

from benchmarks.gpu_day.folder import Folder, good
from minissl.reading import parse_json, read_bytes

MOST = 8000  # characters: often only the end of what was printed is seen
FAILURES = 2500  # of these


def text(folder: Folder) -> str:
    head, failed = f"{facts(folder)}\n{counts(folder)}", failures(folder)
    return f"{head}\n{tables(folder, MOST - len(head) - len(failed) - 3)}\n{failed}\n"


def facts(folder: Folder) -> str:
    *_, last = [{}, *folder.entries("facts")]
    known = last.get("facts")
    if not known:
        return "nothing is known of this machine yet"
    gpu, packages = known.get("gpu"), known["packages"]
    where = f"{gpu['name']}, driver {gpu['driver']}, {gpu['runtime']}, " if gpu else "no GPU, "
    versions = ", ".join(f"{name} {number}" for name, number in packages.items())
    return f"{where}Python {known['python']}, {versions}; sources {known['sources']}"


def counts(folder: Folder) -> str:
    """A line for each stage."""
    return "\n".join(f"{s}: {count(folder, s)}" for s in ("smoke", "tests", "rows"))


def count(folder: Folder, stage: str) -> str:
    ends = [good(entry["said"]) for entry in folder.done(stage).values()]
    return f"{sum(ends)} well, {len(ends) - sum(ends)} failed" if ends else "none done"


def tables(folder: Folder, most: int) -> str:
    """Ours, the peers' times as multiples of it, and the verdicts: the lines that fit."""
    lines = ["n x behind a peer: ours is n times as fast"]
    for path in folder.tables():
        for name, table in read(path)["tables"].items():
            yards = table.get("yardsticks", {})
            at_best = ", ".join(f"{what} {value:.0f}" for what, value in yards.items())
            lines.append(f"\n{name}" + (f" (at best here: {at_best})" if at_best else ""))
            for row in table["rows"]:
                lines += kernel_row(row) if "rates" in row else training_row(row)
    return cut("\n".join(lines), most, "the rest is in the tables, *.md")


def kernel_row(row: dict) -> list[str]:
    times = dict(row["milliseconds"])
    ours = times.pop("minissl", None)
    rate = row["rates"].get("minissl")
    known = isinstance(ours, float)
    said = f"{ours:.3g} ms" + (f" {rate:.0f} {row['unit']}" if rate else "") if known else str(ours)
    if (memory := row["peak_gigabytes"].get("minissl")) is not None:
        said += f", peak {memory:.3g} GB"
    peers = [
        f"{name} {time[:40]}" if isinstance(time, str)
        else f"{name} {time / ours:.2f}x" if known else f"{name} {time:.3g} ms"
        for name, time in times.items() if time != "left out" and not str(time).startswith("absent")
    ]  # fmt: skip
    verdicts = [f"{what} {verdict.split(':')[0]}" for what, verdict in row["verdict"].items()
                if verdict != "-"]  # fmt: skip
    unsure = " (not finished)" if row.get("provisional") else ""
    return [f"  {row['case']}{unsure}: {said} | {', '.join(peers)} | {', '.join(verdicts)}"]


def training_row(row: dict) -> list[str]:
    cells = [f"{head} {short(value)}" for head, value in row["cells"].items() if value != "-"]
    verdicts = [f"    {what} {verdict}" for what, verdict in row.get("verdicts", {}).items()]
    top = list(row.get("milliseconds_by_kernel", {}).items())[:8]
    kernels = [f"    {time:.2f} ms {name[:60]}" for name, time in top]
    return ["  " + ", ".join(cells), *verdicts, *kernels]


def failures(folder: Folder) -> str:
    """By name: the tracebacks are in failures.txt."""
    names = [
        f"  {stage} {part}: {entry['said'][:110]}"
        for stage in ("smoke", "tests", "rows", "stages")
        for part, entry in folder.done(stage).items()
        if not good(entry["said"])
    ]
    if not names:
        return "\nno failures"
    head = f"\n{len(names)} failures (tracebacks: failures.txt)"
    return cut("\n".join([head, *names]), FAILURES, "more of them in journal.jsonl")


def short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def cut(text: str, most: int, rest: str) -> str:
    """Whole lines, as many as fit."""
    if len(text) <= most:
        return text
    return text[: text.rfind("\n", 0, most - len(rest) - 10)] + f"\n  ... {rest}"


def read(path: Path) -> dict:
    """Kept results; what was not measured is NaN there."""
    return parse_json(read_bytes(path), path, "kept results", loose=True)
