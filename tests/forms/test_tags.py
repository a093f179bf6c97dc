"""One tag for each word: states, loss and gradient by torch, places, cut sentences, spans."""

import numpy as np
import pytest
import torch

from minissl.adapt import load_adaptation
from minissl.adapt.run import adapt, open_adaptation
from minissl.cli import main
from minissl.data.labels import Labelled
from minissl.data.tagged import Sentence, Tagged, TaggedTexts
from minissl.forms import load_form
from minissl.forms.tags import Tags, are_of_spans, span_scores, spans_of, words_read
from minissl.nn.module import Module, Parameter
from minissl.pretrain.layered import Layered
from tests.adapt.toy import adapting, toy_base

NAMES = (
    "finetune", "lora", "adapters", "prompts", "prefixes", "experts", "bias", "last-layers",
    "layers-on-top",
)  # fmt: skip
BASES = ("gpt", "bert")
of_every_base = pytest.mark.parametrize("base", BASES)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A run of each kind, opened."""
    folder = tmp_path_factory.mktemp("bases")
    return {name: toy_base(name, folder / name) for name in (*BASES, "skipgram")}


def tagged(name, opened, raw=None, folder=None, device="cpu", precision="float32", **changes):
    """A run that was adapted to words with tags."""
    kind, raw = load_adaptation(name), raw or TaggedTexts.toy()
    about = {"device": device, "precision": precision, "progress": False}
    return adapt(kind, opened, raw, adapting(name, **changes), folder, **about)


def outputs_of(method, inputs):
    """Of each sentence its logits, (words, tags)."""
    return method.form.logits(method.base, method.model.head, inputs)


# ---- the formula ---------------------------------------------------------------------------------


class Table(Layered):
    """A network whose states are a table, (examples, lead + longest, width); tokens say the row."""

    longest, num_states = 6, 1

    def __init__(self, states, lead):
        self.model, self.lead, self.table = Module(), lead, Parameter(states)

    @property
    def width(self):
        return self.table.shape[-1]

    def padded(self, examples):
        places, sizes = np.arange(self.table.shape[1]), np.array([[len(e)] for e in examples])
        inside = (places >= self.lead) & (places < self.lead + sizes)
        return (np.array([example[0] // 100 for example in examples]), inside / sizes)

    def states(self, batch, generator=None):
        return [self.table[batch[0]]]


@pytest.mark.parametrize("lead", [0, 3])
def test_loss_and_gradient_are_those_of_torch_at_the_first_pieces(lead):
    """Ragged sentences, one of one word, one cut, behind places that are no part of the text."""
    draw = np.random.default_rng(lead)
    base = Table(draw.standard_normal((4, 6 + lead, 5)), lead)
    firsts = [[1, 2, 4], [1], [1, 3, 4, 5, 7, 8], [2, 3]]
    sizes = [6, 3, 10, 5]
    examples = [
        Tagged(range(100 * i, 100 * i + size), ("w",) * len(places), np.array(places))
        for i, (size, places) in enumerate(zip(sizes, firsts))
    ]
    labels = [draw.integers(3, size=len(places)) for places in firsts]
    form = Tags(("x", "y", "z"))
    head = form.head(5, draw, None)
    head.astype(np.float64)
    batch, tags = form.batch(base, examples, labels)
    loss = form.loss(form.outputs(base, head, batch), tags)
    loss.backward()

    states = torch.tensor(base.table.numpy(), requires_grad=True)
    weight, bias = (
        torch.tensor(p.numpy(), requires_grad=True) for p in (head.linear.weight, head.linear.bias)
    )
    places = [(i, lead + place) for i, row in enumerate(firsts) for place in row if place < 6]
    rows, columns = zip(*places)
    read = [tag for row, its in zip(firsts, labels) for place, tag in zip(row, its) if place < 6]
    logits = states[list(rows), list(columns)] @ weight.T + bias
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(read))
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for ours, theirs in zip((base.table, *head.parameters()), (states, weight, bias)):
        np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), rtol=1e-10, atol=1e-14)
    assert batch.counts.tolist() == [3, 1, 4, 2]

    held_out = Labelled(examples, tuple("abcd"), labels, form.class_names, None, "", form="tags")
    found = form.evaluate(base, head, held_out)
    assert found.keys() == {"loss", "accuracy"}
    assert found["loss"] == pytest.approx(expected.item(), rel=1e-12)
    answers = logits.argmax(dim=1).tolist()
    answers = [*answers[:8], 0, 0, *answers[8:]]  # the words that are not read are all "x"
    right = np.mean(np.array(answers) == np.concatenate(labels))
    assert found["accuracy"] == pytest.approx(right)


def test_a_word_that_is_not_finite_is_named():
    states = np.zeros((2, 6, 5), np.float32)
    states[1, 3, 0] = np.nan
    base, form = Table(states, 0), Tags(("x", "y"))
    words = [Tagged(range(n, n + 5), ("a", "b", "c"), np.arange(1, 4)) for n in (0, 100)]
    head = form.head(5, np.random.default_rng(0), None)
    with pytest.raises(ValueError, match="scores of 'c', word 2 of example 1, are not finite"):
        form.predict(base, head, words)
    base.longest = 1
    with pytest.raises(ValueError, match=r"no word of 2 sentence\(s\) is within the 1 token"):
        form.collate(base, words)


# ---- on runs -------------------------------------------------------------------------------------


@of_every_base
@pytest.mark.parametrize("name", NAMES)
def test_every_adaptation_takes_it_keeps_it_and_answers_as_before(name, base, bases, tmp_path):
    made = tagged(name, bases[base], None, tmp_path)
    again = open_adaptation(tmp_path)
    inputs = made.data.held_out.inputs
    logits, reopened = outputs_of(made.method, inputs), outputs_of(again.method, inputs)
    for i, (one, other) in enumerate(zip(logits, reopened)):
        np.testing.assert_array_equal(one, other)
        alone = outputs_of(again.method, [inputs[i]])[0]
        np.testing.assert_allclose(alone, one, rtol=1e-4, atol=1e-5)
    predicted = made.method.predict(inputs)
    assert [len(tags) for tags in predicted] == [len(one.words) for one in inputs]
    found = made.method.evaluate()
    assert {"held_out_loss", "held_out_accuracy", "held_out_f1"} <= found.keys()
    right = np.concatenate(predicted) == np.concatenate(made.data.held_out.labels)
    assert found["held_out_accuracy"] == pytest.approx(right.mean())
    examples = again.data.examples(TaggedTexts.toy(seed=9))
    columns, rows = again.method.table(examples.inputs)
    assert columns == ["tagged"]
    words = [[pair.rsplit("/", 1)[0] for pair in text.split()] for (text,) in rows]
    assert words == [[*one.words] for one in examples.inputs]


@of_every_base
@pytest.mark.parametrize("name", ["finetune", "prompts"])
def test_the_places_are_those_of_the_first_pieces(name, base, bases):
    """What is read there is the token that the sentence has there, whatever stands before."""
    method = tagged(name, bases[base]).method
    inputs = method.train.inputs
    batch = method.form.collate(method.base, inputs)
    tokens = np.asarray(batch.texts[0]).reshape(-1)
    expected = [
        one[place] for one in inputs for place in one.firsts[: words_read(method.base, one)]
    ]
    assert tokens[batch.places].tolist() == expected
    prompts = 2 if name == "prompts" else 0
    assert batch.places[0] == prompts + 1


@of_every_base
def test_words_that_are_cut_off_have_no_loss_and_the_usual_answer(base, bases):
    opened = bases[base]
    words = ("on", "dog") * 12
    tags = ("X", "Y") * 12
    method = tagged("finetune", opened, steps=1).method
    raw = TaggedTexts([Sentence("s", words), Sentence("t", ("my",))])
    (long, short), _ = raw.examples_by(opened.data)
    whole = method.base.cut(long)
    room = sum(place < len(whole) - (base == "bert") for place in long.firsts)
    assert 2 < room < len(words)
    assert (words_read(method.base, long), words_read(method.base, short)) == (room, 1)
    tags = [np.zeros(24, np.int64), np.zeros(1, np.int64)]
    other = [np.where(np.arange(24) < room, 0, 1), tags[1]]
    losses = [
        method.loss(method.form.batch(method.base, [long, short], one), None).item()
        for one in (tags, other)
    ]
    assert losses[0] == losses[1]
    outside = method.task.class_names.index("O")
    answers = method.predict([long, short])
    assert (answers[0][room:] == outside).all()
    held_out = Labelled(
        [long, short], ("s", "t"), tags, method.task.class_names, None, "", None, "tags"
    )
    found = method.form.evaluate(method.base, method.model.head, held_out)
    assert found["accuracy"] == np.mean(np.concatenate(answers) == 0)
    assert not [tag for tag in answers[0][room:] if tag == 0]


def test_without_an_outside_the_usual_answer_is_the_commonest_of_training():
    labels = [np.array([1, 2]), np.array([2]), np.array([0])]
    train = Labelled([], (), labels, ("a", "b", "c"), None, "", form="tags")
    draw = np.random.default_rng(0)
    assert Tags(("a", "b", "c")).head(4, draw, train).usual.item() == 2
    assert Tags(("a", "O", "c")).head(4, draw, train).usual.item() == 1
    assert set(dict(Tags(("a", "b")).head(4, draw, None).named_tensors())) == {
        "linear.weight", "linear.bias", "usual",
    }  # fmt: skip


def test_tags_are_told_apart_by_name_and_unknown_ones_refused(bases):
    made = tagged("last-layers", bases["gpt"])
    turned = TaggedTexts(
        [Sentence("s", ("on", "my"), ("O", "B-animal")), Sentence("t", ("a",), ("O",))]
    )
    assert turned.class_names == ("B-animal", "O")
    task = made.data.unseen(turned)
    assert [tags.tolist() for tags in task.held_out.labels] == [[2, 0], [2]]
    assert task.held_out.class_names == ("B-animal", "I-animal", "O")
    with pytest.raises(ValueError, match="class 'B-city' is not one of this run: B-animal, I-an"):
        made.data.unseen(TaggedTexts([Sentence("s", ("on",), ("B-city",))]))
    one = TaggedTexts([Sentence(f"s{i}", ("on",), ("O",)) for i in range(6)])
    with pytest.raises(ValueError, match=r"words have 1 tag\(s\), O: there is nothing to tell"):
        tagged("finetune", bases["gpt"], one)
    assert made.data.unseen(one).held_out.class_names == ("B-animal", "I-animal", "O")


def test_what_has_no_state_for_each_word_is_refused(bases):
    with pytest.raises(ValueError, match="tagged words are read by a run of texts that cuts them"):
        tagged("finetune", bases["skipgram"])
    with pytest.raises(ValueError, match="must be a class each, these are a tag for each"):
        tagged("probe", bases["gpt"])
    with pytest.raises(
        ValueError, match="labels_per_class is 2, and these labels are of no classes"
    ):
        tagged("finetune", bases["gpt"], labels_per_class=2)


@of_every_base
def test_in_float64_everything_is(base, bases):
    method = tagged("finetune", bases[base], steps=1).method
    inputs = method.task.held_out.inputs
    rough = outputs_of(method, inputs)
    method.base.model.astype(np.float64)
    method.model.astype(np.float64)
    exact = outputs_of(method, inputs)
    assert {rows.dtype for rows in exact} == {np.dtype(np.float64)}
    for one, other in zip(rough, exact):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    assert method.evaluate()["held_out_loss"] > 0


@of_every_base
def test_on_another_device_and_in_half_precision_it_is_the_same(base, bases, monkeypatch):
    monkeypatch.setattr("minissl.autograd.fused.gpu._interpreted", lambda: False)
    for name in ("prompts", "finetune"):
        here = tagged(name, bases[base])
        try:
            there = tagged(name, bases[base], device="torch")
            rough = tagged(name, bases[base], device="torch", precision="bfloat16")
        finally:
            bases[base].method.model.to("cpu")
        found = there.method.evaluate()
        for key, value in here.method.evaluate().items():
            assert value == pytest.approx(found[key], rel=1e-3, abs=1e-4)
        assert rough.history.losses()[0] == pytest.approx(here.history.losses()[0], rel=0.05)


@of_every_base
def test_what_the_word_before_decides_is_learned_whole(base, bases):
    """And not by a network that reads each word alone: "dog" is an animal after "my" only."""
    sentences = [one for seed in range(3) for one in TaggedTexts.toy(seed=seed).sentences]
    words = [
        Sentence(f"{name} {place}", (word,), (tag,))
        for name, *both in sentences
        for place, (word, tag) in enumerate(zip(*both))
    ]
    settings = {"steps": 150, "batch_size": 16, "learning_rate": 1e-2}
    whole, alone = (
        tagged("finetune", bases[base], TaggedTexts(part), **settings).method.evaluate()
        for part in (sentences, words)
    )
    assert whole["held_out_accuracy"] == whole["held_out_f1"] == 1
    assert alone["held_out_accuracy"] < 0.9


def test_the_commands_adapt_predict_and_measure(bases, tmp_path, capsys):
    rows = [
        "\n".join(f"{word}\t{tag}" for word, tag in zip(words, tags))
        for _, words, tags in TaggedTexts.toy().sentences
    ]
    data, run = tmp_path / "animals.conll", tmp_path / "run"
    data.write_text("\n\n".join(rows) + "\n", encoding="utf-8")
    options = ["--run", str(run), "--steps", "3", "--quiet"]
    assert main(["adapt", "lora", str(bases["bert"].folder), str(data), *options]) == 0
    told = capsys.readouterr().out
    assert "27 labelled examples of 3 tags, 13 held out" in told
    assert "held out f1" in told
    text = tmp_path / "new.txt"
    text.write_text("my dog sang\n\non cat\n", encoding="utf-8")
    assert main(["predict", str(run), str(text)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "name,tagged"
    assert [line.split(",")[0] for line in lines[1:]] == ['"new.txt', '"new.txt']
    assert "my/" in lines[1]
    assert main(["evaluate", str(run)]) == 0
    assert "held out f1" in capsys.readouterr().out
    assert main(["evaluate", str(run), str(data)]) == 0
    assert "held out f1" in capsys.readouterr().out


# ---- spans ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("", []),
        ("O O", []),
        ("B-a", [(0, 1, "a")]),
        ("B-a I-a O", [(0, 2, "a")]),
        ("B-a B-a", [(0, 1, "a"), (1, 2, "a")]),
        ("I-a I-a", [(0, 2, "a")]),
        ("O I-a B-a", [(1, 2, "a"), (2, 3, "a")]),
        ("B-a I-b I-b", [(0, 1, "a"), (1, 3, "b")]),
        ("B-a O I-a", [(0, 1, "a"), (2, 3, "a")]),
        ("B-a-b I-a-b", [(0, 2, "a-b")]),
        ("B I O I", [(0, 2, ""), (3, 4, "")]),
        ("B-a I", [(0, 1, "a"), (1, 2, "")]),
    ],
)
def test_spans_begin_and_end_as_in_the_tasks_script(tags, spans):
    assert spans_of(tags.split()) == {*spans}


def test_span_scores_are_those_of_seqeval():
    """Numbers of seqeval 1.2.2 for drawn tags, of which some are forgotten; then by hand."""
    names, draw = np.array(["O", "B-a", "I-a", "B-b", "I-b"]), np.random.default_rng(5)
    right = [draw.integers(5, size=size) for size in draw.integers(1, 12, size=30)]
    said = [np.where(draw.random(len(one)) < 0.7, one, 0) for one in right]
    found = span_scores(
        [names[one].tolist() for one in said], [names[one].tolist() for one in right]
    )
    expected = {"precision": 8 / 9, "recall": 8 / 11, "f1": 0.8}
    assert found == pytest.approx(expected)
    by_hand = span_scores([["B-a", "I-a", "O", "B-b"]], [["B-a", "O", "O", "B-b"]])
    assert by_hand == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    nothing = {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert span_scores([["O"]], [["O"]]) == span_scores([["O"]], [["B-a"]]) == nothing


def test_only_tags_of_spans_are_scored_as_such():
    assert are_of_spans(["B-x", "I-x", "O"])
    assert are_of_spans(["I-x"])
    for names in (["O"], [], ["B-x", "NOUN"], ["BAD", "O"], ["O", "b-x"]):
        assert not are_of_spans(names)
    assert load_form("tags") is Tags
