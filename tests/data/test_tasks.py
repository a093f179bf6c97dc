"""Files of tasks in their published layouts: made here by hand, whole and damaged."""

import json

import numpy as np
import pytest

from minissl.adapt.metrics import METRICS
from minissl.data import FIELDS, Fields, Kept
from minissl.data.captions import Captioned
from minissl.data.glue import COLUMNS, ROWS, average, average_of_tasks
from minissl.data.images import ImageOptions, Images
from minissl.data.pairs import LabelledTextPairs, TextPairs
from minissl.data.sets.sst2 import CLASSES
from minissl.data.streams import TextOptions
from minissl.data.tasks import IN_WORDS, LAYOUTS, OTHERS, TASKS
from minissl.data.texts import LabelledTexts, Texts

SST = 'sentence\tlabel\nso good \t1\nbad , "so to say\t0\n'
COLA = "gj04\t1\t\tThe cat slept.\ngj04\t0\t*\tThe cat slept it.\n"
STS_HEAD = "index genre filename year old_index source1 source2 sentence1 sentence2 score".split()
STS = (
    'main\tMSRvid\t2012test\t0001\t5.000\tA plane.\tA jet.\nnews\tb\t2014\t2\t0\t"It\tWe\t(c)\tx\n'
)
SNLI_HEAD = ["gold_label", "sentence1_binary_parse", "sentence1", "sentence2", "captionID",
             *(f"label{n}" for n in range(1, 6))]  # fmt: skip
SNLI = [
    ["neutral", "( a )", "A dog.", "A small dog.", "1", "neutral", "", "", "", ""],
    ["-", "( a )", "A cat.", "A pet cat.", "2", "neutral", "entailment", "", "", ""],
    ["entailment", "( a )", "A cat.", "A pet.", "3", "entailment", "neutral", "", "", ""],
    ["contradiction", "( a )", "A cat.", "No cat.", "4", "contradiction"],
]


def tabs(*rows):
    return "".join("\t".join(row) + "\n" for row in rows)


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def read(path, layout, **options):
    """Texts or pairs and the label of each, as the kind that the task is of reads them."""
    task = TASKS[layout]
    kind = LabelledTextPairs if task.pairs else LabelledTexts
    raw = kind.read(path, None, Fields(layout=layout), labels=task.kind)
    texts = [pair[1:] for pair in raw.pairs] if task.pairs else [d.text for d in raw.documents]
    labels = [raw.class_names[n] for n in raw.labels] if raw.class_names else raw.labels.tolist()
    assert raw.metrics == task.metrics
    return list(zip(texts, labels)), raw


# ---- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        SST,
        "label\tsentence\n1\tso good\n0\tbad , \"so to say\n",
        "label\tidx\tsentence\r\n1\t0\tso good\r\n0\t1\tbad , \"so to say",
        SST.encode("utf-8-sig"),
    ],
)  # fmt: skip
def test_sst2_with_its_columns_in_any_order(tmp_path, data):
    rows, raw = read(write(tmp_path, "dev.tsv", data), "sst-2")
    assert rows == [("so good", "positive"), ('bad , "so to say', "negative")]
    assert [d.name for d in raw.documents] == ["dev.tsv, line 2", "dev.tsv, line 3"]
    assert set(raw.class_names) == set(CLASSES.values())  # as the data set of that name


def test_cola_has_no_first_line(tmp_path):
    expected = [("The cat slept.", "acceptable"), ("The cat slept it.", "unacceptable")]
    assert read(write(tmp_path, "in_domain_train.tsv", COLA), "cola")[0] == expected
    named = "sentence,label,idx\nThe cat slept.,1,0\nThe cat slept it.,0,1\n"
    assert read(write(tmp_path, "cola.csv", named), "cola")[0] == expected


def test_sts_benchmark_of_glue_and_the_original(tmp_path):
    rows = [str(n) for n in range(7)]
    glue = tabs(STS_HEAD, [*rows, "A plane.", "A jet.", "5.000"], [*rows, '"It', "We", "0"])
    expected = [(("A plane.", "A jet."), 5.0), (('"It', "We"), 0.0)]
    for name, data in (("train.tsv", glue), ("sts-train.csv", STS)):
        found, raw = read(write(tmp_path, name, data), "sts-b")
        assert (found, raw.class_names, raw.fitted) == (expected, (), "")
    lines = [json.dumps({"sentence1": a, "sentence2": b, "score": s}) for (a, b), s in expected]
    assert read(write(tmp_path, "a.jsonl", "\n".join(lines)), "sts-b")[0] == expected


