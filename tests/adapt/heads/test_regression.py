"""Ridge regression against scikit-learn's, and the scores against SciPy's."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from minissl.adapt.heads.regression import LinearNumber, RegressionSettings, ridge
from minissl.adapt.metrics import score
from minissl.data.labels import mean_ranks


@pytest.mark.parametrize("shape", [(30, 5), (5, 30), (12, 12), (1, 3)])
@pytest.mark.parametrize("l2", [1e-3, 0.3, 10.0])
def test_ridge_is_scikit_learns(shape, l2):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=shape) + 3, generator.normal(size=shape[0]) - 5
    weight, bias = ridge(x, y, l2)
    expected = Ridge(alpha=l2 * shape[0], tol=1e-12).fit(x, y)
    np.testing.assert_allclose(weight, expected.coef_, rtol=1e-6, atol=1e-9)
    assert bias == pytest.approx(expected.intercept_, rel=1e-8)


def test_the_gradient_is_zero_at_the_answer():
    generator = np.random.default_rng(1)
    x, y, l2 = generator.normal(size=(20, 4)), generator.normal(size=20), 0.1
    weight, bias = ridge(x, y, l2)
    error = x @ weight + bias - y
    np.testing.assert_allclose(x.T @ error / 20 + l2 * weight, 0, atol=1e-12)
    assert error.mean() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "l2", "match"),
    [
        (np.ones((3, 2)), np.ones(2), 1.0, "expected"),
        (np.ones(3), np.ones(3), 1.0, "expected"),
        (np.ones((0, 2)), np.ones(0), 1.0, "expected"),
        (np.ones((3, 2)), np.ones(3), 0.0, "l2 must be > 0"),
        (np.ones((3, 2)), np.ones(3), float("nan"), "l2 must be > 0"),
        (np.ones((3, 2)), np.ones(3), float("inf"), "l2 must be > 0 and finite"),
        (np.ones((3, 2)), [1.0, np.nan, 2.0], 1.0, "finite numbers"),
    ],
)
def test_what_is_refused(x, y, l2, match):
    with pytest.raises(ValueError, match=match):
        ridge(x, y, l2)


def test_a_line_is_found_in_any_unit():
    """Features a million times as large, and far from zero, give the same predictions."""
    generator = np.random.default_rng(2)
    x = generator.normal(size=(50, 3))
    y = x @ [1.0, -2.0, 0.5] + 7
    predictions = []
    for features in (x, 1e6 * x + 1e7):
        readout = LinearNumber(3, l2=1e-9)
        readout.learn(features, y, features)
        predictions.append(readout.predict(features))
        np.testing.assert_allclose(predictions[-1], y, rtol=1e-5)
    np.testing.assert_allclose(*predictions, rtol=1e-6)
    constant = LinearNumber(3, l2=0.1)
    constant.learn(np.ones((4, 3)), np.array([1.0, 2.0, 3.0, 6.0]), np.ones((4, 3)))
    np.testing.assert_allclose(constant.predict(np.ones((2, 3))), 3)


def test_standardized_columns_have_one_deviation():
    """A column in other units changes no prediction, which with one scale for all it does."""
    generator = np.random.default_rng(3)
    x = generator.normal(size=(50, 3))
    y = x @ [1.0, -2.0, 0.5]
    predictions = {}
    for standardize in (True, False):
        for unit in (1.0, 30.0):
            features = x * [1.0, unit, 1.0]
            readout = LinearNumber(3, l2=0.1, standardize=standardize)
            readout.learn(features, y, features)
            predictions[standardize, unit] = readout.predict(features)
    np.testing.assert_allclose(predictions[True, 30.0], predictions[True, 1.0], rtol=1e-9)
    assert np.abs(predictions[False, 30.0] - predictions[False, 1.0]).max() > 0.1


@pytest.mark.parametrize("ties", [False, True])
def test_the_scores_are_scipys_and_scikit_learns(ties):
    generator = np.random.default_rng(3)
    labels = generator.normal(size=40)
    predictions = labels + generator.normal(size=40)
    if ties:
        labels, predictions = labels.round(0), predictions.round(0)
    found = score(predictions, labels, "number")
    assert found["spearman"] == pytest.approx(spearmanr(predictions, labels).statistic)
    assert found["r2"] == pytest.approx(r2_score(labels, predictions))
    assert score(np.full(40, labels.mean()), labels, "number") == {"r2": 0.0, "spearman": 0.0}
    assert mean_ranks(np.array([3.0, 1.0, 3.0, 7.0])).tolist() == [2.5, 1.0, 2.5, 4.0]


def test_so_many_examples_are_drawn():
    settings, labels = RegressionSettings(examples=5), np.arange(9.0)
    chosen = settings.choose(labels, seed=0)
    assert len({*chosen}) == 5
    assert chosen.tolist() != settings.choose(labels, seed=0, draw=1).tolist()
    assert RegressionSettings().choose(labels, seed=0).tolist() == list(range(9))
    with pytest.raises(ValueError, match="asked for 10 examples, there are 9"):
        RegressionSettings(examples=10).choose(labels, seed=0)
