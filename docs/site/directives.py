"""The Sphinx extension: ``{source}``, ``{claim}``, the source pages, links to files.

``{source} module:name`` is a function's source beside the text, ``{claim} name`` a kept result. A
name that is gone is an error that says which lecture and which name. What a homework task asks for
is folded, wherever it is printed.
"""

import json
import os
import re
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from docs.site.graded import opening
from docs.site.python_source import ROOT, label, listing
from minissl.homework.answers import among, inside, written_by_hand
from minissl.places import NameGone, find

# "lecture 05", "Lectures 05 and 12": what leads there are the numbers.
LECTURES = re.compile(r"(\b[Ll]ectures? \d\d\b(?:(?:,| and) \d\d\b)*)")

logger = logging.getLogger(__name__)


def source_page(path: Path) -> str:
    """The name of the page that shows a file of the repository."""
    return f"source/{label(path)}"


def page_link(docname: str, path: Path, line: int | None = None) -> str:
    """The link from a page to a file's source page, or to a line of it."""
    link = os.path.relpath(source_page(path) + ".html", os.path.dirname(docname) or ".")
    return link + (f"#L{line}" if line else "")


class Source(SphinxDirective):
    """Shows a function, class or method with its line numbers."""

    required_arguments = 1
    option_spec = {"nodoc": directives.flag}  # noqa: RUF012  (as docutils declares it)

    def run(self) -> list[nodes.Node]:
        """The listing under a caption that links to its line."""
        try:
            place = find(self.arguments[0])
        except NameGone as gone:
            raise self.error(f"{{source}} {self.arguments[0]}: {gone}") from None
        self.env.linked_files.add(place.path)
        hidden = place.docstring if "nodoc" in self.options else range(0)
        numbers = [n for n in range(place.first, place.last + 1) if n not in hidden]
        page = page_link(self.env.docname, place.path)
        shown, answers = listing(place.path, numbers, page), inside(place)
        if answers:
            shown = f"{opening(answers)}{shown}</details>"
        html = (
            '<div class="literal-block-wrapper docutils container source">'
            f'<div class="code-block-caption"><a href="{escape(page)}#L{place.line}">'
            f"<code>{escape(place.label)}:{place.line}</code></a></div>{shown}</div>"
        )
        return [nodes.raw("", html, format="html")]


class SourceRole(SphinxRole):
    """A link that reads ``minissl/losses/contrastive.py:112``."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The link to the line."""
        try:
            place = find(self.text)
        except NameGone as gone:
            message = self.inliner.reporter.error(
                f"{{source}}`{self.text}`: {gone}", line=self.lineno
            )
            return [nodes.literal(self.text, self.text)], [message]
        self.env.linked_files.add(place.path)
        text = place.label + (f":{place.line}" if ":" in self.text else "")
        page = page_link(self.env.docname, place.path, place.line)
        link = nodes.reference("", "", refuri=page, internal=True)
        link += nodes.literal(text, text)
        return [link], []


class Claim(SphinxDirective):
    """Shows a claim as it was measured: verdict and figure, then table and conditions."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The kept result in a box: claim, verdict and figure; the numbers are folded."""
        from minissl.claims.report import details, headline

        name = self.arguments[0].strip()
        folder = Path(self.config.claims_folder)
        result, figure = folder / f"{name}.json", folder / f"{name}.svg"
        for path in (result, figure):
            if not path.is_file():
                kept = ", ".join(sorted(p.stem for p in folder.glob("*.json"))) or "none"
                raise self.error(f"{{claim}} {name}: no kept result {path.name}; kept: {kept}")
        measured = json.loads(result.read_text(encoding="utf-8"))
        box = nodes.container(classes=["claim"], ids=[f"claim-{name}"])
        box += self.parse_text_to_nodes(headline(measured))
        uri = os.path.relpath(figure, self.env.srcdir / os.path.dirname(self.env.docname))
        box += nodes.image(uri=Path(uri).as_posix(), alt=f"Figure: {measured['statement']}")
        summary = "The numbers, what was expected of them, and how it was run"
        box += nodes.raw("", f"<details><summary>{summary}</summary>", format="html")
        box += self.parse_text_to_nodes(details(measured))
        box += nodes.raw("", "</details>", format="html")
        return [box]


def link_files(app: Any, doctree: nodes.document) -> None:
    """Links to files of the repository, and paths in the text, lead to their pages here."""
    docname = app.env.current_document.docname
    for link in list(doctree.findall(addnodes.pending_xref)):
        if link["reftype"] != "myst" or link.get("refdomain"):
            continue
        target = link["reftarget"].partition("#")[0]
        path = Path(os.path.normpath(ROOT / os.path.dirname(docname) / target))
        if target and path.is_relative_to(ROOT) and path.is_file():
            link.replace_self(_reference(app, path, link.children))
        elif target and path.is_relative_to(ROOT) and path.is_dir():
            link.replace_self(link.children[0])  # a folder has no page
    for literal in list(doctree.findall(nodes.literal)):
        path = next((p for p in _named(literal.astext()) if p.is_file()), None)
        if path and not isinstance(literal.parent, nodes.reference | addnodes.pending_xref):
            literal.replace_self(_reference(app, path, [literal.deepcopy()]))