def snli_as_objects(rows):
    return "".join(json.dumps(dict(zip(SNLI_HEAD, row[:5]))) + "\n" for row in rows)


def label_last(row):
    """As in the copy that came with GLUE; there a row has all of its columns."""
    return (row + [""] * len(SNLI_HEAD))[1 : len(SNLI_HEAD)] + row[:1]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("snli_1.0_dev.txt", tabs(SNLI_HEAD, *SNLI)),
        ("dev.tsv", tabs(SNLI_HEAD[1:] + SNLI_HEAD[:1], *(label_last(row) for row in SNLI))),
        ("snli_1.0_dev.jsonl", snli_as_objects(SNLI)),
    ],
)
def test_snli_without_the_pairs_on_which_nobody_agreed(tmp_path, name, data):
    path = write(tmp_path, name, data)
    rows, raw = read(path, "snli")
    assert [label for _, label in rows] == ["neutral", "entailment", "contradiction"]
    assert rows[0][0] == ("A dog.", "A small dog.")
    assert raw.fitted.startswith(f"{path}: of 4 rows are left out 1 without a label")
    whole = TextPairs.read_examples(path, None, Fields(layout="snli"))
    assert (len(whole.pairs), whole.fitted) == (4, "")  # who asks for no labels gets them all
    assert whole.pairs[1].second == "A pet cat."


def test_the_hubs_numbers_of_classes_are_their_names(tmp_path):
    lines = [{"premise": "a", "hypothesis": "b", "label": n} for n in (0, 1, 2, -1)]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, lines)))
    for layout in ("snli", "mnli"):
        rows, raw = read(path, layout)
        assert [label for _, label in rows] == ["entailment", "neutral", "contradiction"]
        assert "of 4 rows are left out 1 " in raw.fitted


MRPC = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
QQP = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
MNLI = "index\tgenre\tsentence1\tsentence2\tlabel1\tgold_label\n"
QNLI = "index\tquestion\tsentence\tlabel\n"
RTE = "index\tsentence1\tsentence2\tlabel\n"


@pytest.mark.parametrize(
    ("layout", "data", "label"),
    [
        ("mrpc", MRPC + '1\t7\t8\ta "b"\tc\n', "paraphrase"),
        ("qqp", QQP + '1\t2\t3\ta "b"\tc\t1\n', "duplicate"),
        ("mnli", MNLI + '0\tx\ta "b"\tc\tneutral\tentailment\n', "entailment"),
        ("qnli", QNLI + '0\ta "b"\tc\tnot_entailment\n', "not_entailment"),
        ("rte", RTE + '0\ta "b"\tc\tentailment\n', "entailment"),
        ("wnli", RTE + '0\ta "b"\tc\t1\n', "entailment"),
    ],
)
def test_the_other_tasks_of_glue(tmp_path, layout, data, label):
    assert read(write(tmp_path, "train.tsv", data), layout)[0] == [(('a "b"', "c"), label)]


def test_rows_of_qqp_that_a_line_break_parted_are_left_out_and_counted(tmp_path):
    head = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    path = write(
        tmp_path, "a.tsv", head + "1\t2\t3\ta\tb\t0\n2\t3\t4\tan\nswer\tc\t1\n3\t4\t5\t\tc\t1\n"
    )
    rows, raw = read(path, "qqp")
    assert rows == [(("a", "b"), "different")]
    assert "a.tsv: of 4 rows are left out 3 that a line break has parted, or with" in raw.fitted
    unlabelled = TextPairs.read(path, None, Fields(layout="qqp"))
    assert (unlabelled.pairs, unlabelled.fitted) == (raw.pairs, raw.fitted)


@pytest.mark.parametrize(
    ("layout", "data"),
    [
        ("sst-2", "index\tsentence\n0\tso so\n"),
        ("cola", "index\tsentence\n0\tso so\n"),
        ("sts-b", tabs(STS_HEAD[:-1], ["0"] * 7 + ["so so", "b"])),
        ("mrpc", "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tso so\tb\n"),
        ("qqp", "id\tquestion1\tquestion2\n0\tso so\tb\n"),
    ],
)
def test_a_test_file_without_labels_is_read_where_none_are_asked_for(tmp_path, layout, data):
    path, pairs = write(tmp_path, "test.tsv", data), TASKS[layout].pairs
    found = (TextPairs if pairs else Texts).read_examples(path, None, Fields(layout=layout))
    assert (found.pairs[0].first if pairs else found.documents[0].text) == "so so"
    with pytest.raises(ValueError, match=r"test.tsv, line 2: there is no column .*without labels"):
        read(path, layout)


