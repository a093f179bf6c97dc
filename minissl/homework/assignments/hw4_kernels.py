"""The kernels of homework 4, run in Triton's interpreter or on a GPU. Lecture 07.

Outputs lie between guards, rows of inputs have gaps full of 1000s between them, and the oracles are
formulas in float64 NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.task import Draw, Task, Wrong, expect, unwritten

KERNELS = ("torch", "triton")

layer_norm = Task(
    "4.6",
    "minissl_kernels.layer_norm:layer_norm_kernel",
    "a whole kernel: layer normalization",
    "lectures/07, section 7",
    seconds=60,
    requires=KERNELS,
)
online_softmax = Task(
    "4.7",
    "minissl_kernels.attention.forward:online_softmax",
    "the heart of FlashAttention",
    "lectures/07, section 3",
    seconds=60,
    requires=KERNELS,
)


def _launch(launch: Any, given: dict[str, Any], /, *arguments: Any) -> Any:
    """Run a kernel; what goes wrong in the interpreter becomes a case."""
    try:
        with np.errstate(all="ignore"):
            return launch(*arguments)
    except Exception as error:
        if unwritten(error):
            raise
        message = f"the kernel raised {type(error).__name__}: {error}"
        raise Wrong(message, given, type(error).__name__, "a result") from error


# ---- 4.6 layer normalization ---------------------------------------------------------------------


def _normalized(
    x: NDArray, weight: NDArray, bias: NDArray | None, eps: float, *, padded: int | None = None
) -> tuple[NDArray, NDArray]:
    """y and (mean, r) in float64; ``padded``: what the sums are divided by instead of the width."""
    x = x.astype(np.float64)
    count = padded or x.shape[1]
    mean = x.sum(axis=1) / count
    centred = x - mean[:, None]
    r = 1 / np.sqrt((centred**2).sum(axis=1) / count + eps)
    y = centred * r[:, None] * weight
    return y if bias is None else y + bias, np.stack([mean, r])


def _layer_norm_case(
    kernel: Any, draw: Draw, rows: int, width: int, rows_each: int, biased: bool, level: float
) -> None:
    from minissl.homework import interpreted

    x = (draw.normal(rows, width) + level).astype(np.float32)
    weight, bias = draw.normal(width), draw.normal(width) if biased else None
    given = {"x": x, "weight": weight, "bias": bias, "eps": 1e-3, "ROWS": rows_each}
    out = _launch(interpreted.layer_norm, given, kernel, x, weight, bias, 1e-3, rows_each)
    y, statistics = _normalized(x, weight, bias, 1e-3)
    block = 1 << (width - 1).bit_length()
    as_padded = _normalized(x, weight, bias, 1e-3, padded=block)[0]
    centred = x - x.astype(np.float64).mean(axis=1, keepdims=True)
    loose = (centred**2).sum(axis=1) + (block - width) * x.mean(axis=1) ** 2
    unmasked = centred / np.sqrt(loose / width + 1e-3)[:, None] * weight
    variance = (centred**2).mean(axis=1, keepdims=True)
    outside = centred / (np.sqrt(variance) + 1e-3) * weight
    shift = 0 if bias is None else bias
    for name, (_, intact) in out.items():
        if not intact:
            sentence = f"it wrote outside of {name}: the mask of tl.store leaves too much in"
            raise Wrong(sentence, given, "a number beyond the end", "nothing there")
    allowed = 2e-6 * (1 + 10 * abs(level))
    expect(
        out["y"][0].astype(np.float64),
        y,
        given=given,
        tolerance=allowed,
        symptoms={
            "the sums were divided by BLOCK, not by WIDTH": as_padded,
            "padded columns count in the variance: centre, then set them to 0": unmasked + shift,
            "eps belongs under the root": outside + shift,
            "the bias was not added": y - shift,
            "the weight was not multiplied": centred / np.sqrt(variance + 1e-3) + shift,
        },
        otherwise="y is wrong" if level < 10 else "digits are lost where the mean is large: centre "
        "first, then square (E[x²] − E[x]² cancels)",
    )  # fmt: skip
    expect(
        out["statistics"][0].astype(np.float64),
        statistics,
        given=given,
        tolerance=allowed,
        otherwise="statistics must hold the means, then, ``rows`` further on, the r",
    )


@layer_norm.check(8)
def whole_blocks(kernel: Any, draw: Draw) -> None:
    """y and the statistics where every row fills its block and every program its rows."""
    _layer_norm_case(kernel, draw, 1, 2, 1, True, 0)
    _layer_norm_case(kernel, draw, 4, 8, 2, True, 0)


@layer_norm.check(6)
def ragged_shapes(kernel: Any, draw: Draw) -> None:
    """Widths that are no power of two, rows that do not fill the last program."""

    def more(generator: np.random.Generator) -> tuple[int, int, int]:
        rows, width = generator.integers(2, 20, 2).tolist()
        return rows, width, 4

    for rows, width, rows_each in draw.cases((1, 3, 1), (3, 5, 2), more=more):
        _layer_norm_case(kernel, draw, rows, width, rows_each, True, 1)


@layer_norm.check(3)
def without_a_bias(kernel: Any, draw: Draw) -> None:
    """``bias`` may be None."""
    _layer_norm_case(kernel, draw, 2, 4, 1, False, 0)


@layer_norm.check(3)
def large_means(kernel: Any, draw: Draw) -> None:
    """A mean of 3000 with deviations of 1: no digits may be lost."""
    _layer_norm_case(kernel, draw, 2, 4, 1, True, 3000)


# ---- 4.7 online softmax --------------------------------------------------------------------------


@online_softmax.check(6)
def one_step(step: Any, draw: Draw) -> None:
    """One tile: its weights, the rescaling factor, the new maximum and the new total."""
    from minissl.homework import interpreted

    for bits in draw.cases(1.0, 0.5, more=lambda g: float(g.uniform(0.2, 2))):
        scores = np.round(draw.normal(2, 4), 2)
        maximum, total = np.array([-0.25, 3.0]), np.array([1.5, 2.0])
        given = {"scores": scores, "bits": bits, "maximum": maximum, "total": total}
        got = _launch(interpreted.online_softmax_step, given, step, scores, bits, maximum, total)
        new = np.maximum(maximum, (scores * bits).max(axis=1))
        weights, rescale = 2 ** (scores * bits - new[:, None]), 2 ** (maximum - new)
        alone = (scores * bits).max(axis=1)
        wrong: dict[str, dict[str, Any]] = {
            "maximum": {
                "the old maximum was forgotten: take the larger of both": alone,
                "the largest score must be multiplied by bits too": np.maximum(
                    maximum, scores.max(axis=1)
                ),
            },
            "weights": {
                "e was used as the base; bits already holds log2 e": np.exp(
                    scores * bits - new[:, None]
                ),
                "the new maximum was not subtracted": 2 ** (scores * bits),
                "the scores were not multiplied by bits": 2 ** (scores - new[:, None]),
            },
            "rescale": {
                "upside down: the old sums are too large by 2^(new − old)": 1 / rescale,
                "e was used as the base; both maxima are in bits": np.exp(maximum - new),
            },
            "total": {
                "the old total was not rescaled": total + weights.sum(axis=1),
                "the old total was forgotten": weights.sum(axis=1),
                "the new weights were rescaled too; only the old total is": (
                    total + weights.sum(axis=1)
                )
                * rescale,
            },
        }
        for name, right in (
            ("maximum", new), ("weights", weights), ("rescale", rescale),
            ("total", total * rescale + weights.sum(axis=1)),
        ):  # fmt: skip
            expect(
                got[name].astype(np.float64), right, given={**given, "looked at": name},
                symptoms=wrong[name], tolerance=1e-5, otherwise=f"{name} is wrong",
            )  # fmt: skip


@online_softmax.check(6)
def attention_in_tiles(step: Any, draw: Draw) -> None:
    """Attention that walks along 16 keys at a time equals softmax(Q Kᵀ) V at once."""
    from minissl.homework import interpreted

    for keys in draw.cases(16, 32, 35, more=lambda g: int(g.integers(17, 80))):
        query, key, value = draw.normal(16, 16), draw.normal(keys, 16), draw.normal(keys, 16)
        given = {"query": query, "key": key, "value": value, "scale": 0.25}
        got = _launch(interpreted.attention, given, step, query, key, value, 0.25)
        scores = query @ key.T / 4
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        right = weights / weights.sum(axis=1, keepdims=True) @ value
        expect(
            got.astype(np.float64), right, given=given, tolerance=1e-5,
            otherwise="the tiles do not add up: what was summed under an older maximum must be "
            "multiplied by rescale" if keys > 16 else "the values are wrong",
        )  # fmt: skip


@online_softmax.check(4)
def steep_scores(step: Any, draw: Draw) -> None:
    """Scores of ±1000 that grow from tile to tile neither overflow nor become NaN."""
    from minissl.homework import interpreted

    scores = np.array([[-1000.0, -1000.0], [1000.0, 990.0]])
    maximum, total = np.array([-1e38, 500.0]), np.array([0.0, 3.0])
    given = {"scores": scores, "bits": 1.0, "maximum": maximum, "total": total}
    got = _launch(interpreted.online_softmax_step, given, step, scores, 1.0, maximum, total)
    right = {
        "weights": np.array([[1, 1], [1, 2.0**-10]]),
        "rescale": np.zeros(2),
        "maximum": np.array([-1000.0, 1000.0]),
        "total": np.array([2, 1 + 2.0**-10]),
    }
    for name, value in right.items():
        expect(
            got[name].astype(np.float64), value, given={**given, "looked at": name},
            tolerance=1e-5, otherwise=f"{name} is wrong with scores of ±1000",
        )  # fmt: skip
