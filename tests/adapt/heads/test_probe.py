"""The linear probe against scikit-learn, and the few-label curve on data with a known answer."""

import numpy as np
import pytest
from scipy.optimize import OptimizeResult, check_grad
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from minissl.adapt.heads.probe import few_label_curve, linear_probe
from minissl.adapt.heads.regression import LinearNumber
from minissl.data.labels import draw_few_labels


def clusters(seed=0, per_class=30, classes=4, width=6, spread=1.0):
    generator = np.random.default_rng(seed)
    centres = 2 * generator.normal(size=(classes, width))
    labels = np.repeat(np.arange(classes), per_class)
    return centres[labels] + spread * generator.normal(size=(len(labels), width)), labels


@pytest.mark.parametrize("l2", [1e-3, 1e-2, 1.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_probe_is_scikit_learns(l2, classes):
    features, labels = clusters(classes=classes)
    probe = linear_probe(features, labels, l2=l2)
    standardized = (features - features.mean(axis=0)) / np.sqrt(features.var(axis=0).mean())
    reference = LogisticRegression(C=1 / (l2 * len(labels)), tol=1e-10, max_iter=5000)
    reference.fit(standardized, labels)
    expected = reference.predict_proba(standardized)
    logits = probe.logits(features)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    if classes > 2:  # for two classes scikit-learn has one weight vector, with another penalty
        np.testing.assert_allclose(p, expected, atol=2e-4)
        np.testing.assert_allclose(probe.weight, reference.coef_.T, atol=1e-3)
    assert np.mean(probe.predict(features) == reference.predict(standardized)) > 0.97


def test_the_probe_is_a_minimum():
    features, labels = clusters(spread=3.0)
    probe = linear_probe(features, labels, l2=0.05)
    x = (features - probe.mean) / probe.scale

    def loss(flat):
        weight, bias = flat[:24].reshape(6, 4), flat[24:]
        logits = x @ weight + bias
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -log_p[np.arange(len(labels)), labels].mean() + 0.025 * np.sum(weight**2)

    solution = np.concatenate([probe.weight.ravel(), probe.bias])
    flat_gradient = np.zeros_like(solution)
    assert check_grad(loss, lambda _: flat_gradient, solution) < 1e-4


def test_labels_may_be_anything_and_units_do_not_matter():
    features, labels = clusters()
    names = np.array(["nought", "one", "two", "three"])[labels]
    probe = linear_probe(features, names)
    assert list(probe.classes) == sorted(set(names))
    assert probe.accuracy(features, names) > 0.9
    scaled = linear_probe(1000 * features + 7, names)
    np.testing.assert_allclose(
        scaled.logits(1000 * features + 7), probe.logits(features), atol=1e-3
    )


def test_scale_and_mean_may_come_from_unlabelled_examples():
    features, labels = clusters()
    chosen = [0, 30, 60, 90]
    probe = linear_probe(features[chosen], labels[chosen], unlabelled=features)
    np.testing.assert_allclose(probe.mean, features.mean(axis=0))
    np.testing.assert_allclose(probe.scale, np.sqrt(features.var(axis=0).mean()))
    alone = linear_probe(features[chosen], labels[chosen])
    np.testing.assert_allclose(alone.mean, features[chosen].mean(axis=0))


def noisy(rows=400, good=32, noise=2):
    """Good columns that a straight line reads the label from, and beside them loud noise."""
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(rows, good + noise)), np.arange(rows) % 2
    features[:, :good] += 0.35 * (2 * labels[:, None] - 1)
    features[:, good:] *= 1000
    return features, labels


@pytest.mark.filterwarnings("ignore:2 of 34 columns")
def test_columns_in_other_units():
    features, labels = noisy()
    (x, test), (y, test_labels) = np.split(features, 2), np.split(labels, 2)
    alike = linear_probe(x, y).accuracy(test, test_labels)
    probe = linear_probe(x, y, standardize=True)
    np.testing.assert_allclose(probe.scale, x.std(axis=0))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (1e-2 * len(y))))
    reference = pipeline.fit(x, y).score(test, test_labels)
    assert alike < 0.65 < 0.9 < reference
    assert probe.accuracy(test, test_labels) == pytest.approx(reference, abs=0.02)
    point = {"labels_per_class": [50], "draws": 2}
    low, high = (
        few_label_curve(x, y, test, test_labels, standardize=each, **point)[0].mean
        for each in (False, True)
    )
    assert low < 0.65 < 0.8 < high


