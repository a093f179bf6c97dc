"""The benchmark of small parts: who learns from what, and a line for each way."""

import sys

import pytest

from benchmarks import small_parts
from minissl.claims.experiments.adaptation.small_parts import WAYS
from minissl.data.texts import LabelledTexts
from minissl.pretrain import load_method
from minissl.pretrain.run import pretrain
from tests.pretrain.toy import toy_data, toy_settings

LIKED = ("a warm cat film", "the bird sang well", "it was a lovely log", "my dog liked it")


@pytest.fixture
def tables(tmp_path):
    """Two files of sentences, of 24 and of 16."""
    paths = []
    for name, count in (("train", 24), ("test", 16)):
        rows = [f"{i % 2}\t{'not ' * (i % 2)}{LIKED[i % 4]} {name} {i}" for i in range(count)]
        paths.append(tmp_path / f"{name}.tsv")
        paths[-1].write_text("label\tsentence\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return paths


def test_the_seed_draws_what_is_learned_from_and_the_test_stays(tables):
    first, second = (LabelledTexts.read(path, None, small_parts.FIELDS) for path in tables)
    arguments = type("Arguments", (), {"sentences": 10, "questions": 8})
    found = [small_parts.drawn(first, second, arguments, seed) for seed in (0, 0, 1)]
    texts = [[document.text for document in one.documents] for one in found]
    assert texts[0] == texts[1]
    assert texts[0][:10] != texts[2][:10]
    assert texts[0][10:] == texts[2][10:]
    assert len({*texts[0]}) == 18
    for raw in found:
        assert list(raw.held_out) == list(range(10, 18))
        for document, label in zip(raw.documents, raw.labels):
            assert document.text.startswith("not") == label


def test_every_way_gets_a_line(tables, tmp_path, monkeypatch):
    settings = toy_settings("roberta", context_length=24)
    base = tmp_path / "run"
    pretrain(load_method("roberta"), toy_data("roberta", settings), settings, base, progress=False)
    said = {}
    monkeypatch.setattr(
        small_parts, "report", lambda name, rows, machine, notes: said.update({name: (rows, notes)})
    )
    options = {"base": base, "train": tables[0], "test": tables[1], "sentences": 20, "steps": 1,
               "tokens": 12, "seeds": 2, "threads": 1}  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["small_parts", *words])
    small_parts.main()
    rows, notes = said["small_parts"]
    ways = [name for name, (_, own) in WAYS.items() if own.get("start") != "random"]
    assert sorted(row["what"] for row in rows[2:]) == sorted(ways)
    for row in rows:
        assert row["lowest"] <= row["accuracy %"] <= row["highest"]
    assert "run: " in notes[0]
    assert "2 seeds, 20 sentences" in notes[0]


def test_a_file_that_is_absent_is_named_before_any_work(monkeypatch, capsys):
    words = ["--base", ".", "--train", "absent.tsv", "--test", "absent.tsv"]
    monkeypatch.setattr(sys, "argv", ["small_parts", *words])
    with pytest.raises(SystemExit):
        small_parts.main()
    assert "absent.tsv: there is no such file or folder" in capsys.readouterr().err
