"""``minissl evaluate RUN DATA``: what is printed, what is written, and odd data."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minissl.cli import main
from minissl.pretrain import load_method
from minissl.pretrain.run import open_run
from tests.adapt.toy import adapted, toy_base

QUICK = ["--draws", "1", "--labels", "1"]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name in ("simclr", "supervised", "gpt"):
        opened = toy_base(name, folder / name)
        if name == "gpt":
            adapted("lora", opened, folder / "lora")
    return folder


@pytest.fixture
def bars(tmp_path):
    """Forty images of two classes, in arrays."""
    data = load_method("simclr").Data.with_labels.toy(load_method("simclr").Settings())
    pixels = np.round(255 * np.clip(data.images, 0, 1)).astype(np.uint8)
    np.savez(
        tmp_path / "bars.npz", images=pixels, labels=np.array(["$ly_", "_standing"])[data.labels]
    )
    return tmp_path / "bars.npz"


@pytest.fixture
def reviews(tmp_path):
    with open(tmp_path / "reviews.csv", "w", encoding="utf-8", newline="") as file:
        rows = [(f"{('bad', 'good')[i % 2]} text {i}", ("neg", "pos")[i % 2]) for i in range(30)]
        csv.writer(file).writerows([("text", "label"), *rows])
    return tmp_path / "reviews.csv"


def call(*arguments):
    return main([str(a) for a in arguments])


def cells(printed):
    """The rows of the table by name, as lists of texts."""
    lines = printed.splitlines()
    names = ("raw pixels", "tf-idf of tokens", "untrained network", "pretrained network",
             "adapted network", "fine-tuned network")  # fmt: skip
    return {name: line.removeprefix(name).split() for name in names for line in lines
            if line.startswith(f"{name} ")}  # fmt: skip


def test_the_table_is_printed_and_written_with_its_conditions(runs, bars, tmp_path, capsys):
    out = tmp_path / "new" / "results"
    options = ["--labels", "1", "3", "--draws", "2", "--out", out, "--neighbors", "3"]
    assert call("evaluate", runs / "simclr", bars, *options, "--finetune", 1) == 0
    printed = capsys.readouterr().out
    assert "27 training and 13 test examples of 2 classes" in printed
    assert "2-NN votes at temperature 0.1" in printed
    table = cells(printed)
    assert [*table] == [
        "raw pixels",
        "untrained network",
        "pretrained network",
        "fine-tuned network",
    ]
    assert {len(row) for row in table.values()} == {8}
    assert sorted(os.listdir(out)) == [
        "evaluation.csv", "evaluation.json", "evaluation.svg", "neighbors.svg",
    ]  # fmt: skip
    about = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert (about["method"], about["k"], about["classes"]) == ("simclr", 2, ["$ly_", "_standing"])
    assert about["pairs"]["same"] + about["pairs"]["different"] == 13 * 12 / 2
    with open(out / "evaluation.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for line, row in zip(rows, about["rows"]):
        assert line["representation"] == row["representation"]
        assert float(line["knn"]) == row["knn"]
        assert float(line["mean_of_3_labels"]) == pytest.approx(np.mean(row["few_labels"]["3"]))
        shown = table[row["representation"]]
        assert float(shown[0]) == pytest.approx(100 * row["knn"], abs=0.05)
        assert float(shown[-1]) == pytest.approx(100 * row["equal_error_rate"], abs=0.05)
    assert float(printed.split("held out loss")[1].split()[0]) == pytest.approx(
        about["own"]["held_out_loss"], rel=1e-5
    )
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    assert call("evaluate", runs / "simclr", bars, *options, "--finetune", 1) == 0
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_a_language_run_and_its_adaptation(runs, reviews, tmp_path, capsys):
    for run, rows in (("gpt", ["pretrained network"]),
                      ("lora", ["pretrained network", "adapted network"])):  # fmt: skip
        out = tmp_path / run
        renamed = reviews.read_text(encoding="utf-8")
        if run == "lora":  # it knows other classes: its own numbers are none, the table is
            renamed = renamed.replace("neg", "sitting")
        reviews.write_text(renamed, encoding="utf-8")
        assert call("evaluate", runs / run, reviews, *QUICK, "--out", out) == 0
        printed = capsys.readouterr().out
        assert [*cells(printed)] == ["tf-idf of tokens", "untrained network", *rows]
        assert ("class 'pos' is not one of this run" in printed) == (run == "lora")
        assert ("held out loss" in printed) == (run == "gpt")
    assert call("evaluate", runs / "gpt", reviews, "--neighbors", 2, "--out", tmp_path / "no") == 1
    assert "--neighbors draws images" in capsys.readouterr().err
    (tmp_path / "one.txt").write_text("A text. " * 50, encoding="utf-8")
    assert call("evaluate", runs / "gpt", tmp_path / "one.txt") == 0
    printed = capsys.readouterr().out
    assert "held out loss" in printed
    assert "there is one example" in printed
    assert not (runs / "gpt" / "evaluation").exists()


def test_unlabelled_images_and_classes_that_the_run_has_not_seen(runs, bars, tmp_path, capsys):
    with np.load(bars) as arrays:
        np.save(tmp_path / "plain.npy", arrays["images"])
    assert call("evaluate", runs / "simclr", tmp_path / "plain.npy", "--neighbors", 2) == 0
    printed = capsys.readouterr().out
    assert {name: len(row) for name, row in cells(printed).items()} == {
        "raw pixels": 3, "untrained network": 3, "pretrained network": 3,
    }  # fmt: skip
    assert "no labels were read: " in printed
    assert "nothing but rank, alignment and uniformity" in printed
    about = json.loads(
        (runs / "simclr" / "evaluation" / "evaluation.json").read_text(encoding="utf-8")
    )
    assert about["pairs"] is None
    assert call("evaluate", runs / "supervised", bars, *QUICK, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "measures nothing of itself on" in printed
    assert "pairs are not of unseen" not in printed  # the classes have other names than the run's


def test_a_run_that_learned_from_labels_is_looked_at_without_any(runs, bars, tmp_path, capsys):
    with np.load(bars) as arrays:
        np.save(tmp_path / "plain.npy", arrays["images"])
        np.save(tmp_path / "one.npy", arrays["images"][:1])
    for run, columns in (("supervised", 3), ("probe", 3)):
        if run == "probe":
            adapted(run, open_run(runs / "simclr"), runs / run)
        options = ["--out", tmp_path / run]
        assert call("evaluate", runs / run, tmp_path / "plain.npy", *options) == 0
        printed = capsys.readouterr().out
        assert "the method measures nothing of itself on" in printed
        assert {len(row) for row in cells(printed).values()} == {columns}
        assert call("evaluate", runs / run, tmp_path / "one.npy", *options) == 1  # nothing at all
        assert "one.npy" in capsys.readouterr().err


def test_features_that_are_not_finite_are_told_beside_those_that_are(
    runs, bars, tmp_path, capsys, monkeypatch
):
    kind = load_method("simclr")
    usual = kind.represent

    def represent(self, examples, **options):
        scale = np.nan if options.get("progress") == "pretrained network" else 1
        return scale * usual(self, examples)

    monkeypatch.setattr(kind, "represent", represent)
    options = [*QUICK, "--out", tmp_path / "out", "--neighbors", 2]
    assert call("evaluate", runs / "simclr", bars, *options) == 0
    printed = capsys.readouterr().out
    table = cells(printed)
    assert set(table["pretrained network"]) == {"-"}
    assert "-" not in table["untrained network"]
    assert "pretrained network: the features of 40 of 40 examples are not finite" in printed
    assert "no neighbors.svg" in printed
    assert "NaN" not in (tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8")


def test_places_that_cannot_be_written_are_refused_before_the_work(runs, bars, tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for out, words in ((tmp_path / "file", "cannot be made a folder"),
                       (tmp_path / "file" / "below", "cannot be made a folder")):  # fmt: skip
        assert call("evaluate", runs / "simclr", bars, "--out", out) == 1
        assert words in capsys.readouterr().err
    folder = tmp_path / "classes"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
    from PIL import Image

    for place in ("a/0", "a/1", "b/0", "b/1"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / f"{place}.png")
    assert call("evaluate", runs / "simclr", folder, "--out", folder / "a") == 1
    assert "is in the data" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", [["--finetune"], ["--hold-out-classes", 2], ["--neighbors", 3], ["--labels", 2]]
)
def test_options_of_the_table_need_data(runs, option, capsys):
    assert call("evaluate", runs / "simclr", *option) == 1
    assert f"{option[0]} is of the table" in capsys.readouterr().err


def test_the_files_are_whole_when_nobody_reads_what_is_printed(runs, bars, tmp_path):
    command = [sys.executable, "-m", "minissl", "evaluate", runs / "simclr", bars, *QUICK]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*map(str, command), "--out", str(tmp_path / "out")], stdout=write, stderr=subprocess.PIPE,
        cwd=ROOT,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(os.listdir(tmp_path / "out")) == 3


def test_the_run_is_not_changed(runs, bars, tmp_path):
    checkpoint = open_run(runs / "simclr").checkpoint.path
    before = {file: file.read_bytes() for file in checkpoint.iterdir()}
    log = (runs / "simclr" / "log.jsonl").read_bytes()
    assert call("evaluate", runs / "simclr", bars, *QUICK, "--out", tmp_path / "out") == 0
    assert {file: file.read_bytes() for file in checkpoint.iterdir()} == before
    assert (runs / "simclr" / "log.jsonl").read_bytes() == log
