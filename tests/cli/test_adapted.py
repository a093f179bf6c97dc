"""What is done with adaptations on the command line, and what goes wrong with their data there."""

import csv
import json
import shutil

import numpy as np
import pytest

from minissl.cli import main
from minissl.data import Fields
from minissl.data.asked import READS, load_reads, refuse_unread
from tests.adapt.toy import adapted, toy_base
from tests.pretrain.test_every_method import snapshot

WORDS = {"pos": "good great fine", "neg": "bad awful poor"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of texts and one of labelled images, each with adaptations beside it."""
    folder = tmp_path_factory.mktemp("runs")
    for base, names in (("gpt", ("probe", "lora", "regression")), ("supervised", ("probe",))):
        opened = toy_base(base, folder / base)
        for name in names:
            adapted(name, opened, folder / f"{base}-{name}")
    return folder


def write_table(path, rows, header=("text", "label")):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def reviews(count=30):
    return [(f"{WORDS[('neg', 'pos')[i % 2]]} {i}", ("neg", "pos")[i % 2]) for i in range(count)]


def test_every_row_and_file_is_predicted_once(runs, tmp_path, capsys):
    run = str(runs / "gpt-probe")
    table = write_table(tmp_path / "a.csv", [("good " * 5000, ""), ("", ""), ("bad", "")])
    assert main(["predict", run, table]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert [row[0] for row in rows[1:]] == [f"a.csv, line {line}" for line in (2, 3, 4)]
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "long.txt").write_text("good\n\n" * 5000, encoding="utf-8")
    (folder / "none.txt").write_text("", encoding="utf-8")
    for command in (["predict", run], ["embed", run], ["embed", str(runs / "gpt")]):
        out = str(tmp_path / ("e.npz" if command[0] == "embed" else "e.csv"))
        assert main([*command, str(folder), "--out", out]) == 0
        text = capsys.readouterr().out
        assert ": 2 " in text
    assert np.load(tmp_path / "e.npz")["names"].tolist() == ["long.txt", "none.txt"]


def test_a_run_that_was_trained_on_labels_reads_examples_without_any(runs, tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.zeros((3, 8, 8), np.uint8))
    data = str(tmp_path / "a.npy")
    assert main(["predict", str(runs / "supervised-probe"), data]) == 0
    assert capsys.readouterr().out.count("a.npy[") == 3
    for run in ("supervised", "supervised-probe"):
        assert main(["embed", str(runs / run), data, "--out", str(tmp_path / "e.npz")]) == 0


def test_a_base_that_moved_is_named_with_an_option_that_every_command_has(runs, tmp_path, capsys):
    shutil.copytree(runs, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs" / "gpt")
    run, base = str(tmp_path / "runs" / "gpt-lora"), str(runs / "gpt")
    config = next((tmp_path / "runs" / "gpt-lora").glob("checkpoints/*/checkpoint.json"))
    assert str(runs / "gpt") in config.read_text(encoding="utf-8")
    (runs / "gpt").rename(runs / "moved")
    try:
        table = write_table(tmp_path / "a.csv", reviews())
        commands = [
            ["predict", run, table],
            ["evaluate", run, table],
            ["embed", run, table, "--out", str(tmp_path / "e.npz")],
        ]
        for command in commands:
            capsys.readouterr()
            assert main(command) == 1
            assert "say where it is (--base)" in capsys.readouterr().err
        (runs / "moved").rename(runs / "gpt")
        assert main([*commands[0], "--base", base]) == 0
        assert main([*commands[2], "--base", base]) == 0
        assert main(["embed", base, table, "--base", base]) == 1
        assert "is no adaptation" in capsys.readouterr().err
    finally:
        if (runs / "moved").exists():
            (runs / "moved").rename(runs / "gpt")


def test_an_older_checkpoint_can_be_adapted(runs, tmp_path, capsys):
    older = sorted((runs / "gpt" / "checkpoints").iterdir())[0]
    assert len([*older.parent.iterdir()]) > 1
    table, run = write_table(tmp_path / "a.csv", reviews()), str(tmp_path / "run")
    assert main(["adapt", "probe", str(older), table, "--run", run]) == 0
    printed = capsys.readouterr().out
    assert main(["evaluate", run]) == 0
    accuracy = float(capsys.readouterr().out.split()[-1])
    assert f"{100 * accuracy:.1f} %" in printed
    assert main(["predict", run, table]) == 0


def test_the_data_is_not_written_over_and_a_refused_call_makes_no_folder(runs, tmp_path, capsys):
    table = write_table(tmp_path / "a.csv", reviews())
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 8, 8), np.uint8))
    before = snapshot(tmp_path)
    for command, run, data, out in (
        ("predict", "gpt-probe", table, table),
        ("embed", "supervised", str(tmp_path / "a.npz"), str(tmp_path / "a.npz")),
    ):
        assert main([command, str(runs / run), data, "--out", out]) == 1
        assert "is the data itself" in capsys.readouterr().err
    for run, data in ((tmp_path / "none", table), (runs / "gpt-probe", str(tmp_path / "none"))):
        out = str(tmp_path / "new" / "out.csv")
        assert main(["predict", str(run), data, "--out", out]) == 1
    assert snapshot(tmp_path) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "labels", "words"),
    [
        ("probe", ["a", " "] * 15, "line 3: the field 'label' is the text ' '"),
        ("probe", ["a", "b", "a ", "b"] * 8, "'a' and 'a ' differ only by spaces"),
        ("probe", [str(i / 7) for i in range(30)], "minissl adapt regression"),
        ("finetune", [f"{i % 16}" for i in range(32)], "or --form number"),
        ("regression", ["1.5"] * 30, "from 1.5 to 1.5: there is nothing to tell apart"),
        ("regression", ["1", "2", "1e300"] * 10, "too far apart"),
    ],
)
def test_labels_that_make_no_sense_are_refused(name, labels, words, runs, tmp_path, capsys):
    table = write_table(tmp_path / "a.csv", [(f"good {i}", y) for i, y in enumerate(labels)])
    run = tmp_path / "run"
    assert main(["adapt", name, str(runs / "gpt"), table, "--run", str(run)]) == 1
    assert words in capsys.readouterr().err
    assert not run.exists()


def test_numbers_that_are_all_equal_measure_nothing(runs, tmp_path, capsys):
    table = write_table(tmp_path / "a.csv", [("good", "2"), ("bad", "2")])
    assert (
        main(["evaluate", str(runs / "gpt-regression"), table, "--out", str(tmp_path / "e")]) == 0
    )
    assert "to measure on are from 2 to 2" in capsys.readouterr().out


def test_a_label_that_is_nan_is_none(runs, tmp_path, capsys):
    rows = [{"text": f"good {i}", "label": float("nan") if i == 4 else i % 2} for i in range(30)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert main(["adapt", "probe", str(runs / "gpt"), str(tmp_path / "a.jsonl")]) == 1
    assert "line 5: the field 'label' is NaN" in capsys.readouterr().err


def test_a_draw_of_all_examples_has_no_spread(runs, tmp_path, capsys):
    table = write_table(tmp_path / "a.csv", reviews())
    draws = ["adapt", "probe", str(runs / "gpt"), table, "--draws"]
    assert main([*draws, "1000000000"]) == 0  # the same every time: one is enough
    assert "±" not in capsys.readouterr().out
    assert main([*draws, "2", "--labels-per-class", "2"]) == 0
    assert "±" in capsys.readouterr().out


def test_a_name_of_a_method_that_is_none_is_damage(runs, tmp_path, capsys):
    import hashlib

    for run, role in (("gpt", "method"), ("gpt-probe", "adaptation")):
        shutil.copytree(runs / run, tmp_path / run)
        for file in (tmp_path / run).glob("checkpoints/*/checkpoint.json"):
            old = file.read_bytes()
            state = json.loads(old)
            state["config"][role] = ["gpt"]
            file.write_text(json.dumps(state), encoding="utf-8")
            sums = file.with_name("SHA256SUMS")
            digests = [hashlib.sha256(data).hexdigest() for data in (old, file.read_bytes())]
            sums.write_text(sums.read_text(encoding="utf-8").replace(*digests), encoding="utf-8")
        capsys.readouterr()
        assert main(["evaluate", str(tmp_path / run)]) == 1
        assert f"{tmp_path / run} says that it is a run of ['gpt']" in capsys.readouterr().err


# ---- labels of other shapes ----------------------------------------------------------------------

FORMS = {
    "tags": ("a.conll", "cat O\ndog B-x\n\n" * 6),
    "span": ("a.json", {"data": [{"paragraphs": [
        {"context": f"a cat {i}", "qas": [
            {"id": f"{i}", "question": "who?", "answers": [{"text": "cat", "answer_start": 2}]}
        ]} for i in range(6)
    ]}]}),
    "choice": ("a.csv", "text,ending0,ending1,label\n" + "a,b,c,1\n" * 6),
}  # fmt: skip
SHORT = ["--steps", "2", "--batch-size", "2", "--quiet", "--form"]


@pytest.fixture(params=FORMS)
def asked(request, tmp_path):
    """A form and a file of it."""
    name, content = FORMS[request.param]
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / name).write_text(text, encoding="utf-8")
    return request.param, str(tmp_path / name)


def test_options_that_say_nothing_of_the_data_are_refused(asked, runs, tmp_path, capsys):
    form, data = asked
    base, run = str(runs / "gpt"), str(tmp_path / "run")
    command = ["adapt", "lora", base, data, *SHORT, form]
    for option in ("--second-field", "--image-field"):
        assert main([*command, option, "x"]) == 1
        assert "is read without it: leave it out" in capsys.readouterr().err
    assert main([*command, "--labels-per-class", "1"]) == 1
    told = capsys.readouterr().err
    assert "labels_per_class is 1" in told
    assert "leave it out" in told
    assert main([*command, "--run", run]) == 0
    for command in ("predict", "evaluate"):
        assert main([command, run, data, "--second-field", "x"]) == 1
        assert "second_field is 'x'" in capsys.readouterr().err
    for option in (["--labels", "1"], ["--finetune"], ["--out", str(tmp_path / "out")]):
        assert main(["evaluate", run, data, *option]) == 1
        assert f"{option[0]} is of the table" in capsys.readouterr().err
    assert main(["evaluate", run, data, "--curves", "--out", str(tmp_path / "out")]) == 0
    assert "curves.svg" in capsys.readouterr().out


@pytest.mark.parametrize("name", READS)
def test_each_shape_says_which_columns_it_has(name):
    kind = load_reads(name)
    refuse_unread(kind, Fields())
    for field in ("text_field", "second_field", "label_field", "image_field"):
        fields = Fields(**{field: "x"})
        if field in kind.fields or (field == "label_field" and kind.fields):
            refuse_unread(kind, fields)
        else:
            with pytest.raises(ValueError, match=rf"{field} is 'x', and such data \({name}\)"):
                refuse_unread(kind, fields)


def test_a_base_that_is_given_is_looked_at_even_where_none_is_needed(runs, tmp_path, capsys):
    table, run = write_table(tmp_path / "a.csv", reviews()), str(tmp_path / "run")
    data = [table, "--steps", "2", "--quiet", "--run", run]
    assert main(["adapt", "finetune", str(runs / "gpt"), *data]) == 0
    assert main(["predict", run, table, "--base", str(runs / "gpt")]) == 0
    assert main(["predict", run, table, "--base", str(runs / "supervised")]) == 1
    assert "has other weights" in capsys.readouterr().err


def test_questions_to_one_text_leave_none_to_learn_from(runs, tmp_path, capsys):
    name, content = FORMS["span"]
    for paragraph in content["data"][0]["paragraphs"]:
        paragraph["context"] = "a cat"
    (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    assert main(["adapt", "lora", str(runs / "gpt"), str(tmp_path / name)]) == 1
    assert "questions to another text" in capsys.readouterr().err


def test_of_a_choice_that_is_too_long_a_decoder_loses_the_beginning(runs, tmp_path, capsys):
    (tmp_path / "a.csv").write_text(
        FORMS["choice"][1].replace("a,", "a b c d " * 99 + ","), encoding="utf-8"
    )
    assert (
        main(["adapt", "lora", str(runs / "gpt"), str(tmp_path / "a.csv"), *SHORT, "choice"]) == 0
    )
    assert "their beginnings are cut" in capsys.readouterr().out
