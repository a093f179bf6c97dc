"""Full fine-tuning: the loss is torch's, everything moves, and what is learned is learned."""

import numpy as np
import pytest
import torch

from minissl.adapt.heads.finetune import Finetune
from minissl.adapt.method import Task
from minissl.adapt.run import adapt
from tests.adapt.toy import adapting, toy_base, toy_labelled


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {name: toy_base(name, folder / name) for name in ("simclr", "gpt")}


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
