"""The losses of lecture 12 in float64 NumPy, right and wrong: what homework 4 is compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def unit(x: NDArray) -> NDArray:
    """Rows (along the last axis) of length 1; zeros stay zeros."""
    length = np.sqrt((x.astype(np.float64) ** 2).sum(axis=-1, keepdims=True))
    return x / np.where(length == 0, 1, length)


def losses(logits: NDArray, positives: NDArray, left_out: Any = False) -> NDArray:
    """−ln softmax at ``positives``, row by row; ``left_out`` are no candidates."""
    logits = np.where(left_out, -np.inf, logits)
    largest = logits.max(axis=1)
    lse = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    return lse - np.take_along_axis(logits, positives[:, None], axis=1)[:, 0]


def board(a: NDArray, b: NDArray) -> NDArray:
    """The rows of the lecture's loss."""
    return losses(a @ b.T, np.arange(len(a)))


def partners(views: NDArray) -> NDArray:
    """The numbers of the partners: i + B, modulo 2B."""
    return np.roll(np.arange(len(views)), len(views) // 2)


def paper(
    a: NDArray, b: NDArray, temperature: float, *, cosine: bool = True, masked: bool = True
) -> NDArray:
    """The 2B rows of NT-Xent, without one of its parts if asked."""
    views = np.concatenate([a, b])
    views = unit(views) if cosine else views
    itself = np.eye(len(views), dtype=bool)
    return losses(views @ views.T / temperature, partners(views), itself & masked)


# ---- what well-known mistakes give ---------------------------------------------------------------


def wrong_units(x: NDArray) -> dict[str, Any]:
    """Of ``normalize``, for any number of axes."""
    last: dict[str, Any] = {"axis": -1, "keepdims": True}
    found = {
        "the whole array was divided by one length": x / np.linalg.norm(x),
        "divided by the squared length": x / (x**2).sum(**last),
        "divided by the sum of absolute values": x / np.abs(x).sum(**last),
        "the mean was subtracted first: a direction is counted from 0": unit(
            x - x.mean(**last)
        ),
    }  # fmt: skip
    if x.ndim == 2:
        found["the columns were scaled to length 1, not the rows"] = unit(x.T).T
    if x.ndim == 3:
        found["axis 1 was taken, not the last axis"] = unit(x.swapaxes(1, 2)).swapaxes(1, 2)
    return found


def wrong_boards(a: NDArray, b: NDArray) -> dict[str, Any]:
    """Of the sum that ``simclr_cs229`` gives."""
    s, own = a @ b.T, np.arange(len(a))
    rows, back = board(a, b), board(b, a)
    softplus = np.logaddexp(0, -s * (2 * np.eye(len(s)) - 1))
    return {
        "the mean over the rows was taken; the board sums": rows.mean(),
        "cosines were used; the board has raw inner products": board(unit(a), unit(b)).sum(),
        "the second views look for the first: a softmax over the wrong axis": back.sum(),
        "both directions were added; the board has one": (rows + back).sum(),
        "both directions were averaged; the board has one": (rows + back).sum() / 2,
        "the sign is wrong: this is Σ ln p": -rows.sum(),
        "the positive is missing below the line: A / (A + B), not A / B": _without_partner(
            s, own
        ).sum(),
        "the products were divided by √width, as in attention; the board does not": board(
            a / np.sqrt(a.shape[1]), b
        ).sum(),
        "this is a sum of sigmoids, one for each pair; the board has a softmax": softplus.sum(),
        "this is a hinge: how far others are ahead; the board has a softmax": np.maximum(
            s - s[own, own][:, None], 0
        ).sum(),
        "the logarithm has base 2; the loss is in nats": rows.sum() / np.log(2),
    }  # fmt: skip


def _without_partner(logits: NDArray, positives: NDArray, left_out: Any = False) -> NDArray:
    """−ln A / B: the positive is no candidate."""
    row = np.arange(len(logits))
    left_out = np.broadcast_to(left_out, logits.shape).copy()
    left_out[row, positives] = True
    if left_out.all(axis=1).any():  # a batch of 1
        return np.full(len(logits), np.nan)
    others = np.where(left_out, -np.inf, logits)
    return np.logaddexp.reduce(others, axis=1) - logits[row, positives]


def wrong_papers(a: NDArray, b: NDArray, temperature: float) -> dict[str, Any]:
    """Of the mean that ``nt_xent`` gives."""
    views = np.concatenate([unit(a), unit(b)])
    count, cosines = len(views), views @ views.T
    itself, logits = np.eye(count, dtype=bool), views @ views.T / temperature
    rows, partner = paper(a, b, temperature), partners(views)
    neighbours = np.arange(count) ^ 1

    def of(logits: NDArray, positives: NDArray = partner, left_out: Any = itself) -> float:
        return float(losses(logits, positives, left_out).mean())

    return {
        "the temperature was forgotten": of(cosines),
        "multiplied by the temperature instead of divided": of(cosines * temperature),
        "divided by the temperature twice, by τ²": of(logits / temperature),
        "divided by √τ": of(cosines / np.sqrt(temperature)),
        "the similarity of a view with itself was not masked": of(logits, left_out=False),
        "the masked similarity was set to 0, but e⁰ is 1: it must be −∞": of(
            np.where(itself, 0, logits), left_out=False
        ),
        "inner products were used, not cosines": paper(a, b, temperature, cosine=False).mean(),
        **_wrong_lengths(a, b, lambda z: of(z @ z.T / temperature)),
        "minus squared distances were used, not cosines": of(2 * logits - 2 / temperature),
        "views of the own side are negatives too: all 2B − 1 others": losses(
            logits[: len(a), len(a) :], np.arange(len(a))
        ).mean(),
        "views of the other side are negatives too: all 2B − 1 others": of(
            logits, left_out=_other_side(count) | itself
        ),
        "the positive is missing below the line: A / (A + B), not A / B": _without_partner(
            logits, partner, itself
        ).mean(),
        "only the first views' rows were counted": rows[: len(a)].mean(),
        **_wrong_factors(rows, temperature),
        "the partner of view i is i + B, not its neighbour in the stack": of(logits, neighbours),
        "the partner of view i is i + B: the nearest is not always it": of(
            logits, np.where(itself, -np.inf, logits).argmax(axis=1)
        ),
    }  # fmt: skip


def _wrong_factors(rows: NDArray, temperature: float) -> dict[str, float]:
    """The mean of the rows, times something."""
    factors = {
        "the sum over the rows was taken, not the mean": len(rows),
        "the means of both sides were added: this is twice the loss": 2,
        "the loss is multiplied by 2τ, as in MoCo v3; the paper does not": 2 * temperature,
        "the loss is multiplied by τ; the paper does not": temperature,
        "the loss is multiplied by τ / 0.07, as in SupCon's code; the paper does not": (
            temperature / 0.07
        ),
    }
    return {sentence: float(factor * rows.mean()) for sentence, factor in factors.items()}


def _wrong_lengths(a: NDArray, b: NDArray, of: Callable[[NDArray], float]) -> dict[str, float]:
    """The loss where something else than the rows was scaled."""
    stack = np.concatenate([a, b])
    return {
        "the columns were scaled to length 1, not the rows": of(unit(stack.T).T),
        "the batch was divided by one length, not each row by its own": of(
            stack / np.linalg.norm(stack)
        ),
    }


def _other_side(count: int) -> NDArray:
    """The views of the other side that are no partners: booleans (count, count)."""
    side = np.arange(count) // (count // 2)
    other = side[:, None] != side
    other[np.arange(count), np.roll(np.arange(count), count // 2)] = False
    return other


def wrong_spreads(x: NDArray) -> dict[str, float]:
    """Of ``z_std``."""
    u, root = unit(x), np.sqrt(x.shape[1])
    cosines = u @ u.T
    found = {
        "√width was forgotten": u.std(axis=0).mean(),
        "it was multiplied by √examples, not √width": u.std(axis=0).mean() * np.sqrt(len(u)),
        "it was multiplied by the width, not by its root": u.std(axis=0).mean() * root**2,
        "the rows were not scaled to length 1": x.std(axis=0).mean() * root,
        "the mean was subtracted first: directions are counted from 0": (
            unit(x - x.mean(axis=0)).std(axis=0).mean() * root
        ),
        "the deviation was taken along the rows: axis 1 instead of 0": (
            u.std(axis=1).mean() * root
        ),
        "one deviation of all numbers together: it does not see a collapse": u.std() * root,
        "divided by examples − 1; the convention here is examples": (
            u.std(axis=0, ddof=1).mean() * root
        ),
        "these are variances: the square root is missing": u.var(axis=0).mean() * root,
        "this is the root of the mean variance; the mean of the roots is asked for": (
            np.sqrt(u.var(axis=0).mean()) * root
        ),
        "this is the median of the columns, not their mean": np.median(u.std(axis=0)) * root,
        "these are mean absolute deviations, not standard deviations": (
            np.abs(u - u.mean(axis=0)).mean() * root
        ),
        "this is 1 − the mean cosine of two rows, which also falls in a collapse": (
            1 - cosines[~np.eye(len(u), dtype=bool)].mean()
        ),
    }  # fmt: skip
    return {sentence: float(value) for sentence, value in found.items()}
