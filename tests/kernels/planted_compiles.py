"""Launches that compile badly, each in one way: ``test_compiled`` must notice every one."""

import torch
import triton
import triton.language as tl


@triton.jit
def product(a, b, c, depth, stride, BREAK: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    row, column, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, 64)
    total = tl.zeros((M, N), tl.float32)
    for start in range(0, depth, 64):
        if BREAK:
            continue  # the interpreter knows it, the compiler does not
        left = tl.load(a + row[:, None] * stride + start + k[None, :])
        right = tl.load(b + (start + k[:, None]) * stride + column[None, :])
        total = tl.dot(left, right, total)
    tl.store(c + row[:, None] * N + column[None, :], total.to(c.dtype.element_ty))


def launch(M=64, N=64, stride=1024, warps=4, stages=2, broken=False):
    a, b, c = (torch.empty(64, dtype=torch.bfloat16) for _ in range(3))
    options = {"num_warps": warps, "num_stages": stages}
    product[(1,)](a, b, c, 1024, stride, BREAK=broken, M=M, N=N, **options)


def launches():
    yield "good", launch
    yield "the same again", launch
    yield "compile", lambda: launch(broken=True)
    yield "spills", lambda: launch(M=128, N=256)
    yield "matrix", lambda: launch(M=32)
    yield "loads", lambda: launch(stride=1001)
    yield "shared", lambda: launch(N=128, stages=12)
