"""Launchers, and the operators that torch sees: losses of all queries, gradient of one side."""

import torch
import triton
from torch import Tensor

from minissl_kernels import launch
from minissl_kernels.contrastive import tiles
from minissl_kernels.operators import gradients_of, operator

# A probability of a large batch is less than float16 can hold: a tile's are multiplied by this.
RAISED = 2.0**14
SMALLEST = RAISED * torch.finfo(torch.float32).tiny
POSITIVE = "the temperature must be positive and finite"


def best_split(blocks: int, steps: int, processors: int) -> int:
    """Into how many parts to cut each block's walk over the columns, so that all processors work.

    The number that takes the fewest rounds of work, and of those the smallest; a single part
    unless another saves a tenth, and never many more programs than processors, because each part
    writes a result of its own before they are put together.
    """

    def time(parts):
        return triton.cdiv(blocks * parts, processors) * triton.cdiv(steps, parts)

    limit = max(1, min(steps, 4 * processors // max(blocks, 1)))
    best = min(range(1, limit + 1), key=time)
    return best if time(best) < 0.9 * time(1) else 1


def split_columns(blocks: int, columns: int, tile: int, device: torch.device) -> tuple[int, int]:
    """(parts, columns of one part): a multiple of the tile, so that only the last is ragged."""
    steps = triton.cdiv(columns, tile)
    parts = best_split(blocks, steps, launch.multiprocessors(device))
    part = max(1, triton.cdiv(steps, parts)) * tile
    return max(1, triton.cdiv(columns, part)), part


def as_labels(labels: Tensor, by_label: bool) -> Tensor:
    """Columns fit in 32 bits, which take half the registers; labels may be anything."""
    return (labels if by_label else labels.to(torch.int32)).contiguous()


def check(query, key, labels, temperature, by_label, exclude_self):
    """What the kernels rely on: targets that are columns, a positive and finite temperature."""
    _require((temperature > 0) & (temperature < torch.inf), POSITIVE, ValueError)
    if not by_label:
        columns = key.shape[0]
        message = f"targets must be in 0 to {columns - 1}: columns of the keys"
        _require((labels >= 0) & (labels < columns), message, IndexError)
        if exclude_self:
            numbers = torch.arange(len(labels), device=labels.device)
            message = "with exclude_self no row's target may be the row itself"
            _require(labels != numbers, message, ValueError)


def _require(condition, message, error):
    """Raise unless all is true; on a GPU at the next synchronisation, as torch does."""
    if condition.device.type != "cpu":
        torch._assert_async(condition.all(), f"contrastive loss: {message}")
    elif not bool(condition.all()):
        row = int(condition.reshape(-1).logical_not().nonzero()[0, 0])
        raise error(f"contrastive loss: {message}; row {row} does not fit")


def launch_forward(query, key, labels, temperature, by_label, exclude_self, slope, losses, stats):
    """Fill ``losses`` (rows,) and ``stats`` (4, rows): one direction, rows picking columns."""
    rows, width = query.shape
    columns = key.shape[0]
    query, key = launch.walkable(query), launch.walkable(key)
    labels = as_labels(labels, by_label)
    tile = tiles.forward_configuration(query.dtype, width)
    blocks = triton.cdiv(rows, tile.rows)
    splits, part = split_columns(blocks, columns, tile.columns, query.device)
    partial = query.new_empty((5, splits, rows), dtype=torch.float32)
    tiles.forward_kernel[blocks, splits](
        query, key, labels, temperature, partial,
        rows, columns, width, part,
        WIDTH=width, QUERY_STRIDE=query.stride(0), KEY_STRIDE=key.stride(0),
        BY_LABEL=by_label, EXCLUDE_SELF=exclude_self, MOMENT=slope,
        ROWS=tile.rows, COLUMNS=tile.columns, CHUNK=tile.chunk,
        PRECISION=launch.dot_precision(query.dtype),
        STAGES=tile.num_stages, num_warps=tile.num_warps, num_stages=tile.num_stages,
    )  # fmt: skip
    tiles.combine_kernel[(triton.cdiv(rows, 128),)](
        partial, losses, stats, rows, splits, MOMENT=slope, ROWS=128
    )


@operator("minissl::contrastive_losses")
def contrastive_losses(
    query: Tensor,
    key: Tensor | None,
    labels: Tensor,
    temperature: Tensor,
    by_label: bool,
    exclude_self: bool,
    two_sided: bool,
    slope: bool,
    trainable_keys: int,
    check_values: bool,
) -> tuple[Tensor, Tensor]:
    """Losses (directions, rows) and stats (directions, 4, rows), both float32.

    ``key`` None: the queries are the keys. ``by_label``: positives have equal ``labels``; else
    ``labels`` are the positives' columns. ``two_sided``: a second direction, in which keys pick
    queries. ``slope``: stats also hold −τ ∂loss/∂τ. ``trainable_keys``: so many of the first keys
    want a gradient. ``check_values``: labels or temperature come from the user. Only the losses
    are differentiable.
    """
    other = query if key is None else key
    launch.check_device(
        "contrastive loss", query=query, key=other, labels=labels, temperature=temperature
    )
    if check_values:
        check(query, other, labels, temperature, by_label, exclude_self)
    directions, rows = 1 + two_sided, query.shape[0]
    losses = query.new_empty((directions, rows), dtype=torch.float32)
    stats = query.new_zeros((directions, 4, rows), dtype=torch.float32)
    if rows:
        with launch.on_device(query):
            for i, (x, y) in enumerate([(query, other), (other, query)][:directions]):
                launch_forward(
                    x, y, labels, temperature, by_label, exclude_self, slope, losses[i], stats[i]
                )
    return losses, stats


@contrastive_losses.register_fake
def _(query, key, labels, temperature, by_label, exclude_self, two_sided, slope, trainable_keys,
      check_values):  # fmt: skip
    directions, rows = 1 + two_sided, query.shape[0]
    losses = query.new_empty((directions, rows), dtype=torch.float32)
    return losses, query.new_empty((directions, 4, rows), dtype=torch.float32)


def launch_gradient(
    x, y, labels, x_stats, y_stats, temperature, scale, by_label, exclude_self, gradient
):
    """Fill ``gradient`` (rows, width), which is contiguous, for so many of the first rows of x."""
    (rows, width), columns = gradient.shape, y.shape[0]
    x, y, labels = launch.walkable(x), launch.walkable(y), as_labels(labels, by_label)
    tile = tiles.gradient_configuration(x.dtype, width)
    one = tile.chunk if width <= tile.chunk else tile.slice
    blocks, slices = triton.cdiv(rows, tile.rows), triton.cdiv(width, one)
    splits, part = split_columns(blocks * slices, columns, tile.columns, x.device)
    out = gradient
    if splits > 1:
        out = x.new_empty((splits, rows, width), dtype=torch.float32)
    tiles.gradient_kernel[blocks, slices, splits](
        x, y, out, labels, x_stats, y_stats, temperature, scale,
        rows, columns, width, part,
        WIDTH=width, X_STRIDE=x.stride(0), Y_STRIDE=y.stride(0),
        BY_LABEL=by_label, EXCLUDE_SELF=exclude_self,
        ROWS=tile.rows, COLUMNS=tile.columns, CHUNK=tile.chunk, SLICE=one,
        PRECISION=launch.dot_precision(x.dtype),
        STAGES=tile.num_stages, num_warps=tile.num_warps, num_stages=tile.num_stages,
    )  # fmt: skip
    if splits > 1:
        gradient.copy_(out.sum(0))


@operator("minissl::contrastive_gradient")
def contrastive_gradient(
    x: Tensor,
    y: Tensor,
    labels: Tensor,
    x_stats: Tensor | None,
    y_stats: Tensor | None,
    temperature: Tensor,
    scale: Tensor,
    by_label: bool,
    exclude_self: bool,
    trainable: int,
) -> Tensor:
    """The gradient of x, in its dtype: zeros after the first ``trainable`` rows.

    ``x_stats`` (3, rows of x): maximum, weight / total, and weight × share of x's rows as queries;
    ``y_stats`` likewise; None where a side's rows are no queries. ``scale``: of all weights.
    """
    gradient = torch.zeros_like(x, memory_format=torch.contiguous_format)
    if trainable and x.shape[1] and y.shape[0]:
        with launch.on_device(x):
            launch_gradient(
                x, y, labels, x_stats, y_stats, temperature, scale, by_label, exclude_self,
                gradient[:trainable],
            )  # fmt: skip
    return gradient


@contrastive_gradient.register_fake
def _(x, y, labels, x_stats, y_stats, temperature, scale, by_label, exclude_self, trainable):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def setup_context(ctx, inputs, output):
    query, key, labels, temperature, *settings = inputs
    _, stats = output
    ctx.mark_non_differentiable(stats)
    ctx.save_for_backward(query, key, labels, temperature, stats)
    ctx.settings = settings


def backward(ctx, upstream, _):
    """Weights of the rows' softmaxes from the upstream gradient, then a gradient for each side."""
    query, key, labels, temperature, stats = ctx.saved_tensors
    by_label, exclude_self, two_sided, _, trainable_keys, _ = ctx.settings
    needs_query, needs_key, _, needs_temperature, *_ = ctx.needs_input_grad
    gradients: list[Tensor | None] = [None] * 10
    largest = upstream.abs().amax() if upstream.numel() else upstream.new_zeros(())
    scale = largest.clamp(min=SMALLEST) / RAISED
    maximum, total, share, slope = stats.unbind(1)
    weight = torch.where(share > 0, upstream / scale, 0.0)
    sides = torch.stack((maximum, weight / total, weight * share), 1).unbind(0)

    def gradient(x, y, x_stats, y_stats, trainable):
        return contrastive_gradient(
            x, y, labels, x_stats, y_stats, temperature, scale, by_label, exclude_self, trainable
        )

    if needs_query and key is None:
        gradients[0] = gradient(query, query, sides[0], sides[0], query.shape[0])
    elif needs_query:
        gradients[0] = gradient(
            query, key, sides[0], sides[1] if two_sided else None, query.shape[0]
        )
    if needs_key:
        gradients[1] = gradient(
            key, query, sides[1] if two_sided else None, sides[0], trainable_keys
        )
    if needs_temperature:
        gradients[3] = -(upstream * slope).sum() / temperature
    return tuple(gradients)


def composed_losses(query, key, temperature, labels, by_label, exclude_self):
    """One direction's losses by torch's operations, which store the similarities."""
    logits = query.float() @ key.float().T / temperature
    numbers = torch.arange(len(key), device=key.device)
    candidates = torch.ones_like(logits, dtype=torch.bool)
    if exclude_self:
        candidates = numbers[: len(query), None] != numbers
    positives = labels[:, None] == (labels if by_label else numbers)
    positives = positives & candidates
    count = positives.sum(1)
    log_total = torch.where(candidates, logits, torch.finfo(logits.dtype).min).logsumexp(1)
    losses = log_total - torch.where(positives, logits, 0.0).sum(1) / count.clamp(min=1)
    return torch.where(count > 0, losses, 0.0)


def composed(ctx, upstream, _):
    """The gradients with a graph of their own: rows x columns numbers are stored."""
    query, key, labels, temperature, _ = ctx.saved_tensors
    by_label, exclude_self, two_sided, *_ = ctx.settings

    def function(query, key, temperature):
        other = query if key is None else key
        settings = (temperature, labels, by_label, exclude_self)
        directions = [(query, other), (other, query)][: 1 + two_sided]
        return torch.stack([composed_losses(*pair, *settings) for pair in directions])

    dq, dk, dt = gradients_of(function, (query, key, temperature), upstream)
    return dq, dk, None, dt, *(None,) * 6


contrastive_losses.register_autograd(backward, setup_context=setup_context, composed=composed)
