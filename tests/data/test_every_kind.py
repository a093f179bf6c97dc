"""What holds for every kind of data: found by its class, it passes these or it is not one."""

import itertools
import json
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from minissl.data import Fields, Kept
from minissl.data.captions import Captioned, CaptionOptions
from minissl.data.images import Images, LabelledImages
from minissl.data.labels import some_of_split, split_labelled
from minissl.data.pairs import LabelledTextPairs, Pair, TextPairs
from minissl.data.passages import PassageOptions, Passages, PassageTexts, PieceStream
from minissl.data.texts import LabelledTexts, Texts
from minissl.data.words import WordOptions, Words, WordTexts
from minissl.text import Tokenizer
from minissl.text.documents import Document
from minissl.text.wordpiece import WordPiece
from minissl.text.words import WordVocabulary


@dataclass(frozen=True, kw_only=True)
class EveryOption(PassageOptions, CaptionOptions, WordOptions):
    """What any kind may be told."""


SETTINGS = EveryOption(image_size=8, channels=1, vocab_size=280)
KINDS = (
    Texts,
    WordTexts,
    PassageTexts,
    LabelledTexts,
    Images,
    LabelledImages,
    TextPairs,
    LabelledTextPairs,
    Captioned,
)
LABELLED = (LabelledTexts, LabelledImages, LabelledTextPairs)
PARTS = ("documents", "pairs", "images", "captions", "labels")
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
every_labelled = pytest.mark.parametrize("kind", LABELLED, ids=lambda kind: kind.__name__)


def toy(kind, seed=0, **labels):
    return kind.toy(SETTINGS, seed=seed, **labels)


def sha(data):
    return data.fingerprint()["sha256"]


def examples_of(raw):
    """The parts of raw data that hold one entry for each example, by their names."""
    return {name: getattr(raw, name) for name in PARTS if hasattr(raw, name)}


def made(kind, raw, parts):
    """Raw data of the kind from its parts; class names are those of ``raw``."""
    values = [parts[name] for name in PARTS if name in parts]
    return kind(*values, *([raw.class_names] if "labels" in parts else []))


def other(value):
    """An example that is nearly the same."""
    if isinstance(value, Document):
        return value._replace(text=value.text + "!")
    if isinstance(value, Pair):
        return value._replace(second=value.second + "!")
    if isinstance(value, str):
        return value + "!"
    if isinstance(value, np.ndarray):
        changed = value.copy()
        changed[-1, -1] /= 2
        return changed
    return 1 - value


def same(one, two):
    """Whether two values are equal, arrays and dataclasses in depth."""
    if is_dataclass(one):
        return type(one) is type(two) and all(
            same(getattr(one, f.name), getattr(two, f.name)) for f in fields(one)
        )
    if isinstance(one, np.ndarray):
        return one.dtype == two.dtype and np.array_equal(one, two)
    if isinstance(one, WordPiece):
        return one.tokens == two.tokens
    if hasattr(one, "special_tokens"):  # a tokenizer
        return one.ranks == two.ranks
    if isinstance(one, WordVocabulary):
        return one.to_bytes() == two.to_bytes()
    return one == two


def keys(examples):
    """Something to compare for each example, tokens or pixels."""
    return [x.tobytes() if isinstance(x, np.ndarray) else str(x) for x in examples]


def trained(prepared):
    """The examples that are not held out."""
    if isinstance(prepared, Words | Passages):
        return of_documents(prepared.stream)
    return prepared.inputs if hasattr(prepared, "inputs") else prepared.images


def held_out(prepared):
    """The examples that are."""
    found = prepared.held_out
    return of_documents(found) if isinstance(prepared, Words | Passages) else found


def of_documents(stream):
    """The words or pieces of each document of a stream."""
    if isinstance(stream, PieceStream):
        ends = stream.sentences[stream.documents]
        return [stream.pieces[i:j].tolist() for i, j in itertools.pairwise(ends)]
    return [stream.words[stream.documents == n].tolist() for n in np.unique(stream.documents)]


def inputs_of(prepared, raw):
    """All examples as its streams have them: words with a vector, pieces without [CLS], [SEP]."""
    inputs = prepared.examples(raw).inputs
    if isinstance(prepared, Passages):
        return [ids[1:-1] for ids in inputs]
    return [[i for i in ids if i] for ids in inputs] if isinstance(prepared, Words) else inputs


@every_kind
def test_the_protocol(kind):
    assert isinstance(kind.default, str)
    assert set(kind.fields) <= {one.name for one in fields(Fields)}
    assert kind.with_labels in LABELLED
    for name in ("kept", "reopen", "unseen", "examples", "labelled", "describe"):
        assert hasattr(kind.prepared, name) or name == "kept"


