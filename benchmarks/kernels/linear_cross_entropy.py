"""The output layer and its loss in one: the logits of a large vocabulary are never stored."""

from collections.abc import Iterator
from functools import partial
from unittest import mock

import torch
from torch.nn import functional as F

from benchmarks.kernels.measure import OURS, Case, Machine, against, full_precision, tuned, wrong

TITLE = "Linear + cross-entropy, forward + backward"
PRODUCTS = "its 3 matrix products"
NOT_STORED = ("F.linear_cross_entropy", "Liger", "CCE, exact")
PEERS = ("torch eager", "torch.compile", *NOT_STORED, "CCE, filtered", PRODUCTS)
NOTES = (
    "TFLOP/s: three products of 2 x rows x width x classes operations, what is needed when each "
    "logit is computed once",
    "CCE leaves out small gradients ('filtered', its default): a different result, shown beside "
    "the exact one and not counted in the verdict; on these random inputs nearly all are small",
    "reach: faster than all exact ones that do not store the logits; aim: 1.25 x the time of its "
    "three matrix products, measured beside it",
)
ROWS, WIDTH, CLASSES = 8192, 4096, (32_000, 128_256)


def cases(machine: Machine) -> Iterator[Case]:
    for classes in (40,) if machine.dry else CLASSES:
        yield case(machine, *((8, 16) if machine.dry else (ROWS, WIDTH)), classes)


def tuning(machine: Machine) -> Iterator[Case]:
    """Rows at a time."""
    from minissl_kernels import linear_cross_entropy as module

    candidates = {
        f"{rows} rows": partial(mock.patch.object, module, "CHUNK", rows)
        for rows in (1024, 4096, 8192)
    }
    for each in cases(machine):
        yield tuned(each, candidates)


def eager(input, weight, targets):
    return F.cross_entropy(F.linear(input, weight), targets)


def case(machine: Machine, rows: int, width: int, classes: int) -> Case:
    input = machine.randn(rows, width)
    weight = machine.randn(classes, width, scale=width**-0.5)
    targets = machine.integers(classes, rows)

    def timed(function):
        return lambda: torch.autograd.grad(function(input, weight, targets), (input, weight))

    def ours():
        from minissl_kernels.linear_cross_entropy import linear_cross_entropy

        return linear_cross_entropy

    def chunked():
        if not hasattr(F, "linear_cross_entropy"):
            raise ImportError("torch >= 2.13 has F.linear_cross_entropy")
        options = torch.nn.LinearCrossEntropyOptions()
        return lambda *inputs: F.linear_cross_entropy(*inputs, options=options)

    def liger():
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

        return liger_fused_linear_cross_entropy

    def cce(**settings):
        from cut_cross_entropy import linear_cross_entropy

        return lambda *inputs: linear_cross_entropy(*inputs, **settings)

    def products():
        x, w = input.detach(), weight.detach()
        logits = x @ w.T
        return lambda: (torch.mm(x, w.T, out=logits), logits @ w, logits.T @ x)

    def check() -> str:
        count = min(rows, 1024)

        def all_of(function, dtype):
            leaves = [t.detach().to(dtype).requires_grad_() for t in (input[:count], weight)]
            loss = function(*leaves, targets[:count])
            return [loss.detach(), *torch.autograd.grad(loss, leaves)]

        with full_precision():
            exact = all_of(eager, torch.float32)
        return wrong(
            ("loss", "input's gradient", "weight's gradient"),
            all_of(ours(), input.dtype),
            all_of(eager, input.dtype),
            exact,
        )

    def judge(times, _):
        return {
            "reach": against(times, NOT_STORED),
            "aim": against(times, [PRODUCTS], 1 / 1.25),
        }

    return Case(
        f"{rows} x {width} x {classes} {str(input.dtype)[6:]}",
        {
            OURS: lambda: timed(ours()),
            "torch eager": lambda: timed(eager),
            "torch.compile": lambda: timed(machine.compile(eager)),
            "F.linear_cross_entropy": lambda: timed(chunked()),
            "Liger": lambda: timed(liger()),
            "CCE, exact": lambda: timed(cce(filter_eps=None)),
            "CCE, filtered": lambda: timed(cce()),
            PRODUCTS: products,
        },
        6 * rows * width * classes,
        "TFLOP/s",
        check,
        judge,
        memory=True,
    )
