"""Runs a claim seed by seed, keeps each seed as it comes, and goes on where it was stopped.

``NAME.json.unfinished`` has the seeds so far; when all are there it becomes ``NAME.json``, and the
figure ``NAME.svg`` is drawn. What was kept is used again only when scale, settings, sources and
machine are the same.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minissl.claims.cache import Cache
from minissl.claims.claim import Claim, Measured, Setup
from minissl.claims.origin import claim_digest, conditions, lasting
from minissl.claims.report import command, result
from minissl.conditions import require_packages
from minissl.durable import make_parents, replace_durably
from minissl.page import svg_bytes
from minissl.reading import FileError, in_words, is_kind, read_json, reading
from minissl.training.folder import differences
from minissl.training.progress import Items

AGAIN = "Measure it again with --fresh, or give another --out"
# How it was run, in the JSON; the second line is of each seed, and older files lack it.
HOW = {
    "command": str, "scale": str, "settings": dict, "seeds": list, "device": str,
    "seconds": float, "cpu_seconds": float, "conditions": dict,
}  # fmt: skip
CONDITIONS = {"date": str, "processor": str, "cores": object, "python": str, "packages": dict}
EACH = ("sources", "spent", "shared")


@dataclass
class Seed:
    """What one seed measured, and what it cost: seconds on the clock, and of the processor.

    ``shared``: which rows came from the cache of pretrained methods; see ``cache``.
    """

    measured: Measured
    spent: tuple[float, float]
    shared: dict[str, dict[str, str]]


def run_claim(
    claim: Claim,
    folder: Path,
    *,
    scale: str = "small",
    seeds: Sequence[int] = (0, 1, 2),
    device: str = "cpu",
    progress: bool = True,
    fresh: bool = False,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Run it, and write ``NAME.json`` and ``NAME.svg`` to the folder. Returns what the JSON says.

    Every seed is kept when it is measured. The same call again goes on with those that are missing;
    ``fresh`` measures all of them again. An older result stays until the new one is complete.
    ``cache``: a folder where pretrained methods are shared with other claims; None: they are not.

    Raises ImportError for a package that is missing, ValueError for a scale that the claim does not
    have, without a seed, for a file that is none of this claim, or when the folder has unfinished
    seeds that were measured in another way, OSError when it cannot be written: all before the first
    seed. KeyboardInterrupt says what is kept.
    """
    if scale not in claim.scales:
        raise ValueError(f"scale must be one of {', '.join(claim.scales)}, got {scale!r}")
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"expected one or more different seeds, got {list(seeds)}")
    require_packages(f"the claim {claim.name}", "matplotlib", *claim.packages)
    place = folder / f"{claim.name}.json"
    make_parents(place)
    how: dict[str, Any] = {
        "command": command(claim.name, scale, seeds, device),
        "scale": scale,
        "settings": dict(claim.scales[scale]),
        "device": device,
        "conditions": conditions(device),
        "sources": claim_digest(claim, device),
    }
    kept, before = ({}, None) if fresh else _kept(claim, place, how, seeds)
    missing = [seed for seed in seeds if seed not in kept]
    if progress and len(missing) < len(seeds):
        there = ", ".join(str(seed) for seed in seeds if seed in kept)
        print(f"{claim.name}: kept from before: seed {there}", file=sys.stderr)
    items = Items(missing, f"{claim.name}, seed", progress)
    try:
        for seed in items:
            runs = None if cache is None else Cache(cache)
            kept[seed] = _measure(claim, Setup(seed, how["settings"], device, items.note, runs))
            _replace(_unfinished(place), _result(claim, kept, [*kept], how))
    except KeyboardInterrupt:
        pretrained = f"; what is pretrained is in {cache}" * (cache is not None and cache.exists())
        raise KeyboardInterrupt(_what_is_kept(place, seeds, kept) + pretrained) from None
    if not missing and before is not None:
        how["conditions"] = before  # those of the measurement
    return _finish(claim, place, _result(claim, kept, seeds, how))


def redraw_claim(claim: Claim, folder: Path) -> dict[str, Any]:
    """Write both files again from the numbers kept there, in the claim's present words and figure.

    Nothing is run; how it was run stays as it is. Raises FileNotFoundError when nothing was kept,
    ValueError when the file is damaged, ImportError without matplotlib.
    """
    require_packages(f"the claim {claim.name}", "matplotlib")
    path = folder / f"{claim.name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: run the claim first, with the same --out")
    kept = _read(claim, path)
    measured = [seed.measured for seed in _seeds(kept).values()]
    how = {name: kept[name] for name in (*HOW, *EACH) if name in kept}
    with reading(path, f"a result of the claim {claim.name}", AGAIN):
        found = result(claim, measured, how)
    _replace(path, found)
    _draw(claim, path, found)
    return found


def _measure(claim: Claim, setup: Setup) -> Seed:
    started, cpu = time.perf_counter(), time.process_time()
    measured = claim.measure(setup)
    spent = (time.perf_counter() - started, time.process_time() - cpu)
    return Seed(measured, spent, {} if setup.cache is None else setup.cache.used)


def _result(
    claim: Claim, kept: Mapping[int, Seed], seeds: Sequence[int], how: Mapping[str, Any]
) -> dict[str, Any]:
    """What the JSON says of these seeds."""
    chosen = [kept[seed] for seed in seeds]
    spent = [seed.spent for seed in chosen]
    costs = {
        "seeds": list(seeds),
        "seconds": round(sum(wall for wall, _ in spent), 1),
        "cpu_seconds": round(sum(cpu for _, cpu in spent), 1),
        "spent": [[round(seconds, 3) for seconds in each] for each in spent],
        "shared": [seed.shared for seed in chosen],
    }
    all_of_it = {**how, **costs}
    ordered = {name: all_of_it[name] for name in (*HOW, *EACH)}
    return result(claim, [seed.measured for seed in chosen], ordered)


