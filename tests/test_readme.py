"""The README's examples run, and its links lead somewhere."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minissl.adapt import adaptation_names
from minissl.claims import claim_names
from minissl.homework.assignments import assignment_numbers
from minissl.pretrain import method_names
from tests.homework.planted import planted

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_there_are_examples():
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs_by_itself(number):
    if "minissl_kernels" in EXAMPLES[number]:
        pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", EXAMPLES[number]],
        cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md"])
def test_links_lead_to_files(page):
    for path in ROOT.glob(page):
        links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
        there = path.parent
        gone = [link for link in links if "://" not in link and not (there / link).exists()]
        assert not gone, path
    assert len(re.findall(r"\]\(", README)) > 30


def test_the_readme_is_short():
    """Its rest is in docs, where the site has it; a visitor reads two screens."""
    assert len(README.splitlines()) < 212
    assert len(README.encode()) < 16_800


def test_every_lecture_and_notebook_is_listed():
    for folder, ending in (("lectures", "md"), ("notebooks", "ipynb")):
        for path in sorted((ROOT / folder).glob(f"[0-9]*.{ending}")):
            assert f"({folder}/{path.name})" in README


def test_the_verdicts_are_those_of_the_kept_claims():
    claims = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "lectures" / "claims").glob("*.json")):
        judged = [e["reproduced"] for e in json.loads(path.read_text("utf-8"))["expectations"]]
        verdict = "reproduced" if all(judged) else f"{sum(judged)} of {len(judged)}"
        row = re.search(rf"^- `{path.stem}`, \*\*([^*]+)\*\*: ", claims, flags=re.MULTILINE)
        assert row, f"docs/claims.md lacks {path.stem}"
        assert row[1] == verdict


def test_the_counts_are_right():
    kept = len([*(ROOT / "lectures" / "claims").glob("*.json")])
    assert f"names all {kept}" in README
    assert len(claim_names()) == kept
    ways = (
        f"{len(method_names())} methods of pretraining, {len(adaptation_names())} ways to use them"
    )
    assert ways in " ".join(README.split())


def test_the_number_of_planted_answers_is_right():
    pytest.importorskip("triton")  # those of homework 4's kernels, too
    count = sum(len(planted(number)) for number in assignment_numbers())
    assert f"{count} planted wrong answers" in README


def test_the_sentence_on_size_is_true():
    """Both parts to a tenth; kernels, homework and claims stand beside them."""

    def lines(*rooms):
        files = [file for room in rooms for file in (ROOT / "minissl" / room).rglob("*.py")]
        return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)

    parts = lines("autograd", "nn", "losses", "text")
    others = ("optim", "vision", "data", "models", "training", "pretrain", "adapt", "forms", "cli")
    said = re.search(r"losses in ([\d,]+) lines of Python.*?in ([\d,]+) more", README, re.DOTALL)
    first, second = (int(number.replace(",", "")) for number in said.groups())
    assert parts == pytest.approx(first, rel=0.1)
    assert lines(*others) == pytest.approx(second, rel=0.1)


def test_what_the_guide_for_contributors_names_is_there():
    """Paths with a FAMILY or NAME stand for all that lie there."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:minissl|tests|docs|pretrain|adapt)/[^` ]+)`", text))
    assert len(paths) > 10
    for path in paths:
        pattern = re.sub("FAMILY|NAME", "*", path).replace("hwN", "hw*")
        found = [*ROOT.glob(pattern), *(ROOT / "minissl").glob(pattern)]
        assert found, path
