"""HTML out, everything else kept: by hand, and beside BeautifulSoup where it is installed."""

import random
import re
import string
import time
from html import escape

import pytest

from minissl.text.cleaning import BLOCKS, ELEMENTS, html_to_text

BY_HAND = {
    # entities: with and without a semicolon, numbers, odd ones; once only
    "Fish &amp; chips &lt;b&gt; &eacute;&#233;&#xE9; &quot;x&quot;": 'Fish & chips <b> ééé "x"',
    "&copy 2020 AT&T &ampamp; R&D &notit; 5 &lt 6": "© 2020 AT&T &amp; R&D ¬it; 5 < 6",
    "&#x80; &#0; &#xD800; &#99999999; &nosuch; &": "€ \ufffd \ufffd \ufffd &nosuch; &",
    "<p>a&nbsp;b &amp;lt;": "a\xa0b &lt;",
    "<p>&lt;b&gt;not a tag&lt;/b&gt;": "<b>not a tag</b>",
    # what is no tag
    "if a < b && c > d: x <y; y<=3 -> <3": "if a < b && c > d: x <y; y<=3 -> <3",
    "List<String> and <T> stay,\n  lines  too": "List<String> and <T> stay,\n  lines  too",
    "<p>a < b && c, List<String></p>": "a < b && c, List<String>",
    "<": "<", "a <b": "a <b", "<p>end <": "end <", "</": "</", "<>": "<>", "<!": "<!", "": "",
    # inline leaves no trace, blocks end lines
    "un<b>believ</b>able <I CLASS=x>two</I>": "unbelievable two",
    "<div>a</div><div>b</div>c": "a\nb\nc",
    "<h1>T</h1><p>a</p>\n\n<p>b\n b</p><ul> <li>x<li>y </ul>": "T\n\na\n\nb b\n\nx\ny",
    "a<br>b<br/><br />c": "a\nb\n\nc",
    "<div><div><p><div>a</div></p></div></div><p>b": "a\n\nb",
    "<table><tr><th>a</th> <th>b</th></tr>\n<tr><td>1<td>2</table>": "a\tb\n1\t2",
    "  <p>  a \t\n <b> b</b> <i> c</i></p>  ": "a b c",
    # pre keeps, without the line end after its tag
    "<pre>\n  x  =\t1\n\n y\n</pre>z": "  x  =\t1\n\n y\nz",
    "<p>a<pre> <b>b</b>\n</pre>": "a\n b\n",
    "<textarea>a\n  b</textarea>": "a\n  b",
    # what has no text
    "a<!-- <p> -- > -->b<!---->c<!DOCTYPE html><?xml version='1.0'?>d<![endif]>e": "abcde",
    "a<script>if (x<1) { '</b>' }</script>b<STYLE type=x>p > b {}</Style >c": "abc",
    "<title>T &amp; t</title><svg><path d='<'/><text>s</text></svg>": "T & t\ns",
    "<img alt='a > b' src=x>y<input value=\"<p>\">z": "yz",
    "<o:p>a</o:p><my-own x>b</my-own>": "ab",
    # broken
    "a<script>never closed <p>": "a", "a<!-- never closed": "a", "<p>a<style>": "a",
    "</div></p></pre>a</b></table>": "a",
    "<a href='x>y' title=don't>can't</a>": "can't",
    "<b><i>a</b>b</i>": "ab", "<a href=\"x>a <b>b</b>": "a b",
    "<![CDATA[x < <b>]]>y": "x < <b>y",
    "<p>\u200b\ufeffA🙂e\u0301</p>": "\u200b\ufeffA🙂e\u0301",
}  # fmt: skip


@pytest.mark.parametrize("html", BY_HAND, ids=range(len(BY_HAND)))
def test_by_hand(html):
    assert html_to_text(html) == BY_HAND[html]


def test_every_element_goes_and_blocks_end_lines():
    assert BLOCKS < ELEMENTS
    for name in ELEMENTS - {"script", "style", "br", "td", "th"}:
        between = html_to_text(f"a<{name}>b</{name}>c")
        assert between.replace("\n", "") == "abc", name
        assert ("\n" in between) == (name in BLOCKS), name
        assert html_to_text(f"x<{name.upper()} id='>'\n/>y").replace("\n", "") == "xy"


def test_a_text_without_markup_is_itself():
    draw = random.Random(0)
    letters = string.printable.replace("&", "")
    for _ in range(500):
        text = "".join(draw.choices(letters, k=60)).replace("<", "< ")
        assert html_to_text(text) == text
        assert html_to_text(escape(text)) == text
        inside = html_to_text(f"<pre>\n{escape(text)}</pre>")
        assert inside == text


def pieces(draw, count):
    """Markup and text at random: closed or not, nested or not, cut anywhere."""
    parts = ["<p>", "</p>", "<b class='x'>", "</b>", "<br>", "<div>", "</div>", "<td>", "<pre>",
             "<!-- c -->", "<script>s</script>", "</pre>", "&amp;", "&lt;", "&eacute;", " ", "\n",
             "word", "1.5", "<a href=\"x\">", "</a>", "<li>", "é"]  # fmt: skip
    return "".join(draw.choice(parts) for _ in range(count))


def test_the_same_words_as_beautiful_soup():
    bs4 = pytest.importorskip("bs4")
    draw = random.Random(1)
    for _ in range(400):
        html = f"<p>{pieces(draw, 40)}"
        soup = bs4.BeautifulSoup(html, "html.parser")
        for element in soup(["script", "style"]):
            element.decompose()
        expected = re.sub(r"\s+", "", soup.get_text())
        assert re.sub(r"\s+", "", html_to_text(html)) == expected, html


def test_nothing_is_an_error():
    draw = random.Random(2)
    broken = [
        "<",
        ">",
        "'",
        '"',
        "=",
        "/",
        "!",
        "-",
        "&",
        "#",
        ";",
        "<!--",
        "-->",
        "]]>",
        "<![CDATA[",
    ]
    for _ in range(2000):
        html = "".join(draw.choice([pieces(draw, 1), *broken]) for _ in range(30))
        text = html_to_text(html[draw.randrange(5) :])
        assert isinstance(text, str)
        text.encode()


@pytest.mark.parametrize(
    "part",
    ["<", "<a ", "<!--", '<a ="', "<a ='\"", "<?x", "<script>", "<![CDATA[", '<a b="" ', "&", "<p>",
     "<td>", "<br>", "</p", "<a =", "<svg>", "<!doctype ", "=", "<a " + "x=''" * 9],
)  # fmt: skip
def test_time_grows_with_the_length(part):
    start = time.perf_counter()
    html_to_text(part * (400_000 // len(part)))
    assert time.perf_counter() - start < 5  # a tenth as a rule; with its square it would be minutes