# ---- what was kept ------------------------------------------------------------------------------


def _unfinished(place: Path) -> Path:
    return place.with_name(f"{place.name}.unfinished")


def _kept(
    claim: Claim, place: Path, how: Mapping[str, Any], seeds: Sequence[int]
) -> tuple[dict[int, Seed], dict[str, Any] | None]:
    """What was measured in the same way, by seed, and under which conditions.

    Of a finished result the seeds that are wanted now, of an unfinished one all.
    """
    for path in (_unfinished(place), place):
        if not path.exists():
            continue
        old = _read(claim, path)
        if not (changes := differences(_way(old), _way(how))):
            found = _seeds(old)
            with reading(path, f"a result of the claim {claim.name}", AGAIN):
                result(claim, [seed.measured for seed in found.values()], {})  # all cells are there
            wanted = found if path != place else [seed for seed in seeds if seed in found]
            return {seed: found[seed] for seed in wanted}, old["conditions"]
        if path != place:
            there = ", ".join(map(str, old["seeds"]))
            raise ValueError(
                f"{path} has seed {there} of a claim that was stopped and is not the same: "
                f"{'; '.join(changes)}. Finish it ({old['command']}), give another --out, or "
                "measure everything again with --fresh"
            )
    return {}, None


def _way(how: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same for two seeds to stand in one table, in JSON types."""
    way = {name: how[name] for name in ("scale", "settings", "device")}
    way["sources"] = how.get("sources", "unknown")[:12]
    return json.loads(json.dumps(way | lasting(dict(how["conditions"]))))


def _read(claim: Claim, path: Path) -> dict[str, Any]:
    """A kept result. Raises ValueError, which names the file, unless it is whole and of this claim.

    OSError when it cannot be read.
    """
    what = f"a result of the claim {claim.name}"
    kept = read_json(path, what, HOW | {"name": str}, advice=AGAIN)
    with reading(path, what, AGAIN):
        if kept["name"] != claim.name:
            raise ValueError(f"it is of {kept['name']!r:.60}")
        for name, kind in CONDITIONS.items():
            if name not in kept["conditions"] or not is_kind(kept["conditions"][name], kind):
                raise ValueError(f"its conditions have no {name!r}")
        _way(kept)
        for seed in _seeds(kept).values():
            _check_seed(seed)
    return kept


def _check_seed(seed: Seed) -> None:
    """Raise ValueError for what a seed cannot have measured."""
    numbers = [value for row in seed.measured.table.values() for value in row.values()]
    for x, y in seed.measured.curves.values():
        if len(x) != len(y):
            raise ValueError(f"a curve has {len(x)} x and {len(y)} y")
        numbers += [*x, *y]
    for number in (*numbers, *seed.spent):
        if not is_kind(number, float):
            raise ValueError(f"it holds {in_words(number)} where a number was measured")
    if not isinstance(seed.shared, dict):
        raise ValueError(f"its shared runs are {in_words(seed.shared)}")


def _seeds(kept: Mapping[str, Any]) -> dict[int, Seed]:
    """What each seed measured, from a kept result."""
    found = {}
    if not all(is_kind(seed, int) for seed in kept["seeds"]) or not kept["seeds"]:
        raise ValueError(f"its seeds are {kept['seeds']!r:.60}, expected whole numbers")
    for number, seed in enumerate(kept["seeds"]):
        table = {
            row: {column: cell["values"][number] for column, cell in cells.items()}
            for row, cells in kept["table"].items()
        }
        curves = {name: (x, y) for name, (x, y) in kept["curves"][number].items()}
        wall, cpu = kept["spent"][number] if "spent" in kept else (0.0, 0.0)
        runs = kept["shared"][number] if "shared" in kept else {}
        found[int(seed)] = Seed(Measured(table, curves), (wall, cpu), runs)
    return found


def _what_is_kept(place: Path, seeds: Sequence[int], kept: Mapping[int, Seed]) -> str:
    """What to say when Ctrl-C stopped the claim."""
    there = [str(seed) for seed in seeds if seed in kept]
    if not there:
        return "stopped before the first seed was measured"
    left = next(seed for seed in seeds if seed not in kept)
    return (
        f"stopped; seed {', '.join(there)} is kept in {place.parent}: the same command "
        f"(without --fresh) goes on with seed {left}"
    )


# ---- files --------------------------------------------------------------------------------------


def _finish(claim: Claim, place: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Both files of a complete result; what was unfinished is in them now."""
    place.with_suffix(".svg").unlink(missing_ok=True)  # never a picture of other numbers
    _replace(place, found)
    unfinished = _unfinished(place)
    if unfinished.exists():
        kept = _read(claim, unfinished)
        if {*kept["seeds"]} <= {*found["seeds"]}:
            unfinished.unlink()
    _draw(claim, place, found)  # last: a figure that fails costs no numbers
    return found


def _draw(claim: Claim, place: Path, found: Mapping[str, Any]) -> None:
    """The figure, of the numbers as they were kept: the same ones give the same file."""
    try:
        drawn = claim.figure([seed.measured for seed in _seeds(found).values()], found["settings"])
    except LookupError as error:
        raise FileError(f"{place} lacks {error}, which the figure shows. {AGAIN}") from error
    replace_durably(place.with_suffix(".svg"), svg_bytes(drawn))


def _replace(path: Path, found: Mapping[str, Any]) -> None:
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    replace_durably(path, text.encode("utf-8", "backslashreplace"))
