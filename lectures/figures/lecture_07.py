"""Figures of lecture 07: traffic, the online softmax, tiles, cancellation, speed on an H200."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from minissl.figures import label_ends, legend, new_figure
from minissl.palette import BLUE, BLUE_TINT, GREY, GREY_TINT, INK, OCHRE, PAPER, RED, SOFT_INK, look

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
WIDTH = 5.0  # inches: in a column of 390 pixels the letters stay readable
SCORES = (0.5, -1.0, 1.0, 0.2, 1.6, 0.4, 2.0, 0.9, 1.2, 3.1, 2.2, 2.6, 1.8, 2.9, 4.0, 3.3)


def attention_bytes(time: Any, width: int = 64, block_query: int = 128) -> dict[str, np.ndarray]:
    """Bytes moved by one head's forward in bfloat16, counted as in lectures/07, section 2."""
    time = np.asarray(time, dtype=np.float64)
    arrays, square, log_sum_exp = time * width, time * time, 4 * time
    tiles = np.ceil(time / block_query)
    return {
        "naive": 2 * (4 * arrays + 4 * square),
        "fused, keys from memory for every tile": 2 * (2 + 2 * tiles) * arrays + log_sum_exp,
        "fused, keys read once": 2 * 4 * arrays + log_sum_exp,
    }


def memory_traffic() -> Any:
    """Bytes against the length, both axes logarithmic: the naive form and the fused one."""
    figure, (axis,) = new_figure(width=WIDTH, height=3.4)
    time = 2 ** np.arange(8, 16)
    for (name, total), color in zip(attention_bytes(time).items(), (RED, OCHRE, BLUE)):
        axis.plot(time, total / 1e6, **look(color, marker=True), label=name)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(time[::2], [str(t) for t in time[::2]])
    axis.set(xlabel="length T", ylabel="megabytes moved, one head")
    label_ends(axis)
    return figure


def online_softmax() -> Any:
    """Sixteen scores in four tiles: the running maximum, and the sum with and without rescaling."""
    scores = np.array(SCORES)
    maxima = np.maximum.accumulate(scores.reshape(4, 4).max(axis=1))
    rescaled, careless = [0.0], [0.0]
    for number, tile in enumerate(scores.reshape(4, 4)):
        before = maxima[number - 1] if number else -np.inf
        part = np.exp(tile - maxima[number]).sum()
        rescaled.append(rescaled[-1] * np.exp(before - maxima[number]) + part)
        careless.append(careless[-1] + part)
    true = np.exp(scores - scores.max()).sum()

    figure, (left, right) = new_figure(rows=2, width=WIDTH, height=5)
    left.bar(np.arange(16), scores, color=BLUE, alpha=0.6, label="scores")
    left.step(np.arange(17) - 0.5, [*np.repeat(maxima, 4), maxima[-1]], where="post", color=RED)
    left.annotate("maximum so far", (7, maxima[1]), (0, maxima[-1]), color=RED)
    for edge in (3.5, 7.5, 11.5):
        left.axvline(edge, color=GREY, linewidth=0.8, linestyle=":")
    left.set(xlabel="key", ylabel="score", title="four tiles of four keys")
    right.plot(range(5), rescaled, **look(BLUE, marker=True), label="rescaled")
    right.plot(range(5), careless, **look(RED, marker=True), label="not rescaled")
    right.axhline(true, color=GREY, linestyle=":", linewidth=1, label="of the whole row")
    right.set(xlabel="tiles seen", ylabel="sum of exponentials", title="what the sum is")
    right.set_xticks(range(5))
    legend(right)
    return figure


