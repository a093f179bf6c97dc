"""Task files from the command line: the glossary, a probe, its evaluation, and new examples."""

import csv
import io
import json
import re

import pytest

from minissl.adapt.run import open_adaptation
from minissl.cli import main
from minissl.data import Fields
from minissl.data.tasks import TASKS
from tests.cli.test_fields import TEXTS, pretrain


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run on texts, and two files of tasks."""
    folder = tmp_path_factory.mktemp("tasks")
    sentences = [f"{'so good' if n % 2 else 'so bad'} number {n}" for n in range(30)]
    rows = [f"{text}\t{n % 2}\n" for n, text in enumerate(sentences)]
    (folder / "train.tsv").write_text("sentence\tlabel\n" + "".join(rows), encoding="utf-8")
    (folder / "test.tsv").write_text(
        "index\tsentence\n0\tso bad number 7\n1\tgood\n", encoding="utf-8"
    )
    rows = [f"x\t{n % 2}\t{'' if n % 2 else '*'}\t{text}\n" for n, text in enumerate(sentences)]
    (folder / "in_domain_train.tsv").write_text("".join(rows), encoding="utf-8")
    (folder / "texts.jsonl").write_text(
        "".join(json.dumps({"body": t}) + "\n" for t in TEXTS), encoding="utf-8"
    )
    assert pretrain(folder / "texts.jsonl", folder / "gpt", "--text-field", "body") == 0
    return folder


def test_a_task_is_learned_measured_and_its_test_file_predicted(place, tmp_path, capsys):
    run, base = str(tmp_path / "run"), str(place / "gpt")
    options = ["--layout", "cola", "--run", run]
    assert main(["adapt", "probe", base, str(place / "in_domain_train.tsv"), *options]) == 0
    printed = capsys.readouterr().out
    assert "20 labelled examples of 2 classes, 10 held out" in printed
    assert re.search(r"^held out +accuracy +matthews$", printed, re.M)
    found = re.findall(r"^gpt +[\d.]+ % +(-?[\d.]+)$", printed, re.M)
    assert open_adaptation(run).read_fields() == Fields(layout="cola")
    assert open_adaptation(run).data.class_names == ("acceptable", "unacceptable")
    assert main(["evaluate", run]) == 0  # from its own data, by the layout that it remembers
    own = dict(re.findall(r"^held out (\w+) +(-?[\d.e-]+)$", capsys.readouterr().out, re.M))
    assert own.keys() == {"accuracy", "matthews"}
    assert f"{float(own['matthews']):.3f}" == found[0]
    opened = open_adaptation(run)  # on all of a file, as `minissl evaluate RUN DATA`
    raw = opened.read(place / "in_domain_train.tsv", opened.read_fields())
    assert "held_out_matthews" in opened.on(opened.data.unseen(raw)).evaluate()
    assert main(["predict", run, str(place / "test.tsv")]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["name"] for row in table] == ["test.tsv, line 2", "test.tsv, line 3"]
    assert {row["prediction"] for row in table} <= {"acceptable", "unacceptable"}
    # Columns by their names stand instead of the run's layout, and a layout instead of names.
    assert main(["predict", run, str(place / "texts.jsonl")]) == 1
    error = capsys.readouterr().err
    assert "line 1 has the fields body: a file of CoLA has a first line that names" in error
    assert main(["predict", run, str(place / "texts.jsonl"), "--text-field", "body"]) == 0
    assert main(["embed", base, str(place / "train.tsv"), "--layout", "sst-2",
                 "--out", str(tmp_path / "a.npz")]) == 0  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layout", "snli"], "a file of SNLI"),
        (["--layout", "sst-2", "--text-field", "x"], "text_field is 'x', but the layout sst-2"),
        ([], "it has sentence, label: say which one it is with --text-field"),
    ],
)
def test_what_does_not_fit_is_said(words, message, place, capsys):
    call = ["adapt", "probe", str(place / "gpt"), str(place / "train.tsv"), *words]
    assert main(call) == 1
    assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*call, "--layout", "sst"])
    assert "argument --layout: must be one of '', cola, mnli" in capsys.readouterr().err


def test_the_glossary_and_the_table_that_recomputes(capsys):
    assert main(["data", "tasks"]) == 0
    printed = capsys.readouterr().out
    for task in TASKS.values():
        assert f"{task.title}: {task.question}\n" in printed
        assert f"--layout {task.name}: a first line that names " in printed
        assert f"{task.examples:,} examples to learn from" in printed
    assert all(len(line) <= 102 for line in printed.splitlines())
    rows = re.findall(r"^(\S.*?) {2,}((?:[\d.]+ +){11}[\d.]+)$", printed, re.M)
    assert [name for name, _ in rows] == [
        "Pre-OpenAI SOTA", "BiLSTM+ELMo+Attn", "OpenAI GPT", "BERT-base", "BERT-large",
    ]  # fmt: skip
    for _, cells in rows:
        *nine, of_nine, of_eight, average = map(float, cells.split())
        assert of_nine == pytest.approx(sum(nine) / 9, abs=0.005)
        assert of_eight == pytest.approx((sum(nine[:2]) / 2 + sum(nine[2:])) / 8, abs=0.006)
        assert round(sum(nine) / 9, 1) == average
    assert "the mean of the nine numbers of the row: the two test sets" in " ".join(printed.split())
