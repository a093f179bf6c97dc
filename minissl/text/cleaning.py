"""HTML out, everything else kept: the text of a page, as a browser would copy it.

Pages are most of what large language models read. Case, punctuation, numbers, odd spellings and
characters stay: they are what a model is to learn. Lecture 03. Blocks, lines and cells become about
what ``innerText`` of a browser makes of them (HTML Living Standard, "The innerText getter"), less
empty lines; entities are read by Python's own ``html.unescape``.

Not here: which parts of a page are its content (menus and footers stay), what a style hides, JSON
or templates in scripts, and which pages are worth reading.
"""

import re
from html import unescape

# Only these are tags, and names with "-" or ":", which are somebody's own: a List<String> stays.
ELEMENTS = frozenset(
    """a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big
    blink blockquote body br button canvas caption center cite code col colgroup data datalist dd
    del details dfn dialog dir div dl dt em embed fieldset figcaption figure font footer form frame
    frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe image img input ins kbd keygen
    label legend li link listing main map mark marquee math menu menuitem meta meter nav nobr
    noembed noframes noscript object ol optgroup option output p param picture plaintext pre
    progress q rb rp rt rtc ruby s samp script search section select slot small source span strike
    strong style sub summary sup svg table tbody td template textarea tfoot th thead time title tr
    track tt u ul var video wbr xmp""".split()
)
BLOCKS = frozenset(
    """address article aside blockquote body caption center dd details dialog dir div dl dt fieldset
    figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html legend li
    listing main menu nav noframes ol optgroup option p plaintext pre search section summary table
    tbody textarea tfoot thead title tr ul xmp""".split()
)
AS_TYPED = frozenset(["listing", "plaintext", "pre", "textarea", "xmp"])  # spaces and lines stay
_FOREIGN = ("svg", "math")  # with elements of their own

# The rest of a tag, up to its ">": that may stand in quotes. Nothing is tried twice (?>, *+), so
# that time grows with the length of a page, however broken it is.
_REST = r"""(?>=\s*"[^"]*"|=\s*'[^']*'|[^<>])*+>"""
_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)"
    r"|<!\[CDATA\[(?P<as_is>.*?)(?:\]\]>|\Z)"
    r"|<(?:!doctype|!\[|\?[a-z])[^<>]*>"
    rf"|<(?P<skipped>script|style)(?=[\s/>]){_REST}.*?(?:</(?P=skipped)\s*+>|\Z)"
    rf"|<(?P<end>/?)(?P<name>[a-z][^\s/<>]*+){_REST}",
    re.IGNORECASE | re.DOTALL,
)
_SPACES = re.compile("[ \t\n\r\f]+")


def html_to_text(html: str) -> str:
    """The text of a page, or of a piece of one: tags, comments, scripts and styles are left out.

    Entities become characters, also without a semicolon where HTML allows that. Blocks (div, li,
    h1, tr, ...) and br end a line, a p has a blank line around it, cells of a table a tab between
    them; other tags leave no trace: "un<b>believ</b>able" is one word. Spaces and line ends are one
    space, except in pre. Nothing is an error: what is no tag, such as "a < b && c > d", stays. A
    text without any markup keeps its spaces and lines.

    Example: "<p>Fish &amp; chips<br>Tea</p>" gives "Fish & chips", a line end, "Tea".
    """
    page = _Page()
    place = 0
    for match in _MARKUP.finditer(html):
        if page.is_tag(match):
            page.text(html[place : match.start()])
            page.markup(match)
            place = match.end()
    if not place:
        return unescape(html)
    page.text(html[place:])
    return "".join(page.parts)


class _Page:
    """What has been read of a page, and what is owed before more is written."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.lines = 0  # line ends that the next text must have before it
        self.gap = ""  # what it has before it on the same line: a space, a tab or nothing
        self.as_typed = self.foreign = 0  # elements that are open
        self.just_opened = False  # one of the first kind

    def is_tag(self, match: re.Match[str]) -> bool:
        name = (match["name"] or "").lower()
        return not name or name in ELEMENTS or "-" in name or ":" in name or self.foreign > 0

    def markup(self, match: re.Match[str]) -> None:
        if match["as_is"]:
            self.write(match["as_is"])
        if not match["name"]:
            return
        name, opens = match["name"].lower(), not match["end"]
        change = 1 if opens else -1
        if name in _FOREIGN and not match.group().endswith("/>"):
            self.foreign = max(0, self.foreign + change)
        if name in AS_TYPED:
            self.as_typed = max(0, self.as_typed + change)
            self.just_opened = opens
        if name in BLOCKS:
            self.lines, self.gap = max(self.lines, 2 if name == "p" else 1), ""
        elif name == "br":
            self.gap = ""
            self.write("\n")
        elif name in ("td", "th") and opens:
            self.gap = "\t"

    def text(self, raw: str) -> None:
        """What stands between two tags."""
        text = unescape(raw)
        if self.as_typed:
            if self.just_opened:
                text = text.removeprefix("\r").removeprefix("\n")  # so HTML has it
            if text:
                self.write(text)
            self.just_opened = False
            return
        text = _SPACES.sub(" ", text)
        if text.startswith(" "):
            self.gap = self.gap or " "
        if words := text.strip(" "):
            self.write(words)
            self.gap = " " if text.endswith(" ") else ""

    def write(self, text: str) -> None:
        """The text, after the line ends or the space that are owed."""
        ended = self.ended()
        before = "\n" * (self.lines - ended) or ("" if ended or self.lines else self.gap)
        if before and self.parts:
            self.parts.append(before)
        self.parts.append(text)
        self.lines, self.gap = 0, ""

    def ended(self) -> int:
        """How many line ends the last of what was written has, two at most."""
        last = "".join(self.parts[-2:])[-2:]  # no part is empty
        return len(last) - len(last.rstrip("\n"))
