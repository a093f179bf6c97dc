"""The claims about images, with very little training: they measure what they say they do."""

from functools import partial

import numpy as np
import pytest

from minissl.adapt.heads.probe import linear_probe
from minissl.autograd.devices import device_of
from minissl.claims import load_claim
from minissl.claims import simclr_on_digits as digits
from minissl.claims.cache import Cache
from minissl.claims.claim import Setup, chosen
from minissl.claims.experiments.images import (
    augmentation,
    batch_and_temperature,
    collapse,
    few_labels,
    projection_head,
)
from minissl.data.labels import draw_few_labels
from minissl.pretrain.images.simclr import SimCLRSettings
from minissl.pretrain.images.supervised import Supervised
from minissl.vision.images import load_digits
from tests.claims.reading import require_whole

NAMES = ("augmentation", "batch-and-temperature", "collapse", "few-labels", "projection-head")
QUICK = load_claim("collapse").scales["quick"]
SEEDS = [0]


def value(result, row, column):
    return result["table"][row][column]["mean"]


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_runs_from_end_to_end(runs, name):
    result, folder = runs(name)
    require_whole(name, result, folder)
    table = result["table"]
    assert {digits.RAW, digits.RANDOM} <= set(table)  # the simple baselines are always there
    for cells in table.values():
        for column, cell in cells.items():
            if "label" in column and "difference" not in column:
                assert 5 < cell["low"] <= cell["high"] < 100


def test_without_negatives_the_embeddings_end_on_one_point(runs):
    result, _ = runs("collapse")
    spread = {name: value(result, name, "z-std") for name in collapse.COLORS}
    assert spread["positives only"] < 0.05
    assert spread["NT-Xent"] > spread["positives only"] + 0.3
    assert spread["CS229's SimCLR"] > spread["positives only"] + 0.2
    for name, last in spread.items():
        steps, curve = result["curves"][0][name]
        assert (steps[0], steps[-1], curve[-1]) == (0, QUICK["steps"], last)
    assert 1 <= value(result, "positives only", "effective rank") < 1.5
    assert value(result, "NT-Xent", "effective rank") > 3


def test_the_arms_are_what_they_are_called():
    """And all begin with the encoder of the network called random."""
    setup = Setup(0, QUICK | {"steps": 1, "batch_size": 8, "learning_rate": 1e-12})
    data = digits.load(setup)
    made = {name: collapse.trained(setup, data, name)[0] for name in collapse.ARMS}
    assert list(made) == list(collapse.COLORS)
    assert [made[name].loss_name for name in ("NT-Xent", "CS229's SimCLR", "positives only")] == [
        "nt_xent", "simclr_cs229", "positives_only"
    ]  # fmt: skip
    assert made["SimSiam"].stop_gradient
    assert not made["SimSiam, no stop-gradient"].stop_gradient
    byol = {name: (m.target, m.predictor) for name, m in made.items() if name.startswith("BYOL")}
    assert byol == {
        "BYOL": ("slow", True),
        "BYOL, no slow average": ("still", True),
        "BYOL, no predictor": ("slow", False),
        "BYOL, no stop-gradient": ("free", True),
    }
    assert type(made["SIGReg"]).__name__ == "SIGReg"
    untrained = digits.random_network(setup, data).represent(data.test_images[:5])
    for method in made.values():
        features = method.represent(data.test_images[:5])
        np.testing.assert_allclose(features, untrained, atol=1e-6)


def test_every_arm_starts_from_the_network_called_random():
    setup = Setup(4, QUICK)
    data = digits.load(setup)
    untrained = digits.random_network(setup, data)
    settings = chosen(SimCLRSettings, setup, temperature=3.0)
    assert settings.temperature == 3.0
    assert settings.batch_size == QUICK["batch_size"]
    assert settings.learning_rate == QUICK["learning_rate"]
    start = digits.build(setup, data, settings)
    np.testing.assert_array_equal(
        untrained.represent(data.test_images), start.represent(data.test_images)
    )
    other = digits.random_network(Setup(5, QUICK), data)
    assert not np.allclose(other.represent(data.test_images), start.represent(data.test_images))
    trained, history = digits.pretrain(setup, data, steps=2)
    assert len(history) == 3
    augment = augmentation.AUGMENTATIONS["none"]
    assert digits.pretrain(setup, data, augment, steps=1)[0].augment is augment
    assert trained.augment is not augment
    assert not np.allclose(trained.represent(data.test_images), start.represent(data.test_images))


