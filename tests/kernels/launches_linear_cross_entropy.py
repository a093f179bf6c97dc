"""What the compile check compiles of linear cross-entropy."""

from unittest import mock

import torch
from minissl_kernels.linear_cross_entropy import linear_cross_entropy

CLASSES, WIDTH = 512, 256  # divisible by 16, as those of real models


def launches():
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        yield str(dtype).removeprefix("torch."), lambda d=dtype: run(d)
    yield "bfloat16 reduction none", lambda: run(torch.bfloat16, reduction="none")
    yield "bfloat16 a vocabulary of 517", lambda: run(torch.bfloat16, classes=517)
    yield "bfloat16 sizes of 1", lambda: run(torch.bfloat16, classes=1, rows=1, width=1)


def run(dtype, reduction="mean", classes=CLASSES, rows=64, width=WIDTH):
    """Two chunks, of which the second adds to the weight's gradient."""
    with mock.patch("minissl_kernels.linear_cross_entropy.CHUNK", 32):
        x = torch.zeros(rows, width, dtype=dtype, requires_grad=True)
        weight = torch.zeros(classes, width, dtype=dtype, requires_grad=True)
        targets = torch.zeros(rows, dtype=torch.int64)
        loss = linear_cross_entropy(x, weight, targets, reduction=reduction)
        loss.backward(torch.zeros_like(loss))
