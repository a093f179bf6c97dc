"""The course beside the library: where its pages lie, what they are called, where links lead.

In the repository they are folders at the top; a wheel carries them within the package. Nothing here
needs more than Python itself: ``setup.py`` reads this file before anything is installed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# What a wheel carries, by its path in the repository; there it lies below this folder.
CARRIED = Path(__file__).parent / "_course"
PATTERNS = (
    "lectures/*.md",
    "lectures/figures/*.svg",
    "lectures/claims/*.json",
    "lectures/claims/*.svg",
    "notebooks/*.ipynb",
    "docs/*.md",
    "docs/quiz/*.md",
)
BRACKETED = r"(?:[^\[\]]|\[[^\]]*\])*"  # may hold brackets itself: "reads [CLS] alone"
# Code, which stays as it is, or a link or picture: text, and a path without a title.
_LINK = re.compile(
    r"(?P<code>(?P<ticks>`+).+?(?P=ticks)(?!`))"
    rf"|(?P<picture>!?)\[(?P<text>{BRACKETED})\]\((?P<to>[^()\s]+)\)",
    re.DOTALL,
)
_FENCE = re.compile(r"^(`{3,}).*?^\1[^\S\n]*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """A lecture, a page beside the lectures, a guide, or a quiz."""

    path: Path

    @property
    def within(self) -> str:
        """Its folder, from the top of the repository: "lectures", "docs", "docs/quiz"."""
        inner = self.path.parent.name
        return "docs/quiz" if inner == "quiz" else inner

    @property
    def stem(self) -> str:
        """Its name in full: "07_kernels", "appendix_errata", "data", "quiz_07"."""
        return f"quiz_{self.path.stem}" if self.within == "docs/quiz" else self.path.stem

    @property
    def name(self) -> str:
        """What it is asked for by: "07", "errata", "data", "quiz_07"."""
        number = re.match(r"\d\d(?=_)", self.stem)
        return number[0] if number else self.stem.removeprefix("appendix_")

    @property
    def text(self) -> str:
        """The Markdown, as it is kept."""
        return self.path.read_text(encoding="utf-8")

    @property
    def title(self) -> str:
        """The first heading, without the number of the lecture."""
        with self.path.open(encoding="utf-8") as lines:
            first = next((line for line in lines if line.startswith("# ")), self.stem)
        return re.sub(r"^# (\d\d · )?", "", first).strip()

    @property
    def notebook(self) -> Path | None:
        """The notebook beside a lecture."""
        path = folder() / "notebooks" / f"{self.stem}.ipynb"
        return path if path.is_file() and self.within == "lectures" else None


def folder() -> Path:
    """What has ``lectures/``, ``notebooks/`` and ``docs/`` in it. Raises FileNotFoundError."""
    for place in (CARRIED, CARRIED.parent.parent):
        if (place / "lectures" / "index.md").is_file():
            return place
    raise FileNotFoundError(
        f"the lectures are neither in {CARRIED} nor beside the package: install minissl once more"
    )


def pages() -> list[Page]:
    """The lectures by their numbers, the pages beside them, the guides, the quizzes."""
    patterns = [pattern for pattern in PATTERNS if pattern.endswith(".md")]
    paths = [path for pattern in patterns for path in sorted(folder().glob(pattern))]
    return [Page(path) for path in paths if path.name != "index.md"]


def find_page(name: str) -> Page:
    """The page of a number ("07", "7"), a name ("kernels") or a part of one ("transformer").

    Raises ValueError with the names there are, or with those that are meant by several.
    """
    wanted = re.sub(r"[\s-]+", "_", name.strip().lower()).removesuffix(".md")
    wanted = re.sub(r"(?<![0-9])([0-9])$", r"0\1", wanted)
    found = [page for page in pages() if wanted in _names(page)]
    found = found or [page for page in pages() if len(wanted) > 2 and wanted in page.stem]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(page.stem for page in found)
        raise ValueError(f"{name!r} may be several: {names}; say one of them in full")
    names = ", ".join(page.name for page in pages())
    raise ValueError(f"there is no lecture {name!r}; choose one of: {names}")


def _names(page: Page) -> set[str]:
    return {page.name, page.stem, re.sub(r"^\d\d_", "", page.stem)}


def section_of(page: Page, number: int) -> str:
    """One numbered section of a page. Raises ValueError with the numbers there are."""
    parts = re.split(r"^(?=## )", page.text, flags=re.MULTILINE)
    sections = {int(n[1]): part for part in parts if (n := re.match(r"## (\d+)\. ", part))}
    if number not in sections:
        there = f"1 to {max(sections)}" if sections else "no numbered ones"
        raise ValueError(f"there is no section {number} in {page.stem}: it has {there}")
    return sections[number]


def mapped(text: str, prose: Callable[[str], str], block: Callable[[str], str] = str) -> str:
    """Markdown with what stands between its blocks of code replaced, and the blocks too."""
    done, end = [], 0
    for fence in _FENCE.finditer(text):
        done += [prose(text[end : fence.start()]), block(fence[0])]
        end = fence.end()
    return "".join([*done, prose(text[end:])])


def command_for(path: str) -> str:
    """What shows a file of the repository where only the library is installed; "" if nothing does.

    ``path``: from the top of the repository.
    """
    place = PurePosixPath(path)
    if any(place.match(pattern) for pattern in PATTERNS) and place.suffix == ".md":
        name = Page(Path(place)).name
        return "minissl lecture" + ("" if name == "index" else f" {name}")
    if re.fullmatch(r"notebooks/\d\d_\w+\.ipynb", path):
        return f"minissl lecture {place.name[:2]} --out FOLDER"
    if homework := re.fullmatch(r"minissl/homework/handouts/hw(\d+)\.md", path):
        return f"minissl homework start {homework[1]}"
    return ""


def leads_nowhere(target: str) -> bool:
    """Whether a link leads to a file of the repository, or to a heading of this page."""
    return not re.match(r"[a-z][a-z0-9+.-]*:|//", target, re.IGNORECASE)


def unlinked(text: str, within: str = "", repository: str = "", kept: Collection[str] = ()) -> str:
    """Markdown as it can be read away from the repository.

    A link to a file of it becomes its text, with the command that shows the file where one does; a
    picture goes. ``within``: the folder of the page, from the top of the repository. ``kept``:
    files that go with the page. With the address of a ``repository`` everything leads there.
    """

    def replaced(found: re.Match[str]) -> str:
        if found["code"]:
            return found[0]
        picture, label, target = found["picture"], _LINK.sub(replaced, found["text"]), found["to"]
        path, _, heading = target.partition("#")
        path = from_the_top(within, path)
        if not leads_nowhere(target) or path in kept:
            return f"{picture}[{label}]({target})" if label else ""
        if repository:
            parts = [repository.rstrip("/"), "raw" if picture else "blob", "HEAD", path]
            address = "/".join(parts if path else parts[:1])
            return f"{picture}[{label}]({address}{'#' if heading else ''}{heading})"
        command = command_for(path)
        return "" if picture else f"{label} (`{command}`)" if command else label

    return mapped(text, lambda part: _LINK.sub(replaced, part))


def from_the_top(within: str, path: str) -> str:
    """From the top: "../docs/data.md" in "lectures" is "docs/data.md"."""
    parts: list[str] = []
    for part in [*PurePosixPath(within).parts, *PurePosixPath(path).parts]:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/".join(parts)
