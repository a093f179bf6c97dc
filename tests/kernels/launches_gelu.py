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


def run(dtype, formula):
    x = torch.zeros(64, 1024, dtype=dtype, requires_grad=True)
    gelu(x, formula).backward(torch.zeros(64, 1024, dtype=dtype))
