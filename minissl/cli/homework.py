"""start a homework, check it, grade a folder of submissions"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from minissl.cli._shared import Parser, add_seed, argument, path

DESCRIPTION = "Homework: functions of this library to write yourself, and what checks them."
EXAMPLES = """\
examples:
  minissl homework list
  minissl homework start 1
  minissl homework check 1 --task 1.3
  minissl homework grade 1 submissions/ --csv grades.csv --seed 2027 --extra-shapes 10
  minissl homework grade 1 submissions/ --csv grades.csv --gradebook exported.csv"""


class AnyOrder(Parser):
    """Reads ``check 1 --task 1.2 hw1`` as well as ``check 1 hw1 --task 1.2``."""

    _inside = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's own, which does it for the other way to parse as well."""
        if self._inside:
            return super().parse_known_args(args, namespace)
        self._inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inside = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the four verbs."""
    verbs = parser.add_subparsers(
        title="verbs", metavar="VERB", required=True, parser_class=AnyOrder
    )
    _add_list_and_start(verbs)
    _add_check(verbs)
    _add_grade(verbs)


def _add_list_and_start(verbs: Any) -> None:
    verb = verbs.add_parser("list", help="the assignments and their tasks")
    verb.set_defaults(function=list_all)

    verb = verbs.add_parser("start", help="write the folder hwN/ with what is to be written")
    verb.add_argument("number", type=int, metavar="N", help="which assignment")
    verb.add_argument("--folder", type=path, default=Path(), help="where (default: here)")
    verb.set_defaults(function=start)


def _add_check(verbs: Any) -> None:
    verb = verbs.add_parser("check", help="points for each task, and what is wrong")
    verb.add_argument("number", type=int, metavar="N", help="which assignment")
    verb.add_argument(
        "place", type=path, nargs="?", metavar="FOLDER", help="or a file (default: hwN/, or here)"
    )
    verb.add_argument(
        "--task", action="append", default=[], metavar="N.K", help="only this one; may be repeated"
    )
    verb.add_argument(
        "--use-mine",
        action="store_true",
        help="each task with your own other functions, not the library's",
    )
    verb.add_argument("--json", type=path, help="also write the results, as Gradescope reads them")
    verb.add_argument("--quiet", action="store_true", help="the points alone")
    verb.add_argument(
        "--answer-key",
        action="store_true",
        help="check the library's own answers instead: all points, but for the experiment's",
    )
    _add_cases(verb)
    verb.set_defaults(function=check)


def _add_grade(verbs: Any) -> None:
    verb = verbs.add_parser("grade", help="a folder of submissions, one row for each")
    verb.add_argument("number", type=int, metavar="N", help="which assignment")
    verb.add_argument("folder", type=path, help="with a folder, or a .py file, for each student")
    verb.add_argument("--csv", type=path, required=True, help="the table to write")
    verb.add_argument("--details", type=path, help="a folder for one results.json per submission")
    verb.add_argument(
        "--gradebook",
        type=path,
        help="a table that Canvas, Moodle or Gradescope exported: a copy gets the points",
    )
    verb.add_argument("--column", default="", help="of Canvas's table (default: what it calls N)")
    _add_cases(verb)
    verb.set_defaults(function=grade, seed=None)


def _add_cases(verb: argparse.ArgumentParser) -> None:
    add_seed(verb, "of the random cases")
    verb.add_argument(
        "--extra-shapes",
        type=argument(3, least=0),
        default=3,
        metavar="N",
        help="random cases for each check (default: %(default)s)",
    )


def _settings(arguments: argparse.Namespace) -> Any:
    from minissl.homework.check import Settings

    mine = getattr(arguments, "use_mine", False)
    guarded = not getattr(arguments, "answer_key", False)
    return Settings(arguments.seed, arguments.extra_shapes, mine, guarded)


def _tell_what_is_not_held_back() -> None:
    """Once for each command: the code of others runs on this computer."""
    from minissl.homework.process import not_held_back

    if not_held_back():
        print(f"minissl: {not_held_back()}", file=sys.stderr)


def list_all(arguments: argparse.Namespace) -> None:
    """Print every assignment with its tasks."""
    from minissl.homework.assignments import assignment_numbers, load_assignment

    for number in assignment_numbers():
        assignment = load_assignment(number)
        print(f"{number}  {assignment.title} ({assignment.points} points)")
        for task in assignment.parts:
            points = task.points + task.by_hand
            print(f"   {task.number:<5} {points:>3}  {task.label}: {task.title}")


def start(arguments: argparse.Namespace) -> None:
    """Write the student's folder."""
    from minissl.homework.assignments import load_assignment
    from minissl.homework.starter import start as write

    number = arguments.number
    assignment = load_assignment(number)
    folder = write(assignment, arguments.folder)
    own = f"hw{number}.py" + (" and experiment.py" if assignment.experiment else "")
    print(
        f"{folder} is ready: read HW{number}.md, write {own}, then run\n"
        f"    python -m minissl homework check {number} {folder}"
    )


