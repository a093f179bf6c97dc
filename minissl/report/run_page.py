"""The page of any run, pretrained or adapted: how it went, what it can do, how to go on.

A section is there where the run has something to show: a method that writes shows samples, one that
represents shows neighbors. Every sentence about a number is made from the number.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from minissl import __version__, figures
from minissl.adapt.forgetting import why_nothing_forgotten
from minissl.adapt.watching import labelled_if_any
from minissl.data import Fields
from minissl.durable import POSIX
from minissl.options import is_whole
from minissl.page import Page
from minissl.pretrain.method import Fills, Generates, HasVectors
from minissl.report import shows
from minissl.report.readings import first_and_last, number_of, panels
from minissl.training import History
from minissl.training.folder import DATA, read_if_there
from minissl.training.starts import in_words, read_starts

MOST = 1500  # examples that are represented for the page
FEW = 12  # entries of a dictionary that are shown
YOURS = {  # what a reader puts in its place
    "DATA": "a file or folder of the same kind as the run's own",
    "OLD_DATA": "that of the pretraining, or some of its kind",
    "LABELLED": "examples with labels, in a folder for each class or in a table",
    "WORD": "a word of the text",
    "NEW": "the folder of a new run",
}
MERGED = ("bias", "last-layers", "lora")  # what `minissl merge` takes


class Told(NamedTuple):
    """What was read again for the page: raw data or None, and what a reader should know of it."""

    raw: Any
    note: str


def page_of(opened: Any, data: Path | None, columns: Fields, *, seed: int = 0) -> Page:
    """The page of an opened run or adaptation.

    data: where its data lies now, None for where it was; columns: those of a table. Data that
    cannot be read costs the sections that need it, and the page says so.
    """
    history = History.read(opened.folder) if (opened.folder / "log.jsonl").exists() else History()
    page = Page(f"{opened.folder.resolve().name}: {opened.name}")
    page.text(_beginning(opened))
    _numbers(page, history)
    for panel in panels(history):
        if all(len(steps) < 2 for steps, _ in panel.curves.values()):
            continue  # what was measured once is no curve: it stands in the table
        page.heading(panel.heading)
        page.figure(figures.curves(panel.curves), " ".join(panel.sentences), panel.heading)
    if getattr(opened, "base", None) is None:
        shows.samples(page, opened.method, seed)
        shows.fillings(page, opened.method)
        shows.words(page, opened.method)
    told = read_again(opened, data, columns)
    if told.raw is not None:
        _with_data(page, opened, told.raw, data, columns)
    if told.note:
        page.text(told.note, soft=True)
    _settings(page, opened)
    _data(page, opened, known=told.raw is not None and not told.note)
    _machines(page, opened.folder, history)
    _going_on(page, opened)
    return page


def read_again(opened: Any, data: Path | None, columns: Fields) -> Told:
    """The data of the run, and what is to be said if it is gone or has changed."""
    try:
        place = opened.read_from() if data is None else data
        raw = opened.read(place, columns)
    except (ValueError, OSError) as error:
        why = str(error).rstrip(".")
        return Told(None, f"Without the data there is nothing to show here of it: {why}.")
    recorded = opened.checkpoint.config["data"]["sha256"]
    if not recorded:  # of published weights
        return Told(raw, "Nobody says which data these weights were trained on.")
    if raw.fingerprint()["sha256"] != recorded:
        return Told(raw, "The data of these sections is not what the run was trained on.")
    return Told(raw, "")


def _with_data(page: Page, opened: Any, raw: Any, data: Path | None, columns: Fields) -> None:
    """What an adaptation answers, what a run finds alike."""
    if getattr(opened, "base", None) is not None:
        shows.answers(page, opened, raw)
    elif hasattr(raw, "documents") or hasattr(raw, "images"):
        place = opened.read_from() if data is None else data
        kind, settings = type(opened.method), opened.settings
        labelled = labelled_if_any(kind, settings, raw, place, columns, MOST)
        shows.neighbors(page, opened, raw.some(MOST) if labelled is None else labelled)
        others = kind.Data.with_labels.default
        if place is None and labelled is not None and others != kind.Data.default:
            page.text(f"These examples are {others}, which have labels.", soft=True)


def _beginning(opened: Any) -> str:
    """Which method, of which size, how long it was trained, and where a lecture explains it."""
    base = getattr(opened, "base", None)
    weights = opened.method.model.num_parameters()
    about = f"A run of {opened.name}, with {weights:,} weights"
    if base is not None:
        about = f"An adaptation by {opened.name} of {base.folder.name} ({base.name})"
        about += f", with {weights:,} weights"
    if (step := opened.checkpoint.step) > 0:
        about += f", after {step:,} steps" if step == _planned(opened) else _halfway(opened)
        seconds = opened.checkpoint.state.get("seconds")  # the log may have gone further
        if isinstance(seconds, int | float) and seconds > 0:
            about += f" in {duration(seconds)}"
    said = sys.modules[type(opened.method).__module__].__doc__ or ""
    lecture = re.search(r"Lectures? (\d\d)", said)
    return about + (f". Lecture {lecture[1]} explains the method." if lecture else ".")


def _planned(opened: Any) -> int:
    """How many steps the run is to have; those it has where nothing was planned."""
    planned = opened.checkpoint.state.get("steps")
    return planned if is_whole(planned) else opened.checkpoint.step


def _halfway(opened: Any) -> str:
    return f", after {opened.checkpoint.step:,} of {_planned(opened):,} steps"


def duration(seconds: float) -> str:
    """In the unit that a person would say."""
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{number_of('')(seconds / size)} {unit}"
    return f"{seconds:.3g} seconds"


def _numbers(page: Page, history: History) -> None:
    """The first and the last value of all that was measured."""
    if rows := first_and_last(history):
        page.table(["measured", "first", "last"], rows)


def _settings(page: Page, opened: Any) -> None:
    """Every setting with its meaning; those that were chosen stand out by their default."""
    rows = []
    for one in fields(opened.settings):
        value = getattr(opened.settings, one.name)
        usual = "" if value == one.default else f" (usual: {_plain(one.default)})"
        rows.append([f"{one.name} = {_plain(value)}{usual}", one.metadata.get("help", "")])
    page.heading("Settings")
    page.table(["setting", "what it is"], rows, wrapped=True)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"


def _data(page: Page, opened: Any, known: bool) -> None:
    """What the run recorded of its data: a fingerprint, by which it knows it again.

    known: what was read again is that data. A run that was begun by a call in Python records no
    place, as one does on what every machine has.
    """
    about = read_if_there(opened.folder / DATA, "what the data of a run is")
    if about is None:
        return
    told = about.get("fingerprint")
    told = told if isinstance(told, Mapping) else {}
    usual = "what every machine has" if known else "it does not say"
    if known and getattr(opened, "base", None) is None:
        usual = type(opened.method).Data.default
    place = about.get("read_from")  # its last name: a page is sent to others
    rows = [["read from", Path(str(place)).name if place else usual]]
    rows += [[str(key), _counted(value)] for key, value in told.items()]
    if fitted := about.get("fitted"):
        rows.append(["changed", str(fitted)])
    page.heading("Data")
    page.table(["", ""], rows, wrapped=True)
    if not told:
        return
    page.text(
        "The hash is of the examples, wherever they lie: a run is continued with no others.",
        soft=True,
    )


def _counted(value: Any) -> str:
    """A number with its thousands; of a dictionary its first entries, of their own the names."""
    if isinstance(value, Mapping):
        shown = [
            str(key) if isinstance(one, Mapping) else f"{key} {_counted(one)}"
            for key, one in list(value.items())[:FEW]
        ]
        more = f" and {len(value) - FEW} more" if len(value) > FEW else ""
        return f"{', '.join(shown)}{more}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _machines(page: Page, folder: Path, history: History) -> None:
    """Where it was trained, each time that it was started."""
    page.heading("Machine")
    starts = read_starts(folder)
    for start in starts:
        page.text(in_words(start))
    if not starts:
        page.text("The run does not say where it was trained.")
    page.text(f"This page was written by minissl {__version__}.", soft=True)


def _going_on(page: Page, opened: Any) -> None:
    """Commands that go with what the run is."""
    run, method = quoted(opened.folder), opened.method
    if getattr(opened, "base", None) is not None:
        ways = [f"minissl predict {run} DATA --out predicted.csv", f"minissl evaluate {run} DATA"]
        if not why_nothing_forgotten(opened, opened.base):
            of_the_run = "" if (opened.base.folder / DATA).exists() else " OLD_DATA"
            ways.append(f"minissl forget {run}{of_the_run}")
        if opened.name in MERGED:
            ways.append(f"minissl merge {run} --out merged")
    else:
        ways = [f"minissl evaluate {run} DATA", f"minissl embed {run} DATA --out vectors.npz"]
        ways += [
            f"minissl probe {run} LABELLED",
            f"minissl adapt finetune {run} LABELLED --run NEW",
        ]
        more = {
            Generates: f'minissl sample {run} --prompt "It was"',
            Fills: f'minissl fill {run} --text "the [MASK] of"',
            HasVectors: f"minissl neighbors {run} WORD",
        }
        ways = [way for able, way in more.items() if isinstance(method, able)] + ways
        ways.append(f"minissl pretrain {opened.name} DATA --run NEW --from {run} --steps 500")
    page.heading("How to go on")
    if opened.checkpoint.step < _planned(opened):
        page.text(
            f"It is not at its end: this page was made{_halfway(opened)}. The command that began "
            "it goes on where it was."
        )
    page.text(_choices(ways, opened.folder))
    page.code("\n".join(ways))


def _choices(ways: list[str], run: Path) -> str:
    """What stands for what in the commands, and where they are typed."""
    used = {word for way in ways for word in way.split()}
    said = "; ".join(f"{word}, {meaning}" for word, meaning in YOURS.items() if word in used)
    where = "" if run.is_absolute() else "Typed in the folder from which this page was asked for. "
    return f"{where}In capitals is what you choose: {said}." if said else where


def quoted(path: Path) -> str:
    """A path as a shell takes it: a name with spaces is one word."""
    text = str(path)
    return shlex.quote(text) if POSIX else subprocess.list2cmdline([text])
