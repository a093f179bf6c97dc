"""Cross-entropy by torch's operations, for whoever differentiates its gradient once more."""

import torch
from torch import Tensor
from torch.nn import functional


def composed_loss(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    reduction: str,
) -> Tensor:
    """What ``cross_entropy`` gives for logits (rows, classes), with all its derivatives.

    It stores several arrays of the logits' size.
    """
    logits = logits.float()
    soft = targets.is_floating_point()
    targets = targets.float() if soft else targets.long()
    kept = torch.ones_like(logits[:, 0], dtype=torch.bool) if soft else targets != ignore_index
    logits = torch.where(kept[:, None], logits, 0.0)  # 0 · NaN is NaN, also in a derivative
    losses = functional.cross_entropy(
        logits, targets, weight, ignore_index=ignore_index,
        label_smoothing=label_smoothing, reduction="none",
    )  # fmt: skip
    if z_loss:
        losses = losses + torch.where(kept, z_loss * logits.logsumexp(1) ** 2, 0.0)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    divisor = kept.sum()
    if weight is not None and not soft:
        divisor = torch.where(kept, weight[torch.where(kept, targets, 0)], 0.0).sum()
    return torch.where(kept.any(), losses.sum() / torch.where(kept.any(), divisor, 1), 0.0)
