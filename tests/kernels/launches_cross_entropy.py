"""What the compile check compiles of cross-entropy."""

from unittest import mock

import torch
from minissl_kernels.cross_entropy import cross_entropy, tiles

VOCABULARY = 32_000


def launches():
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        yield f"{name(dtype)} {VOCABULARY}", lambda d=dtype: run(d)
    for repeat, warps in tiles.CANDIDATES[1:]:
        yield f"bfloat16 {repeat} repeats {warps} warps", lambda c=(repeat, warps): candidate(c)
    yield "bfloat16 50257", lambda: run(torch.bfloat16, 50_257)  # rows are not aligned
    yield "bfloat16 overwritten", lambda: run(torch.bfloat16, overwrite_logits=True)
    yield (
        "bfloat16 smoothing, z-loss",
        lambda: run(torch.bfloat16, label_smoothing=0.1, z_loss=1e-4),
    )
    weight = torch.ones(VOCABULARY)
    yield (
        "bfloat16 weight, smoothing",
        lambda: run(torch.bfloat16, label_smoothing=0.1, weight=weight),
    )
    yield "bfloat16 probabilities", lambda: run(torch.bfloat16, soft=True)
    yield "bfloat16 probabilities, weight", lambda: run(torch.bfloat16, soft=True, weight=weight)
    yield "bfloat16 one class", lambda: run(torch.bfloat16, 1)
    yield "bfloat16 sizes of 1", lambda: run(torch.bfloat16, 1, rows=1)
    yield "bfloat16 probabilities, sizes of 1", lambda: run(torch.bfloat16, 1, rows=1, soft=True)


def name(dtype):
    return str(dtype).removeprefix("torch.")


def run(dtype, classes=VOCABULARY, soft=False, rows=32, **options):
    leaf = torch.zeros(rows, classes, dtype=dtype, requires_grad=True)
    targets = torch.zeros(rows, dtype=torch.int64)
    targets = torch.zeros(rows, classes, dtype=dtype) if soft else targets
    cross_entropy(leaf.view(rows, classes), targets, **options).backward(torch.ones(()))


def candidate(choice):
    with mock.patch.object(tiles, "CANDIDATES", (choice,)):
        run(torch.bfloat16)
