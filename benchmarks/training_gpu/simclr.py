"""SimCLR with a ResNet-18 on images of 32 x 32: a training step of 512 pairs of views."""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import torch

from benchmarks.kernels.measure import OURS, Machine, against
from benchmarks.training_gpu import race, twins
from benchmarks.training_gpu.race import EAGER, Result, Train
from minissl.nn.resnet import ResNet
from minissl.pretrain.images.simclr import SimCLR, SimCLRModel

TITLE = "SimCLR, ResNet-18 on 32 x 32 images, training step"
NOTES = (
    "512 images, of each two views (1024 images through the network; images per second counts "
    "the 512), random pixels, no augmentation; ResNet-18 with a first convolution of 3 x 3 and no "
    "pooling, head 512-512-128, NT-Xent at temperature 0.5, AdamW; all start with the same weights",
    "both call cuDNN's convolutions on channels-last arrays, with cudnn.benchmark (a run in a "
    "folder, which can be continued bit for bit, takes deterministic ones); float32 lets them use "
    "TF32, torch's default; torch in bfloat16 is autocast",
    *race.NOTES,
    "reach: 0.7 x eager's images per second; aim: 1.0 x",
)
PAIRS, TEMPERATURE, LEARNING_RATE = 512, 0.5, 1e-3
ROUNDING = {"bfloat16": 2**-8, "float32": 2**-10}  # of the first loss; TF32 has 10 bits


def measure(machine: Machine, until: float) -> Iterator[tuple[list[str], list[dict]]]:
    torch.backends.cudnn.benchmark = True
    done: list[dict] = []
    for precision in ("bfloat16", "float32"):
        contenders = {
            OURS: partial(ours, machine, precision),
            EAGER: partial(in_torch_too, machine, precision),
        }
        found: list[dict] = []
        for results in race.race(machine, contenders, until):
            found = rows(results, precision, 4 if machine.dry else PAIRS)
            yield [], [*done, *found]
        done += found


def sizes(machine: Machine) -> dict:
    return {"width": 4, "blocks": (1, 1)} if machine.dry else {"width": 64}


def new_views(machine: Machine) -> np.ndarray:
    shape = (8, 8, 8, 3) if machine.dry else (2 * PAIRS, 32, 32, 3)
    return np.random.default_rng(1).random(shape, dtype=np.float32)


def new_model(machine: Machine) -> SimCLRModel:
    generator = np.random.default_rng(0)
    encoder = ResNet(**sizes(machine), generator=generator)
    return SimCLRModel(encoder, features=encoder.features, embedding=128, generator=generator)


def ours(machine: Machine, precision: str) -> Train:
    views = new_views(machine)
    model = new_model(machine).to("torch" if machine.dry else "cuda")
    method = SimCLR(
        model, views[:2], lambda images, generator: images, batch_size=2, temperature=TEMPERATURE
    )
    return race.by_fit(method, views, precision=precision, lr=LEARNING_RATE, clip=None)


def in_torch_too(machine: Machine, precision: str) -> Train:
    model = new_model(machine)
    twin = twins.TorchSimCLR(model.encoder.features, 128, **sizes(machine))
    twin = twins.copy_weights(model, twin).to(memory_format=torch.channels_last)

    def loss_of(twin: torch.nn.Module, views: torch.Tensor) -> torch.Tensor:
        return twins.nt_xent(twin(views.permute(0, 3, 1, 2)), TEMPERATURE)

    return race.by_torch(
        machine, twin, loss_of, new_views(machine), precision=precision, lr=LEARNING_RATE, clip=None
    )


def rows(results: Mapping[str, Result], precision: str, images: int) -> list[dict]:
    times = race.times(results, race.agreed(results, EAGER, ROUNDING[precision]))
    found = [
        {
            "case": f"{precision}, {name}",
            "cells": {"precision": precision, **race.cells(results, name, images, "images")},
            **vars(results[name]),
        }
        for name in results
    ]
    found[0]["verdicts"] = {
        f"{precision}, reach": against(times, [EAGER], 0.7),
        f"{precision}, aim": against(times, [EAGER]),
    }
    return found
