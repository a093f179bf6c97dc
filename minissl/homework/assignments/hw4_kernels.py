"""Homework 4, a whole kernel: in Triton's interpreter or on a GPU. Lecture 07.

In the interpreter every address is watched, and what was not loaded is NaN. Rows of inputs have
gaps between them, outputs lie between guards, and the oracles are formulas in float64 NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minissl.homework.task import Draw, Task, Wrong, expect, unwritten

KERNELS = ("torch", "triton")
ALLOWS = ("triton*",)

layer_norm = Task(
    "4.6",
    "minissl_kernels.layer_norm:layer_norm_kernel",
    "a whole kernel: layer normalization",
    "lecture 07, section 7",
    seconds=60,
    requires=KERNELS,
    allows=ALLOWS,
)


def launched(launch: Any, given: dict[str, Any], /, *arguments: Any) -> Any:
    """Run a kernel; what goes wrong becomes a case, with the error that is behind Triton's own."""
    from minissl.homework.watched import Misuse

    try:
        with np.errstate(all="ignore"):
            return launch(*arguments)
    except Exception as error:
        if unwritten(error):
            raise
        first: BaseException = error
        while not isinstance(first, Misuse) and (first.__cause__ or first.__context__):
            first = first.__cause__ or first.__context__ or first
        if isinstance(first, Misuse):
            raise Wrong(str(first), given, "see above", "its own elements only") from error
        message = f"the kernel raised {type(first).__name__}: {first}"
        raise Wrong(message, given, type(first).__name__, "a result") from error


@dataclass(frozen=True)
class Case:
    """One launch. ``dtypes``: of x, of weight and bias, and of y."""

    x: NDArray
    weight: NDArray
    bias: NDArray | None
    eps: float
    rows_each: int
    dtypes: tuple[str, str, str] = ("float32", "float32", "float32")

    @property
    def given(self) -> dict[str, Any]:
        """What a student reads."""
        of = dict(zip(("x", "weight", "y"), self.dtypes))
        return {
            "x": self.x, "weight": self.weight, "bias": self.bias, "eps": self.eps,
            "ROWS": self.rows_each, "dtypes": ", ".join(f"{n} {of[n]}" for n in of),
        }  # fmt: skip

    def finished(self, centred: NDArray, r: Any) -> NDArray:
        """centred · r · weight + bias."""
        y: NDArray = centred * np.reshape(r, (-1, 1)) * self.weight.astype(np.float64)
        return y if self.bias is None else y + self.bias.astype(np.float64)


def _case(
    draw: Draw,
    rows: int,
    width: int,
    rows_each: int,
    *,
    biased: bool = True,
    level: float = 0.0,
    dtypes: tuple[str, str, str] = ("float32", "float32", "float32"),
) -> Case:
    """A launch with numbers that are drawn, around ``level``."""
    x = (draw.normal(rows, width) + level).astype(dtypes[0])
    weight, bias = (draw.normal(width).astype(dtypes[1]) for _ in range(2))
    eps = round(float(draw.generator.uniform(0.001, 0.01)), 4)
    return Case(x, weight, bias if biased else None, eps, rows_each, dtypes)


def _statistics(x: NDArray, eps: float) -> tuple[NDArray, NDArray, NDArray]:
    """The means, the variances and the r of float64 rows."""
    mean = x.mean(axis=1)
    variance = ((x - mean[:, None]) ** 2).mean(axis=1)
    return mean, variance, 1 / np.sqrt(variance + eps)


def _wrong_outputs(case: Case, x: NDArray) -> dict[str, NDArray]:
    """What well-known mistakes give for y."""
    mean, variance, r = _statistics(x, case.eps)
    width, centred = x.shape[1], x - mean[:, None]
    block = 1 << (width - 1).bit_length()
    loose = (centred**2).sum(axis=1) + (block - width) * mean**2
    by_block = x - x.sum(axis=1, keepdims=True) / block
    of_block = 1 / np.sqrt((by_block**2).sum(axis=1) / block + case.eps)
    right, bias = case.finished(centred, r), 0 if case.bias is None else case.bias
    squares = (x**2).mean(axis=1)
    absolute = np.abs(centred).mean(axis=1)
    found = {
        "the sums were divided by BLOCK, not by WIDTH": case.finished(by_block, of_block),
        "padded columns count in the variance: centre, then set them to 0": case.finished(
            centred, 1 / np.sqrt(loose / width + case.eps)
        ),
        "eps belongs under the root": case.finished(centred, 1 / (np.sqrt(variance) + case.eps)),
        "eps was forgotten": case.finished(centred, 1 / np.sqrt(variance)),
        "eps is an argument: another one was used": case.finished(
            centred, 1 / np.sqrt(variance + 1e-5)
        ),
        "the square root is missing": case.finished(centred, 1 / (variance + case.eps)),
        "divided by WIDTH − 1: the variance here has WIDTH": case.finished(
            centred, 1 / np.sqrt((centred**2).sum(axis=1) / max(width - 1, 1) + case.eps)
        ),
        "the mean was not subtracted": case.finished(x, 1 / np.sqrt(squares + case.eps)),
        "these are mean absolute deviations: squares are meant": case.finished(
            centred, 1 / np.sqrt(absolute**2 + case.eps)
        ),
        "the bias was not added": right - bias,
        "the weight was not multiplied": centred * r[:, None] + bias,
        "the bias was multiplied by the weight": (right - bias) + bias * case.weight,
        "one weight was used for all columns": centred * r[:, None] * case.weight[0] + bias,
    }  # fmt: skip
    if case.dtypes[2] != case.dtypes[0]:
        rounded = right.astype(case.dtypes[0]).astype(case.dtypes[2])
        found["y was rounded to the dtype of x: it has the dtype of y"] = rounded
    return found


