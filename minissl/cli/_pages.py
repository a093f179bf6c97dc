"""The pages of the course away from the site: source and claims filled in, answers left out."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path

from minissl.claims.report import details, headline
from minissl.course import BRACKETED, Page, folder, from_the_top, mapped, unlinked
from minissl.homework.answers import Graded, inside, written_by_hand
from minissl.places import find
from minissl.reading import read_json

_DIRECTIVE = re.compile(r"```\{(source|claim)\} (\S+)\n(:nodoc:\n)?```")
_ROLE = re.compile(r"\{source\}`([^`]+)`")
_PICTURE = re.compile(rf"!\[({BRACKETED})\]\(([^()\s]+)\)")
_WIDTH = 100
FOLD = re.compile(r"<details><summary>(.*?)</summary>\n+(.*?)</details>\n", re.DOTALL)
_FOLDED = "The numbers, what was expected of them, and how it was run"


def to_read(page: Page, text: str, answers: bool = False) -> str:
    """A page, or a part of its text, for a terminal: a picture is named by where it lies.

    Of what the site folds, the answers to its questions, the first line alone, unless ``answers``.
    """

    def unfolded(found: re.Match[str]) -> str:
        question = f"**{re.sub('</?code>', '`', found[1])}**\n"
        return f"{question}\n{found[2]}" if answers else question

    def picture(found: re.Match[str]) -> str:
        place = folder() / from_the_top(page.within, found[2])
        return _figure(" ".join(found[1].split()), place)

    def prose(part: str) -> str:
        return unlinked(_PICTURE.sub(picture, _roles(part)), page.within)

    def block(code: str) -> str:
        directive = _DIRECTIVE.fullmatch(code)
        if directive is None or directive[1] == "source":
            return _code(code, directive)
        name = directive[2]
        said, numbers = map(_filled, _claim(name))
        place = folder() / "lectures" / "claims" / f"{name}.svg"
        return f"{said}\n\n{_figure(f'of the claim {name}', place)}\n\n{numbers}"

    return mapped(FOLD.sub(unfolded, text), prose, block)


def to_files(pages: Sequence[Page]) -> dict[str, bytes]:
    """Pages with their pictures and notebooks, by their paths in the repository, for any viewer."""
    top = folder()
    files: dict[str, bytes] = {}
    for page in pages:
        own = {path.relative_to(top).as_posix(): path for path in _beside(page)}
        files[page.path.relative_to(top).as_posix()] = _to_view(page, own).encode()
        files |= {name: path.read_bytes() for name, path in own.items()}
    return files


def _to_view(page: Page, kept: Collection[str]) -> str:
    """The Markdown of a page beside which lies what is ``kept``, and nothing else."""

    def prose(part: str) -> str:
        return unlinked(_roles(part), page.within, kept=kept)

    def block(code: str) -> str:
        directive = _DIRECTIVE.fullmatch(code)
        if directive is None or directive[1] == "source":
            return _code(code, directive)
        said, numbers = _claim(directive[2])
        picture = f"![The figure of the claim](claims/{directive[2]}.svg)"
        fold = f"<details><summary>{_FOLDED}</summary>\n\n{numbers}\n</details>"
        return f"{said}\n{picture}\n\n{fold}"

    return mapped(page.text, prose, block)


def _beside(page: Page) -> list[Path]:
    """The files of a page's pictures, of those of its claims, and its notebook."""
    names = [from_the_top(page.within, found[2]) for found in _PICTURE.finditer(page.text)]
    claims = [found[2] for found in _DIRECTIVE.finditer(page.text) if found[1] == "claim"]
    names += [f"lectures/claims/{name}.svg" for name in claims]
    paths = [*(folder() / name for name in names), *filter(None, [page.notebook])]
    return [path for path in paths if path.is_file()]


def _roles(text: str) -> str:
    """``{source}`module:name` `` as file and line."""

    def place_of(found: re.Match[str]) -> str:
        place = find(found[1])
        return f"`{place.label}{f':{place.line}' if ':' in found[1] else ''}`"

    return _ROLE.sub(place_of, text)


def _code(code: str, directive: re.Match[str] | None) -> str:
    """A block of code, or the source that a directive names, without the answers of homework."""
    if directive:
        return f"```python\n{source(directive[2], bool(directive[3]))}\n```"
    if code.startswith("```python\n") and (answers := written_by_hand(code[10:-3])):
        return f"```python\n{_yours(answers)}\n```"
    return code


def source(target: str, without_docstring: bool = False) -> str:
    """The lines of "module:name" under a line that says where; bodies of graded functions are left
    to the reader.
    """
    place = find(target)
    lines = place.path.read_text(encoding="utf-8").splitlines()
    bodies = {n: one for one in inside(place) for n in one.place.body}
    shown, told = [f"# {place.label}:{place.line}"], set()
    for number in range(place.first, place.last + 1):
        answer = bodies.get(number)
        if without_docstring and number in place.docstring:
            continue
        if answer is None:
            shown.append(lines[number - 1])
        elif answer.task not in told:
            told.add(answer.task)
            indent = len(lines[number - 1]) - len(lines[number - 1].lstrip())
            shown.append(" " * indent + _yours([answer]))
    return "\n".join(shown)


def _yours(answers: Sequence[Graded]) -> str:
    return f"# yours to write: {'; '.join(one.title for one in answers)}"


def _claim(name: str) -> tuple[str, str]:
    """What must be seen of a kept result, and what it rests on."""
    path = folder() / "lectures" / "claims" / f"{name}.json"
    measured = read_json(path, "a kept claim", {"statement": str})
    return headline(measured), details(measured)


def _filled(text: str) -> str:
    """Paragraphs that are one long line, in lines that fit; tables stay."""
    lines = text.strip().splitlines()
    return "\n".join(x if x.startswith("|") else textwrap.fill(x, _WIDTH) for x in lines)


def _figure(about: str, path: Path) -> str:
    place = f"\n    {path}" if path.is_file() else ""
    return f"{textwrap.fill(f'[Figure: {about}]', _WIDTH)}{place}"
