"""From the losses of the rows to that of the batch, and whether all targets are classes.

In torch's operations these are a dozen launches, which at the usual sizes take longer than the
passes over the logits. Here one program of one kernel does it: the rows are few beside the logits.
"""

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from minissl_kernels import launch
from minissl_kernels.cross_entropy.tiles import not_zero

BLOCK = 4096


@triton.jit
def _add(total, lost, values):
    """The sum with ``values`` added, and what its rounding has added too much (Kahan, 1965).

    Without it a lane that adds thousands of equal numbers drifts away.
    """
    values -= lost
    new = total + values
    return new, (new - total) - values


@triton.jit
def _reduce_kernel(
    losses,
    row_weights,
    targets,
    loss,
    divisor,
    valid,
    rows,
    classes,
    ignore_index,
    MEAN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    total = tl.zeros((BLOCK,), tl.float32)
    total_lost = tl.zeros((BLOCK,), tl.float32)
    weight = tl.zeros((BLOCK,), tl.float32)
    weight_lost = tl.zeros((BLOCK,), tl.float32)
    count = tl.zeros((BLOCK,), tl.float32)
    wrong = tl.zeros((BLOCK,), tl.int32)
    for start in range(0, rows, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < rows
        loss_part = tl.load(losses + at, mask=inside, other=0.0)
        total, total_lost = _add(total, total_lost, loss_part)
        if targets is not None:
            target = tl.load(targets + at, mask=inside, other=0)
            kept = inside & (target != ignore_index)
            wrong += (kept & ((target < 0) | (target >= classes))).to(tl.int32)
            count += kept.to(tl.float32)
        if row_weights is not None:
            weight_part = tl.load(row_weights + at, mask=inside, other=0.0)
            weight, weight_lost = _add(weight, weight_lost, weight_part)
    result, mass, counted = tl.sum(total, 0), tl.sum(weight, 0), tl.sum(count, 0)
    if targets is None:
        counted = tl.cast(rows, tl.float32)
    if row_weights is None:
        mass = counted
    if MEAN:  # of nothing: 0; of rows whose weights sum to 0: NaN
        result = tl.where(counted > 0, result / not_zero(mass), 0.0)
    tl.store(loss, result)
    tl.store(divisor, mass)
    tl.store(valid, tl.sum(wrong, 0) == 0)


def reduce(
    name: str,
    losses: Tensor,
    row_weights: Tensor | None,
    targets: Tensor | None,
    classes: int,
    ignore_index: int,
    reduction: str,
) -> tuple[Tensor, Tensor]:
    """(loss, divisor of the mean), float32 without axes. With "none", only the targets are checked.

    Shapes: losses and row_weights (rows,) float32, contiguous; targets (rows,) integers, or None
    where there are none to check: then a mean divides by the rows. Without row_weights it divides
    by the number of kept targets. A bad target stops the program at the next synchronisation; on
    the CPU ``check_targets`` has found it before.
    """
    loss, divisor = (torch.empty((), dtype=torch.float32, device=losses.device) for _ in range(2))
    valid = torch.empty((), dtype=torch.bool, device=losses.device)
    with launch.on_device(losses):
        _reduce_kernel[(1,)](
            losses, row_weights, targets, loss, divisor, valid, losses.shape[0], classes,
            ignore_index, MEAN=reduction == "mean", BLOCK=BLOCK, num_warps=8,
        )  # fmt: skip
    if targets is not None and targets.device.type != "cpu":
        torch._assert_async(valid, f"{name}: a target is {expected(classes, ignore_index)}")
    return (losses if reduction == "none" else loss), divisor


def check_targets(name: str, targets: Tensor, classes: int, ignore_index: int) -> None:
    """On the CPU, raise IndexError for a target that is neither a class nor ``ignore_index``."""
    if targets.device.type == "cpu":
        allowed = ((targets >= 0) & (targets < classes)) | (targets == ignore_index)
        if not bool(allowed.all()):
            bad = int(targets[~allowed][0])
            raise IndexError(f"{name}: target {bad} is {expected(classes, ignore_index)}")


def check_ignore_index(name: str, ignore_index: int) -> None:
    """Raise TypeError unless it is an integer: the kernels compare every target with it."""
    if not isinstance(ignore_index, int | np.integer):
        raise TypeError(
            f"{name}: ignore_index must be an int, got {ignore_index!r}; to ignore nothing, pass "
            "a number that is no class, as -100 is, the default"
        )


def expected(classes: int, ignore_index: int) -> str:
    return f"not in 0 to {classes - 1}, nor the ignore_index {ignore_index}"
