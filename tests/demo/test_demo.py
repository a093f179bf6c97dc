"""The demo, with very little training: everything is computed, written, and self-contained."""

import base64
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from minissl import figures
from minissl.demo import demo, images, language
from minissl.page import Page
from minissl.pretrain.images.simclr import SimCLRSettings
from minissl.pretrain.language.gpt import GPTSettings
from minissl.text.documents import Document

SENTENCES = (
    "Return a list of the names. The value is returned if the file is found.",
    "Raise an exception if the name is not a string. The import statement binds a name.",
    "The class of the object is found by the interpreter. None is returned otherwise.",
)


@pytest.fixture
def tiny(monkeypatch):
    """The parts run here, one after the other, on a few sentences and for a few steps."""
    texts = [
        Document(f"d{i}", "tests", f"Number {i}.\n" + SENTENCES[i % 3] * (1 + i % 4))
        for i in range(120)
    ]
    gpt = GPTSettings(
        vocab_size=300,
        num_layers=1,
        width=16,
        num_heads=2,
        context_length=32,
        steps=4,
        batch_size=2,
    )
    monkeypatch.setattr(language, "python_english", lambda: texts)
    monkeypatch.setattr(demo, "GPTSettings", lambda: gpt)
    monkeypatch.setattr(demo, "SimCLRSettings", lambda: SimCLRSettings(steps=3, batch_size=32))
    monkeypatch.setattr(demo, "SUPERVISED_STEPS", 1)
    monkeypatch.setattr(images, "DRAWS", 2)
    monkeypatch.setattr(images, "SUPERVISED_DRAWS", 1)

    def here(calls):
        for options in calls:
            folder, part = options[options.index("--out") + 1], options[-1]
            demo.run_part(part, Path(folder), seed=0, device="cpu", progress=False, quick=False)

    monkeypatch.setattr(demo, "_run_together", here)


@pytest.mark.usefixtures("tiny")
def test_the_whole_demo(tmp_path, capsys):
    results = demo.run_demo(tmp_path, progress=False)
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == results
    table = capsys.readouterr().out
    page = (tmp_path / "report.html").read_text(encoding="utf-8")

    accuracy = results["images"]["accuracy"]
    assert set(accuracy) == {
        "raw pixels",
        "random network",
        "supervised from scratch",
        "SimCLR without negatives",
        "SimCLR, no labels",
    }
    for name, values in accuracy.items():
        assert len(values) == 6
        assert name in table
        assert name in page
        assert f"{100 * values[0]:.1f}" in page
    # The task the digits set for raw pixels is known: about 60 % with one label, 96 % with 50.
    assert 0.45 < accuracy["raw pixels"][0] < 0.75
    assert accuracy["raw pixels"][5] > 0.93

    nats = results["language"]["nats_per_token"]
    assert nats["uniform"] == pytest.approx(np.log(300))
    assert results["language"]["first_loss"] == pytest.approx(np.log(300), abs=0.1)
    assert nats["bigram"] < nats["unigram"] < nats["uniform"]
    assert f"{nats['GPT']:.2f}" in page

    assert not (tmp_path / "work").exists()
    for run in ("gpt", "simclr", "positives_only"):
        assert (tmp_path / run / "log.jsonl").exists()

    # Nothing is fetched from elsewhere, every figure is a picture that can be read.
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", page)
    pictures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert len(pictures) == 8
    for picture in pictures:
        assert ElementTree.fromstring(base64.b64decode(picture)).tag.endswith("svg")


@pytest.mark.usefixtures("tiny")
def test_a_finished_demo_begins_anew_and_an_unfinished_one_continues(tmp_path, monkeypatch, capsys):
    demo.run_demo(tmp_path, progress=False)
    first = (tmp_path / "report.html").read_bytes()

    def broken(*_, **__):
        raise RuntimeError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(demo, "image_demo", broken)
        with pytest.raises(RuntimeError, match="interrupted"):
            demo.run_demo(tmp_path, progress=False)
    assert (tmp_path / "report.html").read_bytes() == first  # the old one is still there
    assert (tmp_path / "work" / "gpt" / "log.jsonl").exists()  # and the new half is kept
    demo.run_demo(tmp_path, progress=False)
    assert not (tmp_path / "work").exists()


def test_a_failing_half_is_reported(tmp_path, capfd):
    with pytest.raises(RuntimeError, match="the message above says why"):
        demo._run_together([["--part", "text", "--out", str(tmp_path / "x"), "--seed", "-1"]])
    assert "--seed: must be a whole number ≥ 0, got -1" in capfd.readouterr().err


def test_principal_components_are_those_of_the_covariance():
    vectors = np.random.default_rng(0).normal(size=(200, 5)) * [5, 3, 1, 0.5, 0.1]
    points = figures.principal_components(vectors)
    variances = np.linalg.eigvalsh(np.cov(vectors.T))[::-1]
    np.testing.assert_allclose(points.var(axis=0, ddof=1), variances[:2])


def test_the_page_escapes_text():
    page = Page("a < b")
    page.text("<script>x</script>")
    page.code("&lt;")
    page.table(["<i>"], [["<b>"]])
    html = page.html()
    assert "<script>" not in html
    assert "<i>" not in html
    assert "&amp;lt;" in html
