"""Triplets: which images are in a batch, the loss by hand, and how the hardest ones collapse."""

import numpy as np
import pytest

from minissl.data import Kept
from minissl.data.images import LabelledImages
from minissl.losses.triplets import MINING, active_share, mine_triplets
from minissl.models.convolutional import ConvEncoder
from minissl.pretrain.images.triplet import Triplet, TripletSettings, UnitModel, all_active
from minissl.pretrain.run import train
from minissl.vision.augment import digits_augmentation
from minissl.vision.images import load_digits
from tests.pretrain.toy import toy_method

AUGMENT = digits_augmentation()


def numbered(labels):
    """An image for each of the labels, whose pixels are its number."""
    images = np.ones((len(labels), 8, 8, 1), np.float32)
    return images * np.arange(len(labels), dtype=np.float32)[:, None, None, None]


def slightly(images, generator):
    return images + generator.uniform(0.1, 0.4, (len(images), 1, 1, 1)).astype(np.float32)


def new_method(images, labels, augment=AUGMENT, **settings):
    generator = np.random.default_rng(0)
    encoder = ConvEncoder(widths=(8, 16), features=32, generator=generator)
    return Triplet(UnitModel(encoder), images, labels, augment, **settings)


def of_digits(**settings):
    data = load_digits()
    return new_method(
        data.train_images, data.train_labels, classes_per_batch=8, images_per_class=8,
        held_out=data.test_images, held_out_labels=data.test_labels, **settings,
    )  # fmt: skip


def test_a_batch_has_some_images_of_some_classes():
    labels = np.repeat([4, 0, 7, 2], [9, 5, 3, 1])
    method = new_method(numbered(labels), labels, slightly, classes_per_batch=3, images_per_class=4)
    seen = set()
    for seed in range(30):
        views, of_views = method.batch(np.random.default_rng(seed))
        numbers = views[:, 0, 0, 0].astype(int)
        np.testing.assert_array_equal(of_views, labels[numbers])
        assert len(np.unique(views[:, 0, 0, 0])) == 12  # what comes again is changed again
        classes, counts = np.unique(of_views, return_counts=True)
        assert counts.tolist() == [4, 4, 4]
        for one in classes:
            different = len(set(numbers[of_views == one].tolist()))
            assert different == min(4, np.sum(labels == one))
        seen |= set(numbers.tolist())
    assert seen == set(range(18))


@pytest.mark.parametrize("margin", [0.2, None])
@pytest.mark.parametrize("mining", ["all", "hard", "semi-hard"])
def test_the_loss_is_facenets(mining, margin):
    """Of unit vectors, squared distances, in float64, triplet after triplet."""
    method = of_digits(mining=mining, margin=margin)
    views, labels = method.batch(np.random.default_rng(0))
    z = method.encode(views).numpy().astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-6)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    d = np.square(z[:, None] - z[None]).sum(axis=-1)
    losses = []
    for a in range(len(z)):
        positives = np.flatnonzero((labels == labels[a]) & (np.arange(len(z)) != a))
        negatives = np.flatnonzero(labels != labels[a])
        pairs = [(p, n) for p in positives for n in negatives]
        if mining == "hard":
            pairs = [(positives[d[a, positives].argmax()], negatives[d[a, negatives].argmin()])]
        elif mining == "semi-hard":
            farther = {p: [n for n in negatives if d[a, n] > d[a, p]] for p in positives}
            pairs = [(p, min(ns, key=lambda n: d[a, n])) for p, ns in farther.items() if ns]
            pairs = [(p, n) for p, n in pairs if margin is None or d[a, n] < d[a, p] + margin]
        for p, n in pairs:
            x = d[a, p] - d[a, n]
            losses.append(np.log1p(np.exp(x)) if margin is None else max(0.0, x + margin))
    loss = method.loss((views, labels), np.random.default_rng(0)).item()
    assert loss == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("margin", [0.2, None])
def test_the_active_share_is_that_of_all_triplets(margin):
    method = of_digits()
    views, labels = method.batch(np.random.default_rng(0))
    z = method.encode(views).numpy()
    d = np.square(z[:, None].astype(np.float64) - z[None]).sum(axis=-1)
    expected = active_share(d, mine_triplets(d, labels, "all"), margin)
    assert all_active(z, labels, margin) == pytest.approx(expected, abs=1e-6)
    assert 0.01 < expected < 0.99


def test_it_learns_from_semi_hard_triplets_and_the_hardest_collapse():
    """Seeds 0 to 4: active triplets fall to 18 to 22 of 100; the hardest give a z_std of 0.01."""
    semi_hard, hard = of_digits(), of_digits(mining="hard")
    before = semi_hard.evaluate()
    settings = TripletSettings(steps=80, learning_rate=5e-3)
    for method in (semi_hard, hard):
        train(method, settings, progress=False)
    after, collapsed = semi_hard.evaluate(), hard.evaluate()
    assert before["active_share"] > 0.7
    assert after["active_share"] < 0.3
    assert after["held_out_loss"] < before["held_out_loss"] - 0.02
    assert after["z_std"] > 0.8
    assert collapsed["z_std"] < 0.05
    assert collapsed["active_share"] > 0.95
    assert collapsed["held_out_loss"] == pytest.approx(0.2, abs=0.01)  # the margin


def build(labels, **settings):
    names = tuple(f"class {number}" for number in range(max(labels) + 1))
    settings = TripletSettings(**settings)
    data = LabelledImages(numbered(labels) / len(labels), np.array(labels), names)
    return Triplet.build(settings, data.prepare(Kept(), settings))


def test_a_batch_of_fewer_classes_or_images_is_said():
    with pytest.warns(UserWarning, match="only 3 classes: each batch has all of them, not classes"):
        method = build([0, 1, 2] * 30, batch_size=18, classes_per_batch=4)
    assert (method.classes_per_batch, method.images_per_class) == (3, 6)
    told = r"1 of 3 classes have fewer than 6 images, 'class 2' has \d: they come more than once"
    with pytest.warns(UserWarning, match=told):
        method = build([0, 1] * 30 + [2] * 4, batch_size=20, classes_per_batch=3)
    assert len(method.batch(np.random.default_rng(0))[0]) == 18  # whole images of each class


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="batch_size 15 is less than two images of each of"):
        TripletSettings(batch_size=15)
    labels = np.arange(20) % 2
    for settings in ({"images_per_class": 1}, {"classes_per_batch": 1}):
        with pytest.raises(ValueError, match="a triplet needs two of both"):
            new_method(numbered(labels), labels, **settings)
    with pytest.raises(ValueError, match="20 images of one class: give two classes"):
        new_method(numbered(labels), labels * 0)
    settings = TripletSettings()
    numbers = LabelledImages(numbered(labels) / 20, np.linspace(0, 1, 20), ())
    with pytest.raises(ValueError, match="the labels are numbers: triplet contrasts classes"):
        Triplet.build(settings, numbers.prepare(Kept(), settings))


@pytest.mark.parametrize("mining", MINING)
def test_the_settings_say_which_triplets_and_how_far(mining):
    assert toy_method("triplet", mining=mining).mining == mining
    assert toy_method("triplet", margin=0.0).margin is None
    method = toy_method("triplet", mining=mining, margin=0.5)
    assert method.margin == 0.5
    assert np.isfinite(
        method.loss(method.batch(np.random.default_rng(0)), np.random.default_rng(1)).item()
    )
