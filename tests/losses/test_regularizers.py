"""SIGReg: the integral by quadrature, by its closed form, by torch; a cloud and a point."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate

from minissl.autograd import gradcheck
from minissl.losses.regularizers import random_directions, sigreg
from tests.losses.compare import assert_same, of_ours


def cloud(rows=40, width=6, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, width))


def epps_pulley(x):
    """N ∫ |φ_N(t) − e^(−t²/2)|² e^(−t²/2) dt over all t, without an integral.

    √(2π) [Σ e^(−(xⱼ − xₖ)²/2) / N − √2 Σ e^(−xⱼ²/4) + N/√3] (Epps and Pulley 1983).
    """
    n, gaps = len(x), x[:, None] - x
    return math.sqrt(2 * math.pi) * (
        np.sum(np.exp(-(gaps**2) / 2)) / n
        - math.sqrt(2) * np.sum(np.exp(-(x**2) / 4))
        + n / math.sqrt(3)
    )


def by_quadrature(x):
    def integrand(t):
        gaussian = math.exp(-t * t / 2)
        return abs(np.mean(np.exp(1j * t * x)) - gaussian) ** 2 * gaussian

    return len(x) * integrate.quad(integrand, -5, 5, epsabs=1e-12, limit=200)[0]


@pytest.mark.parametrize("shift", [0.0, 0.7])
@pytest.mark.parametrize("scale", [1.0, 0.1, 2.0])
def test_the_integral(scale, shift):
    x, directions = scale * cloud() + shift, random_directions(3, 6, np.random.default_rng(1))
    seen = x @ directions.T
    closed = np.mean([epps_pulley(column) for column in seen.T])
    quadrature = np.mean([by_quadrature(column) for column in seen.T])
    assert quadrature == pytest.approx(closed, rel=1e-4, abs=1e-4)  # beyond 5 is hardly anything
    assert sigreg(x, directions).item() == pytest.approx(quadrature, rel=1e-4, abs=1e-4)


def torch_sigreg(x, directions):
    """The algorithm of the paper, with complex numbers and torch's trapezoids."""
    t = torch.linspace(-5, 5, 33, dtype=x.dtype)
    gaussian = torch.exp(-0.5 * t**2)
    seen = (x @ torch.from_numpy(directions).T)[:, :, None] * t
    error = (torch.exp(1j * seen).mean(0) - gaussian).abs().square() * gaussian
    return len(x) * torch.trapezoid(error, t, dim=1).mean()


def test_torch_and_gradcheck():
    directions = random_directions(4, 6, np.random.default_rng(1))
    x = 1.5 * cloud() + 0.3
    assert_same(lambda a: sigreg(a, directions), lambda a: torch_sigreg(a, directions), x)
    gradcheck(lambda a: sigreg(a, directions), [x])


def test_a_gaussian_cloud_and_a_collapsed_one():
    """Of N standard normal numbers it is √(2π) (1 − 1/√3) on average, whatever N; of a point at 0
    it is N √(2π) (1 − √2 + 1/√3)."""
    directions = random_directions(60, 8, np.random.default_rng(1))
    point = np.zeros((50, 8))
    right = 50 * math.sqrt(2 * math.pi) * (1 - math.sqrt(2) + 1 / math.sqrt(3))
    assert sigreg(point, directions).item() == pytest.approx(right, rel=1e-4)
    # E |φ_N − φ|² = (1 − φ²) / N with φ² = e^(−t²): ∫ (1 − e^(−t²)) e^(−t²/2) dt
    expected = math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3))
    found = [sigreg(cloud(300, 8, seed), directions).item() for seed in range(8)]
    assert np.mean(found) == pytest.approx(expected, rel=0.15)
    for other in (3 * cloud(300, 8), cloud(300, 8) + 1, cloud(300, 8) * [1, 1, 1, 1, 1, 1, 1, 0]):
        assert sigreg(other, directions).item() > 3 * np.mean(found)


def test_a_point_at_the_middle_stays_there_and_noise_is_pushed_apart():
    directions = random_directions(30, 4, np.random.default_rng(1))
    _, (gradient,) = of_ours(lambda a: sigreg(a, directions), np.zeros((20, 4)))
    np.testing.assert_allclose(gradient, 0, atol=1e-12)
    x = 0.01 * cloud(20, 4)
    _, (gradient,) = of_ours(lambda a: sigreg(a, directions), x - x.mean(axis=0))
    assert np.sum(gradient * (x - x.mean(axis=0))) < 0


def test_invariances():
    x, directions = cloud(), random_directions(3, 6, np.random.default_rng(1))
    value = sigreg(x, directions).item()
    order = np.random.default_rng(2).permutation(len(x))
    assert sigreg(x[order], directions).item() == pytest.approx(value)
    assert sigreg(-x, directions).item() == pytest.approx(value)
    rotation, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((6, 6)))
    assert sigreg(x @ rotation, directions @ rotation).item() == pytest.approx(value)
    for dtype in (torch.float64, torch.float32):
        there = torch.from_numpy(x).to(dtype)
        assert sigreg(there, directions).item() == pytest.approx(value, rel=1e-5)
    assert sigreg(x.astype("f2"), directions).item() == pytest.approx(value, rel=1e-2)


def test_directions():
    directions = random_directions(4000, 3, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    np.testing.assert_allclose(directions.T @ directions / 4000, np.eye(3) / 3, atol=0.02)
    for x, some in ((np.ones((3, 2)), np.ones((4, 3))), (np.ones((0, 2)), np.ones((4, 2))),
                    (np.ones((3, 2)), np.ones((0, 2))), (np.ones(2), np.ones((4, 2)))):  # fmt: skip
        with pytest.raises(
            ValueError, match=r"expected \(batch, width\) and \(directions, width\)"
        ):
            sigreg(x, some)


def test_integers_are_refused_in_words():
    with pytest.raises(TypeError, match="sigreg: expected floating arrays, got int64"):
        sigreg(np.arange(12).reshape(3, 4), np.eye(4))
