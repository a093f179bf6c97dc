"""The commands about word vectors, on a file and on a run: what is printed and said."""

from types import SimpleNamespace

import numpy as np
import pytest

from minissl.cli import main
from minissl.cli.neighbors import signs_of
from minissl.data.vector_files import read_vectors, write_vectors
from minissl.data.vectors import WordVectors
from minissl.pretrain import run as pretraining
from minissl.pretrain.method import HasVectors
from tests.pretrain.toy import load_method, toy_data, toy_settings

WORDS = ["king", "queen", "man", "woman", "throne", "-"]
VECTORS = WordVectors(WORDS, [[2, 1], [2, -1], [0.1, 1], [0.1, -1], [3, 0], [-1, 0.2]])


class Words:
    """A method that has word vectors."""

    def vectors(self):
        return VECTORS


def call(capsys, *arguments):
    """The lines that a command prints, or its error."""
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert (status == 0) == (not said.err)
    return said.out.splitlines() if status == 0 else said.err


@pytest.fixture(params=["file", "run"])
def place(request, tmp_path, monkeypatch):
    """A file of vectors, or the folder of a run that has the same."""
    if request.param == "file":
        write_vectors(VECTORS, tmp_path / "a.bin")
        return tmp_path / "a.bin"
    opened = SimpleNamespace(name="words", method=Words())
    monkeypatch.setattr(pretraining, "open_run", lambda folder: opened)
    return tmp_path


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    """A run without word vectors."""
    folder = tmp_path_factory.mktemp("gpt")
    settings = toy_settings("gpt")
    data = toy_data("gpt", settings)
    pretraining.pretrain(load_method("gpt"), data, settings, folder, progress=False)
    return folder


def test_a_method_has_vectors_or_not():
    assert isinstance(Words(), HasVectors)
    assert not isinstance(object(), HasVectors)


def test_neighbors_has_a_column_for_each_word(place, capsys):
    assert call(capsys, "neighbors", place, "king", "man", "--count", 2) == [
        "6 words, 2 numbers each",
        "  king           man",
        "  throne  0.894  king    0.534",
        "  queen   0.600  throne  0.100",
    ]


@pytest.mark.parametrize(
    ("options", "rule", "score"),
    [([], "3CosAdd", "1.490"), (["--rule", "multiply"], "3CosMul", "1.900")],
)
def test_a_sum_is_asked_with_its_signs(place, capsys, options, rule, score):
    lines = call(capsys, "neighbors", place, *"king - man + woman --count 1".split(), *options)
    assert lines[1] == f"  king - man + woman ({rule})"
    assert lines[2].split() == ["queen", score]
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("words", "signs"),
    [
        ("king - man + woman", ["+", "-", "+"]), ("a + b", ["+", "+"]), ("- - -", ["+", "-"]),
        ("king", []), ("-", []), ("a -", []), ("- a", []), ("a b c", []), ("a - b +", []),
        ("a - b c d", []), ("a + b - c d", []),
    ],
)  # fmt: skip
def test_a_lone_sign_is_a_word(words, signs):
    assert signs_of(words.split()) == signs


@pytest.mark.parametrize("words", ["king - man + woman", "king - man +  woman "])
def test_a_sum_in_quotes_is_the_same_sum(place, capsys, words):
    assert call(capsys, "neighbors", place, words) == call(
        capsys, "neighbors", place, *words.split()
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("king +", "'king +' is no sum: expected a + between two words"),
        ("king + + man", "'king + + man' is no sum"),
        ("king man + woman", "'king man + woman' is no sum"),
        ("king - king", "'king' is added and taken away"),
    ],
)
def test_what_is_no_sum_is_told_as_one(place, capsys, words, said):
    assert main(["neighbors", str(place), *words.split()]) == 1
    assert said in capsys.readouterr().err


def test_a_word_that_is_a_minus_has_neighbors(place, capsys):
    assert call(capsys, "neighbors", place, "-", "--count", 1)[2].split()[0] == "man"
    assert call(capsys, "neighbors", place, "--count", 1, "--", "-", "king")[2].split()[0] == "man"


def test_an_analogy_is_answered_by_both_rules(place, capsys):
    lines = call(capsys, "analogy", place, "man", "king", "woman")
    assert lines[:2] == ["6 words, 2 numbers each", "man is to king as woman is to"]
    assert lines[2].split() == ["3CosAdd", "3CosMul"]
    assert lines[3].split()[::2] == ["queen", "queen"]
    assert len(lines) == 3 + 3  # three of six words are given
    one = call(capsys, "analogy", place, "man", "king", "woman", "--rule", "add", "--count", 1)
    assert one[2].split() == ["3CosAdd"]
    assert one[3:] == ["  queen    1.490"]


def test_questions_are_counted_by_section(place, capsys, tmp_path):
    lines = ["man king woman queen", "man king woman emperor", ": gram1", "king man queen throne"]
    file = tmp_path / "q.txt"
    file.write_text("\n".join([": family", *lines, ""]), encoding="utf-8")
    assert call(capsys, "analogy", place, "--questions", file) == [
        f"6 words, 2 numbers each; {file}",
        "section              known   3CosAdd   3CosMul",
        "family              1 of 2    100.0%    100.0%",
        "gram1               1 of 1    100.0%    100.0%",
        "----------------------------------------------",
        "semantic            1 of 2    100.0%    100.0%",
        "syntactic           1 of 1    100.0%    100.0%",
        "all                 2 of 3    100.0%    100.0%",
    ]
    first = call(capsys, "analogy", place, "--questions", file, "--most", 2, "--rule", "add")
    assert first[0].startswith("6 words, 2 numbers each, the first 2 of them; ")
    assert first[2] == "family              0 of 2         -"


