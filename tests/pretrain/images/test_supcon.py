"""Supervised contrast: which views are in a batch, its loss by hand, and what it learns."""

import numpy as np
import pytest

from minissl.autograd.tensor import Tensor, as_array
from minissl.data import Kept
from minissl.data.images import LabelledImages
from minissl.data.labels import split_labelled
from minissl.losses.contrastive import nt_xent
from minissl.models.convolutional import ConvEncoder
from minissl.nn.resnet import ResNet
from minissl.pretrain.images.supcon import SupCon, SupConModel, SupConSettings
from minissl.pretrain.labelled_views import recall_at_1
from minissl.pretrain.run import train
from minissl.vision.augment import digits_augmentation
from minissl.vision.images import load_digits
from tests.pretrain.toy import toy_method

AUGMENT = digits_augmentation()
NAMES = ("a", "b", "c")


def numbered(count=60):
    """Images whose pixels are their number, of three classes in turn."""
    images = np.ones((count, 8, 8, 1), np.float32)
    return images * np.arange(count, dtype=np.float32)[:, None, None, None], np.arange(count) % 3


def new_method(images, labels, augment=AUGMENT, classes=0, **settings):
    generator = np.random.default_rng(0)
    encoder = ConvEncoder(widths=(8, 16), features=32, generator=generator)
    model = SupConModel(encoder, features=32, embedding=16, classes=classes, generator=generator)
    return SupCon(model, images, labels, augment, **settings)