def check(arguments: argparse.Namespace) -> None:
    """Check one submission, or the answer key, and print the scoreboard."""
    from minissl.homework.assignments import load_assignment
    from minissl.homework.check import check_submission, nothing_there
    from minissl.homework.class_folder import latest_file
    from minissl.homework.grade import write_json
    from minissl.homework.handin import read_handin
    from minissl.homework.scoreboard import to_text
    from minissl.homework.starter import answer_key
    from minissl.homework.submission import find_file

    _tell_what_is_not_held_back()
    settings = _settings(arguments)
    assignment = load_assignment(arguments.number)
    own = f"hw{arguments.number}"
    place = arguments.place or (Path(own) if Path(own).is_dir() else Path())
    try:
        if arguments.answer_key:
            handin = answer_key(assignment)
        elif place.is_file():
            handin = read_handin(find_file(assignment, place))
        else:
            file, others = latest_file(assignment, place)
            handin = read_handin(find_file(assignment, file), name=f"{own}.py")
            if others:
                names = ", ".join(path.name for path in others)
                print(f"{file.name} is checked; not looked at: {names}\n")
    except ValueError as error:
        if arguments.json:  # Gradescope shows the reason to the student
            write_json(arguments.json, nothing_there(assignment, str(error), settings))
        raise
    results = check_submission(assignment, handin, numbers=arguments.task, settings=settings)
    if arguments.json:
        write_json(arguments.json, results)
    print(to_text(results, quiet=arguments.quiet))


def grade(arguments: argparse.Namespace) -> None:
    """Grade a folder of submissions and print a line for each."""
    from secrets import randbelow

    from minissl.homework.assignments import load_assignment
    from minissl.homework.class_folder import submissions
    from minissl.homework.grade import grade as grade_all

    assignment = load_assignment(arguments.number)
    if not arguments.csv.parent.is_dir():  # before the hours of work, not after them
        raise ValueError(f"--csv {arguments.csv}: there is no folder {arguments.csv.parent}")
    gradebook = _gradebook(arguments)
    ours = (arguments.csv, arguments.details, arguments.gradebook, gradebook and gradebook[1])
    found, ignored = submissions(assignment, arguments.folder, [path for path in ours if path])
    if arguments.seed is None:  # an answer that knows the cases of the students' seed 0 loses
        arguments.seed = randbelow(1 << 31)
        print(f"random cases of seed {arguments.seed} (--seed {arguments.seed} repeats them)")
    _tell_what_is_not_held_back()
    settings, rows = _settings(arguments), []
    for row in grade_all(
        assignment, found, arguments.csv, settings=settings, details=arguments.details
    ):
        note = f"  {row['comment']}" if row["comment"] else ""
        print(f"{row['score']:>4} of {row['points']}  {row['submission']}{note}", flush=True)
        rows.append(row)
    if ignored:
        print(f"ignored: {', '.join(ignored)}")
    print(f"written: {arguments.csv}")
    if gradebook:
        _write_gradebook(gradebook, rows)


def _gradebook(arguments: argparse.Namespace) -> Any:
    """The table of ``--gradebook`` and the path of its copy, before anything is graded; or None."""
    from minissl.homework.gradebook import read_gradebook

    export = arguments.gradebook
    if export is None:
        if arguments.column:
            raise ValueError(f"--column {arguments.column!r} is a column of --gradebook: give both")
        return None
    place = arguments.csv.with_name(f"{export.stem}-filled.csv")
    if place.resolve() == arguments.csv.resolve():
        raise ValueError(f"{place} is written from --gradebook: give --csv another name")
    return read_gradebook(export, arguments.number, arguments.column), place


def _write_gradebook(gradebook: Any, rows: list[dict[str, str]]) -> None:
    """Write the copy with the points, and say who is not in it."""
    from minissl.durable import replace_durably

    book, place = gradebook
    data, told = book.filled(rows)
    replace_durably(place, data)
    print("\n".join([*told, f"written: {place}, for {book.kind.capitalize()}"]))
