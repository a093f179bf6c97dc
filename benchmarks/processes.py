"""Two processes on two cores against one process: steps per second, and what the network carries.

    python -m benchmarks.processes

Training as the demo does it (``minissl.pretrain``), in ``fit``: a GPT, and SimCLR on
digits. Two processes under torchrun, with one thread each, take a batch each. The one process takes
both batches, with the engine on one thread and on two. All begin with the same weights and see the
same data; their losses must agree.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import new_parser, positive, report, require_peers, stoppable
from minissl.autograd import processes
from minissl.conditions import environment
from minissl.models.gpt import GPT
from minissl.optim import AdamW
from minissl.pretrain.images.simclr import SimCLR, SimCLRSettings
from minissl.pretrain.language.gpt import GPTPretraining, GPTSettings
from minissl.training import History, distributed, fit
from minissl.vision.images import load_digits

WARMUP = 5  # steps that are not counted
AGREE = 10  # steps whose losses are compared; later, differences in rounding have grown
RUNS = {  # name: (processes, threads of each)
    "one process, 1 thread": (1, 1),
    "one process, 2 threads": (1, 2),
    "two processes, 1 thread each": (2, 1),
}


# ---- one run: in this process, or in those that torchrun started --------------------------------


def train_gpt(steps: int) -> History:
    """The demo's GPT on random tokens: two batches of 8 windows per step, wherever they are."""
    settings = GPTSettings()
    config = settings.config(settings.vocab_size)
    model = GPT(config, generator=np.random.default_rng(0))
    stream = np.random.default_rng(1).integers(config.vocab_size, size=100_000)
    method = GPTPretraining(model, stream, batch_size=settings.batch_size)
    optimizer = AdamW(model.named_parameters(), lr=1e-3, betas=(0.9, 0.95))
    accumulate = 2 // processes.world().size
    return fit(method, optimizer, steps=steps, accumulate=accumulate, clip=1.0, progress=False)


class BothBatches(SimCLR):
    """What two processes draw, as one batch: each view meets those of both, as it does there."""

    step = 0

    def batch(self, generator: np.random.Generator) -> np.ndarray:
        generators = generator, np.random.default_rng([0, self.step, 1])  # as ``fit`` makes them
        views = [np.split(super(BothBatches, self).batch(g), 2) for g in generators]
        self.step += 1
        return np.concatenate([*(first for first, _ in views), *(second for _, second in views)])


def train_simclr(steps: int) -> History:
    """SimCLR on digits with 512 pairs of views per step: in two processes, 256 each."""
    settings = SimCLRSettings()
    method = (SimCLR if processes.world().size == 2 else BothBatches)(
        SimCLR.new_model(settings, seed=0), load_digits().train_images, settings.augment(),
        batch_size=settings.batch_size, temperature=settings.temperature,
    )  # fmt: skip
    optimizer = AdamW(method.model.named_parameters(), lr=1e-3)
    return fit(method, optimizer, steps=steps, progress=False)


TRAIN: dict[str, Callable[[int], History]] = {"GPT": train_gpt, "SimCLR": train_simclr}


def measure(what: str, steps: int, file: Path) -> None:
    """Train, and write what process 0 found: the losses; seconds, bytes, waiting per step."""
    sent, waited = [], []

    def together(action: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        if action.__name__ in ("all_reduce", "all_gather"):
            array = arguments[1] if action.__name__ == "all_gather" else arguments[0]
            sent.append(array.nbytes)
        start = time.perf_counter()
        result = usual(action, *arguments, **settings)
        if action.__name__ != "broadcast":  # which is how a run begins
            waited.append(time.perf_counter() - start)
        return result

    usual = processes.together
    processes.together = distributed.together = together
    with processes.joined("cpu"):
        history = TRAIN[what](steps)
        if processes.world().rank == 0:
            seconds = np.diff(history.column("seconds")[1])[WARMUP - 1 :]
            found = {
                "seconds": median(seconds.tolist()),
                "bytes": sum(sent) / steps,
                "waiting": sum(waited) / steps,
                "losses": history.losses(),
            }
            file.write_text(json.dumps(found), encoding="utf-8")


# ---- all of them, in turn -----------------------------------------------------------------------


def run(what: str, name: str, steps: int, folder: Path) -> dict[str, Any]:
    """A run in processes of its own."""
    size, threads = RUNS[name]
    file = folder / "found.json"
    command = [sys.executable, "-m", "benchmarks.processes", "--steps", str(steps)]
    command += ["--measure", what, str(file)]
    if size > 1:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
        command = [*torchrun, f"--nproc-per-node={size}", *command]
    limits = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), str(threads))
    subprocess.run(command, check=True, env={**os.environ, **limits})
    return json.loads(file.read_text(encoding="utf-8"))


def compare(what: str, steps: int, repeats: int) -> list[dict[str, object]]:
    """The table's rows of one method."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in RUNS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            for name, results in found.items():
                results.append(run(what, name, steps, Path(folder)))
    losses = np.array([results[0]["losses"] for results in found.values()])
    difference = np.abs(losses - losses[0])[:, :AGREE].max()
    if difference > 1e-3:
        raise SystemExit(f"{what}: the losses differ by {difference:.1e}")
    print(f"{what}: agreed to {difference:.0e}, loss {losses[0, 0]:.4f}, then {losses[0, -1]:.4f}")

    def middle(name: str, key: str) -> float:
        return median(result[key] for result in found[name])

    alone = partial(middle, key="seconds")
    return [
        {
            "training": what,
            "run": name,
            "steps per second": 1 / alone(name),
            "× one thread": alone("one process, 1 thread") / alone(name),
            "× two threads": alone("one process, 2 threads") / alone(name),
            "bytes sent per step": round(middle(name, "bytes")),
            "of it waiting": f"{middle(name, 'waiting') / alone(name):.0%}",
        }
        for name in RUNS
    ]


def main() -> None:
    parser = new_parser("processes", __doc__)
    parser.add_argument("--repeats", type=positive, default=5, help="runs of each (default 5)")
    parser.add_argument("--steps", type=positive, default=40, help="of each run (default 40)")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.steps <= WARMUP:
        parser.error(f"--steps {arguments.steps}: the first {WARMUP} are not counted, take more")
    if arguments.measure:
        what, file = arguments.measure
        return measure(what, arguments.steps, Path(file))
    require_peers("torch")
    machine = environment(["torch"])
    rows = [row for what in TRAIN for row in compare(what, arguments.steps, arguments.repeats)]
    notes = [
        "the demo's settings (minissl/pretrain), a step of two of its batches: GPT 2 × "
        "8 windows of 128 tokens (in one process accumulate=2), SimCLR 512 pairs of views, each "
        "view against all others, augmentation included; float32, AdamW; losses of the "
        f"first {AGREE} steps agreed",
        f"in turn, {arguments.repeats} runs of {arguments.steps} steps each: medians of the runs' "
        f"medians, without the first {WARMUP} steps and without starting up",
        "bytes: what each process hands to gloo (gradients, embeddings, their gradients); waiting: "
        "the share of the step that process 0 spends in calls of torch.distributed, the wait for "
        "the slower process included",
    ]
    report("processes", rows, machine, notes)
    return None


if __name__ == "__main__":
    stoppable(main)
