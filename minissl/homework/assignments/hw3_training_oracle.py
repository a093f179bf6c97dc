"""AdamW, schedule, loop and perplexity in float64 NumPy: oracles of homework 3, with mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.nn.evaluating import evaluating

# ---- AdamW ---------------------------------------------------------------------------------------


def adamw(
    p: NDArray, g: NDArray, m: NDArray, v: NDArray, *,
    step: int, lr: float, betas: tuple[float, float], eps: float, weight_decay: float,
    how: str = "right",
) -> tuple[NDArray, NDArray, NDArray]:  # fmt: skip
    """p, m and v after an update; ``how`` names a mistake."""
    p, g, m, v = (a.astype(np.float64) for a in (p, g, m, v))
    b1, b2 = betas[::-1] if how == "betas exchanged" else betas
    t = {"step before": max(step - 1, 1), "always 1": 1}.get(how, step)
    old = m, v
    if how == "coupled":
        g = g + weight_decay * p
    m = (1 - b1) * m + b1 * g if how == "beta the wrong way" else b1 * m + (1 - b1) * g
    square = {"no square": g, "absolute": np.abs(g)}.get(how, g * g)
    v = b2 * v + (1 - b2) * square
    used = old if how == "old moments" else (m, v)
    m_hat, v_hat = used[0] / (1 - b1**t), used[1] / (1 - b2**t)
    if how == "no correction":
        m_hat, v_hat = m, v
    if how == "half a correction":
        v_hat = v
    with np.errstate(all="ignore"):
        below = np.sqrt(v_hat + eps) if how == "eps inside" else np.sqrt(v_hat) + eps
        below = v_hat + eps if how == "no root" else below
        if how == "eps first":
            below = (np.sqrt(v) + eps) / np.sqrt(1 - b2**t)
        move = lr * m_hat / below
        if how == "gradient alone":
            move = lr * g / below
    factors = {"coupled": 1.0, "decay without lr": 1 - weight_decay, "no decay": 1.0}
    factors["grows"] = 1 + lr * weight_decay
    shrink = factors.get(how, 1 - lr * weight_decay)
    if how == "decay after":
        return (p - move) * shrink, m, v
    return p * shrink + (move if how == "uphill" else -move), m, v


# What a student reads, and the ``how`` of ``adamw`` that makes it.
ADAMW_MISTAKES = {
    "m and v are not corrected: they begin with 0 and are too small at first": "no correction",
    "v is not corrected: divide it by 1 − β₂ᵗ": "half a correction",
    "t is the number of this step, from 1: the correction is that of the step before": (
        "step before"
    ),
    "the weight decay is added to the gradient: that is Adam with an L2 penalty, not AdamW": (
        "coupled"
    ),
    "the parameter shrinks by lr · weight_decay: lr is missing": "decay without lr",
    "weight_decay is not used": "no decay",
    "the shrinking comes first: the step itself does not shrink": "decay after",
    "eps stands inside of the root: it is added to it": "eps inside",
    "the square root of v is missing": "no root",
    "v is the mean of g, not of g²": "no square",
    "v is the mean of |g|, not of g²": "absolute",
    "β₁ and 1 − β₁ are exchanged: the mean forgets too fast": "beta the wrong way",
    "β₁ and β₂ are exchanged": "betas exchanged",
    "the step is made of g: it is made of its mean m": "gradient alone",
    "the step goes uphill": "uphill",
    "t is always 1: `step` is not used": "always 1",
    "the step is made of the moments before the update": "old moments",
    "ε is added after the correction, to √v̂": "eps first",
    "the parameter grows by lr · weight_decay: it shrinks": "grows",
}


# ---- the schedule --------------------------------------------------------------------------------


def rate(
    step: int, peak: float, warmup: int, total: int, final: float, how: str = "right"
) -> NDArray:
    """The learning rate of a step; ``how`` names a mistake."""
    if step < warmup and how == "from final":
        return np.asarray(final + (peak - final) * (step + 1) / (warmup + 1))
    if step < warmup:
        share = {"from zero": step / warmup, "too early": (step + 1) / warmup}.get(
            how, (step + 1) / (warmup + 1)
        )
        return np.asarray(peak if how == "no warm-up" else peak * share)
    steps = total if how == "over all steps" else total - warmup
    progress = (step - (0 if how == "not shifted" else warmup)) / steps
    if how == "one too soon":
        progress = (step + 1 - warmup) / steps
    if how == "last step":
        progress = (step - warmup) / max(steps - 1, 1)
    if how != "goes on":
        progress = min(progress, 1.0)
    fallen = math.cos(2 * math.pi * progress if how == "whole" else math.pi * progress)
    left = {"linear": 1 - progress, "quarter": math.cos(math.pi / 2 * progress)}.get(
        how, (1 + fallen) / 2
    )
    if how == "final not used" or (how == "0 at the end" and progress == 1):
        return np.asarray(peak * left)
    return np.asarray(
        peak * left + final if how == "final added" else final + (peak - final) * left
    )


# What a student reads, and the ``how`` of ``rate`` that makes it.
RATE_MISTAKES = {
    "the first step has rate 0, and learns nothing: (step + 1) / (warmup_steps + 1)": "from zero",
    "the peak comes one step too early: it is reached at step warmup_steps": "too early",
    "there is no warm-up": "no warm-up",
    "it falls in a line: half a cosine is asked for": "linear",
    "it falls by a quarter of a cosine: (1 + cos(π x)) / 2 is asked for": "quarter",
    "it falls and rises again: half a cosine goes from 0 to π": "whole",
    "after total_steps it rises again: it stays at ``final``": "goes on",
    "``final`` is reached one step after the last: divide by total_steps − warmup_steps": (
        "last step"
    ),
    "``final`` is not used": "final not used",
    "``final`` is not used from total_steps on": "0 at the end",
    "the warm-up begins at 0, not at ``final``": "from final",
    "``final`` is added: the peak must be the peak": "final added",
    "the fall begins at warmup_steps: subtract it from the step": "not shifted",
    "the fall takes total_steps − warmup_steps": "over all steps",
    "the fall is one step ahead: it would be ``final`` at total_steps, not before": "one too soon",
}


# ---- the loop, on least squares ------------------------------------------------------------------


def line_batch(generator: np.random.Generator, width: int) -> tuple[NDArray, NDArray]:
    """Four examples x (4, width) and their y."""
    x = generator.standard_normal((4, width))
    return x, x.sum(axis=1) + generator.standard_normal(4)


def line_noise(generator: np.random.Generator, x: NDArray) -> NDArray:
    """What stands for dropout."""
    return 0.1 * generator.standard_normal(x.shape)


def line_training(
    start: NDArray, steps: int, lr: float, rates: Callable[[int], float] | None, seed: int,
    clip: float | None, how: str = "right",
) -> tuple[NDArray, NDArray]:  # fmt: skip
    """The losses and the last weights of gradient descent; ``how`` names a mistake."""
    w, losses, old = start.copy(), [], np.zeros_like(start)
    once = np.random.default_rng(seed)
    for step in range(steps):
        made_of: dict[str, Any] = {"seed alone": seed, "step alone": step}
        made_of |= {"seed not used": [0, step], "exchanged": [step, seed]}
        generator = np.random.default_rng(made_of.get(how, [seed, step]))
        generator = once if how == "one generator" else generator
        x, y = line_batch(generator, len(w))
        if how == "two generators":
            generator = np.random.default_rng([seed, step])
        x = x + line_noise(generator, x)
        error = x @ w - y
        gradient = 2 * x.T @ error / len(y)
        if how == "adds up":
            gradient = old = old + gradient
        norm = math.sqrt((gradient**2).sum())
        if clip is not None and how != "not clipped":
            if how == "elements clipped":
                gradient = np.clip(gradient, -clip, clip)
            elif how == "always scaled" or norm > clip:
                gradient = gradient * clip / norm
        now = {"next rate": step + 1, "rate too late": step - 1}.get(how, step)
        rate = lr if rates is None or how == "no schedule" or now < 0 else rates(now)
        before, w = w, w - rate * gradient
        after = float(((x @ w - y) ** 2).mean())
        losses.append(after if how == "loss afterwards" else float((error**2).mean()))
        if how == "one update less" and step == steps - 1:
            w = before
    return np.array(losses), w


# What a student reads, and the ``how`` of ``line_training`` that makes it.
LOOP_MISTAKES = {
    "the gradients add up: forget them before each backward()": "adds up",
    "every step draws the same batch: the generator is made of the seed and the step": "seed alone",
    "one generator goes through all steps: make one for each, from [seed, step]": "one generator",
    "the seed is not used: the generator is made of [seed, step]": "seed not used",
    "the generator is made of the step alone: [seed, step]": "step alone",
    "the generator is made of [step, seed]: it is [seed, step], in this order": "exchanged",
    "batch and loss have generators of their own: the loss goes on with that of the batch": (
        "two generators"
    ),
    "the schedule is not used": "no schedule",
    "the learning rate is that of the next step": "next rate",
    "the learning rate is set after the update: each step has that of the one before": (
        "rate too late"
    ),
    "clip is not used, or comes after the update": "not clipped",
    "each element is clipped: it is the norm of all together": "elements clipped",
    "small gradients are made larger: clip only what is longer": "always scaled",
    "the loss is that before the update": "loss afterwards",
    "the last update is missing": "one update less",
}


# ---- a stream, by windows ------------------------------------------------------------------------


def log_probabilities(model: Any, tokens: NDArray) -> NDArray:
    """ln p of every token after each place of one window: (time, vocab_size)."""
    with evaluating(model):
        logits = model(tokens[None]).numpy()[0]
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))


# Which places k a window counts, by mistake: k, where it begins, its length, the stride.
COUNTED: dict[str, Callable[[int, int, int, int], bool]] = {
    "last stride": lambda k, start, length, stride: k >= length - stride,
    "last stride, but for the first": lambda k, start, n, stride: k >= n - stride or start == 0,
    "first stride": lambda k, start, length, stride: k < stride,
}


def stream_nats(
    log_p: Callable[[NDArray], NDArray], stream: NDArray, context: int, stride: int | None,
    how: str = "right",
) -> NDArray:  # fmt: skip
    """−Σ ln p, token by token; ``how`` names a mistake."""
    targets = len(stream) - 1
    length = min(context, targets)
    stride = max(length // 2, 1) if stride is None or how == "stride not used" else stride
    stride = length if how == "side by side" else stride
    starts = [*range(0, targets - length, stride), targets - length]
    if how == "end left out":
        starts = starts[:-1] if len(starts) > 1 and starts[-1] != starts[-2] + stride else starts
    total, done = 0.0, 0
    for start in starts:
        values = log_p(stream[start : start + length])
        for k in range(length):
            place = start + k
            if how in COUNTED:
                if not COUNTED[how](k, start, length, stride):
                    continue
            elif place < done and how != "all counted":
                continue
            target = stream[place] if how == "not shifted" else stream[place + 1]
            total -= values[k, target]
        done = max(done, start + length)
    if how == "first token":
        total -= log_p(stream[:1])[0, stream[0]]
    return np.asarray(total)


# What a student reads, and the ``how`` of ``stream_nats`` that makes it.
NATS_MISTAKES = {
    "tokens that two windows see are counted twice": "all counted",
    "the windows stand side by side: they begin every ``stride`` tokens and overlap": (
        "side by side"
    ),
    "stride is not used": "stride not used",
    "the end of the stream is left out: the last window ends with its last token": "end left out",
    "each token is predicted after it was read: the target is the next one": "not shifted",
    "the first token has nothing before it: it is not predicted": "first token",
    "the first window counts all of its tokens, not only the last ``stride``": "last stride",
    "the last window begins less than ``stride`` after the one before, and counts tokens again": (
        "last stride, but for the first"
    ),
    "a window counts its first tokens, where the past is cut: it counts its last": "first stride",
}
