"""The built site in a browser, from its folder, without a network: what a student would see."""

import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

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
