"""An experiment as homework: a question, what measures it, its numbers, a plot and half a page.

What is handed in lies beside ``hwN.py``: ``experiment.py``, whose functions the student wrote into
the file that ``homework start`` gave; ``results.json``, the rows that it measured; ``report.md``
and the plot that it shows. The checker repeats on small cases what is exact, and looks whether the
files are whole. What the numbers mean is for a person to judge, by the ``rubric``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

from minissl.homework.task import Draw, Task, Wrong, call
from minissl.reading import FileError, parse_json, read_bytes

FILE, RESULTS, REPORT = "experiment.py", "results.json", "report.md"
SECTIONS = ("Expected", "Done", "Measured", "Not shown")  # of the report, each a heading "## ..."
FEWEST_SEEDS, FEWEST_SETTINGS, FEWEST_WORDS = 3, 2, 120
_PICTURES = {
    ".png": rb"\x89PNG\r\n",
    ".jpg": rb"\xff\xd8\xff",
    ".svg": rb"(?s)\s*<.*<svg\b|\s*<svg\b",
}
_LARGEST = 10 << 20  # bytes of a file that is looked at

Row = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """What a person gives points for. ``about``: one sentence that student and grader read."""

    points: int
    about: str


@dataclass(frozen=True)
class Handed:
    """What was handed in: the names that ``experiment.py`` defines, and the files beside it."""

    functions: Mapping[str, Any]
    files: Mapping[str, bytes]

    def function(self, name: str) -> Any:
        """One of the functions. Raises Wrong when it is not there."""
        if not callable(found := self.functions.get(name)):
            raise Wrong(f"{FILE} does not define the function {name}", {}, found, name)
        return found


@dataclass
class Experiment(Task):
    """The experiment of an assignment; its checks are given what was handed in.

    ``target``: the main function in a module of ours, which is the answer key and, without the
    bodies of the functions that ``writes`` names, the student's ``experiment.py``. ``measures``:
    the numbers of a row of ``results.json``, beside "setting" and "seed". ``rubric``: the points
    that only a person can give, which are none of ``points``.
    """

    seconds: float = 60
    writes: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()
    rubric: tuple[Item, ...] = field(default=(), repr=False)

    @property
    def label(self) -> str:
        """It is all of a file, not one function."""
        return "experiment"

    @property
    def by_hand(self) -> int:
        """The points that a person gives."""
        return sum(item.points for item in self.rubric)

    @property
    def stem(self) -> str:
        """Of the student's file."""
        return Path(FILE).stem

    def file_of(self, path: Path) -> Path:
        """The student's file for this task, beside ``hwN.py``."""
        return path.with_name(FILE)

    def answer(self) -> Handed:
        """The library's functions, without files: those have to be measured."""
        return Handed(vars(import_module(self.module)), {})

    def check_files(
        self, results: int, report: int, also: Callable[[list[Row]], None] | None = None
    ) -> None:
        """Add the checks that all experiments have, worth so many points.

        ``also``: raises Wrong for rows that are whole, but that nothing can have measured.
        """

        def results_are_whole(handed: Handed, draw: Draw) -> None:
            """results.json: at least two settings, the same three seeds or more, finite numbers."""
            check_rows(rows := self.rows(handed), self.measures)
            if also is not None:
                also(rows)

        def report_is_whole(handed: Handed, draw: Draw) -> None:
            """report.md: its four headings, a table with a row for each setting, and the plot."""
            settings = {str(row.get("setting")) for row in self.rows(handed)}
            check_report(self.file(handed, REPORT), sorted(settings), handed.files)

        self.check(results)(results_are_whole)
        self.check(report)(report_is_whole)

    def rows(self, handed: Handed) -> list[Row]:
        """The rows of ``results.json``. Raises Wrong when it is no list of objects."""
        data = self.file(handed, RESULTS)
        try:
            rows = parse_json(data, RESULTS, "the rows of an experiment", kind=list)
        except FileError as error:
            text = data.decode("utf-8", "replace")
            raise Wrong(str(error), {RESULTS: text}, "see above", "a list of rows") from error
        for row in rows:
            if not isinstance(row, dict):
                _wrong(f"every row of {RESULTS} is an object", row, "an object")
        return rows

    def numbers(self, got: Any, given: Mapping[str, Any]) -> dict[str, float]:
        """What ``measure`` gave; Wrong unless it is a finite number for each of ``measures``."""
        if not isinstance(got, dict) or got.keys() != {*self.measures}:
            raise Wrong("measure gives a dictionary of three numbers", given, got, self.measures)
        for name, value in got.items():
            if not isinstance(value, float | int) or not math.isfinite(value):
                raise Wrong(f"{name!r} is no finite number", given, got, "a finite number")
        return got

    def numbers_twice(
        self, measure: Callable[..., Any], *arguments: Any, given: Mapping[str, Any]
    ) -> dict[str, float]:
        """Its numbers, which have to be the same when it is called once more."""
        got, again = (self.numbers(call(measure, *arguments), given) for _ in range(2))
        if got != again:
            raise Wrong("the same seed gave other numbers", given, again, got)
        return got

    def file(self, handed: Handed, name: str) -> bytes:
        """A file that was handed in; one that is missing is not written yet."""
        if name not in handed.files:
            raise NotImplementedError(
                f"hw{self.number} {self.label}: there is no {name} beside {FILE}"
            )
        return handed.files[name]


