"""``gradcheck``: does a backward rule compute the derivative of its forward? Lecture 02.

Both sides of one equation are computed, for a random direction v in the input and a random
cotangent c of the output:

    ⟨ vjp(c), v ⟩   (what backward says)   =   ⟨ c, (f(x + hv) − f(x − hv)) / 2h ⟩   (what f does)

Why random c: ``f(x).sum()`` uses c = 1, and is blind to every error orthogonal to it; a softmax
whose gradient is identically zero passes, because the sum of a softmax never changes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minissl.autograd.tensor import Tensor, no_grad

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
    for float32 inputs and ValueError when the function is not smooth here (a kink within reach of
    the step: move the input away from it).
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
    for _ in range(directions):
        for i in checked:
            _check_input(function, arrays, i, generator, tolerance, step)


def _check_input(function, arrays, i, generator, tolerance, step):
    """One random direction of one input."""
    cotangent, gradient = _analytic(function, arrays, i, generator)
    direction = generator.standard_normal(arrays[i].shape)
    analytic = float(np.sum(gradient * direction))
    numeric, coarse = (
        _directional(function, arrays, i, direction, cotangent, h) for h in (step, 2 * step)
    )
    # Sums of terms of both signs may cancel: their size is the scale that rounding is relative to.
    scale = max(abs(analytic), abs(numeric), 1e-2 * float(np.sqrt(np.sum(gradient**2))), 1e-8)
    if abs(analytic - numeric) <= tolerance * scale:
        return
    if abs(numeric - coarse) > tolerance * scale:
        raise ValueError(
            f"gradcheck: input {i}: finite differences with steps {step:g} and {2 * step:g} give "
            f"{numeric:.9g} and {coarse:.9g}: the function has a kink or a pole within the step. "
            "Move the input away from it, or pass a smaller step."
        )
    raise AssertionError(
        f"input {i}: backward says {analytic:.12g}, finite differences say {numeric:.12g} "
        f"(relative error {abs(analytic - numeric) / scale:.2e}, allowed {tolerance:.0e})\n"
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
    if gradient is None:
        gradient = np.zeros_like(arrays[i])
    if gradient.shape != arrays[i].shape or gradient.dtype != arrays[i].dtype:
        raise AssertionError(
            f"input {i}: shape {arrays[i].shape} {arrays[i].dtype}, but its gradient has shape "
            f"{gradient.shape} {gradient.dtype}"
        )
    return cotangent, gradient


def _directional(function, arrays, i, direction, cotangent, h):
    """⟨c, df/dv⟩ by the fourth-order central difference (8 f₁ − 8 f₋₁ − f₂ + f₋₂) / 12h."""

    def value(steps: int) -> np.ndarray:
        moved = [Tensor(a + steps * h * direction if k == i else a) for k, a in enumerate(arrays)]
        with no_grad():
            return function(*moved).array

    difference = 8 * (value(1) - value(-1)) - (value(2) - value(-2))
    return float(np.sum(cotangent * difference)) / (12 * h)


def _worst_elements(function, arrays, i, gradient, cotangent, step, most=256):
    """Where the two disagree most, element by element (the first ``most`` elements are tried)."""
    rows = []
    for position in list(np.ndindex(arrays[i].shape))[:most]:
        direction = np.zeros_like(arrays[i])
        direction[position] = 1
        numeric = _directional(function, arrays, i, direction, cotangent, step)
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
