"""Cross-entropy with class indices: the loss is the soft plus of how far the others are ahead.

With o the log-sum-exp of all classes but the target, and the margin d = o − l_target,

    −ln p_target = ln(1 + exp(d))        p_target − 1 = −1 / (1 + exp(−d))

Nothing cancels in either: the loss and the gradient of a confident row keep all their digits,
where softmax − 1 keeps those above the rounding of 1 (and none in bfloat16).
"""

import triton
import triton.language as tl
from torch import Tensor

from minissl_kernels import launch
from minissl_kernels.cross_entropy import tiles
from minissl_kernels.cross_entropy.tiles import (
    LOG2E,
    LOWEST,
    before,
    lane_sum,
    load_tile,
    log1p_exp,
    merge_lanes,
    online_softmax,
    row_upstream,
    sigmoids,
    store_tile,
    tile_columns,
)


@triton.jit
def _labels_forward(
    logits,
    targets,
    weight,
    losses,
    row_weights,
    statistics,
    logits_stride,
    classes,
    ignore_index,
    smoothing,
    z_loss,
    SMOOTH: tl.constexpr,
    ALIGNED: tl.constexpr,
    REPEAT: tl.constexpr,
    LANES: tl.constexpr,
    VECTOR: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    logits += row * logits_stride
    early = 0 if ALIGNED else before(logits)
    wide_target = tl.load(targets + row)
    kept = wide_target != ignore_index
    target = tl.cast(wide_target, tl.int32)
    # A target out of range has stopped the launch, or will at the next synchronisation.
    readable = kept & (wide_target >= 0) & (wide_target < classes)
    target_logit = tl.load(logits + target, mask=readable).to(tl.float32)
    target_logit = tl.where(readable, target_logit, 0.0)

    BLOCK: tl.constexpr = REPEAT * LANES * VECTOR
    columns = tile_columns(REPEAT, LANES, VECTOR)
    largest = tl.full((LANES,), LOWEST, tl.float32)
    total = tl.zeros((LANES,), tl.float32)
    expected = tl.zeros((LANES,), tl.float32)
    weights = tl.zeros((LANES,), tl.float32)
    anchor = tl.where(target_logit > float("-inf"), target_logit, 0.0)
    # An ignored row is not read.
    for start in range(-early, tl.where(kept, classes, -early), BLOCK):
        at = start + columns
        x = load_tile(logits, start, columns, classes, BLOCK, ALIGNED)
        others = x
        if (target >= start) & (target < start + BLOCK):
            others = tl.where(at == target, float("-inf"), x)
        new, total = online_softmax(largest, total, others)
        if SMOOTH:  # Σ w (x − anchor): relative to a logit, it stays small where logits are large
            inside = (at >= 0) & (at < classes)
            away = tl.where(inside, x - anchor, 0.0)
            if weight is not None:
                w = tl.load(weight + at, mask=inside, other=0.0)
                away = w * tl.where(w != 0, away, 0.0)
                weights += lane_sum(w)
            expected += lane_sum(away)
        largest = new

    others_top, others_total = merge_lanes(largest, total)
    margin = (others_top - target_logit) + tl.log(tl.where(others_total == 0, 1.0, others_total))
    top = tl.maximum(others_top, target_logit)
    total_all = others_total * tl.exp(others_top - top) + tl.exp(target_logit - top)
    log_total = tl.log(total_all)
    target_weight = tl.where(kept, 1.0, 0.0)
    if weight is not None:
        target_weight = tl.where(readable, tl.load(weight + target, mask=readable), 0.0)
    loss = (1.0 - smoothing) * target_weight * log1p_exp(margin)
    even_mass = 0.0  # what smoothing spreads over all classes
    if SMOOTH:
        share = smoothing / tl.cast(classes, tl.float32)
        weight_sum = tl.cast(classes, tl.float32)
        if weight is not None:
            weight_sum = tl.sum(weights, 0)
        even_mass = share * weight_sum
        loss += even_mass * (log_total + (top - anchor)) - share * tl.sum(expected, 0)
    lse = top + log_total
    loss += z_loss * lse * lse
    tl.store(losses + row, tl.where(kept, loss, 0.0))
    if row_weights is not None:
        tl.store(row_weights + row, target_weight)
    statistics += row * 4
    tl.store(statistics, top)
    tl.store(statistics + 1, total_all)
    tl.store(statistics + 2, even_mass)
    tl.store(statistics + 3, margin)


@triton.jit
def _labels_backward(
    logits,
    targets,
    weight,
    statistics,
    upstream,
    divisor,
    gradient,
    logits_stride,
    gradient_stride,
    upstream_stride,
    classes,
    ignore_index,
    smoothing,
    z_loss,
    SMOOTH: tl.constexpr,
    ALIGNED: tl.constexpr,
    TOGETHER: tl.constexpr,
    VECTOR: tl.constexpr,
    BLOCK: tl.constexpr,
):
    blocks = tl.cdiv(classes if ALIGNED else classes + (VECTOR - 1), BLOCK)
    # Backwards: the rows that the forward read last may still be in the cache.
    program = tl.num_programs(0) - 1 - tl.program_id(0)
    row = (program // blocks).to(tl.int64)
    logits += row * logits_stride
    gradient += row * gradient_stride
    start = program % blocks * BLOCK - (0 if ALIGNED else before(logits))
    columns = tl.arange(0, BLOCK)
    at = start + columns
    wide_target = tl.load(targets + row)
    kept = wide_target != ignore_index
    target = tl.cast(wide_target, tl.int32)
    end = tl.where(kept, classes, 0)
    x = load_tile(logits, start, columns, end, BLOCK, ALIGNED)

    statistics += row * 4
    top, total = tl.load(statistics), tl.load(statistics + 1)
    even_mass, margin = tl.load(statistics + 2), tl.load(statistics + 3)
    g = tl.where(kept, row_upstream(upstream, upstream_stride, divisor, row), 0.0)
    log_scale = 2.0 * z_loss * (top + tl.log(total))  # d(z lse²) = 2 z lse p
    target_weight = tl.where(kept, 1.0, 0.0)
    if weight is not None:
        target_weight = tl.where(kept, tl.load(weight + target, mask=kept), 0.0)
    own = (1.0 - smoothing) * target_weight
    share = smoothing / tl.cast(classes, tl.float32)
    values = g * (own + even_mass + log_scale) / total * tl.exp2((x - top) * LOG2E)
    if SMOOTH:
        if weight is not None:
            read = (at >= 0) & (at < end)
            values -= g * share * tl.load(weight + at, mask=read, other=0.0)
        else:
            values -= g * share
    # own · (p − 1), which would cancel, is −own · rest.
    rest, p = sigmoids(margin)
    at_target = (even_mass + log_scale) * p - own * rest - share * target_weight
    values = tl.where(at == target, g * at_target, values)
    values = tl.where(kept, values, 0.0)
    store_tile(gradient, values, start, columns, classes, BLOCK, ALIGNED, TOGETHER)


def forward(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    losses: Tensor,
    row_weights: Tensor | None,
    statistics: Tensor,
) -> None:
    """Write ``losses`` and what each row weighs in a mean, (rows,), and ``statistics`` (rows, 4).

    All float32. Shapes: logits (rows, classes) with neighbours in a row side by side, targets
    (rows,), contiguous.
    """
    rows, classes = logits.shape
    aligned = tiles.aligned(logits)
    if rows:
        with launch.on_device(logits):
            _labels_forward[(rows,)](
                logits,
                targets,
                weight,
                losses,
                row_weights,
                statistics,
                logits.stride(0),
                classes,
                ignore_index,
                label_smoothing,
                z_loss,
                SMOOTH=label_smoothing > 0,
                ALIGNED=aligned,
                **tiles.configuration(classes, logits.element_size(), aligned),
            )


def backward(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    statistics: Tensor,
    upstream: Tensor,
    divisor: Tensor | None,
    gradient: Tensor,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
) -> None:
    """Write upstream / divisor · ∂loss/∂logits into ``gradient``, which may be ``logits`` itself.

    Shapes: gradient as logits, upstream (rows,) or one number, expanded to (rows,).
    """
    rows, classes = logits.shape
    vector = 16 // logits.element_size()
    aligned = tiles.aligned(logits) and tiles.aligned(gradient)
    block, options = tiles.flat_configuration(classes, logits.element_size(), aligned)
    span = classes if aligned else classes + vector - 1
    if rows:
        with launch.on_device(logits):
            _labels_backward[(rows * triton.cdiv(span, block),)](
                logits,
                targets,
                weight,
                statistics,
                upstream,
                divisor,
                gradient,
                logits.stride(0),
                gradient.stride(0),
                upstream.stride(0),
                classes,
                ignore_index,
                label_smoothing,
                z_loss,
                SMOOTH=label_smoothing > 0,
                ALIGNED=aligned,
                TOGETHER=tiles.in_step(logits, gradient),
                VECTOR=vector,
                BLOCK=block,
                **options,
            )
