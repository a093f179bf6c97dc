"""What holds of every loss, found by itself: a new one is in these tests before anybody lists it.

A loss is a public function of the library with a ``reduction``, or one in ``minissl.losses`` that
gives a Tensor. What is not finite and not masked makes the loss and its gradients not finite; half
precision is as right as its rounding.
"""

import importlib
import inspect
import itertools
import math
import pkgutil

import numpy as np
import pytest
import torch

import minissl.losses
from minissl.autograd import Tensor, composed, fused
from minissl.autograd.devices import move
from minissl.autograd.fused import gpu

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # inf − inf is the point
REDUCTIONS = ["mean", "sum", "none"]
ROWS = {
    "first", "second", "query", "key", "center", "context", "anchor", "positive", "negative",
    "features", "embeddings",
}  # fmt: skip
LOGITS = {"logits", "target_logits"}
NO_LOSS = {
    "normalize",
    "pair_scores",
    "check_reduction",
    "pairwise_distances",
    "row_distances",
    "reduced",
}
NO_GRADIENT = {"target_logits"}  # on purpose
NEGATIVES = 3
# float64 has no kernels: on torch arrays it is the composition that runs.
PLACES = [("cpu", "float32"), ("cpu", "float64"), ("torch", "float32"), ("torch", "float64")]


def is_loss(value):
    if not inspect.isfunction(value) or value.__name__ in NO_LOSS:
        return False
    gives = inspect.signature(value).return_annotation
    of_losses = value.__module__.startswith("minissl.losses") and gives in (Tensor, "Tensor")
    return of_losses or "reduction" in inspect.signature(value).parameters


def reductions_of(loss):
    """Its reductions; one that always gives the mean has no such argument."""
    return REDUCTIONS if "reduction" in inspect.signature(loss).parameters else ["mean"]


def find_losses():
    found = pkgutil.walk_packages(minissl.losses.__path__, "minissl.losses.")
    return {
        f"{module.__name__.removeprefix('minissl.')}.{name}": value
        for module in (fused, composed, *(importlib.import_module(m.name) for m in found))
        for name, value in vars(module).items()
        if is_loss(value) and not name.startswith("_")
    }


LOSSES = find_losses()
WITH_TEMPERATURE = [n for n in LOSSES if "temperature" in inspect.signature(LOSSES[n]).parameters]


def arguments_of(loss, rows=5, width=4, seed=0, scale=1.0):
    """Something for each parameter that has no default: (floating ones, others)."""
    floating, others = {}, {}
    generator = np.random.default_rng(seed)
    for name, parameter in inspect.signature(loss).parameters.items():
        if name in ROWS | LOGITS:
            floating[name] = scale * generator.standard_normal((rows, width))
        elif name == "negatives" and parameter.default is parameter.empty:
            floating[name] = scale * generator.standard_normal((rows, NEGATIVES, width))
        elif name == "predicted":
            floating[name] = scale * generator.standard_normal(rows)
        elif name == "counts":
            others[name] = np.arange(1, rows + 1) * 30
        elif name.endswith("_noise"):
            shape = (rows, NEGATIVES) if name == "negative_noise" else (rows,)
            others[name] = np.log(generator.uniform(0.01, 1, shape))
        elif name in ("temperature", "threshold"):
            others[name] = 0.5
        elif name == "margin":
            others[name] = 1.5
        elif name == "labels":
            others[name] = np.arange(rows) % 2 + 7
        elif name == "same":
            others[name] = np.arange(rows) % 2 == 0
        elif name == "weight":
            floating[name] = generator.standard_normal((width, width))
        elif name == "directions":
            others[name] = np.eye(width)
        elif name == "targets" and parameter.default is parameter.empty:
            others[name] = generator.integers(0, width, rows)
        elif parameter.default is parameter.empty:
            pytest.fail(f"say in this file what the parameter {name!r} of a loss is")
    return floating, others


def differentiated(loss, floating, others, device, dtype, reduction):
    """The loss and the gradients of all floating arguments, as float64 NumPy."""
    tensors, others = {}, dict(others)
    for name, array in floating.items():
        array = move(array.astype(np.float64), device)
        there = array.astype(dtype) if device == "cpu" else array.to(getattr(torch, dtype))
        tensors[name] = Tensor(there, requires_grad=True)
    if "targets" in others:
        others["targets"] = move(others["targets"], device)
    if "reduction" in inspect.signature(loss).parameters:
        others["reduction"] = reduction
    value = loss(**tensors, **others)
    value.backward(np.ones_like(value.array) if device == "cpu" else torch.ones_like(value.array))
    gradients = {
        name: move(t.grad, "cpu").astype(np.float64)
        for name, t in tensors.items()
        if name not in NO_GRADIENT
    }
    return value.numpy().astype(np.float64), gradients


