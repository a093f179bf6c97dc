"""Launches of the kernels of homework 4 under test: in Triton's interpreter or on a GPU.

The interpreter needs TRITON_INTERPRET=1 in the environment before triton is imported; the checker
sets it where there is no GPU.
"""

from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from minissl_kernels.launch import interpreted
from numpy.typing import NDArray

GUARD = 64  # numbers in front of and behind an output, which no kernel may touch
UNTOUCHED = -12345.0


def device() -> str:
    """Where kernels run here."""
    return "cpu" if interpreted() else "cuda"


class Guarded:
    """An output (shape), with guards around it: see ``read``."""

    def __init__(self, *shape: int):
        self.shape, self.size = shape, int(np.prod(shape))
        self.memory = torch.full((self.size + 2 * GUARD,), UNTOUCHED, device=device())
        self.array = self.memory[GUARD : GUARD + self.size].view(shape)

    def read(self) -> tuple[NDArray, bool]:
        """What was written, and whether the guards are as they were."""
        memory = self.memory.cpu().numpy()
        around = np.concatenate([memory[:GUARD], memory[GUARD + self.size :]])
        return self.array.cpu().numpy().copy(), bool(np.all(around == UNTOUCHED))


def on_device(array: NDArray, stride: int | None = None) -> torch.Tensor:
    """A float32 copy; rows (of a matrix) ``stride`` apart, with 1000 in the gaps between them."""
    tensor = torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device())
    if stride is None:
        return tensor
    wide = torch.full((len(array), stride), 1000.0, device=tensor.device)
    wide[:, : array.shape[1]] = tensor
    return wide[:, : array.shape[1]]


def layer_norm(
    kernel: Any, x: NDArray, weight: NDArray, bias: NDArray | None, eps: float, rows_each: int
) -> dict[str, tuple[NDArray, bool]]:
    """Launch a layer norm forward kernel; y (rows, width) and statistics (2, rows), guarded."""
    rows, width = x.shape
    values = on_device(x, width + 3)
    y, statistics = Guarded(rows, width), Guarded(2, rows)
    kernel[(triton.cdiv(rows, rows_each),)](
        values,
        on_device(weight),
        None if bias is None else on_device(bias),
        y.array,
        statistics.array,
        rows,
        values.stride(0),
        eps,
        WIDTH=width,
        ROWS=rows_each,
        BLOCK=triton.next_power_of_2(width),
    )
    return {"y": y.read(), "statistics": statistics.read()}


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
        sums = tl.dot(weights, v, sums * rescale[:, None], input_precision="ieee")
    tl.store(out + row[:, None] * WIDTH + column[None, :], sums / total[:, None])


def attention(step: Any, query: NDArray, key: NDArray, value: NDArray, scale: float) -> NDArray:
    """softmax(scale · Q Kᵀ) V with 16 keys at a time; query (16, 16), key and value (keys, 16)."""
    out = torch.empty(query.shape, device=device())
    arrays = (on_device(a) for a in (query, key, value))
    bits = scale * 1.4426950408889634
    _attend[(1,)](*arrays, out, len(key), bits, STEP=step, ROWS=16, KEYS=16, WIDTH=16)
    return out.cpu().numpy()
