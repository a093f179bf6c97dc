"""How long the GPU waits for Python during the training step of ``gpt2``."""

import gc
from collections import Counter
from collections.abc import Iterable, Iterator

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.kernels.measure import Machine
from benchmarks.training_gpu import gpt2, race
from benchmarks.training_gpu.race import Train

TITLE = "Waiting of the GPU during our GPT-2 step"
NOTES = (
    "busy: the time in which a kernel or a copy ran, by torch's profiler (CUPTI), over consecutive "
    "steps of `fit`; idle, profiled: the rest of the time between the first and the last of them, "
    "in which the profiler itself delays every launch; idle: busy against the time of a step "
    "without the profiler",
    "reach: idle at most 5 %; aim: 2 %",
)
STEPS = 6

Interval = tuple[float, float]  # start and end, microseconds


def measure(machine: Machine, until: float) -> Iterator[tuple[list[str], list[dict]]]:
    train = gpt2.ours(machine)
    train(2 if machine.dry else race.WARMUP, lambda: None)
    steps = 1 if machine.dry else STEPS
    undisturbed = [race.block(machine, train, steps) for _ in range(1 if machine.dry else 3)]
    step = sorted(undisturbed)[len(undisturbed) // 2]
    if not machine.dry:
        profiled(machine, train, 1)  # starting CUPTI takes seconds
    events = profiled(machine, train, steps)
    yield [], [row(step, events, steps)]


def profiled(machine: Machine, train: Train, steps: int) -> list[tuple[str, Interval]]:
    """What ran during ``steps`` steps in a row, after two that are not looked at."""
    activity = ProfilerActivity.CPU if machine.dry else ProfilerActivity.CUDA
    device = DeviceType.CPU if machine.dry else DeviceType.CUDA
    profiler, begun = profile(activities=[activity]), 0

    def mark() -> None:
        nonlocal begun
        begun += 1
        if begun == 3:
            machine.synchronize()
            profiler.start()
        elif begun == 3 + steps:
            machine.synchronize()
            profiler.stop()

    gc.collect()
    train(3 + steps, mark)
    return [
        (event.name, (event.time_range.start, event.time_range.end))
        for event in profiler.events()
        if event.device_type == device and not waits(event)
    ]


def waits(event) -> bool:
    """Ranges of time that the profiler draws on the GPU's line, but in which it may stand still."""
    return getattr(event, "is_user_annotation", False) or event.name.endswith((" Sync", " Wait"))


def row(step: float, events: list[tuple[str, Interval]], steps: int) -> dict:
    """``step``: milliseconds without the profiler."""
    if not events:
        return {"case": "GPT-2 124M", "cells": {"idle": "the profiler saw nothing on the GPU"}}
    intervals = [interval for _, interval in events]
    busy = union(intervals) / 1000 / steps
    span = (max(end for _, end in intervals) - min(start for start, _ in intervals)) / 1000 / steps
    idle = max(0.0, 1 - busy / step)
    totals: Counter[str] = Counter()
    for name, (start, end) in events:
        totals[name] += (end - start) / 1000 / steps
    return {
        "case": "GPT-2 124M",
        "cells": {
            "ms a step": step,
            "busy": busy,
            "idle": f"{idle:.1%}",
            "idle, profiled": f"{max(0.0, 1 - busy / span):.1%}",
            "kernels and copies": f"{len(events) / steps:.0f}",
        },
        "idle": idle,
        "milliseconds_by_kernel": dict(totals.most_common(30)),
        "verdicts": {
            f"idle, {what}": f"{'yes' if idle <= most else 'no'}: {idle:.1%} of at most {most:.0%}"
            for what, most in (("reach", 0.05), ("aim", 0.02))
        },
    }


def union(intervals: Iterable[Interval]) -> float:
    """The length of all intervals together; where several overlap it counts once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
