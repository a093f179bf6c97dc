"""A folder of submissions, as learning platforms export it: one submission for each student."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from minissl.homework.archive import unpack
from minissl.homework.experiment import FILE, REPORT, RESULTS
from minissl.homework.handin import Handin, read_handin
from minissl.homework.names import Name, parse, without_marks
from minissl.homework.plain import plain
from minissl.homework.task import Assignment
from minissl.reading import shown

_KINDS = "a folder, a .py file or a .zip"


@dataclass(frozen=True)
class Submission:
    """What is graded for one row. ``notes``: what the instructor has to know of it.

    ``beside``: other files of the same student, which a platform put into the same folder.
    """

    place: Path
    notes: tuple[str, ...] = ()
    beside: tuple[Path, ...] = ()


def submissions(
    assignment: Assignment, folder: Path, ours: Collection[Path] = ()
) -> tuple[list[Submission], list[str]]:
    """The submissions in a folder, and the names of what is none: hidden files, and ``ours``.

    Of several tries of a student the latest is taken, and its notes name the others. Where the
    names do not say which is the latest, each is a submission. Raises ValueError if there is none.
    """
    if not folder.is_dir():
        raise ValueError(f"{shown(folder)} is not a folder of submissions: unpack archives first")
    own = {path.resolve() for path in ours}
    entries = sorted(folder.iterdir())
    ignored = [p for p in entries if p.name[0] in "._" or p.resolve() in own or _is_nobodys(p)]
    groups: dict[str, list[tuple[Name, Path]]] = {}
    for path in entries:
        if path not in ignored:
            name = parse(path.name, folder=path.is_dir())
            anonymous = name.file == f"hw{assignment.number}.py" and not name.platform
            groups.setdefault(path.name if anonymous else name.student, []).append((name, path))
    found = [s for group in groups.values() for s in _of_student(assignment, group)]
    if not any(_gradable(submission.place) for submission in found):
        raise ValueError(f"there are no submissions ({_KINDS} for each) in {shown(folder)}")
    return _with_spellings(found), [shown(path.name) for path in ignored]


def _is_nobodys(path: Path) -> bool:
    """A file of an experiment, without the folder or the platform's name that says whose it is.

    And the list of names that Gradescope exports beside the hand-ins.
    """
    return path.is_file() and (
        path.name in (FILE, RESULTS, REPORT, "submission_metadata.yml")
        or path.stem in ("figure", "plot")
    )


def _gradable(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in (".py", ".zip")


def _of_student(assignment: Assignment, group: list[tuple[Name, Path]]) -> list[Submission]:
    """The submissions of one student: one, unless nothing says which is the latest."""
    hw = f"hw{assignment.number}.py"
    own = [(n, p) for n, p in group if _gradable(p) and n.platform != "onlinetext"]
    if not own:
        return [Submission(path) for _, path in group]
    main = [(n, p) for n, p in own if p.is_dir() or p.suffix.lower() == ".zip" or n.file == hw]
    main = main or [(n, p) for n, p in own if n.file != "experiment.py"] or own
    main.sort(key=lambda pair: pair[0].tries)
    latest = [path for name, path in main if name.tries == main[-1][0].tries]
    earlier = [path for _, path in main if path not in latest]
    tried = {path for _, path in main}
    group = sorted(group, key=lambda pair: pair[0].tries)  # of two reports the later one counts
    beside = tuple(path for _, path in group if path not in tried and path.is_file())
    notes = [f"earlier, not graded: {_names(earlier)}"] if earlier else []
    if len(latest) > 1:
        notes.append(f"the same student has {_names(latest)}: which one is meant?")
    if parse(latest[0].name).file == hw and not main[-1][0].platform:
        notes.append("the name says no student")
    return [Submission(path, tuple(notes), beside) for path in latest]


def _names(paths: list[Path]) -> str:
    return ", ".join(shown(path.name) for path in paths)


def _with_spellings(found: list[Submission]) -> list[Submission]:
    """With a note on submissions that may be one student's, by two spellings of the name."""
    spelled: dict[str, list[Submission]] = {}
    for one in found:
        spelled.setdefault(parse(one.place.name, folder=one.place.is_dir()).spelling, []).append(
            one
        )
    result = []
    for one in found:
        name = parse(one.place.name, folder=one.place.is_dir())
        others = [
            other.place
            for other in spelled[name.spelling]
            if parse(other.place.name, folder=other.place.is_dir()).student != name.student
        ]
        note = (f"another spelling of {_names(others)}?",) if others and name.spelling else ()
        result.append(Submission(one.place, (*one.notes, *note), one.beside))
    return sorted(result, key=lambda one: one.place)