@every_kind
def test_the_fingerprint_is_json_and_that_of_the_same_data(kind):
    fingerprint = toy(kind).fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    assert len(fingerprint["sha256"]) == 64
    assert toy(kind).fingerprint() == fingerprint
    assert sha(toy(kind, seed=1)) != fingerprint["sha256"]


@every_kind
@pytest.mark.parametrize("place", [0, 7, -1])
def test_any_example_or_label_that_changes_is_other_data(kind, place):
    raw = toy(kind)
    parts = examples_of(raw)
    assert sha(made(kind, raw, parts)) == sha(raw)
    for name, values in parts.items():
        changed = list(values)
        changed[place] = other(changed[place])
        changed = np.array(changed) if isinstance(values, np.ndarray) else changed
        assert sha(made(kind, raw, {**parts, name: changed})) != sha(raw), name


@every_labelled
def test_labels_that_change_places_are_other_data(kind):
    """As many of each class, and the same examples: only who has which is another."""
    raw = toy(kind)
    first, *rest = examples_of(raw)
    assert rest == ["labels"]
    examples = list(getattr(raw, first))
    examples[:2] = examples[1], examples[0]
    examples = np.array(examples) if isinstance(getattr(raw, first), np.ndarray) else examples
    assert raw.labels[0] != raw.labels[1]
    assert sha(made(kind, raw, {first: examples, "labels": raw.labels})) != sha(raw)
    renamed = kind(getattr(raw, first), raw.labels, raw.class_names[::-1])
    assert sha(renamed) != sha(raw)


def test_texts_in_another_order_are_the_same():
    raw = toy(Texts)
    assert sha(Texts(raw.documents[::-1])) == sha(raw)


@every_kind
def test_it_is_prepared_twice_alike_and_opened_again_from_what_was_kept(kind):
    raw = toy(kind)
    prepared, again = raw.prepare(Kept(), SETTINGS), toy(kind).prepare(Kept(), SETTINGS)
    assert isinstance(prepared, kind.prepared)
    assert same(prepared, again)
    assert all(isinstance(value, bytes) for value in prepared.kept.values())
    assert same(raw.prepare(prepared.kept, SETTINGS), prepared)  # nothing is learned anew
    opened = kind.prepared.reopen(prepared.kept, SETTINGS)
    one, two = (data.examples(toy(kind, seed=2)) for data in (prepared, opened))
    assert same(one.inputs, two.inputs)
    assert one.names == two.names
    assert len({*one.names}) == len(one.names) == len(one.inputs)
    assert getattr(opened, "class_names", ()) == getattr(prepared, "class_names", ())
    for data in (prepared, opened, opened.unseen(raw)):
        assert data.describe()


@every_kind
def test_unseen_data_is_all_held_out(kind):
    raw = toy(kind)
    opened = kind.prepared.reopen(raw.prepare(Kept(), SETTINGS).kept, SETTINGS)
    unseen = opened.unseen(raw)
    if kind is Texts:
        text = "\n".join(document.text for document in raw.documents).encode()
        assert unseen.held_out_text == text
        assert unseen.text == b""
    else:
        assert same(held_out(unseen), inputs_of(opened, raw))
        assert len(trained(unseen)) == 0
    if kind in LABELLED:
        np.testing.assert_array_equal(unseen.held_out_labels, raw.labels)


@every_kind
def test_an_example_is_trained_on_or_held_out(kind):
    raw = toy(kind)
    prepared = raw.prepare(Kept(), SETTINGS)
    if kind is Images:
        assert prepared.held_out is None  # the method chooses
        return
    if kind is Texts:
        count = len(prepared.text) + len(prepared.held_out_text)
        assert 0 < len(prepared.held_out_text) < 0.2 * count
        return
    if kind in (WordTexts, PassageTexts):  # documents are cut, as those of Texts
        count = len(prepared.stream) + len(prepared.held_out)
        whole = sum(len(ids) for ids in inputs_of(prepared, raw))
        assert count == pytest.approx(whole, abs=3)  # a cut may go through a number
        assert 0 < len(prepared.held_out) < 0.2 * count
        return
    parts = [keys(trained(prepared)), keys(prepared.held_out)]
    wanted = keys(prepared.examples(raw).inputs)
    assert not {*parts[0]} & {*parts[1]}
    assert sorted(parts[0] + parts[1]) == sorted(wanted)
    share = len(parts[1]) / len(wanted)
    assert share == pytest.approx(1 / 3 if kind in LABELLED else 0.05, abs=0.02)


def learn(usual, read, texts, *arguments, **options):
    """``usual``, and what it is given to read."""
    read.extend(texts)
    return usual(texts, *arguments, **options)