def test_the_losses_are_found():
    names = {name.rsplit(".", 1)[1] for name in LOSSES}
    assert {"nt_xent", "info_nce", "simclr_cs229", "alignment_loss", "next_token_loss"} <= names
    assert {"cross_entropy", "contrastive_cross_entropy"} <= names
    assert {"negative_sampling", "noise_contrastive", "glove"} <= names


@pytest.mark.parametrize(("device", "dtype"), PLACES)
@pytest.mark.parametrize("name", LOSSES)
def test_what_is_not_finite_is_seen(name, device, dtype):
    """One element, a row, everything; in each argument, at the first and the last place."""
    floating, others = arguments_of(LOSSES[name])
    places = [(0, 0), (slice(None), slice(None)), (-1, -1), (2, slice(None))]
    places = places[:2] if (device, dtype) == ("torch", "float32") else places  # interpreted
    values = [np.nan, np.inf, -np.inf]
    for argument, value, place in itertools.product(floating, values, places):
        if argument in LOGITS and value == -np.inf:
            continue  # a class that cannot be: a mask
        broken = {n: array.copy() for n, array in floating.items()}
        one_axis = broken[argument].ndim == 1 and isinstance(place, tuple)
        broken[argument][place[0] if one_axis else place] = value
        for reduction in reductions_of(LOSSES[name]):
            loss, gradients = differentiated(LOSSES[name], broken, others, device, dtype, reduction)
            assert not np.isfinite(loss).all(), (argument, value, place, reduction)
            for other, gradient in gradients.items():
                if {argument, other} != {"context", "negatives"}:  # of scores that do not meet
                    assert not np.isfinite(gradient).all(), (argument, value, place, reduction)


@pytest.mark.parametrize(("device", "dtype"), PLACES)
@pytest.mark.parametrize("name", [n for n in WITH_TEMPERATURE if "composed" not in n])
def test_a_temperature_that_is_none(name, device, dtype):
    """Refused in words, whether it is a number or is learned."""
    floating, others = arguments_of(LOSSES[name])
    for value in (np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0):
        array = move(np.array(value, dtype), device)
        for temperature in (value, array, Tensor(array), Tensor(array, requires_grad=True)):
            others["temperature"] = temperature
            with pytest.raises(ValueError, match="temperature must be positive and finite"):
                differentiated(LOSSES[name], floating, others, device, dtype, "mean")
    for temperature in ("0.1", None, [0.1]):
        others["temperature"] = temperature
        with pytest.raises(TypeError, match="temperature must be a number"):
            differentiated(LOSSES[name], floating, others, device, dtype, "mean")
    others["temperature"] = Tensor(move(np.ones(2, dtype), device))
    with pytest.raises(ValueError, match=r"one element, got shape \(2,\)"):
        differentiated(LOSSES[name], floating, others, device, dtype, "mean")


@pytest.mark.parametrize(("device", "dtype"), PLACES)
@pytest.mark.parametrize("name", WITH_TEMPERATURE)
def test_a_temperature_whose_inverse_is_infinite(name, device, dtype):
    """Such as e^−100, which a learned logarithm may reach, in float32: there is no right loss."""
    floating, others = arguments_of(LOSSES[name])
    small = math.exp(-100) if dtype == "float32" else 1e-310
    for reduction, learned in itertools.product(REDUCTIONS, [False, True]):
        tau = Tensor(move(np.array(small, dtype), device), requires_grad=True)
        others["temperature"] = tau if learned else small
        loss, gradients = differentiated(LOSSES[name], floating, others, device, dtype, reduction)
        assert not np.isfinite(loss).all()
        for gradient in (*gradients.values(), *([move(tau.grad, "cpu")] if learned else [])):
            assert not np.isfinite(gradient).all()


