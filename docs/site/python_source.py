"""The source on the site: what a file is called there, and its lines, highlighted."""

from functools import cache
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def label(path: Path) -> str:
    """A path of the repository as the site writes it."""
    return path.relative_to(ROOT).as_posix().removeprefix("kernels/")


@cache
def highlighted_lines(path: Path) -> list[str]:
    """Each line of a file as HTML."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import TextLexer, get_lexer_for_filename
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_for_filename(path.name, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    text = path.read_text(encoding="utf-8")
    return highlight(text, lexer, HtmlFormatter(nowrap=True)).splitlines()


def listing(
    path: Path, numbers: list[int], page: str, anchors: bool = False, width: int = 0
) -> str:
    """Lines of a file as an HTML block; each number links to its line on ``page``.

    ``width``: the columns of a number; 0: those of the last one.
    """
    lines = highlighted_lines(path)
    width = width or (len(str(numbers[-1])) if numbers else 1)
    rows = [
        f'<span class="line"{f""" id="L{n}" """.rstrip() if anchors else ""}>'
        f'<a class="number" href="{escape(page)}#L{n}">{n:>{width}}</a>  {lines[n - 1]}</span>'
        for n in numbers
    ]
    return (
        '<div class="highlight notranslate listing"><div class="highlight">'
        f'<pre tabindex="0">{chr(10).join(rows)}\n</pre></div></div>'
    )