@pytest.mark.parametrize("kind", [k for k in KINDS if "text_field" in k.fields])
def test_the_tokenizer_has_not_read_what_is_held_out(kind, monkeypatch):
    read = []
    for tokenizer in (Tokenizer, WordPiece):
        train = staticmethod(partial(learn, tokenizer.train, read))
        monkeypatch.setattr(tokenizer, "train", train)
    prepared = toy(kind).prepare(Kept(), SETTINGS)
    if kind is PassageTexts:
        assert [prepared.tokens(text)[1:-1] for text in read] == trained(prepared)
        return
    if kind is Texts:
        assert "\n".join(read).encode() == prepared.text
        return
    if kind is WordTexts:
        counted = np.bincount(prepared.stream.words, minlength=prepared.vocabulary.vocab_size)
        np.testing.assert_array_equal(prepared.vocabulary.counts[1:], counted[1:])
        return
    kept = prepared.captions if kind is Captioned else trained(prepared)
    texts = [
        tokens for entry in kept for tokens in (entry if "second_field" in kind.fields else [entry])
    ]
    assert read == [prepared.tokenizer.decode(tokens[1:]) for tokens in texts]


@every_labelled
@pytest.mark.parametrize("labels", ["class", "number"])
def test_labels_follow_their_examples(kind, labels):
    raw = toy(kind, labels=labels)
    prepared = raw.prepare(Kept(), SETTINGS)
    assert prepared.class_names == raw.class_names
    assert bool(raw.class_names) == (labels == "class")
    examples = prepared.labelled(raw)
    assert examples.kind == labels
    label_of = dict(zip(keys(examples.inputs), raw.labels.tolist()))
    assert [label_of[key] for key in keys(trained(prepared))] == prepared.labels.tolist()
    assert [label_of[key] for key in keys(prepared.held_out)] == prepared.held_out_labels.tolist()
    assert examples.raw.shape[0] == len(examples) == len(raw.labels)
    test = examples.split()[1]
    np.testing.assert_array_equal(test.labels, prepared.held_out_labels)  # the same third
    opened = kind.prepared.reopen(prepared.kept, SETTINGS)
    assert opened.labels.dtype == prepared.labels.dtype
    wrong = toy(kind, labels="number" if labels == "class" else "class")
    with pytest.raises(ValueError, match="labels are numbers in one, classes in the other"):
        opened.unseen(wrong)
    assert sha(raw) != sha(wrong)


def test_the_baseline_of_words_does_not_know_unknown_ones():
    documents = [Document(f"d{n}", "s", text) for n, text in enumerate(["a b c", "a b", "b c"])]
    prepared = WordTexts(documents * 9).prepare(Kept(), WordOptions(min_count=2, most_words=3))
    strange = [document._replace(text=document.text + " q r") for document in documents]
    labels = np.array([0, 1, 0])
    rows, more = (
        prepared.labelled(LabelledTexts(part, labels, ("x", "y"))).raw
        for part in (documents, strange)
    )
    np.testing.assert_array_equal(rows, more)


@every_labelled
def test_the_names_of_classes_decide_their_numbers(kind):
    raw = toy(kind)
    kept = raw.prepare(Kept(), SETTINGS).kept
    examples = getattr(raw, next(iter(examples_of(raw))))
    turned = kind(examples, 1 - raw.labels, raw.class_names[::-1])
    opened = kind.prepared.reopen(kept, SETTINGS)
    np.testing.assert_array_equal(opened.unseen(turned).held_out_labels, raw.labels)
    strange = kind(examples, raw.labels, (raw.class_names[0], "zebra"))
    with pytest.raises(ValueError, match="class 'zebra' is not one of this run"):
        opened.unseen(strange)
    with pytest.raises(ValueError, match=r"classes.json has the classes .*, the data has"):
        strange.prepare(kept, SETTINGS)
    with pytest.raises(ValueError, match="nothing to tell apart"):
        kind(examples, 0 * raw.labels, raw.class_names[:1]).prepare(Kept(), SETTINGS)


@every_kind
@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"null", b"\xff", b"[" * 100_000])
def test_kept_files_that_are_damaged_are_named(kind, damage, tmp_path):
    kept = toy(kind).prepare(Kept(), SETTINGS).kept
    for name in kept:
        broken = Kept({**kept, name: damage}, tmp_path)
        with pytest.raises(ValueError, match=name):
            kind.prepared.reopen(broken, SETTINGS)


# ---- written and read again ----------------------------------------------------------------------


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


ODD = Fields(text_field="t", second_field="s", label_field="l", image_field="i")