def causal_tiles() -> Any:
    """Which tiles of a causal attention are skipped, masked, or computed without a mask."""
    time, block_query, block_key = 1024, 128, 64
    seen = np.tri(time, dtype=bool).reshape(time // block_query, block_query, -1, block_key)
    kind = seen.any(axis=(1, 3)).astype(int) + seen.all(axis=(1, 3))
    names, colors = ("skipped", "at the edge: masked", "full: no mask"), (GREY_TINT, OCHRE, BLUE)
    figure, (axis,) = new_figure(width=WIDTH, height=3.4)
    edges = (np.arange(0, time + 1, block) for block in (block_key, block_query))
    axis.pcolormesh(*edges, kind, cmap=ListedColormap(colors), edgecolor=PAPER, linewidth=1.5)
    axis.invert_yaxis()
    counts = np.bincount(kind.ravel(), minlength=3)
    samples = [
        Patch(facecolor=color, edgecolor=INK, linewidth=0.6, label=f"{count} {name}")
        for name, count, color in zip(names, counts, colors)
    ]
    legend(axis, handles=samples, loc="upper right", handlelength=1.2)
    axis.set(xlabel="key", ylabel="query")
    axis.set_xticks(range(0, time + 1, 256))
    axis.set_yticks(range(0, time + 1, 128))
    return figure


def confident_losses(leads: np.ndarray) -> dict[str, np.ndarray]:
    """Relative error in float32 of the loss of the row [lead, 0, 0] with target 0."""
    leads32 = leads.astype(np.float32)
    rows = np.stack([leads32, 0 * leads32, 0 * leads32], axis=1)
    largest = rows.max(axis=1)
    total = np.exp(rows - largest[:, None]).sum(axis=1, dtype=np.float32)
    difference = (largest + np.log(total)) - rows[:, 0]
    soft_plus = np.log1p(np.exp(np.log(np.float32(2)) - leads32))
    true = np.log1p(np.exp(np.log(2.0) - leads32.astype(np.float64)))
    return {
        "lse − l_target": np.abs(difference - true) / true,
        "ln(1 + exp(margin))": np.abs(soft_plus - true) / true,
    }


def cancellation() -> Any:
    """The loss of a confident row in float32, by a difference and by the kernel's formula."""
    leads = np.linspace(0, 25, 126)
    figure, (axis,) = new_figure(width=WIDTH, height=3.2)
    for (name, error), color in zip(confident_losses(leads).items(), (RED, BLUE)):
        axis.plot(leads, np.maximum(error, 1e-9), **look(color), label=name)
    axis.axhline(1, color=GREY, linewidth=0.8)
    axis.annotate("nothing is right", (0, 1.3), color=SOFT_INK)
    axis.set_yscale("log")
    axis.set(xlabel="lead of the target's logit over two others", ylabel="relative error")
    axis.set_ylim(3e-10, 10)
    legend(axis, loc="center right")
    return figure


def attention_rates() -> dict[str, list[float]]:
    """TFLOP/s on an H200, causal, length 4096: widths 128 and 64, forward and backward of each.

    At width 64 the forward that ships is one that was tried in the third visit.
    """
    tables = json.loads((RESULTS / "kernels_nvidia_h200.json").read_text("utf-8"))["tables"]
    first = {row["case"]: row["rates"] for row in tables["attention"]["rows"]}
    third = {row["case"]: row["rates"] for row in tables["attention_tuning"]["rows"]}
    ships = {"width 64, causal, 4096, forward": "configuration 64 64 4 3 128"}
    return {
        "first version": [rates["minissl"] for rates in first.values()],
        "now": [third[case][ships.get(case, "minissl")] for case in first],
        "FlashAttention-2": [rates["FlashAttention-2"] for rates in first.values()],
        "cuDNN": [rates["cuDNN"] for rates in first.values()],
    }


def attention_h200() -> Any:
    """Bars of ``attention_rates``: four passes, four contenders."""
    figure, (axis,) = new_figure(width=WIDTH, height=3.2)
    looks = ((BLUE_TINT, ""), (BLUE, ""), (OCHRE, "///"), (GREY, "..."))
    for number, (rates, (color, hatch)) in enumerate(zip(attention_rates().items(), looks)):
        (name, values), edge = rates, BLUE if color == BLUE_TINT else PAPER
        axis.bar(np.arange(4) + 0.2 * (number - 1.5), values, width=0.18, facecolor=color,
                 edgecolor=edge, linewidth=0.6, hatch=hatch, label=name)  # fmt: skip
    axis.set_xticks(range(4), ["128\nforward", "128\nbackward", "64\nforward", "64\nbackward"])
    axis.set(xlabel="width, pass", ylabel="TFLOP/s", ylim=(0, 780))
    legend(axis, ncols=2, loc="upper center")
    return figure


FIGURES: dict[str, Callable[[], Any]] = {
    "07_memory_traffic": memory_traffic,
    "07_online_softmax": online_softmax,
    "07_causal_tiles": causal_tiles,
    "07_cancellation": cancellation,
    "07_attention_h200": attention_h200,
}
