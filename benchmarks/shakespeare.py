"""Tiny Shakespeare by characters in nanoGPT's setting for a processor: loss and time beside torch.

    python -m benchmarks.shakespeare --data input.txt --steps 2000

4 layers, width 128, 4 heads, 64 characters of context, batches of 12, no dropout, AdamW (0.9, 0.99)
with weight decay 0.1 and clipping at 1, 100 steps of warm-up to 1e-3 and half a cosine to 1e-4; the
first 90 % of the text are learned from. nanoGPT's README says 1.88 for the validation loss. Both
sides begin with the same weights and read the same batches. Each has a process of its own.
"""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import (
    MEMORY_KEPT,
    PEAK,
    add_options,
    new_parser,
    positive,
    report,
    require_peers,
    stoppable,
)
from benchmarks.turns import Contender, race
from minissl.autograd.threads import engine_threads
from minissl.conditions import environment
from minissl.data.sets import DataSet, find
from minissl.losses.language_modeling import next_token_loss
from minissl.models.gpt import GPT, GPTConfig
from minissl.nn.evaluating import evaluating
from minissl.optim import AdamW, warmup_cosine
from minissl.pretrain.language.gpt import GPTPretraining
from minissl.text import Characters
from minissl.text.files import read_text
from minissl.training.fit import fit
from minissl.training.step import train_step

CONTEXT, BATCH, CLIP = 64, 12, 1.0
BETAS, DECAY = (0.9, 0.99), 0.1
RUNS = 20  # steps of one turn


def prepared(data: str, seed: int) -> tuple[GPTPretraining, np.ndarray]:
    """An untrained model with the text that it learns from, and the characters held out.

    Raises ValueError or OSError for what is no text, or too short a one.
    """
    found = find(Path(data))
    if isinstance(found, DataSet):
        raise ValueError(f"{data} is no text file: expected one, or the name of a fetched text")
    text = read_text(found)
    if len(text) < 1000:
        raise ValueError(f"{data} has {len(text)} characters, expected 1,000 or more")
    characters = Characters.train(text)
    stream = np.array(characters.encode(text))
    config = GPTConfig(
        vocab_size=characters.vocab_size, context_length=CONTEXT, num_layers=4, width=128,
        num_heads=4, bias=False,
    )  # fmt: skip
    model = GPT(config, generator=np.random.default_rng(seed))
    held_out = int(0.9 * len(stream))
    return GPTPretraining(model, stream[:held_out], batch_size=BATCH), stream[held_out:]


