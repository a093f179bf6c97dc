"""A student's folder: the files to write, the handout, and the rules for an AI assistant."""

from __future__ import annotations

import re
import textwrap
from importlib import resources
from pathlib import Path

from minissl.homework.allowed import what_is_allowed
from minissl.homework.experiment import FILE, Experiment
from minissl.homework.handin import Handin
from minissl.homework.source import experiment_file, student_file
from minissl.homework.task import Assignment


def start(assignment: Assignment, folder: Path) -> Path:
    """Write ``folder/hwN/`` and return it.

    Raises ValueError, before anything is written, when one of its files is already there.
    """
    number = assignment.number
    texts = {
        f"hw{number}.py": student_file(assignment),
        f"HW{number}.md": handout(assignment),
        "AGENTS.md": _kept("AGENTS.md"),
    }
    if assignment.experiment:
        texts[FILE] = experiment_file(assignment.experiment)
    target = folder / f"hw{number}"
    if there := [name for name in texts if (target / name).exists()]:
        raise ValueError(
            f"{target / there[0]} is already there, and is not overwritten: move it away, "
            "or choose another place with --folder"
        )
    target.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with open(target / name, "x", encoding="utf-8") as file:
            file.write(text)
    return target


def answer_key(assignment: Assignment) -> Handin:
    """The library's own answers, as a student would hand them in (without an experiment)."""
    numbers = [task.number for task in assignment.tasks]
    name = f"hw{assignment.number}.py"
    return Handin(name, {name: student_file(assignment, numbers).encode()})


def handout(assignment: Assignment) -> str:
    """The handout, with a table of the tasks before its first section (``## ``), and below each
    task's heading what may be used for it.

    What a person judges of an experiment stands where the text has ``<!-- rubric -->``.
    """
    text = _kept(f"hw{assignment.number}.md")
    written = frozenset(task.name for task in assignment.tasks)
    for task in assignment.tasks:
        before, heading, after = text.partition(f"\n## {task.number} ")
        title, _, rest = after.partition("\n")
        allowed = _filled(what_is_allowed(task, written))
        text = f"{before}{heading}{title}\n\n{allowed}\n{rest}" if heading else text
    if assignment.experiment:
        text = text.replace("<!-- rubric -->", rubric(assignment.experiment))
    before, section, after = text.partition("\n## ")
    reading = f"`python -m {assignment.parts[0].read}` shows what to read for the first, and so on."
    return f"{before.rstrip()}\n\n{table(assignment)}\n\n{reading}\n{section}{after}"


def _filled(text: str) -> str:
    """Lines of 100 characters at most; what stands in backticks is not broken."""
    kept = re.sub("`[^`]*`", lambda found: found[0].replace(" ", "\0"), text)
    return textwrap.fill(kept, 100, break_long_words=False).replace("\0", " ")


def table(assignment: Assignment) -> str:
    """The tasks, where to read, and their points, in Markdown."""
    rows = [
        f"| {t.number} | `{t.label}` | {t.title} | {t.lecture} | {t.points + t.by_hand} |"
        for t in assignment.parts
    ]
    head = ["| task | write | what it is | read | points |", "| --- | --- | --- | --- | ---: |"]
    return "\n".join([*head, *rows, f"| | | | | **{assignment.points}** |"])


def rubric(experiment: Experiment) -> str:
    """The points of an experiment, the checker's and a person's, in Markdown."""
    rows = [(check.points, check.about, "the checker") for check in experiment.checks]
    rows += [(item.points, item.about, "a person") for item in experiment.rubric]
    head = ["| points | for | given by |", "| ---: | --- | --- |"]
    lines = [f"| {points} | {about} | {who} |" for points, about, who in rows]
    return "\n".join([*head, *lines, f"| **{experiment.points + experiment.by_hand}** | | |"])


def _kept(name: str) -> str:
    files = resources.files("minissl.homework") / "handouts" / name
    return files.read_text(encoding="utf-8")
