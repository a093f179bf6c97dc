"""One self-contained HTML page: text, tables and figures inside the file, nothing fetched."""

import base64
import html
import io
import re
from pathlib import Path
from typing import Any

from minissl.palette import BLACK, BY_HAND, DARK, PAPER

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


# What no page may hold: control characters, and halves of a character, as of a name in bytes that
# are no UTF-8.
NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def escape(text: str) -> str:
    """Text for a page: nothing in it becomes HTML, and what is no text is shown as U+FFFD."""
    return html.escape(NO_TEXT.sub("\ufffd", text))


class Page:
    """Collects parts in order; ``html()`` is the finished page. All but ``raw`` is escaped."""

    def __init__(self, title: str):
        self.title = title
        self.parts: list[str] = [f"<h1>{escape(title)}</h1>"]

    def heading(self, text: str) -> None:
        """A section begins."""
        self.parts.append(f"<h2>{escape(text)}</h2>")

    def text(self, text: str, soft: bool = False) -> None:
        """A paragraph; ``soft`` for what only some readers need."""
        self.parts.append(f"<p{' class=soft' if soft else ''}>{escape(text)}</p>")

    def code(self, text: str) -> None:
        """Text as it is, in a fixed-width font."""
        self.parts.append(f"<pre>{escape(text)}</pre>")

    def raw(self, made: str) -> None:
        """HTML made elsewhere in this library."""
        self.parts.append(made)

    def table(
        self, header: list[str], rows: list[list[str]], best: int | None = None,
        *, wrapped: bool = False,
    ) -> None:  # fmt: skip
        """A table of strings; row number ``best`` stands out. ``wrapped``: of texts."""
        head = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in header)
        head = f"<thead><tr>{head}</tr></thead>" if any(header) else ""
        body = "".join(
            f"<tr{' class=best' if i == best else ''}>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in row)
            + "</tr>"
            for i, row in enumerate(rows)
        )
        self.parts.append(
            f"<div class=scroll><table{' class=texts' if wrapped else ''}>"
            f"{head}<tbody>{body}</tbody></table></div>"
        )

    def figure(self, figure: Any, caption: str, description: str) -> None:
        """A matplotlib figure as SVG inside the page, and below it how to read it.

        ``caption``: what the axes and marks are, and what is seen; ``description`` is for who
        cannot see it. ValueError without either.
        """
        if not (caption.strip() and description.strip()):
            raise ValueError(
                f"a figure needs a caption (how to read it, what is seen) and a description for "
                f"who cannot see it; got {caption!r} and {description!r}"
            )
        data = base64.b64encode(svg_bytes(figure)).decode()
        most = 120 * figure.get_figwidth()  # pixels: a small one is not blown up
        self.parts.append(
            f'<figure><img style="max-width:{most:.0f}px" src="data:image/svg+xml;base64,{data}" '
            f'alt="{escape(description)}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )

    def html(self) -> str:
        """The whole page."""
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{STYLE}</style></head>"
            f"<body>{''.join(self.parts)}</body></html>\n"
        )


def svg_bytes(figure: Any) -> bytes:
    """A matplotlib figure as SVG, for light and dark pages; the same bytes for the same figure."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "minissl"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return with_dark(buffer.getvalue())


def with_dark(svg: bytes) -> bytes:
    """An SVG whose colors are those of ``palette`` also for dark pages; any other color stays.

    A style sheet at its beginning, which only a browser in dark mode obeys, exchanges the colors.
    An SVG with an image of pixels stays as it is, on white in both: its pixels would not follow.
    Where squares are pixels, put them in ``<g class="pixels">``: their colors stay. Twice is as
    good as once.
    """
    text = re.sub(r'<style id="dark">.*?</style>\n', "", svg.decode("utf-8"), flags=re.DOTALL)
    if "<image" in text:
        return text.encode("utf-8")
    # What has no fill of its own is black, as matplotlib's letters are: it inherits the ink.
    rules = [f"svg{{background:{DARK[PAPER]};fill:{DARK[BLACK]}}}"]
    for light, dark in DARK.items():
        for name in ("fill", "stroke"):
            inside = [f"{name}: {light}", f"{name}:{light}"]
            where = [f'[style*="{one}"]' for one in inside if one in text]
            written = (light, *BY_HAND.get(light, ()))
            where += [f'[{name}="{one}"]' for one in written if f'{name}="{one}"' in text]
            if where:
                outside = ":not(.pixels *)" * ('class="pixels"' in text)
                selectors = ",".join(one + outside for one in where)
                rules.append(f"{selectors}{{{name}:{dark}!important}}")
    sheet = "@media (prefers-color-scheme: dark) {\n" + "\n".join(rules) + "\n}"
    block = f'<style id="dark">\n{sheet}\n</style>\n'
    return re.sub(r"<svg\b[^>]*>\n?", lambda tag: tag[0] + block, text, count=1).encode("utf-8")
