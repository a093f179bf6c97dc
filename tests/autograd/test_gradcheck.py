"""The test of the tests: planted mistakes must be found, and right rules must pass.

Each planted mistake below was really made somewhere; the usual check, finite differences of
``f(x).sum()``, is shown to be blind to some of them.
"""

import re

import numpy as np
import pytest

from minissl.autograd import Tensor, gradcheck
from minissl.autograd import operations as ops
from minissl.autograd.tensor import differentiable


@differentiable
def softmax_zero(a, /):
    c = softmax(a)
    return c, (lambda g: g * 0,)


@differentiable
def softmax_uncoupled(a, /):
    c = softmax(a)
    return c, (lambda g: g * c * (1 - c),)


@differentiable
def layer_norm_zero(a, /):
    c, _ = normalized(a)
    return c, (lambda g: g * 0,)


@differentiable
def layer_norm_without_projection(a, /):
    c, r = normalized(a)
    return c, (lambda g: r * (g - g.mean(-1, keepdims=True)),)


@differentiable
def permute_forward_again(a, /, axes):
    return a.transpose(axes), (lambda g: g.transpose(axes),)


@differentiable
def exp_half_percent(a, /):
    c = np.exp(a)
    return c, (lambda g: 1.005 * g * c,)


@differentiable
def square_without_two(a, /):
    return a * a, (lambda g: g * a,)


@differentiable
def sine_with_wrong_sign(a, /):
    return np.sin(a), (lambda g: -g * np.cos(a),)


@differentiable
def bias_of_one_row(a, b, /):
    """Broadcasting undone by taking the first row instead of the sum of all."""
    return a + b, (lambda g: g, lambda g: g[0])


@differentiable
def maximum_without_loser(a, /):
    """One element in twelve is wrong."""
    slope = np.ones_like(a)
    slope[..., -1] = 0.999
    return a * 1.0, (lambda g: g * slope,)


def softmax(a):
    e = np.exp(a - a.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def normalized(a):
    centered = a - a.mean(-1, keepdims=True)
    r = 1 / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5)
    return centered * r, r


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


PLANTED = {
    "softmax gradient is zero": (softmax_zero, [draw(3, 4)]),
    "softmax without the coupling term": (softmax_uncoupled, [draw(3, 4)]),
    "layer norm gradient is zero": (layer_norm_zero, [draw(3, 5)]),
    "layer norm without the second projection": (layer_norm_without_projection, [draw(3, 5)]),
    "permutation instead of its inverse": (
        lambda a: permute_forward_again(a, axes=(1, 2, 0)),
        [draw(3, 3, 3)],
    ),
    "exp half a percent too steep": (exp_half_percent, [draw(3, 4)]),
    "a factor of two": (square_without_two, [draw(3, 4)]),
    "a sign": (sine_with_wrong_sign, [draw(3, 4)]),
    "unbroadcast by the first row": (bias_of_one_row, [draw(3, 4), draw(4)]),
    "one column wrong by a thousandth": (maximum_without_loser, [draw(3, 4)]),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_mistakes_are_found_every_time(name):
    function, inputs = PLANTED[name]
    for seed in range(20):
        with pytest.raises(AssertionError, match="backward says"):
            gradcheck(function, inputs, seed=seed)
        with pytest.raises(AssertionError, match="backward says"):
            gradcheck(function, inputs, seed=seed, directions=1)


BLIND = [
    "softmax gradient is zero",
    "layer norm gradient is zero",
    "layer norm without the second projection",
    "permutation instead of its inverse",
]


@pytest.mark.parametrize("name", BLIND)
def test_why_not_the_sum_of_the_outputs(name):
    """With c = 1, as in ``f(x).sum()``, these mistakes cannot be seen: the check passes."""
    function, inputs = PLANTED[name]
    gradcheck(lambda *a: function(*a).sum(), inputs)


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1.0, 1e3, 1e8])
def test_right_rules_pass_at_every_scale(scale):
    x = draw(3, 4)
    for seed in range(10):
        gradcheck(lambda a: ops.tanh(a) * scale, [x], seed=seed)
        gradcheck(lambda a: ops.softmax(a) * scale, [x], seed=seed)
        with pytest.raises(AssertionError):
            gradcheck(lambda a: square_without_two(a) * scale, [x], seed=seed)


