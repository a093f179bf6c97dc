"""Beginnings with endings: SWAG's published tables, others, and what is refused."""

import json

import numpy as np
import pytest

from minissl.data import Fields, Kept
from minissl.data.asked import Asked, examples_of, labelled_of
from minissl.data.choices import Alternatives, Choice, Choices
from tests.pretrain.toy import toy_data, toy_settings

SWAG = (
    ",video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,ending2,ending3,label\n"
    '0,a_1,7,"She opens it, and He",She opens it,He,gold,runs.,"sits, down.",waits.,is a door.,1\n'
    "1,a_2,8,Rain. The cat,Rain.,The cat,gen,sleeps.,is wet.,sings.,drives.,0\n"
)


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def prepared(name):
    settings = toy_settings(name, vocab_size=400)
    return toy_data(name, settings).prepare(Kept(), settings)


def test_swag_is_read_as_it_is_published(tmp_path):
    raw = Choices.read(write(tmp_path, "train.csv", SWAG))
    assert isinstance(raw, Asked)
    assert raw.choices == (
        Choice("train.csv, line 2", "She opens it",
               ("He runs.", "He sits, down.", "He waits.", "He is a door.")),
        Choice("train.csv, line 3", "Rain.",
               ("The cat sleeps.", "The cat is wet.", "The cat sings.", "The cat drives.")),
    )  # fmt: skip
    assert raw.labels.tolist() == [1, 0]
    test = "\n".join(line.rpartition(",")[0] for line in SWAG.splitlines())  # without labels
    assert (
        Choices.read_examples(write(tmp_path, "test.csv", test)).choices[0].first == "She opens it"
    )
    named = Choices.read(write(tmp_path, "train.csv", SWAG), fields=Fields(text_field="sent2"))
    assert named.choices[0][1:] == ("He", ("runs.", "sits, down.", "waits.", "is a door."))
    hub = SWAG.replace("\n0,", "\n").replace("\n1,", "\n").removeprefix(",")
    assert Choices.read(write(tmp_path, "hub.csv", hub)).labels.tolist() == [1, 0]


def test_any_table_with_endings_is_read(tmp_path):
    csv = "begin,ending0,ending1,ending2,right\nIt is,so.,not.,,1\nIs it,so?,no?,why?,2\n"
    fields = Fields(text_field="begin", label_field="right")
    raw = Choices.read(write(tmp_path, "a.csv", csv), None, fields)
    assert [one.seconds for one in raw.choices] == [("so.", "not."), ("so?", "no?", "why?")]
    assert raw.labels.tolist() == [1, 2]
    rows = [
        {"text": "It is", "ending0": "so.", "ending1": "not.", "label": 1},
        {"text": "Is it", "ending0": "so?", "ending1": "no?", "ending2": "why?", "label": "2"},
    ]
    lines = "\n".join(map(json.dumps, rows))
    again = Choices.read(write(tmp_path, "a.jsonl", lines))
    assert [one[1:] for one in again.choices] == [one[1:] for one in raw.choices]
    assert again.labels.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("text,ending0,label\na,b,0\n", r"columns ending0, ending1, \.\.\., .* ending0 among text"),
        ("text,label\na,0\n", r"two or more, found are none among text, label"),
        ("text,ending0,ending2,label\na,b,c,0\n", "found are ending0, ending2"),
        ("text,ending0,ending1,label\na,b,,0\n", r"line 2: ending1 is empty: give two endings"),
        ("text,ending0,ending1,ending2,label\na,b,,c,0\n", "line 2: ending1 is empty"),
        ("text,ending0,ending1,label\na,b,c,2\n", r"line 2: the label is '2', .* its 2 endings"),
        ("text,ending0,ending1,label\na,b,c,-1\n", "the label is '-1'"),
        ("text,ending0,ending1,label\na,b,c,b\n", "the label is 'b'"),
        ("text,ending0,ending1,label\na,b,c,0.0\n", r"the label is '0\.0'"),
        ("text,ending0,ending1,label\na,b,c,\n", "the field 'label' is empty, expected a label"),
        ("text,ending0,ending1,label\na,b,c," + "1" * 5000 + "\n", "the label is '1111"),
        ("text,ending0,ending1,label\n,b,c,0\n", "line 2: the field 'text' is empty"),
        ("first,ending0,ending1,label\na,b,c,0\n", "there is no field 'text', it has first"),
        ("text,ending0,ending1\na,b,c\n", "there is no field 'label'"),
    ],
)
def test_what_is_refused_names_file_and_line(tmp_path, text, words):
    with pytest.raises(ValueError, match=words) as told:
        Choices.read(write(tmp_path, "a.csv", text))
    assert "a.csv" in str(told.value)


