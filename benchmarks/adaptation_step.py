"""A training step of every adaptation by steps: ours and torch's, and LoRA beside full fine-tuning.

    python -m benchmarks.adaptation_step

An encoder as BERT's, 6 layers of width 256, 16 texts of at most 64 tokens, 8192 tokens, AdamW,
float32; and full fine-tuning and LoRA at the size of BERT-base and GPT-2 small (12 layers of width
768). torch's twin is written by hand, with one product for queries, keys and values. Losses and
gradients must agree before anything is timed. Each contender has a process of its own. Bytes: those
of ``minissl.adapt.costs``, and the peak that tracemalloc sees in a step.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
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
from minissl.adapt import load_adaptation
from minissl.adapt.method import Task
from minissl.autograd.threads import engine_threads
from minissl.conditions import environment
from minissl.data import Kept
from minissl.forms.spans import Places
from minissl.forms.tags import TagBatch
from minissl.models.encoder import EncoderConfig, MaskedEncoder
from minissl.optim import AdamW
from minissl.pretrain.masked.bert import BERT

ROWS, TIME, LEARNING_RATE = 16, 64, 1e-3
SIZES = {
    "small": {"num_layers": 6, "width": 256, "num_heads": 4, "vocab_size": 8192},
    "base": {"num_layers": 12, "width": 768, "num_heads": 12, "vocab_size": 30522},
}
ROWS_OF = {"small": ROWS, "base": 8}
FORMS = (
    "finetune", "lora", "adapters", "prompts", "prefixes", "experts", "bias", "last-layers",
    "layers-on-top",
)  # fmt: skip
TAGS = tuple(f"tag {number}" for number in range(9))
RACES = [("small", name, "class") for name in FORMS]
RACES += [("small", "finetune", form) for form in ("number", "tags", "span")]
RACES += [("base", "finetune", "class"), ("base", "lora", "class")]


def opened_run(size: str) -> Any:
    """What an adaptation asks of a pretrained run, with random weights."""
    config = EncoderConfig(context_length=128, init_std=0.05, **SIZES[size])  # type: ignore[arg-type]

    def on(data: Any) -> BERT:
        base: Any = BERT.__new__(BERT)
        base.model = MaskedEncoder(config, next_sentence=True, generator=np.random.default_rng(0))
        base.settings = SimpleNamespace(context_length=128)
        base.cls, base.sep, base.pad = 2, 3, 0
        return base

    return SimpleNamespace(on=on, data=None, name="bert", settings=None)


def adaptation(size: str, name: str, form: str) -> Any:
    """The adaptation, ready to be trained."""
    kind = load_adaptation(name)
    names = {"class": ("no", "yes"), "tags": TAGS}.get(form, ())
    task = Task(Kept(), None, names, ROWS, form=form)
    method = kind.build(kind.Settings(), opened_run(size), task, seed=0)
    method.began = {}  # a copy of all weights for ``distance``, which is no part of a step
    for path, parameter in method.model.named_parameters():
        if path.endswith((".up", ".gate.weight")):  # away from 0, where the others have no gradient
            generator = np.random.default_rng(len(path))
            parameter.array = generator.normal(0, 0.05, parameter.shape).astype(np.float32)
    method.model.train()
    return method


def batch(size: str, method: Any) -> Any:
    """Collated texts of random tokens, most of them of the whole length, and labels."""
    generator = np.random.default_rng(1)
    rows = ROWS_OF[size]
    lengths = np.where(generator.random(rows) < 0.25, generator.integers(16, TIME, rows), TIME)
    texts = [
        generator.integers(5, SIZES[size]["vocab_size"], length).tolist() for length in lengths
    ]
    labels = generator.integers(2, size=rows)
    if method.task.form in ("class", "number"):
        return method.form.batch(method.base, texts, labels)
    collated = method.base.collate(texts)
    words = np.flatnonzero((collated[-1].ravel() > 0) & (generator.random(rows * TIME) < 0.7))
    if method.task.form == "tags":  # seven words of ten pieces
        tags = generator.integers(len(TAGS), size=len(words))
        return TagBatch(collated, words, np.bincount(words // TIME)), tags
    real = np.arange(TIME) < lengths[:, None]
    every = np.broadcast_to(np.arange(TIME), real.shape)
    ends = generator.integers(lengths // 2, lengths)
    targets = np.stack([generator.integers(0, lengths // 2), ends], axis=1)
    whose = np.arange(rows)
    return (Places(every, every, real, whose, 0 * whose), collated), targets


def ours(size: str, name: str, form: str, method: Any = None) -> Callable[[], float]:
    method = adaptation(size, name, form) if method is None else method
    rows = batch(size, method)
    optimizer = AdamW(method.model.named_parameters(), lr=LEARNING_RATE, decay=lambda n, p: True)

    def step() -> float:
        with engine_threads():  # as fit does
            optimizer.zero_grad()
            loss = method.loss(rows, None)
            loss.backward()
            optimizer.step()
            return loss.item()

    return step


def theirs(size: str, name: str, form: str, twin: Any = None) -> Callable[[], float]:
    import torch

    from benchmarks.adaptation_torch import Twin

    method = adaptation(size, name, form)
    twin = Twin(method, name) if twin is None else twin
    inputs = twin.prepared(batch(size, method))
    del method
    optimizer = torch.optim.AdamW(twin.parameters(), lr=LEARNING_RATE, fused=True)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = twin.loss(inputs)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


OURS, TORCH, KEPT = "minissl", "torch", "torch, freed memory kept"
IMPORTS = ("minissl.optim", "minissl.adapt.trained", "torch")


def contenders(*about: str) -> dict[str, Contender]:
    return {
        OURS: Contender(partial(ours, *about), IMPORTS[:2], keeps_memory=True),
        TORCH: Contender(partial(theirs, *about), IMPORTS),
        KEPT: Contender(partial(theirs, *about), IMPORTS, keeps_memory=True),
    }


def label(size: str, name: str, form: str) -> str:
    return f"{name}, {form}" if size == "small" else f"{name}, {form}, 12 x 768"


CONTENDERS = {
    f"{label(*about)}: {name}": contender
    for about in RACES
    for name, contender in contenders(*about).items()
}


def check_agreement(size: str, name: str, form: str) -> None:
    """The same loss and gradients, and the same loss three steps later."""
    from benchmarks.adaptation_torch import Twin

    method = adaptation(size, name, form)
    twin = Twin(method, name)
    steps = ours(size, name, form, method), theirs(size, name, form, twin)
    first = [step() for step in steps]
    if abs(first[0] - first[1]) > 1e-4 * max(1, abs(first[1])):
        raise SystemExit(f"{label(size, name, form)}: the losses differ: {first}")
    twin.require_same_gradients(method)
    later = [[step() for _ in range(3)][-1] for step in steps]
    if abs(later[0] - later[1]) > 5e-3 * max(1, abs(later[1])):
        raise SystemExit(f"{label(size, name, form)}: three steps later they differ: {later}")
    print(f"agreed: {label(size, name, form)}, {first[0]:.5f}, then {later[0]:.5f}")


def peak(size: str, name: str, form: str) -> float:
    """Megabytes of arrays at the largest moment of two of our steps, weights and all included."""
    ours(size, name, form)()  # imports what it needs
    tracemalloc.start()
    try:
        step = ours(size, name, form)
        step()
        tracemalloc.reset_peak()
        step()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def main() -> None:
    parser = add_options(new_parser("adaptation_step", __doc__), repeats=7)
    parser.add_argument("--only", default="", help="races whose name holds this")
    arguments = parser.parse_args()
    require_peers("torch")
    machine = environment(["torch"])
    races = [about for about in RACES if arguments.only in label(*about)]
    for about in races:
        if about[0] == "small":
            check_agreement(*about)
    rows: list[dict[str, object]] = []
    whole: dict[str, tuple[float, float]] = {}
    for about in races:
        race_name, repeats = label(*about), arguments.repeats
        if about[0] == "base":
            repeats = max(1, repeats // 2)
        found = race(
            "benchmarks.adaptation_step",
            [f"{race_name}: {name}" for name in (OURS, TORCH, KEPT)],
            repeats,
            threads=arguments.threads,
            runs=3 if about[0] == "small" else 1,
        )
        seconds = {name: found[f"{race_name}: {name}"].seconds for name in (OURS, TORCH, KEPT)}
        megabytes = peak(*about)
        whole.setdefault(about[0], (seconds[OURS], megabytes))  # full fine-tuning comes first
        rows.append(
            {
                "adaptation": race_name,
                "ms": 1000 * seconds[OURS],
                "torch ms": 1000 * seconds[TORCH],
                "× torch": seconds[OURS] / seconds[TORCH],
                "× torch, memory kept": seconds[OURS] / seconds[KEPT],
                "× finetune": seconds[OURS] / whole[about[0]][0],
                "arrays MB": megabytes,
                "arrays × finetune": megabytes / whole[about[0]][1],
                "peak MB": found[f"{race_name}: {OURS}"].megabytes,
                "torch peak MB": found[f"{race_name}: {TORCH}"].megabytes,
            }
        )
    notes = [
        f"6 layers of width 256, {ROWS} texts of at most {TIME} tokens, vocabulary 8192; 12 x 768: "
        f"the size of BERT-base, {ROWS_OF['base']} texts; float32, AdamW, default settings of each",
        "losses and gradients of all small ones agreed first",
        "arrays MB: of our step at its largest, by tracemalloc: weights, gradients, averages of "
        "the optimizer, activations",
        f"{arguments.threads} threads; each in a process of its own, medians of "
        f"{arguments.repeats} turns of 3 runs (12 x 768: {max(1, arguments.repeats // 2)} of one)",
        MEMORY_KEPT,
        PEAK,
    ]
    report("adaptation_step", rows, machine, notes)


if __name__ == "__main__":
    stoppable(main)
