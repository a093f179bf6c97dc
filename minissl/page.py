"""One self-contained HTML page: text, tables and figures inside the file, nothing fetched."""

import base64
import io
from html import escape
from pathlib import Path
from typing import Any

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


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

    def raw(self, html: str) -> None:
        """HTML made elsewhere in this library."""
        self.parts.append(html)

    def table(
        self, header: list[str], rows: list[list[str]], best: int | None = None,
        *, wrapped: bool = False,
    ) -> None:  # fmt: skip
        """A table of strings; row number ``best`` stands out. ``wrapped``: of texts."""
        head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
        body = "".join(
            f"<tr{' class=best' if i == best else ''}>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in row)
            + "</tr>"
            for i, row in enumerate(rows)
        )
        self.parts.append(
            f"<div class=scroll><table{' class=texts' if wrapped else ''}>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def figure(self, figure: Any, caption: str, description: str) -> None:
        """A matplotlib figure as SVG inside the page. ``description`` is for who cannot see it."""
        data = base64.b64encode(svg_bytes(figure)).decode()
        self.parts.append(
            f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{escape(description)}">'
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
    """A matplotlib figure as SVG, the same bytes for the same figure."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "minissl"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return buffer.getvalue()