def link_lectures(app: Any, doctree: nodes.document) -> None:
    """Where the text says "lecture 05" it leads there, if that is written; never to itself."""
    here = app.env.current_document.docname
    pages = {
        name.removeprefix("lectures/")[:2]: name
        for name in app.env.found_docs
        if name.startswith("lectures/") and name != here
    }
    apart = (nodes.reference, nodes.literal, nodes.title, nodes.raw, nodes.FixedTextElement)

    def part(text: str) -> nodes.Node:
        if text not in pages:
            return nodes.Text(text)
        uri = os.path.relpath(f"{pages[text]}.html", os.path.dirname(here) or ".")
        return nodes.reference("", text, refuri=uri, internal=True)

    for text in list(doctree.findall(nodes.Text)):
        phrases = LECTURES.split(str(text))
        if len(phrases) > 1 and not isinstance(text.parent, apart):
            parts: list[nodes.Node] = []
            for number, phrase in enumerate(phrases):  # text, phrase, text, ..., text
                pieces = re.split(r"(\d\d)", phrase) if number % 2 else []
                parts += map(part, pieces) if pieces else [nodes.Text(phrase)]
            text.parent.replace(text, parts)


def fold_answers(app: Any, doctree: nodes.document) -> None:
    """A block of code that defines what a task asks for, in a lecture or a notebook, is folded."""
    for block in list(doctree.findall(nodes.literal_block)):
        answers = written_by_hand(block.astext())
        if answers and "python" in block.get("language", ""):
            before = nodes.raw("", opening(answers, "An answer"), format="html")
            block.replace_self(
                [before, block.deepcopy(), nodes.raw("", "</details>", format="html")]
            )


def _named(text: str) -> list[Path]:
    """The files that a text may mean: ``minissl/losses/contrastive.py``, a notebook, a lecture."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)+\.\w+", text) or ".." in text:
        return []
    return [ROOT / text, ROOT / "kernels" / text]


def _reference(app: Any, path: Path, text: list[nodes.Node]) -> nodes.reference:
    """A link to a file's page: one of the course, or its source page."""
    here = app.env.current_document.docname
    name = app.env.path2doc(app.env.srcdir / path.relative_to(ROOT))
    if name in app.env.found_docs:
        uri = os.path.relpath(f"{name}.html", os.path.dirname(here) or ".")
    else:
        app.env.linked_files.add(path)
        uri = page_link(here, path)
    return nodes.reference("", "", *text, refuri=uri, internal=True)


def source_pages(app: Any) -> Any:
    """A page for every module and every other file that a page links to."""
    menus: dict[int, str] = {}

    def menu(page: str, **options: Any) -> str:  # the same for all of a depth, and slow to make
        depth = page.count("/")
        if depth not in menus:
            menus[depth] = app.builder._get_local_toctree(page, **options)
        return menus[depth]

    for path in sorted(app.env.linked_files):
        title = label(path)
        body = f"<h1 class='file'>{escape(title)}</h1>{_whole_file(path)}"
        page = source_page(path)
        yield page, {"title": title, "body": body, "toctree": partial(menu, page)}, "page.html"


def _whole_file(path: Path) -> str:
    """All lines of a file. The bodies of answers are folded; a link to a line of one opens it."""
    count, start, parts = len(path.read_text(encoding="utf-8").splitlines()), 1, []

    def lines(first: int, last: int) -> str:
        numbers = list(range(first, last + 1))
        return listing(path, numbers, "", anchors=True, width=len(str(count))) if numbers else ""

    for answer in sorted(among(path, range(1, count + 1)), key=lambda one: one.place.first):
        body = answer.place.body
        parts += [lines(start, body.start - 1), opening([answer], "The body")]
        parts += [lines(body.start, body.stop - 1), "</details>"]
        start = body.stop
    return "".join([*parts, lines(start, count)])


def setup(app: Any) -> dict[str, Any]:
    """Registers everything."""
    app.add_config_value("claims_folder", str(ROOT / "lectures" / "claims"), "env")
    app.add_directive("source", Source)
    app.add_role("source", SourceRole())
    app.add_directive("claim", Claim)
    app.connect("env-before-read-docs", lambda app, env, names: setattr(env, "linked_files", set()))
    app.connect("doctree-read", link_files)
    app.connect("doctree-read", link_lectures)
    app.connect("doctree-read", fold_answers)
    app.connect("html-collect-pages", source_pages)
    return {"parallel_read_safe": False}
