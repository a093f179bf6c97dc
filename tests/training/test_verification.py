"""Verification against scikit-learn's ROC curve and a brute force over all pairs in float64."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from minissl.training.verification import Roc, choose_pairs, roc, verification


def brute_force(features, labels):
    """Cosines and sameness of all pairs, one by one, from the definition."""
    found = []
    for i, j in itertools.combinations(range(len(labels)), 2):
        a, b = np.float64(features[i]), np.float64(features[j])
        size = np.sqrt(a @ a) * np.sqrt(b @ b)
        found.append((round(a @ b / size, 12) if size else 0.0, labels[i] == labels[j]))
    return map(np.array, zip(*found))


def grid(seed, examples=40, classes=5):
    """Whole numbers, so that many cosines are exactly equal, also of same and different pairs."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=examples)
    return generator.integers(-1, 2, (examples, 3)) + (labels[:, None] == [0, 1, 2]), labels


@pytest.mark.parametrize("seed", range(4))
def test_the_curve_is_scikit_learns_and_each_point_is_counted(seed):
    features, labels = grid(seed)
    cosines, same = brute_force(features, labels)
    assert len(np.unique(cosines)) < len(cosines) / 4  # there are ties
    found = verification(features, labels)
    assert (found.same, found.different, found.sampled) == (same.sum(), (~same).sum(), False)
    false, true, thresholds = roc_curve(same, cosines, drop_intermediate=False)
    np.testing.assert_allclose(found.roc.false_accepts, false, atol=1e-15)
    np.testing.assert_allclose(found.roc.true_accepts, true, atol=1e-15)
    np.testing.assert_allclose(found.roc.thresholds, thresholds, atol=1e-11)
    for threshold, accepted in zip(found.roc.thresholds, found.roc.false_accepts):
        assert accepted == pytest.approx(np.mean(cosines[~same] >= threshold))
    assert found.roc.area == pytest.approx(roc_auc_score(same, cosines), abs=1e-14)
    wins = cosines[same][:, None] - cosines[~same]
    assert found.roc.area == pytest.approx(np.mean((wins > 0) + 0.5 * (wins == 0)), abs=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_the_equal_error_rate_is_where_the_curve_meets_the_falling_diagonal(seed):
    features, labels = grid(seed)
    curve = verification(features, labels).roc
    rate = curve.equal_error_rate
    assert np.interp(rate, curve.false_accepts, curve.true_accepts) == pytest.approx(1 - rate)


def test_by_hand():
    curve = roc([0.9, 0.5, 0.5, 0.1], [0.5, 0.2, 0.1, 0.0])
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.5, 0.2, 0.1, 0.0]
    assert curve.true_accepts.tolist() == [0, 0.25, 0.75, 0.75, 1, 1]
    assert curve.false_accepts.tolist() == [0, 0, 0.25, 0.5, 0.75, 1]
    assert curve.equal_error_rate == 0.25
    assert curve.true_accepts_at(0) == 0.25
    assert curve.true_accepts_at(0.3) == curve.true_accepts_at(0.25) == 0.75
    # between the points (0, 0.5) and (1, 1): f = 1 - (0.5 + f/2) at f = 1/3
    assert roc([1, 0], [0]).equal_error_rate == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("same", "different", "area", "rate"),
    [([2, 3], [0, 1], 1, 0), ([0, 1], [2, 3], 0, 1), ([1, 1], [1, 1, 1], 0.5, 0.5)],
)
def test_perfect_wrong_and_collapsed(same, different, area, rate):
    curve = roc(same, different)
    assert (curve.area, curve.equal_error_rate) == (area, rate)
    assert isinstance(curve, Roc)


def test_a_collapsed_representation_is_chance_whatever_its_rounding_says():
    """Constant vectors of other lengths have one direction; the length, which is the class, not."""
    labels = np.repeat([0, 1], 20)
    levels = np.random.default_rng(0).uniform(0.1, 0.3, 40) + 0.5 * labels
    found = verification(levels[:, None] * np.ones(37), labels)
    assert found.scores() == {
        "equal_error_rate": 0.5, "roc_area": 0.5, "true_accepts_at_0.01": 0.0,
        "true_accepts_at_0.001": None,  # of 400 different pairs none is a thousandth
    }  # fmt: skip
    zeros = verification(np.zeros((4, 3)), [0, 0, 1, 1])
    assert zeros.roc.area == 0.5


