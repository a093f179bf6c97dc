"""Homework 4, the step of FlashAttention: in Triton's interpreter or on a GPU. Lecture 07."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.assignments.hw4_kernels import ALLOWS, KERNELS, launched
from minissl.homework.task import Draw, Task, expect

online_softmax = Task(
    "4.7",
    "minissl_kernels.attention.forward:online_softmax",
    "the heart of FlashAttention",
    "lecture 07, section 3",
    seconds=60,
    requires=KERNELS,
    allows=ALLOWS,
)
Answers = dict[str, NDArray]


def _right(scores: NDArray, bits: float, maximum: NDArray, total: NDArray) -> Answers:
    """One step in float64 NumPy."""
    new = np.maximum(maximum, (scores * bits).max(axis=1))
    weights, rescale = 2 ** (scores * bits - new[:, None]), 2 ** (maximum - new)
    return {
        "maximum": new,
        "weights": weights,
        "rescale": np.where(rescale < 1e-30, 0, rescale),  # as in float32
        "total": total * rescale + weights.sum(axis=1),
    }


def _wrong_maxima(
    scores: NDArray, bits: float, maximum: NDArray, rescale: NDArray
) -> dict[str, NDArray]:
    """What well-known mistakes give for the new maximum."""
    in_bits = scores * bits
    new = np.maximum(maximum, in_bits.max(axis=1))
    found = {
        "the old maximum was forgotten: take the larger of both": in_bits.max(axis=1),
        "the largest score must be multiplied by bits too": np.maximum(maximum, scores.max(axis=1)),
        "one maximum was taken for the whole tile: each row has its own": np.maximum(
            maximum, in_bits.max()
        ),
        "the maximum may also be below 0": np.maximum(new, 0),
        "the old maximum was returned": maximum,
        "the order is weights, rescale, maximum, total": rescale,
    }
    if scores.shape[0] == scores.shape[1]:
        columns = np.maximum(maximum, in_bits.max(axis=0))
        found["the largest is to be taken along the keys, axis 1"] = columns
    return found


def _wrong(
    scores: NDArray, bits: float, maximum: NDArray, total: NDArray
) -> dict[str, dict[str, NDArray]]:
    """What well-known mistakes give, for each of the four."""
    right, in_bits = _right(scores, bits, maximum, total), scores * bits
    new, weights, rescale = right["maximum"], right["weights"], right["rescale"]
    added = weights.sum(axis=1)
    after = total * rescale + added
    return {
        "maximum": _wrong_maxima(scores, bits, maximum, rescale),
        "weights": {
            "e was used as the base; bits already holds log2 e": np.exp(in_bits - new[:, None]),
            "the new maximum was not subtracted": 2**in_bits,
            "the weights were taken under the old maximum": 2 ** (in_bits - maximum[:, None]),
            "the scores were not multiplied by bits": 2 ** (scores - new[:, None]),
            "a score of 0 was taken for one that is left out": np.where(scores == 0, 0, weights),
            "the weights were divided by the total: that comes after the last tile": (
                weights / after[:, None]
            ),
        },
        "rescale": {
            "upside down: the old sums are too large by 2^(new − old)": 1 / rescale,
            "e was used as the base; both maxima are in bits": np.exp(maximum - new),
            "the order is weights, rescale, maximum, total": new,
            "the old sums were dropped where no larger score came": np.where(
                new > maximum, rescale, 0
            ),
        },
        "total": {
            "the old total was not rescaled": total + added,
            "the old total was forgotten": added,
            "the new weights were rescaled too; only the old total is": (total + added) * rescale,
            "the mean of the weights was added, not their sum": (
                total * rescale + weights.mean(axis=1)
            ),
            "the largest weight was added, not the sum": total * rescale + weights.max(axis=1),
            "this is the log-sum-exp: total is a sum of powers of 2": new + np.log2(after),
        },
    }  # fmt: skip


@online_softmax.check(5)
def one_step(step: Any, draw: Draw) -> None:
    """One tile: its weights, the rescaling factor, the new maximum and the new total."""
    from minissl.homework import interpreted

    shapes = ((2, 4), (4, 4))
    for bits in draw.cases(1.0, 0.5, more=lambda g: float(g.uniform(0.2, 2))):
        for rows, keys in shapes:
            scores = np.round(draw.normal(rows, keys) - 1, 2)
            scores[0] = -np.abs(scores[0]) - 0.25  # a new maximum below 0
            scores[-1, :2] = 0, 1.5
            maximum = np.round(draw.normal(rows), 2)
            maximum[:2] = -6.0, 3.0  # the tile brings a larger score, and does not
            total = draw.generator.uniform(1, 3, rows)
            given = {"scores": scores, "bits": bits, "maximum": maximum, "total": total}
            launch = interpreted.online_softmax_step
            got = launched(launch, given, step, scores, bits, maximum, total)
            _compare(got, _right(scores, bits, maximum, total), given,
                     _wrong(scores, bits, maximum, total))  # fmt: skip


def _compare(
    got: Answers, right: Answers, given: dict[str, Any], wrong: Any = None, where: str = ""
) -> None:
    """All four, the maximum first: the others are made from it."""
    for name, value in right.items():
        expect(
            got[name].astype(np.float64), value, given={**given, "looked at": name},
            symptoms=(wrong or {}).get(name), tolerance=1e-5, otherwise=f"{name} is wrong{where}",
        )  # fmt: skip


@online_softmax.check(5)
def attention_in_tiles(step: Any, draw: Draw) -> None:
    """Attention that walks along 16 keys at a time equals softmax(Q Kᵀ) V, also of float16."""
    from minissl.homework import interpreted

    cases = (16, "float32"), (32, "float32"), (35, "float32"), (35, "float16")
    for keys, dtype in draw.cases(*cases, more=lambda g: (int(g.integers(17, 64)), "float32")):
        query, key, value = (
            draw.normal(n, 16).astype(dtype).astype(np.float64) for n in (16, keys, keys)
        )
        given = {"query": query, "key": key, "value": value, "scale": 0.25, "dtype": dtype}
        got = launched(interpreted.attention, given, step, query, key, value, 0.25, dtype)
        scores = query @ key.T / 4
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        right = weights / weights.sum(axis=1, keepdims=True) @ value
        expect(
            got.astype(np.float64), right, given=given,
            tolerance=1e-5 if dtype == "float32" else 2e-3,
            otherwise="the tiles do not add up: what was summed under an older maximum must be "
            "multiplied by rescale" if keys > 16 else "the values are wrong",
        )  # fmt: skip


@online_softmax.check(4)
def steep_scores(step: Any, draw: Draw) -> None:
    """Scores of ±1000 that grow from tile to tile, and −∞ for keys that are hidden; no NaN."""
    from minissl.homework import interpreted

    for level in draw.generator.uniform(900, 1100, 2).round(1).tolist():
        scores = np.array([[-level, -np.inf], [level, level - 10]])
        maximum, total = np.array([-1e38, level / 2]), np.array([0.0, 3.0])
        given = {"scores": scores, "bits": 1.0, "maximum": maximum, "total": total}
        launch = interpreted.online_softmax_step
        got = launched(launch, given, step, scores, 1.0, maximum, total)
        where = " with scores of ±1000 and −∞: is something clipped?"
        _compare(got, _right(scores, 1.0, maximum, total), given, where=where)
    far = np.array([[0.0, -40.0], [-40.0, -60.0]]) + draw.generator.uniform(0, 1)
    hidden = np.array([[-2e4, -np.inf], [-3e4, -3e4]])
    for scores, sentence in (
        (far, ": far from the largest, weights become tiny, but they were clipped"),
        (hidden, " where all scores are below −10⁴: a hidden one has −∞, and must not be seen"),
    ):
        maximum, total = np.full(2, -1e38), np.zeros(2)
        given = {"scores": scores, "bits": 1.0, "maximum": maximum, "total": total}
        launch = interpreted.online_softmax_step
        got = launched(launch, given, step, scores, 1.0, maximum, total)
        right = _right(scores, 1.0, maximum, total)
        _compare({n: _seen(a) for n, a in got.items()},
                 {n: _seen(a) for n, a in right.items()}, given, where=sentence)  # fmt: skip


def _seen(weights: NDArray) -> NDArray:
    """Of weights the logarithms, so that tiny ones count as well; the rest as it is."""
    return weights if weights.ndim == 1 else np.log2(np.maximum(weights, 1e-30))
