"""read the lectures, with the source they speak of; write one out with figures and notebook"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from minissl.cli._shared import argument, path
from minissl.course import Page

DESCRIPTION = """\
Shows a lecture, a page beside the lectures, a guide or a quiz: in a terminal page by page, else as
plain text. Source stands in it as this installation has it; a function that a homework asks for is
left to you. Figures are named by where they lie."""
EXAMPLES = """\
examples:
  minissl lecture                        all that there are
  minissl lecture 07
  minissl lecture kernels --section 3
  minissl lecture 07 --answers           with the answers of its questions
  minissl lecture notation
  minissl lecture 07 --out course        Markdown with its figures, and the notebook
  minissl lecture all --out course       the same of everything
  minissl lecture 07 --where             where the file lies"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME",
        help="a number (07, 7) or a name (kernels, notation, errata); all, with --out; without it "
        "they are listed",
    )  # fmt: skip
    parser.add_argument(
        "--section", type=argument(1, least=1), metavar="N", help="only this one of its sections"
    )
    parser.add_argument(
        "--answers", action="store_true", help="the questions at its end with their answers"
    )
    parser.add_argument(
        "--out", type=path, metavar="FOLDER",
        help="write it there, as Markdown with its figures and its notebook, for any viewer and "
        "for Jupyter; a file that is there and differs is not overwritten",
    )  # fmt: skip
    parser.add_argument("--where", action="store_true", help="only print where its file lies")


def run(arguments: argparse.Namespace) -> None:
    """List, show, locate or write."""
    from minissl.course import find_page, folder, pages, section_of

    name, section, out = arguments.name, arguments.section, arguments.out
    if sum((section is not None, out is not None, arguments.where)) > 1:
        raise ValueError("--section, --out and --where: choose one of them")
    if name is None and (section or out):
        raise ValueError(f"{'--section' if section else '--out'} of which lecture? Give its number")
    if name is None:
        print(folder() if arguments.where else listing(pages()))
        return
    if name == "all":
        if out is None:
            raise ValueError("all of them at once only with --out FOLDER")
        write(pages(), out)
        return
    page = find_page(name)
    if arguments.where:
        print(page.path)
    elif out:
        write([page], out)
    else:
        from minissl.cli._pages import FOLD, to_read

        text = section_of(page, section) if section else page.text
        below = [f"[Notebook: {page.notebook}]"] if page.notebook and not section else []
        if FOLD.search(text) and not arguments.answers:
            below.insert(0, "[The questions are answered with --answers]")
        show("\n".join([to_read(page, text, arguments.answers), *below]))


def listing(pages: list[Page]) -> str:
    """Every page by the name it is asked for, with its title."""
    width = max(len(page.name) for page in pages)
    rows = {
        "lectures": ["Lectures, and what stands beside them:"],
        "docs": ["", "Guides:"],
        "docs/quiz": ["", "Quizzes, answered with --answers:"],
    }
    for page in pages:
        rows[page.within].append(f"  {page.name:<{width}}  {page.title}")
    lines = [line for group in rows.values() for line in group]
    return "\n".join([*lines, "", "minissl lecture 07 shows one, minissl lecture --help says more"])


def show(text: str) -> None:
    """Page by page where somebody looks, else all of it."""
    if sys.stdin and sys.stdin.isatty() and sys.stdout.isatty():
        from pydoc import pager  # $PAGER, or less, or what the system has

        pager(text)
    else:
        print(text)


def write(pages: list[Page], out: Path) -> None:
    """Write pages with what belongs to them. Raises ValueError, before anything is written, when a
    file that is there would be lost.
    """
    from minissl.cli._pages import to_files
    from minissl.durable import make_parents, replace_durably

    files = {out / name: content for name, content in to_files(pages).items()}
    for place, content in files.items():
        make_parents(place)
        if place.exists() and place.read_bytes() != content:
            raise ValueError(
                f"{place} is there already and differs from what would be written: move it away, "
                "or choose another folder with --out"
            )
    for place, content in files.items():
        if not place.exists():
            replace_durably(place, content)
    first = next(iter(files))
    print(f"written: {len(files)} files below {out}; begin with {first}")
