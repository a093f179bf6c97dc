"""Lecture 07: memory and time of attention against length, whole or tile by tile."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from minissl.autograd import Tensor, composed, fused
from minissl.autograd.devices import move
from minissl.autograd.tensor import differentiable
from minissl.autograd.threads import engine_threads
from minissl.claims.claim import Cell, Claim, Expectation, Measured, Setup, ahead
from minissl.claims.drawing import line, panels
from minissl.figures import label_ends
from minissl.palette import BLUE, GREY, OCHRE, SOFT_INK

NAIVE, ONE, TILED = "from primitives", "one operation, weights kept", "one tile at a time"
COLORS = {NAIVE: GREY, ONE: OCHRE, TILED: BLUE}
TILE = 128  # queries and keys
Attention = Callable[..., Tensor]


def tiled_attention(query: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> Tensor:
    """``fused.attention`` in NumPy as on a GPU: no more than one tile of scores at any time.

    Shapes: (batch, heads, time, head_dim) each -> the same. FlashAttention (Dao et al., 2022).
    """
    return _tiled(query, key, value, causal=causal)


@differentiable
def _tiled(query, key, value, /, causal):
    """O = Σ_tiles e^(S − m) V / Σ_tiles e^(S − m) with a running maximum m.

    Of each row only L = m + ln Σ e^(S − m) is kept; the backward pass computes P = e^(S − L) anew:
    dV = Pᵀ dO,  dS = P (dO Vᵀ − Σ dO O),  dQ = scale dS K,  dK = scale dSᵀ Q.
    """
    scale = 1 / math.sqrt(query.shape[-1])
    length = query.shape[2]
    output, log_sum = np.empty_like(value), np.empty((*query.shape[:3], 1), query.dtype)

    scores = partial(_scores, query, key, scale, causal)

    for rows in _tiles(length):
        largest = np.full((*query.shape[:2], rows.stop - rows.start, 1), -np.inf, query.dtype)
        total, mixed = np.zeros_like(largest), np.zeros_like(query[:, :, rows])
        for columns in _tiles(rows.stop if causal else length):
            tile = scores(rows, columns)
            higher = np.maximum(largest, tile.max(axis=-1, keepdims=True))
            shrink = np.exp(largest - higher)  # what was added before stood above a smaller maximum
            tile = np.exp(tile - higher)
            total = total * shrink + tile.sum(axis=-1, keepdims=True)
            mixed = mixed * shrink + tile @ value[:, :, columns]
            largest = higher
        output[:, :, rows] = mixed / total
        log_sum[:, :, rows] = largest + np.log(total)

    def vjp(g):
        dq, dk, dv = np.zeros_like(query), np.zeros_like(key), np.zeros_like(value)
        delta = np.sum(g * output, axis=-1, keepdims=True)
        for rows in _tiles(length):
            for columns in _tiles(rows.stop if causal else length):
                p = np.exp(scores(rows, columns) - log_sum[:, :, rows])
                dv[:, :, columns] += p.mT @ g[:, :, rows]
                ds = p * (g[:, :, rows] @ value[:, :, columns].mT - delta[:, :, rows]) * scale
                dq[:, :, rows] += ds @ key[:, :, columns]
                dk[:, :, columns] += ds.mT @ query[:, :, rows]
        return dq, dk, dv

    return output, vjp


def _scores(query, key, scale, causal, rows, columns):
    """One tile of scale Q Kᵀ, −∞ where a key is in the future of its query."""
    tile = (query[:, :, rows] * scale) @ key[:, :, columns].mT
    if causal and columns.stop > rows.start:
        queries, keys = (np.arange(part.start, part.stop) for part in (rows, columns))
        tile[..., queries[:, None] < keys] = -np.inf
    return tile


def _tiles(length):
    return [slice(start, min(start + TILE, length)) for start in range(0, length, TILE)]


def ways(device: str) -> dict[str, Attention]:
    """The attentions that this device has; on a GPU the tiles are those of the kernel."""
    if device.startswith("cuda"):
        return {NAIVE: composed.attention, TILED: fused.attention}
    return {NAIVE: composed.attention, ONE: fused.attention, TILED: tiled_attention}


def measure(setup: Setup) -> Measured:
    """Forward and backward of causal attention, for each length: peak memory and time."""
    lengths = setup.settings["lengths"]
    table: dict[str, dict[str, float]] = {}
    curves: dict[str, Any] = {}
    device = setup.device if setup.device.startswith("cuda") else "cpu"
    for name, attention in ways(device).items():
        memory, seconds = [], []
        for length in lengths:
            setup.note(f"{name}, {length:,}")
            inputs = random_inputs(setup, length, device)
            memory.append(peak_megabytes(attention, inputs, device))
            seconds.append(best_seconds(attention, inputs, device, setup.settings["tries"]))
        doublings = math.log2(lengths[-1] / lengths[-3])
        table[name] = {
            "MB, short": memory[0],
            "MB, long": memory[-1],
            "memory per doubling (×)": (memory[-1] / memory[-3]) ** (1 / doublings),
            "ms, long": 1e3 * seconds[-1],
            "time per doubling (×)": (seconds[-1] / seconds[-3]) ** (1 / doublings),
        }
        curves[f"MB, {name}"] = (lengths, memory)
        curves[f"ms, {name}"] = (lengths, [1e3 * s for s in seconds])
    return Measured(table, curves)


def random_inputs(setup: Setup, length: int, device: str) -> list[Any]:
    """Query, key, value and the gradient of the output: (1, heads, length, head_dim) each."""
    generator = np.random.default_rng([setup.seed, length])
    shape = (1, setup.settings["heads"], length, setup.settings["head_dim"])
    arrays = generator.standard_normal((4, *shape), dtype=np.float32)
    return [move(array, device) for array in arrays]


def run_once(attention: Attention, inputs: Sequence[Any]) -> list[Any]:
    """The output's gradient sent back to query, key and value; returns the three gradients."""
    *qkv, gradient = inputs
    tensors = [Tensor(array, requires_grad=True) for array in qkv]
    attention(*tensors, causal=True).backward(gradient)
    return [tensor.grad for tensor in tensors]


