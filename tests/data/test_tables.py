"""Tables are read by field; whatever is wrong is named with its file and its line."""

import csv
import io
import json
import random

import numpy as np
import pytest

from minissl.data import Fields
from minissl.data.pairs import LabelledTextPairs, TextPairs
from minissl.data.tables import read_table
from minissl.data.texts import LabelledTexts, Texts

ODD = ['so "it" is', "two\nlines", "a, b", "tab\tbed", "é 万物\u2028still one", " spaces ", "\r\n"]


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def texts_of(path, **fields):
    return [document.text for document in Texts.read(path, None, Fields(**fields)).documents]


def as_csv(rows, end="\n"):
    """As the standard library writes it."""
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=end).writerows(rows)
    return file.getvalue()


# ---- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_csv_gives_back_what_was_written(tmp_path, end, encoding):
    rows = as_csv([["id", "text"], *enumerate(ODD)], end).encode(encoding)
    assert texts_of(write(tmp_path, "a.csv", rows)) == ODD


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "A.JSONL"])
def test_a_jsonl_gives_back_what_was_written(tmp_path, ascii_only, name):
    lines = [json.dumps({"text": text}, ensure_ascii=ascii_only) for text in ODD]
    assert texts_of(write(tmp_path, name, "\n\n".join(lines))) == ODD


def test_a_tsv_does_not_quote(tmp_path):
    path = write(tmp_path, "a.tsv", 'text\tn\n"open, and\t1\n\nit\'s "so"\t2\r\n \t3')
    assert texts_of(path) == ['"open, and', 'it\'s "so"', " "]


def test_rows_are_named_by_the_line_they_begin_on(tmp_path):
    text = as_csv([["text"], ["two\nlines"], ["next"], [""], ["last"]])
    path = write(tmp_path, "a.csv", text.replace("next", "\nnext"))
    names = [document.name for document in Texts.read(path).documents]
    lines = text.replace("next", "\nnext").split("\n")
    numbers = (2, lines.index("next") + 1, lines.index("last") + 1)
    assert names == [f"a.csv, line {number}" for number in numbers]


def test_a_text_of_any_length_is_read_and_cut(tmp_path):
    before = csv.field_size_limit()
    path = write(tmp_path, "a.csv", as_csv([["text"], ["word " * 60_000]]))
    documents = Texts.read(path).documents
    assert "".join(document.text for document in documents) == "word " * 60_000
    assert documents[1].name == "a.csv, line 2[1]"
    assert csv.field_size_limit() == before


def test_labels_of_a_jsonl_are_classes_by_their_texts_or_numbers(tmp_path):
    values = [3, True, "yes", 2.5, "10"]
    rows = "\n".join(json.dumps({"text": "x", "label": value}) for value in values)
    path = write(tmp_path, "a.jsonl", rows)
    read = LabelledTexts.read(path)
    assert [read.class_names[n] for n in read.labels] == ["3", "true", "yes", "2.5", "10"]
    assert [document.source for document in read.documents] == ["3", "true", "yes", "2.5", "10"]
    with pytest.raises(ValueError, match="line 2: the label is 'true', expected a finite number"):
        LabelledTexts.read(path, labels="number")
    path = write(tmp_path, "b.csv", "text,label\na,1\nb,-2.5e1\n")
    read = LabelledTexts.read(path, labels="number")
    assert read.class_names == ()
    np.testing.assert_array_equal(read.labels, [1, -25])


def test_pairs_and_their_labels(tmp_path):
    text = "first,second,gold\na,b,yes\nc,d,no\n"
    fields = Fields(text_field="first", label_field="gold")
    path = write(tmp_path, "a.csv", text)
    pairs = TextPairs.read(path, None, fields).pairs
    assert [pair[1:] for pair in pairs] == [("a", "b"), ("c", "d")]
    read = LabelledTextPairs.read(path, None, fields)
    assert (read.labels.tolist(), read.class_names) == ([1, 0], ("no", "yes"))
    with pytest.raises(ValueError, match=r"read from a table \(.csv, .tsv, .* is none"):
        TextPairs.read(tmp_path)
    with pytest.raises(ValueError, match="pairs of texts are read from a table"):
        TextPairs.read(None)


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", "", "has no rows"),
        ("a.csv", "text\n", "has no rows"),
        ("a.jsonl", "\n\n", "has no rows"),
        ("a.csv", "body,id\nx,1\n", "line 2: there is no field 'text', it has body, id: .*--text-"),
        ("a.jsonl", '{"text": "a"}\n{"txt": "b"}', "line 2: there is no field 'text', it has txt"),
        ("a.jsonl", "{}", "it has none"),
        ("a.csv", "text,label\nx\n", r"line 2 has 1 field\(s\), the first line names 2"),
        ("a.csv", 'text\n"a\nb"\nc,d\n', r"line 4 has 2 field\(s\)"),
        ("a.tsv", "text\tlabel\na\tb\tc\n", "line 2 has 3 .* has a tab in it"),
        ("a.csv", "text,text\na,b\n", "line 1 names 2 fields 'text'"),
        ("a.csv", 'text\nok\n"open\nand so on\n', "line 3: this row is no CSV"),
        ("a.csv", 'text\n"so "it" is"\n', "line 2: this row is no CSV"),
        ("a.csv", b"text\ncaf\xe9\n", "0xe9 at offset 8"),
        ("a.csv", b"text\na\0b\n", "has a NUL"),
        ("a.jsonl", '{"text": "a"}\n{"text":', "line 2 cannot be read as a row"),
        ("a.jsonl", "[" * 100_000, "line 1 cannot be read as a row"),
        ("a.jsonl", '{"text": ' + "9" * 5000 + "}", "line 1 cannot be read as a row"),
        ("a.jsonl", '{"text": "a"}\n["b"]', "line 2 cannot .* holds a list, expected an object"),
        ("a.jsonl", "null", "line 1 cannot .* holds null, expected an object"),
        ("a.jsonl", '{"text": "a", "text": "b"}', "line 1 cannot .* name 'text' comes twice"),
        ("a.jsonl", '{"text": null}', "line 1: the field 'text' is null, no text"),
        ("a.jsonl", '{"text": 3}', "is a number, no text"),
        ("a.jsonl", '{"text": ["a"]}', "is a list, no text"),
        ("a.jsonl", '{"text": "a \\ud83d"}', r"half of a character \('\\ud83d'\) at 2"),
        ("a.csv", "text\n\"\"\n\"\"\n", r"holds no text: its 2 row\(s\) are empty"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(tmp_path, name, data, message):
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        Texts.read(write(tmp_path, name, data))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"text": "", "label": 1}', "line 2: the field 'text' is empty"),
        ('{"text": "b", "label": ""}', "line 2: the field 'label' is empty, expected a label"),
        ('{"text": "b", "label": null}', "line 2: the field 'label' is null"),
        ('{"text": "b", "label": NaN}', "line 2: the field 'label' is NaN, expected a label"),
        ('{"text": "b", "label": [1]}', "line 2: the field 'label' is a list"),
        ('{"text": "b", "label": "\\udc00"}', "line 2: the field 'label' has half of a character"),
        ('{"text": "b"}', "line 2: there is no field 'label', it has text: .*--label-field"),
    ],
)
def test_labelled_rows_need_a_text_and_a_label(tmp_path, row, message):
    path = write(tmp_path, "a.jsonl", '{"text": "a", "label": 0}\n' + row)
    with pytest.raises(ValueError, match=message):
        LabelledTexts.read(path)


