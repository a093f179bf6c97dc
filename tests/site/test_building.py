"""What the build says of a lecture that names what is gone, and how it reads source and text."""

import importlib
import re
import subprocess
import sys
from html import unescape

import pytest

from docs.site.__main__ import build
from docs.site.api import to_markdown
from docs.site.pages import HERE, Pages, markdown
from docs.site.python_source import ROOT, listing
from minissl.claims.claim import Cell, Claim, Expectation, Measured
from minissl.claims.run import run_claim
from minissl.figures import new_figure
from minissl.places import NameGone, find

# Of Sphinx and its extensions, which use what Sphinx 11 will drop.
pytestmark = pytest.mark.filterwarnings("ignore")

GOOD = """# A lecture

```{source} minissl.losses.contrastive:nt_xent
:nodoc:
```

See {source}`minissl.losses.contrastive:nt_xent`, [the file](../minissl/losses/contrastive.py), and
`minissl/autograd/elementwise.py`; [the tests](../tests/losses). Also $x^2$. And
`../lectures/index.md` is
no path from the top.
This is lecture 01; lectures 02 and 05 are others, 01 and 05 are numbers.
![drawn on white](day.svg) ![drawn for the dark too](night.svg)

```{claim} small
```
"""
GONE = """# A lecture

```{source} minissl.losses.contrastive:no_such_loss
```

```{source} minissl.no_such_module:nt_xent
```

{source}`minissl.losses.contrastive:no_such_role`

```{claim} no-such-claim
```

[a file](../minissl/no_such_file.py)

![a picture](figures/no_such_picture.svg)
"""


@pytest.fixture
def claims(tmp_path):
    """A folder with one kept claim."""
    claim = Claim(
        name="small",
        title="Small",
        statement="Two is more than one.",
        lecture="01, section 1",
        measure=lambda setup: Measured({"ours": {"size": 2.0}, "theirs": {"size": 1.0}}),
        expectations=[Expectation(Cell("ours", "size"), Cell("theirs", "size"), 0.5)],
        figure=lambda measured, settings: new_figure()[0],
        scales={"small": {}},
    )
    run_claim(claim, tmp_path / "claims", progress=False)
    return tmp_path / "claims"


def small_site(text):
    pages = Pages()
    pages.add("Lectures", "lectures/01_small.md", text)
    pages.add("Lectures", "lectures/05_other.md", "# Other\n\nSee lecture 01.\n")
    entries = "\n".join(pages.menu["Lectures"])
    pages.texts["index.md"] = f"# Front\n\n```{{toctree}}\n{entries}\n```\n"
    return pages


def test_directives_show_what_they_name(tmp_path, claims):
    out = tmp_path / "site"
    pages = small_site(GOOD)
    shape = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">{}</svg>'
    dark = "<style>@media (prefers-color-scheme: dark) {rect {fill: #000}}</style>"
    for name, style in (("day", ""), ("night", dark)):
        pages.files[f"lectures/{name}.svg"] = tmp_path / f"{name}.svg"
        (tmp_path / f"{name}.svg").write_text(shape.format(style), "utf-8")
    assert build(pages, tmp_path / "work", out, claims_folder=str(claims)) == 0
    page = (out / "lectures" / "01_small.html").read_text("utf-8")
    line = find("minissl.losses.contrastive:nt_xent").line
    label = f"minissl/losses/contrastive.py:{line}"
    link = f"../source/minissl/losses/contrastive.py.html#L{line}"
    assert page.count(f'href="{link}"') >= 3  # the caption, the number, the role
    assert page.count(label) == 2
    assert "The SimCLR paper" not in page  # the docstring
    assert "exclude_self" in page
    assert 'href="../source/minissl/autograd/elementwise.py.html"' in page
    assert (out / "source" / "minissl" / "autograd" / "elementwise.py.html").is_file()
    text = re.sub("<[^>]+>", "", page)
    assert 'lecture 01; lectures 02 and <a class="reference internal" href="05_other.html">' in page
    assert "01 and 05 are numbers" in page
    assert not list(out.rglob("index.md.html"))
    for shown in ("Two is more than one", "reproduced", "python -m minissl claim small", "theirs"):
        assert shown in text
    shown = re.findall(r'(<img[^>]*_images/(\w+)\.svg"[^>]*>)', page)
    cards = {name: 'class="card"' in tag for tag, name in shown}
    assert cards == {"day": True, "night": False, "small": False}  # claims draw for the dark too
    target = (out / "source" / "minissl" / "losses" / "contrastive.py.html").read_text("utf-8")
    assert f'id="L{line}"' in target


