"""Cross-entropy with a distribution as target, −Σ_c a_c ln p_c: distillation and soft labels."""

import triton
import triton.language as tl
from torch import Tensor

from minissl_kernels import launch
from minissl_kernels.cross_entropy import tiles
from minissl_kernels.cross_entropy.tiles import (
    LOG2E,
    LOWEST,
    merge_expectation,
    merge_lanes,
    online_expectation,
    online_softmax,
    row_upstream,
    tile_columns,
)


@triton.jit
def _amounts(targets, weight, at, classes, smoothing):
    """a_c = weight_c ((1 − smoothing) target_c + smoothing / classes); 0 beyond the row."""
    inside = at < classes
    amounts = tl.load(targets + at, mask=inside, other=0.0).to(tl.float32)
    amounts = (1.0 - smoothing) * amounts + smoothing / tl.cast(classes, tl.float32)
    if weight is not None:
        amounts *= tl.load(weight + at, mask=inside, other=0.0)
    return tl.where(inside, amounts, 0.0)


@triton.jit
def _probabilities_forward(
    logits,
    targets,
    weight,
    losses,
    statistics,
    logits_stride,
    targets_stride,
    classes,
    smoothing,
    z_loss,
    REPEAT: tl.constexpr,
    LANES: tl.constexpr,
    VECTOR: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    logits += row * logits_stride
    targets += row * targets_stride
    columns = tile_columns(REPEAT, LANES, VECTOR)
    largest = tl.full((LANES,), LOWEST, tl.float32)
    total = tl.zeros((LANES,), tl.float32)
    expected = tl.zeros((LANES,), tl.float32)
    mass = tl.zeros((LANES,), tl.float32)
    for start in range(0, classes, REPEAT * LANES * VECTOR):
        at = start + columns
        x = tl.load(logits + at, mask=at < classes, other=float("-inf")).to(tl.float32)
        amounts = _amounts(targets, weight, at, classes, smoothing)
        new, total = online_softmax(largest, total, x)
        expected, mass = online_expectation(expected, mass, amounts, x, largest, new)
        largest = new

    top, row_total = merge_lanes(largest, total)
    expectation, row_mass = merge_expectation(expected, mass, largest, top)
    log_total = tl.log(row_total)
    lse = top + log_total
    tl.store(losses + row, row_mass * log_total - expectation + z_loss * lse * lse)
    statistics += row * 4
    tl.store(statistics, top)
    tl.store(statistics + 1, row_total)
    tl.store(statistics + 2, row_mass)


@triton.jit
def _probabilities_backward(
    logits,
    targets,
    weight,
    statistics,
    upstream,
    divisor,
    gradient,
    logits_stride,
    targets_stride,
    gradient_stride,
    upstream_stride,
    classes,
    smoothing,
    z_loss,
    BLOCK: tl.constexpr,
):
    blocks = tl.cdiv(classes, BLOCK)
    program = tl.num_programs(0) - 1 - tl.program_id(0)  # backwards, as in labels.py
    row = (program // blocks).to(tl.int64)
    at = program % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = at < classes
    x = tl.load(logits + row * logits_stride + at, mask=inside, other=float("-inf")).to(tl.float32)
    amounts = _amounts(targets + row * targets_stride, weight, at, classes, smoothing)
    statistics += row * 4
    top, total, mass = tl.load(statistics), tl.load(statistics + 1), tl.load(statistics + 2)
    g = row_upstream(upstream, upstream_stride, divisor, row)
    scale = (mass + 2.0 * z_loss * (top + tl.log(total))) / total
    values = g * (scale * tl.exp2((x - top) * LOG2E) - amounts)
    gradient += row * gradient_stride
    tl.store(gradient + at, values.to(gradient.dtype.element_ty), mask=inside)


def forward(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    label_smoothing: float,
    z_loss: float,
    losses: Tensor,
    statistics: Tensor,
) -> None:
    """Write ``losses`` (rows,) and ``statistics`` (rows, 4), of which three are used, float32.

    Shapes: logits and targets (rows, classes), neighbours in a row side by side.
    """
    rows, classes = logits.shape
    if rows:
        with launch.on_device(logits):
            _probabilities_forward[(rows,)](
                logits,
                targets,
                weight,
                losses,
                statistics,
                logits.stride(0),
                targets.stride(0),
                classes,
                label_smoothing,
                z_loss,
                **tiles.configuration(classes, logits.element_size()),
            )


def backward(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    statistics: Tensor,
    upstream: Tensor,
    divisor: Tensor | None,
    gradient: Tensor,
    label_smoothing: float,
    z_loss: float,
) -> None:
    """Write upstream / divisor · ∂loss/∂logits into ``gradient``, which may be ``logits``."""
    rows, classes = logits.shape
    block, options = tiles.flat_configuration(classes, logits.element_size())
    if rows:
        with launch.on_device(logits):
            _probabilities_backward[(rows * triton.cdiv(classes, block),)](
                logits,
                targets,
                weight,
                statistics,
                upstream,
                divisor,
                gradient,
                logits.stride(0),
                targets.stride(0),
                gradient.stride(0),
                upstream.stride(0),
                classes,
                label_smoothing,
                z_loss,
                BLOCK=block,
                **options,
            )