def test_what_else_is_refused(tmp_path):
    path = write(tmp_path, "train.csv", SWAG)
    for read in (Choices.read, Choices.read_examples):
        with pytest.raises(ValueError, match="choices are read from a table"):
            read(None)
        with pytest.raises(ValueError, match="the layout snli is of another kind of examples"):
            read(path, None, Fields(layout="snli"))
    with pytest.raises(ValueError, match="a choice, asked for is 'class'"):
        Choices.read(path, labels="class")
    with pytest.raises(ValueError, match="no choices"):
        Choices([])
    with pytest.raises(ValueError, match=r"one has 1 ending\(s\)"):
        Choices([Choice("one", "a", ("b",))])
    two = [Choice("one", "a", ("b", "c"))]
    for labels, words in (
        ([2], "one has 2 endings, and the label 2"),
        ([-1], "the label -1"),
        ([0, 1], r"expected 1 whole numbers, got shape \(2,\)"),
        ([0.0], "of float64"),
    ):
        with pytest.raises(ValueError, match=words):
            Choices(two, labels)
    with pytest.raises(ValueError, match="read without labels"):
        labelled_of(prepared("gpt"), Choices(two))
    with pytest.raises(ValueError, match="choices are read by a run of texts that cuts them"):
        examples_of(object(), Choices(two))


@pytest.mark.parametrize("name", ["bert", "gpt"])
def test_each_ending_is_a_row_with_the_beginning(name):
    run, raw = prepared(name), Choices.toy()
    labelled = labelled_of(run, raw)
    assert labelled.kind == "choice"
    assert labelled.labels.tolist() == [i % 3 for i in range(40)]
    assert labelled.held_out is None
    for one, example in zip(raw.choices, labelled.inputs):
        assert isinstance(example, Alternatives)
        assert example.rows == [run.pair_tokens(one.first, second) for second in one.seconds]
        assert len(example) == max(map(len, example.rows))
        assert example.endings == one.seconds
    chosen = np.array([0, 5])
    assert labelled_of(run, Choices(raw.choices, raw.labels, chosen)).held_out is chosen


def test_a_row_that_is_too_long_keeps_its_ending():
    run = prepared("gpt")
    raw = Choices([Choice("long", "the cat sat " * 9, ("ran", "sang a song"))], [0])
    (example,) = examples_of(run, raw).inputs
    for longest in (5, 9):
        rows = example.cut(longest)
        assert [len(row) for row in rows] == [longest] * 2
        for row, whole in zip(rows, example.rows):
            assert row == [whole[0], *whole[len(whole) - longest + 1 :]]
    assert example.cut(1000) == example.rows
    (of_encoder,) = examples_of(prepared("bert"), raw).inputs
    assert of_encoder.cut(5) == of_encoder.rows  # its network cuts two texts itself


def test_the_toys_are_always_the_same_and_the_right_ending_repeats_a_word():
    raw = Choices.toy(seed=3)
    assert raw.fingerprint() == Choices.toy(seed=3).fingerprint()
    others = [
        Choices.toy(seed=4), Choices(raw.choices), Choices(raw.choices, 2 - raw.labels),
        Choices(raw.choices, raw.labels, np.array([1])),
    ]  # fmt: skip
    assert len({one.fingerprint()["sha256"] for one in (raw, *others)}) == 5
    for one, label in zip(raw.choices, raw.labels):
        assert one.seconds[label] == one.first.split()[1]
