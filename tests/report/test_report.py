"""``minissl report RUN``: one page for any run, with what the run has to show."""

import base64
import html
import json
import re
import shlex
import shutil
from dataclasses import fields
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from minissl import figures
from minissl.cli import main
from minissl.data.images import LabelledImages
from minissl.data.texts import LabelledTexts, Texts
from minissl.page import Page
from minissl.pretrain import language_model, load_method
from minissl.pretrain.run import open_run, pretrain
from minissl.report import run_page, shows
from minissl.training.starts import read_starts
from tests.pretrain.published import write_bert, write_gpt2
from tests.pretrain.toy import TINY, stopped_after, toy_settings
from tests.systems import posix

# A method of each kind, and what its page has beside what all have.
SHOWN = {
    "simclr": {"What it finds alike"},
    "supcon": {"What it finds alike"},
    "gpt": {"What it writes", "What it finds alike"},
    "lstm": {"What it writes", "What it finds alike"},
    "elmo": {"What it finds alike"},
    "bert": {"What it writes", "What it puts into a gap", "What it finds alike"},
    "skipgram": {"Which words are near which", "What it finds alike"},
}
ALWAYS = {"The loss", "Settings", "Data", "Machine", "How to go on"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A table of labelled texts and an array of labelled images."""
    folder = tmp_path_factory.mktemp("data")
    texts = LabelledTexts.toy()
    rows = [f'"{d.text}",{texts.class_names[n]}' for d, n in zip(texts.documents, texts.labels)]
    (folder / "texts.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    images = LabelledImages.toy(toy_settings("simclr"))
    np.savez(folder / "images.npz", images=images.images, labels=images.labels)
    return folder


def pretrained(name, data, run, *more):
    """A tiny run on the command line; returns its folder."""
    kind = load_method(name)
    known = {one.name for one in fields(kind.Settings)} - {"depth", "augmentation"}
    options = [f"--{key.replace('_', '-')}={value}" for key, value in TINY.items() if key in known]
    options += (
        ["--min-count=1"] if "min_count" in {one.name for one in fields(kind.Settings)} else []
    )
    file = "images.npz" if "image_field" in kind.Data.fields else "texts.csv"
    place = data / file if (data / file).exists() else data
    call = ["pretrain", name, str(place), "--run", str(run), "--quiet", *options]
    assert main([*call, *more]) == 0
    return run


def page_of(run, *options, out=None):
    """The text of the page that the command writes, without its pictures."""
    assert main(["report", str(run), *map(str, options)]) == 0
    return read(out or run / "report.html")


def read(path):
    return re.sub(r'src="data:[^"]*"', "", path.read_text(encoding="utf-8"))


def headings(page):
    return {html.unescape(one) for one in re.findall(r"<h2>(.*?)</h2>", page)}


def words(page):
    return html.unescape(re.sub(r"<[^>]+>", " ", page))


@pytest.mark.parametrize("name", SHOWN)
def test_every_kind_of_run_has_its_page(name, data, tmp_path):
    run = pretrained(name, data, tmp_path / "run")
    page = page_of(run)
    assert headings(page) >= ALWAYS | SHOWN[name]
    assert not headings(page) & (set().union(*SHOWN.values()) - SHOWN[name])
    said = words(page)
    assert re.search(r"after 3 steps in [\d.e-]+ seconds\. Lecture \d\d explains", said)
    assert "batch_size = 6 (usual:" in said
    assert json.loads((run / "data.json").read_text("utf-8"))["fingerprint"]["sha256"] in said
    assert f"minissl pretrain {name} DATA --run NEW --from {run}" in said
    # The labels that the data has, never trained on; of a query those that are shown are counted.
    shown = 2 * (2 if issubclass(load_method(name).Data, Texts) else 4)
    assert re.search(rf"Of these, \d+ of {shown} are of the class of their query", said)
    assert "http" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    for figure in re.findall(r"<figure>.*?</figure>", page):
        assert len(words(figure).split()) > 15, "a picture without its reading"


def test_the_pictures_are_inside_and_drawn(data, tmp_path):
    run = pretrained("simclr", data, tmp_path / "run")
    page_of(run)
    whole = (run / "report.html").read_text(encoding="utf-8")
    pictures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', whole)
    assert len(pictures) >= 4
    assert all(base64.b64decode(one).rstrip().endswith(b"</svg>") for one in pictures)


def test_a_report_is_the_same_twice_and_another_run_s_is_not(data, tmp_path):
    run = pretrained("gpt", data, tmp_path / "run")
    first = page_of(run)
    assert page_of(run) == first
    assert page_of(run, "--seed", "1") != first


@pytest.mark.parametrize(
    ("base", "way", "more"),
    [
        ("simclr", "probe", []),
        ("gpt", "finetune", ["--steps", "2", "--batch-size", "4"]),
        ("bert", "lora", ["--steps", "2", "--batch-size", "4"]),
        ("skipgram", "neighbors", []),
    ],
)
def test_an_adaptation_shows_what_it_answers(base, way, more, data, tmp_path):
    run = pretrained(base, data, tmp_path / "run")
    file = data / ("images.npz" if base == "simclr" else "texts.csv")
    call = ["adapt", way, str(run), str(file), "--run", str(tmp_path / "adapted"), "--quiet"]
    assert main([*call, *more]) == 0
    page = page_of(tmp_path / "adapted")
    assert "What it answers" in headings(page)
    assert ("What it knows" in headings(page)) == bool(more)  # a single value is no curve
    said = words(page)
    assert f"An adaptation by {way} of run ({base})" in said
    assert "held-out examples, drawn at random" in said
    if base != "simclr":
        assert "prediction" in said
        assert {"sitting", "running"} & set(said.split())
    assert f"minissl predict {tmp_path / 'adapted'} DATA" in said
    assert "In capitals is what you choose: DATA, a file" in said
    assert "NEW, " not in said
    last = said.partition("How to go on")[2]
    names = [shlex.split(line)[1:] for line in re.findall("minissl .*", last)]
    assert {name for name, *_ in names} == {"predict", "evaluate", "forget"} | (
        {"merge"} if way == "lora" else set()
    )
    for command in names:
        if command[0] in ("forget", "merge"):
            told = [str(tmp_path / "merged") if one == "merged" else one for one in command]
            assert main(told) == 0, command


SENTENCE = "1\tcats\t_\tNOUN\t_\t_\t0\t_\t_\t_\n2\tran\t_\tVERB\t_\t_\t0\t_\t_\t_\n\n"
QUESTIONS = [
    {"context": f"it sat at {n}.", "qas": [
        {"id": f"{n}", "question": "where?", "answers": [{"text": f"{n}", "answer_start": 10}]}
    ]} for n in range(12)
]  # fmt: skip
FORMS = {
    "tags.conllu": (12 * SENTENCE, "NOUN VERB", []),
    "spans.json": (
        json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": QUESTIONS}]}), r"\d+",
        [],
    ),
    "choices.csv": (
        "sent1,sent2,ending0,ending1,label\n" + "a cat,it,sat,ran,0\na dog,it,sat,ran,1\n" * 9,
        "0|1", ["--form", "choice"],
    ),
    "pairs.csv": (
        "text,second,label\n" + "a cat,sat,same\na dog,ran,other\n" * 9, "same|other",
        ["--second-field", "second"],
    ),
    "numbers.csv": (
        "text,label\n" + "".join(f"a cat {n},{n}.5\n" for n in range(18)), r"[\d.]+",
        ["--form", "number"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def base(data, tmp_path_factory):
    """A run of BERT for all forms of a task."""
    return pretrained("bert", data, tmp_path_factory.mktemp("base") / "run")


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_task_shows_the_label_beside_the_answer(name, base, tmp_path):
    content, label, more = FORMS[name]
    (tmp_path / name).write_text(content, encoding="utf-8")
    call = ["adapt", "finetune", str(base), str(tmp_path / name), "--run", str(tmp_path / "run")]
    assert main([*call, *more, "--steps=1", "--batch-size=4", "--quiet"]) == 0
    table = page_of(tmp_path / "run").partition("What it answers")[2].partition("</table>")[0]
    assert "<th scope=col>label</th>" in table
    rows = [re.findall("<td>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", table)][1:]
    assert len(rows) >= 3
    assert all(re.fullmatch(label, row[1]) for row in rows)


def test_numbers_of_images_are_shown_beneath_what_is_said(data, tmp_path, monkeypatch):
    with np.load(data / "images.npz") as kept:
        np.savez(tmp_path / "n.npz", images=kept["images"], labels=np.arange(40) / 7)
    run = pretrained("simclr", data, tmp_path / "run")
    call = ["adapt", "regression", str(run), str(tmp_path / "n.npz"), "--run", str(tmp_path / "a")]
    assert main([*call, "--quiet"]) == 0
    seen, usual = [], figures.gallery
    monkeypatch.setattr(figures, "gallery", lambda *told: seen.append(told) or usual(*told))
    page_of(tmp_path / "a")
    _, said, labels, right = seen[0]
    assert right.tolist() == [a == b for a, b in zip(said, labels)]
    assert not right.all()


def test_other_data_is_answered_with_the_classes_of_the_run(data, tmp_path):
    """Whose numbers are others than those of the data, and some of which the data may lack."""
    run, adapted = pretrained("gpt", data, tmp_path / "run"), tmp_path / "adapted"
    call = ["adapt", "probe", str(run), str(data / "texts.csv"), "--run", str(adapted)]
    assert main([*call, "--quiet"]) == 0
    rows = (data / "texts.csv").read_text("utf-8").splitlines()
    one, new = tmp_path / "one.csv", tmp_path / "new.csv"
    sitting = [row for row in rows if not row.endswith("running")]
    one.write_text("\n".join(sitting), encoding="utf-8")
    page = page_of(adapted, one)
    labels = re.findall(r"<td>[^<]*</td><td>(\w+)</td><td>(\w+)</td>", page)
    assert len(labels) == 12
    assert {label for label, _ in labels} == {"sitting"}
    assert {said for _, said in labels} <= {"sitting", "running"}
    assert "12 of the 20 examples, drawn at random" in words(page)
    new.write_text("\n".join([*rows, "a cat,flying"]), encoding="utf-8")
    assert "class 'flying' is not one of this run" in words(page_of(adapted, new))


def test_the_points_and_the_cosines_are_not_those_of_the_first_class(monkeypatch):
    """Data is often in the order of its classes: a folder for each."""
    directions, labels = np.eye(3), np.repeat([0, 1, 2], 500)
    inputs = np.zeros((1500, 8, 8, 1), np.float32)
    raw = SimpleNamespace(class_names=("a", "b", "c"), labels=labels)
    data = SimpleNamespace(examples=lambda raw: (inputs, [f"{n}.png" for n in range(1500)]))
    method = SimpleNamespace(represent=lambda inputs: directions[labels])
    seen = []
    monkeypatch.setattr(
        shows.figures, "evaluation", lambda *told: seen.append(told) or figures.new_figure()[0]
    )
    page = Page("")
    shows.neighbors(page, SimpleNamespace(method=method, data=data), raw)
    (_, _, features, classes, _) = seen[0]
    assert np.bincount(classes).min() > 100
    np.testing.assert_array_equal(features["representation"], directions[classes])
    assert "nearly one way" not in words(page.html())
    same = SimpleNamespace(represent=lambda inputs: np.ones((1500, 3)))
    shows.neighbors(page, SimpleNamespace(method=same, data=data), raw)
    assert "a cosine of 1.00 (median): all point nearly one way" in words(page.html())


@pytest.mark.parametrize(
    ("features", "said"), [(np.nan, "not finite"), (ValueError("2.txt is empty"), "2.txt is empty")]
)
def test_what_cannot_be_represented_costs_its_section_alone(features, said):
    def represent(inputs):
        if isinstance(features, ValueError):
            raise features
        return np.full((9, 3), features)

    data = SimpleNamespace(examples=lambda raw: ([[1]] * 9, [""] * 9))
    page = Page("")
    method = SimpleNamespace(represent=represent)
    shows.neighbors(page, SimpleNamespace(method=method, data=data), SimpleNamespace())
    assert said in words(page.html())


def test_a_context_that_is_shorter_than_the_gaps_has_a_page(data, tmp_path):
    run = pretrained("roberta", data, tmp_path / "run", "--context-length=8")
    assert "if the value" not in words(page_of(run))


def test_a_run_that_was_stopped_says_how_far_it_is(data, tmp_path):
    kind, settings = load_method("gpt"), toy_settings("gpt", steps=4, evaluations=2)
    with stopped_after(kind, 3):
        pretrain(
            kind, kind.Data.toy(settings), settings, tmp_path / "run", progress=False,
            read_from="nowhere",
        )  # fmt: skip
    said = words(page_of(tmp_path / "run"))
    assert re.search(r"after \d of 4 steps", said)
    assert "It is not at its end" in said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.25, "0.25 seconds"), (89, "89 seconds"), (90, "1.5 minutes"), (5399, "90 minutes"),
     (5400, "1.5 hours"), (7.2e6, "2,000 hours")],
)  # fmt: skip
def test_a_time_is_told_in_the_unit_that_a_person_would_say(seconds, said):
    assert run_page.duration(seconds) == said


def test_counts_are_readable_and_long_ones_cut():
    counts = {f"c{n}": 1000 * n for n in range(14)}
    assert run_page._counted(12345) == "12,345"
    assert run_page._counted(counts).endswith("c10 10,000, c11 11,000 and 2 more")
    assert run_page._counted({"a": {"sha256": "f"}, "b": 1}) == "a, b 1"


def test_the_data_of_every_machine_has_its_name(tmp_path, monkeypatch):
    settings, kind = toy_settings("gpt"), load_method("gpt")
    for raw in (Texts, LabelledTexts):  # in place of what comes with Python, to be quick
        monkeypatch.setattr(raw, "read", lambda *told, raw=raw: raw.toy())
    pretrain(kind, kind.Data.toy(settings), settings, tmp_path / "run", progress=False)
    assert "read from python-english" in " ".join(words(page_of(tmp_path / "run")).split())


def test_labelled_examples_that_are_not_the_data_of_the_run_are_named(tmp_path, monkeypatch):
    settings = toy_settings("gpt")
    kind = load_method("gpt")
    for raw in (Texts, LabelledTexts):  # in place of what comes with Python, to be quick
        monkeypatch.setattr(raw, "read", lambda *told, raw=raw: raw.toy(seed=1))
    pretrain(kind, kind.Data.toy(settings), settings, tmp_path / "run", progress=False)
    said = words(page_of(tmp_path / "run"))  # it records no place, as one on what comes with Python
    assert "These examples are python-docstrings, which have labels" in said
    assert "is not what the run was trained on" in said
    assert "read from it does not say" in " ".join(said.split())


def test_data_that_has_gone_or_changed_costs_only_what_needs_it(data, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(data, mine)
    run = pretrained("simclr", mine, tmp_path / "run")
    with np.load(mine / "images.npz") as kept:
        arrays = dict(kept)
    np.savez(mine / "images.npz", images=1 - arrays["images"], labels=arrays["labels"])
    page = page_of(run)
    assert "is not what the run was trained on" in words(page)
    assert "What it finds alike" in headings(page)
    (mine / "images.npz").unlink()
    page = page_of(run)
    assert "Without the data there is nothing to show here of it" in words(page)
    assert "images.npz" in words(page)
    assert headings(page) >= ALWAYS
    page = page_of(run, data / "images.npz", "--out", tmp_path / "b.html", out=tmp_path / "b.html")
    assert "What it finds alike" in headings(page)
    assert "is not what" not in words(page)


def test_an_adaptation_of_published_weights_asks_for_the_old_data(tmp_path, data):
    folder, adapted = write_gpt2(tmp_path / "weights"), tmp_path / "adapted"
    call = ["adapt", "probe", str(folder), str(data / "texts.csv"), "--run", str(adapted)]
    assert main([*call, "--quiet"]) == 0
    assert f"minissl forget {adapted} OLD_DATA" in words(page_of(adapted))


@pytest.mark.parametrize("write", [write_bert, write_gpt2])
def test_published_weights_have_a_page_without_a_course(write, tmp_path, data, monkeypatch):
    """Of tables with more rows than there are tokens, as published ones may be."""
    heads = {"heads": ("words", "pooler", "follows")} if write is write_bert else {}
    folder = write(tmp_path / "weights", **heads)
    out = tmp_path / "weights.html"
    page = page_of(folder, data / "texts.csv", "--out", out, out=out)
    assert {"What it finds alike", "Settings"} <= headings(page)
    assert "Nobody says which data these weights were trained on" in words(page)
    assert "not at its end" not in words(page)
    method = open_run(folder).method
    tokens, rows = method.tokenizer, method.model.config.vocab_size
    assert rows > tokens.vocab_size
    if write is write_gpt2:
        monkeypatch.setattr(
            language_model,
            "generate",
            lambda *a, on_token, **more: [on_token(3), on_token(rows - 1)],
        )
        method.sample(b"", 2, generator=np.random.default_rng(0), write=(out := bytearray()).extend)
        assert out.decode() == "\x03\ufffd"
    else:
        never = {*tokens.special_tokens.values(), *range(tokens.vocab_size, rows)}
        assert {*method._never()} == never
        every = method.fill("the [MASK]", rows)[0]
        assert len(every) == rows - len(never)
    assert "The loss" not in headings(page)


def test_names_cannot_become_part_of_the_page(data, tmp_path):
    run = pretrained("gpt", data, tmp_path / "<script>alert(1) & 'a'")
    page = page_of(run)
    assert "<script" not in page
    for command in re.findall(r"minissl \w+ .*", words(page).partition("How to go on")[2]):
        assert str(run) in shlex.split(command), "a shell must take it for one name"


@posix  # elsewhere no file has such a name
def test_names_of_files_and_classes_that_are_no_text_do_not_spoil_the_pictures(tmp_path):
    """A picture with half of a character or a control character in it is none to a browser."""
    from PIL import Image

    images = LabelledImages.toy(toy_settings("simclr"))
    for number, (image, label) in enumerate(zip(images.images, images.labels)):
        folder = tmp_path / "data" / ("a--b $x$ <b>", "_c\x1b[31m")[label]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (255 * image[..., 0].clip(0, 1)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}\x07--&.png")
    run = pretrained("simclr", tmp_path / "data", tmp_path / "run")
    call = ["adapt", "probe", str(run), str(tmp_path / "data"), "--run", str(tmp_path / "probe")]
    assert main([*call, "--quiet"]) == 0
    for folder in (run, tmp_path / "probe"):
        page_of(folder)
        whole = (folder / "report.html").read_text(encoding="utf-8")
        for one in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', whole):
            ElementTree.fromstring(base64.b64decode(one))


def test_what_is_no_text_cannot_break_a_page():
    """Samples have control characters, names of files have bytes that are no UTF-8."""
    figure, _ = figures.new_figure()
    page = Page("")
    page.figure(figure, "<b>", '"><script>')
    page.table(["<th>"], [["<td>"]])
    assert "<script" not in page.html()
    assert "<b>" not in page.html()
    assert page.html().count("&lt;t") == 2
    page = Page("a \x00 \x1b[31m \ud800 \ufffe")
    page.code("two\nlines\tand a tab\x07")
    made = page.html().encode().decode()
    assert made.count("\ufffd") == 9
    assert "two\nlines\tand a tab" in made


def test_older_or_damaged_records_of_data_and_time_have_a_page(data, tmp_path):
    run = pretrained("gpt", data, tmp_path / "run")
    (run / "starts.jsonl").unlink()
    (run / "log.jsonl").unlink()
    (run / "data.json").write_text('{"fingerprint": ["a"]}', encoding="utf-8")
    said = words(page_of(run))
    assert "read from it does not say" in " ".join(said.split())
    assert "does not say where it was trained" in said
    assert "does not say where its data lies" in said
    (run / "data.json").unlink()
    assert "Data" not in headings(page_of(run))


def test_what_cannot_be_written_is_refused(data, tmp_path, capsys):
    run = pretrained("gpt", data, tmp_path / "run")
    assert main(["report", str(run), "--out", str(tmp_path / "page.pdf")]) == 1
    assert "expected a name that ends with .html" in capsys.readouterr().err
    (tmp_path / "book.html").write_text("a book", encoding="utf-8")
    book = str(tmp_path / "book.html")
    assert main(["report", str(run), book, "--out", book]) == 1
    assert "is the data itself" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err


def test_every_start_is_told_with_its_step(data, tmp_path):
    run = pretrained("gpt", data, tmp_path / "run")
    starts = run / "starts.jsonl"
    assert [start["step"] for start in read_starts(run)] == [0]
    again = json.loads(starts.read_text("utf-8")) | {"step": 2, "device": "cuda", "processes": 4}
    starts.write_text(f"{starts.read_text('utf-8')}{json.dumps(again)}\n{{half", encoding="utf-8")
    said = words(page_of(run))
    assert "From step 0: " in said
    assert re.search(r"From step 2: \d+ cores of .*, on cuda, 4 processes, ", said)


def test_a_page_that_is_sent_to_others_names_no_folder_of_the_data(data, tmp_path):
    run = pretrained("gpt", data, tmp_path / "run")
    page = words(page_of(run))
    assert "texts.csv" in page
    assert str(data) not in page


def test_a_curve_beside_one_that_has_a_single_value_is_drawn(data, tmp_path):
    run = pretrained("gpt", data, tmp_path / "run")
    first, *others = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    once = json.dumps(json.loads(first) | {"odd_loss": 1.0, "odd_accuracy": 0.5})
    (run / "log.jsonl").write_text("\n".join([once, *others, ""]), encoding="utf-8")
    page = page_of(run)
    assert "The loss" in headings(page)  # which has others with more
    assert "What it knows" not in headings(page)  # which has nothing else
    assert "Odd accuracy" in words(page)
