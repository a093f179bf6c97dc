"""A student's folder: the file to write, the handout, and the rules for an AI assistant."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from minissl.homework.source import student_file
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


def handout(assignment: Assignment) -> str:
    """The handout, with a table of the tasks before its first section (``## ``)."""
    text = _kept(f"hw{assignment.number}.md")
    before, section, after = text.partition("\n## ")
    return f"{before.rstrip()}\n\n{table(assignment)}\n{section}{after}"


def table(assignment: Assignment) -> str:
    """The tasks, where to read, and their points, in Markdown."""
    rows = [
        f"| {t.number} | `{t.label}` | {t.title} | {t.lecture} | {t.points} |"
        for t in assignment.tasks
    ]
    head = ["| task | write | what it is | read | points |", "| --- | --- | --- | --- | ---: |"]
    return "\n".join([*head, *rows, f"| | | | | **{assignment.points}** |"])


def _kept(name: str) -> str:
    files = resources.files("minissl.homework") / "handouts" / name
    return files.read_text(encoding="utf-8")
