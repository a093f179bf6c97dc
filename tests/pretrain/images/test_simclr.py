"""SimCLR on real digits: it must learn, its loss without negatives must collapse."""

import math

import numpy as np
import pytest
import torch

from minissl.adapt.heads.probe import few_label_curve
from minissl.data.labels import draw_few_labels
from minissl.losses.contrastive import alignment_loss, chance_level, nt_xent, simclr_cs229
from minissl.models.convolutional import ConvEncoder
from minissl.optim import AdamW, warmup_cosine
from minissl.pretrain.images.simclr import SimCLR, SimCLRModel
from minissl.pretrain.images.supervised import Classifier, Supervised
from minissl.training import diagnostics, fit
from minissl.vision.augment import compose, digits_augmentation
from minissl.vision.images import load_digits


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def new_model(seed=0, widths=(16, 32, 64)):
    generator = np.random.default_rng(seed)
    encoder = ConvEncoder(widths=widths, generator=generator)
    return SimCLRModel(encoder, generator=generator)


def new_method(digits, seed=0, **settings):
    model = new_model(seed)
    held_out = digits.test_images[:128]
    return SimCLR(model, digits.train_images, digits_augmentation(), held_out=held_out, **settings)


def train(method, steps, peak, seed=0):
    optimizer = AdamW(method.model.named_parameters())
    schedule = lambda step: warmup_cosine(  # noqa: E731
        step, peak=peak, warmup_steps=10, total_steps=steps
    )
    return fit(method, optimizer, steps=steps, schedule=schedule, seed=seed, progress=False)


def accuracy(method, digits):
    """Of linear probes with one and with two labels per class, ten draws each."""
    features, test_features = map(method.represent, (digits.train_images, digits.test_images))
    curve = few_label_curve(
        features, digits.train_labels, test_features, digits.test_labels, labels_per_class=(1, 2)
    )
    return np.mean([point.mean for point in curve])


def test_pretraining_without_labels_helps_when_labels_are_few(digits):
    """Seeds 0 to 4 gain 7.5 to 19 points in these 120 steps."""
    method = new_method(digits, batch_size=128)
    before, start = accuracy(method, digits), method.evaluate()
    assert start["held_out_loss"] == pytest.approx(start["chance_loss"], abs=0.02)
    assert start["chance_loss"] == chance_level("nt_xent", 128)
    train(method, steps=120, peak=5e-3)
    end = method.evaluate()
    assert accuracy(method, digits) > before + 0.04
    assert end["held_out_loss"] < start["held_out_loss"] - 0.8
    assert end["z_std"] > 0.9
    assert end["effective_rank"] > 8


def test_without_negatives_everything_collapses(digits):
    """Seeds 0 to 4 lose 7 to 15 points in these 30 steps, while their loss goes to 0."""
    method = new_method(digits, batch_size=64, loss="positives_only")
    before = accuracy(method, digits)
    train(method, steps=30, peak=5e-3)
    end = method.evaluate()
    assert end["held_out_loss"] < 1e-3
    assert end["z_std"] < 0.02
    assert end["effective_rank"] < 1.2
    assert "chance_loss" not in end  # no negatives, no chance
    assert accuracy(method, digits) < before - 0.03


def test_a_small_supervised_network_learns_its_labels(digits):
    generator = np.random.default_rng(0)
    chosen = draw_few_labels(digits.train_labels, 20, generator)
    model = Classifier(
        ConvEncoder(widths=(8, 16), features=32, generator=generator),
        10,
        features=32,
        generator=generator,
    )
    images, labels = digits.train_images[chosen], digits.train_labels[chosen]
    method = Supervised(model, images, labels, digits_augmentation(), batch_size=64)
    assert method.accuracy(digits.test_images, digits.test_labels) < 0.3
    history = train(method, steps=120, peak=1e-2)
    assert method.accuracy(digits.test_images, digits.test_labels) > 0.75
    assert history[0]["loss"] == pytest.approx(math.log(10), abs=0.15)
    assert method.represent(images[:3]).shape == (3, 32)


# ---- the parts ----------------------------------------------------------------------------------


