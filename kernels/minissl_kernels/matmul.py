"""A matrix product of 16-bit matrices that is added up in float32 over many launches.

torch adds a product of bfloat16 matrices into a bfloat16 matrix only, and a gradient that is
summed over hundreds of pieces loses its digits there. Here the tile of the result that a program
computes starts from what is stored.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from minissl_kernels import launch

# (block of the result's rows, of its columns, of the inner axis, warps, stages) worth timing.
CANDIDATES = ((128, 256, 64, 8, 3), (128, 128, 64, 4, 3))
BEFORE_HOPPER = (128, 128, 64, 8, 3)  # mma.sync holds both operands in registers as well
FLOAT32 = (64, 64, 32, 4, 2)
GROUP = 8  # tiles of rows that neighbouring programs share, so that the L2 cache serves them


def configuration(dtype: torch.dtype) -> dict[str, int]:
    """Blocks and launch options; 128 x 256 is the largest tile that 8 warps hold in registers."""
    choice = FLOAT32 if dtype == torch.float32 else CANDIDATES[0]
    if not launch.interpreted():
        target = triton.runtime.driver.active.get_current_target()
        if target.backend == "hip":
            choice = (*choice[:4], 2)  # three stages do not fit into AMD's 64 KB of shared memory
        elif target.arch < 90 and dtype != torch.float32:
            choice = BEFORE_HOPPER
    rows, columns, inner, warps, stages = choice
    blocks = {"BLOCK_M": rows, "BLOCK_N": columns, "BLOCK_K": inner}
    return {**blocks, "num_warps": warps, "num_stages": stages}


@triton.jit
def _add_transposed_product(
    left,
    right,
    out,
    m,
    n,
    k,
    left_stride,
    right_stride,
    out_stride,
    ADD: tl.constexpr,
    PRECISION: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    tiles_m, tiles_n = tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N)
    group = tl.program_id(0) // (GROUP * tiles_n)
    height = tl.minimum(tiles_m - group * GROUP, GROUP)
    inside = tl.program_id(0) % (GROUP * tiles_n)
    row = (group * GROUP + inside % height) * BLOCK_M
    column = (inside // height) * BLOCK_N

    # Two halves side by side: loaded as one tile, what is stored would not fit into registers.
    HALF: tl.constexpr = BLOCK_N // 2
    offs_m, offs_n, offs_k = tl.arange(0, BLOCK_M), tl.arange(0, HALF), tl.arange(0, BLOCK_K)
    in_m = row + offs_m < m
    in_n0, in_n1 = column + offs_n < n, column + HALF + offs_n < n
    in_tile0, in_tile1 = in_m[:, None] & in_n0[None, :], in_m[:, None] & in_n1[None, :]
    out_tile = out + row.to(tl.int64) * out_stride + column
    out_tile += offs_m[:, None] * out_stride + offs_n[None, :]
    left_tile = left + row + offs_k[:, None] * left_stride + offs_m[None, :]
    right_tile = right + column + offs_k[:, None] * right_stride + offs_n[None, :]

    if ADD:
        total0 = tl.load(out_tile, mask=in_tile0, other=0.0)
        total1 = tl.load(out_tile + HALF, mask=in_tile1, other=0.0)
    else:
        total0 = tl.zeros((BLOCK_M, HALF), tl.float32)
        total1 = tl.zeros((BLOCK_M, HALF), tl.float32)
    for start in range(0, k, BLOCK_K):
        in_k = (start + offs_k < k)[:, None]
        a = tl.load(left_tile, mask=in_k & in_m[None, :], other=0.0)
        b0 = tl.load(right_tile, mask=in_k & in_n0[None, :], other=0.0)
        b1 = tl.load(right_tile + HALF, mask=in_k & in_n1[None, :], other=0.0)
        total0 = tl.dot(tl.trans(a), b0, total0, input_precision=PRECISION)
        total1 = tl.dot(tl.trans(a), b1, total1, input_precision=PRECISION)
        left_tile += BLOCK_K * tl.cast(left_stride, tl.int64)
        right_tile += BLOCK_K * tl.cast(right_stride, tl.int64)
    tl.store(out_tile, total0, mask=in_tile0)
    tl.store(out_tile + HALF, total1, mask=in_tile1)


def add_transposed_product(left: Tensor, right: Tensor, out: Tensor, add: bool) -> None:
    """out += leftᵀ right, or out = leftᵀ right without ``add``.

    Shapes: left (k, m), right (k, n), one dtype; out (m, n) float32. The last axis of each is
    contiguous, rows may lie apart.
    """
    (k, m), n = left.shape, right.shape[1]
    options = configuration(left.dtype)
    programs = triton.cdiv(m, options["BLOCK_M"]) * triton.cdiv(n, options["BLOCK_N"])
    with launch.on_device(out):
        _add_transposed_product[(programs,)](
            left,
            right,
            out,
            m,
            n,
            k,
            left.stride(0),
            right.stride(0),
            out.stride(0),
            ADD=add,
            PRECISION=launch.dot_precision(left.dtype),
            GROUP=GROUP,
            **options,
        )
