"""A training step of the methods of images: ours and torch eager.

    python -m benchmarks.images_steps

Photos of 32 x 32 of ten classes: 128 in two views; for triplets (semi-hard) 16 of each of 8
classes; for consistency 32 with labels and 96 without, these also as they are. The encoder
``conv``, AdamW, float32. The views are made once, outside of the step. Before anything is timed,
losses and gradients must agree. Each contender has a process of its own; torch has channels_last,
its fused AdamW, and memory as its users have it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.common import (
    MEMORY_KEPT,
    PEAK,
    add_options,
    new_parser,
    report,
    require_peers,
    stoppable,
)
from benchmarks.turns import Contender, race
from minissl.autograd.threads import engine_threads
from minissl.conditions import environment
from minissl.data import Kept
from minissl.data.images import LabelledImages
from minissl.optim import AdamW
from minissl.pretrain import load_method

METHODS = ("simclr", "byol", "simsiam", "sigreg", "supcon", "triplet", "consistency")
BATCH = 128  # images
CONFIDENCE = 0.1062  # of consistency: random weights have more of some images, not of all
LEARNING_RATE, RUNS = 3e-3, 2


def new_method(name: str, size: int = BATCH) -> tuple[Any, Any]:
    """Ours, and a batch of it: generated photos, each class around one of its own."""
    generator = np.random.default_rng(0)
    labels = np.arange(600) % 10
    classes = generator.random((10, 32, 32, 3), dtype=np.float32)
    images = 0.7 * classes[labels] + 0.3 * generator.random((600, 32, 32, 3), dtype=np.float32)
    kind = load_method(name)
    options: dict[str, Any] = {"batch_size": size}
    if name == "consistency":  # a quarter has labels
        options = {"batch_size": size // 4, "unlabelled_ratio": 3, "confidence": CONFIDENCE}
    settings = kind.Settings(image_size=32, channels=3, **options)
    raw = LabelledImages(images, labels, [str(number) for number in range(10)])
    method = kind.build(settings, raw.prepare(Kept(), settings))
    return method, method.batch(np.random.default_rng(1))


def ours(name: str, method: Any = None, size: int = BATCH) -> Callable[[], float]:
    fresh, batch = new_method(name, size)
    method = fresh if method is None else method
    optimizer = AdamW(method.model.named_parameters(), lr=LEARNING_RATE, decay=lambda name, p: True)
    after_step = getattr(method, "after_step", lambda done: None)

    def step() -> float:
        with engine_threads():  # as fit does
            optimizer.zero_grad()
            loss = method.loss(batch, np.random.default_rng(2))
            loss.backward()
            optimizer.step()
            after_step(1)  # byol's slow copy follows
            return loss.item()

    return step


def theirs(name: str, twin: Any = None, size: int = BATCH) -> Callable[[], float]:
    import torch

    from benchmarks import images_torch

    method, batch = new_method(name, size)
    twin = images_torch.twin(name, method.model.named_parameters()) if twin is None else twin
    twin.to(memory_format=torch.channels_last)
    parts = [images_torch.in_torch(a) for a in (batch if isinstance(batch, tuple) else (batch,))]
    optimizer = torch.optim.AdamW(twin.trained(), lr=LEARNING_RATE, fused=True)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = images_torch.LOSSES[name](twin, *parts)
        loss.backward()
        optimizer.step()
        if name == "byol":
            twin.follow()
        return loss.item()

    return step


CONTENDERS = {
    f"{name}: {who}": contender
    for name in METHODS
    for who, contender in {
        "minissl": Contender(partial(ours, name), ["minissl.optim"], keeps_memory=True),
        "torch": Contender(partial(theirs, name), ("minissl.optim", "torch")),
    }.items()
}


def check_agreement(size: int = 16) -> None:
    """The same loss and the same gradients of a batch of this size; the loss after one update."""
    from benchmarks import images_torch

    losses = []
    for name in METHODS:
        method, _ = new_method(name, size)
        twin = images_torch.twin(name, method.model.named_parameters())
        steps = ours(name, method, size), theirs(name, twin, size)
        first = [step() for step in steps]
        # Beside the largest of all: that of a bias before unit vectors is a sum that cancels.
        largest = max(np.abs(reference.grad.numpy()).max() for reference in twin.trained())
        for (own, parameter), reference in zip(method.model.named_parameters(), twin.trained()):
            gradient = images_torch.as_torchs(own, np.asarray(parameter.grad))
            error = np.abs(gradient - reference.grad.numpy()).max() / largest
            if error > 2e-4:
                raise SystemExit(f"{name}: the gradients of {own} differ by {error:.1e}")
        later = [step() for step in steps]
        for values in (first, later):
            if max(values) - min(values) > 1e-3 * max(values):
                raise SystemExit(f"{name}: the losses differ: {values}")
        losses.append(f"{name} {first[0]:.5f}, after an update {later[0]:.5f}")
    print(f"agreed: {'; '.join(losses)}")


def main() -> None:
    arguments = add_options(new_parser("images_steps", __doc__), repeats=9).parse_args()
    require_peers("torch")
    machine = environment(["torch"])
    check_agreement()
    found = {}
    for method in METHODS:  # one race each: only what is compared takes turns, and has memory
        found |= race(
            "benchmarks.images_steps", [name for name in CONTENDERS if name.startswith(method)],
            arguments.repeats, threads=arguments.threads, runs=RUNS,
        )  # fmt: skip
    rows = [
        {
            "step": name,
            "milliseconds": result.seconds * 1000,
            "× torch": result.seconds / found[f"{name.partition(':')[0]}: torch"].seconds,
            "peak MB": result.megabytes,
        }
        for name, result in found.items()
    ]
    notes = [
        "photos of 32 × 32, convolutions 32-64-64, features 128, float32; 256 views, head 128-64; "
        "triplet: 128 views, semi-hard, no head; consistency: 128 views and 96 images as they are; "
        "forward, loss, backward and AdamW (byol: and the slow copy), without the augmentation; "
        "loss and gradients agreed first",
        f"{arguments.threads} threads; each in a process of its own, medians of "
        f"{arguments.repeats} turns of {RUNS} steps",
        MEMORY_KEPT,
        PEAK,
    ]
    report("images_steps", rows, machine, notes)


if __name__ == "__main__":
    stoppable(main)