def _check_case(kernel: Any, case: Case) -> None:
    """Launch it, and compare y and the statistics with NumPy's."""
    from minissl.homework import interpreted

    out = launched(
        interpreted.layer_norm, case.given, kernel, case.x, case.weight, case.bias, case.eps,
        case.rows_each, case.dtypes,
    )  # fmt: skip
    x = case.x.astype(np.float64)
    mean, variance, r = _statistics(x, case.eps)
    y, statistics = case.finished(x - mean[:, None], r), np.stack([mean, r])
    if out.left_out and not np.isfinite(np.append(out.y, out.statistics)).all():
        sentence = (
            "lanes that were not loaded came into y: on a GPU they hold anything, here NaN; give "
            "tl.load an other"
        )
        raise Wrong(sentence, case.given, out.y, y)
    _compare(case, out.y, y, "y", _wrong_outputs(case, x))
    symptoms = {
        "the second statistics are 1 / r": np.stack([mean, 1 / r]),
        "the second statistics are the variance; r = 1/√(variance + eps)": np.stack(
            [mean, variance]
        ),
        "means and r are exchanged in the statistics": np.stack([r, mean]),
    }
    _compare(case, out.statistics, statistics, "statistics", symptoms)


def _compare(
    case: Case, got: NDArray, right: NDArray, name: str, symptoms: dict[str, NDArray]
) -> None:
    """As exact as the dtypes allow."""
    level, half = float(np.abs(case.x.mean(axis=1)).max()), "float16" in case.dtypes
    sentence = {
        "y": "y is wrong",
        "statistics": "statistics must hold the means, then, ``rows`` further on, the r",
    }[name]
    if level > 10 and name == "y":
        sentence = (
            "digits are lost where the mean is large: centre first, then square (E[x²] − E[x]² "
            "cancels)"
        )
    if half:
        sentence = (
            f"{name}: digits are lost with float16: the arithmetic is in float32, so convert what "
            "you load by .to(tl.float32)"
        )
    # Of a large mean float32 keeps fewer digits of what differs from it.
    rounded = 4e-3 if got.dtype == np.float16 else 1e-5 * (1 + level / 10)
    expect(
        got.astype(np.float64), right, given=case.given, tolerance=rounded, symptoms=symptoms,
        otherwise=sentence,
    )  # fmt: skip


@layer_norm.check(6)
def whole_blocks(kernel: Any, draw: Draw) -> None:
    """y and the statistics where every row fills its block and every program its rows."""
    for rows, width, rows_each in ((1, 2, 1), (4, 8, 2)):
        _check_case(kernel, _case(draw, rows, width, rows_each))


@layer_norm.check(5)
def ragged_shapes(kernel: Any, draw: Draw) -> None:
    """Widths that are no power of two, rows that do not fill the last program; no other memory."""

    def more(generator: np.random.Generator) -> tuple[int, int, int]:
        rows, width = generator.integers(2, 20, 2).tolist()
        return rows, width, 4

    for rows, width, rows_each in draw.cases((1, 3, 1), (3, 5, 2), (3, 1, 2), more=more):
        _check_case(kernel, _case(draw, rows, width, rows_each, level=1))


@layer_norm.check(3)
def half_precision(kernel: Any, draw: Draw) -> None:
    """float16 is converted when it is loaded: sums, means and r have the digits of float32."""
    same, mixed = ("float16", "float16", "float16"), ("float16", "float32", "float32")
    for dtypes in (same, mixed):
        _check_case(kernel, _case(draw, 3, 13, 2, level=4, dtypes=dtypes))


@layer_norm.check(2)
def without_a_bias(kernel: Any, draw: Draw) -> None:
    """``bias`` may be None."""
    _check_case(kernel, _case(draw, 2, 4, 1, biased=False))


@layer_norm.check(2)
def large_means(kernel: Any, draw: Draw) -> None:
    """A mean of 3000 with deviations of 1: no digits may be lost."""
    _check_case(kernel, _case(draw, 2, 4, 1, level=3000))
