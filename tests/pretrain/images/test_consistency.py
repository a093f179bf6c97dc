"""Consistency: its loss and gradient in float64, which labels are seen, annealing that goes on."""

import math

import numpy as np
import pytest

from minissl.data import Kept
from minissl.data.images import LabelledImages
from minissl.data.labels import draw_few_labels
from minissl.pretrain.images.consistency import Consistency, ConsistencySettings
from minissl.pretrain.run import pretrain, train
from minissl.vision.images import load_digits
from tests.pretrain.toy import stopped_after, toy_data, toy_settings

SETTINGS = ConsistencySettings(
    features=12, batch_size=6, unlabelled_ratio=2, labels_per_class=2, steps=4, weight=3.0,
    confidence=0.2, image_size=8, channels=1,
)  # fmt: skip


def raw_data():
    """Sixty images of three classes; the number in the corner of each says which one it is."""
    images = np.random.default_rng(0).random((60, 8, 8, 1), dtype=np.float32)
    images[:, 0, 0, 0] = np.arange(60) / 60
    return LabelledImages(images, np.arange(60) % 3, ("a", "b", "c"))


def new_method(seed=0, **changes):
    settings = ConsistencySettings(**{**vars(SETTINGS), **changes})
    method = Consistency.build(settings, raw_data().prepare(Kept(), settings), seed=seed)
    method.model.astype(np.float64)
    output = method.model.output
    random = np.random.default_rng(5).standard_normal(output.weight.shape)
    output.weight.array = 80 * random  # of some images it is sure, of others not
    usual = method.model.encoder(np.float64(method.images)).numpy().mean(axis=0)
    output.bias.array = -output.weight.array @ usual
    return method


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def batch_and_logits(method):
    changed, labels, images = method.batch(np.random.default_rng(1))
    batch = np.float64(changed), labels, np.float64(images)
    return batch, method.model(batch[0]).numpy(), method.model(batch[2]).numpy()


def by_hand(logits, labels, said, threshold=None):
    of_labels = -log_softmax(logits[:6])[np.arange(6), labels]
    if threshold is not None:
        of_labels = of_labels[np.exp(-of_labels) < threshold]
    q, p = log_softmax(logits[6:]), log_softmax(said / 0.4)
    divergence = np.sum(np.exp(p) * (p - q), axis=1)
    counts = np.exp(log_softmax(said)).max(axis=1) > CONFIDENCE
    assert 0 < counts.sum() < 12
    return np.sum(of_labels) / max(len(of_labels), 1) + 3 * np.sum(divergence[counts]) / 12


