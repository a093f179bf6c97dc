"""The built site in a browser, from its folder, without a network: what a student would see."""

import io
import shutil
from base64 import b64encode
from itertools import product
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH: apt-get install chromium"),
    pytest.mark.timeout(600),  # the first test of a run waits for the build
    pytest.mark.filterwarnings("default"),  # of playwright, not of ours
]

# What is wrong with the page that is open.
FAULTS = """async () => {
  if (window.MathJax?.startup?.promise) await MathJax.startup.promise;
  const faults = [], width = document.scrollingElement.scrollWidth;
  const all = (selector) => [...document.querySelectorAll(selector)];
  if (width > innerWidth) faults.push(`is ${width} pixels wide`);
  const content = document.querySelector(".content");  // on a phone this would scroll, not the page
  if (content.scrollWidth > content.clientWidth)
    faults.push(`has content of ${content.scrollWidth} pixels`);
  for (const box of all("article *")) {
    if (box.scrollWidth <= box.clientWidth + 1 || !box.clientWidth) continue;
    const style = getComputedStyle(box), name = `${box.tagName}.${box.className}`;
    if (/auto|scroll/.test(style.overflowX)) {
      if (!/local/.test(style.backgroundAttachment))
        faults.push(`does not show that ${name} scrolls`);
    } else if (/hidden|clip/.test(style.overflowX) && !box.closest("mjx-container"))
      faults.push(`cuts off ${name}`);
  }
  for (const image of all("img")) {
    try { await image.decode(); } catch (error) { faults.push(`does not show ${image.src}`); }
    if (!image.naturalWidth) faults.push(`shows nothing for ${image.src}`);
    if (image.closest("article") && !image.alt && !image.closest(".output"))
      faults.push(`describes ${image.src} to nobody`);
  }
  for (const formula of all("article .math"))
    if (!formula.querySelector("mjx-container svg"))
      faults.push(`raw formula ${formula.innerText}`);
  for (const error of all("mjx-merror, [data-mjx-error]"))
    faults.push(`broken formula ${error.textContent}`);
  const text = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (text.nextNode())
    if (/[$][^$]*\\\\[a-z]+/.test(text.currentNode.data)
        && !text.currentNode.parentElement.closest("pre, code, script, .math"))
      faults.push(`dollars that are no formula: ${text.currentNode.data}`);
  return faults;
}"""


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Root in a container has no sandbox of its own, and /dev/shm is small there.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        opened = playwright.chromium.launch(executable_path=BROWSER, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, site):
    """An empty page of a desk's width; console errors and foreign requests fail its test."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        opened = context.new_page()
        said = watch(opened, site)
        yield opened
        assert said == []


def watch(page, site):
    """Collects what goes wrong while pages load."""
    said = []

    def request(sent):
        inside = sent.url.startswith((site.as_uri() + "/", "data:", "blob:"))
        if not inside:
            said.append(f"asks for {sent.url}")

    page.on("request", request)
    page.on("requestfailed", lambda failed: said.append(f"does not get {failed.url}"))
    page.on("pageerror", lambda error: said.append(f"raises {error}"))
    page.on(
        "console",
        lambda message: message.type in ("error", "warning") and said.append(message.text),
    )
    return said


def pages(site):
    """All that differ in kind: of the listings of source files, which one template makes, those
    with the longest line and text at their depth, which decides how links begin (``test_links``
    reads them all)."""
    listings = site / "source"
    chosen = {path for path in site.rglob("*.html") if not path.is_relative_to(listings)}
    measures = (
        lambda path: max(map(len, path.read_text("utf-8").splitlines())),
        lambda path: path.stat().st_size,
    )
    depths: dict[int, list[Path]] = {}
    for path in sorted(listings.rglob("*.html")):
        depths.setdefault(len(path.parts), []).append(path)
    for paths in depths.values():
        chosen |= {max(paths, key=measure) for measure in measures}
    return sorted(chosen)


def test_every_page_on_a_phone(browser, site):
    faults = []
    with browser.new_context(viewport={"width": 390, "height": 800}) as context:
        page = context.new_page()
        said = watch(page, site)
        for path in pages(site):
            page.goto(path.as_uri())
            found = page.evaluate(FAULTS) + said
            faults += [f"{path.relative_to(site)} {fault}" for fault in found]
            said.clear()
    assert not faults, "\n".join(faults)


def test_source_links_land_on_the_definition(page, site):
    from playwright.sync_api import expect

    lectures = sorted((site / "lectures").glob("[0-9]*.html"))
    landed = 0
    for lecture in lectures[::4]:  # test_links follows those of all
        page.goto(lecture.as_uri())
        captions = page.locator(".source .code-block-caption a")
        if captions.count() == 0:
            continue
        caption = captions.last
        named = caption.inner_text()
        caption.click()
        page.wait_for_url("**/source/**")
        line = page.locator(".line:target")
        label, number = named.rsplit(":", 1)
        assert unquote(urlsplit(page.url).path).endswith(f"/source/{label}.html")
        words = line.inner_text().split()
        assert words[0] == number
        assert words[1] in ("def", "class") or "=" in words
        expect(line).to_be_in_viewport()  # after a smooth scroll
        landed += 1
    assert landed >= 2


def test_search_finds_the_temperature(page, site):
    page.goto((site / "index.html").as_uri())
    page.locator("input[name=q]").first.fill("temperature")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html*")
    page.locator("#search-results li a").first.wait_for()
    page.locator("#search-results .search-summary", has_text="found").wait_for()
    links = page.locator("#search-results li a")
    hits = links.evaluate_all("links => links.map(link => link.href)")
    lectures = [hit for hit in hits if "/lectures/" in hit]
    assert lectures
    page.goto(lectures[0])
    assert "temperature" in page.locator("article").inner_text().lower()


WIDE = {
    "table": ("benchmarks/results/gpt_step.html", "article .table-wrapper"),
    "formula": ("lectures/12_contrastive_learning.html", 'mjx-container[display="true"]'),
    "listing": ("lectures/12_contrastive_learning.html", ".listing pre"),
    "notebook": ("notebooks/03_subwords.html", ".cell_input pre"),
    "output": ("notebooks/03_subwords.html", ".cell_output pre"),
}


def test_a_shadow_says_where_there_is_more(browser, site):
    """At the edge behind which something is, the ground is another than in the middle."""
    faults = []
    phone = {"viewport": {"width": 390, "height": 800}, "reduced_motion": "reduce"}
    with browser.new_context(**phone) as context:
        page = context.new_page()
        for kind, (path, selector) in WIDE.items():
            if page.url != (site / path).as_uri():
                page.goto((site / path).as_uri())
                page.evaluate("window.MathJax?.startup?.promise")
            box = page.evaluate_handle(
                "chosen => [...document.querySelectorAll(chosen)]"
                ".find(box => box.scrollWidth > box.clientWidth + 40)",
                selector,
            ).as_element()
            for part, more in {0: ["right"], 0.5: ["left", "right"], 1: ["left"]}.items():
                box.evaluate("(b, p) => b.scrollLeft = p * (b.scrollWidth - b.clientWidth)", part)
                for scheme in ("light", "dark"):
                    page.emulate_media(color_scheme=scheme)
                    seen = shaded(box)
                    if seen != more:
                        faults.append(f"{scheme} {kind} at {part}: {seen}, expected {more}")
    assert not faults, "\n".join(faults)


def shaded(box):
    """The sides of a box where the ground is not that of its middle; letters are few."""
    image = np.asarray(Image.open(io.BytesIO(box.screenshot())).convert("L"), int)[4:-8]
    ground = np.median(image)
    sides = {"left": image[:, 1], "right": image[:, -2]}
    return [side for side, column in sides.items() if abs(np.median(column) - ground) > 12]


def test_pictures_follow_the_page(page, site):
    """An SVG that knows the dark has the reader's colors, whatever the system says."""
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><style>rect { fill: #fff }'
        "@media (prefers-color-scheme: dark) { rect { fill: #000 } }</style>"
        '<rect width="9" height="9"/></svg>'
    )
    page.goto((site / "notebooks" / "01_filling_in_the_blanks.html").as_uri())
    page.evaluate(
        "async address => { const image = new Image(); image.src = address; image.id = 'x';"
        " document.querySelector('article').prepend(image); await image.decode(); }",
        "data:image/svg+xml;base64," + b64encode(svg.encode()).decode(),
    )

    def light(selector, place):
        shot = page.locator(selector).first.screenshot()
        return Image.open(io.BytesIO(shot)).convert("L").getpixel(place)

    for system, theme in product(("light", "dark"), ("auto", "light", "dark")):
        page.emulate_media(color_scheme=system)
        page.evaluate("theme => document.body.dataset.theme = theme", theme)
        dark = "dark" in ((system,) if theme == "auto" else (theme,))
        assert light("#x", (4, 4)) == (0 if dark else 255), (system, theme)
        # What was drawn on white stays on it.
        card = page.locator(".cell_output img.card").first
        assert card.evaluate("n => getComputedStyle(n).backgroundColor") == "rgb(255, 255, 255)"


def test_dark_mode(page, site):
    def brightness(selector, what):
        color = page.locator(selector).first.evaluate(
            "(node, what) => getComputedStyle(node)[what].match(/[0-9.]+/g).map(Number)", what
        )
        return sum(color[:3]) / 3

    page.emulate_media(color_scheme="dark")
    page.goto(next(iter(sorted((site / "lectures").glob("[0-9]*.html")))).as_uri())
    assert brightness("body", "backgroundColor") < 60 < 180 < brightness("article p", "color")
    page.emulate_media(color_scheme="light")
    assert brightness("article p", "color") < 60 < 230 < brightness("body", "backgroundColor")
    page.locator(".theme-toggle:visible").first.click()
    themes = {page.evaluate("document.body.dataset.theme")}
    page.locator(".theme-toggle:visible").first.click()
    themes.add(page.evaluate("document.body.dataset.theme"))
    assert "dark" in themes
