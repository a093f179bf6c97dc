"""A mixture of layers: where it has an answer of its own, and where another one is known."""

import numpy as np
import pytest
from scipy.optimize import check_grad, minimize

from minissl.adapt import load_adaptation
from minissl.adapt.heads.mixture import MixedReadout, Mixture, fit_mixture
from minissl.adapt.heads.probe import linear_probe
from minissl.adapt.metrics import softmax
from minissl.adapt.run import open_any
from minissl.pretrain import load_method
from tests.adapt.toy import adapted, toy_base, toy_labelled


def layers_of(seed=0, examples=60, layers=3, width=5, classes=3, informative=1):
    """Layers of noise, and one of which a straight line reads the class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(examples) % classes
    x = generator.standard_normal((examples, layers, width))
    if informative is not None:
        x[:, informative] += 2 * generator.standard_normal((classes, width))[labels]
    return x, labels


def objective(x, labels, l2, mix, weight, bias):
    share = np.exp(mix) / np.exp(mix).sum()
    logits = sum(s * x[:, layer] for layer, s in enumerate(share)) @ weight + bias
    nats = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return nats.mean() + l2 / 2 * (weight**2).sum()


@pytest.mark.parametrize("l2", [1e-3, 1e-2, 1.0])
def test_one_layer_is_the_linear_probe(l2):
    x, labels = layers_of(layers=1, informative=0)
    readout = MixedReadout(1, 5, 3, l2)
    readout.learn(x, labels, x)
    probe = linear_probe(x[:, 0], labels, l2=l2)
    np.testing.assert_allclose(readout.mean.array[0], probe.mean)
    np.testing.assert_allclose(readout.scale.array[0], probe.scale[0])
    whitened = (x - readout.mean.array) / readout.scale.array
    ours, theirs = (
        objective(whitened, labels, l2, np.zeros(1), one.weight, one.bias)
        for one in (_arrays(readout), probe)
    )
    assert ours == pytest.approx(theirs, abs=1e-6)
    np.testing.assert_allclose(
        softmax(readout.logits(x)), softmax(probe.logits(x[:, 0])), atol=1e-3
    )
    np.testing.assert_array_equal(readout.predict(x), probe.predict(x[:, 0]))
    flat = MixedReadout(1, 5, 3, l2)
    flat.learn(x[:, 0], labels, x[:, 0])  # raw inputs have one axis less
    np.testing.assert_array_equal(flat.logits(x[:, 0]), readout.logits(x))
    assert readout.layer_weights() == [1]


class _arrays:
    def __init__(self, readout):
        self.weight, self.bias = readout.weight.array, readout.bias.array


def test_the_weight_goes_to_the_layer_that_knows():
    for informative in range(3):
        x, labels = layers_of(informative=informative)
        readout = MixedReadout(3, 5, 3, 1e-2)
        readout.learn(x, labels, x)
        weights = readout.layer_weights()
        assert weights.sum() == pytest.approx(1)
        assert weights.argmax() == informative
        assert weights[informative] > 0.7
        fresh, wanted = layers_of(informative=informative, examples=60)
        assert np.mean(readout.predict(fresh) == wanted) > 0.9


def test_two_equal_layers_share_equally_and_cost_what_one_does():
    x, labels = layers_of(layers=1, informative=0)
    double = np.concatenate([x, x], axis=1)
    mix, weight, bias = fit_mixture(double, labels, 3, 1e-2)
    one = fit_mixture(x, labels, 3, 1e-2)
    np.testing.assert_allclose(softmax(mix[None]), [[0.5, 0.5]], atol=1e-6)
    assert objective(double, labels, 1e-2, mix, weight, bias) == pytest.approx(
        objective(x, labels, 1e-2, *one), abs=1e-7
    )


def test_it_is_a_minimum_and_better_than_any_layer_alone():
    x, labels = layers_of()
    l2 = 1e-2
    mix, weight, bias = fit_mixture(x, labels, 3, l2)

    def loss(flat):
        return objective(x, labels, l2, flat[:3], flat[3:18].reshape(5, 3), flat[18:])

    found = np.concatenate([mix, weight.ravel(), bias])
    assert check_grad(loss, lambda _: np.zeros_like(found), found) < 1e-4
    slow = minimize(loss, np.zeros(21), method="BFGS")  # by differences, from the same beginning
    assert loss(found) == pytest.approx(slow.fun, abs=1e-5)
    for layer in range(3):
        alone = fit_mixture(x[:, [layer]], labels, 3, l2)
        assert loss(found) <= objective(x[:, [layer]], labels, l2, *alone) + 1e-9


def test_the_readout_says_what_was_fitted():
    x, labels = layers_of()
    readout = MixedReadout(3, 5, 3, 1e-2)
    readout.learn(x, labels, x)
    same = (x - x.mean(axis=0)) / readout.scale.array
    mix, weight, bias = fit_mixture(same, labels, 3, 1e-2)
    share = np.exp(mix) / np.exp(mix).sum()
    np.testing.assert_allclose(readout.layer_weights(), share)
    expected = sum(s * same[:, layer] for layer, s in enumerate(share)) @ weight + bias
    np.testing.assert_allclose(readout.logits(x), expected, atol=1e-9)


def test_units_of_a_layer_do_not_matter():
    """Each layer is centred and has one scale of its own; a constant one says nothing."""
    x, labels = layers_of()
    readout, other, still = (MixedReadout(3, 5, 3, 1e-2) for _ in range(3))
    readout.learn(x, labels, x)
    turned = x * np.array([1e-3, 1, 1e5])[:, None] + np.array([7.0, -2, 100])[:, None]
    other.learn(turned, labels, turned)
    np.testing.assert_allclose(other.layer_weights(), readout.layer_weights(), atol=1e-4)
    np.testing.assert_allclose(other.logits(turned), readout.logits(x), atol=1e-3)
    np.testing.assert_allclose(
        readout.scale.array[:, 0], [np.sqrt(x[:, i].var(axis=0).mean()) for i in range(3)]
    )
    x[:, 2] = 4
    still.learn(x, labels, x)
    assert np.isfinite(still.logits(x)).all()


def test_mean_and_scale_are_those_of_the_pool():
    x, labels = layers_of()
    readout = MixedReadout(3, 5, 3, 1e-2)
    readout.learn(x[:9], labels[:9], x)
    np.testing.assert_allclose(readout.mean.array, x.mean(axis=0))


def test_huge_features_are_not_lost():
    x, labels = layers_of()
    readout, huge = MixedReadout(3, 5, 3, 1e-2), MixedReadout(3, 5, 3, 1e-2)
    readout.learn(x, labels, x)
    huge.learn(1e200 * x, labels, 1e200 * x)
    np.testing.assert_allclose(huge.logits(1e200 * x), readout.logits(x), atol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_features_are_refused(bad):
    x, labels = layers_of()
    x[3, 1, 2] = bad
    readout = MixedReadout(3, 5, 3, 1e-2)
    with pytest.raises(ValueError, match=r"(?i)finite|nan"):
        readout.learn(x, labels, x)


# ---- on a run -----------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["elmo", "lstm", "gpt"])
def test_on_runs_with_layers(base, tmp_path):
    opened = toy_base(base, tmp_path / "base")
    made = adapted("mixture", opened, tmp_path / "mixture").method
    metrics = made.evaluate()
    weights = [metrics[f"weight_of_layer_{i}"] for i in range(opened.method.num_states)]
    assert sum(weights) == pytest.approx(1)
    assert not any(f"layer_{len(weights)}" in name for name in metrics)
    again = open_any(tmp_path / "mixture").method
    inputs = opened.data.examples(toy_labelled("mixture", opened, seed=4)).inputs
    np.testing.assert_array_equal(again.predict(inputs), made.predict(inputs))
    np.testing.assert_array_equal(again.probabilities(inputs), made.probabilities(inputs))
    np.testing.assert_allclose(made.probabilities(inputs).sum(axis=1), 1)
    np.testing.assert_array_equal(made.probabilities(inputs).argmax(axis=1), made.predict(inputs))
    expected = softmax(made.model.logits(opened.method.represent_layers(inputs)))
    np.testing.assert_allclose(made.probabilities(inputs), expected, atol=1e-12)


def test_it_needs_layers():
    assert load_adaptation("mixture") is Mixture
    assert not issubclass(load_method("simclr"), Mixture.needs)
    assert not issubclass(load_method("skipgram"), Mixture.needs)
