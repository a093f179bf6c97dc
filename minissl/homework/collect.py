"""A folder of submissions, as learning platforms and browsers leave it: whose is what.

Understood are a folder, a .zip or a .py file for each student; Moodle's folders ("Jane
Doe_12345_assignsubmission_file_"); Canvas's flat files ("doejane_LATE_12345_67890_hw1-1.py"), of
which several may be one student's; and what is handed in again: "hw1 (1).py", "hw1-2.py",
"hw1_late.py". Of several the last counts, and the others are named.
"""

from __future__ import annotations

import contextlib
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from minissl.homework.handin import LARGEST, MOST_BYTES, MOST_FILES, Handin, read_handin
from minissl.homework.plain import plain, told
from minissl.homework.submission import find_file, version_of
from minissl.homework.task import Assignment

_MOODLE = re.compile(r"(.+?)_\d+_assign(?:submission|feedback)_\w*")
_CANVAS = re.compile(r"(?P<student>[^_/]+)_(?:LATE_)?(?P<id>\d+)_(?P<file>\d+)_(?P<name>.+)")
_CLUTTER = ("__MACOSX", "__pycache__", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Submission:
    """What one student handed in. ``handin``: None where there is nothing to check.

    ``problem``: why there is nothing. ``note``: what an instructor should know, as which files were
    not looked at.
    """

    name: str
    handin: Handin | None = None
    problem: str = ""
    note: str = ""


def submissions(assignment: Assignment, folder: Path) -> tuple[list[Submission], list[str]]:
    """Every student's submission in a folder, and the names of what belongs to nobody.

    Raises ValueError when there is none.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder of submissions")
    found: list[Submission] = []
    flat: dict[str, list[tuple[re.Match[str], Path]]] = {}
    ignored: list[str] = []
    for path in sorted(folder.iterdir()):
        canvas = _CANVAS.fullmatch(path.name)
        if path.name[0] in "._" or path.name in _CLUTTER:
            ignored.append(plain(path.name, 100))
        elif canvas and path.is_file():
            flat.setdefault(canvas["student"], []).append((canvas, path))
        elif path.is_dir() or path.suffix.lower() in (".zip", ".py"):
            try:
                found.append(_of_one(assignment, path))
            except Exception as error:  # a damaged archive, a folder that is not ours to read
                found.append(Submission(plain(path.name, 200), problem=told(error)))
        else:
            ignored.append(plain(path.name, 100))
    found += [_of_canvas(assignment, student, files) for student, files in flat.items()]
    if not found:
        raise ValueError(
            f"there are no submissions (folders, .zip or .py files) in {folder}"
            + (f"; not looked at: {', '.join(ignored[:10])}" if ignored else "")
        )
    return _told_apart(sorted(found, key=lambda one: one.name)), ignored


def _of_one(assignment: Assignment, path: Path) -> Submission:
    if path.is_dir():
        return _of_a_folder(assignment, path)
    if path.suffix.lower() == ".zip":
        return _of_a_zip(assignment, path.stem, path)
    return _one_file(assignment, path)


def _of_a_folder(assignment: Assignment, folder: Path) -> Submission:
    moodle = _MOODLE.fullmatch(folder.name)
    name = moodle[1] if moodle else folder.name
    try:
        file, others = find_file(assignment, folder)
    except (ValueError, OSError) as error:
        zips = sorted(folder.glob("*.zip"))
        if len(zips) == 1:
            return _of_a_zip(assignment, name, zips[0])
        return Submission(plain(name, 200), problem=_with_what_is_there(str(error), folder))
    if not file.resolve().is_relative_to(folder.resolve()):
        return Submission(plain(name, 200), problem=f"{plain(file.name, 100)} is a link out of it")
    return _read(assignment, name, file, _named(others))


def _one_file(assignment: Assignment, path: Path) -> Submission:
    return _read(assignment, path.name, path, "", alone=True)


def _read(
    assignment: Assignment, name: str, file: Path, note: str, alone: bool = False
) -> Submission:
    own = f"hw{assignment.number}.py"
    try:
        handin = read_handin(file, name=None if alone else own, alone=alone)
    except (OSError, ValueError) as error:
        return Submission(plain(name, 200), problem=plain(str(error)), note=note)
    return Submission(plain(name, 200), handin, note=note)


def _named(others: list[Path]) -> str:
    return f"not looked at: {', '.join(plain(p.name, 100) for p in others)}" if others else ""


def _with_what_is_there(problem: str, folder: Path) -> str:
    names = [plain(p.name, 60) for p in sorted(folder.iterdir()) if p.name not in _CLUTTER]
    return f"{plain(problem)}; there is: {', '.join(names[:8]) or 'nothing'}"


# ---- archives ------------------------------------------------------------------------------------


def _of_a_zip(assignment: Assignment, name: str, path: Path) -> Submission:
    """The files of an archive, read into memory: none is written anywhere."""
    name = plain(name, 200)
    try:
        files = dict(_members(path))
    except (ValueError, OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        return Submission(name, problem=f"{plain(path.name, 100)}: {plain(str(error))}")
    own = f"hw{assignment.number}.py"
    fitting = [p for p in map(PurePosixPath, files) if version_of(p.name, own) is not None]
    if not fitting:
        there = ", ".join(plain(file, 60) for file in [*files][:8]) or "nothing"
        return Submission(name, problem=f"there is no {own} in {plain(path.name, 100)}: {there}")
    shallow = min(len(p.parts) for p in fitting)
    fitting = [p for p in fitting if len(p.parts) == shallow]
    if len({p.parent for p in fitting}) > 1:
        return Submission(name, problem=f"which one is meant? {fitting[0]} or {fitting[1]}")
    chosen = max(fitting, key=lambda p: (version_of(p.name, own) or 0, p.name))
    beside = {
        PurePosixPath(file).relative_to(chosen.parent).as_posix(): content
        for file, content in files.items()
        if PurePosixPath(file).is_relative_to(chosen.parent) and PurePosixPath(file) != chosen
    }
    others = [p.name for p in fitting if p != chosen]
    note = f"not looked at: {', '.join(plain(other, 100) for other in others)}" if others else ""
    return Submission(name, Handin(own, {**beside, own: files[str(chosen)]}), note=note)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of the ordinary files in an archive. Raises ValueError when it is none of
    ours: too many, too large, or with names that lead out of it.
    """
    total = 0
    with zipfile.ZipFile(path) as archive:
        if len(archive.infolist()) > MOST_FILES:
            raise ValueError(
                f"has {len(archive.infolist())} entries, expected at most {MOST_FILES}"
            )
        for info in archive.infolist():
            place = PurePosixPath(info.filename.replace("\\", "/"))
            if place.is_absolute() or ".." in place.parts or ":" in info.filename:
                raise ValueError(f"the name {plain(info.filename, 100)!r} leads out of the archive")
            kind = stat.S_IFMT(info.external_attr >> 16)
            hidden = any(part[0] == "." or part in _CLUTTER for part in place.parts)
            if info.is_dir() or hidden or kind not in (0, stat.S_IFREG):
                continue
            with archive.open(info) as file:  # what the header says of its size is not believed
                content = file.read(LARGEST + 1)
            total += len(content)
            if len(content) > LARGEST or total > MOST_BYTES:
                raise ValueError(
                    f"unpacks to more than {LARGEST:,} bytes a file, or {MOST_BYTES:,}"
                )
            yield place.as_posix(), content


# ---- names ---------------------------------------------------------------------------------------


def _of_canvas(
    assignment: Assignment, student: str, files: list[tuple[re.Match[str], Path]]
) -> Submission:
    """One student's flat files: each gets back the name that it was handed in under."""
    own = f"hw{assignment.number}.py"
    taken: dict[str, bytes] = {}
    best: dict[str, tuple[int, int]] = {}
    ignored: list[str] = []
    for found, path in files:
        plainly = re.sub(r"-\d+(?=\.\w+$)", "", found["name"])
        version = version_of(found["name"], own)
        name = own if version is not None else plainly
        order = int(found["file"]), version or 0
        with contextlib.suppress(OSError):
            if path.stat().st_size > LARGEST or order < best.get(name, order):
                ignored.append(path.name)
                continue
            if name in best:
                ignored.append(f"an earlier {name}")
            taken[name], best[name] = path.read_bytes(), order
    note = f"not looked at: {', '.join(plain(name, 100) for name in ignored)}" if ignored else ""
    if own not in taken:
        there = ", ".join(plain(path.name, 60) for _, path in files[:8])
        return Submission(plain(student, 200), problem=f"there is no {own}; there is: {there}")
    return Submission(plain(student, 200), Handin(own, taken), note=note)


def _told_apart(found: list[Submission]) -> list[Submission]:
    """Rows that may be one student's say so; those with one name get a number."""

    def student(name: str) -> str:
        return re.sub(r"\.py$", "", name).casefold().strip()

    seen: dict[str, int] = {}
    rows = []
    for one in found:
        also = [o.name for o in found if o is not one and student(o.name) == student(one.name)]
        seen[one.name] = seen.get(one.name, 0) + 1
        name = one.name if seen[one.name] == 1 else f"{one.name} ({seen[one.name]})"
        note = f"is {also[0]!r} the same student?" if also else ""
        rows.append(replace(one, name=name, note="; ".join(filter(None, (one.note, note)))))
    return rows
