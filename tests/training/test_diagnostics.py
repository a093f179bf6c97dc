"""Diagnostics against closed forms, torch and the authors' published formulas."""

import math

import numpy as np
import pytest
import torch

from minissl.training.diagnostics import alignment, effective_rank, uniformity, z_std


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def features(seed=0, shape=(40, 7)):
    return np.random.default_rng(seed).normal(size=shape)


def test_z_std_of_spread_and_of_collapsed_features():
    generator = np.random.default_rng(0)
    spread = generator.normal(size=(4000, 64))
    assert z_std(spread) == pytest.approx(1, abs=0.02)
    assert z_std(spread + 1e4) < 0.01
    assert z_std(np.ones((10, 4))) == 0
    # two opposite points: each column is ±1/√width, so its deviation is 1/√width
    assert z_std([[1, 1, 1], [-1, -1, -1]]) == pytest.approx(1)


def test_z_std_is_the_formula_and_ignores_lengths():
    x = features()
    expected = np.mean([np.std(column) for column in unit(x).T]) * math.sqrt(7)
    assert z_std(x) == pytest.approx(expected)
    assert z_std(x * np.random.default_rng(1).uniform(0.1, 10, (40, 1))) == pytest.approx(expected)


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_effective_rank_counts_equal_singular_values(rank):
    left, _ = np.linalg.qr(features(1))
    right, _ = np.linalg.qr(features(2, (7, 7)))
    matrix = left[:, :rank] @ right[:rank]
    assert effective_rank(matrix) == pytest.approx(rank)
    assert effective_rank(5 * matrix) == pytest.approx(rank)


def test_effective_rank_of_unequal_singular_values():
    p = np.array([0.5, 0.25, 0.125, 0.125])
    assert effective_rank(np.diag(8 * p)) == pytest.approx(2 ** (1.75))  # the entropy is 1.75 bits
    assert effective_rank(np.ones((10, 4))) == pytest.approx(1)  # collapsed: not centred away
    assert effective_rank(np.zeros((10, 4))) == 0
    values = torch.linalg.svdvals(torch.from_numpy(features()))
    entropy = torch.distributions.Categorical(probs=values).entropy()
    assert effective_rank(features()) == pytest.approx(entropy.exp().item())


def test_alignment_and_uniformity_are_the_papers():
    """The two functions as printed in Wang and Isola (2020), figure 5, on unit vectors."""
    x, y = (torch.from_numpy(unit(features(seed))) for seed in (3, 4))
    for alpha in (1, 2, 3):
        expected = (x - y).norm(dim=1).pow(alpha).mean().item()
        assert alignment(3 * x.numpy(), y.numpy(), alpha) == pytest.approx(expected)
    for t in (0.5, 2):
        expected = torch.pdist(x).pow(2).mul(-t).exp().mean().log().item()
        assert uniformity(3 * x.numpy(), t) == pytest.approx(expected)
    assert alignment(features(3), features(4)) == pytest.approx((x - y).norm(dim=1).pow(2).mean())
    assert uniformity(features(3)) == pytest.approx(
        torch.pdist(x).pow(2).mul(-2).exp().mean().log()
    )


@pytest.mark.parametrize("examples", [255, 256, 257, 700])
def test_uniformity_of_more_examples_than_are_compared_at_once(examples):
    x = unit(features(6, (examples, 3)))
    expected = torch.pdist(torch.from_numpy(x)).pow(2).mul(-2).exp().mean().log().item()
    assert uniformity(x) == pytest.approx(expected)


def test_alignment_and_uniformity_at_the_extremes():
    x = features()
    assert alignment(x, x) == 0
    assert alignment(x, -x) == pytest.approx(4)
    assert uniformity(np.ones((5, 3))) == pytest.approx(0)
    directions = np.random.default_rng(5).normal(size=(500, 2000))
    assert uniformity(directions) == pytest.approx(-4, abs=0.02)  # nearly orthogonal: ‖a − b‖² = 2


def test_zero_rows_and_float32_do_no_harm():
    x = features().astype(np.float32)
    x[0] = 0
    for value in (z_std(x), effective_rank(x), alignment(x, x), uniformity(x)):
        assert isinstance(value, float)
        assert math.isfinite(value)


def test_shapes_that_do_not_fit():
    for function in (z_std, effective_rank, uniformity):
        with pytest.raises(ValueError, match="expected features \\(examples, width\\)"):
            function(np.ones(3))
    with pytest.raises(ValueError, match="not equal"):
        alignment(np.ones((3, 2)), np.ones((4, 2)))
    with pytest.raises(ValueError, match="two examples"):
        uniformity(np.ones((1, 2)))