def opened(assignment: Assignment, one: Submission) -> tuple[Handin, list[str]]:
    """A submission in memory, and what has to be told of its files.

    Raises ValueError or OSError when there is nothing to grade in it.
    """
    with tempfile.TemporaryDirectory(prefix="homework", ignore_cleanup_errors=True) as scratch:
        return _open(assignment, one, Path(scratch))


def _open(assignment: Assignment, one: Submission, scratch: Path) -> tuple[Handin, list[str]]:
    notes: list[str] = []
    place, hw = one.place, f"hw{assignment.number}.py"
    if not _gradable(place):
        raise ValueError(f"{shown(place.name)} is not {_KINDS}: ask for one, or unpack it")
    if place.is_file() and place.suffix.lower() == ".py":
        named = hw if parse(place.name).file == hw or one.beside else None
        handin = read_handin(place, name=named, alone=True)
        beside: dict[str, bytes] = {}
        for path in one.beside:  # Canvas adds -1 to each file of a second try: report-1.md
            own, content = parse(path.name).file, path.read_bytes()
            beside |= {re.sub(r"-\d+(?=\.\w+$)", "", own): content, own: content}
        return Handin(handin.name, {**beside, **handin.files}), notes
    if place.is_file():
        notes += [f"left out: {name}" for name in unpack(place, scratch)]
        place = scratch
    file, others = latest_file(assignment, place)
    if place.is_dir() and not file.resolve().is_relative_to(place.resolve()):
        raise ValueError(f"{shown(file.name)} is a link to somewhere else")
    if file.suffix.lower() == ".zip":
        inside = scratch / "inside"
        inside.mkdir()
        notes += [f"left out: {name}" for name in unpack(file, inside)]
        file, more = latest_file(assignment, inside)
        others = [*others, *more]
    if others:
        notes.append(f"earlier, not graded: {_names(others)}")
    return read_handin(file, name=hw), notes


def latest_file(assignment: Assignment, place: Path) -> tuple[Path, list[Path]]:
    """The latest hwN.py in a student's folder, "hw1 (1).py" or a .zip too, and the other tries."""
    hw = f"hw{assignment.number}.py"
    for depth in range(4):
        tries = []
        for path in place.glob("*/" * depth + "*"):
            name, number = without_marks(path.name)
            if name == hw and path.is_file():
                tries.append((number, path))
        folders = {path.parent for _, path in tries}
        if len(folders) > 1:
            raise ValueError(f"which one is meant? {_names([path for _, path in sorted(tries)])}")
        if tries:
            *others, (_, file) = sorted(tries)
            return file, [path for _, path in others]
    archives = sorted(path for path in place.rglob("*.zip") if path.is_file())
    if len(archives) == 1:
        return archives[0], []
    python = [p for p in place.iterdir() if p.suffix == ".py" and p.name != "experiment.py"]
    if len(python) == 1:  # the only one, under another name
        return python[0], []
    raise ValueError(  # without the path here: the comment goes back to the student
        f"there is no {hw} in what was handed in: hand in the folder that `minissl homework start "
        f"{assignment.number}` wrote, or the file"
    )


def row_name(place: Path) -> str:
    """How a submission is called in the table: nothing that a table computes."""
    name = plain(shown(place.name), 200)
    return f"'{name}" if name[:1] in "=+-@" else name


def details_name(place: Path) -> str:
    """The name of its results.json, short enough for a file."""
    name = os.fsdecode(os.fsencode(place.name)[:200])
    return f"{name}.json"
