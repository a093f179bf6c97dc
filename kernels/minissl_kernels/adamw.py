"""AdamW for all parameters in one launch, and their gradient norm. Lecture 07.

A network has hundreds of parameter arrays, most of them small. A launch for each leaves the GPU
waiting for Python. Here one kernel gets a table of addresses: program i looks up which array it
belongs to and where it starts, and updates ``BLOCK`` elements there. Everything that depends on the
gradient norm (the clipping factor, and skipping an update that is not finite) is read from the
GPU's memory, so that the computer never waits for the norm.

Loshchilov and Hutter (2019), Decoupled Weight Decay Regularization; Kingma and Ba (2015), Adam.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from minissl_kernels.launch import check_device, on_device
from minissl_kernels.operators import refuse_transforms

BLOCK = 2048  # elements per program: large arrays are cut, a small one has a program of its own
LARGEST = 3e38  # of max_norm: no finite norm in float32 is clipped, and inf / inf never appears


def reference(p, g, m, v, step, lr, betas, eps, weight_decay, scale=1.0) -> tuple:
    """The new parameter and moments of one array in float64."""
    p, g, m, v = (np.float64(array) for array in (p, g, m, v))
    g = g * scale
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    corrected = np.sqrt(v / (1 - betas[1] ** step)) + eps
    p = p * (1 - lr * weight_decay) - lr * m / (1 - betas[0] ** step) / corrected
    return p, m, v


@triton.jit
def _update_kernel(
    addresses, sizes, numbers, array_of, start_of, norm, max_norm, beta1, beta2,
    GRADIENT: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One block of one array: p, m and v are read once and written once, g is read once."""
    array = tl.load(array_of + tl.program_id(0)).to(tl.int64)
    start = tl.multiple_of(tl.load(start_of + tl.program_id(0)), BLOCK)
    left = tl.load(sizes + array) - start
    p = _pointer(addresses + 4 * array, tl.float32, ALIGNED) + start
    g = _pointer(addresses + 4 * array + 1, GRADIENT, ALIGNED) + start
    m = _pointer(addresses + 4 * array + 2, tl.float32, ALIGNED) + start
    v = _pointer(addresses + 4 * array + 3, tl.float32, ALIGNED) + start
    rate, floor = tl.load(numbers + 3 * array), tl.load(numbers + 3 * array + 1)
    shrink = tl.load(numbers + 3 * array + 2)

    length = tl.load(norm)
    scale = max_norm / tl.maximum(length, max_norm)  # 1 unless it has to be clipped
    if length < float("inf"):  # false for NaN too: an update that is not finite is not made
        at = tl.arange(0, BLOCK)
        if left >= BLOCK:  # without a mask the compiler moves 16 bytes at a time
            _update(p + at, g + at, m + at, v + at, None, scale, rate, floor, shrink, beta1, beta2)
        else:
            mask = at < left
            _update(p + at, g + at, m + at, v + at, mask, scale, rate, floor, shrink, beta1, beta2)


@triton.jit
def _update(p_at, g_at, m_at, v_at, mask, scale, rate, floor, shrink, beta1, beta2):
    """The formula, on the elements at these addresses."""
    g = tl.load(g_at, mask=mask).to(tl.float32) * scale
    m, v, p = tl.load(m_at, mask=mask), tl.load(v_at, mask=mask), tl.load(p_at, mask=mask)
    m += (1 - beta1) * (g - m)
    v += (1 - beta2) * (g * g - v)
    tl.store(m_at, m, mask=mask)
    tl.store(v_at, v, mask=mask)
    tl.store(p_at, p * shrink - rate * m / (tl.sqrt(v) + floor), mask=mask)