def files_beside(path: Path) -> dict[str, bytes]:
    """What may belong to a report in the folder of a student's file, by name."""
    suffixes = {".json", ".md", *_PICTURES}
    found = (p for p in sorted(path.parent.iterdir()) if p.suffix in suffixes and p.is_file())
    return {p.name: read_bytes(p) for p in found if p.stat().st_size <= _LARGEST}


# ---- what is asked of the files ------------------------------------------------------------------


def check_rows(rows: list[Row], measures: Iterable[str]) -> None:
    """Raise Wrong unless every setting has the same seeds, each once, with finite numbers.

    The seeds of one setting must not all have given the same numbers: no spread could be drawn.
    """
    kinds: dict[str, Any] = {"setting": str, "seed": int, **dict.fromkeys(measures, (int, float))}
    for row in rows:
        for name, kind in kinds.items():
            if not isinstance(value := row.get(name), kind) or isinstance(value, bool):
                expected = "a text" if name == "setting" else "a number"
                _wrong(f"a row of {RESULTS} needs {expected} as {name!r}", row, expected)
    settings = {
        name: sorted(group, key=lambda row: row["seed"])
        for name, group in groupby(sorted(rows, key=_setting), _setting)
    }
    if len(settings) < FEWEST_SETTINGS:
        _wrong("one setting compares nothing: measure two or three", [*settings], "two settings")
    seeds = {name: [row["seed"] for row in group] for name, group in settings.items()}
    first = next(iter(seeds.values()))
    for name, own in seeds.items():
        if len(set(own)) < len(own):
            _wrong(f"a seed stands twice in the rows of {name!r}", own, "each seed once")
        if len(own) < FEWEST_SEEDS:
            _wrong(f"{name!r} has fewer than {FEWEST_SEEDS} seeds", own, "three seeds or more")
        if own != first:
            _wrong("all settings have to be measured with the same seeds", seeds, "the same seeds")
    for name, group in settings.items():
        numbers = {tuple(row[measure] for measure in measures) for row in group}
        if len(numbers) == 1:
            sentence = f"all seeds of {name!r} gave the same numbers: is the seed handed on?"
            _wrong(sentence, group, "numbers that depend on the seed")


def check_report(data: bytes, settings: Iterable[str], files: Mapping[str, bytes]) -> None:
    """Raise Wrong unless the report has its form. What it says is not looked at."""
    text = data.decode("utf-8", "replace")
    headings = re.findall(r"(?m)^##\s+(.+?)\s*$", text)
    for section in SECTIONS:
        if section not in headings:
            _wrong(f'{REPORT} has no section "## {section}"', headings, list(SECTIONS))
    if (words := len(text.split())) < FEWEST_WORDS:
        _wrong(f"{REPORT} is too short: half a page is asked for", words, f"{FEWEST_WORDS} words")
    table = [line for line in text.splitlines() if line.strip().startswith("|")]
    for setting in settings:
        if not any(re.search(rf"\W{re.escape(setting)}\W", line) for line in table):
            sentence = f"the table of {REPORT} has no row for the setting {setting!r}"
            _wrong(sentence, "\n".join(table) or "no table", "a line | setting | ... |")
    shown = re.findall(r"!\[[^\]]*\]\(\s*<?([^\s)>]+)", text)
    if not shown:
        _wrong(f"{REPORT} shows no plot", "no ![what it shows](figure.svg)", "a plot")
    for name in shown:
        pattern = _PICTURES.get(Path(name).suffix)
        if pattern is None or name not in files or not re.match(pattern, files[name]):
            sentence = f"{REPORT} shows {name!r}, which is no {', '.join(_PICTURES)} beside it"
            _wrong(sentence, sorted(files), "the plot's file")


def _setting(row: Row) -> str:
    return str(row["setting"])


def _wrong(sentence: str, got: Any, expected: Any) -> None:
    raise Wrong(sentence, {}, got, expected)
