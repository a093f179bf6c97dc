"""A SimCLR training step on digits: ours and torch eager.

    python -m benchmarks.simclr_step

256 pairs of views of 8 × 8 images, the encoder of ``minissl.pretrain.simclr``, NT-Xent, AdamW;
float32. The views are made once, outside of the step. Before anything is timed, losses and
gradients must agree. Each contender has a process of its own; torch runs in both of its memory
formats as its users have it, and in one where freed memory is kept, as ``fit`` keeps it for ours.

Convolution is the part where NumPy is at its end: a product needs its windows copied (1 of 19 ms
of a step on two Zen 4 cores), and what is left is OpenBLAS's time for small matrices.
"""

from collections.abc import Callable
from functools import partial

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
from minissl.models.convolutional import ConvEncoder
from minissl.optim import AdamW
from minissl.pretrain.images.simclr import SimCLR, SimCLRModel
from minissl.vision.augment import digits_augmentation
from minissl.vision.images import load_digits

PAIRS, TEMPERATURE, LEARNING_RATE = 256, 0.5, 4e-3
RUNS = 5  # of a turn: a step is short


def new_model() -> SimCLRModel:
    generator = np.random.default_rng(0)
    return SimCLRModel(ConvEncoder(generator=generator), generator=generator)


def for_torch(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Our parameters (or gradients) in torch's order and layout."""
    arrays = {name: a.transpose(0, 3, 1, 2) if a.ndim == 4 else a for name, a in arrays.items()}
    linear = arrays["encoder.output.weight"].reshape(128, 2, 2, 64)  # over (height, width, channel)
    arrays["encoder.output.weight"] = linear.transpose(0, 3, 1, 2).reshape(128, -1)
    order = [f"encoder.convolutions.{i}" for i in range(3)]
    order += ["encoder.output", "head.hidden", "head.output"]
    return [arrays[f"{name}.{part}"] for name in order for part in ("weight", "bias")]


def new_method() -> tuple[SimCLR, np.ndarray]:
    """Ours, and the views of its batch."""
    method = SimCLR(
        new_model(), load_digits().train_images, digits_augmentation(), batch_size=PAIRS,
        temperature=TEMPERATURE,
    )  # fmt: skip
    return method, method.batch(np.random.default_rng(1))


def ours(method: SimCLR | None = None) -> Callable[[], float]:
    fresh, views = new_method()
    method = fresh if method is None else method
    optimizer = AdamW(method.model.named_parameters(), lr=LEARNING_RATE, decay=lambda name, p: True)

    def step() -> float:
        with engine_threads():  # as fit does
            optimizer.zero_grad()
            loss = method.loss(views)
            loss.backward()
            optimizer.step()
            return loss.item()

    return step


def theirs(twin=None, *, layout: str, **adamw: bool) -> Callable[[], float]:
    import torch

    from benchmarks.simclr_torch import in_torch, nt_xent

    method, views = new_method()
    twin = in_torch(for_torch(method.model.state_dict())) if twin is None else twin
    memory_format = getattr(torch, layout)
    twin.to(memory_format=memory_format)
    images = torch.from_numpy(views.transpose(0, 3, 1, 2).copy())
    images = images.contiguous(memory_format=memory_format)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=LEARNING_RATE, **adamw)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = nt_xent(twin(images), TEMPERATURE)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


OURS, KEPT = "minissl", "torch NHWC, AdamW fused, freed memory kept"
TORCH = {
    f"torch {name}, AdamW {choice}": partial(theirs, layout=layout, **{choice: True})
    for name, layout in (("NCHW", "contiguous_format"), ("NHWC", "channels_last"))
    for choice in ("foreach", "fused")
}
WITH_TORCH = ("minissl.optim", "torch")
CONTENDERS = {
    OURS: Contender(ours, ["minissl.optim"], keeps_memory=True),
    **{name: Contender(build, WITH_TORCH) for name, build in TORCH.items()},
    KEPT: Contender(TORCH["torch NHWC, AdamW fused"], WITH_TORCH, keeps_memory=True),
}


def check_agreement() -> None:
    """The same loss, the same gradients, and the same loss three steps later."""
    from benchmarks.simclr_torch import in_torch

    method, _ = new_method()
    twin = in_torch(for_torch(method.model.state_dict()))
    steps = ours(method), theirs(twin, layout="channels_last")
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
    arguments = add_options(new_parser("simclr_step", __doc__), repeats=15).parse_args()
    require_peers("torch")
    machine = environment(["torch"])
    check_agreement()
    found = race(
        "benchmarks.simclr_step", CONTENDERS, arguments.repeats,
        threads=arguments.threads, warmup=2, runs=RUNS,
    )  # fmt: skip
    fastest = min(TORCH, key=lambda name: found[name].seconds)
    rows = [
        {
            "step": name,
            "milliseconds": result.seconds * 1000,
            "× fastest torch": result.seconds / found[fastest].seconds,
            "× torch, memory kept": result.seconds / found[KEPT].seconds,
            "peak MB": result.megabytes,
        }
        for name, result in found.items()
    ]
    notes = [
        "digits, 256 pairs of views of 8 × 8, convolutions 32-64-64, features 128, head 128-64, "
        "float32; forward, NT-Xent, backward and AdamW, without the augmentation; loss and "
        "gradients agreed first",
        f"{arguments.threads} threads; each in a process of its own, medians of "
        f"{arguments.repeats} turns of {RUNS} steps; the fastest torch is {fastest} (NHWC is "
        "torch.channels_last)",
        MEMORY_KEPT,
        PEAK,
        "convolution is left as it is: its copies are a twentieth of the step, the rest is the "
        "time of OpenBLAS for small matrices, which NumPy cannot shorten",
    ]
    report("simclr_step", rows, machine, notes)


if __name__ == "__main__":
    stoppable(main)
