"""Full fine-tuning: the loss is torch's, everything moves, and what is learned is learned."""

import math

import numpy as np
import pytest
import torch

from minissl.adapt.heads.finetune import Finetune, distance
from minissl.adapt.method import Task
from minissl.adapt.run import adapt
from minissl.optim import SGD, AdaGrad, AdamW
from tests.adapt.toy import adapted, adapting, toy_base, toy_labelled
from tests.pretrain.toy import stopped_after, toy_method

ALL = ("simclr", "gpt", "lstm", "bert", "skipgram")


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {name: toy_base(name, folder / name) for name in ALL}


def built(opened, **changes):
    task = Task.prepare(opened.data, toy_labelled("finetune", opened), "class")
    return Finetune.build(adapting("finetune", **changes), opened, task, seed=0)


@pytest.mark.parametrize("base", ["simclr", "gpt"])
def test_the_loss_is_torchs_on_what_represents_an_example(base, bases):
    method = built(bases[base], augment=False)
    method.model.eval()
    examples, labels = method.batch(np.random.default_rng(1))
    rows = method.base.encode(examples).numpy()
    head = torch.nn.Linear(rows.shape[1], 2)
    head.weight.data = torch.tensor(method.model.head.weight.numpy())
    head.bias.data = torch.tensor(method.model.head.bias.numpy())
    expected = torch.nn.functional.cross_entropy(head(torch.tensor(rows)), torch.tensor(labels))
    loss = method.loss((examples, labels), np.random.default_rng(2))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    moved = [n for n, p in method.base.encoder.named_parameters() if p.grad is not None]
    assert moved == [n for n, _ in method.base.encoder.named_parameters()]


def test_padding_changes_nothing(bases):
    """Texts of other lengths beside it do not change what a text is trained on."""
    method = built(bases["gpt"])
    texts = [[5, 6, 7], [1, 2, 3, 4, 5, 6, 7, 8, 9], [3]]
    together = method.outputs(method.base.collate(texts)).numpy()
    for row, text in zip(together, texts):
        alone = method.outputs(method.base.collate([text])).numpy()[0]
        np.testing.assert_allclose(row, alone, rtol=1e-5, atol=1e-6)


def test_images_are_augmented_as_in_pretraining_unless_one_says_no(bases):
    opened = bases["simclr"]
    plain, changed = built(opened, augment=False), built(opened)
    images = {image.tobytes() for image in plain.train.inputs}
    one, _ = plain.batch(np.random.default_rng(0))
    other, labels = changed.batch(np.random.default_rng(0))
    assert {image.tobytes() for image in one} <= images
    assert not {image.tobytes() for image in other} & images
    generator = np.random.default_rng(0)
    chosen = generator.integers(len(changed.train), size=6)
    np.testing.assert_array_equal(labels, changed.train.labels[chosen])
    expected = changed.base.augment(changed.train.inputs[chosen], generator)
    np.testing.assert_array_equal(other, expected)


@pytest.mark.parametrize("base", ["simclr", "gpt"])
def test_it_learns_what_the_pretrained_network_did_not_say(base, bases):
    opened = bases[base]
    settings = adapting("finetune", steps=60, batch_size=24, learning_rate=1e-2, augment=False)
    made = adapt(Finetune, opened, toy_labelled("finetune", opened), settings, progress=False)
    train = made.data.train
    assert np.mean(made.method.predict(train.inputs) == train.labels) > 0.95
    assert made.history[-1]["held_out_accuracy"] > 0.6  # of 13; chance is a half
    start = opened.on(opened.data).encoder.state_dict()
    for name, array in made.method.base.encoder.state_dict().items():
        assert not np.array_equal(array, start[name]), name


# ---- how far the weights go (F8) -----------------------------------------------------------------


def test_the_distance_by_hand():
    began = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    now = {"a": np.array([3.0, 6.0]), "b": np.array([[12.0]])}
    assert distance(began, began) == 0
    assert distance(began, now) == pytest.approx(10 / 5)


@pytest.mark.parametrize("start", ["pretrained", "random"])
@pytest.mark.parametrize("base", ["bert", "skipgram"])
def test_it_is_0_before_the_first_step_and_told_of_every_weight(base, start, bases, tmp_path):
    opened = bases[base]
    begin = opened.method
    if start == "random":
        begin = type(begin).build(opened.settings, opened.data, seed=0)
    first = {n: p.numpy().copy() for n, p in begin.encoder.named_parameters()}
    made = adapted("finetune", opened, tmp_path, changes={"start": start})
    records = [r["distance"] for r in made.history if "distance" in r]
    assert records[0] == 0
    last = {n: p.numpy().astype(np.float64) for n, p in made.method.base.encoder.named_parameters()}
    moved = np.concatenate([(last[n] - first[n]).ravel() for n in first])
    length = np.concatenate([first[n].ravel() for n in first]).astype(np.float64)
    expected = np.linalg.norm(moved) / np.linalg.norm(length)
    assert records[-1] == pytest.approx(expected, rel=1e-5)
    assert records[-1] == made.method.evaluate()["distance"]
    assert expected > 1e-4
    again = adapted("finetune", opened, tmp_path, changes={"start": start})
    assert again.method.evaluate()["distance"] == records[-1], "loaded, it began where it began"


