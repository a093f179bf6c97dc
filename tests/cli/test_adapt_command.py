"""minissl adapt and predict as a person types them: tables, files, mistakes."""

import csv
import io
import json
import re

import numpy as np
import pytest

from minissl.adapt.run import open_adaptation
from minissl.cli import main

WORDS = {"animals": "cat dog bird fish horse", "numbers": "one two three four five"}
PRETRAIN = ["--vocab-size", "300", "--steps", "4", "--num-layers", "1", "--width", "16",
            "--num-heads", "2", "--context-length", "24", "--batch-size", "4"]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run on texts and one on the digits, and labelled tables."""
    folder = tmp_path_factory.mktemp("adapt")
    generator = np.random.default_rng(0)
    rows = []
    for number in range(60):
        label = sorted(WORDS)[number % 2]
        words = generator.choice(WORDS[label].split(), size=8)
        rows.append({"body": " ".join(words), "topic": label, "birds": list(words).count("bird")})
    with open(folder / "texts.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "texts.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    (folder / "plain.txt").write_text("\n\n".join(row["body"] for row in rows), encoding="utf-8")
    run = ["--run", str(folder / "gpt"), "--quiet", *PRETRAIN]
    assert main(["pretrain", "gpt", str(folder / "plain.txt"), *run]) == 0
    digits = ["--run", str(folder / "simclr"), "--quiet", "--steps", "2", "--batch-size", "16"]
    assert main(["pretrain", "simclr", *digits]) == 0
    return folder


def call(place, *words):
    """The command, where what lies in the place is called by its name."""
    return main([str(place / word) if (place / word).exists() else word for word in words])


FIELDS = ["--text-field", "body", "--label-field", "topic"]


def test_a_text_classifier_from_a_table_to_predictions(place, capsys, tmp_path):
    run = str(tmp_path / "topics")
    assert call(place, "adapt", "probe", "gpt", "texts.csv", *FIELDS, "--run", run) == 0
    printed = capsys.readouterr().out
    assert "40 labelled examples of 2 classes, 20 held out" in printed
    rows = dict(re.findall(r"^(tf-idf of tokens|random network|gpt) +([\d.]+) %$", printed, re.M))
    assert rows.keys() == {"tf-idf of tokens", "random network", "gpt"}
    assert float(rows["tf-idf of tokens"]) == 100.0
    assert call(place, "predict", run, "texts.csv", "--text-field", "body") == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(table) == 60
    assert {row["prediction"] for row in table} == set(WORDS)
    assert all(0.5 <= float(row["probability"]) <= 1 for row in table)
    out = tmp_path / "new" / "out.csv"
    assert (
        call(place, "predict", run, "texts.jsonl", "--text-field", "body", "--out", str(out)) == 0
    )
    again = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    assert [row["prediction"] for row in again] == [row["prediction"] for row in table]
    # The table's number for the run itself is what its predictions give on the held-out texts.
    opened = open_adaptation(run)
    capsys.readouterr()
    assert main(["evaluate", run]) == 0
    assert f"{float(rows['gpt']) / 100:.6g}" in capsys.readouterr().out
    truth = [
        row["topic"]
        for row in csv.DictReader(io.StringIO((place / "texts.csv").read_text(encoding="utf-8")))
    ]
    right = np.mean([row["prediction"] == label for row, label in zip(table, truth)])
    assert call(place, "evaluate", run, "texts.csv") == 0
    assert f"{right:.6g}" in capsys.readouterr().out
    assert opened.data.class_names == ("animals", "numbers")


def test_a_number_for_a_text(place, capsys, tmp_path):
    run = str(tmp_path / "birds")
    options = ["--text-field", "body", "--label-field", "birds", "--run", run]
    assert call(place, "adapt", "regression", "gpt", "texts.jsonl", *options) == 0
    printed = capsys.readouterr().out
    assert re.search(r"held out +r2 +spearman", printed)
    assert call(place, "predict", run, "texts.jsonl", "--text-field", "body") == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(table) == 60
    assert table[0].keys() == {"name", "prediction"}
    assert np.isfinite([float(row["prediction"]) for row in table]).all()


@pytest.mark.parametrize("name", ["finetune", "lora"])
def test_trained_ones_say_how_much_is_trained_and_go_on(name, place, capsys, tmp_path):
    run = ["--run", str(tmp_path / "run"), "--steps", "3", "--batch-size", "4", "--quiet"]
    assert call(place, "adapt", name, "gpt", "texts.csv", *FIELDS, *run) == 0
    printed = capsys.readouterr().out
    trained, of = (
        int(n.replace(",", "")) for n in re.findall(r"([\d,]+) of ([\d,]+) we", printed)[0]
    )
    assert (trained == of) == (name == "finetune")
    files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert call(place, "adapt", name, "gpt", "texts.csv", *FIELDS, *run) == 0
    assert capsys.readouterr().out == printed
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files
    out = tmp_path / "vectors.npz"
    assert call(place, "embed", str(tmp_path / "run"), "plain.txt", "--out", str(out)) == 0
    with np.load(out) as arrays:
        assert arrays["features"].shape[1] == 16


def test_labels_per_class_and_draws_of_the_digits(place, capsys):
    """Raw pixels and the random network as in the README: 62.9 and 56.1 with one label each."""
    options = ["--labels-per-class", "1", "--draws", "10"]
    assert call(place, "adapt", "probe", "simclr", *options) == 0
    printed = capsys.readouterr().out
    assert "1,200 labelled examples of 10 classes, 597 held out" in printed
    assert re.search(r"raw pixels +62\.9 ± 4\.5 %", printed)
    assert re.search(r"random network +56\.1 ± 6\.1 %", printed)
    assert "nothing was kept: --run FOLDER" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["adapt", "probe", "gpt", "texts.csv"], "--text-field"),
        (["adapt", "probe", "gpt", "texts.csv", *FIELDS[:2], "--label-field", "x"], "body, topic"),
        (["adapt", "regression", "gpt", "texts.csv", *FIELDS], "texts.csv, line 2: the label is"),
        (["adapt", "regression", "gpt"], "python-docstrings gives classes, no numbers"),
        (["adapt", "probe", "gpt", "plain.txt"], "is in no class folder"),
        (["adapt", "probe", "gpt", "nowhere"], "'nowhere' is no file, no folder and no data set"),
        (["adapt", "probe", "gpt", "digits"], "the data set digits is read as images"),
        (["adapt", "probe", "plain.txt"], "no usable checkpoint"),
        (["predict", "gpt", "plain.txt"], "was not adapted: see minissl adapt"),
        (["adapt", "lora", "gpt", "texts.csv", *FIELDS, "--where", "("], "no regular expression"),
        (["adapt", "lora", "gpt", "texts.csv", *FIELDS, "--rank", "99"], "rank must be from 1 to"),
    ],
)
def test_mistakes_get_one_clear_line(words, message, place, capsys):
    assert call(place, *words, *(["--quiet"] if words[0] == "adapt" else [])) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_list_and_the_order_of_words(capsys):
    with pytest.raises(SystemExit):
        main(["adapt", "--help"])
    printed = capsys.readouterr().out
    for name in ("probe", "neighbors", "regression", "finetune", "lora"):
        assert f"\n  {name} " in printed
    with pytest.raises(SystemExit):
        main(["adapt", "--seed", "1", "probe", "run"])
    assert "the adaptation comes first: minissl adapt probe" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["adapt", "distil", "run"])
    assert "distil" in capsys.readouterr().err
