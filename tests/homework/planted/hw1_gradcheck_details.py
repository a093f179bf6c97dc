"""Wrong answers to homework 1: gradient checks that are wrong for some of what they are given."""

from __future__ import annotations

import numpy as np

from minissl.autograd.recording import no_grad
from minissl.autograd.tensor import Tensor
from tests.homework.planted import Collection

PLANTED = Collection()


# ---- 1.9 gradcheck -------------------------------------------------------------------------------


def checker(
    differ=lambda analytic, numeric, allowed: not abs(analytic - numeric) <= allowed,
    error=AssertionError,
    generator=lambda seed: np.random.default_rng(seed),
    use_tolerance=True,
    use_seed=True,
    use_step=True,
    as_array=lambda x: x.array if isinstance(x, Tensor) else np.asarray(x),
    relative=False,
    swallow=(),
    reuse=False,
    first_element=False,
):
    """A right check, which the arguments make wrong."""

    def gradcheck(function, inputs, *, seed=0, tolerance=1e-6, directions=3, step=1e-3):
        tolerance = tolerance if use_tolerance else 1e-6
        step = step if use_step else 1e-3
        draws = generator(seed if use_seed else 0)
        arrays = [as_array(x) for x in inputs]
        floating = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
        if not floating or any(arrays[i].dtype != np.float64 for i in floating):
            raise TypeError("float64 inputs are needed")

        def value(i, shift, cotangent):
            with no_grad():
                moved = [Tensor(a + shift if k == i else a) for k, a in enumerate(arrays)]
                return float(np.sum(cotangent * function(*moved).array))

        kept = [Tensor(a.copy(), requires_grad=a.dtype.kind == "f") for a in arrays]
        for i in floating * directions:
            try:
                tensors = (
                    kept
                    if reuse
                    else [Tensor(a.copy(), requires_grad=k == i) for k, a in enumerate(arrays)]
                )
                output = function(*tensors)
            except swallow:
                continue
            assert output.requires_grad, f"input {i} does not reach the output"
            cotangent = np.asarray(draws.standard_normal(output.shape))
            direction = np.asarray(draws.standard_normal(arrays[i].shape))
            if first_element:
                direction = np.zeros_like(direction)
                direction.flat[0] = 1
            output.backward(cotangent)
            gradient = np.asarray(tensors[i].grad)
            analytic = float(np.sum(gradient * direction))
            d, h = direction * step, step
            near = value(i, d, cotangent) - value(i, -d, cotangent)
            far = value(i, 2 * d, cotangent) - value(i, -2 * d, cotangent)
            numeric = (8 * near - far) / (12 * h)
            scale = max(abs(analytic), abs(numeric), 1e-2 * float(np.linalg.norm(gradient)))
            rounding = 0 if relative else 1e-14 / h * abs(value(i, 0, np.abs(cotangent)))
            if relative:
                wrong = not np.float64(abs(analytic - numeric)) / scale <= tolerance
            else:
                wrong = differ(analytic, numeric, tolerance * scale + rounding)
            if wrong:
                raise error(f"input {i}: backward {analytic}, differences {numeric}")

    return gradcheck


for _arguments, _mistake, _shows in (
    (
        {"differ": lambda a, n, allowed: abs(abs(a) - abs(n)) > allowed},
        "the sizes are compared, without sign",
        "sign of its slope",
    ),
    ({"error": ValueError}, "another kind of error", "it raised ValueError"),
    ({"use_tolerance": False}, "tolerance is not handed on", "with tolerance="),
    ({"use_seed": False}, "seed is not handed on", "another seed gives the same"),
    ({"use_step": False}, "step is not handed on", "step is not handed on"),
    (
        {"generator": lambda seed: np.random.mtrand._rand},
        "numbers from everywhere",
        "same seed gives other",
    ),
    ({"relative": True}, "zero by zero", "0 / 0 is no error"),
    ({"swallow": Exception}, "a function that fails is accepted", "raises an error is accepted"),
    ({"reuse": True}, "gradients of all directions add up", "refuses a right gradient"),
    ({"first_element": True}, "one element, always the first", "it accepts"),
    (
        {"as_array": lambda x: np.asarray(x, np.float64) if np.ndim(x) == 0 else np.asarray(x)},
        "Tensors that need a gradient are refused",
        "of a Tensor|a Tensor that needs",
    ),
):
    PLANTED.add("1.9", _mistake, shows=_shows)(checker(**_arguments))

PLANTED.add("1.9", "NaN is never larger than a tolerance", shows="NaN for its slope")(
    checker(differ=lambda a, n, allowed: abs(a - n) > allowed)
)


@PLANTED.add(
    "1.9", "the gradients of the caller's Tensors are overwritten", shows="caller's Tensors"
)
def gradcheck_on_callers(function, inputs, **options):
    checker()(function, inputs, **options)
    for x in inputs:
        if isinstance(x, Tensor):
            x.grad = np.zeros(x.shape)


@PLANTED.add("1.9", "one direction, whatever was asked for", shows="directions is not handed on")
def gradcheck_once(function, inputs, **options):
    check = checker()
    check(function, inputs, **{**options, "directions": 1})
