"""Figures and the measured table of lecture 02: graphs, differences, planted mistakes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minissl.autograd import Tensor, gradcheck, no_grad
from minissl.autograd import operations as ops
from minissl.autograd.graph import to_svg
from minissl.autograd.tensor import differentiable
from minissl.figures import new_figure
from minissl.palette import BLUE, OCHRE, RED, SOFT_INK, look

DRAWS = 60  # of inputs, cotangents and directions, for each planted mistake


def worked_example() -> tuple[Tensor, dict[str, Tensor]]:
    """L = (a b + c)² at a = 2, b = −3, c = 10, with the leaves it came from."""
    leaves = {
        name: Tensor(value, requires_grad=True)
        for name, value in {"a": 2.0, "b": -3.0, "c": 10.0}.items()
    }
    return (leaves["a"] * leaves["b"] + leaves["c"]) ** 2, leaves


def graph() -> str:
    """The worked example of section 1 as boxes and arrows."""
    return to_svg(worked_example()[0]) + "\n"


def diamond_example() -> tuple[Tensor, Tensor]:
    """y = 3x is used twice: L = u v with u = 2y and v = y², at x = 1."""
    x = Tensor(1.0, requires_grad=True)
    y = 3 * x
    return (2 * y) * y**2, x


def diamond() -> str:
    """The example of section 5: two paths lead from L back to y."""
    return to_svg(diamond_example()[0]) + "\n"


def two_layers() -> str:
    """The loss of a network with one hidden layer, as the engine remembers it."""
    generator = np.random.default_rng(0)

    def parameter(*shape: int) -> Tensor:
        return Tensor(generator.standard_normal(shape), requires_grad=True)

    images, targets = generator.standard_normal((32, 64)), generator.integers(10, size=(32, 1))
    hidden = ops.relu(ops.linear(images, parameter(128, 64), parameter(128)))
    scores = ops.log_softmax(ops.linear(hidden, parameter(10, 128), parameter(10)))
    return to_svg(-ops.mean(ops.take_along_axis(scores, targets, axis=1))) + "\n"


# ---- finite differences --------------------------------------------------------------------------


def second_order(function: Callable[[Any], Any], x: Any, h: Any) -> Any:
    """(f(x + h) − f(x − h)) / 2h, whose error is about h² f‴ / 6."""
    return (function(x + h) - function(x - h)) / (2 * h)


def fourth_order(function: Callable[[Any], Any], x: Any, h: Any) -> Any:
    """(8 f₁ − 8 f₋₁ − f₂ + f₋₂) / 12h, whose error is about h⁴ f⁽⁵⁾ / 30: what gradcheck uses."""
    near = function(x + h) - function(x - h)
    far = function(x + 2 * h) - function(x - 2 * h)
    return (8 * near - far) / (12 * h)


def step_errors(formula: Callable[..., Any], dtype: type, steps: np.ndarray) -> np.ndarray:
    """Relative errors of the slope of sin, the mean of 200 points between 0.5 and 1, per step."""
    points = np.linspace(0.5, 1, 200).astype(dtype)
    errors = []
    for step in steps.astype(dtype):
        slopes = formula(np.sin, points, step).astype(np.float64)
        exact = np.cos(points.astype(np.float64))
        errors.append(np.mean(np.abs(slopes - exact) / exact))
    return np.array(errors)


def step() -> Any:
    """Why float64, and why a step of 0.001."""
    figure, (axis,) = new_figure(width=5.4, height=3.9)
    steps = 10 ** np.linspace(-9, -0.7, 60)
    for label, place, formula, dtype, color in (
        ("float32, second order", (2e-6, 0.05), second_order, np.float32, RED),
        ("float64, second order", (1.5e-9, 2e-12), second_order, np.float64, OCHRE),
        ("float64, fourth order", (1.5e-7, 4e-14), fourth_order, np.float64, BLUE),
    ):
        shown = steps[steps > 1e-6] if dtype is np.float32 else steps
        axis.plot(shown, step_errors(formula, dtype, shown), **look(color))
        axis.annotate(label, place)
    axis.axhline(1e-6, color=SOFT_INK, linewidth=0.8)
    axis.annotate("gradcheck allows 1e-6", (1.2e-9, 1.6e-6), color=SOFT_INK, va="bottom")
    axis.set(xscale="log", yscale="log", ylim=(1e-15, 10))
    axis.set(xlabel="step h", ylabel="relative error of the slope")
    return figure


# ---- planted mistakes ----------------------------------------------------------------------------


@differentiable
def softmax_zero(a, /):
    """A softmax whose gradient is always zero."""
    return ops.softmax.__wrapped__(a)[0], (lambda g: g * 0,)


@differentiable
def softmax_uncoupled(a, /):
    """Each probability as if it depended on its own logit alone."""
    c = ops.softmax.__wrapped__(a)[0]
    return c, (lambda g: g * c * (1 - c),)


@differentiable
def layer_norm_zero(a, /):
    """A layer norm whose gradient is always zero."""
    return _normalized(a)[0], (lambda g: g * 0,)


@differentiable
def layer_norm_without_scale(a, /):
    """The part of the gradient that came through the variance is missing."""
    c, scale = _normalized(a)
    return c, (lambda g: scale * (g - g.mean(-1, keepdims=True)),)


@differentiable
def permute_again(a, /):
    """The permutation of the forward pass where its inverse is needed."""
    return a.transpose(1, 2, 0), (lambda g: g.transpose(1, 2, 0),)


@differentiable
def exp_too_steep(a, /):
    """Half a per cent too much."""
    c = np.exp(a)
    return c, (lambda g: 1.005 * g * c,)


def _normalized(a):
    centered = a - a.mean(-1, keepdims=True)
    scale = 1 / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5)
    return centered * scale, scale


MISTAKES = {
    "softmax: gradient always zero": (softmax_zero, (3, 4)),
    "softmax: coupling term missing": (softmax_uncoupled, (3, 4)),
    "layer norm: gradient always zero": (layer_norm_zero, (3, 4)),
    "layer norm: variance term missing": (layer_norm_without_scale, (3, 4)),
    "permutation instead of its inverse": (permute_again, (3, 3, 3)),
    "exp: half a per cent too steep": (exp_too_steep, (3, 4)),
}


def element_by_element(function: Any, x: np.ndarray, cotangent: np.ndarray) -> tuple[Any, Any]:
    """Gradient of ⟨cotangent, function(x)⟩ by backward, and by differences in every element."""
    tensor = Tensor(x.copy(), requires_grad=True)
    function(tensor).backward(cotangent)
    numeric = np.empty_like(x)
    with no_grad():
        for place in np.ndindex(x.shape):
            unit = np.zeros_like(x)
            unit[place] = 1.0

            def along(t, unit=unit):
                return np.sum(cotangent * function(Tensor(x + t * unit)).array)

            numeric[place] = second_order(along, 0.0, 1e-5)
    return tensor.grad, numeric


def sum_within(tolerance: float) -> Callable[..., bool]:
    """The check ``f(x).sum().backward()``, with a tolerance for every element."""

    def noticed(function: Any, x: np.ndarray, seed: int) -> bool:
        analytic, numeric = element_by_element(function, x, _ones_for(function, x))
        return not np.allclose(analytic, numeric, rtol=tolerance, atol=tolerance)

    return noticed


def loose_with_random_cotangent(function: Any, x: np.ndarray, seed: int) -> bool:
    """A random cotangent, but only an error of norm 0.42 or more counts."""
    shape = _ones_for(function, x).shape
    cotangent = np.random.default_rng([seed, 1]).standard_normal(shape)
    analytic, numeric = element_by_element(function, x, cotangent)
    return bool(np.linalg.norm(analytic - numeric) >= 0.42)


def by_gradcheck(function: Any, x: np.ndarray, seed: int) -> bool:
    """The library's check with a single random direction."""
    try:
        gradcheck(function, [x], seed=seed, directions=1)
    except AssertionError:
        return True
    return False


def _ones_for(function: Any, x: np.ndarray) -> np.ndarray:
    with no_grad():
        return np.ones_like(function(Tensor(x)).array)


CHECKS = {
    "sum, 1e-2": sum_within(1e-2),
    "sum, 1e-6": sum_within(1e-6),
    "random cotangent, 0.42": loose_with_random_cotangent,
    "gradcheck": by_gradcheck,
}


def noticed_by_each_check(draws: int = DRAWS) -> dict[str, list[int]]:
    """For each planted mistake: in how many per cent of the draws each of the checks notices it."""
    table = {}
    for mistake, (function, shape) in MISTAKES.items():
        inputs = [np.random.default_rng(seed).standard_normal(shape) for seed in range(draws)]
        table[mistake] = [
            round(100 * np.mean([check(function, x, seed) for seed, x in enumerate(inputs)]))
            for check in CHECKS.values()
        ]
    return table


FIGURES = {"02_graph": graph, "02_diamond": diamond, "02_two_layers": two_layers, "02_step": step}