CONFIDENCE = 0.6


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_the_loss_is_the_papers_written_out(stop_gradient):
    method = new_method(confidence=CONFIDENCE, stop_gradient=stop_gradient)
    batch, logits, said = batch_and_logits(method)
    assert method.loss(batch).item() == pytest.approx(by_hand(logits, batch[1], said), rel=1e-10)


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_the_gradient_stops_where_it_is_told_to(stop_gradient):
    """Against differences of the loss by hand, in which what is said stays, or moves as well."""
    method = new_method(confidence=CONFIDENCE, stop_gradient=stop_gradient)
    batch, _, still = batch_and_logits(method)
    method.loss(batch).backward()
    bias = method.model.output.bias

    def at(moved):
        bias.array = bias.array + moved
        logits, said = method.model(batch[0]).numpy(), method.model(batch[2]).numpy()
        bias.array = bias.array - moved
        return by_hand(logits, batch[1], still if stop_gradient else said)

    steps = 1e-6 * np.eye(3)
    differences = [(at(step) - at(-step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(bias.grad, differences, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("annealing", "alpha"),
    [("linear", 0.25), ("log", 1 - math.exp(-1.25)), ("exp", math.exp(-3.75))],
)
def test_labels_that_are_known_too_well_for_this_step_do_not_count(annealing, alpha):
    method = new_method(confidence=CONFIDENCE, annealing=annealing)
    method.after_step(1)  # of four
    (changed, labels, images), logits, said = batch_and_logits(method)
    labels[:3] = logits[:3].argmax(axis=1)  # known already
    expected = by_hand(logits, labels, said, threshold=alpha * (1 - 1 / 3) + 1 / 3)
    assert method.loss((changed, labels, images)).item() == pytest.approx(expected, rel=1e-10)
    assert expected != pytest.approx(by_hand(logits, labels, said), rel=1e-3)


def test_the_annealing_goes_on_where_a_run_was_stopped(tmp_path):
    settings = toy_settings("consistency", annealing="exp", steps=4)
    undisturbed, stopped = (
        (Consistency, toy_data("consistency", settings), settings, folder)
        for folder in (None, tmp_path)
    )
    expected = pretrain(*undisturbed, progress=False)
    with stopped_after(Consistency, 2):
        pretrain(*stopped, progress=False)
    continued = pretrain(*stopped, progress=False)
    assert continued.history.losses() == expected.history.losses()
    assert continued.method.model.done.array.tolist() == [4]


def numbers(images):
    return np.rint(images[:, 0, 0, 0] * 60).astype(int)


def test_few_labels_are_seen_and_all_training_images():
    method = new_method()
    method.augment = lambda images, generator: images
    labelled, others = set(), set()
    for seed in range(60):
        changed, labels, images = method.batch(np.random.default_rng(seed))
        np.testing.assert_array_equal(labels, numbers(changed[:6]) % 3)
        np.testing.assert_array_equal(changed[6:], images)
        labelled |= {*numbers(changed[:6])}
        others |= {*numbers(images)}
    assert len(labelled) == 6  # two of each class
    assert others == {*numbers(method.images)}
    assert not others & {*numbers(method.held_out)}
    for seed in (0, 1):  # as an adaptation draws them
        expected = draw_few_labels(method.labels, 2, np.random.default_rng([seed, 2, 0]))
        assert [*new_method(seed).labelled] == [*expected]
    assert labelled == {*numbers(method.images[method.labelled])}
    assert {*method.labelled} != {*new_method(seed=1).labelled}


def test_changed_images_are_compared_with_the_images_as_they_are():
    method = new_method()
    method.augment = lambda images, generator: images + 2
    changed, _, images = method.batch(np.random.default_rng(0))
    np.testing.assert_array_equal(changed[6:], images + 2)
    assert changed[:6].min() >= 2


def test_what_is_measured_on_held_out_images():
    method = new_method(confidence=CONFIDENCE)
    method.held_out = np.float64(method.held_out)
    method.augment = lambda images, generator: images[::-1]
    said = method.logits(method.held_out)
    found = method.evaluate()
    assert found["counted"] == np.mean(np.exp(log_softmax(said)).max(axis=1) > CONFIDENCE)
    names = said.argmax(axis=1)
    assert found["agreement"] == np.mean(names == names[::-1])
    assert found["held_out_accuracy"] == np.mean(names == method.held_out_labels)


def test_what_is_said_changes_less_with_the_image():
    """Five labels of each digit. Seeds 0 to 2 gain 5, 8 and 2 points of agreement on held-out ones.

    In these 100 steps the accuracy does not always follow: 86 % instead of 88, 88 (84), 86 (90).
    """
    raw = LabelledImages.read(None, ConsistencySettings())
    agreement = {}
    for weight in (0.0, 1.0):
        settings = ConsistencySettings(
            steps=100, batch_size=32, features=64, evaluations=1, weight=weight
        )
        method = Consistency.build(settings, raw.prepare(Kept(), settings), seed=1)
        train(method, settings, seed=1, progress=False)
        agreement[weight] = method.evaluate()["agreement"]
    assert agreement[1.0] > agreement[0.0] + 0.03


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="50 labels per class, the smallest of 3 classes has"):
        new_method(labels_per_class=50)
    images = load_digits().train_images[:4]
    for wrong, message in (
        ({"labelled": [4]}, "labelled: expected indices of 4 images, got"),
        ({"labelled": []}, "labelled: expected indices of 4 images, got"),
        ({"labelled": [0], "unlabelled_ratio": 0}, "unlabelled_ratio and steps ≥ 1, got 0 and 300"),
        ({"labelled": [0], "steps": 0}, "unlabelled_ratio and steps ≥ 1, got 3 and 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Consistency(None, images, np.zeros(4, np.int64), lambda x, g: x, **wrong)
    settings = ConsistencySettings()
    numbers = LabelledImages(images, np.linspace(0, 1, 4), ())
    with pytest.raises(ValueError, match="the labels are numbers: consistency learns classes"):
        Consistency.build(settings, numbers.prepare(Kept(), settings))
