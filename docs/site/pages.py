"""Which pages the site has: the repository's Markdown and notebooks, and what is made from code.

The pages keep their paths in the repository, so a relative link works here as it does on GitHub.
"""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from docs.site import notebooks
from docs.site.api import api_pages
from docs.site.python_source import ROOT
from minissl.homework.assignments import load_assignment
from minissl.homework.starter import handout

HERE = Path(__file__).parent
GUIDES = [
    "docs/claims.md", "docs/commands.md", "docs/instructor_guide.md", "docs/syllabus.md",
    "docs/several_gpus.md",
]  # fmt: skip
PICTURES = [
    "lectures/figures/*.svg", "lectures/claims/*.svg", "docs/*.svg", "benchmarks/results/*.svg",
]  # fmt: skip


@dataclass
class Pages:
    """Pages by their path below the site (``lectures/02_autograd.md`` -> text), and their menu."""

    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    menu: dict[str, list[str]] = field(default_factory=dict)

    def add(self, caption: str, path: str, text: str, title: str = "") -> None:
        """A page, under its caption of the menu, by its own title if no other is given."""
        self.texts[path] = text
        page = path.rpartition(".")[0]
        self.menu.setdefault(caption, []).append(f"{title} <{page}>" if title else page)

    def write(self, folder: Path) -> None:
        """Lay the pages out for Sphinx in a folder."""
        for name, text in self.texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        for name, path in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)


def course(draft: bool = False) -> Pages:
    """The pages of the whole course, as far as it exists. A draft runs no notebook."""
    pages = Pages()
    lectures = sorted((ROOT / "lectures").glob("[0-9][0-9]_*.md"))
    for path in lectures:
        pages.add("Lectures", _name(path), markdown(path))
    for path in [ROOT / "lectures" / "notation.md", *(ROOT / "lectures").glob("appendix_*.md")]:
        pages.add("Lectures", _name(path), markdown(path))
    if not draft:  # from the last: tests that run at the same time begin with the first
        for source in reversed(notebooks.sources()):
            notebooks.executed(source)
    for source in notebooks.sources():
        name = f"notebooks/{source.stem}.ipynb"
        text = notebooks.convert(source) if draft else notebooks.executed(source).read_text("utf-8")
        title, text = for_the_site(text, source.stem, [path.stem for path in lectures])
        pages.add("Notebooks", name, text, title)
        pages.texts[f"downloads/{source.stem}.ipynb"] = notebooks.convert(source)
    for path in sorted((ROOT / "minissl" / "homework" / "handouts").glob("hw*.md")):
        assignment = load_assignment(int(path.stem.removeprefix("hw")))
        pages.add("Homework", _name(path), folds(handout(assignment)))
    for path in [*(ROOT / guide for guide in GUIDES), *sorted((ROOT / "docs").glob("*.md"))]:
        if path.is_file() and _name(path) not in pages.texts:
            pages.add("Guides", _name(path), markdown(path))
    for path in sorted((ROOT / "docs" / "quiz").glob("*.md")):
        pages.add("Quizzes", _name(path), markdown(path))
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.md")):
        title = path.stem.replace("_", " ").capitalize()  # its own is the name of the program
        pages.add("Measured", _name(path), markdown(path), title)
    for folder, text in api_pages().items():
        pages.add("Reference", f"api/{folder}.md", text)
    for picture in [p for place in PICTURES for p in ROOT.glob(place)]:
        pages.files[_name(picture)] = picture
    pages.texts["index.md"] = front_page(pages)
    return pages


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def front_page(pages: Pages) -> str:
    """The landing page: our text, the table of the lectures, the menu."""
    text = (HERE / "index.md").read_text(encoding="utf-8")
    index = (ROOT / "lectures" / "index.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in index.splitlines() if line.startswith("|"))
    table = re.sub(r"\]\((?!\.\./)", "](lectures/", table).replace("](../", "](")
    menus = (
        f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(entries) + "\n```\n"
        for caption, entries in pages.menu.items()
    )
    return f"{text.replace('<!-- lectures -->', table)}\n{chr(10).join(menus)}"


def markdown(path: Path) -> str:
    """A page of the repository."""
    return folds(path.read_text(encoding="utf-8"))


def folds(text: str) -> str:
    """A page's text, in which formulas and code in the summary of a fold work too."""

    def summary(found: re.Match[str]) -> str:
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", found[1])
        math = r'<span class="math notranslate nohighlight">\\(\1\\)</span>'
        return f"<summary>{re.sub(r'[$]([^$]+)[$]', math, text)}</summary>"

    return re.sub(r"<summary>(.*?)</summary>", summary, text, flags=re.DOTALL)


def for_the_site(text: str, stem: str, lectures: list[str]) -> tuple[str, str]:
    """A notebook's title, and its JSON with links to its lecture and its file.

    The title says that it is a notebook: a search finds the lecture of the same name too.
    """
    import nbformat

    notebook = nbformat.reads(text, as_version=4)
    first = notebook.cells[0]
    title = first.source.splitlines()[0].removeprefix("# ")
    first.source = first.source.replace("# ", "# Notebook ", 1)
    links = [f"{{download}}`Download this notebook <../downloads/{stem}.ipynb>`"]
    if stem in lectures:
        links.insert(0, f"[Its lecture](../lectures/{stem}.md)")
    cell = nbformat.v4.new_markdown_cell(" · ".join(links), id="links")
    notebook.cells.insert(1, cell)
    return title, nbformat.writes(notebook)
