"""Commands on tables and on odd files: which column is what, and what a run remembers of it."""

import csv
import json
import os

import numpy as np
import pytest

from minissl.cli import main
from minissl.data import Fields
from minissl.data.sets import DataSet
from minissl.pretrain.run import open_run
from minissl.text.documents import Document

TINY = "--vocab-size 280 --num-layers 1 --width 16 --num-heads 2 --context-length 16".split()
TINY += "--batch-size 4 --steps 2 --evaluations 1 --quiet".split()
TEXTS = [f"The cat number {i} sat on the mat, and a dog ran to the log." for i in range(60)]


def pretrain(data, folder, *options):
    return main(["pretrain", "gpt", str(data), "--run", str(folder), *TINY, *options])


@pytest.fixture
def jsonl(tmp_path):
    path = tmp_path / "data.jsonl"
    rows = [{"body": text, "text": text[::-1], "n": i} for i, text in enumerate(TEXTS)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def learned(folder):
    """All bytes that a run has learned tokens for, joined: what it has read."""
    tokenizer = open_run(folder).data.tokenizer
    return b" ".join(tokenizer.token_bytes(i) for i in range(256, tokenizer.vocab_size - 1))


def test_a_table_is_read_by_the_field_that_is_named(jsonl, tmp_path, capsys):
    assert pretrain(jsonl, tmp_path / "usual") == 0
    assert pretrain(jsonl, tmp_path / "other", "--text-field", "body") == 0
    for folder, there, absent in (("usual", b"eht", b"the"), ("other", b"the", b"eht")):
        tokens = learned(tmp_path / folder)
        assert there in tokens
        assert absent not in tokens
        assert b"{" not in tokens
    capsys.readouterr()
    assert pretrain(jsonl, tmp_path / "none", "--text-field", "boby") == 1
    error = capsys.readouterr().err
    assert "data.jsonl, line 1: there is no field 'boby', it has body, text, n" in error
    assert "--text-field NAME" in error
    assert not (tmp_path / "none").exists()


def test_a_run_remembers_its_fields(jsonl, tmp_path, monkeypatch, capsys):
    run = str(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert pretrain("data.jsonl", run, "--text-field", "body") == 0
    assert open_run(run).read_fields() == Fields(text_field="body")
    monkeypatch.chdir("/")
    assert main(["evaluate", run]) == 0  # from its own data: only the right field is that
    other = tmp_path / "other.csv"
    with open(other, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["body", "mind"], *zip(TEXTS[:5], TEXTS[5:10])])
    sizes = []
    for options in ([], ["--text-field", "mind"]):
        out = tmp_path / "out.npz"
        assert main(["embed", run, str(other), "--out", str(out), *options]) == 0
        assert main(["evaluate", run, str(other), *options]) == 0
        with np.load(out) as arrays:
            assert arrays["names"].tolist() == [f"other.csv, line {n}" for n in range(2, 7)]
            sizes.append(arrays["features"])
    assert not np.allclose(*sizes)
    capsys.readouterr()
    assert main(["evaluate", run, str(other), "--text-field", "text"]) == 1
    assert "there is no field 'text', it has body, mind" in capsys.readouterr().err


def test_a_run_from_before_there_were_fields_is_opened(jsonl, tmp_path, capsys):
    run = tmp_path / "run"
    assert pretrain(jsonl, run) == 0
    about = json.loads((run / "data.json").read_text(encoding="utf-8"))
    del about["fields"]
    (run / "data.json").write_text(json.dumps(about), encoding="utf-8")
    assert open_run(run).read_fields() == Fields()
    assert main(["evaluate", str(run)]) == 0
    for damage in ([], {"text_feld": "a"}, {"text_field": 3}):
        (run / "data.json").write_text(json.dumps({**about, "fields": damage}), encoding="utf-8")
        capsys.readouterr()
        assert main(["evaluate", str(run)]) == 1
        assert "data.json" in capsys.readouterr().err


def test_only_the_fields_of_the_data_are_offered(capsys):
    for method, there, absent in (
        ("gpt", "--text-field", "--image"),
        ("simclr", "--image-field", "--text"),
    ):
        with pytest.raises(SystemExit):
            main(["pretrain", method, "--help"])
        text = capsys.readouterr().out
        assert there in text
        assert f"{absent}-field" not in text
        assert "--second-field" not in text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_book_of_another_system_is_the_same_book(tmp_path, encoding):
    """UTF-16 and a mark are how a text is stored, and no part of it."""
    text = "\r\n\r\n".join(TEXTS)
    (tmp_path / "book.txt").write_bytes(text.encode())
    assert pretrain(tmp_path / "book.txt", tmp_path / "plain") == 0
    (tmp_path / "book.txt").write_bytes(text.encode(encoding))
    assert pretrain(tmp_path / "book.txt", tmp_path / "other") == 0
    one, two = (
        json.loads((tmp_path / run / "data.json").read_text(encoding="utf-8"))
        for run in ("plain", "other")
    )
    assert one == two


def test_a_web_page_is_refused_and_a_tokenizer_of_it_is_not(tmp_path, capsys):
    page = tmp_path / "page.html"
    page.write_text("<html>\n" + "<p>Some words of a page.</p>\n" * 40, encoding="utf-8")
    assert pretrain(page, tmp_path / "run") == 1
    assert "page.html' is HTML, not plain text: strip its markup" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    out = str(tmp_path / "t.json")
    assert main(["tokenizer", "train", str(page), "--vocab-size", "270", "--out", out]) == 0


def test_a_folder_with_a_name_that_is_no_utf_8(tmp_path):
    folder = tmp_path / os.fsdecode(b"b\xfccher")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    for i, text in enumerate(TEXTS):
        (folder / os.fsdecode(b"%d-\xe9.txt" % i)).write_text(text, encoding="utf-8")
    run = tmp_path / os.fsdecode(b"r\xfcn")
    assert pretrain(folder, run) == 0
    assert main(["evaluate", str(run)]) == 0
    out = tmp_path / "out.npz"
    assert main(["embed", str(run), str(folder), "--out", str(out)]) == 0
    with np.load(out) as arrays:
        assert r"0-\xe9.txt" in arrays["names"].tolist()
        assert len({*arrays["names"].tolist()}) == len(TEXTS)


def test_the_name_of_a_data_set_is_recorded_as_a_name(tmp_path, monkeypatch):
    documents = [Document(f"{i}", "set", text) for i, text in enumerate(TEXTS)]
    dataset = DataSet(
        kinds=("texts",), licence="", source="", embedded=lambda: documents, name="some-set"
    )
    monkeypatch.setattr("minissl.data.sets.find", lambda path: dataset)
    monkeypatch.setattr("minissl.data.sets.load_set", lambda name: dataset)
    monkeypatch.chdir(tmp_path)
    assert pretrain("some-set", tmp_path / "run") == 0
    assert (
        json.loads((tmp_path / "run" / "data.json").read_text(encoding="utf-8"))["read_from"]
        == "some-set"
    )
    monkeypatch.chdir("/")
    assert main(["evaluate", str(tmp_path / "run")]) == 0
