"""Where arrays live: NumPy in the computer's memory, or torch tensors as the memory of a GPU.

A device has a name: ``"cpu"`` (NumPy arrays), ``"cuda"``, ``"cuda:1"`` (torch tensors on a GPU),
``"torch"`` (torch tensors on the CPU: the path of a GPU on a machine that has none, for tests).
Nothing above the engine knows more of a device than its name. Lecture 06.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minissl.autograd.arrays import Array, is_torch_array


def device_of(array: Array) -> str:
    """The name of the device where an array (or the array of a Tensor) lives."""
    array = getattr(array, "array", array)
    if not is_torch_array(array):
        return "cpu"
    return "torch" if array.device.type == "cpu" else str(array.device)


def resolve_device(name: str) -> str:
    """A device that is there: ``"auto"`` is the first GPU, or else the CPU; others are checked.

    Raises ValueError for a name that is none, RuntimeError for a device that is not there, or on
    which this library does not run (Apple's GPUs, "mps").
    """
    kind, _, number = str(name).partition(":")
    if kind == "mps":
        raise RuntimeError(
            f"device {name!r}: minissl does not run on Apple's GPUs. They have no float64, in "
            "which the norm of the gradients is summed, Triton has no kernels for them, and none "
            'was there to test on. Use device "cpu": all cores share the work, on a Mac too'
        )
    if name not in ("auto", "cpu", "cuda", "torch") and (kind != "cuda" or not number.isdecimal()):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:1', got {name!r}")
    if name == "cpu":
        return name
    try:
        import torch
    except ImportError as error:
        if name == "auto":
            return "cpu"
        raise RuntimeError(
            f"device {name!r} needs torch, which is not installed: "
            'pip install "minissl[kernels]", or use device "cpu"'
        ) from error
    if name == "torch":
        return name
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda:0" if count else "cpu"
    if int(number or 0) >= count:
        raise RuntimeError(
            f"device {name!r} is not there: torch {torch.__version__} sees {count} GPUs; "
            'use device "cpu", or "auto" for whatever there is'
        )
    return f"cuda:{number or 0}"


def move(array: Array, device: str) -> Array:
    """The array on another device; the same array if it is there already.

    ``device``: as ``resolve_device`` returns it. bfloat16, which NumPy does not have, becomes
    float32 on the way to ``"cpu"``.
    """
    if device_of(array) == device:
        return array
    if device == "cpu":
        return _to_numpy(array)
    import torch

    if isinstance(array, np.ndarray):
        array = torch.from_numpy(np.array(array, order="C"))  # a copy: no memory is shared
    if device == "torch":
        return array.cpu()
    if array.device.type == "cpu":
        array = array.pin_memory()  # from there the copy runs beside the GPU's work
    return array.to(device, non_blocking=True)


def _to_numpy(array: Array) -> np.ndarray:
    import torch

    return (array.float() if array.dtype == torch.bfloat16 else array).cpu().numpy()


def move_batch(batch: Any, device: str, precision: str = "float32") -> Any:
    """A batch, or every NumPy array in a tuple, list or dict of them, on another device.

    float32 arrays in the ``precision`` that the parameters will have.
    """
    if isinstance(batch, np.ndarray):
        moved = move(batch, device)
        return moved.bfloat16() if precision == "bfloat16" and batch.dtype == "f4" else moved
    if type(batch) in (tuple, list):
        return type(batch)(move_batch(part, device, precision) for part in batch)
    if type(batch) is dict:
        return {name: move_batch(part, device, precision) for name, part in batch.items()}
    return batch


def beside(data: Any, like: Array) -> Array:
    """Plain NumPy data (indices, masks, a batch) where ``like`` lives; the rest as it is.

    So a batch from the computer's memory can meet parameters on a GPU. Tensors never move by
    themselves: two that live apart are an error.
    """
    if not isinstance(data, np.ndarray) or not is_torch_array(like):
        return data
    moved = move(data, device_of(like))
    if str(like.dtype) == "torch.bfloat16" and moved.dtype.is_floating_point:
        return moved.to(like.dtype)  # NumPy has no bfloat16: this data could not come as such
    return moved


@contextmanager
def repeatable(device: str) -> Iterator[None]:
    """Within this block the same work on the device gives the same bits, also in a later process.

    Everything of ours does so anyway. But cuDNN's fastest convolutions let threads add their parts
    as they arrive, and it may choose an algorithm by a race: both are switched off meanwhile.
    """
    if device == "cpu":
        yield
        return
    from torch.backends import cudnn

    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


class Later:
    """A number that a GPU is still computing: its way here begins now, ``float()`` waits for it.

    To ask for an array on a GPU waits for everything that the GPU was told before, also what came
    after the array. This waits for the number only.
    """

    def __init__(self, array: Array):
        import torch

        with torch.cuda.device(array.device):
            self._here = torch.empty((), dtype=torch.float64, pin_memory=True)
            self._here.copy_(array.reshape(()), non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def __float__(self) -> float:
        self._arrived.synchronize()
        return float(self._here)


def later(number: Any) -> Any:
    """A number on a GPU as ``Later``; any other as it is."""
    on_gpu = is_torch_array(number) and number.device.type == "cuda"
    return Later(number) if on_gpu else number
