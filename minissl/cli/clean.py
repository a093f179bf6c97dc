"""take the HTML out of pages, and keep everything else"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from minissl.cli._shared import path

DESCRIPTION = """\
Writes the text of HTML pages as plain text in UTF-8, which the other commands read. Tags, comments,
scripts and styles go; entities become characters; what is no tag, such as "a < b", stays. Menus and
footers are text as well: look at what you get."""
EXAMPLES = """\
examples:
  minissl clean page.html                       # to standard output
  minissl clean page.html --out page.txt
  minissl clean saved/ --out texts/             # every .html, .htm and .xhtml below a folder
  curl -s https://example.org | minissl clean | head"""

SUFFIXES = (".html", ".htm", ".xhtml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is read and what is written."""
    parser.add_argument(
        "page", nargs="?", type=path, help="a file or a folder of them (default: standard input)"
    )
    parser.add_argument(
        "--out", type=path, help="a new file, or for a folder a new folder (default: print)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Clean one page or all of a folder."""
    from minissl.durable import make_parents, replace_durably
    from minissl.text.cleaning import html_to_text
    from minissl.text.files import read_text

    page, out = arguments.page, arguments.out
    if out is not None and out.exists():
        raise FileExistsError(f"--out {str(out)!r} is there already: name a new file or folder")
    if page is not None and page.is_dir():
        clean_folder(page, out)
        return
    text = html_to_text(_standard_input() if page is None else read_text(page, any_kind=True))
    if text and not text.endswith("\n"):
        text += "\n"
    if out is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
        return
    make_parents(out)
    replace_durably(out, text.encode())


def clean_folder(folder: Path, out: Path | None) -> None:
    """Write a text for every page below the folder, in folders of the same names."""
    from minissl.durable import make_parents, replace_durably
    from minissl.text.cleaning import html_to_text
    from minissl.text.files import files_below, read_text

    if out is None:
        raise ValueError(f"{str(folder)!r} is a folder: give --out, the folder for its texts")
    files = files_below(folder)
    pages = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not pages:
        raise FileNotFoundError(
            f"no pages below {str(folder)!r}: expected names that end with {', '.join(SUFFIXES)}, "
            f"found {len(files)} other file(s)"
        )
    places = [(out / page.relative_to(folder)).with_suffix(".txt") for page in pages]
    for place, count in Counter(places).items():
        if count > 1:
            both = [str(page) for page, its in zip(pages, places) if its == place]
            raise ValueError(f"{' and '.join(both)} would both be {str(place)!r}: rename one")
    size = 0
    texts = [html_to_text(read_text(page, any_kind=True)) for page in pages]
    for place, text in zip(places, texts):
        make_parents(place)
        data = f"{text}\n".encode()
        size += len(data)
        replace_durably(place, data)
    left = len(files) - len(pages)
    rest = f"; {left:,} other file(s) passed over" if left else ""
    print(f"{out}: {len(pages):,} texts, {size:,} bytes{rest}")


def _standard_input() -> str:
    from minissl.text.files import decode

    if sys.stdin is None:
        raise ValueError("standard input is closed: give a page")
    return decode(sys.stdin.buffer.read(), "standard input")
