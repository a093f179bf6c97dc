"""InfoNCE over batches whose similarity matrix fits on no GPU."""

from collections.abc import Iterator

import torch
from torch.nn import functional as F

from benchmarks.kernels.measure import (
    OURS,
    Case,
    Machine,
    NotTried,
    against,
    at_least,
    full_precision,
    instead,
    tuned,
    wrong,
)

TITLE = "Contrastive loss (InfoNCE)"
PEERS = ("torch eager", "torch.compile")
NOTES = (
    "TFLOP/s: 2 x rows^2 x width operations forward, 3 times that with the backward pass",
    "peak GB is above the inputs (2 x rows x width bf16)",
    "reach: faster than torch where torch has the memory; 1,048,576 rows in less than 4 GB, inputs "
    "included; aim: 400 TFLOP/s forward",
    "published by Inf-CL for its loss on 8 A800, per GPU (Cheng et al., 2024, table 1, width 768): "
    "0.36 GB at 64k, 1.45 GB at 256k, 6.53 GB at 1M rows; no speed is published",
)
ROWS, WIDTH, TEMPERATURE = (2**16, 2**18, 2**20), 256, 0.07


def cases(machine: Machine, sizes: tuple[int, ...] = ROWS) -> Iterator[Case]:
    for rows in (20,) if machine.dry else sizes:
        for backward in (False, True):
            yield case(machine, rows, 16 if machine.dry else WIDTH, backward)


def tuning(machine: Machine) -> Iterator[Case]:
    from minissl_kernels.contrastive import tiles

    forward = instead(tiles, "forward_configuration", tiles.FORWARD_CANDIDATES)
    backward = instead(tiles, "gradient_configuration", tiles.GRADIENT_CANDIDATES)
    for each in cases(machine, ROWS[:1]):
        yield tuned(each, forward if each.name.endswith("forward") else backward)


def eager(query, key):
    labels = torch.arange(len(query), device=query.device)
    return F.cross_entropy(query @ key.T / TEMPERATURE, labels)


def case(machine: Machine, rows: int, width: int, backward: bool) -> Case:
    def unit_vectors():
        values = machine.randn(rows, width, dtype=torch.float32, grad=False)
        return F.normalize(values, dim=1).to(machine.dtype).requires_grad_()

    query, key = unit_vectors(), unit_vectors()
    work = (6 if backward else 2) * rows**2 * width

    def timed(function):
        if backward:
            return lambda: torch.autograd.grad(function(query, key), (query, key))

        def run():
            with torch.no_grad():
                return function(query, key)

        return run

    def ours(**settings):
        from minissl_kernels.contrastive import info_nce

        settings |= {"temperature": TEMPERATURE, "normalize": False}  # what the others do
        return lambda query, key: info_nce(query, key, **settings)

    def check() -> str:
        few = [t.detach()[:4096] for t in (query, key)]

        def all_of(function, dtype):
            leaves = [t.to(dtype).requires_grad_() for t in few]
            loss = function(*leaves)
            return [loss.detach(), *torch.autograd.grad(loss, leaves)]

        names = "loss", "query's gradient", "key's gradient"
        with full_precision(), torch.no_grad():
            some = slice(0, 512)  # of all the rows, each against all the columns
            similar = query[some].float() @ key.float().T / TEMPERATURE
            exact = similar.logsumexp(1) - similar.diagonal()
            whole = ours(reduction="none")(query, key)[some]
        with full_precision():
            return wrong(
                names, all_of(ours(), query.dtype), all_of(eager, query.dtype),
                all_of(eager, torch.float32),
            ) or wrong(["loss among all"], [whole], [exact.to(query.dtype)], [exact])  # fmt: skip

    def judge(times, memory):
        reach = against(times, ["torch eager"])
        if rows == 2**20 and OURS in memory:
            total = memory[OURS] + 2 * query.numel() * query.element_size() / 1e9
            reach = f"{'yes' if total < 4 else 'no'}: {total:.2f} GB with the inputs, of 4"
        rate = work / times[OURS] / 1e9 if isinstance(times[OURS], float) else None
        aim = "-" if backward else at_least(rate, 400, "400 TFLOP/s")
        return {"reach": reach, "aim": aim}

    def compiled():
        if rows > 2**16:
            raise NotTried(f"the matrix has {2 * rows**2 / 1e9:.0f} GB")
        return machine.compile(eager)

    passes = "forward + backward" if backward else "forward"
    return Case(
        f"{rows} x {width} {str(query.dtype)[6:]}, {passes}",
        {
            OURS: lambda: timed(ours()),
            "torch eager": lambda: timed(eager),
            "torch.compile": lambda: timed(compiled()),
        },
        work,
        "TFLOP/s",
        check,
        judge,
        memory=True,
    )
