"""Wrong answers to homework 1: gradient checks that cannot fail, or cry wolf."""

from __future__ import annotations

from typing import Any

import numpy as np

from minissl.autograd.recording import no_grad
from minissl.autograd.tensor import Tensor
from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 1.9 gradcheck -------------------------------------------------------------------------------


def _slope(function, arrays, i, direction, cotangent, h, one_sided=False):
    def at(step):
        moved = [Tensor(a + step * direction if k == i else a) for k, a in enumerate(arrays)]
        with no_grad():
            return float(np.sum(cotangent * function(*moved).array))

    if one_sided:
        return (at(h) - at(0)) / h
    return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)


def _checked(
    function,
    inputs,
    seed,
    *,
    tolerance=1e-6,
    absolute=0.0,
    inputs_checked=None,
    random_cotangent=True,
    random_direction=True,
    refuse_float32=True,
    h=1e-3,
    one_sided=False,
):
    """A right check, which the arguments make wrong."""
    arrays = [np.asarray(x) for x in inputs]
    generator = np.random.default_rng(seed)
    floating = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    if refuse_float32 and (not floating or any(arrays[i].dtype != np.float64 for i in floating)):
        raise TypeError("float64 inputs are needed")
    for i in floating[:inputs_checked]:
        tensors = [Tensor(a.copy(), requires_grad=k == i) for k, a in enumerate(arrays)]
        output = function(*tensors)
        if not output.requires_grad:
            raise AssertionError(f"input {i} does not reach the output")
        cotangent = generator.standard_normal(output.shape)
        direction = generator.standard_normal(arrays[i].shape)
        cotangent = cotangent if random_cotangent else np.ones_like(cotangent)
        direction = direction if random_direction else np.ones_like(direction)
        output.backward(np.asarray(cotangent, output.dtype))
        gradient = np.asarray(tensors[i].grad)
        analytic = float(np.sum(gradient * direction))
        numeric = _slope(function, arrays, i, direction, cotangent, h, one_sided)
        scale = max(abs(analytic), abs(numeric), 1e-2 * float(np.linalg.norm(gradient)))
        if abs(analytic - numeric) > tolerance * scale + absolute:
            raise AssertionError(f"input {i}: backward {analytic}, differences {numeric}")


def _gradcheck_with(**faults: Any) -> Any:
    def gradcheck(function, inputs, *, seed=0, tolerance=1e-6, directions=3, step=1e-3):
        for k in range(directions):
            _checked(function, inputs, [seed, k], **faults)

    return gradcheck


for fault, what, symptom in (
    (
        {"random_cotangent": False, "absolute": 1e-12},
        "the sum of the outputs",
        "gradient is always zero",
    ),
    ({"inputs_checked": 1}, "only the first input", "second input wrong"),
    ({"absolute": 1e-4}, "an absolute tolerance", "accepts 1e-06 times"),
    ({"tolerance": 1e-2}, "a tolerance of a per cent", "half a per cent|one per cent"),
    ({"one_sided": True}, "one-sided differences", "refuses a right gradient"),
    ({"h": 1e-12}, "a step that only rounding sees", "refuses a right gradient"),
    ({"h": 0.3}, "a step that is no longer small", "refuses a right gradient"),
    ({"refuse_float32": False}, "float32 is accepted", "should raise a TypeError|it raised"),
    ({"random_direction": False}, "one direction for all", "accepts"),
):
    PLANTED.add("1.9", what, shows=symptom)(_gradcheck_with(**fault))


@PLANTED.add("1.9", "it returns True or False", shows="it accepts")
def gradcheck_returns(function, inputs, *, seed=0, tolerance=1e-6, directions=3, step=1e-3):
    try:
        _checked(function, inputs, seed)
    except AssertionError:
        return False
    return True


@PLANTED.add("1.9", "it accepts everything", shows="it accepts")
def gradcheck_nothing(function, inputs, *, seed=0, tolerance=1e-6, directions=3, step=1e-3):
    return None


@PLANTED.add("1.9", "a shape is all that is compared", shows="it accepts")
def gradcheck_shapes(function, inputs, *, seed=0, tolerance=1e-6, directions=3, step=1e-3):
    tensors = [Tensor(x, requires_grad=np.asarray(x).dtype.kind == "f") for x in inputs]
    output = function(*tensors)
    output.backward(np.ones_like(output.array))
    for tensor in tensors:
        assert tensor.grad is None or tensor.grad.shape == tensor.shape


@PLANTED.add("1.9", "it steps on the inputs themselves", shows="changed its inputs")
def gradcheck_in_place(function, inputs, *, seed=0, tolerance=1e-6, directions=3, step=1e-3):
    _checked(function, inputs, seed)
    for array in inputs:
        if array.dtype.kind == "f":
            array += step
