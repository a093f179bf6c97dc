"""The same function on our Tensors and under torch's autograd, and one way to compare."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from minissl.autograd import Tensor
from minissl.autograd.rows import Rows

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def to_float64(array: Any) -> np.ndarray:
    """A NumPy array or torch tensor of any floating dtype, in float64."""
    if isinstance(array, torch.Tensor):
        return array.detach().double().numpy()
    return np.asarray(array, np.float64)


def ours(
    function: Callable[..., Tensor], arrays: Sequence[Any], cotangent: Any = None
) -> tuple[Any, list[Any]]:
    """The output array and the gradient of every floating input (NumPy or torch arrays)."""
    tensors = [Tensor(a, requires_grad=_floating(a)) for a in arrays]
    output = function(*tensors)
    output.backward(cotangent)
    return output.array, [written(t.grad) for t in tensors if t.requires_grad]


def written(gradient: Any) -> Any:
    """A gradient as an array, also where it has some rows only."""
    return gradient.whole() if isinstance(gradient, Rows) else gradient


def torchs(
    function: Callable[..., torch.Tensor], arrays: Sequence[Any], cotangent: Any = None
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The same with torch's own autograd: the independent answer."""
    tensors = [torch.as_tensor(np.ascontiguousarray(a)) for a in map(np.asarray, arrays)]
    tensors = [
        t.reshape(np.shape(a)).requires_grad_(t.is_floating_point())
        for t, a in zip(tensors, arrays)
    ]
    output = function(*tensors)
    output.backward(None if cotangent is None else torch.as_tensor(np.asarray(cotangent)))
    return output.detach(), [
        torch.zeros_like(t) if t.grad is None else t.grad for t in tensors if t.requires_grad
    ]


def _floating(array: Any) -> bool:
    if isinstance(array, torch.Tensor):
        return array.is_floating_point()
    return np.asarray(array).dtype.kind == "f"


def error(actual: Any, expected: Any) -> float:
    """The largest difference, relative to the largest expected value."""
    actual, expected = to_float64(actual), to_float64(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    if not expected.size:
        return 0.0
    scale = np.max(np.abs(expected))
    difference = np.max(np.abs(actual - expected))
    return float(difference / scale) if scale else float(difference)


def assert_close(actual: Any, expected: Any, dtype: str = "float64", bits: int = 5) -> None:
    """Equal up to the last ``bits`` bits of the dtype, relative to the largest expected value."""
    relative = error(actual, expected)
    allowed = EPS[dtype] * 2**bits
    assert relative <= allowed, (
        f"relative error {relative:.2e}, allowed {allowed:.2e}\nactual\n{actual}\n"
        f"expected\n{expected}"
    )


def assert_as_good_as_torch(
    actual: Any, torch_says: Any, exact: Any, factor: float = 4.0, dtype: str = "float32"
) -> None:
    """The error against float64 is at most ``factor`` times that of the same-dtype torch result.

    Two roundings are always allowed: torch may be exact by luck.
    """
    mine, others = error(actual, exact), error(torch_says, exact)
    assert mine <= factor * max(others, 2 * EPS[dtype]), (
        f"relative error {mine:.2e} against float64, torch's is {others:.2e}"
    )


def random_like(array: Any, seed: int = 1) -> np.ndarray:
    """A random cotangent: ones are blind to too many mistakes."""
    draw = np.random.default_rng(seed).standard_normal(tuple(array.shape))
    return np.asarray(draw)


def scrambled(array: np.ndarray) -> np.ndarray:
    """The same values, with memory in another order: reversed axes and gaps between elements."""
    if array.ndim == 0:
        return array.copy()
    spread = np.zeros([2 * n for n in reversed(array.shape)], array.dtype)
    view = spread[(slice(None, None, 2),) * array.ndim].transpose()
    view[...] = array
    return view
