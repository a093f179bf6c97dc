"""Consistency: what a classifier says of an image, it should say of the image changed. Lecture 12.

No label is needed, so this is what the unlabelled images of a task with few labels are good for.
The two guards that keep it from agreeing on nonsense, sharpening and a threshold of confidence, and
the brake on the few labels are those of UDA (Xie, Dai, Hovy, Luong and Le 2020).
"""

import math
from typing import Any

from minissl.autograd import fused
from minissl.autograd import operations as ops
from minissl.autograd.arrays import namespace
from minissl.autograd.devices import beside
from minissl.autograd.half import at_least_single
from minissl.autograd.tensor import Tensor, as_array
from minissl.losses.metric import reduced

SCHEDULES = ("linear", "log", "exp")


def consistency_loss(
    target_logits: Any,
    logits: Any,
    *,
    sharpen: float = 1.0,
    confidence: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """KL(p ‖ q): p is said of the image as it is and held still, q of the image changed.

    p = softmax(target_logits / sharpen), q = softmax(logits). No gradient goes into p, or both
    would meet where nothing is said. ``sharpen``: a temperature of at most 1 makes p surer.
    ``confidence``: an image counts only if the likeliest class, before sharpening, has more than
    this. Shapes: (batch, classes) twice. ``reduction``: ``"mean"`` over all images, those that do
    not count too, so that few sure ones pull little; ``"sum"``; or ``"none"`` for (batch,). Raises
    ValueError for other shapes or settings. (Xie et al. 2020: sharpen 0.4, confidence 0.8.)
    Lecture 12.
    """
    said = at_least_single(beside(as_array(target_logits), as_array(logits)))
    if len(said.shape) != 2 or tuple(said.shape) != tuple(logits.shape):
        raise ValueError(
            f"consistency_loss: expected (batch, classes) twice, got {tuple(said.shape)} and "
            f"{tuple(logits.shape)}"
        )
    if not 0 < sharpen <= 1 or not 0 <= confidence < 1:
        raise ValueError(
            f"expected 0 < sharpen ≤ 1 and 0 ≤ confidence < 1, got {sharpen} and {confidence}"
        )
    log_q = ops.log_softmax(at_least_single(logits), axis=1)
    xp = namespace(said)
    log_p = xp.astype(ops.log_softmax(said / sharpen, axis=1).array, log_q.dtype)
    p = xp.exp(log_p)
    entropy = -xp.sum(p * xp.where(p == 0, p, log_p), axis=1)  # 0 · ln 0 is 0: of a masked class
    missed = -ops.sum(p * ops.where(p == 0, 0.0, log_q), axis=1)
    losses = missed - entropy
    surest = xp.max(ops.softmax(said, axis=1).array, axis=1)
    counts = ~(surest <= confidence) | xp.isnan(losses.array)  # NaN is seen, of sure ones or not
    return reduced(ops.where(counts, losses, 0.0), reduction)


def annealed_cross_entropy(
    logits: Any, targets: Any, threshold: float, *, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy of the labelled images that the network is not yet sure of.

    An image whose label already has a probability of ``threshold`` or more has no loss, and does
    not count in the mean (of none: 0): with few labels a network would know them by heart long
    before it has learned from the images without. Shapes: logits (batch, classes), targets (batch,)
    integers. See ``annealing_threshold``. Raises ValueError for a threshold outside (0, 1], and
    other shapes. (Training signal annealing, Xie et al. 2020.) Lecture 12.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, got {threshold}")
    losses = fused.cross_entropy(at_least_single(logits), targets, reduction="none")
    xp = namespace(losses.array)
    counts = ~(losses.array <= -math.log(threshold))  # so written NaN counts, and is seen
    losses = ops.where(counts, losses, 0.0)
    if reduction == "mean":
        return ops.sum(losses) / max(int(xp.sum(xp.astype(counts, xp.int64))), 1)
    return reduced(losses, reduction)


def annealing_threshold(progress: float, classes: int, schedule: str = "linear") -> float:
    """How sure a network may become of its labels: from 1 / classes at progress 0 to 1 at 1.

    α (1 − 1 / classes) + 1 / classes with α = t (``"linear"``), 1 − e^(−5 t) (``"log"``: the labels
    come early) or e^(5 (t − 1)) (``"exp"``: late, for few labels). (Xie et al. 2020.) Lecture 12.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {SCHEDULES}, got {schedule!r}")
    if not 0 <= progress <= 1 or classes < 2:
        raise ValueError(f"expected 0 ≤ progress ≤ 1 and 2 or more classes: {progress}, {classes}")
    alpha = {
        "linear": progress,
        "log": 1 - math.exp(-5 * progress),
        "exp": math.exp(5 * (progress - 1)),
    }[schedule]
    return alpha * (1 - 1 / classes) + 1 / classes
