"""Learning-rate schedules: plain functions of the step, with nothing to save.

``step`` counts from 0, the first update of a run. ``functools.partial(warmup_cosine, peak=1e-3,
warmup_steps=100, total_steps=1000)`` is what ``fit`` takes. No step of a run has learning rate 0:
the warm-up starts one stride above 0, and the decay would reach ``final`` one step after the last.
"""

import math


def constant(step: int, *, peak: float, warmup_steps: int = 0) -> float:
    """``peak`` always, after a linear warm-up if wanted."""
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    return peak


def warmup_cosine(
    step: int, *, peak: float, warmup_steps: int, total_steps: int, final: float = 0.0
) -> float:
    """In a line to ``peak`` at ``warmup_steps``, by half a cosine to ``final`` at ``total_steps``.

    Loshchilov and Hutter (2017), SGDR; the warm-up is that of Goyal et al. (2017). Lecture 10.
    Raises ValueError unless 0 ≤ warmup_steps < total_steps.
    """
    progress = _progress(step, warmup_steps, total_steps)
    if progress is None:
        return peak * (step + 1) / (warmup_steps + 1)
    return final + (peak - final) * (1 + math.cos(math.pi * progress)) / 2


def warmup_linear(
    step: int, *, peak: float, warmup_steps: int, total_steps: int, final: float = 0.0
) -> float:
    """In a line to ``peak`` at ``warmup_steps``, in a line to ``final`` at ``total_steps``.

    The schedule of BERT (Devlin et al. 2019). Lecture 08.
    Raises ValueError unless 0 ≤ warmup_steps < total_steps.
    """
    progress = _progress(step, warmup_steps, total_steps)
    if progress is None:
        return peak * (step + 1) / (warmup_steps + 1)
    return final + (peak - final) * (1 - progress)


def _progress(step: int, warmup_steps: int, total_steps: int) -> float | None:
    """How far the decay has come, 0 to 1 (and 1 ever after); None during the warm-up."""
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            f"a schedule needs 0 ≤ warmup_steps < total_steps, got {warmup_steps} and {total_steps}"
        )
    if step < warmup_steps:
        return None
    return min(1.0, (step - warmup_steps) / (total_steps - warmup_steps))
