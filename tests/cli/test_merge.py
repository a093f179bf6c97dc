"""``minissl merge``: from the folder of an adaptation to one that needs no other."""

import csv
import shutil

import pytest

from minissl.cli import main
from tests.adapt.toy import adapted, toy_base
from tests.pretrain.test_every_method import snapshot

WORDS = {"pos": "good great fine", "neg": "bad awful poor"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("merge")
    opened = toy_base("gpt", folder / "gpt")
    for name in ("lora", "adapters"):
        adapted(name, opened, folder / name)
    with open(folder / "more.csv", "w", encoding="utf-8", newline="") as file:
        rows = [(f"{WORDS[label]} {i}", label) for i in range(9) for label in WORDS]
        csv.writer(file).writerows([("text", "label"), *rows])
    return folder


def predictions(run, runs, capsys):
    capsys.readouterr()
    assert main(["predict", str(run), str(runs / "more.csv")]) == 0
    return capsys.readouterr().out


def test_it_predicts_the_same_when_the_run_is_gone(runs, tmp_path, capsys):
    expected = predictions(runs / "lora", runs, capsys)
    out = tmp_path / "new" / "merged"
    assert main(["merge", str(runs / "lora"), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"{out}: what lora learned is in 8,338 weights, 33.4 kB" in printed
    assert f"now: minissl predict {out} DATA" in printed
    (runs / "gpt").rename(runs / "gone")
    try:
        assert predictions(out, runs, capsys) == expected
        assert (
            main(["embed", str(out), str(runs / "more.csv"), "--out", str(tmp_path / "e.npz")]) == 0
        )
        assert main(["merge", str(runs / "lora"), "--out", str(tmp_path / "second")]) == 1
        assert "say where it is (--base)" in capsys.readouterr().err
        base = ["--base", str(runs / "gone")]
        assert main(["merge", str(runs / "lora"), "--out", str(tmp_path / "second"), *base]) == 0
        assert predictions(tmp_path / "second", runs, capsys) == expected
    finally:
        (runs / "gone").rename(runs / "gpt")
    assert main(["merge", str(out), "--out", str(tmp_path / "third")]) == 1
    assert "is by finetune and has all of its weights" in capsys.readouterr().err


def test_what_is_refused_writes_nothing(runs, tmp_path, capsys):
    shutil.copytree(runs, tmp_path / "runs")
    place = tmp_path / "runs"
    before = snapshot(tmp_path)
    for words, message in (
        (("adapters", "new"), "by adapters and cannot be merged"),
        (("gpt", "new"), "which was not adapted"),
        (("lora", "gpt"), "gpt is there already: name a new folder"),
        (("lora", "lora"), "lora is there already"),
        (("none", "new"), "there is no such folder"),
    ):
        run, out = (str(place / word) for word in words)
        assert main(["merge", run, "--out", out]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["merge", str(place / "lora")])
    assert "--out" in capsys.readouterr().err
    assert snapshot(tmp_path) == before
