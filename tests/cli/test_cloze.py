"""``minissl cloze``: what is printed of a run, and what is refused."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from minissl.cli import main
from minissl.data.cloze import ClozePair, read_pairs, small_zoo, to_tsv
from minissl.pretrain import load_method
from minissl.pretrain import run as pretraining
from tests.pretrain.toy import toy_data, toy_settings


def call(capsys, *arguments):
    """The lines that a command prints, or its error."""
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert (status == 0) == (not said.err)
    return said.out.splitlines() if status == 0 else said.err


class Answers:
    """A method whose ln p of an answer is minus its length, wherever it stands."""

    device = ""

    def score(self, prompts, answers):
        return -np.array([float(len(answer)) for answer in answers])

    def to(self, device):
        self.device = device


@pytest.fixture
def model(monkeypatch):
    opened = SimpleNamespace(name="toy", method=Answers())
    monkeypatch.setattr(pretraining, "open_run", lambda folder: opened)
    return opened.method


def test_a_table_and_examples_of_pairs_in_a_file(model, tmp_path, capsys):
    file = tmp_path / "pairs.tsv"
    file.write_text(to_tsv([
        ClozePair("number", "put a", " fork", " forks"),
        ClozePair("number", "put two", " forks", " fork"),
        ClozePair("number", "put one", " cup", " cups"),
        ClozePair("mine", "", "A", "B"),
    ]), encoding="utf-8")  # fmt: skip
    assert call(capsys, "cloze", "run", file, "--examples", "2") == [
        "kind        pairs  right %     nats",
        "number          3     66.7    +0.33",
        "mine            1     50.0    +0.00",
        "all kinds       4     58.3    +0.17",
        "chance                50.0    +0.00",
        "of 1 pairs a coin gets 0 to 100 % in 95 of 100 tries; nats: mean of ln p(right) - "
        "ln p(wrong)",
        "number: put a ...",
        "    fork -5.00  >   forks -6.00",
        "number: put two ...",
        "    forks -6.00  <   fork -5.00",
        "mine:  ...",
        "   A -1.00  =  B -1.00",
    ]
    assert model.device == "cpu"


def test_the_pairs_of_a_seed_are_written_and_asked_again(model, tmp_path, capsys):
    file = tmp_path / "new" / "zoo.tsv"
    said = call(capsys, "cloze", "run", "--count", "20", "--seed", "3", "--write-pairs", file)
    assert said[0] == f"{file}: 140 pairs"
    assert read_pairs(file) == small_zoo(20, 3)
    assert call(capsys, "cloze", "run", file) == said[1:]
    assert "of 20 pairs a coin gets 28 to 72 %" in said[-1]


def test_pairs_are_written_without_a_run(tmp_path, capsys):
    file = tmp_path / "zoo.tsv"
    assert call(capsys, "cloze", "--write-pairs", file) == [f"{file}: 700 pairs"]
    assert "is there already: name a new file" in call(capsys, "cloze", "--write-pairs", file)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which model? Give the folder of a run, or --write-pairs FILE"),
        (["run", "--count", "7"], "--count must be even, for pairs come in twos; got 7"),
        (["run", "--count", "500"], "different pairs about trivia, asked for 500"),
        (["run", "pairs.tsv", "--count", "6"], "--count is of generated pairs: leave it out"),
        (["run", "pairs.tsv", "--seed", "0"], "--seed is of generated pairs"),
        (["run", "pairs.tsv", "--write-pairs", "x.tsv"], "--write-pairs is of generated pairs"),
        (["run", "gone.tsv"], "gone.tsv"),
    ],
)
def test_what_does_not_fit_together_is_told(model, arguments, said, capsys):
    assert said in call(capsys, "cloze", *arguments)


def run_of(name, folder):
    settings = toy_settings(name)
    pretraining.pretrain(
        load_method(name), toy_data(name, settings), settings, folder, progress=False
    )
    return folder


def test_a_run_is_asked_and_one_that_cannot_score_is_refused(tmp_path, capsys):
    lines = call(capsys, "cloze", run_of("gpt", tmp_path / "gpt"), "--count", "4")
    assert [line.split()[0] for line in lines[1:8]] == [
        "trivia", "grammar", "coreference", "topic", "sentiment", "location", "sequence",
    ]  # fmt: skip
    assert all(re.search(r" 4 +\d+\.\d +[+-]\d+\.\d\d$", line) for line in lines[1:8])
    said = call(capsys, "cloze", run_of("simclr", tmp_path / "images"))
    assert "holds a run of 'simclr', which cannot say how likely a text is; methods that" in said
    assert re.search(r"methods that can: .*gpt", said)


def test_pairs_that_are_not_fair_are_told(tmp_path, capsys):
    settings = toy_settings("gpt")
    run, file = tmp_path / "run", tmp_path / "pairs.tsv"
    pretraining.pretrain(
        load_method("gpt"), toy_data("gpt", settings), settings, run, progress=False
    )
    file.write_text(to_tsv([ClozePair("same", "the", " q", " z")]), encoding="utf-8")
    fair = call(capsys, "cloze", run, file)
    more = [
        ClozePair("more", "the", " qqqq", " z"), ClozePair("fewer", "the", " z", " qq"),
        ClozePair("long", "xyz" * 30, " q", " z"),
    ]  # fmt: skip
    file.write_text(to_tsv(more), encoding="utf-8")
    said = call(capsys, "cloze", run, file)[-2:]
    assert not any("tokens than" in line or "not seen" in line for line in fair)
    assert said[0].startswith(
        "in 1 pairs the right answer has more tokens than the wrong one, in 1"
    )
    assert said[1] == "1 prompts are longer than the context: their beginnings are not seen"
