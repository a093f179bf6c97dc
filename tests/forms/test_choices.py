"""One of several endings: scores, loss and gradient against torch, and every adaptation."""

import csv

import numpy as np
import pytest
import torch

from minissl.adapt import load_adaptation
from minissl.adapt.run import adapt, open_adaptation
from minissl.autograd.gradcheck import gradcheck
from minissl.cli import main
from minissl.data.choices import Alternatives, Choice, Choices
from minissl.data.labels import Labelled
from minissl.forms import load_form
from minissl.forms.choices import OneOfSeveral
from tests.adapt.toy import adapting, toy_base
from tests.forms.test_spans import WAYS, Lookup, learned, small_encoder


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A run of an encoder and one of a decoder."""
    folder = tmp_path_factory.mktemp("bases")
    return {name: toy_base(name, folder / name) for name in ("bert", "gpt")}


def examples(generator, counts):
    """With so many endings each, of one to six tokens."""
    found = []
    for count in counts:
        rows = [
            generator.integers(3, 60, size).tolist() for size in generator.integers(1, 7, count)
        ]
        endings = [f"ending {n}" for n in range(count)]
        found.append(Alternatives(rows, endings, loses_beginning=False))
    return found


def made(dtype=np.float64):
    head = OneOfSeveral().head(5, np.random.default_rng(0), None)
    return head.astype(dtype)


def labelled(inputs, labels):
    none = np.zeros((len(inputs), 0))
    return Labelled(inputs, ("",) * len(inputs), labels, (), none, "", None, "choice")


@pytest.mark.parametrize("counts", [[4, 4, 4], [2], [5, 2, 3, 5], [2, 7]])
def test_scores_loss_and_gradient_are_those_of_torch(counts):
    generator, base, form, head = np.random.default_rng(0), Lookup(), OneOfSeveral(), made()
    inputs = examples(generator, counts)
    labels = np.array([count - 1 for count in counts])
    batch, wanted = form.batch(base, inputs, labels)
    outputs = form.outputs(base, head, batch)
    assert outputs.shape == (len(counts), max(counts))
    table = torch.tensor(base.model.tokens.weight.numpy(), requires_grad=True)
    weight, bias = (torch.tensor(p.numpy(), requires_grad=True) for p in (head.weight, head.bias))
    losses, right, chances = [], [], []
    for row, (one, label) in enumerate(zip(inputs, labels)):
        scores = torch.cat([table[tokens].mean(dim=0) @ weight.T + bias for tokens in one.rows])
        np.testing.assert_allclose(outputs.numpy()[row, : len(one.rows)], scores.detach())
        losses.append(torch.nn.functional.cross_entropy(scores, torch.tensor(label)))
        right.append(int(scores.argmax()) == label)
        chances.append(torch.softmax(scores, dim=0).detach().numpy())
    loss, expected = form.loss(outputs, wanted), torch.stack(losses).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    loss.backward()
    expected.backward()
    for ours, theirs in (
        (head.weight, weight),
        (head.bias, bias),
        (base.model.tokens.weight, table),
    ):
        np.testing.assert_allclose(ours.grad, theirs.grad, rtol=1e-9, atol=1e-14)
    found = form.evaluate(base, head, labelled(inputs, labels))
    assert found == {"loss": pytest.approx(loss.item()), "accuracy": np.mean(right)}
    for ours, theirs in zip(form.of_endings(base, head, inputs), chances):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    predicted = form.predict(base, head, inputs)
    assert predicted.tolist() == [int(p.argmax()) for p in chances]
    columns, rows = form.table(base, head, inputs)
    assert columns == ["prediction", "ending", "probability"]
    for row, number, p in zip(rows, predicted, chances):
        assert row == [str(number), f"ending {number}", f"{p.max():.4f}"]


def test_the_gradient_is_that_of_differences():
    base, form, head = Lookup(), OneOfSeveral(), made()
    batch, labels = form.batch(base, examples(np.random.default_rng(1), [2, 5, 3]), [1, 4, 0])

    def loss(weight):
        head.weight = weight
        return form.loss(form.outputs(base, head, batch), labels)

    gradcheck(loss, [head.weight.numpy()])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_have_the_type_of_the_weights(dtype):
    base, form = Lookup(dtype=dtype), OneOfSeveral()
    batch, labels = form.batch(base, examples(np.random.default_rng(1), [2, 5]), [1, 4])
    outputs = form.outputs(base, made(dtype), batch)
    assert outputs.numpy().dtype == dtype
    assert form.loss(outputs, labels).numpy().dtype == dtype


def test_what_is_not_finite_is_named():
    base, form, head = Lookup(), OneOfSeveral(), made()
    inputs = examples(np.random.default_rng(1), [2, 5, 3])
    base.model.tokens.weight.array[1] = np.nan
    inputs[1].rows[3] = [1]
    for ask in (form.predict, form.table):
        with pytest.raises(ValueError, match=r"scores of example 1 are .*nan"):
            ask(base, head, inputs)
    with pytest.raises(ValueError, match=r"scores of example 1 are .*nan"):
        form.evaluate(base, head, labelled(inputs, [0, 0, 0]))


@pytest.mark.parametrize("name", ["bert", "gpt"])
def test_endings_behind_a_long_beginning_are_read(name, bases):
    """In full, whatever of the beginning is lost: else all of them would look alike."""
    opened = bases[name]
    raw = Choices([Choice("long", "the cat sat " * 9, ("ran", "sang", "log"))])
    inputs = raw.examples_by(opened.data).inputs
    (tokens, *_), _, _ = OneOfSeveral().collate(opened.method, inputs)
    assert tokens.shape[1] == opened.method.longest
    for row, ending in zip(tokens.tolist(), ("ran", "sang", "log")):
        end = opened.data.tokens(ending)[1:]
        assert row[-len(end) :] == end


@pytest.mark.parametrize("base", ["bert", "gpt"])
@pytest.mark.parametrize("name", WAYS)
def test_every_adaptation_chooses_and_is_opened_again(name, base, bases, tmp_path):
    opened, settings, kind = bases[base], adapting(name, steps=2), load_adaptation(name)
    result = adapt(kind, opened, Choices.toy(), settings, tmp_path, progress=False)
    inputs = result.data.held_out.inputs
    expected = result.method.predict(inputs)
    again = open_adaptation(tmp_path)
    assert again.method.predict(inputs).tolist() == expected.tolist()
    assert [again.method.predict([one])[0] for one in inputs[:4]] == expected[:4].tolist()
    scores = again.on(again.data.unseen(Choices.toy(seed=1))).evaluate()
    assert {"held_out_loss", "held_out_accuracy"} <= scores.keys()
    right = np.mean(expected == result.data.held_out.labels)
    assert result.method.evaluate()["held_out_accuracy"] == right
    with pytest.raises(ValueError, match="begun with other data"):
        adapt(kind, opened, Choices.toy(seed=1), settings, tmp_path, progress=False)


def test_it_computes_the_same_on_another_device(bases, monkeypatch):
    monkeypatch.setattr("minissl.autograd.fused.gpu._interpreted", lambda: False)
    results = [
        adapt(
            load_adaptation("lora"), bases["bert"], Choices.toy(), adapting("lora"),
            progress=False, **about,
        )
        for about in ({}, {"device": "torch"}, {"device": "torch", "precision": "bfloat16"})
    ]  # fmt: skip
    bases["bert"].method.model.to("cpu")
    losses = [one.history.losses()[0] for one in results]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=0.05)


def test_a_run_of_images_is_refused(tmp_path):
    opened = toy_base("simclr", tmp_path / "images")
    with pytest.raises(ValueError, match="choices are read by a run of texts"):
        adapt(load_adaptation("finetune"), opened, Choices.toy(), adapting("finetune"))
    assert load_form("choice") is OneOfSeveral


def test_the_commands_read_choose_and_measure(bases, tmp_path, capsys):
    data = tmp_path / "toys.csv"
    toys = Choices.toy()
    with open(data, "w", encoding="utf-8", newline="") as file:
        header = ["text", "ending0", "ending1", "ending2", "label"]
        rows = ([one.first, *one.seconds, n] for one, n in zip(toys.choices, toys.labels))
        csv.writer(file).writerows([header, *rows])
    for name in ("bert", "gpt"):
        run = str(tmp_path / f"choices-{name}")
        command = ["adapt", "bias", str(bases[name].folder), str(data), "--form", "choice"]
        assert main([*command, "--run", run, "--steps", "2", "--quiet"]) == 0
        assert "held out accuracy" in capsys.readouterr().out
        assert main(["predict", run, str(data)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "name,prediction,ending,probability"
        assert len(lines) == 41
        assert main(["evaluate", run]) == 0
        assert "accuracy" in capsys.readouterr().out


def repeated_words(count=300):
    """Of two or five endings the one that is the word of the beginning."""
    generator = np.random.default_rng(0)
    words = ["cat", "dog", "bird", "mat", "log", "song", "sat", "ran", "sang"]
    choices, labels = [], []
    for number in range(count):
        size = int(generator.choice([2, 5]))
        endings = tuple(str(word) for word in generator.choice(words, size, replace=False))
        labels.append(int(generator.integers(size)))
        choices.append(Choice(str(number), f"a {endings[labels[-1]]}", endings))
    return Choices(choices, labels)


def test_a_small_encoder_learns_that_the_right_ending_repeats_a_word(tmp_path):
    found = learned(small_encoder(tmp_path), repeated_words())
    assert found["held_out_accuracy"] == 1
    assert found["held_out_loss"] < 0.1
