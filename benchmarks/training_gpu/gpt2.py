"""GPT-2 124M: a training step of 32 x 1024 tokens in bfloat16."""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.gpt_torch import in_torch
from benchmarks.kernels.measure import OURS, Machine, against
from benchmarks.training_gpu import race
from benchmarks.training_gpu.race import COMPILED, EAGER, Result, Train
from minissl.models.gpt import GPT, GPTConfig
from minissl.pretrain.language.gpt import GPTPretraining

TITLE = "GPT-2 124M, training step"
NOTES = (
    "12 layers, width 768, 12 heads, context 1024, vocabulary 50257 padded to 50304, dropout 0; "
    "bfloat16 (ours: copies of float32 weights; torch: autocast), AdamW on float32 weights, clip "
    "1.0; all start with the same weights, and the first losses must agree to 2^-8",
    "torch: scaled_dot_product_attention, fused AdamW; torch.compile takes model and loss together",
    *race.NOTES,
    "reach: eager's tokens per second and memory; aim: compile's, and 0.7 x the memory",
)
VOCABULARY, SEQUENCES = 50257, 32
GIGABYTES_NEEDED = 60  # by torch eager with all 32 sequences at once, estimated and rounded up
SETTINGS = {"precision": "bfloat16", "lr": 1e-4, "clip": 1.0}


def config(machine: Machine) -> GPTConfig:
    if machine.dry:
        return GPTConfig(num_layers=1, width=16, num_heads=2, vocab_size=64, context_length=8)
    return GPTConfig(num_layers=12, width=768, num_heads=12, vocab_size=50304, context_length=1024)


def parts(machine: Machine) -> int:
    """In how many parts a step's sequences come: 1, or more where the GPU's memory is small."""
    if machine.dry:
        return 2
    gigabytes, count = torch.cuda.get_device_properties(0).total_memory / 1e9, 1
    while GIGABYTES_NEEDED / count > 0.9 * gigabytes and count < SEQUENCES:
        count *= 2
    return count


def new_batch(machine: Machine) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets: one part of a step."""
    sequences = 4 if machine.dry else SEQUENCES
    vocabulary = 60 if machine.dry else VOCABULARY
    shape = sequences // parts(machine), config(machine).context_length + 1
    tokens = np.random.default_rng(1).integers(vocabulary, size=shape)
    return np.ascontiguousarray(tokens[:, :-1]), np.ascontiguousarray(tokens[:, 1:])


def new_model(machine: Machine) -> GPT:
    return GPT(config(machine), generator=np.random.default_rng(0))


def ours(machine: Machine) -> Train:
    model = new_model(machine).to("torch" if machine.dry else "cuda")
    stream = np.zeros(config(machine).context_length + 2, np.int64)  # batches come from elsewhere
    method = GPTPretraining(model, stream)
    return race.by_fit(method, new_batch(machine), accumulate=parts(machine), **SETTINGS)


def in_torch_too(machine: Machine, compiled: bool) -> Train:
    return race.by_torch(
        machine, in_torch(new_model(machine)), loss_of, new_batch(machine),
        accumulate=parts(machine), compiled=compiled, **SETTINGS,
    )  # fmt: skip


def loss_of(twin: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    inputs, targets = batch
    return F.cross_entropy(twin(inputs).flatten(0, 1), targets.flatten())


def contenders(machine: Machine) -> dict[str, Callable[[], Train]]:
    return {
        OURS: partial(ours, machine),
        EAGER: partial(in_torch_too, machine, compiled=False),
        COMPILED: partial(in_torch_too, machine, compiled=True),
    }


def measure(
    machine: Machine, until: float, names: Collection[str] = (OURS, EAGER, COMPILED)
) -> Iterator[tuple[list[str], list[dict]]]:
    """``names``: of the contenders that take part."""
    chosen = {name: build for name, build in contenders(machine).items() if name in names}
    count, size = parts(machine), new_batch(machine)[0].size
    notes = [f"memory is short: {count} parts of {size} tokens, gradients added up"] * (count > 1)
    for results in race.race(machine, chosen, until):
        yield notes, rows(results, tokens=count * size)


def rows(results: Mapping[str, Result], tokens: int) -> list[dict]:
    wrong = race.agreed(results, EAGER, 2**-8)
    times = race.times(results, wrong)
    found = [
        {"case": name, "cells": race.cells(results, name, tokens, "tokens"), **vars(results[name])}
        for name in results
    ]
    found[0]["verdicts"] = {
        "speed, reach": against(times, [EAGER]),
        "speed, aim": against(times, [COMPILED]),
        "memory, reach": race.less_memory(results, EAGER, 1.0),
        "memory, aim": race.less_memory(results, EAGER, 0.7),
    }
    return found