def test_a_name_that_is_gone_fails_the_build(tmp_path, claims, capsys):
    out = tmp_path / "site"
    out.mkdir()
    (out / "old.html").write_text("the last good build", encoding="utf-8")
    assert build(small_site(GONE), tmp_path / "work", out, claims_folder=str(claims)) != 0
    said = capsys.readouterr().err
    for line, message in {
        3: "there is no 'no_such_loss' in minissl/losses/contrastive.py; it has normalize, ",
        6: "there is no module minissl.no_such_module: expected minissl/no_such_module.py",
        9: "there is no 'no_such_role' in minissl/losses/contrastive.py",
        11: "{claim} no-such-claim: no kept result no-such-claim.json; kept: small",
        14: "'../minissl/no_such_file.py'",
        16: "no_such_picture.svg",
    }.items():
        assert [m for m in said.splitlines() if f"01_small.md:{line}" in m and message in m], said
    assert [path.name for path in out.iterdir()] == ["old.html"]


def test_finds_methods_constants_modules_and_what_is_imported():
    lines = (ROOT / "minissl" / "autograd" / "tensor.py").read_text("utf-8").splitlines()
    backward = find("minissl.autograd.tensor:Tensor.backward")
    assert lines[backward.line - 1].startswith("    def backward(")
    assert all(not line or line.startswith("    ") for line in lines[backward.line : backward.last])
    assert find("minissl.autograd:Tensor.backward") == backward

    multiply = find("minissl.autograd.elementwise:multiply")
    assert (multiply.first, len(multiply.docstring)) == (multiply.line - 1, 1)
    assert find("minissl.figures:COLORS").line < find("minissl.figures:COLORS").last
    kernel = find("minissl_kernels.attention.forward:forward_kernel")
    assert kernel.label == "minissl_kernels/attention/forward.py"
    assert find("minissl.losses").path.name == "__init__.py"
    for wrong in ("numpy:array", "minissl.autograd.tensor:Tensor.nothing"):
        with pytest.raises(NameGone):
            find(wrong)


def test_a_listing_is_the_file_line_by_line():
    path = ROOT / "minissl" / "losses" / "contrastive.py"
    lines = path.read_text("utf-8").splitlines()
    shown = listing(path, list(range(1, len(lines) + 1)), "page.html", anchors=True)
    text = unescape(re.sub("<[^>]+>", "", shown)).splitlines()
    width = len(str(len(lines)))
    assert text == [f"{n + 1:>{width}}  {line}" for n, line in enumerate(lines)]


def test_blank_lines_count(tmp_path):
    path = tmp_path / "blank.py"
    path.write_text("\n\nx = 1\n\n\n", "utf-8")
    shown = re.sub("<[^>]+>", "", listing(path, [1, 2, 3, 4, 5], "page.html"))
    assert [line.split() for line in shown.splitlines()][2] == ["3", "x", "=", "1"]


def test_docstrings_are_text():
    doc = (
        "x * y_i <eos> costs $5: ``a * b``.\n\n- a [list]\n\nAs a table:\n    a  b\n    1  2\nEnd."
    )
    shown = to_markdown(doc)
    assert r"x \* y\_i \<eos> costs \$5: ``a * b``." in shown
    assert "As a table:\n\n    a  b\n    1  2\nEnd." in shown


def test_formulas_in_a_summary(tmp_path):
    path = tmp_path / "x.md"
    path.write_text("<details><summary>Why $x_1$ and `f`?</summary>\n\n$y$\n</details>", "utf-8")
    assert markdown(path) == (
        '<details><summary>Why <span class="math notranslate nohighlight">\\(x_1\\)</span> and '
        "<code>f</code>?</summary>\n\n$y$\n</details>"
    )


def test_the_example_of_the_front_page_runs():
    text = (HERE / "index.md").read_text("utf-8")
    code = text.split("```python\n")[1].split("```")[0] + "\nprint(float(loss.array))\n"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert 0 < float(ran.stdout) < 10


def test_every_figure_of_the_lectures_has_code_and_every_code_its_figure(monkeypatch):
    folder = ROOT / "lectures" / "figures"
    monkeypatch.syspath_prepend(str(folder))
    drawn = set()
    for path in folder.glob("lecture_[0-9]*.py"):
        drawn |= set(importlib.import_module(path.stem).FIGURES)
    assert {path.stem for path in folder.glob("*.svg")} == drawn
    used = "".join(path.read_text("utf-8") for path in (ROOT / "lectures").glob("*.md"))
    assert not [name for name in drawn if f"figures/{name}.svg" not in used]
