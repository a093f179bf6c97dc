"""``minissl embed --each``: a vector for each piece of a text, with its name and its text."""

import numpy as np
import pytest

from minissl.adapt.run import open_any
from minissl.cli import main
from minissl.text.words import words_of
from tests.adapt.toy import adapted, toy_base


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    opened = {name: toy_base(name, folder / name) for name in ("gpt", "lstm", "elmo", "simclr")}
    adapted("finetune", opened["gpt"], folder / "tuned")
    asked = {"template": "{text} so {class}"}
    adapted("zero-shot", opened["gpt"], folder / "asked", changes=asked)
    return folder


def embedded(run, table, out, *more):
    assert main(["embed", str(run), str(table), "--each", "--out", str(out), *more]) == 0
    with np.load(out) as found:
        return {name: found[name] for name in found.files}


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text("text\nthe cat sat\n\na dog: zebras ran!\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["gpt", "lstm", "elmo", "tuned"])
def test_each_piece_has_its_vector_its_name_and_its_text(name, runs, table, tmp_path):
    found = embedded(runs / name, table, tmp_path / "each.npz")
    assert main(["embed", str(runs / name), str(table), "--out", str(tmp_path / "all.npz")]) == 0
    means = np.load(tmp_path / "all.npz")["features"]
    assert found["features"].dtype == np.float32
    assert len(found["features"]) == len(found["pieces"]) == len(found["text"])
    assert len(found["names"]) == len(means)
    for number, mean in enumerate(means):  # the vector of a text is the mean of those of its pieces
        own = found["features"][found["text"] == number]
        np.testing.assert_allclose(own.mean(axis=0) if len(own) else 0 * mean, mean, atol=1e-5)


def test_the_words_of_elmo_are_those_of_the_texts(runs, table, tmp_path):
    found = embedded(runs / "elmo", table, tmp_path / "each.npz")
    assert found["pieces"].tolist() == words_of("the cat sat a dog: zebras ran!")
    once = found["features"][found["pieces"].tolist().index("cat")]
    table.write_text("text\na dog saw the cat\n", encoding="utf-8")
    again = embedded(runs / "elmo", table, tmp_path / "again.npz")
    there = again["features"][again["pieces"].tolist().index("cat")]
    assert np.abs(once - there).max() > 1e-3  # the same word, another sentence


def test_the_pieces_of_a_gpt_spell_the_text_behind_a_separator(runs, tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("text\nthe cät\n", encoding="utf-8")
    pieces = embedded(runs / "lstm", path, tmp_path / "each.npz")["pieces"].tolist()
    assert pieces[0] == "<|endoftext|>"
    assert "".join(pieces[1:]).replace("\ufffd\ufffd", "ä") == "the cät"


def test_a_text_that_is_cut_is_told(runs, tmp_path, capsys):
    path = tmp_path / "long.csv"
    path.write_text("text\n" + "the cat sat " * 60 + "\nthe cat\n", encoding="utf-8")
    found = embedded(runs / "gpt", path, tmp_path / "each.npz")
    assert "1 of 2 texts are longer than the 12 tokens or words" in capsys.readouterr().out
    context = open_any(runs / "gpt").method.longest
    assert np.bincount(found["text"])[0] == context
    names = found["pieces"][found["text"] == 0].tolist()
    assert "<|endoftext|>the cat sat".startswith("".join(names)[:24])  # from its beginning


def test_images_have_no_pieces(runs, tmp_path, capsys):
    out = tmp_path / "each.npz"
    assert main(["embed", str(runs / "simclr"), "--each", "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "has no vector for each piece" in said
    assert "elmo" in said
    assert not out.exists()


def test_a_prediction_of_what_is_not_read_is_told(runs, tmp_path, capsys):
    """On stderr beside a table that is printed, on stdout beside one that is written."""
    path = tmp_path / "texts.csv"
    path.write_text("text\n" + "the cat sat " * 60 + '\n""\nthe cat\n', encoding="utf-8")
    for more, stream in ((["--out", str(tmp_path / "p.csv")], "out"), ([], "err")):
        assert main(["predict", str(runs / "tuned"), str(path), *more]) == 0
        said = getattr(capsys.readouterr(), stream)
        assert "1 of 3 texts are longer than the 12 tokens" in said
        assert "1 of 3 examples, " in said
        assert "hold nothing that the run knows" in said


def test_a_question_has_less_room_for_a_text(runs, tmp_path, capsys):
    method = open_any(runs / "asked").method
    room = int(method.longest)
    assert 1 < room < method.base.longest
    path = tmp_path / "texts.csv"
    path.write_text("text\n" + "the cat sat " * 60 + "\nthe cat\n", encoding="utf-8")
    for command, longest in (("predict", room), ("embed", method.base.longest)):
        out = ["--out", str(tmp_path / f"{command}.npz")]
        assert main([command, str(runs / "asked"), str(path), *out]) == 0
        assert f"1 of 2 texts are longer than the {longest} tokens" in capsys.readouterr().out


def test_an_adaptation_tells_what_it_does_not_read(runs, tmp_path, capsys):
    path = tmp_path / "texts.csv"
    rows = ["the cat sat " * 60 + ",a", "the cat,b", "qq,a", "qqq,b", "a dog,a", "the dog,b"]
    path.write_text("\n".join(["text,label", *rows, ""]), encoding="utf-8")
    assert main(["adapt", "probe", str(runs / "elmo"), str(path), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "2 of 6 examples, texts.csv, line" in said
    assert main(["adapt", "probe", str(runs / "gpt"), str(path), "--quiet"]) == 0
    assert "1 of 6 texts are longer than the 12 tokens" in capsys.readouterr().out