def test_a_batch_is_two_views_of_different_images(digits):
    images = np.arange(200, dtype=np.float32).reshape(200, 1, 1, 1) * np.ones((1, 8, 8, 1))
    images = images.astype(np.float32)

    def augment(images, generator):
        return images + generator.normal(size=(len(images), 1, 1, 1)).astype(np.float32) * 1e-3

    method = SimCLR(new_model(), images, augment, batch_size=50)
    batch = method.batch(np.random.default_rng(3))
    first, second = np.split(batch, 2)
    assert batch.shape == (100, 8, 8, 1)
    assert batch.dtype == np.float32
    identities = np.round(first[:, 0, 0, 0])
    assert len(set(identities.tolist())) == 50
    assert np.array_equal(identities, np.round(second[:, 0, 0, 0]))
    assert not np.array_equal(first, second)
    assert (batch != np.round(batch)).all()  # both views are augmented
    assert np.array_equal(batch, method.batch(np.random.default_rng(3)))
    assert not np.array_equal(batch, method.batch(np.random.default_rng(4)))


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("nt_xent", lambda a, b: nt_xent(a, b, 0.3)),
        ("simclr_cs229", lambda a, b: simclr_cs229(a, b, reduction="mean")),
        ("positives_only", alignment_loss),
    ],
)
def test_the_loss_is_the_one_of_its_name(digits, name, reference):
    method = new_method(digits, loss=name, temperature=0.3, batch_size=16)
    batch = method.batch(np.random.default_rng(0))
    embeddings = method.model(batch).numpy()
    assert embeddings.shape == (32, 64)
    expected = reference(embeddings[:16], embeddings[16:]).item()
    assert method.loss(batch).item() == pytest.approx(expected, rel=1e-5)


def test_evaluation_is_deterministic_and_needs_no_graph(digits):
    method = new_method(digits, batch_size=32)
    first = method.evaluate()
    assert first == method.evaluate()
    assert method.model.training
    assert set(first) == {
        "held_out_loss", "z_std", "effective_rank", "alignment", "uniformity", "chance_loss"
    }  # fmt: skip
    views = method._views(digits.test_images[:128], np.random.default_rng(0))
    embeddings = method.model(views).numpy()
    assert first["z_std"] == pytest.approx(diagnostics.z_std(embeddings[:128]))
    alignment = diagnostics.alignment(embeddings[:128], embeddings[128:])
    assert first["alignment"] == pytest.approx(alignment)


def test_the_representation_is_the_encoders_not_the_heads(digits):
    method = new_method(digits, batch_size=32)
    images = digits.test_images[:11]
    features = method.represent(images, batch_size=4)  # ragged
    assert isinstance(features, np.ndarray)
    np.testing.assert_allclose(features, method.model.encoder(images).numpy(), atol=1e-5)
    assert features.shape == (11, 128)
    assert method.represent(images[:0]).shape == (0, 128)


@pytest.mark.parametrize(
    ("size", "channels", "widths"), [(8, 1, (32, 64, 64)), (9, 3, (4, 6)), (5, 2, (3,))]
)
def test_the_encoder_is_torchs(size, channels, widths):
    generator = np.random.default_rng(size)
    encoder = ConvEncoder(size, channels, widths=widths, features=7, generator=generator)
    images = generator.normal(size=(3, size, size, channels)).astype(np.float32)
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    for number, layer in enumerate(encoder.convolutions):
        weight = torch.from_numpy(layer.weight.array).permute(0, 3, 1, 2)
        bias = torch.from_numpy(layer.bias.array)
        stride = 2 if number else 1
        x = torch.nn.functional.conv2d(x, weight, bias, stride=stride, padding=1).relu()
    flat = x.permute(0, 2, 3, 1).flatten(1)
    expected = flat @ torch.from_numpy(encoder.output.weight.array).T
    expected = (expected + torch.from_numpy(encoder.output.bias.array)).numpy()
    np.testing.assert_allclose(encoder(images).numpy(), expected, atol=1e-5)


def test_what_does_not_fit(digits):
    with pytest.raises(ValueError, match="loss must be one of"):
        new_method(digits, loss="byol")
    with pytest.raises(ValueError, match="its own negative"):
        new_method(digits, batch_size=1201)
    with pytest.raises(ValueError, match="expected \\(batch, height, width, channels\\)"):
        SimCLR(new_model(), digits.train_images[..., 0], compose())
    with pytest.raises(ValueError, match="labels of shape"):
        Supervised(None, digits.train_images, digits.train_labels[:5], compose())


def test_of_many_held_out_images_some_are_compared_and_it_is_said(digits, monkeypatch):
    """All with all: 60,000 images were 54 GB."""
    monkeypatch.setattr("minissl.pretrain.views.MEASURED", 50)
    with pytest.warns(UserWarning, match="measures itself on 50 of the 128 held-out images"):
        method = new_method(digits)
    assert method.evaluate()["held_out_loss"] == pytest.approx(chance_level("nt_xent", 50), abs=0.1)
    monkeypatch.setattr("minissl.pretrain.views.MEASURED", 128)
    assert len(new_method(digits)._held_out_views) == 256
