"""SIGReg: the loss written out in float64, where its randomness comes from, and no collapse."""

import numpy as np
import pytest

from minissl.data import Kept
from minissl.data.images import Images
from minissl.pretrain.images import sigreg as module
from minissl.pretrain.images.sigreg import SIGReg, SIGRegSettings
from minissl.pretrain.run import pretrain
from minissl.vision.images import load_digits

SETTINGS = SIGRegSettings(features=16, embedding=8, batch_size=12, weight=0.3, directions=5)


@pytest.fixture
def method():
    images = Images(load_digits().train_images[:64])
    built = SIGReg.build(SETTINGS, images.prepare(Kept(), SETTINGS), seed=0)
    built.model.astype(np.float64)
    built._held_out_views = built._held_out_views.astype(np.float64)
    return built


def agreement(first, second):
    """Of two views, half the mean square of their difference is half away from their mean."""
    return np.mean((first - second) ** 2) / 4


def far_from_gaussian(z, generator):
    """The Epps-Pulley statistic along each direction, with complex numbers, t on both sides."""
    directions = generator.standard_normal((5, z.shape[1]))
    t = np.linspace(-5, 5, 33)
    statistics = []
    for u in directions / np.linalg.norm(directions, axis=1, keepdims=True):
        seen = np.exp(1j * np.outer(z @ u, t)).mean(axis=0)
        gap = np.abs(seen - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2)
        statistics.append(len(z) * np.trapezoid(gap, t))
    return np.mean(statistics)


def by_hand(first, second, seed, times=1):
    clouds = [far_from_gaussian(z, np.random.default_rng(seed)) for z in (first, second)]
    return 0.7 * agreement(first, second) + 0.3 * times * np.mean(clouds)


def test_the_loss_is_the_papers_written_out(method):
    batch = method.batch(np.random.default_rng(1)).astype(np.float64)
    first, second = np.split(method.model(batch).numpy(), 2)
    loss = method.loss(batch, np.random.default_rng(7)).item()
    assert loss == pytest.approx(by_hand(first, second, 7), rel=1e-10)
    assert loss != pytest.approx(by_hand(first, second, 8), rel=1e-3)  # other directions
    assert loss == method.loss(batch, np.random.default_rng(7)).item()


def test_embeddings_keep_their_length(method):
    """Twice as long is further apart, and another cloud: nothing is scaled to length 1."""
    batch = method.batch(np.random.default_rng(1)).astype(np.float64)
    head = method.model.head.output
    head.weight.array, head.bias.array = 2 * head.weight.array, 2 * head.bias.array
    first, second = np.split(method.model(batch).numpy(), 2)
    loss = method.loss(batch, np.random.default_rng(7)).item()
    assert loss == pytest.approx(by_hand(first, second, 7), rel=1e-10)


def test_held_out_views_are_seen_along_directions_that_stay(method):
    method.model.eval()
    first, second = np.split(method.model(method._held_out_views).numpy(), 2)
    expected = by_hand(first, second, 0)
    for _ in range(2):
        assert method.evaluate()["held_out_loss"] == pytest.approx(expected, rel=1e-10)


def test_the_cloud_is_that_of_all_processes_while_training(method, monkeypatch):
    """The same rows from a second process are twice the statistic, and the same agreement."""
    monkeypatch.setattr(module, "gather_rows", lambda z: module.ops.concatenate([z, z]))
    batch = method.batch(np.random.default_rng(1)).astype(np.float64)
    first, second = np.split(method.model(batch).numpy(), 2)
    loss = method.loss(batch, np.random.default_rng(7)).item()
    assert loss == pytest.approx(by_hand(first, second, 7, times=2), rel=1e-10)


def test_it_is_the_cloud_that_keeps_it_from_collapsing():
    """Seeds 0 to 3 end at a spread of 0.9 and rank 8 and more; agreement alone at 0 and 1."""
    images = Images(load_digits().train_images)
    last = {}
    for weight in (0.005, 0.0):
        settings = SIGRegSettings(
            steps=60, batch_size=64, features=32, evaluations=1, directions=64, weight=weight
        )
        last[weight] = pretrain(SIGReg, images, settings, progress=False).history.records[-1]
    assert last[0.005]["z_std"] > 0.8
    assert last[0.005]["effective_rank"] > 5
    assert last[0.0]["z_std"] < 0.01
    assert last[0.0]["effective_rank"] < 1.2
    assert last[0.0]["held_out_loss"] < 1e-4  # which looks like success


@pytest.mark.parametrize("wrong", [{"weight": -0.1}, {"weight": 1.5}, {"directions": 0}])
def test_what_does_not_fit(wrong):
    images = load_digits().train_images[:20]
    with pytest.raises(ValueError, match="0 ≤ weight ≤ 1 and 1 or more directions"):
        SIGReg(None, images, lambda images, generator: images, batch_size=4, **wrong)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SIGRegSettings(**wrong)
