"""One NaN among the features, or labels as a column: no number comes of it, but a sentence."""

from dataclasses import replace

import numpy as np
import pytest

from minissl.adapt import load_adaptation
from minissl.adapt.efficient.lora import LoRA, add_lora
from minissl.adapt.heads.neighbors import (
    nearest_neighbor_accuracy,
    nearest_neighbor_predictions,
)
from minissl.adapt.heads.probe import few_label_curve, linear_probe
from minissl.adapt.heads.regression import LinearNumber, ridge
from minissl.adapt.metrics import score
from minissl.data.labels import check_labels, likeliest
from minissl.models.convolutional import ConvEncoder
from minissl.nn.layers import Linear
from tests.adapt.toy import PAIRS, adapted, toy_base

X = np.random.default_rng(0).normal(size=(20, 4))
Y = np.arange(20) % 2
PROBE = linear_probe(X, Y)
NUMBER = LinearNumber(4, 0.1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "use",
    [
        lambda bad: linear_probe(bad, Y),
        lambda bad: linear_probe(X, Y, unlabelled=bad),
        lambda bad: PROBE.predict(bad),
        lambda bad: PROBE.accuracy(bad, Y),
        lambda bad: few_label_curve(bad, Y, X, Y, labels_per_class=[1], draws=1),
        lambda bad: few_label_curve(X, Y, bad, Y, labels_per_class=[1], draws=1),
        lambda bad: nearest_neighbor_predictions(bad, Y, X, k=3),
        lambda bad: nearest_neighbor_predictions(X, Y, bad, k=3),
        lambda bad: ridge(bad, Y, 0.1),
        lambda bad: NUMBER.predict(bad),
    ],
)
def test_features_that_are_not_finite_are_named(use, value):
    bad = X.copy()
    bad[13, 2] = value
    with pytest.raises(ValueError, match="the features of example 13 are not finite"):
        use(bad)


@pytest.mark.parametrize(
    "use",
    [
        lambda: PROBE.accuracy(X, Y[:, None]),
        lambda: PROBE.accuracy(X, Y[:1]),
        lambda: nearest_neighbor_accuracy(X, Y, X, Y[:, None], k=3),
        lambda: score(Y, Y[:, None], "class"),
        lambda: score(Y[:, None], Y, "class"),
        lambda: score(Y[:, None] + 0.0, Y + 0.0, "number"),
        lambda: score(np.full(20, np.nan), Y + 0.0, "number"),
        lambda: score(Y[:0], Y[:0], "class"),
    ],
)
def test_columns_and_other_numbers_of_labels_are_refused(use):
    with pytest.raises(ValueError, match=r"got predictions \(.*\) and labels \(.*\): expected one"):
        use()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_without_a_largest_name_no_class(bad):
    scores = np.array([[1.0, 3.0, 2.0], [-np.inf, 1.0, 1.0], [0.0, 5.0, 6.0]])
    np.testing.assert_array_equal(likeliest(scores), [1, 1, 2])
    scores[2] = bad if bad < 0 else [bad, 5, 6]
    with pytest.raises(ValueError, match="the scores of example 2 are"):
        likeliest(scores)


def test_finite_features_whose_scores_overflow():
    probe = replace(PROBE, weight=np.array([[9.0, 3.0]] * 4))
    with pytest.raises(ValueError, match="the scores of example 1 are"), np.errstate(over="ignore"):
        probe.predict(np.array([[0.0] * 4, [1e308] * 4]))


def test_a_supervised_network_that_gives_no_numbers(tmp_path):
    method = toy_base("supervised", tmp_path).method
    images = np.zeros((2, 8, 8, 1), np.float32)
    assert method.accuracy(images, method.model(images).numpy().argmax(axis=1)) == 1.0
    method.model.output.weight.array[0, 0] = np.nan
    with pytest.raises(ValueError, match="the scores of example 0 are"):
        method.accuracy(images, [0, 0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_labels_that_are_not_finite_are_named(value):
    with pytest.raises(ValueError, match=r"expected 3 finite numbers, number 1 is -?(nan|inf)"):
        check_labels([0.5, value, 1.0], 3, ())


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_features_in_any_unit(unit):
    """Squares of 1e200 are infinite and those of 1e-200 are 0: all would look alike."""
    assert np.array_equal(
        nearest_neighbor_predictions(unit * X, Y, unit * X[::-1], k=3),
        nearest_neighbor_predictions(X, Y, X[::-1], k=3),
    )
    for standardize in (False, True):
        expected = linear_probe(X, Y, standardize=standardize).logits(X)
        got = linear_probe(unit * X, Y, standardize=standardize).logits(unit * X)
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_labels_of_another_kind_and_dials_that_are_none():
    with pytest.raises(ValueError, match="a label is NaN or infinite"):
        linear_probe(X, np.where(Y == 0, np.nan, 1.0))
    with pytest.raises(ValueError, match="names are never equal to numbers"):
        PROBE.accuracy(X, Y.astype(str))
    named = linear_probe(X, np.where(Y == 0, "no", "yes"))
    share = named.accuracy(X, np.where(Y == 0, "no", "yes"))
    assert named.accuracy(X, np.where(Y == 0, "no", "yes").astype(object)) == share > 0
    for dials in ({"k": 2.5}, {"k": 0}, {"temperature": np.nan}, {"temperature": 0}):
        with pytest.raises(ValueError, match="expected a whole k ≥ 1, temperature > 0"):
            nearest_neighbor_predictions(X, Y, X, **dials)


def test_numbers_to_learn_that_are_none():
    with pytest.raises(ValueError, match="finite numbers"):
        ridge(X, np.where(Y == 0, np.nan, 1.0), 0.1)


@pytest.mark.parametrize(
    ("name", "base"), [pair for pair in PAIRS if load_adaptation(pair[0]).labels == "class"]
)
def test_a_network_that_gives_no_numbers_predicts_no_class(name, base, tmp_path):
    made = adapted(name, toy_base(base, tmp_path)).method
    inputs = made.task.held_out.inputs
    assert made.predict(inputs).shape == (len(inputs),)
    for parameter in made.base.encoder.parameters():
        parameter.array = np.full_like(parameter.array, np.nan)
    said = "the (features of example 0 are not finite|scores of example 0 are .*nan)"
    with pytest.raises(ValueError, match=said):
        made.predict(inputs)
    with pytest.raises(ValueError, match=said):
        made.evaluate()


@pytest.mark.parametrize("alpha", [np.nan, np.inf, -1.0])
def test_an_alpha_that_is_no_number_changes_nothing(alpha):
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="alpha must be a finite number"):
        LoRA(Linear(3, 3, generator=generator), 1, alpha=alpha, generator=generator)
    model = ConvEncoder(generator=generator)
    with pytest.raises(ValueError, match="alpha must be a finite number"):
        add_lora(model, 1, alpha=alpha, generator=generator)
    with pytest.raises(ValueError, match="rank must be from 1"):
        add_lora(model, 1.5, generator=generator)
    assert all(p.requires_grad for p in model.parameters())