def test_scale_order_and_names_of_classes_change_nothing():
    features, labels = grid(7)
    expected = verification(features, labels).scores()
    order = np.random.default_rng(0).permutation(len(labels))
    lengths = np.random.default_rng(1).uniform(0.1, 10, (len(labels), 1))
    for changed in (features * lengths, features * 1e200, features.astype(np.float32)):
        assert verification(changed, labels).scores() == pytest.approx(expected)
    names = np.array(list("edcba"))[labels]
    assert verification(features[order], names[order]).scores() == pytest.approx(expected)


def test_pairs_are_all_pairs_or_a_balanced_sample_without_repetition():
    labels = np.array([2, 0, 1, 0, 2, 2, 3])
    same, different, sampled = choose_pairs(labels, 100, np.random.default_rng(0))
    assert not sampled
    expected = {frozenset(pair) for pair in itertools.combinations(range(7), 2)}
    assert {frozenset(pair.tolist()) for pair in (*same, *different)} == expected
    assert (labels[same[:, 0]] == labels[same[:, 1]]).all()
    assert (labels[different[:, 0]] != labels[different[:, 1]]).all()
    many = np.random.default_rng(1).integers(10, size=300)
    one, two = (choose_pairs(many, 2000, np.random.default_rng(s)) for s in (0, 1))
    again = choose_pairs(many, 2000, np.random.default_rng(0))
    for pairs, others, equal in zip(one[:2], two[:2], (True, False)):
        assert len(pairs) == 1000
        assert len(np.unique(np.sort(pairs, axis=1), axis=0)) == 1000
        assert ((many[pairs[:, 0]] == many[pairs[:, 1]]) == equal).all()
        assert not np.array_equal(pairs, others)
    assert np.array_equal(one[0], again[0])
    lone = np.array([0, 0, *range(1, 100)])  # one same pair, and of the others half the limit
    same, different, sampled = choose_pairs(lone, 50, np.random.default_rng(0))
    assert (len(same), len(different), sampled) == (1, 25, True)


def test_a_sample_estimates_what_all_pairs_have():
    generator = np.random.default_rng(3)
    labels = generator.integers(4, size=400)
    features = np.eye(4)[labels] + generator.normal(size=(400, 4))
    full = verification(features, labels)
    some = verification(features, labels, most_pairs=10_000)
    assert (some.same, some.different, some.sampled) == (5000, 5000, True)
    assert some.roc.area == pytest.approx(full.roc.area, abs=0.02)
    assert some.roc.equal_error_rate == pytest.approx(full.roc.equal_error_rate, abs=0.02)


def test_many_examples_take_no_more_than_their_sample():
    labels = np.arange(200_000) % 1000
    same, different, _ = choose_pairs(labels, 1000, np.random.default_rng(0))
    assert (labels[same[:, 0]] == labels[same[:, 1]]).all()
    assert (labels[different[:, 0]] != labels[different[:, 1]]).all()


@pytest.mark.parametrize(
    ("features", "labels", "words"),
    [
        (np.ones((3, 2)), [0, 0, 0], "3 pairs of the same class and 0 of two classes"),
        (np.ones((3, 2)), [0, 1, 2], "0 pairs of the same class"),
        (np.ones((3, 2)), [0, 1], "one label for each"),
        (np.ones((1, 2)), [0], "verification needs both"),
        ([[1, 2], [np.nan, 1], [1, 1]], [0, 0, 1], "features of example 1 are not finite"),
        ([[1, 2], [3, 1], [1, np.inf]], [0, 0, 1], "features of example 2 are not finite"),
        (np.ones(3), [0, 0, 1], "expected features"),
    ],
)
def test_what_cannot_be_verified_is_refused(features, labels, words):
    with pytest.raises(ValueError, match=words):
        verification(features, labels)


@pytest.mark.parametrize("sides", [([], [1]), ([1], []), ([np.nan], [1]), ([1], [0, np.nan])])
def test_a_curve_needs_similarities(sides):
    with pytest.raises(ValueError, match="similarit"):
        roc(*sides)


@pytest.mark.parametrize("most", [0, 1, 2.5, -3, True])
def test_the_number_of_pairs_is_checked(most):
    with pytest.raises(ValueError, match="most_pairs"):
        verification(np.eye(4), [0, 0, 1, 1], most_pairs=most)
