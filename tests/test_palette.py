"""Contrast and distance of the palette, computed from first principles: sRGB, light, XYZ, CIELAB.

Contrast is that of WCAG 2.2 (3:1 for what is drawn, 4.5:1 for text). Distance is CIEDE2000, where 1
is just seen between two large patches side by side. Thin curves and small points that lie apart
need several times that (Szafir 2018); 15 is what every pair of our six colors has, for usual eyes
and for eyes without one kind of cone (Machado, Oliveira and Fernandes 2009, severity 1).

For dark pages to reach the images on them, a page says its scheme. In style.css and in site.css:
    body { color-scheme: light }
    body[data-theme="dark"] { color-scheme: dark }
    @media (prefers-color-scheme: dark) { body:not([data-theme="light"]) { color-scheme: dark } }
(style.css has no toggle: ``:root { color-scheme: light dark }``). An <img> of an SVG follows it.
"""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from minissl import palette
from minissl.palette import DARK, SERIES, TINTS

ROOT = Path(__file__).parent.parent
FURO_DARK, FURO_DARK_TEXT = "#131416", "#cfd0d0"  # of the site's theme
LEAST_DISTANCE = 15
# The Y of a color are the weights of its luminance; D65.
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
EYES = {
    "all three cones": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
THEMES = {"light": lambda color: color, "dark": DARK.__getitem__}


# ---- how colors are seen ------------------------------------------------------------------------


def linear(color):
    """Red, green and blue light of "#rrggbb", 0 to 1."""
    coded = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """Of WCAG: 1 to 21."""
    dark, light = sorted(float([0.2126, 0.7152, 0.0722] @ linear(c)) for c in (one, other))
    return (light + 0.05) / (dark + 0.05)


def lab(light):
    ratio = XYZ @ np.clip(light, 0, 1) / XYZ.sum(axis=1)
    small = ratio <= (6 / 29) ** 3
    x, y, z = np.where(small, ratio / (3 * (6 / 29) ** 2) + 4 / 29, np.cbrt(ratio))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def ciede2000(one, other):
    """The distance of two colors in CIELAB, as written down by Sharma, Wu and Dalal (2005)."""
    mean_chroma = (np.hypot(*one[1:]) + np.hypot(*other[1:])) / 2
    stretch = 1.5 - 0.5 * np.sqrt(mean_chroma**7 / (mean_chroma**7 + 25.0**7))
    (l1, a1, b1), (l2, a2, b2) = one, other
    c1, c2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    h1, h2 = (
        np.degrees(np.arctan2(b, stretch * a)) % 360 if c else 0.0
        for a, b, c in ((a1, b1, c1), (a2, b2, c2))
    )
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    hue = h1 + turn / 2 if c1 * c2 else h1 + h2
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    weight = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    by_l = (l2 - l1) / (1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2))
    by_c = (c2 - c1) / (1 + 0.045 * chroma)
    by_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * chroma * weight)
    blues = 60 * np.exp(-((((hue % 360) - 275) / 25) ** 2))
    rotation = -2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7)) * np.sin(np.radians(blues))
    return float(np.sqrt(by_l**2 + by_c**2 + by_h**2 + rotation * by_c * by_h))


def seen(color, eyes):
    return lab(EYES[eyes] @ linear(color))


# ---- these functions are right ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [  # of the table of Sharma, Wu and Dalal (2005)
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
        ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
        ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0011), 7.2195),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((50.0, 2.5, 0.0), (56.0, -27.0, -3.0), 31.9030),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_distance_is_that_of_the_published_table(one, other, distance):
    assert ciede2000(one, other) == pytest.approx(distance, abs=5e-5)


def test_colors_are_seen_as_published_libraries_say():
    """colour-science 0.4.7 for the distance, colorspacious 1.1.2 for missing cones (in light)."""
    blue, red = seen("#0b6bcb", "all three cones"), seen("#b83d26", "all three cones")
    assert ciede2000(blue, red) == pytest.approx(45.13, abs=0.01)
    for eyes, light in {
        "protanopia": (0.0329205, 0.17523991, 0.62116773),
        "deuteranopia": (0.0, 0.12812843, 0.58489126),
        "tritanopia": (0.0, 0.22474008, 0.28315526),
    }.items():
        np.testing.assert_allclose(
            np.clip(EYES[eyes] @ linear("#0b6bcb"), 0, 1), light, atol=1e-7, err_msg=eyes
        )
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # the known near miss


