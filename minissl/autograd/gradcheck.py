"""``gradcheck``: does a backward rule compute the derivative of its forward? Lecture 02.

Both sides of one equation are computed, for a random direction v in the input and a random
cotangent c of the output:

    ⟨ vjp(c), v ⟩   (what backward says)   =   ⟨ c, (f(x + hv) − f(x − hv)) / 2h ⟩   (what f does)

Why random c: ``f(x).sum()`` uses c = 1, and is blind to every error orthogonal to it; a softmax
whose gradient is identically zero passes, because the sum of a softmax never changes.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minissl.autograd.recording import no_grad
from minissl.autograd.rows import Rows
from minissl.autograd.tensor import Tensor

_STEP = 1e-3  # with a fourth-order formula: truncation ~ h⁴ = 1e-12, rounding ~ 1e-16 / h = 1e-13


def gradcheck(
    function: Callable[..., Tensor],
    inputs: Sequence[Any],
    *,
    seed: int = 0,
    tolerance: float = 1e-6,
    directions: int = 3,
    step: float = _STEP,
) -> None:
    """Compare ``backward`` of ``function(*inputs)`` with finite differences, for every input.

    ``inputs``: arrays or Tensors; the floating ones are checked, and must be float64, because in
    float32 rounding hides what is looked for. ``tolerance``: largest relative error allowed.
    ``directions``: how many random (direction, cotangent) pairs per input.

    Raises AssertionError, with the analytic and the numeric values and the element where they
    differ most, if they disagree or if a gradient has the wrong shape or dtype. Raises TypeError
    for float32 inputs. Raises ValueError when the function is not smooth here (a kink within reach
    of the step: move the input away from it), or not a function (two calls, two values).
    """
    arrays = [x.array if isinstance(x, Tensor) else np.asarray(x) for x in inputs]
    generator = np.random.default_rng(seed)
    checked = [i for i, array in enumerate(arrays) if array.dtype.kind == "f"]
    for i in checked:
        if arrays[i].dtype != np.float64:
            raise TypeError(
                f"gradcheck: input {i} is {arrays[i].dtype}; use float64 (in float32 the rounding "
                "error of a finite difference is larger than most mistakes)"
            )
    if not checked:
        raise TypeError("gradcheck: none of the inputs is floating, so nothing can be checked")
    with no_grad():
        once, again = (function(*map(Tensor, arrays)).array for _ in range(2))
    if not np.array_equal(once, again, equal_nan=True):
        raise ValueError(
            "gradcheck: two calls with the same inputs differ: pass the function a fixed seed"
        )
    for _ in range(directions):
        for i in checked:
            _check_input(function, arrays, i, generator, tolerance, step)


def _check_input(function, arrays, i, generator, tolerance, step):
    """One random direction of one input."""
    cotangent, gradient = _analytic(function, arrays, i, generator)
    direction = generator.standard_normal(arrays[i].shape)
    analytic = float(np.sum(gradient * direction))
    fine, coarse = (
        _differences(function, arrays, i, direction, cotangent, h) for h in (step, 2 * step)
    )
    numeric, difference = fine.slope, abs(analytic - fine.slope)
    # Sums of terms of both signs may cancel: the size of the terms is what errors are relative to.
    terms = max(float(np.linalg.norm(gradient)), fine.terms)
    scale = max(abs(analytic), abs(numeric), 1e-2 * terms)
    if difference <= tolerance * scale + fine.rounding:
        return
    # f″ h, the bend of a smooth function, doubles with the step; that of a kink stays as it is.
    kinked = abs(coarse.bend - 2 * fine.bend) > 0.5 * abs(fine.bend) > 5e-4 * scale
    if kinked or abs(numeric - coarse.slope) > 0.1 * difference:
        raise ValueError(
            f"gradcheck: input {i}: finite differences with steps {step:g} and {2 * step:g} give "
            f"{numeric:.9g} and {coarse.slope:.9g}, and backward {analytic:.9g}: the function has "
            "a kink or a pole within the step. Move the input away from it, or use a smaller step."
        )
    raise AssertionError(
        f"input {i}: backward says {analytic:.12g}, finite differences say {numeric:.12g} "
        f"(relative error {difference / scale:.2e}, allowed {tolerance:.0e})\n"
        + _worst_elements(function, arrays, i, gradient, cotangent, step)
    )


def _analytic(function, arrays, i, generator):
    """A random cotangent, and what backward makes of it for input i."""
    tensors = [Tensor(a.copy(), requires_grad=(k == i)) for k, a in enumerate(arrays)]
    output = function(*tensors)
    cotangent = generator.standard_normal(output.shape).astype(output.dtype)
    if not output.requires_grad:
        raise AssertionError(f"input {i}: the output does not depend on it through the graph")
    output.backward(cotangent)
    gradient = tensors[i].grad
    gradient = gradient.whole() if isinstance(gradient, Rows) else gradient
    if gradient is None:
        gradient = np.zeros_like(arrays[i])
    if gradient.shape != arrays[i].shape or gradient.dtype != arrays[i].dtype:
        raise AssertionError(
            f"input {i}: shape {arrays[i].shape} {arrays[i].dtype}, but its gradient has shape "
            f"{gradient.shape} {gradient.dtype}"
        )
    return cotangent, gradient


class _Differences(NamedTuple):
    """What finite differences say about ⟨c, f⟩ along one direction."""

    slope: float  # by the fourth-order formula (8 f₁ − 8 f₋₁ − f₂ + f₋₂) / 12h
    bend: float  # how the slope changes from one side to the other: (f₁ − 2 f₀ + f₋₁) / h
    terms: float  # the size of the terms that were added up to the slope
    rounding: float  # what rounding makes of it, in f and in the values of size 1 behind f


def _differences(function, arrays, i, direction, cotangent, h):
    def value(steps: int) -> np.ndarray:
        moved = [Tensor(a + steps * h * direction if k == i else a) for k, a in enumerate(arrays)]
        with no_grad():
            return function(*moved).array

    below, middle, above = value(-1), value(0), value(1)
    slopes = cotangent * (8 * (above - below) - (value(2) - value(-2))) / (12 * h)
    return _Differences(
        slope=float(np.sum(slopes)),
        bend=float(np.sum(cotangent * (above - 2 * middle + below))) / h,
        terms=float(np.linalg.norm(slopes)),
        rounding=1e-15 * float(np.sum(np.abs(cotangent) * (1 + np.abs(middle)))) / h,
    )


def _worst_elements(function, arrays, i, gradient, cotangent, step, most=256):
    """Where the two disagree most, element by element (the first ``most`` elements are tried)."""
    rows = []
    for position in list(np.ndindex(arrays[i].shape))[:most]:
        direction = np.zeros_like(arrays[i])
        direction[position] = 1
        numeric = _differences(function, arrays, i, direction, cotangent, step).slope
        rows.append((abs(gradient[position] - numeric), position, gradient[position], numeric))
    rows.sort(key=lambda row: -row[0])
    wrong = sum(row[0] > 1e-6 * max(1, abs(row[3])) for row in rows)
    lines = [f"  {wrong} of the {len(rows)} elements tried are wrong; the worst:"]
    for _, position, analytic, numeric in rows[:3]:
        where = tuple(int(p) for p in position)
        lines.append(
            f"  element {where}: backward {analytic:.9g}, finite differences {numeric:.9g}"
        )
    return "\n".join(lines)
