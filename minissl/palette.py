"""Every color that we draw with, for white paper and for dark, and what else tells curves apart.

A figure is drawn in the light colors; ``minissl/page.py`` writes the dark ones into the SVG, too.
The six colors of curves have a contrast of 3:1 or more to their paper, and every two of them lie at
least 15 apart (CIEDE2000), also as people see them who lack one kind of cone. No curve is told by
its color alone: each place in the order has a line style and a marker of its own.
``tests/test_palette.py`` computes all this.
"""

from typing import Any

# ---- curves, in the order of places -------------------------------------------------------------

BLUE, RED, OCHRE = "#0b6bcb", "#b83d26", "#be8b00"
GREEN, PURPLE, GREY = "#37a376", "#582279", "#888e98"
SERIES = (BLUE, RED, OCHRE, GREEN, PURPLE, GREY)

# ---- surfaces, behind text or with an edge in the full color -------------------------------------

BLUE_TINT, RED_TINT, OCHRE_TINT = "#d7e6f7", "#f6d5cd", "#f5e6bd"
GREEN_TINT, PURPLE_TINT, GREY_TINT = "#cdebdc", "#e7d9ef", "#e8ecf1"
TINTS = dict(
    zip(SERIES, (BLUE_TINT, RED_TINT, OCHRE_TINT, GREEN_TINT, PURPLE_TINT, GREY_TINT), strict=True)
)

EDGES = {tint: color for color, tint in TINTS.items()}  # a surface alone is too pale to be seen

# Behind the black text of tokens, to tell neighbors apart: six of a terminal's 256 colors.
TOKENS = ("#afd7ff", "#ffd7af", "#d7ffd7", "#ffafd7", "#d7d7ff", "#ffffaf")

# ---- inks and papers, those of style.css ---------------------------------------------------------

PAPER, WELL, LINE = "#ffffff", "#f3f5f8", "#d8dee6"  # the page, a block on it, a rule or a grid
INK, SOFT_INK, BLACK = "#1c2430", "#5b6675", "#000000"  # black is what matplotlib takes unasked

DARK = {
    BLUE: "#6db3f8",
    RED: "#e46652",
    OCHRE: "#e6c044",
    GREEN: "#b3efc0",
    PURPLE: "#8e68c6",
    GREY: "#899098",
    BLUE_TINT: "#17375a",
    RED_TINT: "#55281f",
    OCHRE_TINT: "#4a3d14",
    GREEN_TINT: "#1d4a37",
    PURPLE_TINT: "#3f2b57",
    GREY_TINT: "#2b323c",
    PAPER: "#14181e",
    WELL: "#1d232b",
    LINE: "#323a45",
    INK: "#e6eaf0",
    SOFT_INK: "#9aa6b4",
    BLACK: "#e6eaf0",
}
"""Each color of a light page, and what stands for it on a dark one."""

BY_HAND = {PAPER: ("#fff", "white"), BLACK: ("#000", "black")}  # how people write them too

# ---- what tells curves apart without color -------------------------------------------------------

LINES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.6)),
    (0, (1.2, 1.2)),
    (0, (7, 1.6, 1.2, 1.6)),
    (0, (10, 2.4)),
    (0, (3, 1.2, 1.2, 1.2, 1.2, 1.2)),
)
MARKERS = ("o", "s", "^", "D", "v", "P")


def style(place: int, marker: bool = False) -> dict[str, Any]:
    """Color and line style of the curve at a place: ``axis.plot(x, y, **style(0))`` is the first.

    ``marker``: points are marked too. No two of the first 36 places are alike: from the seventh on
    the colors come again, with other lines and markers.
    """
    around, color = divmod(place, len(SERIES))
    form = (color + around) % len(LINES)
    chosen = {"color": SERIES[color], "linestyle": LINES[form]}
    return chosen | ({"marker": MARKERS[form], "markersize": 4} if marker else {})


def look(color: str, marker: bool = False) -> dict[str, Any]:
    """The style of a curve of that color: the same form wherever the color is drawn."""
    return style(SERIES.index(color), marker) if color in SERIES else {"color": color}