def peak_megabytes(attention: Attention, inputs: Sequence[Any], device: str) -> float:
    """The most memory that was taken at once, beyond the inputs."""
    run_once(attention, inputs)  # what is imported or compiled at first is not counted
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run_once(attention, inputs)
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        run_once(attention, inputs)
        return (tracemalloc.get_traced_memory()[1] - before) / 1e6
    finally:
        tracemalloc.stop()


def best_seconds(attention: Attention, inputs: Sequence[Any], device: str, tries: int) -> float:
    """The shortest of several runs on one thread: processor time, or on a GPU on the clock."""
    on_gpu = device.startswith("cuda")
    clock = time.perf_counter if on_gpu else time.process_time

    def now() -> float:
        if on_gpu:
            import torch

            torch.cuda.synchronize(device)
        return clock()

    times = []
    with engine_threads(1):
        for _ in range(tries):
            started = now()
            run_once(attention, inputs)
            times.append(now() - started)
    return min(times)


def figure(measured: Sequence[Measured], settings: Mapping[str, Any]) -> Any:
    """Memory and time against length, both axes logarithmic: the slope is the power."""
    drawn, axes = panels(3.0, 2.8)
    lengths = np.array(settings["lengths"])
    for axis, unit, label in zip(
        axes, ("MB", "ms"), ("peak memory (MB)", "forward and backward (ms)")
    ):
        for name, color in COLORS.items():
            if f"{unit}, {name}" in measured[0].curves:
                line(axis, measured, f"{unit}, {name}", color=color, marker="o", ms=4, label=name)
        axis.set(xscale="log", yscale="log", ylabel=label)
        axis.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axis.minorticks_off()
        axis.yaxis.set_major_formatter("{x:g}")
    last = np.mean([run.curves[f"MB, {TILED}"][1][0] for run in measured])
    axes[0].plot(lengths, last * lengths / lengths[0], color=SOFT_INK, ls=":", lw=1, label="∝ T")
    axes[1].set(xlabel="length T (tokens)")
    for axis in axes:
        label_ends(axis)
    return drawn


CLAIM = Claim(
    name="attention-memory",
    title="Attention needs no T × T matrix in memory",
    statement=(
        "Attention that keeps its scores needs four times the memory for twice the length. With "
        "one tile of scores at a time and a running maximum it needs twice the memory, forward "
        "and backward, though it still computes every score."
    ),
    lecture="07, section 2",
    measure=measure,
    expectations=(
        Expectation(
            Cell(NAIVE, "memory per doubling (×)"), 0.0, 3.5, "the matrix of scores is T × T"
        ),
        Expectation(2.5, Cell(TILED, "memory per doubling (×)"), 0.0, "what is kept has T rows"),
        ahead(NAIVE, TILED, "MB, long", 100.0, "the matrix is never whole"),
        Expectation(
            Cell(TILED, "time per doubling (×)"), 0.0, 2.8, "every score is still computed"
        ),
    ),
    figure=figure,
    scales={
        "quick": {"lengths": [128, 256, 512], "heads": 1, "head_dim": 16, "tries": 1},
        "small": {"lengths": [256, 512, 1024, 2048, 4096], "heads": 1, "head_dim": 64, "tries": 3},
        "full": {
            "lengths": [512, 1024, 2048, 4096, 8192],
            "heads": 8,
            "head_dim": 64,
            "tries": 5,
        },
    },
    own=("lengths", "heads", "head_dim", "tries"),
    formats={"MB, short": ".3g", "MB, long": ".3g", "ms, long": ",.1f"},
    rows="attention",
    about=(
        "Causal attention of random float32 numbers, forward and backward, batch 1. Memory is the "
        "most that was allocated at once beyond the inputs (on the CPU NumPy's arrays, by "
        "tracemalloc). 'From primitives' is the formula, operation by operation; 'weights kept' "
        "is the library's operation on the CPU; the tiles are NumPy on the CPU, and our kernel on "
        "a GPU. Time is the best of several runs, on the CPU the processor time of one thread: it "
        "says how time grows, not how fast kernels are."
    ),
)