def test_without_a_file_the_toy_sets_are_asked(place, capsys):
    lines = call(capsys, "analogy", place)
    assert lines[0].endswith("a toy set, which compares with nothing published")
    assert lines[2].startswith("family                    2 of 42 ")
    lines = call(capsys, "wordsim", place)
    assert lines[2].startswith("a toy set, which compares with nothing published ")
    assert lines[2].split()[-4:] == ["2", "of", "48", "1.000"]


def test_wordsim_has_a_row_for_each_file(place, capsys, tmp_path):
    (tmp_path / "a.tsv").write_text(
        "x\ty\tscore\nking\tthrone\t9\nking\tman\t3\nking\tthe\t1\n", encoding="utf-8"
    )
    (tmp_path / "b.csv").write_text("king,throne,1\nking,the,3\n", encoding="utf-8")
    lines = call(capsys, "wordsim", place, "--pairs", tmp_path / "a.tsv", tmp_path / "b.csv")
    assert [line.split()[-4:] for line in lines[2:]] == [
        ["2", "of", "3", "1.000"], ["1", "of", "2", "-"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("neighbors", "king", "quen"), "no vector of the word 'quen' among 6; .* 'queen'"),
        (("neighbors", "king", "--rule", "add"), "--rule is of a sum"),
        (("analogy", "man", "king", "wman"), "no vector of the word 'wman' .* 'woman'"),
        (("analogy", "man", "king"), r"got 2 word\(s\), \['man', 'king'\]: expected three"),
        (("analogy", "a", "b", "c", "--most", 3), "--questions and --most are for many"),
        (("analogy", "--count", 3), "--count is for one question"),
        (("analogy", "--questions", "none.txt"), "none.txt"),
        (("wordsim", "--pairs", "none.tsv"), "none.tsv"),
    ],
)
def test_what_cannot_be_asked_is_said(place, capsys, arguments, said):
    import re

    name, *rest = arguments
    assert re.search(said, call(capsys, name, place, *rest))


@pytest.mark.parametrize("command", ["neighbors", "analogy", "wordsim"])
def test_what_has_no_word_vectors_is_named(command, capsys, tmp_path, gpt):
    word = ["king"] if command == "neighbors" else []
    assert "a run of 'gpt', which has no word vectors; methods that have: " in call(
        capsys, command, gpt, *word
    )
    assert "no file '" in call(capsys, command, tmp_path / "none.vec", *word)
    (tmp_path / "a.vec").write_text("2 2\nking 1 2\n", encoding="utf-8")
    assert "a.vec cannot be read as word vectors: its first line promises 2 words" in call(
        capsys, command, tmp_path / "a.vec", *word
    )
    (tmp_path / "a.npz").write_text("", encoding="utf-8")
    assert "ends with .vec" in call(capsys, command, tmp_path / "a.npz", *word)


# ---- export --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".vec", ".bin", ".txt"])
def test_a_run_is_exported_as_a_file(tmp_path, monkeypatch, capsys, suffix):
    opened = SimpleNamespace(name="words", method=Words())
    monkeypatch.setattr(pretraining, "open_run", lambda folder: opened)
    out = tmp_path / "new folder" / f"words{suffix}"
    (line,) = call(capsys, "export", tmp_path, out)
    found = read_vectors(out)
    assert found.words == WORDS
    np.testing.assert_array_equal(found.matrix, VECTORS.matrix)
    assert line.startswith(f"{out}: 6 words, 2 numbers each; ")
    assert ("binary=True" in line, "no_header=True" in line) == (suffix == ".bin", suffix == ".txt")
    before = out.read_bytes()
    assert f"{out} is there already" in call(capsys, "export", tmp_path, out)
    assert out.read_bytes() == before


def test_word_vectors_are_no_folder_and_a_gpt_is_no_file(tmp_path, monkeypatch, capsys, gpt):
    said = call(capsys, "export", gpt, tmp_path / "a.vec")
    assert "a run of 'gpt', which has no word vectors" in said
    opened = SimpleNamespace(name="words", method=Words())
    monkeypatch.setattr(pretraining, "open_run", lambda folder: opened)
    assert "ends with .vec (word2vec text)" in call(capsys, "export", tmp_path, tmp_path / "folder")
    assert not [*tmp_path.iterdir()]


def test_a_text_of_which_no_word_is_known_is_told(tmp_path, capsys):
    settings = toy_settings("skipgram")
    data, run = toy_data("skipgram", settings), tmp_path / "run"
    pretraining.pretrain(load_method("skipgram"), data, settings, run, progress=False)
    (tmp_path / "unknown.txt").write_text("qqq zzz", encoding="utf-8")
    (tmp_path / "known.txt").write_text(data.documents[0].text, encoding="utf-8")
    for name, lines in (("unknown", 2), ("known", 1)):
        text, out = tmp_path / f"{name}.txt", tmp_path / f"{name}.npz"
        said = call(capsys, "embed", run, text, "--out", out)
        assert len(said) == lines, said
    assert "unknown.txt has nothing that" in call(capsys, "evaluate", run, tmp_path / "unknown.txt")
