"""Tiny Shakespeare by characters, in nanoGPT's setting for a GPU: a whole run of ``fit``."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.kernels.measure import OURS, Machine, against
from benchmarks.training_gpu import gpt2, race, twins
from benchmarks.training_gpu.race import EAGER, Result, Train
from minissl.models.gpt import GPT, GPTConfig
from minissl.models.held_out import stream_nats
from minissl.optim import AdamW, warmup_cosine
from minissl.pretrain.language.gpt import GPTPretraining
from minissl.training import History, fit

TITLE = "Tiny Shakespeare by characters"
NOTES = (
    "6 layers, width 384, 6 heads, context 256, Linears without bias, dropout 0.2 (embeddings, "
    "attention weights, branches), batch 64, 5000 steps, learning rate 1e-3 to 1e-4 by a cosine "
    "after 100 steps of warm-up, betas 0.9 and 0.99, weight decay 0.1 on matrices, clip 1.0, "
    "bfloat16; the last tenth of the text is held out, as in nanoGPT; our LayerNorm has a bias, "
    "nanoGPT's here has none",
    "loss: nats per character over all of the held-out text in windows of 256 that do not overlap, "
    "whose expectation nanoGPT's random windows have too; every 250 steps",
    "ms: of a training step on one batch, contenders in turn; torch eager: the same model with "
    "scaled_dot_product_attention, fused AdamW, autocast",
    "seconds: ours, of the whole run with its 21 evaluations; torch eager's, of 5000 steps alone",
    "published: best 1.4697 (nanoGPT's README); reach: 1.48; aim: 1.47, in less time than torch "
    "eager",
)
CHARACTERS, PUBLISHED = 1_115_394, 1.4697
BATCH, STEPS, EVERY, BETAS = 64, 5000, 250, (0.9, 0.99)
SETTINGS = {"precision": "bfloat16", "lr": 1e-3, "clip": 1.0}


class ByWindows(GPTPretraining):
    """Held out as nanoGPT does it: every window begins without a past."""

    def evaluate(self) -> dict[str, float]:
        length = self.model.config.context_length
        nats = stream_nats(self.model, self.held_out, stride=length, batch_size=self.batch_size)
        return {"held_out_loss": nats / (len(self.held_out) - 1)}


def measure(
    machine: Machine, until: float, path: Path | None = None
) -> Iterator[tuple[list[str], list[dict]]]:
    text = read(machine, path)
    notes = [f"the text has {len(text):,} characters, {len({*text})} different ones"]
    if len(text) != CHARACTERS:
        notes.append("not the text of the published figure: losses cannot be compared with it")
    contenders = {
        OURS: lambda: race.by_fit(new_method(machine, text), one_batch(machine, text), **SETTINGS),
        EAGER: partial(in_torch_too, machine, text),
    }
    results: dict[str, Result] = {}
    for results in race.race(machine, contenders, until):
        yield notes, rows(results, "not run yet")
    step, steps = results[OURS].milliseconds, 4 if machine.dry else STEPS
    if isinstance(step, str):
        return
    seconds = steps * step / 1000 * 1.1 + 15  # with the evaluations
    if time.time() + seconds > until and not machine.dry:
        yield notes, rows(results, f"not run: needs {seconds:.0f} s, more --minutes")
        return
    yield notes, rows(results, whole_run(new_method(machine, text), steps, EVERY))


def read(machine: Machine, path: Path | None) -> str:
    if path is None:
        return "to be, or not to be: " * 20  # of a dry run
    text = path.read_text(encoding="utf-8")
    return text[:2000] if machine.dry else text


def config(machine: Machine, text: str) -> GPTConfig:
    sizes = {"num_layers": 6, "width": 384, "num_heads": 6, "context_length": 256}
    if machine.dry:
        sizes = {"num_layers": 1, "width": 8, "num_heads": 2, "context_length": 8}
    return GPTConfig(
        **sizes, vocab_size=len({*text}), bias=False, dropout=0.2, attention_dropout=0.2
    )


def new_method(machine: Machine, text: str) -> ByWindows:
    numbers = {character: i for i, character in enumerate(sorted({*text}))}
    stream = np.array([numbers[character] for character in text])
    cut = int(0.9 * len(stream))
    model = GPT(config(machine, text), generator=np.random.default_rng(0))
    model.to("torch" if machine.dry else "cuda")
    size = 4 if machine.dry else BATCH
    return ByWindows(model, stream[:cut], batch_size=size, held_out=stream[cut:])


def one_batch(machine: Machine, text: str) -> tuple[np.ndarray, np.ndarray]:
    inputs, targets = new_method(machine, text).batch(np.random.default_rng(0))
    return np.ascontiguousarray(inputs), np.ascontiguousarray(targets)


def in_torch_too(machine: Machine, text: str) -> Train:
    twin = twins.DropoutGPT(config(machine, text))
    for parameter in twin.parameters():
        if parameter.ndim > 1:  # where ours start; how long a step takes does not depend on it
            torch.nn.init.normal_(parameter, std=0.02)
    return race.by_torch(machine, twin, gpt2.loss_of, one_batch(machine, text), **SETTINGS)


def whole_run(method: ByWindows, steps: int, every: int) -> History:
    return fit(
        method,
        AdamW(method.model.named_parameters(), betas=BETAS, weight_decay=0.1),
        steps=steps,
        schedule=partial(
            warmup_cosine, peak=1e-3, warmup_steps=steps // 50, total_steps=steps, final=1e-4
        ),
        clip=1.0,
        precision="bfloat16",
        evaluate_every=every,
        progress=False,
    )


def rows(results: dict[str, Result], run: History | str) -> list[dict]:
    found = []
    for name in results:
        cells = race.cells(results, name, 1, "steps")
        for head in ("first loss", "later loss"):
            del cells[head]
        cells |= dict.fromkeys(("best loss", "last loss", "seconds"), "-")
        if isinstance(results[name].milliseconds, float):
            cells["seconds"] = f"{STEPS * results[name].milliseconds / 1000:.0f} (steps)"
        found.append({"case": name, "cells": cells, **vars(results[name])})
    verdicts = {"time of a step": against(race.times(results), [EAGER])}
    if isinstance(run, str):
        found[0]["cells"]["best loss"] = run
    else:
        at, losses = run.column("held_out_loss")
        best = int(np.argmin(losses))
        found[0]["cells"] |= {
            "best loss": f"{losses[best]:.4f} (step {at[best]})",
            "last loss": f"{losses[-1]:.4f}",
            "seconds": f"{run[-1]['seconds']:.0f}",
        }
        found[0]["held_out"] = [[int(s), float(loss)] for s, loss in zip(at, losses)]
        for what, limit in (("reach", 1.48), ("aim", 1.47), ("published", PUBLISHED)):
            said = "yes" if losses[best] <= limit else "no"
            verdicts[f"loss, {what}"] = f"{said}: {losses[best]:.4f} of at most {limit}"
    found[0]["verdicts"] = verdicts
    return found
