"""What every launcher shares: clear errors before a kernel starts, and facts about the device."""

import contextlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError as error:  # triton has wheels for Linux only
    raise ImportError(
        "minissl_kernels needs triton, which is not installed here: on Linux, "
        'pip install "minissl[kernels]"'
    ) from error

FLOATING = (torch.float32, torch.float16, torch.bfloat16)


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter: TRITON_INTERPRET=1 before triton's import."""
    return not isinstance(tl.sum, triton.JITFunction)


def interpreter_faults(triton_version: str, numpy_version: str) -> dict[str, str]:
    """What Triton's interpreter gets wrong with these versions, and what to do about it.

    "loops": every kernel with a loop fails. "bfloat16": products (tl.dot) are wrong without a word,
    because NumPy has no such numbers and multiplies their bit patterns as integers.
    """

    def number(version):
        return tuple(int(part) for part in re.findall(r"\d+", version)[:2])

    faults = {
        "bfloat16": "Triton's interpreter (TRITON_INTERPRET=1) multiplies the bit patterns of "
        "bfloat16 as if they were integers; use float32 or float16, or a GPU"
    }
    if number(triton_version) < (3, 7) and number(numpy_version) >= (2, 4):
        faults["loops"] = (
            f"the interpreter of triton {triton_version} (TRITON_INTERPRET=1) does not work with "
            f"NumPy {numpy_version}, which takes no array of one element for an integer; install "
            'triton 3.7 or newer, or pip install "numpy<2.4"'
        )
    return faults


# Emptied by who has repaired the interpreter.
FAULTS = interpreter_faults(triton.__version__, np.__version__) if interpreted() else {}


def check_device(name: str, **tensors: Tensor | None) -> None:
    """Raise RuntimeError unless all tensors are on one device on which kernels can run."""
    devices = {label: tensor.device for label, tensor in tensors.items() if tensor is not None}
    if len(set(devices.values())) > 1:
        where = ", ".join(f"{label} on {device}" for label, device in devices.items())
        raise RuntimeError(f"{name}: all tensors must be on one device, got {where}")
    device = next(iter(devices.values()))
    if not runs_on(device):
        if device.type == "cpu" and "loops" in FAULTS:
            raise RuntimeError(f"{name}: {FAULTS['loops']}")
        gpu = "move the tensors there with .to('cuda')" if torch.cuda.is_available() else ""
        raise RuntimeError(
            f"{name}: Triton kernels do not run on device '{device}': "
            + (gpu or "this machine has no GPU that torch can use")
            + ", or set TRITON_INTERPRET=1 in the environment before Python starts, to run them "
            "slowly on CPU tensors"
        )


def runs_on(device: torch.device) -> bool:
    """A GPU always; the CPU and fake tensors' devices only in the interpreter."""
    return device.type == "cuda" or (
        device.type == "cpu" and interpreted() and "loops" not in FAULTS
    )


def check_floating(name: str, **tensors: Tensor | None) -> None:
    """Raise TypeError unless all tensors have one dtype: float32, float16 or bfloat16."""
    dtypes = {label: tensor.dtype for label, tensor in tensors.items() if tensor is not None}
    if len(set(dtypes.values())) != 1 or next(iter(dtypes.values())) not in FLOATING:
        got = ", ".join(f"{label} {dtype}" for label, dtype in dtypes.items())
        raise TypeError(
            f"{name}: expected float32, float16 or bfloat16, the same for all, got {got}; "
            "convert with .to(dtype)"
        )


def check_shape(name: str, label: str, tensor: Tensor, expected: Sequence[Any], names: str) -> None:
    """Raise ValueError unless the tensor's shape is ``expected``, whose axes are ``names``."""
    if tuple(tensor.shape) != tuple(expected):
        raise ValueError(
            f"{name}: {label} must have shape {names} = {tuple(expected)}, "
            f"got {tuple(tensor.shape)}"
        )


def on_device(tensor: Tensor) -> contextlib.AbstractContextManager:
    """Launch on the tensor's GPU, where that is not the current device; else nothing to do."""
    if tensor.device.type == "cuda" and tensor.device.index != torch.cuda.current_device():
        return torch.cuda.device(tensor.device)
    return contextlib.nullcontext()


def architecture() -> str:
    """ "hopper" or newer (interpreted, too), "ampere" or another with less shared memory, "amd"."""
    if interpreted():
        return "hopper"
    target = triton.runtime.driver.active.get_current_target()
    if target.backend != "cuda":
        return "amd"
    return "hopper" if target.arch in (90, 100, 103) else "ampere"  # 120 has no such memory


def multiprocessors(device: torch.device) -> int:
    """How many programs the GPU runs at once, at one each; 4 stand in for it on the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).multi_processor_count
    return 4


def walkable(tensor: Tensor) -> Tensor:
    """The tensor where kernels can walk along its rows (its last axis), else a contiguous copy.

    The elements of a row lie side by side, and a row less than 2^22 elements before the next: so
    the offsets within a tile of 256 rows fit into 32 bits, which take half the registers of 64.
    """
    side_by_side = tensor.stride(-1) == 1 or tensor.shape[-1] <= 1
    return tensor if side_by_side and tensor.stride(-2) < 2**22 else tensor.contiguous()


def dot_precision(dtype: torch.dtype) -> str:
    """``input_precision`` of tl.dot: float32 as torch is told to multiply float32 matrices.

    By default three TF32 products, which keep float32's accuracy on the matrix units; AMD's
    compiler has no such mode and computes in float32 proper. ``fp32_precision`` knows of all of
    torch's switches (``set_float32_matmul_precision`` and ``allow_tf32`` too), while the older ones
    raise where it was set. Who asks is about to multiply: RuntimeError for bfloat16 in the
    interpreter, which cannot.
    """
    if dtype == torch.bfloat16 and "bfloat16" in FAULTS:
        raise RuntimeError(f"minissl_kernels: {FAULTS['bfloat16']}")
    if dtype != torch.float32 or torch.version.hip:
        return "ieee"
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "tf32x3"