# ---- and the palette passes ---------------------------------------------------------------------


@pytest.mark.parametrize("theme", THEMES)
def test_what_is_drawn_stands_out_from_its_paper(theme):
    shown = THEMES[theme]
    papers = [shown(palette.PAPER)] + [FURO_DARK] * (theme == "dark")
    for paper in papers:
        for color in SERIES:
            assert contrast(shown(color), paper) >= 3, (color, paper)
        for ink in (palette.INK, palette.SOFT_INK, palette.BLACK):
            assert contrast(shown(ink), paper) >= 4.5, (ink, paper)
    for surface in (palette.WELL, *TINTS.values()):
        assert contrast(shown(palette.INK), shown(surface)) >= 4.5, surface
    assert contrast(shown(palette.SOFT_INK), shown(palette.WELL)) >= 4.5


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("theme", THEMES)
def test_every_two_curves_are_told_apart_by_every_eye(theme, eyes):
    shown = THEMES[theme]
    for one, other in itertools.combinations(SERIES, 2):
        distance = ciede2000(seen(shown(one), eyes), seen(shown(other), eyes))
        assert distance >= LEAST_DISTANCE, f"{shown(one)} and {shown(other)}: {distance:.1f}"


def test_the_colors_before_would_have_failed():
    """Green and red were one color to the most frequent kind of color-blindness, ochre was pale."""
    assert ciede2000(seen("#2e8b57", "deuteranopia"), seen("#c2452d", "deuteranopia")) < 15
    assert contrast("#c9a227", "#ffffff") < 3


def test_no_curve_is_told_by_color_alone():
    places = [palette.style(place, marker=True) for place in range(36)]
    assert len({(p["color"], str(p["linestyle"])) for p in places}) == 36
    assert len({(p["color"], p["marker"]) for p in places}) == 36
    for start in range(0, 36, 6):  # neighbours in the order, without their color
        assert len({str(p["linestyle"]) for p in places[start : start + 6]}) == 6
        assert len({p["marker"] for p in places[start : start + 6]}) == 6


def test_each_color_has_one_dark_one():
    """The light one is found in the text of an SVG: it has to be written in one way."""
    named = {v for k, v in vars(palette).items() if k.isupper() and isinstance(v, str)}
    assert named == DARK.keys()
    for color in (*DARK, *DARK.values()):
        assert re.fullmatch("#[0-9a-f]{6}", color)


def test_the_style_sheet_has_the_same_inks_and_papers():
    sheet = (ROOT / "minissl" / "style.css").read_text(encoding="utf-8")
    light, dark = sheet.split("@media (prefers-color-scheme: dark)")
    for name in ("INK", "PAPER", "SOFT_INK", "LINE", "WELL"):
        color = getattr(palette, name)
        variable = f"--{name.removesuffix('_INK').lower()}"
        assert (variable, color) in re.findall(r"(--\w+): (#\w+);", light)
        assert (variable, DARK[color]) in re.findall(r"(--\w+): (#\w+);", dark)


def test_no_color_is_written_elsewhere():
    """A hexadecimal color in a string: "#rgb" alone, or "#rrggbb" anywhere."""
    color = re.compile(r"#[0-9a-fA-F]{6}\b|(?<=[\"':])#[0-9a-fA-F]{3}(?=[\"';])")
    assert color.findall("""'color:#666;'  "#0b6bcb" '#eee' "##aff" issue #123""") == [
        "#666", "#0b6bcb", "#eee",
    ]  # fmt: skip
    files = [f for room in ("minissl", "benchmarks") for f in (ROOT / room).rglob("*.py")]
    files.remove(ROOT / "minissl" / "palette.py")
    found = {str(f.relative_to(ROOT)): color.findall(f.read_text(encoding="utf-8")) for f in files}
    assert {file: colors for file, colors in found.items() if colors} == {}
