"""The page and its figures: bytes that stay, and what a browser paints in light and in dark."""

import io
import re
import shutil
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest

from minissl.figures import new_figure
from minissl.page import Page, svg_bytes, with_dark
from minissl.palette import BLUE, DARK, INK, PAPER, RED

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
OTHER = "#abcdef"  # a color of no palette


def drawn(pixels=False):
    """A thick blue line, a red area, a word in black, and perhaps an image of pixels."""
    figure, (axis,) = new_figure(width=3, height=2)
    axis.plot([0, 1], [0, 1], color=BLUE, linewidth=12)
    axis.fill_between([0, 1], [0, 0], [0, 0.4], color=RED)
    axis.plot([0, 1], [1, 1], color=OTHER)
    axis.set_title("word", fontsize=40)
    if pixels:
        axis.imshow(np.eye(2), extent=(0, 1, 0, 1))
    return figure


def in_the_dark(svg):
    """Selector -> declarations of the rules for dark pages."""
    (sheet,) = re.findall(r'<style id="dark">(.*?)</style>', svg.decode(), flags=re.DOTALL)
    assert sheet.strip().startswith("@media (prefers-color-scheme: dark) {")
    rules = re.findall(r"^(\S.*?)\{(.*)\}$", sheet, flags=re.MULTILINE)
    return {one: what for selectors, what in rules for one in selectors.split(",")}


def test_the_dark_rules_are_those_of_the_palette():
    svg = svg_bytes(drawn())
    rules = in_the_dark(svg)
    assert rules[f'[style*="stroke: {BLUE}"]'] == f"stroke:{DARK[BLUE]}!important"
    assert rules[f'[style*="fill: {PAPER}"]'] == f"fill:{DARK[PAPER]}!important"
    assert OTHER in svg.decode()
    assert OTHER not in str(rules)
    assert not [one for one in rules if INK in one]  # no rule for what is not there
    ET.fromstring(svg)  # still XML


def test_light_is_unchanged_and_bytes_stay():
    svg = svg_bytes(drawn())
    assert svg == svg_bytes(drawn()) == with_dark(svg)
    plain = re.sub(rb'<style id="dark">.*?</style>\n', b"", svg, flags=re.DOTALL)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "minissl"}):
        drawn().savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    assert plain == buffer.getvalue()


def test_attributes_are_found_as_styles_are():
    rules = in_the_dark(
        with_dark(f'<svg><rect fill="{BLUE}" style="stroke:{RED}"/></svg>'.encode())
    )
    assert rules[f'[fill="{BLUE}"]'] == f"fill:{DARK[BLUE]}!important"
    assert rules[f'[style*="stroke:{RED}"]'] == f"stroke:{DARK[RED]}!important"


def test_white_and_black_are_found_as_people_write_them():
    svg = '<svg><g class="pixels"><rect fill="white"/></g><rect fill="white" stroke="#000"/></svg>'
    rules = in_the_dark(with_dark(svg.encode()))
    assert rules['[fill="white"]:not(.pixels *)'] == f"fill:{DARK[PAPER]}!important"
    assert rules['[stroke="#000"]:not(.pixels *)'] == f"stroke:{DARK['#000000']}!important"


def test_pixels_stay_on_white():
    assert b"prefers-color-scheme" not in svg_bytes(drawn(pixels=True))


@pytest.mark.parametrize("words", [(" ", "a line"), ("Read it like this.", "")])
def test_a_picture_without_a_reading_is_refused(words):
    with pytest.raises(ValueError, match="a figure needs a caption"):
        Page("A page").figure(drawn(), *words)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]  # as for the site
        opened = playwright.chromium.launch(executable_path=BROWSER, args=arguments)
        yield opened
        opened.close()


def painted(browser, html, scheme):
    """Every color that a page with one figure shows, and how many pixels have it."""
    from PIL import Image

    with browser.new_context(
        viewport={"width": 390, "height": 600}, color_scheme=scheme
    ) as context:
        page = context.new_page()
        page.set_content(html)
        page.evaluate("async () => await document.querySelector('img').decode()")
        picture = page.locator("img").screenshot(animations="disabled")
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).reshape(-1, 3)
    colors, counts = np.unique(pixels, axis=0, return_counts=True)
    return {"#{:02x}{:02x}{:02x}".format(*c): int(n) for c, n in zip(colors, counts)}


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH: apt-get install chromium")
@pytest.mark.filterwarnings("default")  # of playwright, not of ours
@pytest.mark.timeout(120)
def test_a_browser_paints_the_palette(browser):
    def page(**options):
        made = Page("A page")
        made.figure(drawn(**options), "Read it like this.", "a line")
        return made.html()

    seen = painted(browser, page(), "light")
    assert min(seen[PAPER], seen[BLUE], seen[RED]) > 1000
    seen = painted(browser, page(), "dark")
    assert min(seen[DARK[PAPER]], seen[DARK[BLUE]], seen[DARK[RED]]) > 1000
    assert not {PAPER, BLUE, RED} & seen.keys()
    assert seen[DARK["#000000"]] > 500  # letters, which have no color in the file

    seen = painted(browser, page(pixels=True), "dark")
    assert seen[PAPER] > 1000  # the card

    def toggled(scheme):
        return page().replace("<html", f'<html style="color-scheme: {scheme}"')

    assert DARK[BLUE] in painted(browser, toggled("dark"), "light")
    assert BLUE in painted(browser, toggled("light"), "dark")
