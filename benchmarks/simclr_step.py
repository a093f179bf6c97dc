"""A SimCLR training step on digits: ours and torch eager.

    OPENBLAS_NUM_THREADS=2 python -m benchmarks.simclr_step

256 pairs of views of 8 × 8 images, the encoder of ``minissl.pretrain.simclr``, NT-Xent, AdamW;
float32. The views are made once, outside of the step. Both begin with the same weights; before
anything is timed, their losses and gradients must agree. Torch runs in both of its memory formats.
"""

import argparse
import os
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.common import compare, report
from minissl.autograd.allocation import keep_freed_memory
from minissl.autograd.threads import engine_threads
from minissl.conditions import environment
from minissl.models.convolutional import ConvEncoder
from minissl.optim import AdamW
from minissl.pretrain.images.simclr import SimCLR, SimCLRModel
from minissl.vision.augment import digits_augmentation
from minissl.vision.images import load_digits

PAIRS, TEMPERATURE, LEARNING_RATE = 256, 0.5, 4e-3


def new_model() -> SimCLRModel:
    generator = np.random.default_rng(0)
    return SimCLRModel(ConvEncoder(generator=generator), generator=generator)


class TorchSimCLR(nn.Module):
    """The same network as its users write it: (batch, channels, height, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 128),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(images))


def torch_nt_xent(embeddings: torch.Tensor) -> torch.Tensor:
    z = F.normalize(embeddings)
    logits = (z @ z.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    partners = torch.arange(len(z)).roll(len(z) // 2)
    return F.cross_entropy(logits, partners)


def for_torch(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Our parameters (or gradients) in torch's order and layout."""
    arrays = {name: a.transpose(0, 3, 1, 2) if a.ndim == 4 else a for name, a in arrays.items()}
    linear = arrays["encoder.output.weight"].reshape(128, 2, 2, 64)  # over (height, width, channel)
    arrays["encoder.output.weight"] = linear.transpose(0, 3, 1, 2).reshape(128, -1)
    order = [f"encoder.convolutions.{i}" for i in range(3)]
    order += ["encoder.output", "head.hidden", "head.output"]
    return [arrays[f"{name}.{part}"] for name in order for part in ("weight", "bias")]


def ours(model: SimCLRModel, method: SimCLR, views: np.ndarray) -> Callable[[], float]:
    optimizer = AdamW(model.named_parameters(), lr=LEARNING_RATE, decay=lambda name, p: True)

    keep_freed_memory()  # as fit does

    def step() -> float:
        with engine_threads():  # as fit does
            optimizer.zero_grad()
            loss = method.loss(views)
            loss.backward()
            optimizer.step()
            return loss.item()

    return step


def theirs(
    model: nn.Module, views: np.ndarray, layout: torch.memory_format, **settings: bool
) -> Callable[[], float]:
    model.to(memory_format=layout)
    images = torch.from_numpy(views.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=layout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, **settings)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = torch_nt_xent(model(images))
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def in_torch(model: SimCLRModel) -> TorchSimCLR:
    """The torch twin with a copy of our weights."""
    twin = TorchSimCLR()
    with torch.no_grad():
        for parameter, array in zip(twin.parameters(), for_torch(model.state_dict())):
            parameter.copy_(torch.from_numpy(array.copy()))
    return twin


def check_agreement(method: SimCLR, views: np.ndarray) -> None:
    """The same loss, the same gradients, and the same loss three steps later."""
    method.model = new_model()
    twin = in_torch(method.model)
    steps = ours(method.model, method, views), theirs(twin, views, torch.channels_last)
    losses = [step() for step in steps]
    gradients = for_torch({n: p.grad for n, p in method.model.named_parameters()})
    for (name, parameter), gradient in zip(twin.named_parameters(), gradients):
        reference = parameter.grad.numpy()
        error = np.abs(gradient - reference).max() / np.abs(reference).max()
        if error > 1e-4:
            raise SystemExit(f"the gradients of {name} differ by {error:.1e}")
    later = [[step() for _ in range(3)][-1] for step in steps]
    for values in (losses, later):
        if max(values) - min(values) > 1e-3:
            raise SystemExit(f"the losses differ: {values}")
    print(f"agreed: loss {losses[0]:.5f}, after three steps {later[0]:.5f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40)
    arguments = parser.parse_args()
    threads = int(os.environ.get("OPENBLAS_NUM_THREADS", "0"))
    if not threads:
        raise SystemExit("set OPENBLAS_NUM_THREADS=2, which torch will use too")
    torch.set_num_threads(threads)
    machine = environment(["torch"])
    method = SimCLR(
        new_model(), load_digits().train_images, digits_augmentation(), batch_size=PAIRS,
        temperature=TEMPERATURE,
    )  # fmt: skip
    views = method.batch(np.random.default_rng(1))
    check_agreement(method, views)
    method.model = new_model()
    steps = {"minissl": ours(method.model, method, views)}
    for name, layout in (("NCHW", torch.contiguous_format), ("NHWC", torch.channels_last)):
        for choice in ("foreach", "fused"):
            twin = in_torch(method.model)
            steps[f"torch {name}, AdamW {choice}"] = theirs(twin, views, layout, **{choice: True})
    seconds = compare(steps, arguments.repeats, warmup=3)
    fastest = min((name for name in seconds if name.startswith("torch")), key=seconds.__getitem__)
    rows = [
        {"step": name, "milliseconds": time * 1000, "× fastest torch": time / seconds[fastest]}
        for name, time in seconds.items()
    ]
    notes = [
        "digits, 256 pairs of views of 8 × 8, convolutions 32-64-64, features 128, head 128-64, "
        "float32; forward, NT-Xent, backward and AdamW, without the augmentation; loss and "
        "gradients agreed first",
        f"{threads} threads; medians of {arguments.repeats} rounds in turn; the fastest torch is "
        f"{fastest} (NHWC is torch.channels_last)",
    ]
    report("simclr_step", rows, machine, notes)


if __name__ == "__main__":
    main()
