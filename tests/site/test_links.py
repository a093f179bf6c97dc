"""What can be said of the built site without a browser: every link lands, nothing is fetched."""

import re
from html import unescape
from pathlib import PurePosixPath
from posixpath import normpath
from urllib.parse import unquote, urlsplit

import pytest

from docs.site import notebooks
from docs.site.python_source import ROOT
from minissl.homework.assignments import assignment_numbers, load_assignment

pytestmark = pytest.mark.timeout(600)  # the first test of a run waits for the build

ATTRIBUTE = re.compile(r'<([a-z]+)\b[^<>]*?\s(href|src|data)="([^"]*)"')
IDENTIFIER = re.compile(r'\s(?:id|name)="([^"]+)"')


@pytest.fixture(scope="module")
def html(site):
    """Each page's text by its path below the site."""
    return {p.relative_to(site).as_posix(): p.read_text("utf-8") for p in site.rglob("*.html")}


def links(html):
    """(page, tag, attribute, address) of every link and resource."""
    for page, text in html.items():
        for tag, attribute, address in ATTRIBUTE.findall(text):
            yield page, tag, attribute, unescape(address)


def test_every_link_lands(site, html):
    files = {p.relative_to(site).as_posix() for p in site.rglob("*") if p.is_file()}
    anchors = {page: set(map(unescape, IDENTIFIER.findall(text))) for page, text in html.items()}
    bad = set()
    for page, _, _, address in links(html):
        parts = urlsplit(address)
        if parts.scheme:
            continue
        path = unquote(parts.path)
        target = normpath(PurePosixPath(page).parent / path) if path else page
        wanted = unquote(parts.fragment)
        if target not in files or (wanted and target in anchors and wanted not in anchors[target]):
            bad.add(f"{page}: {address}")
    assert not bad


def test_nothing_is_fetched_from_elsewhere(site, html):
    loaded = [
        (page, address)
        for page, tag, attribute, address in links(html)
        if (tag != "a" and attribute != "data") and not address.startswith("data:")
        if urlsplit(address).scheme or address.startswith("//")
    ]
    assert not [(page, address) for page, address in loaded if "schema" not in address]
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"url\(['\"]?(?:https?:)?//|@import", sheet.read_text("utf-8")), sheet


def test_every_caption_leads_to_the_line_of_its_definition(html):
    captions = re.compile(r'code-block-caption"><a href="([^"]+)#(L\d+)"><code>[^<]+:(\d+)</code>')
    line_of = r'<span class="line" id="{}">(.*?)(?=<span class="line"|</pre>)'
    seen = 0
    for page, text in html.items():
        for path, anchor, number in captions.findall(text):
            target = html[normpath(PurePosixPath(page).parent / path)]
            (line,) = re.findall(line_of.format(anchor), target, re.DOTALL)
            words = unescape(re.sub("<[^>]+>", "", line)).split()
            assert words[0] == number
            assert words[1] in ("def", "class") or "=" in words, (page, words)
            seen += 1
    assert seen >= 20


def test_every_part_of_the_course_is_there(html):
    front = html["index.html"]
    parts = [
        *ROOT.glob("lectures/[0-9]*.md"),
        *notebooks.sources(),
        *ROOT.glob("minissl/homework/handouts/hw*.md"),
    ]
    article = front[front.index("<article") : front.index("</article")]
    for path in parts:
        assert f'href="{path.relative_to(ROOT).with_suffix(".html").as_posix()}"' in article


@pytest.mark.parametrize("number", assignment_numbers())
def test_a_handout_has_the_table_of_its_tasks(html, number):
    page = html[f"minissl/homework/handouts/hw{number}.html"]
    rows = re.findall(r"<tr\b.*?</tr>", page, flags=re.DOTALL)
    for task in load_assignment(number).tasks:
        (row,) = (row for row in rows if f"<p>{task.number}</p>" in row)
        words = unescape(re.sub(r"<[^>]+>", " ", row)).split()
        assert {task.label, str(task.points)} <= set(words)


def test_every_module_is_in_the_reference(html):
    reference = "".join(text for page, text in html.items() if page.startswith("api/"))
    for name in (
        "minissl.autograd.tensor.Tensor.backward",
        "minissl.losses.contrastive.nt_xent",
        "minissl.nn.transformer.TransformerConfig",
        "minissl_kernels.attention.operator.attention",
    ):
        assert f'id="{name}"' in reference
    assert "_power_of_tensors" not in reference
