"""What the compile check compiles of adamw."""

import torch
from minissl_kernels.adamw import adamw


def launches():
    for dtype in (torch.float32, torch.bfloat16):
        yield str(dtype).removeprefix("torch."), lambda d=dtype: run(d)
    yield "float32 sizes of 1", lambda: run(torch.float32, (1,))


def run(dtype, shape=(64, 1024)):
    arrays = [[torch.zeros(shape)] for _ in range(4)]
    arrays[1][0] = arrays[1][0].to(dtype)
    adamw(*arrays, steps=[1], weight_decays=[0.1], lr=0.1, max_norm=1.0)
