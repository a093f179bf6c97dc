"""What the compile check compiles of gelu."""

import torch
from minissl_kernels.gelu import gelu


def launches():
    for dtype in (torch.float32, torch.bfloat16):
        for formula in ("tanh", "none"):
            yield (
                f"{str(dtype).removeprefix('torch.')} {formula}",
                lambda d=dtype, f=formula: run(d, f),
            )
    yield "bfloat16 sizes of 1", lambda: run(torch.bfloat16, "tanh", (1,))


def run(dtype, formula, shape=(64, 1024)):
    x = torch.zeros(shape, dtype=dtype, requires_grad=True)
    gelu(x, formula).backward(torch.zeros(shape, dtype=dtype))