@pytest.mark.parametrize("of", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize(("device", "dtype"), [*PLACES, ("cpu", "float16"), ("torch", "float16")])
@pytest.mark.parametrize("name", [n for n in WITH_TEMPERATURE if "composed" not in n])
def test_a_temperature_in_any_dtype(name, device, dtype, shape, of):
    """Its gradient has its own dtype and shape, and no digits are lost on the way."""
    floating, others = arguments_of(LOSSES[name])
    floating = {n: a.astype(np.float16) for n, a in floating.items()}
    right = Tensor(np.array(0.7, of).astype(np.float64), requires_grad=True)
    expected, _ = differentiated(
        LOSSES[name], floating, others | {"temperature": right}, "cpu", "float64", "mean"
    )
    array = move(np.full(shape, 0.7, of), device)
    tau = Tensor(array, requires_grad=True)
    loss, _ = differentiated(
        LOSSES[name], floating, others | {"temperature": tau}, device, dtype, "mean"
    )
    digits = 1e-3 if "float16" in (dtype, of) else 1e-5
    assert loss == pytest.approx(expected, rel=1e-3 if dtype == "float16" else 1e-5)
    assert tau.grad.shape == shape
    assert tau.grad.dtype == array.dtype
    assert float(move(tau.grad, "cpu").reshape(())) == pytest.approx(right.grad, rel=digits)


@pytest.mark.parametrize("device", ["cpu", "torch"])
@pytest.mark.parametrize("scale", [1, 300, 15_000])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_half_precision(name, reduction, scale, device):
    """Rows such as [300, 400], whose length and inner products float16 does not have."""
    if reduction not in reductions_of(LOSSES[name]):
        return
    floating, others = arguments_of(LOSSES[name], scale=scale)
    floating = {n: a.clip(-60_000, 60_000).astype(np.float16) for n, a in floating.items()}
    expected, exact = differentiated(LOSSES[name], floating, others, "cpu", "float64", reduction)
    if "composed" in name:
        return
    loss, gradients = differentiated(LOSSES[name], floating, others, device, "float16", reduction)
    np.testing.assert_allclose(loss, expected, rtol=2e-3, atol=2e-3)
    for argument, gradient in gradients.items():
        right = exact[argument].astype(np.float16).astype(np.float64)  # what float16 can hold
        if not np.isfinite(right).all():
            continue
        step = 6e-8  # the smallest number above 0
        allowed = 4e-3 * np.abs(right).max() + 4 * step
        assert np.abs(gradient - right).max() <= allowed, argument


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_many_rows(device, dtype, monkeypatch):
    """A sum beyond 65504, and a mean whose sum is: of all losses that take 300,000 rows."""
    monkeypatch.setattr(gpu, "runs_kernels", lambda array: False)  # interpreted, it takes minutes
    for loss in (LOSSES["losses.language_modeling.next_token_loss"],
                 LOSSES["losses.contrastive.alignment_loss"]):  # fmt: skip
        floating, others = arguments_of(loss, rows=300_000, width=2)
        floating = {n: a.astype(dtype) for n, a in floating.items()}
        for reduction in ("sum", "mean"):
            right, exact = differentiated(loss, floating, others, "cpu", "float64", reduction)
            got, gradients = differentiated(loss, floating, others, device, dtype, reduction)
            assert got == pytest.approx(right, rel=1e-3 if dtype == "float16" else 1e-6)
            for argument, gradient in gradients.items():
                error = np.abs(gradient - exact[argument]).max()
                eps = 1e-3 if dtype == "float16" else 1e-6
                assert error <= 4 * eps * np.abs(exact[argument]).max() + 6e-8


@pytest.mark.parametrize(("device", "dtype"), PLACES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_what_is_ignored_may_be_anything(device, dtype, smoothing):
    logits = np.random.default_rng(0).standard_normal((4, 3))
    targets = np.array([0, -100, 2, -100])
    others = {"targets": targets, "label_smoothing": smoothing}
    for value, reduction in itertools.product([np.nan, np.inf, -np.inf], REDUCTIONS):
        right = differentiated(
            fused.cross_entropy, {"logits": logits}, others, device, dtype, reduction
        )
        broken = logits.copy()
        broken[1], broken[3, 0] = value, value
        for function in (fused.cross_entropy, composed.cross_entropy):
            loss, gradients = differentiated(
                function, {"logits": broken}, others, device, dtype, reduction
            )
            np.testing.assert_allclose(loss, right[0], rtol=1e-6)
            np.testing.assert_allclose(gradients["logits"], right[1]["logits"], atol=1e-6)


@pytest.mark.parametrize(("device", "dtype"), PLACES)
def test_a_negative_of_minus_infinity_is_no_bad_match(device, dtype):
    """Nobody's positive, and −∞ beside every query: weighed by e^−∞ it would leave no trace."""
    key = np.ones((4, 2))
    key[3, 0] = -np.inf
    rows = {"query": np.ones((3, 2)), "key": key}
    for function in (fused.contrastive_cross_entropy, composed.contrastive_cross_entropy):
        loss, gradients = differentiated(function, rows, {}, device, dtype, "none")
        assert np.isnan(loss).all()
        assert not any(np.isfinite(g).all() for g in gradients.values())