@pytest.mark.parametrize("seed", [0, 3])
def test_what_is_shared_is_what_the_claim_would_train(seed, tmp_path):
    """Whatever is held out to be examined: the weights are those of the explicit constructor."""
    setup = Setup(seed, QUICK | {"steps": 2}, cache=Cache(tmp_path))
    data = digits.load(setup)
    method, _ = digits.pretrain(setup, data, temperature=0.2)
    cached = digits.shared_simclr(setup, data, "a row", temperature=0.2)
    for name, array in method.model.state_dict().items():
        np.testing.assert_array_equal(cached.model.state_dict()[name], array)


def test_the_seed_decides_the_split_and_the_tests_stay_out_of_it():
    first, again, other = (digits.load(Setup(seed, {})) for seed in (1, 1, 2))
    assert np.array_equal(first.test_images, again.test_images)
    assert not np.array_equal(first.test_images, other.test_images)
    method, _ = digits.pretrain(Setup(1, QUICK | {"steps": 1}), first)
    assert method.images is first.train_images
    assert method._held_out_views.shape == (2 * digits.HELD_OUT, 8, 8, 1)
    views = method._views(first.test_images[: digits.HELD_OUT], np.random.default_rng(0))
    np.testing.assert_array_equal(method._held_out_views, views)


def test_a_probe_is_a_linear_probe_in_percent():
    setup = Setup(3, {"draws": 2})
    data = load_digits(seed=3)
    seen = digits.probe(setup, data, digits.raw_pixels, (1, 5))
    assert list(seen) == ["1 label", "5 labels"]
    assert 40 < seen["1 label"] < seen["5 labels"] < 95
    pixels = data.train_images.reshape(1200, 64)
    accuracies = []
    for draw in range(2):
        chosen = draw_few_labels(data.train_labels, 5, np.random.default_rng([3, 5, draw]))
        probe = linear_probe(pixels[chosen], data.train_labels[chosen], unlabelled=pixels)
        accuracies.append(probe.accuracy(data.test_images.reshape(-1, 64), data.test_labels))
    assert seen["5 labels"] == pytest.approx(100 * np.mean(accuracies))


def test_the_baselines_are_those_of_the_digits(runs):
    result, _ = runs("few-labels")
    pixels = [value(result, digits.RAW, digits.column(n)) for n in few_labels.LABELS]
    assert pixels[0] < 80
    assert pixels[-1] > 93


def test_from_scratch_learns_from_its_labels_and_nothing_else(monkeypatch):
    seen = []
    monkeypatch.setattr(
        few_labels, "train", lambda method, settings, **other: seen.append((method, settings))
    )
    setup = Setup(2, {**few_labels.CLAIM.scales["quick"], "scratch_steps": 7})
    data = digits.load(setup)
    accuracy = few_labels.from_scratch(setup, data, 2, 1)
    assert 0 <= accuracy < 0.3  # it was not trained
    method, settings = seen[0]
    assert accuracy == method.accuracy(data.test_images, data.test_labels)
    assert settings.steps == 7
    assert np.array_equal(np.sort(method.labels), np.repeat(np.arange(10), 2))
    known = {image.tobytes() for image in data.train_images}
    assert all(image.tobytes() in known for image in method.images)


def test_each_augmentation_changes_what_its_name_says():
    flat = np.full((40, 8, 8, 1), 0.5, np.float32)  # in its middle no geometry shows
    spot = np.zeros((40, 8, 8, 1), np.float32)
    spot[:, 3, 3] = 1  # no photometry moves it
    for name, augment in augmentation.AUGMENTATIONS.items():
        generator = np.random.default_rng(0)
        light = np.abs(augment(flat, generator)[:, 3:5, 3:5] - 0.5).max()
        places = augment(spot, generator).reshape(40, 64).argmax(axis=1)
        assert (light > 0.1) == (name in ("photometric", "both", "too strong"))
        assert (len(set(places.tolist())) > 1) == (name in ("geometric", "both", "too strong"))