def test_a_stopped_run_still_knows_where_it_began(bases, tmp_path):
    undisturbed = adapted("finetune", bases["gpt"])
    with stopped_after(Finetune, 2):
        adapted("finetune", bases["gpt"], tmp_path)
    continued = adapted("finetune", bases["gpt"], tmp_path)
    assert continued.method.evaluate() == undisturbed.method.evaluate()


def test_running_means_are_no_weights(tmp_path):
    """A BatchNorm's move without any step."""
    from minissl.pretrain import load_method
    from minissl.pretrain.run import open_run, pretrain
    from tests.pretrain.toy import toy_data, toy_settings

    settings = toy_settings("simclr", encoder="resnet18", features=16)
    data = toy_data("simclr", settings)
    pretrain(load_method("simclr"), data, settings, tmp_path, progress=False)
    method = built(open_run(tmp_path))
    for _, tensor in method.base.encoder.named_tensors():
        if not tensor.requires_grad:
            tensor.array = tensor.array + 1
    assert method.evaluate()["distance"] == 0


# ---- optimizers, a random start ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adamw", "sgd", "adagrad"])
@pytest.mark.parametrize("base", ["simclr", "skipgram"])
def test_the_first_steps_are_torchs(name, base, bases):
    """A constant gradient, so that nothing is seen but the optimizer."""
    method = built(bases[base], optimizer_name=name, learning_rate=0.01, weight_decay=0.0)
    optimizer = method.settings.optimizer(method.model)
    kind = {"adamw": AdamW, "sgd": SGD, "adagrad": AdaGrad}[name]
    assert type(optimizer) is kind
    own = dict(method.model.named_parameters())
    theirs = {n: torch.nn.Parameter(torch.tensor(p.numpy().copy())) for n, p in own.items()}
    values = theirs.values()
    reference = {
        "adamw": lambda: torch.optim.AdamW(values, lr=0.01, weight_decay=0.0),
        "sgd": lambda: torch.optim.SGD(values, lr=0.01, momentum=0.9),
        "adagrad": lambda: torch.optim.Adagrad(values, lr=0.01),
    }[name]()
    generator = np.random.default_rng(0)
    gradients = {n: generator.standard_normal(p.shape).astype(np.float32) for n, p in own.items()}
    optimizer.lr = 0.01
    for _ in range(3):
        for n in own:
            own[n].grad, theirs[n].grad = gradients[n], torch.tensor(gradients[n])
        optimizer.step()
        reference.step()
    for n in own:
        np.testing.assert_allclose(own[n].numpy(), theirs[n].detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adagrad"])
@pytest.mark.parametrize("base", ["gpt", "skipgram"])
def test_they_are_those_of_a_run(name, base, bases, tmp_path):
    """From labels to a folder that remembers what was used."""
    made = adapted("finetune", bases[base], tmp_path, changes={"optimizer_name": name})
    text = next(tmp_path.glob("checkpoints/*/checkpoint.json")).read_text(encoding="utf-8").lower()
    assert f'"name": "{name}"' in text
    assert 0 < made.method.evaluate()["distance"] < 1
    with pytest.raises(ValueError, match="optimizer_name must be one of adamw, sgd, adagrad"):
        adapting("finetune", optimizer_name="adam")


@pytest.mark.parametrize("base", ["simclr", "bert", "lstm"])
def test_a_random_start_is_the_same_network_without_its_pretraining(base, bases):
    opened = bases[base]
    task = Task.prepare(opened.data, toy_labelled("finetune", opened), "class")
    method = Finetune.build(adapting("finetune", start="random"), opened, task, seed=7)
    fresh = type(opened.method).build(opened.settings, opened.data, seed=7)
    pretrained = opened.method.encoder.state_dict()
    state = method.base.encoder.state_dict()
    assert state.keys() == pretrained.keys()
    for name, array in fresh.encoder.state_dict().items():
        np.testing.assert_array_equal(state[name], array)
    assert any((state[name] != array).any() for name, array in pretrained.items())
    usual = Finetune.build(adapting("finetune"), opened, task, seed=7)
    np.testing.assert_array_equal(method.model.head.weight.numpy(), usual.model.head.weight.numpy())


# ---- GPT's auxiliary loss (F13) ------------------------------------------------------------------


def by_torch(method, collated, labels, weight):
    """Both losses in float64: of the classes, and of each token from the states before it."""
    logits = method.outputs(collated).numpy()
    tokens, weights = collated[0], collated[-1]
    states = method.base.each(collated).numpy()
    words = torch.tensor(method.base.network.logits(states).numpy())
    nats, count = 0.0, 0
    for row, text, inside in zip(words, tokens, weights > 0):
        for t in range(1, int(inside.sum())):
            nats -= torch.log_softmax(row[t - 1], dim=0)[text[t]].item()
            count += 1
    of_class = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels)).item()
    return of_class, of_class + weight * nats / count