def rate(step: int, steps: int) -> float:
    """nanoGPT's schedule, which warms up for 100 of 2000 steps."""
    return warmup_cosine(step, peak=1e-3, warmup_steps=steps // 20, total_steps=steps, final=1e-4)


def our_optimizer(model: GPT) -> AdamW:
    return AdamW(model.named_parameters(), betas=BETAS, weight_decay=DECAY)


def batches(method: GPTPretraining, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Those that ``fit`` with this seed gives to the method."""
    step = 0
    while True:
        yield method.batch(np.random.default_rng([seed, step, 0]))
        step += 1


def validation(
    stream: np.ndarray, loss: Callable[[np.ndarray, np.ndarray], float]
) -> tuple[float, float]:
    """Nats per character, window beside window over all of it; and nanoGPT's estimate of it.

    That are 20 batches from anywhere. ``loss``: the mean over windows, from inputs and targets.
    """
    last = len(stream) - CONTEXT
    drawn = np.random.default_rng(0).integers(last, size=20 * BATCH)
    found = []
    for starts in (np.arange(0, last, CONTEXT), drawn):
        windows = stream[starts[:, None] + np.arange(CONTEXT + 1)]
        groups = [windows[i : i + BATCH] for i in range(0, len(windows), BATCH)]
        total = sum(loss(group[:, :-1], group[:, 1:]) * len(group) for group in groups)
        found.append(total / len(windows))
    return found[0], found[1]


# ---- ours ---------------------------------------------------------------------------------------


def our_step(method: GPTPretraining, steps: int, seed: int = 0) -> Callable[[], float]:
    """Each call is a step of training, as ``fit`` makes it."""
    optimizer, done = our_optimizer(method.model), 0

    def step() -> float:
        nonlocal done
        with engine_threads():
            optimizer.lr = rate(done, steps)
            loss, _ = train_step(method, optimizer, done, seed=seed, clip=CLIP)
        done += 1
        return float(loss)

    return step


def our_loss(model: GPT, inputs: np.ndarray, targets: np.ndarray) -> float:
    with evaluating(model), engine_threads():
        return next_token_loss(model(inputs), targets, overwrite_logits=True).item()


def our_training(data: str, steps: int, seed: int) -> Callable[[], str]:
    method, held_out = prepared(data, seed)

    def train() -> str:
        start = time.perf_counter()
        fit(
            method, our_optimizer(method.model), steps=steps, schedule=partial(rate, steps=steps),
            seed=seed, clip=CLIP, progress=False,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        return json.dumps([seconds, *validation(held_out, partial(our_loss, method.model))])

    return train


# ---- the same in torch --------------------------------------------------------------------------


def torch_step(twin: Any, method: GPTPretraining, steps: int, seed: int = 0) -> Callable[[], float]:
    import torch
    from torch.nn import functional as F

    parameters = list(twin.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": DECAY},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=BETAS, fused=True)
    drawn, done = batches(method, seed), 0

    def step() -> float:
        nonlocal done
        for group in optimizer.param_groups:
            group["lr"] = rate(done, steps)
        inputs, targets = (torch.from_numpy(np.ascontiguousarray(a)) for a in next(drawn))
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(twin(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        done += 1
        return loss.item()

    return step


def torch_loss(twin: Any, inputs: np.ndarray, targets: np.ndarray) -> float:
    import torch
    from torch.nn import functional as F

    with torch.inference_mode():
        logits = twin(torch.from_numpy(np.ascontiguousarray(inputs)))
        return F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets.flatten())).item()


def torch_training(data: str, steps: int, seed: int) -> Callable[[], str]:
    from benchmarks.gpt_torch import in_torch

    method, held_out = prepared(data, seed)
    twin = in_torch(method.model)
    step = torch_step(twin, method, steps, seed)

    def train() -> str:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        seconds = time.perf_counter() - start
        return json.dumps([seconds, *validation(held_out, partial(torch_loss, twin))])

    return train


def single_step(by_torch: bool, data: str, steps: int) -> Callable[[], float]:
    method, _ = prepared(data, seed=0)
    if not by_torch:
        return our_step(method, steps)
    from benchmarks.gpt_torch import in_torch

    return torch_step(in_torch(method.model), method, steps)


OURS, TORCH, KEPT = "minissl", "torch", "torch, freed memory kept"
WITH_TORCH = ("minissl.optim", "benchmarks.gpt_torch")
STEPS = {
    OURS: Contender(partial(single_step, False), ["minissl.optim"], keeps_memory=True),
    TORCH: Contender(partial(single_step, True), WITH_TORCH),
    KEPT: Contender(partial(single_step, True), WITH_TORCH, keeps_memory=True),
}
WHOLE = {OURS: Contender(our_training), TORCH: Contender(torch_training)}
CONTENDERS = STEPS | {f"training: {name}": contender for name, contender in WHOLE.items()}


# ---- agreement, and the race --------------------------------------------------------------------


def check_agreement(data: str) -> None:
    """The same validation loss before training, and the same training losses of three steps."""
    from benchmarks.gpt_torch import in_torch

    method, held_out = prepared(data, seed=0)
    twin = in_torch(method.model)
    rows = [
        [*validation(held_out, loss), *(step() for _ in range(3))]
        for loss, step in (
            (partial(our_loss, method.model), our_step(method, 100)),
            (partial(torch_loss, twin), torch_step(twin, method, 100)),
        )
    ]
    if np.abs(np.diff(rows, axis=0)).max() > 1e-4:
        raise SystemExit(f"the losses differ: {rows}")
    print(f"agreed: validation loss {rows[0][0]:.5f} untrained; {rows[0][-1]:.5f} in step 3")


def trainings(data: str, steps: int, seeds: int, threads: int) -> dict[str, np.ndarray]:
    """Seconds, validation loss and nanoGPT's estimate of it: (seeds, 3) for each side."""
    told: dict[str, list[list[float]]] = {name: [] for name in WHOLE}
    for seed in range(seeds):
        names = [f"training: {name}" for name in WHOLE]
        settings = {"data": data, "steps": steps, "seed": seed}
        found = race(
            "benchmarks.shakespeare", names, 1, threads=threads, warmup=0, settings=settings
        )
        for name, result in zip(told, found.values()):
            told[name].append(json.loads(result.answer))
    return {name: np.array(rows) for name, rows in told.items()}


def main() -> None:
    parser = add_options(new_parser("shakespeare", __doc__), repeats=9)
    parser.add_argument("--data", default="tiny-shakespeare", help="a text file, or a set's name")
    parser.add_argument("--steps", type=positive, default=2000, help="of training (default 2000)")
    parser.add_argument("--seeds", type=positive, default=1, help="trainings of each (default 1)")
    arguments = parser.parse_args()
    require_peers("torch")
    try:
        prepared(arguments.data, seed=0)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    machine = environment(["torch"])
    check_agreement(arguments.data)
    settings = {"data": arguments.data, "steps": arguments.steps}
    steps = race(
        "benchmarks.shakespeare", STEPS, arguments.repeats, threads=arguments.threads, runs=RUNS,
        settings=settings,
    )  # fmt: skip
    whole = trainings(**settings, seeds=arguments.seeds, threads=arguments.threads)
    report("shakespeare", table(steps, whole), machine, notes(arguments))


def table(steps: Any, whole: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    def mean(name: str, column: int, digits: int, unit: float = 1.0) -> str:
        if name not in whole:
            return "-"
        return f"{whole[name][:, column].mean() / unit:.{digits}f}"

    return [
        {
            "contender": name,
            "milliseconds a step": result.seconds * 1000,
            "× torch": result.seconds / steps[TORCH].seconds,
            "× torch, memory kept": result.seconds / steps[KEPT].seconds,
            "minutes of training": mean(name, 0, 1, 60),
            "validation loss": mean(name, 1, 4),
            "by 20 batches": mean(name, 2, 4),
            "peak MB": result.megabytes,
        }
        for name, result in steps.items()
    ]


def notes(arguments: Any) -> list[str]:
    return [
        "4 layers, 4 heads, width 128, 64 characters, batch 12, dropout 0, float32; AdamW, "
        "clipping and schedule as in nanoGPT, which reports 1.88; both sides begin with the same "
        "weights and read the same batches",
        "validation loss: nats per character over the last 10 % of the text, in windows of 64 "
        f"side by side, after {arguments.steps} steps, mean of {arguments.seeds} seeds; by 20 "
        "batches: nanoGPT's estimate of it, from 240 windows",
        "otherwise than there: the tanh GELU, LayerNorms with a bias (the other biases are left "
        "out as there), a row of the embedding for unknown characters",
        f"{arguments.threads} threads; each in a process of its own; steps: medians of "
        f"{arguments.repeats} turns of {RUNS}, with drawing the batch; minutes: a whole training",
        MEMORY_KEPT,
        PEAK,
    ]


if __name__ == "__main__":
    stoppable(main)
