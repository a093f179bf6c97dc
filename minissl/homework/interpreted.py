"""Launches of the kernels of homework 4 under test: in Triton's interpreter or on a GPU.

The interpreter needs TRITON_INTERPRET=1 in the environment before triton is imported; the checker
sets it where there is no GPU. There every address is watched: see ``watched``.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from minissl.homework.watched import UNTOUCHED, Memory, Misuse, device, watched


class Written(NamedTuple):
    """What a kernel wrote. ``left_out``: it used lanes of a load that were not loaded."""

    y: NDArray
    statistics: NDArray
    left_out: bool


def layer_norm(
    kernel: Any,
    x: NDArray,
    weight: NDArray,
    bias: NDArray | None,
    eps: float,
    rows_each: int,
    dtypes: tuple[str, str, str] = ("float32", "float32", "float32"),
) -> Written:
    """Launch a layer norm forward kernel: y (rows, width) and statistics (2, rows).

    ``dtypes``: those of x, of weight and bias, and of y. Raises Misuse for what it does to memory.
    """
    rows, width = x.shape
    of_x, of_weight, of_y = dtypes
    given = Memory("x", x.shape, x, of_x)
    weights = Memory("weight", weight.shape, weight, of_weight)
    biases = None if bias is None else Memory("bias", bias.shape, bias, of_weight)
    y, statistics = Memory("y", x.shape, dtype=of_y), Memory("statistics", (2, rows))
    before = given.read()
    memories = [m for m in (given, weights, biases, y, statistics) if m is not None]
    with watched(memories, writes=("y", "statistics")) as watch:
        kernel[(triton.cdiv(rows, rows_each),)](
            given.tensor,
            weights.tensor,
            None if biases is None else biases.tensor,
            y.tensor,
            statistics.tensor,
            rows,
            given.tensor.stride(0),
            eps,
            WIDTH=width,
            ROWS=rows_each,
            BLOCK=triton.next_power_of_2(width),
        )
    if not np.array_equal(before, given.read()):
        raise Misuse("it writes into x, which is only to be read")
    return Written(_whole(y), _whole(statistics), watch.left_out)


def _whole(memory: Memory) -> NDArray:
    """What was written. Raises Misuse where it is not all, or more than that."""
    if not memory.intact():
        raise Misuse(f"it writes outside of {memory.name}: the mask of tl.store is too wide")
    if np.any((written := memory.read()) == UNTOUCHED):
        raise Misuse(f"some of {memory.name} was never written: {_WHERE[memory.name]}")
    return written


_WHERE = {
    "y": "a program has ROWS rows, from program_id(0) * ROWS on",
    "statistics": "the means, and ``rows`` further on the r, for every row",
}


def on_device(array: NDArray) -> torch.Tensor:
    """A float32 copy."""
    return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device())


@triton.jit
def _one_step(
    scores, bits, maximum, total, weights, rescale,
    STEP: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    row = tl.arange(0, ROWS)
    at = row[:, None] * KEYS + tl.arange(0, KEYS)[None, :]
    w, r, m, t = STEP(tl.load(scores + at), bits, tl.load(maximum + row), tl.load(total + row))
    tl.store(weights + at, w)
    tl.store(rescale + row, r)
    tl.store(maximum + row, m)
    tl.store(total + row, t)


def online_softmax_step(
    step: Any, scores: NDArray, bits: float, maximum: NDArray, total: NDArray
) -> dict[str, NDArray]:
    """One call of an online softmax step: its weights, rescale, maximum and total."""
    rows, keys = scores.shape
    state = on_device(maximum), on_device(total)
    weights, rescale = (torch.empty(s, device=device()) for s in ((rows, keys), (rows,)))
    _one_step[(1,)](
        on_device(scores), bits, *state, weights, rescale, STEP=step, ROWS=rows, KEYS=keys
    )
    names = ("weights", "rescale", "maximum", "total")
    return {name: a.cpu().numpy() for name, a in zip(names, (weights, rescale, *state))}


@triton.jit
def _attend(
    query, key, value, out, keys, bits,
    STEP: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Attention of ROWS queries to all keys, KEYS at a time."""
    row, column = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    q = tl.load(query + row[:, None] * WIDTH + column[None, :])
    sums = tl.zeros((ROWS, WIDTH), tl.float32)
    maximum = tl.full((ROWS,), -1e38, tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    for start in range(0, keys, KEYS):
        number = start + tl.arange(0, KEYS)
        at = number[:, None] * WIDTH + column[None, :]
        k = tl.load(key + at, mask=(number < keys)[:, None], other=0.0)
        v = tl.load(value + at, mask=(number < keys)[:, None], other=0.0)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee")
        scores = tl.where((number < keys)[None, :], scores, float("-inf"))
        weights, rescale, maximum, total = STEP(scores, bits, maximum, total)
        weights = weights.to(v.dtype)
        sums = tl.dot(weights, v, sums * rescale[:, None], input_precision="ieee")
    tl.store(out + row[:, None] * WIDTH + column[None, :], sums / total[:, None])


def attention(
    step: Any, query: NDArray, key: NDArray, value: NDArray, scale: float, dtype: str = "float32"
) -> NDArray:
    """softmax(scale · Q Kᵀ) V with 16 keys at a time; query (16, 16), key and value (keys, 16).

    ``dtype``: of all three; the scores, and what is returned, are float32.
    """
    out = torch.empty(query.shape, device=device())
    arrays = (on_device(a).to(getattr(torch, dtype)) for a in (query, key, value))
    bits = scale * 1.4426950408889634
    _attend[(1,)](*arrays, out, len(key), bits, STEP=step, ROWS=16, KEYS=16, WIDTH=16)
    return out.cpu().numpy()