@pytest.mark.parametrize("base", ["gpt", "lstm"])
def test_the_loss_of_next_tokens_stands_beside_it(base, bases):
    """The sum of the two, their gradients too, in float64; without dropout."""
    texts, labels = [[5, 6, 7], [1, 2, 3, 4, 5, 6, 7, 8, 9], [3]], np.array([0, 1, 1])

    def loss(weight):
        method = built(bases[base], lm_weight=weight)
        method.base.model.astype(np.float64)
        method.model.astype(np.float64).eval()
        collated = method.base.collate(texts)
        value = method.loss((collated, labels), np.random.default_rng(0))
        value.backward()
        grads = {n: p.grad for n, p in method.model.named_parameters()}
        return method, collated, value.item(), grads

    method, collated, found, grads = loss(0.5)
    of_class, expected = by_torch(method, collated, labels, 0.5)
    assert found == pytest.approx(expected, rel=1e-10)
    _, _, alone, without = loss(0.0)
    assert alone == pytest.approx(of_class, rel=1e-10)
    plain = built(bases[base])
    plain.base.model.astype(np.float64)
    plain.model.astype(np.float64).eval()
    plain.base.text_loss(plain.base.each(collated), collated).backward()
    of_text = {n: p.grad for n, p in plain.model.named_parameters()}
    for name, grad in grads.items():
        other = 0 if of_text[name] is None else 0.5 * of_text[name]
        np.testing.assert_allclose(grad, without[name] + other, rtol=1e-8, atol=1e-12)
    outside = {id(p) for p in method.base.model.parameters()} - {
        id(p) for p in method.model.parameters()
    }
    assert not [
        p for p in method.base.model.parameters() if id(p) in outside and p.grad is not None
    ]
    assert len(outside) == (2 if base == "lstm" else 0)  # its output stays, and is not saved


def test_texts_of_one_token_predict_nothing(bases):
    method = built(bases["gpt"], lm_weight=0.5)
    method.model.eval()
    batch = method.base.collate([[3], [4]]), np.array([0, 1])
    loss = method.loss(batch, np.random.default_rng(0))
    alone = built(bases["gpt"])
    alone.model.eval()
    assert loss.item() == alone.loss(batch, np.random.default_rng(0)).item()
    loss.backward()
    assert all(np.isfinite(p.grad).all() for p in method.model.parameters() if p.grad is not None)


def test_without_weight_nothing_is_different(bases, monkeypatch):
    usual = adapted("finetune", bases["gpt"])
    monkeypatch.setattr(type(bases["gpt"].method), "text_loss", None)  # it is not even asked
    again = adapted("finetune", bases["gpt"], changes={"lm_weight": 0.0})
    assert again.history.losses() == usual.history.losses()
    monkeypatch.undo()
    beside = adapted("finetune", bases["gpt"], changes={"lm_weight": 0.5})
    ratio = (beside.history.losses()[0] - usual.history.losses()[0]) / (0.5 * math.log(300))
    assert ratio == pytest.approx(1, abs=0.1)  # a toy hardly knows its tokens


def test_it_is_refused_where_no_token_is_predicted(bases):
    for base in ("bert", "simclr", "skipgram"):
        with pytest.raises(
            ValueError, match=rf"lm_weight is 0\.5, but a run of {base} predicts no"
        ):
            built(bases[base], lm_weight=0.5)
    method = built(bases["gpt"], lm_weight=0.5)

    class Tags:
        kind = "tags"

    class Tagging(Finetune):
        form = Tags

    with pytest.raises(ValueError, match="of a whole text, these are a tag for each word"):
        Tagging(method.base, method.task, method.model, method.settings)


def test_what_stands_beside_the_encoder_stays(bases):
    """BERT's head for hidden words is no part of what is tuned, and gets no gradient."""
    method = built(bases["bert"])
    method.loss(method.batch(np.random.default_rng(0)), np.random.default_rng(0)).backward()
    for name, parameter in method.base.model.named_parameters():
        assert parameter.requires_grad == name.startswith("encoder."), name
        assert (parameter.grad is not None) <= name.startswith("encoder."), name
    assert toy_method("bert").model.words.bias.requires_grad