@pytest.mark.parametrize("label", ["inf", "-inf", "nan", "1e999", "much"])
def test_labels_that_are_no_finite_numbers_are_named(tmp_path, label):
    path = write(tmp_path, "a.csv", f"text,label\na,1\nb,{label}\n")
    with pytest.raises(ValueError, match=r"a.csv, line 3: the label is .*, expected a finite"):
        LabelledTexts.read(path, labels="number")


def test_folders_of_labelled_texts(tmp_path):
    for name in ("no/a.txt", "yes/a.txt", "yes/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path, name, f"in {name}")
    read = LabelledTexts.read(tmp_path)
    assert read.class_names == ("no", "yes")
    assert read.labels.tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match=r"gives classes, no numbers: .*--label-field"):
        LabelledTexts.read(tmp_path, labels="number")
    with pytest.raises(ValueError, match="labels must be 'class' or 'number', got 'score'"):
        LabelledTexts.read(tmp_path, labels="score")
    write(tmp_path, "yes/c.txt", "")
    with pytest.raises(ValueError, match=r"yes/c.txt is empty: remove it"):
        LabelledTexts.read(tmp_path)


def test_what_is_nowhere_is_said(tmp_path):
    for kind in (Texts, LabelledTexts, TextPairs):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            kind.read(tmp_path / "nowhere.csv")


def test_a_held_out_text_that_is_trained_on_and_a_class_without_any_are_said():
    from minissl.data import Kept
    from minissl.data.streams import TextOptions
    from minissl.text.documents import Document

    settings = TextOptions(vocab_size=260)
    documents = [Document(str(i), "", "the same text") for i in range(6)]
    held_out = np.array([4, 5])
    labels = np.array([0, 0, 0, 0, 0, 1])
    raw = LabelledTexts(documents, labels, ("a", "b"), held_out)
    about = raw.prepare(Kept(), settings).describe()
    assert about.startswith("6 texts of 2 classes, 2 of them held out")
    assert "2 of those are also trained on, letter for letter" in about
    assert "class 'b' has no text to train on" in about


# ---- damage --------------------------------------------------------------------------------------


def damaged(data, generator):
    """A byte changed, a piece lost, a piece doubled, or cut off."""
    place = generator.randrange(len(data))
    size = generator.randrange(1, 9)
    return generator.choice([
        data[:place] + generator.randbytes(1) + data[place + 1 :],
        data[:place] + data[place + size :],
        data[: place + size] + data[place:],
        data[:place],
    ])  # fmt: skip


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_damaged_tables_are_read_or_named(tmp_path, name):
    columns = ("text", "label")
    rows = [(f'text {i} {"é" * (i % 3)} "', i % 3) for i in range(6)]
    whole = {
        "a.csv": as_csv([columns, *rows]),
        "a.tsv": "\n".join("\t".join(map(str, row)) for row in [columns, *rows]),
        "a.jsonl": "\n".join(json.dumps(dict(zip(columns, row))) for row in rows),
    }[name].encode()
    generator, refused = random.Random(0), []
    for _ in range(150):
        path = write(tmp_path, name, damaged(whole, generator))
        for kind in ("class", "number"):
            try:
                LabelledTexts.read(path, None, labels=kind).fingerprint()
            except ValueError as error:
                refused.append(str(error))
    assert all(name in message and len(message) < 1000 for message in refused)
    assert 30 < len(refused) < 300


def test_a_header_of_many_names_takes_no_time(tmp_path):
    path = write(tmp_path, "a.csv", ",".join(map(str, range(50_000))) + "\nx\n")
    with pytest.raises(ValueError, match="the first line names 50000"):
        read_table(path, Fields())
