"""Nearest neighbours against scikit-learn's, with the weights of Wu et al. (2018)."""

import tracemalloc

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from minissl.adapt.heads import neighbors
from minissl.adapt.heads.neighbors import (
    NeighborSettings,
    nearest_neighbor_accuracy,
    nearest_neighbor_predictions,
)


def data(seed, width=8):
    generator = np.random.default_rng(seed)
    labels = generator.integers(5, size=120)
    features = generator.normal(size=(5, width))[labels] + generator.normal(size=(120, width))
    return features[:80], labels[:80], features[80:], labels[80:]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("k", "temperature"), [(1, 0.1), (5, 0.07), (20, 0.1), (20, 5.0), (80, 1.0)]
)
def test_predictions_are_scikit_learns(seed, k, temperature):
    features, labels, test, test_labels = data(seed)
    reference = KNeighborsClassifier(
        k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / temperature)
    ).fit(features, labels)
    settings = {"k": k, "temperature": temperature}
    predictions = nearest_neighbor_predictions(features, labels, test, **settings)
    assert np.array_equal(predictions, reference.predict(test))
    accuracy = nearest_neighbor_accuracy(features, labels, test, test_labels, **settings)
    assert accuracy == pytest.approx(reference.score(test, test_labels))


def test_the_defaults_are_those_of_the_paper_with_k_limited_by_the_data():
    features, labels, test, _ = data(0)
    reference = nearest_neighbor_predictions(features, labels, test, k=80, temperature=0.1)
    assert np.array_equal(nearest_neighbor_predictions(features, labels, test), reference)


@pytest.mark.parametrize("at_once", [1, 80 * 7])
def test_a_few_tests_at_a_time(at_once, monkeypatch):
    features, labels, test, _ = data(0)
    whole = nearest_neighbor_predictions(features, labels, test, k=20)
    monkeypatch.setattr(neighbors, "_AT_ONCE", at_once)
    few = nearest_neighbor_predictions(features, labels, test, k=20)
    assert np.array_equal(few, whole)


def test_memory_does_not_grow_with_the_product():
    generator = np.random.default_rng(0)
    features, test = generator.normal(size=(500, 2)), generator.normal(size=(20_000, 2))
    tracemalloc.start()
    nearest_neighbor_predictions(features, np.arange(500) % 2, test, k=5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500 * 20_000 * 8, "the similarities alone, without their order"


def test_near_neighbours_weigh_more():
    features = np.array([[1.0, 0.0], [0.6, 0.8], [0.6, 0.8]])
    labels = np.array(["a", "b", "b"])
    test = np.array([[5.0, 0.1]])
    assert nearest_neighbor_predictions(features, labels, test, temperature=0.1) == ["a"]
    assert nearest_neighbor_predictions(features, labels, test, temperature=100.0) == ["b"]


def test_at_a_temperature_near_zero_the_nearest_decides():
    features, labels, test, _ = data(0)
    nearest = nearest_neighbor_predictions(features, labels, test, k=1)
    for temperature in (1e-4, 1e-300):  # e^(s / temperature) is 0 for the most similar as well
        cold = nearest_neighbor_predictions(features, labels, test, k=20, temperature=temperature)
        np.testing.assert_array_equal(cold, nearest)


def test_ties_follow_the_order():
    features = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    test = np.array([[1.0, 0.0]])
    assert nearest_neighbor_predictions(features, np.array([7, 3, 3]), test, k=1) == [7]
    assert nearest_neighbor_predictions(features, np.array([7, 3, 9]), test, k=2) == [3]
    many = np.tile(np.eye(2), (500, 1))  # every second one is as near as can be
    assert nearest_neighbor_predictions(many, np.arange(1000)[::-1], test, k=1) == [999]


def test_what_does_not_fit():
    features, labels, test, _ = data(0)
    with pytest.raises(ValueError, match="expected \\(examples, width\\), \\(examples,\\)"):
        nearest_neighbor_predictions(features, labels[:-1], test)
    with pytest.raises(ValueError, match="expected \\(examples, width\\), \\(examples,\\)"):
        nearest_neighbor_predictions(features, labels, test[:, :3])
    with pytest.raises(ValueError, match="got k 0"):
        nearest_neighbor_predictions(features, labels, test, k=0)
    with pytest.raises(ValueError, match="got shape"):
        nearest_neighbor_predictions(np.ones(3), labels, test)


def test_how_many_vote_unless_one_says_so():
    """A tenth of the examples, at least one and at most 200 (Wu et al.)."""
    settings = NeighborSettings()
    assert [settings.neighbors(n) for n in (3, 40, 1200, 9000)] == [1, 4, 120, 200]
    assert NeighborSettings(k=7).neighbors(40) == 7