def test_columns_that_hide_the_others_are_named():
    features, labels = noisy()
    with pytest.warns(UserWarning, match="2 of 34 columns .* standardize=True"):
        linear_probe(features, labels)
    with pytest.warns(UserWarning, match="2 of 34 columns"):
        LinearNumber(34, 0.1).learn(features, labels + 0.0, features)
    linear_probe(features, labels, standardize=True)
    linear_probe(features[:, :32], labels)


def test_constant_features_say_nothing():
    labels = np.array([0, 1, 1])
    beside = np.c_[np.full(1000, 0.1), np.arange(1000.0), np.full(1000, 3.3)]  # means are rounded
    assert list(linear_probe(beside, np.arange(1000) % 2, standardize=True).scale[[0, 2]]) == [1, 1]
    probe = linear_probe(np.ones((3, 2)), labels)
    assert list(probe.predict(np.ones((2, 2)))) == [1, 1]  # the majority


def test_few_labels_are_drawn_from_every_class_without_repetition():
    _, labels = clusters()
    chosen = draw_few_labels(labels, 7, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 28
    assert list(labels[chosen]) == [0] * 7 + [1] * 7 + [2] * 7 + [3] * 7
    again = draw_few_labels(labels, 7, np.random.default_rng(0))
    other = draw_few_labels(labels, 7, np.random.default_rng(1))
    assert np.array_equal(chosen, again)
    assert not np.array_equal(chosen, other)
    assert len(draw_few_labels(labels, 30, np.random.default_rng(0))) == 120
    with pytest.raises(ValueError, match="the smallest of 4 classes has 30"):
        draw_few_labels(labels, 31, np.random.default_rng(0))


def test_the_curve_rises_with_labels_and_is_reproducible():
    features, all_labels = clusters(seed=1, per_class=60, spread=2.5)
    train, labels, test, test_labels = (a[i::2] for i in (0, 1) for a in (features, all_labels))
    settings = {"labels_per_class": (1, 5, 30), "draws": 6}
    curve = few_label_curve(train, labels, test, test_labels, **settings)
    assert [point.labels_per_class for point in curve] == [1, 5, 30]
    assert [len(point.accuracies) for point in curve] == [6, 6, 6]
    assert curve[0].mean + 0.05 < curve[1].mean < curve[2].mean
    assert curve[2].std == pytest.approx(0, abs=1e-12)  # all labels: every draw is the same set
    assert curve[0].mean == pytest.approx(np.mean(curve[0].accuracies))
    assert len(set(curve[0].accuracies)) > 1
    again = few_label_curve(train, labels, test, test_labels, **settings)
    assert all(np.array_equal(a.accuracies, b.accuracies) for a, b in zip(curve, again))
    other = few_label_curve(train, labels, test, test_labels, seed=1, **settings)
    assert not np.array_equal(curve[0].accuracies, other[0].accuracies)


def test_what_does_not_fit():
    features, labels = clusters()
    with pytest.raises(ValueError, match="one label per row"):
        linear_probe(features, labels[:-1])
    with pytest.raises(ValueError, match="two classes or more"):
        linear_probe(features, np.zeros(len(labels)))
    with pytest.raises(ValueError, match="flatten images"):
        linear_probe(np.ones((3, 8, 8, 1)), [0, 1, 1])
    for l2 in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="l2 must be ≥ 0 and finite, got"):
            linear_probe(features, labels, l2=l2)


def test_probabilities_of_large_logits():
    from minissl.adapt.metrics import softmax

    logits = np.array([[1000.0, 1000.0], [-1000.0, 0.0]])
    np.testing.assert_allclose(softmax(logits), [[0.5, 0.5], [0.0, 1.0]], atol=1e-12)


def test_a_probe_that_was_not_fitted_to_the_end_is_none(monkeypatch):
    def stopped(function, start, **options):
        return OptimizeResult(x=start, success=False, message="TOTAL NO. OF ITERATIONS")

    monkeypatch.setattr("scipy.optimize.minimize", stopped)
    with pytest.raises(
        RuntimeError, match=r"not fitted: TOTAL NO\. OF ITERATIONS; try a larger l2"
    ):
        linear_probe(np.eye(4), [0, 1, 0, 1])
