"""Layer norm, forward and backward, at the widths of small and middle-sized models."""

from collections.abc import Iterator
from functools import partial
from unittest import mock

import torch
from torch.nn import functional as F

from benchmarks.kernels.measure import Case, Machine, against, at_least, tuned, wrong

TITLE = "Layer norm, forward + backward"
PEERS = ("torch eager", "torch.compile", "Liger")
NOTES = (
    "GB/s: x and y once forward, x, the gradient of y and of x once backward",
    "reach: torch eager at every width; aim: at width 4096, 95 % of the copy bandwidth",
    '"calls in a row": 50 forward and backward passes, one after the other, from Python; at small '
    "widths that is the time of Python and the launches, not of the GPU",
)
ROWS, WIDTHS = 16384, (256, 512, 1024, 2048, 4096)


def cases(machine: Machine) -> Iterator[Case]:
    widths = (20, 64) if machine.dry else WIDTHS
    for width in widths:
        yield case(machine, width, machine.dtype)
    if not machine.dry:
        yield case(machine, 1024, torch.float32)
    for width in widths[:1] if machine.dry else (256, 1024, 4096):
        yield case(machine, width, machine.dtype, calls=50)


def tuning(machine: Machine) -> Iterator[Case]:
    from minissl_kernels import layer_norm as module

    candidates = {
        f"forward {c.forward_per_warp}, backward {c.backward_per_warp} x {c.backward_warps} x "
        f"{c.backward_stages} x {c.backward_resident}": partial(
            mock.patch.object, module, "configuration", partial(module.configuration, choice=c)
        )
        for c in module.CANDIDATES[1:]
    }
    for each in cases(machine):
        if each.calls == 1:
            yield tuned(each, candidates)


def case(machine: Machine, width: int, dtype: torch.dtype, calls: int = 1) -> Case:
    rows = 8 if machine.dry else ROWS if calls == 1 else 4096
    calls = min(calls, 2) if machine.dry else calls
    x, g = machine.randn(rows, width, dtype=dtype), machine.randn(rows, width, dtype=dtype)
    weight, bias = (machine.randn(width, dtype=dtype) for _ in range(2))
    leaves, work = (x, weight, bias), 5 * rows * width * dtype.itemsize

    def timed(function):
        def run():
            for _ in range(calls):
                gradients = torch.autograd.grad(function(*leaves), leaves, g)
            return gradients

        return run

    def ours():
        from minissl_kernels.layer_norm import layer_norm

        return layer_norm

    def eager(x, weight, bias):
        return F.layer_norm(x, (width,), weight, bias)

    def liger():
        from liger_kernel.transformers.functional import liger_layer_norm

        return lambda x, weight, bias: liger_layer_norm(x, weight, bias, 1e-5)

    def check() -> str:
        doubled = [leaf.detach().double().requires_grad_() for leaf in leaves]

        def all_of(function, leaves, g):
            y = function(*leaves)
            return [y.detach(), *torch.autograd.grad(y, leaves, g)]

        return wrong(
            ("y", "dx", "dw", "db"),
            all_of(ours(), leaves, g),
            all_of(eager, leaves, g),
            all_of(eager, doubled, g.double()),
        )

    def judge(times, _):
        aim = "-"
        if width == WIDTHS[-1] and calls == 1:
            rate = work / times["minissl"] / 1e6 if isinstance(times["minissl"], float) else None
            aim = at_least(rate, 0.95 * machine.bandwidth, "95 % of the copy bandwidth")
        return {"reach": against(times, ["torch eager"]), "aim": aim}

    label = f"{rows} x {width} {str(dtype)[6:]}"
    return Case(
        label if calls == 1 else f"{label}, calls in a row",
        {
            "minissl": lambda: timed(ours()),
            "torch eager": lambda: timed(eager),
            "torch.compile": lambda: timed(machine.compile(eager)),
            "Liger": lambda: timed(liger()),
        },
        work,
        "GB/s",
        check,
        judge,
        calls=calls,
    )
