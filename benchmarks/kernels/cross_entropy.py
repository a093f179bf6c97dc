"""Softmax cross-entropy on given logits, forward and backward: a matter of memory traffic.

At 32,000 classes of launches and Python as well, which is why there are three sizes.
"""

from collections.abc import Iterator
from functools import partial
from unittest import mock

import torch
from torch.nn import functional as F

from benchmarks.kernels.measure import OURS, Case, Machine, against, at_least, tuned, wrong

TITLE = "Cross-entropy, forward + backward"
KEPT = "minissl, logits kept"
PEERS = (KEPT, "torch eager", "torch.compile", "Liger")
NOTES = (
    "GB/s: three passes over the logits (forward reads; backward reads and writes), the least "
    "that a loss with a separate backward needs",
    "minissl and Liger write the gradient over the logits; the others and 'logits kept' do not",
    "reach: faster than all peers; aim: 90 % of the copy bandwidth",
)
ROWS, CLASSES = 8192, (32_000, 50_257, 128_256)


def cases(machine: Machine) -> Iterator[Case]:
    for classes in (37,) if machine.dry else CLASSES:
        yield case(machine, 6 if machine.dry else ROWS, classes)


def tuning(machine: Machine) -> Iterator[Case]:
    from minissl_kernels.cross_entropy import tiles

    candidates = {
        f"repeat {repeat}, {warps} warps": partial(
            mock.patch.object, tiles, "CANDIDATES", ((repeat, warps),)
        )
        for repeat, warps in tiles.CANDIDATES[1:]
    }
    for each in cases(machine):
        yield tuned(each, candidates)


def case(machine: Machine, rows: int, classes: int) -> Case:
    logits = machine.randn(rows, classes, scale=3)
    targets = machine.integers(classes, rows)
    upstream = torch.ones((), device=machine.device)
    work = 3 * logits.numel() * logits.element_size()

    def timed(function):
        def run():
            # a view is no leaf, so its memory may be overwritten; the values that this leaves
            # behind for the next run cost the same time
            loss = function(logits.view_as(logits), targets)
            return torch.autograd.grad(loss, logits, upstream.to(loss.dtype))

        return run

    def ours(overwrite: bool):
        from minissl_kernels.cross_entropy import cross_entropy

        return lambda logits, targets: cross_entropy(logits, targets, overwrite_logits=overwrite)

    def liger():
        from liger_kernel.transformers.functional import liger_cross_entropy

        return liger_cross_entropy

    def check() -> str:
        sample = logits.detach()[: min(rows, 256)]

        def all_of(function, dtype):
            leaf = sample.to(dtype, copy=True).requires_grad_()
            loss = function(leaf.view_as(leaf), targets[: len(sample)])
            return [loss.detach(), *torch.autograd.grad(loss, leaf)]

        exact = all_of(F.cross_entropy, torch.float64)
        peer = all_of(F.cross_entropy, logits.dtype)
        return wrong(("loss", "gradient"), all_of(ours(False), logits.dtype), peer, exact) or wrong(
            ("loss", "overwritten gradient"), all_of(ours(True), logits.dtype), peer, exact
        )

    def judge(times, _):
        rate = work / times[OURS] / 1e6 if isinstance(times[OURS], float) else None
        return {
            "reach": against(times, ["torch eager", "torch.compile", "Liger"]),
            "aim": at_least(rate, 0.9 * machine.bandwidth, "90 % of the copy bandwidth"),
        }

    return Case(
        f"{rows} x {classes} {str(logits.dtype)[6:]}",
        {
            OURS: lambda: timed(ours(True)),
            KEPT: lambda: timed(ours(False)),
            "torch eager": lambda: timed(F.cross_entropy),
            "torch.compile": lambda: timed(machine.compile(F.cross_entropy)),
            "Liger": lambda: timed(liger()),
        },
        work,
        "GB/s",
        check,
        judge,
        memory=True,
    )