def test_what_is_read_is_prepared_and_learned_from(tmp_path):
    """And its numbers of classes are those of the same file read by the names of its columns."""
    rows = [f"it is {n} \t{n % 2}" for n in range(12)]
    path = write(tmp_path, "a.tsv", "\n".join(["sentence\tlabel", *rows]))
    one = LabelledTexts.read(path, None, Fields(layout="sst-2"))
    two = LabelledTexts.read(path, None, Fields(text_field="sentence"))
    np.testing.assert_array_equal(one.labels, two.labels)
    assert (two.class_names, two.metrics) == (("0", "1"), ())
    prepared = one.prepare(Kept(), TextOptions(vocab_size=260))
    assert prepared.class_names == ("negative", "positive")


# ---- what is refused -----------------------------------------------------------------------------


TWO = "sentence\tlabel\n"
PAIR = '{"sentence1": "a", "sentence2": '
WRONG = {
    "sst-2": [
        ("a.tsv", "text\tlabel\nx\t1\n",
         r"line 1 begins with text \| label: a file of SST-2 has a first line that names "
         r"sentence, label. Others are read by --text-field"),
        ("a.tsv", f"{TWO}x\t1\nx\t2\n",
         r"line 3: the label is '2', SST-2 has '0' \(negative\), '1' \(positive\)"),
        ("a.tsv", f"{TWO}x\ty\t1\n",
         r"line 2 has 3 column\(s\), a row of SST-2 has 2 here.* has a tab in it"),
        ("a.tsv", f"{TWO}x\n", r"line 2 has 1 column\(s\)"),
        ("a.tsv", f"{TWO} \t1\n", "line 2: the field 'sentence' is empty"),
        ("a.tsv", TWO, "has no rows"),
        ("a.tsv", "", "line 1 begins with : a file of SST-2"),
        ("a.tsv", f"sentence\t{TWO}a\tb\t1\n", "line 1 names 2 columns 'sentence'"),
        ("a.tsv", TWO.encode() + b"caf\xe9\t1\n", "0xe9 at offset"),
        ("a.csv", 'sentence,label\n"open,1\n', "line 2: this row is no CSV"),
    ],
    "cola": [
        ("a.tsv", f"{COLA}gj04\t1\tA cat.\n", r"line 3 has 3 column\(s\), a row of CoLA has 4"),
        ("a.tsv", "gj04\t1\tA cat.\n",
         r"line 1 begins with gj04 \| 1 .*or rows of 4 columns: source, label, star, sent"),
        ("a.tsv", "gj04\tyes\t\tA cat.\n", "line 1 begins with gj04"),
        ("a.tsv", f"{COLA}gj04\t\t\tA cat.\n", "line 3: the label is '', CoLA has"),
    ],
    "sts-b": [
        ("a.csv", f"{STS}a\tb\tc\td\t5.1\te\tf\n",
         "line 3: the label is '5.1', STS-B has numbers from 0 to 5"),
        ("a.csv", f"{STS}a\tb\tc\td\tnan\te\tf\n", "line 3: the label is 'nan'"),
        ("a.csv", f"{STS}a\tb\tc\td\t5\te\n",
         r"line 3 has 6 column\(s\), a row of STS-B has 7 or more"),
        ("a.csv", "a\tb\tc\td\tx\te\tf\n",
         r"line 1 begins with a \| b .*or rows of 7 or more columns: genre"),
    ],
    "snli": [
        ("a.txt", "A text.\nAnother.\n", "line 1 begins with A text"),
        ("a.txt", tabs(SNLI_HEAD, SNLI[0][:4]),
         r"line 2 has 4 column\(s\), a row of SNLI has 5 or more"),
        ("a.txt", tabs(SNLI_HEAD, ["hidden", *SNLI[0][1:]]),
         "line 2: the label is 'hidden', SNLI has 'entailment', 'neutral', 'contradiction', '0' "),
        ("a.txt", tabs(SNLI_HEAD, SNLI[1]),
         "of 1 rows are left out 1 without a label.*: none is left"),
        ("a.jsonl", '{"text": "a"}', "line 1 has the fields text: a file of SNLI has"),
        ("a.jsonl", snli_as_objects(SNLI[:1]) + '{"sentence1": "a", "gold_label": "neutral"}',
         "line 2 has no field 'sentence2'"),
        ("a.jsonl", PAIR + '3, "gold_label": "neutral"}', "1: the field 'sentence2' is a number"),
        ("a.jsonl", PAIR + '"b", "gold_label": null}', "line 1: the field 'gold_label' is null"),
        ("a.jsonl", PAIR + '"b", "gold_label": 7}', "line 1: the label is '7'"),
        ("a.jsonl", "\n", "line 1 has the fields none"),
    ],
    "rte": [
        ("a.tsv", f"{RTE}0\ta\tb\tyes\n",
         "line 2: the label is 'yes', RTE has 'entailment', 'not_entailment'"),
    ],
    "qqp": [("a.tsv", f"{QQP}1\t2\t3\ta\tb\t2\n", "line 2: the label is '2'")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "name", "data", "message"),
    [(layout, *case) for layout, cases in WRONG.items() for case in cases],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, layout, name, data, message):
    with pytest.raises(ValueError, match=f"{name}.*{message}") as caught:
        read(write(tmp_path, name, data), layout)
    assert len(str(caught.value)) < 700