def test_every_input_is_checked():
    @differentiable
    def second_wrong(a, b, /):
        return a * b, (lambda g: g * b, lambda g: g * b)

    with pytest.raises(AssertionError, match="input 1"):
        gradcheck(second_wrong, [draw(3), draw(3, seed=1)])
    with pytest.raises(AssertionError, match="input 2"):
        gradcheck(lambda i, a, b: second_wrong(a, b), [np.arange(3), draw(3), draw(3, seed=1)])


def test_the_message_shows_values_and_the_worst_element():
    @differentiable
    def one_wrong(a, /):
        slope = 2 * a
        slope[1, 2] += 0.25
        return a * a, (lambda g: g * slope,)

    x = draw(2, 3)
    with pytest.raises(AssertionError) as caught:
        gradcheck(one_wrong, [x])
    text = str(caught.value)
    assert re.search(r"backward says -?\d+\.\d+, finite differences say -?\d+\.\d+", text)
    assert "1 of the 6 elements tried are wrong" in text
    first = next(line for line in text.splitlines() if "element (" in line)
    found = re.search(r"element \((\d), (\d)\): backward (\S+), finite differences (\S+)", first)
    assert (int(found[1]), int(found[2])) == (1, 2)
    slope = (2 * x[1, 2] + 0.25) / (2 * x[1, 2])
    assert float(found[3]) / float(found[4]) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize(
    ("function", "at"),
    [
        (ops.relu, [0.0, 1.0]),
        (ops.relu, [0.0005, 1.0]),
        (ops.abs, [-0.0001, 2.0]),
        (lambda a: ops.clip(a, -1, 1), [1.0, 0.0]),
        (lambda a: 1 / a, [1e-4]),
        (lambda a: ops.norm(a), [1e-5, 0.0]),
    ],
)
def test_kinks_and_poles_are_no_wrong_gradients(function, at):
    with pytest.raises(ValueError, match=r"kink or a pole.*Move the input"):
        gradcheck(function, [np.array(at)])


def test_a_right_rule_is_never_called_wrong_near_a_kink():
    """Wherever the kink stands between the points that are tried: agreement, or ValueError."""
    outcomes = []
    for seed in range(3):
        for distance in np.linspace(1e-5, 8e-3, 60):
            try:
                gradcheck(ops.relu, [np.array([distance])], seed=seed, directions=1)
                outcomes.append("agree")
            except ValueError:
                outcomes.append("kink")
    assert set(outcomes) == {"agree", "kink"}


@pytest.mark.parametrize(
    ("function", "at"), [(ops.abs, [0.0]), (ops.max, [1.0, 1.0]), (ops.norm, [0.0, 0.0])]
)
def test_a_convention_that_is_the_mean_of_both_sides_agrees_with_central_differences(function, at):
    gradcheck(function, [np.array(at)])


def test_what_cannot_be_checked():
    with pytest.raises(TypeError, match="input 1 is float32; use float64"):
        gradcheck(ops.add, [draw(2), draw(2).astype(np.float32)])
    with pytest.raises(TypeError, match="none of the inputs is floating"):
        gradcheck(lambda i: Tensor(i.array + 0.0), [np.arange(3)])
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="fixed seed"):
        gradcheck(lambda a: a * generator.random(3), [draw(3)])
    with pytest.raises(AssertionError, match=r"input 0.*does not depend"):
        gradcheck(lambda a: Tensor(a.array * 2), [draw(3)])
    with pytest.raises(AssertionError, match=r"input 1.*does not depend"):
        gradcheck(lambda a, b: a * 2, [draw(3), draw(3)])


def test_settings():
    loose = {"tolerance": 0.01}
    gradcheck(exp_half_percent, [draw(3)], **loose)
    gradcheck(lambda a: ops.abs(a), [np.array([1e-4])], step=1e-6, tolerance=1e-5)
    x = draw(3, 4)
    kept = x.copy()
    gradcheck(ops.exp, [x])
    np.testing.assert_array_equal(x, kept)
    gradcheck(lambda a: a * 2, [Tensor(draw(2, 2))])
    gradcheck(ops.exp, [np.array(0.3)])
    gradcheck(lambda a: a.sum(), [np.zeros((0, 2))])