def rows_of(raw, folder):
    from PIL import Image

    labels = [raw.class_names[n] for n in raw.labels] if hasattr(raw, "labels") else None
    columns = {}
    if hasattr(raw, "documents"):
        columns["t"] = [document.text for document in raw.documents]
    if hasattr(raw, "pairs"):
        columns["t"] = [pair.first for pair in raw.pairs]
        columns["s"] = [pair.second for pair in raw.pairs]
    if hasattr(raw, "captions"):
        columns["t"] = raw.captions
    if hasattr(raw, "images"):
        (folder / "png").mkdir()
        columns["i"] = [f"png/{n}.png" for n in range(len(raw.images))]
        for name, image in zip(columns["i"], raw.images):
            Image.fromarray(np.rint(image[..., 0] * 255).astype(np.uint8)).save(folder / name)
    if labels:
        columns["l"] = labels
    return [dict(zip(columns, values)) for values in zip(*columns.values())]


@every_kind
def test_what_was_written_into_a_table_is_read(kind, tmp_path):
    raw, place = toy(kind), tmp_path / "place"
    place.mkdir()
    rows = rows_of(raw, place)
    write_rows(place / "toy.jsonl", rows)
    read = kind.read(place / "toy.jsonl", SETTINGS, ODD)
    for name, part in examples_of(raw).items():
        found = getattr(read, name)
        if name == "images":
            np.testing.assert_allclose(found, part, atol=0.51 / 255)
        elif name == "labels":  # classes are sorted by name
            assert [read.class_names[n] for n in found] == [raw.class_names[n] for n in part]
        elif name == "captions":
            assert found == part
        else:  # all but the name
            assert [entry[-1] for entry in found] == [entry[-1] for entry in part]
    names = read.prepare(Kept(), SETTINGS).examples(read).names
    assert len({*names}) == len(names) == len(rows)
    before = sha(read)
    place.rename(tmp_path / "moved")
    path = tmp_path / "moved" / "toy.jsonl"
    assert sha(kind.read(path, SETTINGS, ODD)) == before
    write_rows(path, [*rows[1:], rows[0]])
    assert sha(kind.read(path, SETTINGS, ODD)) != before  # other lines, other names
    with pytest.raises(ValueError, match=r"line 1: there is no field '\w+', it has .*--\w+-field"):
        kind.read(path, SETTINGS)


def named(raw):
    """The name of each example."""
    examples = next(iter(examples_of(raw).values()))
    return dict(zip(keys(examples), getattr(raw, "names", None) or [one.name for one in examples]))


@every_kind
def test_some_are_random_and_always_the_same(kind):
    raw = toy(kind)
    count = len(next(iter(examples_of(raw).values())))
    some, again = raw.some(9), raw.some(9)
    name = next(iter(examples_of(some)))
    assert len(examples_of(some)[name]) == 9
    assert keys(examples_of(some)[name]) == keys(examples_of(again)[name])
    everything = keys(examples_of(raw)[name])
    assert {*keys(examples_of(some)[name])} < {*everything}
    assert len(examples_of(raw.some(1000))[name]) == count
    assert named(some).items() <= named(raw).items(), "under their own names"


def test_some_images_are_those_of_their_files():
    raw = toy(Images)
    files = [Path(f"{number}.png") for number in range(len(raw.images))]
    names = [file.name for file in files]
    labels = np.arange(len(files)) % 2
    for whole in (
        Images(raw.images, names, files),
        LabelledImages(raw.images, labels, ("a", "b"), names, files=files),
    ):
        some = whole.some(9)
        assert [file.name for file in some.files] == list(some.names)


def test_some_of_a_split_are_random_on_both_sides_and_in_order():
    """The first ones would be of one class, where data lies in folders of classes."""
    chosen, tested = some_of_split(300, 30)
    train, test = split_labelled(300)
    assert len(tested) == 10
    for part, side in ((chosen[:20], train), (chosen[20:], test)):
        places = np.searchsorted(side, part)
        np.testing.assert_array_equal(side[places], part)
        assert (np.diff(places) > 0).all()
        assert places[-1] > len(side) / 2
    np.testing.assert_array_equal(tested, np.arange(20, 30))


@every_labelled
def test_some_with_labels_keep_them_and_what_was_held_out_stays_held_out(kind):
    raw = toy(kind)
    name = next(iter(examples_of(raw)))
    label_of = dict(zip(keys(examples_of(raw)[name]), raw.labels.tolist()))
    if hasattr(raw, "metrics"):  # images have none
        raw.metrics = ("f1",)
    some = raw.some(12)
    found = keys(examples_of(some)[name])
    assert [label_of[key] for key in found] == some.labels.tolist()
    assert some.class_names == raw.class_names
    if hasattr(raw, "metrics"):
        assert some.metrics == ("f1",)
    _, test = split_labelled(len(raw.labels))
    tested = {keys(examples_of(raw)[name])[i] for i in test}
    assert [key in tested for key in found] == [i in some.held_out for i in range(12)]
    assert len(some.held_out) == 4