def test_examples_of_another_kind_are_named(tmp_path):
    path, images = write(tmp_path, "a.tsv", SST), ImageOptions(image_size=8, channels=1)
    for layout in ("snli", "sts-b"):
        with pytest.raises(
            ValueError, match="are pairs of texts, asked for are single texts: give"
        ):
            Texts.read(path, None, Fields(layout=layout))
    with pytest.raises(ValueError, match=r"a.tsv: the examples of SST-2 are single texts, asked"):
        TextPairs.read(path, None, Fields(layout="sst-2"))
    for kind in (Images, Captioned):
        with pytest.raises(ValueError, match="are single texts, asked for are images"):
            kind.read(path, images, Fields(layout="sst-2"))
    with pytest.raises(
        ValueError, match="the labels of SST-2 are a class each, asked for is a num"
    ):
        LabelledTexts.read(path, None, Fields(layout="sst-2"), labels="number")
    path = write(tmp_path, "b.csv", STS)
    with pytest.raises(ValueError, match=r"labels of STS-B are a number each, .*leave --form out"):
        LabelledTextPairs.read(path, None, Fields(layout="sts-b"))


def test_a_layout_is_of_a_file_and_stands_instead_of_columns(tmp_path):
    write(tmp_path, "a.txt", "some text")
    for place in (tmp_path, None):
        for kind in (Texts, LabelledTexts):
            with pytest.raises(ValueError, match=r"the layout cola is that of a file, .* is none"):
                kind.read(place, None, Fields(layout="cola"))
    with pytest.raises(ValueError, match=r"layout must be one of '', cola, .*wnli, got 'sst'"):
        Fields(layout="sst")
    with pytest.raises(ValueError, match="label_field is 'x', but the layout cola says which"):
        Fields(layout="cola", label_field="x")
    assert Fields(layout="").layout == FIELDS.layout == ""


# ---- the registry, and the table of the slides ---------------------------------------------------


def test_every_task_says_how_it_is_measured():
    assert ("", *sorted(TASKS)) == LAYOUTS
    assert {*TASKS} == {
        "cola",
        "sst-2",
        "mrpc",
        "qqp",
        "sts-b",
        "snli",
        "mnli",
        "qnli",
        "rte",
        "wnli",
    }
    assert METRICS.keys() == IN_WORDS.keys()
    for task in TASKS.values():
        assert {*task.metrics} <= {*METRICS}
        assert len({bool(columns.second) for columns in task.columns}) == 1
        assert (task.kind == "number") == (task.metrics == ("pearson", "spearman"))
        if "f1" in task.metrics:  # is of the second class, which must be the one that is looked for
            assert task.class_names[1] == task.classes["1"]
    for one in (*TASKS.values(), *OTHERS):
        assert one.question.endswith((".", "?", ")"))
        assert "→" in one.example
        assert one.examples > 0


def test_all_five_averages_are_those_of_nine_columns():
    assert [column.title for column in COLUMNS[:2]] == ["MNLI-m", "MNLI-mm"]
    assert all(len(row.scores) == len(COLUMNS) == 9 for row in ROWS)
    printed = [round(average(row), 1) for row in ROWS]
    assert printed == [row.printed for row in ROWS] == [74.0, 71.0, 75.2, 79.6, 81.9]
    eight = [average_of_tasks(row) for row in ROWS]
    expected = [np.mean([np.mean(row.scores[:2]), *row.scores[2:]]) for row in ROWS]
    np.testing.assert_allclose(eight, expected)
    assert all(abs(mean - row.printed) > 0.4 for mean, row in zip(eight, ROWS))