@triton.jit
def _squares_kernel(
    addresses, sizes, array_of, start_of, sums,
    GRADIENT: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Σ g² of one block, in float32; the blocks are added in float64 afterwards."""
    array = tl.load(array_of + tl.program_id(0)).to(tl.int64)
    start = tl.multiple_of(tl.load(start_of + tl.program_id(0)), BLOCK)
    left = tl.load(sizes + array) - start
    at = tl.arange(0, BLOCK)
    g_at = _pointer(addresses + array, GRADIENT, ALIGNED) + start + at
    if left >= BLOCK:
        g = tl.load(g_at).to(tl.float32)
    else:
        g = tl.load(g_at, mask=at < left, other=0.0).to(tl.float32)
    tl.store(sums + tl.program_id(0), tl.sum(g * g, axis=0))


@triton.jit
def _pointer(address, DTYPE: tl.constexpr, ALIGNED: tl.constexpr):
    """The array whose address stands in the table."""
    pointer = tl.load(address).to(tl.pointer_type(DTYPE))
    if ALIGNED:  # or else the compiler could not move 16 bytes at a time
        pointer = tl.multiple_of(pointer, 16)
    return pointer


class Blocks(NamedTuple):
    """Which block of which array each program works on."""

    programs: int
    sizes: Tensor
    array_of: Tensor
    start_of: Tensor


# What was sent to a GPU is kept while sizes and addresses stay: 124 million parameters are cut into
# 60,000 blocks. A table is found by all that stands in it, and by the stream in which it was sent,
# since a launch in another stream could overtake it. It keeps no array alive: it holds numbers.


@functools.lru_cache(maxsize=8)
def blocks_of(sizes: tuple[int, ...], device: torch.device, stream: int) -> Blocks:
    """Cut arrays of so many elements into blocks; one program for each."""
    blocks = -(-np.array(sizes, np.int64) // BLOCK)
    first = np.cumsum(blocks) - blocks
    array_of = np.repeat(np.arange(len(sizes)), blocks)
    start_of = (np.arange(len(array_of)) - first[array_of]) * BLOCK
    tables = np.array(sizes, np.int64), array_of.astype(np.int32), start_of
    return Blocks(len(array_of), *(_send(table, device) for table in tables))


@functools.lru_cache(maxsize=8)
def addresses_of(
    columns: tuple[tuple[int, ...], ...], device: torch.device, stream: int
) -> tuple[Tensor, bool]:
    """A table (arrays, columns) of the addresses, and whether all are multiples of 16."""
    addresses = np.array(columns, np.int64).T.copy()
    return _send(addresses, device), not (addresses % 16).any()


def tables(*columns: Sequence[Tensor]) -> tuple[Blocks, Tensor, bool]:
    """``blocks_of`` and ``addresses_of`` lists of arrays, of which each has the same sizes."""
    device = columns[0][0].device
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    sizes = tuple([array.numel() for array in columns[0]])
    addresses = tuple([tuple([array.data_ptr() for array in column]) for column in columns])
    return blocks_of(sizes, device, stream), *addresses_of(addresses, device, stream)


def _send(table: np.ndarray, device: torch.device) -> Tensor:
    """A small table on the GPU. From pinned memory, because any other copy waits for the GPU."""
    tensor = torch.from_numpy(table)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """√ Σ g² over all arrays together: a float32 tensor with one element, still on the device.

    ``gradients``: contiguous, all float32, float16 or bfloat16. Raises ValueError for none, and
    RuntimeError where the norm would have to be differentiated: it has no gradient.
    """
    _check_gradients(gradients)
    if torch.is_grad_enabled() and any(gradient.requires_grad for gradient in gradients):
        raise RuntimeError(
            "gradient_norm: has no gradient, but a gradient here requires one (create_graph=True); "
            "pass .detach(), or use torch.linalg.vector_norm"
        )
    blocks, addresses, aligned = tables(gradients)
    sums = gradients[0].new_empty(blocks.programs, dtype=torch.float32)
    if blocks.programs:
        with on_device(sums):
            _squares_kernel[(blocks.programs,)](
                addresses, blocks.sizes, blocks.array_of, blocks.start_of, sums,
                GRADIENT=_triton_dtype(gradients[0]), ALIGNED=aligned, BLOCK=BLOCK,
            )  # fmt: skip
    return sums.sum(dtype=torch.float64).sqrt().float()


def adamw(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    first_moments: Sequence[Tensor],
    second_moments: Sequence[Tensor],
    *,
    steps: Sequence[int],
    weight_decays: Sequence[float],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    max_norm: float = math.inf,
    norm: Tensor | None = None,
) -> Tensor:
    """One AdamW step for all parameters, in place; returns the gradient norm before clipping.

        m ← m + (1 − β₁)(g − m)        v ← v + (1 − β₂)(g² − v)
        p ← (1 − lr λ) p − lr m̂ / (√v̂ + ε)   with  m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)

    Parameters and moments are contiguous float32, gradients contiguous float32, float16 or
    bfloat16 (one dtype for all). ``steps``: t of each parameter, from 1; ``weight_decays``: λ of
    each. Gradients are scaled by ``max_norm`` / norm where the norm of all together is larger; if
    it is not finite, nothing is changed. ``norm``: if it is known already, from ``gradient_norm``.
    Nothing here waits for the GPU. Autograd sees the arrays change, and nothing of how: a step has
    no derivative. Raises ValueError or TypeError for arrays and settings that do not fit.
    """
    _check(parameters, gradients, first_moments, second_moments, steps, weight_decays)
    if not max_norm > 0:
        raise ValueError(f"adamw: max_norm must be positive, got {max_norm}")
    norm = gradient_norm(gradients) if norm is None else norm
    blocks, addresses, aligned = tables(parameters, gradients, first_moments, second_moments)
    if blocks.programs:
        numbers = _send(_numbers(steps, weight_decays, lr, betas, eps), norm.device)
        with on_device(norm):
            _update_kernel[(blocks.programs,)](
                addresses, blocks.sizes, numbers, blocks.array_of, blocks.start_of,
                norm, min(max_norm, LARGEST), *betas,
                GRADIENT=_triton_dtype(gradients[0]), ALIGNED=aligned, BLOCK=BLOCK,
            )  # fmt: skip
        for column in (parameters, first_moments, second_moments):
            torch.autograd.graph.increment_version(column)
    return norm


def _numbers(steps, weight_decays, lr, betas, eps) -> np.ndarray:
    """(arrays, 3): the rate, the floor of the divisor and the factor of decay of each array.

    Few are different: most parameters have made the same steps.
    """
    pairs = list(zip(steps, weight_decays))
    found = {}
    for step, decay in set(pairs):
        correction = math.sqrt(1 - betas[1] ** step)
        rate = lr * correction / (1 - betas[0] ** step)
        found[step, decay] = (rate, eps * correction, 1 - lr * decay)
    return np.array([found[pair] for pair in pairs], np.float32)


def _triton_dtype(array: Tensor) -> tl.dtype:
    return {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}[
        array.dtype
    ]


def _place(arrays: Sequence[Tensor]) -> torch.device | int | None:
    """The one device of all arrays (a GPU by its number, which is quicker to get), or None."""
    numbers = {array.get_device() for array in arrays}
    if len(numbers) == 1 and -1 not in numbers:
        return numbers.pop()
    devices = {array.device for array in arrays}
    return devices.pop() if len(devices) == 1 else None


def _check_gradients(gradients: Sequence[Tensor]) -> None:
    if not gradients:
        raise ValueError("adamw: got no arrays")
    refuse_transforms("adamw", gradients, vmap=False)
    apart = _place(gradients) is None
    check_device("adamw", **{f"gradient {i}": g for i, g in enumerate(gradients) if apart or not i})
    dtypes = {gradient.dtype for gradient in gradients}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float16, torch.bfloat16}:
        raise TypeError(
            "adamw: gradients must be float32, float16 or bfloat16, the same for all, got "
            f"{sorted(map(str, dtypes))}"
        )
    for i, gradient in enumerate(gradients):
        if not gradient.is_contiguous():
            raise ValueError(f"adamw: gradient {i} is not contiguous: pass .contiguous()")


def _check(parameters, gradients, first_moments, second_moments, steps, weight_decays) -> None:
    lists = (parameters, gradients, first_moments, second_moments, steps, weight_decays)
    if len({len(values) for values in lists}) > 1:
        raise ValueError(f"adamw: lists of one length expected, got {[len(v) for v in lists]}")
    _check_gradients(gradients)
    if min(steps) < 1:
        raise ValueError(f"adamw: steps count from 1, got {min(steps)}")
    # All at once, because this is asked of hundreds of arrays in every step.
    shapes, place = [gradient.shape for gradient in gradients], _place(gradients)
    columns = {
        "parameter": parameters, "first moment": first_moments, "second moment": second_moments
    }  # fmt: skip
    for label, column in columns.items():
        alike = {(array.dtype, array.is_contiguous()) for array in column} == {
            (torch.float32, True)
        }
        if alike and _place(column) == place and [array.shape for array in column] == shapes:
            continue
        for i, (array, gradient) in enumerate(zip(column, gradients)):
            alike = array.shape == gradient.shape and array.device == gradient.device
            if not alike or array.dtype != torch.float32 or not array.is_contiguous():
                raise ValueError(
                    f"adamw: {label} {i} must be contiguous float32 {tuple(gradient.shape)} on "
                    f"{gradient.device}, like its gradient; got {array.dtype} "
                    f"{tuple(array.shape)} on {array.device}"
                )
