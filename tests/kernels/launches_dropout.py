"""What the compile check compiles of dropout."""

import torch
from minissl_kernels.dropout import dropout


def launches():
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.zeros(64, 1024, dtype=dtype)
        yield str(dtype).removeprefix("torch."), lambda x=x: dropout(x, 0.1, 1)
    yield "bfloat16 sizes of 1", lambda: dropout(torch.zeros(1, dtype=torch.bfloat16), 0.5, 1)