def by_hand(z, labels, temperature, logarithm):
    """Khosla et al.'s equations (2) and (3), row after row, in float64."""
    z = np.asarray(z, np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    losses = []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        e = {j: np.exp((z[i] @ z[j] - 1) / temperature) for j in others}
        p = np.array([e[j] / sum(e.values()) for j in others if labels[j] == labels[i]])
        if len(p):
            losses.append(-np.log(p).mean() if logarithm == "outside" else -np.log(p.mean()))
    return np.mean(losses)


def test_a_batch_is_views_of_different_images_with_their_labels():
    images, labels = numbered()

    def augment(images, generator):
        return images + generator.uniform(0.1, 0.4, (len(images), 1, 1, 1)).astype(np.float32)

    method = new_method(images, labels, augment, batch_size=20, views=3)
    views, of_views = method.batch(np.random.default_rng(0))
    numbers = views[:, 0, 0, 0].astype(int).reshape(3, 20)
    assert len(set(numbers[0].tolist())) == 20
    assert (numbers == numbers[0]).all()
    assert len(np.unique(views[:, 0, 0, 0])) == 60  # each view is another one
    np.testing.assert_array_equal(of_views, numbers.ravel() % 3)


@pytest.mark.parametrize("logarithm", ["outside", "inside"])
def test_the_loss_is_the_papers(logarithm):
    images, labels = load_digits().train_images[:40], load_digits().train_labels[:40]
    method = new_method(
        images, labels, batch_size=12, views=3, temperature=1e-3, logarithm=logarithm
    )
    batch = method.batch(np.random.default_rng(1))
    z = method.model(batch[0]).numpy()
    outside, inside = (by_hand(z, batch[1], 1e-3, name) for name in ("outside", "inside"))
    assert outside > inside + 0.05  # at 0.3 they would be the same to six digits
    expected = {"outside": outside, "inside": inside}[logarithm]
    assert method.loss(batch, None).item() == pytest.approx(expected, rel=1e-3)


def test_the_cross_entropy_of_known_labels_is_added_lambda_times():
    images, labels = load_digits().train_images[:40], load_digits().train_labels[:40]
    known = np.arange(0, 40, 2)
    method = new_method(
        images, labels, classes=10, batch_size=30, classification=0.7, labelled=known
    )
    views, ids = method.batch(np.random.default_rng(1))
    assert sorted(set(ids[ids >= 0].tolist())) <= sorted(set(labels[known].tolist()))
    assert len(set(ids[ids < 0].tolist())) == np.sum(ids < 0) / 2  # an image, twice
    logits = method.model.output(method.model.encoder(views)).numpy().astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    named = -np.mean([log_p[i, label] for i, label in enumerate(ids) if label >= 0])
    contrast = by_hand(method.model(views).numpy(), ids, 0.1, "outside")
    loss = method.loss((views, ids), None).item()
    assert loss == pytest.approx(contrast + 0.7 * named, rel=1e-5)


def test_without_any_label_it_is_nt_xent_and_nothing_is_named():
    images, labels = load_digits().train_images[:40], load_digits().train_labels[:40]
    none = np.zeros(0, np.int64)
    method = new_method(
        images, labels, classes=10, batch_size=12, classification=2.0, labelled=none
    )
    views, ids = method.batch(np.random.default_rng(1))
    z = method.model(views).numpy()
    expected = nt_xent(z[:12], z[12:], 0.1).item()
    assert method.loss((views, ids), None).item() == pytest.approx(expected, rel=1e-6)


def test_the_settings_say_whose_labels_are_used():
    images, labels = numbered(90)
    settings = SupConSettings(labels_per_class=4, batch_size=8, features=4, embedding=4)
    data = LabelledImages(images / 90, labels, NAMES).prepare(Kept(), settings)
    other = np.flatnonzero(SupCon.build(settings, data, seed=3).labels >= 0)
    assert sorted(settings.choose(data.labels, 3)) == other.tolist()  # as an adaptation's
    method = SupCon.build(settings, data)
    assert np.bincount(method.labels[method.labels >= 0]).tolist() == [4, 4, 4]
    used = method.labels >= 0
    np.testing.assert_array_equal(method.labels[used], data.labels[used])
    assert len(np.unique(method.labels[~used])) == 60 - 12
    with pytest.raises(
        ValueError, match=r"asked for 30 labels per class, the smallest of 3 .* ask for"
    ):
        SupCon.build(SupConSettings(labels_per_class=30, batch_size=8), data)


def test_it_learns_the_classes_of_digits_and_to_name_them():
    """Seeds 0 to 4 name 80 to 86 of 100, and their held-out loss falls by 2.0 to 2.3."""
    data = load_digits()
    method = new_method(
        data.train_images, data.train_labels, classes=10, batch_size=64, classification=1.0,
        held_out=data.test_images, held_out_labels=data.test_labels,
    )  # fmt: skip
    before = method.evaluate()
    train(method, SupConSettings(steps=100, learning_rate=5e-3), progress=False)
    after = method.evaluate()
    assert before["held_out_accuracy"] < 0.3
    assert after["held_out_accuracy"] > 0.7
    assert after["held_out_loss"] < before["held_out_loss"] - 1.5
    assert after["recall_at_1"] > before["recall_at_1"] + 0.05
    assert before["z_std"] < 0.1
    assert after["z_std"] > 0.5


def test_two_processes_see_one_batch_twice_as_large(monkeypatch):
    """The rows of the other process come from here; ``gather_rows`` has tests of its own."""
    images, labels = load_digits().train_images[:40], load_digits().train_labels[:40]
    known = np.arange(0, 40, 3)
    method = new_method(
        images, labels, classes=10, batch_size=20, classification=0.7, labelled=known
    )
    views, ids = method.batch(np.random.default_rng(1))
    whole = method.loss((views, ids), None).item()
    halves = np.arange(40) % 2 == 0, np.arange(40) % 2 == 1
    features = method.model.encoder(views).numpy()
    other = [method.model.head(features[halves[1]]), ids[halves[1]]]
    other += [method.model.output(features[halves[1]])]
    monkeypatch.setattr(
        "minissl.pretrain.labelled_views.gather_rows",
        lambda rows: Tensor(np.concatenate([as_array(rows), as_array(other.pop(0))])),
    )
    assert method.loss((views[halves[0]], ids[halves[0]]), None).item() == pytest.approx(whole)


def test_the_nearest_other_image_is_looked_at():
    rows = [[1, 0], [2, 0.1], [0, 3], [0.1, 1], [-1, 0]]
    # 0 and 1 find each other, 2 and 3 too, whatever their lengths; 4 finds 2 (cosine 0).
    assert recall_at_1(rows, [0, 0, 1, 2, 1]) == 3 / 5
    with pytest.raises(ValueError, match="features of example 1 are not finite"):
        recall_at_1([[1.0], [np.nan]], [0, 1])
    with pytest.raises(ValueError, match="two examples or more"):
        recall_at_1([[1.0]], [0])


def test_what_is_held_out_is_measured_alone_always_alike_and_changes_nothing(monkeypatch):
    data, generator = load_digits(), np.random.default_rng(0)
    encoder = ResNet(1, 1, generator=generator)
    model = SupConModel(encoder, features=8, embedding=4, generator=generator)
    method = SupCon(
        model, np.full_like(data.train_images[:40], np.nan), data.train_labels[:40], AUGMENT,
        batch_size=20, held_out=data.test_images[:30], held_out_labels=data.test_labels[:30],
    )  # fmt: skip
    monkeypatch.setattr("minissl.pretrain.labelled_views.gather_rows", None)  # each for itself
    views, labels = method.draw(method.held_out, method.held_out_labels, np.random.default_rng(0))
    model.eval()
    expected = by_hand(model(views).numpy(), labels, 0.1, "outside")
    model.train()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    found = method.evaluate()
    assert found == method.evaluate()
    assert found["held_out_loss"] == pytest.approx(expected, rel=1e-5)
    assert encoder.training
    for name, array in model.state_dict().items():  # BatchNorm's means too
        np.testing.assert_array_equal(array, before[name])


def test_a_loss_of_one_class_is_not_measured_and_that_is_told():
    images, labels = numbered()
    method = new_method(
        images, labels, batch_size=8, held_out=images[:3], held_out_labels=labels[:3] * 0
    )
    assert method.evaluate() == {}
    labels = np.zeros(60, int)
    labels[split_labelled(60)[0][:5]] = 1
    data = LabelledImages(images / 60, labels, NAMES[:2]).prepare(Kept(), SupConSettings())
    with pytest.warns(UserWarning, match="all 20 held-out images are of one class: nothing"):
        SupCon.build(SupConSettings(batch_size=8, features=4, embedding=4), data)


def test_what_does_not_fit_is_refused():
    images, labels = numbered()
    for settings, message in (
        ({"batch_size": 61}, "batch_size is 61, but there are 60 different images"),
        ({"batch_size": 4, "views": 1}, "views is 1: an image of a class of its own"),
        ({"batch_size": 4, "classification": 1.0}, "needs a model with classes"),
    ):
        with pytest.raises(ValueError, match=message):
            new_method(images, labels, **settings)
    for wrong in (labels[:5], labels * 1.0, labels - 1):
        with pytest.raises(ValueError, match="expected for each the number of its class, from 0"):
            new_method(images, wrong, batch_size=4)
    with pytest.raises(ValueError, match="60 images of one class: give two classes"):
        new_method(images, labels * 0, batch_size=4)
    settings = SupConSettings()
    numbers = LabelledImages(images / 60, np.linspace(0, 1, 60), ())
    with pytest.raises(ValueError, match="the labels are numbers: supcon contrasts classes"):
        SupCon.build(settings, numbers.prepare(Kept(), settings))
    with pytest.warns(UserWarning, match="there are only 40 images: each batch has all of them"):
        SupCon.build(settings, LabelledImages(images / 60, labels, NAMES).prepare(Kept(), settings))


def test_only_a_classifier_has_more_to_save():
    names = {n for n, _ in toy_method("supcon", classification=0.5).model.named_parameters()}
    assert names - {n for n, _ in toy_method("supcon").model.named_parameters()} == {
        "output.weight", "output.bias",
    }  # fmt: skip
