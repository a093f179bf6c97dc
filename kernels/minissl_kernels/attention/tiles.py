"""Moving tiles of rows, and how large they are."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from minissl_kernels import launch

LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
LN2: tl.constexpr = tl.constexpr(0.6931471805599453)


@triton.jit
def load_rows(
    base,
    first,
    stride,
    limit,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
    EDGE: tl.constexpr,
):
    """The rows ``first`` to first + BLOCK, (BLOCK, PADDED), zero beyond ``limit`` and WIDTH.

    The masks are compiled only where they can matter.
    """
    row = tl.arange(0, BLOCK)[:, None]
    column = tl.arange(0, PADDED)[None, :]
    # 64 bits: rows x stride passes 2^31 in long sequences. Within a tile 32 bits are enough.
    at = base + tl.cast(first, tl.int64) * stride + (row * stride + column)
    if EDGE:
        inside = row < limit - first
        if WIDTH != PADDED:
            inside = inside & (column < WIDTH)
        tile = tl.load(at, mask=inside, other=0.0)
    elif WIDTH != PADDED:
        tile = tl.load(at, mask=column < WIDTH, other=0.0)
    else:
        tile = tl.load(at)
    return tile


@triton.jit
def store_rows(
    base,
    tile,
    first,
    stride,
    limit,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write a tile's rows up to ``limit``, rounded to the dtype of the memory."""
    row = tl.arange(0, BLOCK)[:, None]
    column = tl.arange(0, PADDED)[None, :]
    at = base + tl.cast(first, tl.int64) * stride + (row * stride + column)
    inside = row < limit - first
    if WIDTH != PADDED:
        inside = inside & (column < WIDTH)
    tl.store(at, tile.to(base.dtype.element_ty), mask=inside)


class Blocks(NamedTuple):
    """The shape of a tile and how a program is run."""

    query: int
    key: int
    warps: int
    stages: int
    most_registers: int | None = None  # of a thread, so that one more program fits (NVIDIA only)

    def options(self) -> dict[str, int]:
        """Of the launch."""
        options = {"num_warps": self.warps, "num_stages": self.stages}
        return (
            options if self.most_registers is None else {**options, "maxnreg": self.most_registers}
        )


def hopper() -> bool:
    """Whether the GPU multiplies from shared memory (wgmma), which leaves registers for tiles."""
    return launch.architecture() == "hopper"


def padded(width: int) -> int:
    """The matrix units take powers of two from 16."""
    return max(16, triton.next_power_of_2(width))


def strides(tensor: Tensor) -> tuple[int, ...]:
    """Of batch, head and time; the last axis is contiguous."""
    return tuple(tensor.stride()[:-1])


def empty_like_heads(tensor: Tensor) -> Tensor:
    """An uninitialised tensor of the same shape, in memory (batch, time, heads, width) if the
    tensor is a transposed view of that, so that what follows the transposition back is free."""
    batch, heads, time, width = tensor.shape
    if tensor.stride(1) < tensor.stride(2):
        return torch.empty_permuted(
            (batch, heads, time, width), (0, 2, 1, 3), dtype=tensor.dtype, device=tensor.device
        )
    return torch.empty((batch, heads, time, width), dtype=tensor.dtype, device=tensor.device)