def test_what_is_kept_is_found_and_what_is_lost_is_not():
    """A feature that is the amount gives R² = 1; one that has nothing to do with it gives 0."""
    setup, data = Setup(0, {}), load_digits()

    def light(images):
        return np.stack([images.mean(axis=(1, 2, 3)), np.ones(len(images))], axis=1)

    def same(images, amounts):
        return images + amounts[:, None, None, None]

    def nothing(images, amounts):
        return images

    flat = data._replace(
        train_images=np.zeros((1200, 8, 8, 1), np.float32),
        test_images=np.zeros((597, 8, 8, 1), np.float32),
    )
    assert augmentation.kept(setup, flat, light, same) > 0.99
    assert augmentation.kept(setup, data, digits.raw_pixels, nothing) < 0.05
    assert augmentation.kept(setup, data, light, augmentation.moved) < 0.2
    centre = lambda images: (images * np.arange(8)[:, None]).sum((1, 2)) / images.sum((1, 2))  # noqa: E731
    assert augmentation.kept(setup, data, centre, augmentation.moved) > 0.2


def test_the_two_changes_are_those_of_the_augmentation():
    images = load_digits().test_images[:3]
    amounts = np.array([-1.0, 0.0, 1.0])
    dim = augmentation.dimmed(images, amounts)
    np.testing.assert_allclose(dim[0], 0.7 * images[0], rtol=1e-6)
    np.testing.assert_allclose(dim[2], 1.3 * images[2], rtol=1e-6)
    shifted = augmentation.moved(images, amounts)
    np.testing.assert_allclose(shifted[1], images[1], atol=1e-6)
    for image, before, by in ((shifted[0], images[0], -1), (shifted[2], images[2], 1)):
        inside = slice(1, 7)
        np.testing.assert_allclose(
            image[:, inside], np.roll(before, by, axis=1)[:, inside], atol=1e-6
        )
    assert dim.dtype == shifted.dtype == np.float32


def test_before_and_after_the_head(runs):
    result, _ = runs("projection-head")
    for row in ("random network", "short training", "long training"):
        before, after = (
            value(result, row, name(1)) for name in (projection_head.before, projection_head.after)
        )
        assert value(result, row, projection_head.GAP) == pytest.approx(before - after)
    setup = Setup(0, QUICK)
    data = digits.load(setup)
    method = digits.random_network(setup, data)
    images = data.test_images[:5]
    embedded = digits.embed(method, images)
    assert embedded.shape == (5, 64)
    np.testing.assert_allclose(
        embedded, method.model.head(method.represent(images)).numpy(), atol=1e-6
    )


def test_the_grid_trains_what_its_cells_say(monkeypatch):
    asked = []

    def pretrain(setup, data, row, **changes):
        asked.append(tuple(changes[key] for key in ("batch_size", "temperature", "steps")))
        return digits.random_network(setup, data)

    monkeypatch.setattr(batch_and_temperature.digits, "shared_simclr", pretrain)
    batch_and_temperature.measure(Setup(0, batch_and_temperature.CLAIM.scales["quick"]))
    steps = batch_and_temperature.CLAIM.scales["quick"]["steps"]
    grid = [(b, t, steps) for b in (8, 16, 32) for t in batch_and_temperature.TEMPERATURES]
    control = [(8, 0.3, 4 * steps), (16, 0.3, 2 * steps)]
    assert sorted(asked) == sorted(grid + control)
    assert len({b * n for b, _, n in [*control, (32, 0.3, steps)]}) == 1  # as many images


def test_the_path_of_a_gpu(monkeypatch):
    """With torch tensors as memory all that is trained is there, and the results are the same."""
    settings = {**few_labels.CLAIM.scales["quick"], "steps": 1, "batch_size": 4}
    # Here the kernels of the losses are interpreted: a batch must be small.
    monkeypatch.setattr(few_labels, "Supervised", partial(Supervised, batch_size=4))
    results = {}
    for device in ("cpu", "torch"):
        setup = Setup(0, {**settings, "scratch_steps": 1}, device)
        data = digits.load(setup)
        method, history = digits.pretrain(setup, data)
        simsiam, other = collapse.trained(setup, data, "SimSiam")
        for trained in (method, simsiam, digits.random_network(setup, data)):
            assert {device_of(p) for p in trained.model.parameters()} == {device}
        results[device] = [
            history[1]["loss"],
            other[1]["loss"],
            *digits.embed(method, data.test_images[:2]).ravel(),
            few_labels.from_scratch(setup, data, 1, 0),
        ]
    np.testing.assert_allclose(results["torch"], results["cpu"], rtol=1e-3, atol=5e-3)


def test_the_full_scale_asks_for_more():
    for claim in map(load_claim, NAMES):
        quick, small, full = (claim.scales[name] for name in ("quick", "small", "full"))
        assert quick.keys() == small.keys() == full.keys()
        for name in small.keys() - {"learning_rate", "evaluations"}:
            assert quick[name] < small[name] < full[name]
