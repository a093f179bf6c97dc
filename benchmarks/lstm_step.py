"""Recurrent layers and a language model of them: ours, their composition of primitives, and torch.

    python -m benchmarks.lstm_step

LSTM and GRU: 2 layers of width 256 over 32 × 64 vectors, forward and backward. Language model: an
embedding of 4096 tokens, the LSTM, a linear layer, cross-entropy and AdamW, float32. Before
anything is timed, losses and gradients must agree. Each contender has a process of its own; torch
has one as its users have it, and one where freed memory is kept, as ``fit`` keeps it for ours.
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
from minissl.autograd import Tensor, composed, fused
from minissl.autograd.threads import engine_threads
from minissl.conditions import environment
from minissl.nn import GRU, LSTM, Embedding, Linear, Module
from minissl.optim import AdamW

LAYERS, WIDTH, BATCH, STEPS, VOCABULARY, LEARNING_RATE = 2, 256, 32, 64, 4096, 1e-3
KINDS = {"LSTM": LSTM, "GRU": GRU}


class LanguageModel(Module):
    """Logits (batch, time, vocabulary) of tokens (batch, time)."""

    def __init__(self, generator: np.random.Generator):
        self.embedding = Embedding(VOCABULARY, WIDTH, generator=generator)
        self.lstm = LSTM(WIDTH, WIDTH, LAYERS, generator=generator)
        self.output = Linear(WIDTH, VOCABULARY, generator=generator)

    def forward(self, tokens: np.ndarray) -> Tensor:
        return self.output(self.lstm(self.embedding(tokens))[0])


def new_layers(kind: str) -> Module:
    return KINDS[kind](WIDTH, WIDTH, LAYERS, generator=np.random.default_rng(0))


def new_model() -> LanguageModel:
    return LanguageModel(np.random.default_rng(0))


def vectors() -> tuple[np.ndarray, np.ndarray]:
    """What the layers read, and the gradient that arrives at what they answer."""
    x, g = np.random.default_rng(1).standard_normal((2, BATCH, STEPS, WIDTH), np.float32)
    return x, g


def tokens() -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(1).integers(VOCABULARY, size=(BATCH, STEPS + 1))
    return drawn[:, :-1], drawn[:, 1:]


# ---- the contenders: each builds everything and returns its step --------------------------------


def our_layers(kind: str, layers: Any = None, by_steps: bool = False) -> Callable[[], float]:
    """``by_steps``: by the composition of primitives, one step after the other."""
    layers = new_layers(kind) if layers is None else layers
    array, g = vectors()

    def step() -> float:
        with engine_threads():  # as fit does
            layers.zero_grad()
            x = Tensor(array, requires_grad=True)
            y = composition(kind, layers, x) if by_steps else layers(x)[0]
            y.backward(g)
            return float(np.vdot(y.array, g))

    return step


def composition(kind: str, layers: Any, x: Tensor) -> Tensor:
    zeros = np.zeros((BATCH, WIDTH), np.float32)
    for i in range(LAYERS):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = [getattr(layers, f"{name}_l{i}") for name in names]
        if kind == "LSTM":
            x, _ = composed.lstm(x, *weights, zeros, zeros)
        else:
            x = composed.gru(x, *weights, zeros)
    return x


def torch_layers(kind: str, layers: Any = None) -> Callable[[], float]:
    import torch

    layers = in_torch(new_layers(kind), kind) if layers is None else layers
    array, g = map(torch.from_numpy, vectors())

    def step() -> float:
        layers.zero_grad(set_to_none=True)
        y, _ = layers(array.clone().requires_grad_())
        y.backward(g)
        return float((y.detach() * g).sum())

    return step


def our_model(model: LanguageModel | None = None) -> Callable[[], float]:
    model = new_model() if model is None else model
    inputs, targets = tokens()
    optimizer = AdamW(model.named_parameters(), lr=LEARNING_RATE, decay=lambda name, p: True)

    def step() -> float:
        with engine_threads():
            optimizer.zero_grad()
            loss = fused.cross_entropy(model(inputs), targets, overwrite_logits=True)
            loss.backward()
            optimizer.step()
            return loss.item()

    return step


def torch_model(twin: Any = None) -> Callable[[], float]:
    import torch
    from torch.nn import functional as F

    twin = model_in_torch(new_model()) if twin is None else twin
    inputs, targets = (torch.from_numpy(np.ascontiguousarray(array)) for array in tokens())
    optimizer = torch.optim.AdamW(twin.parameters(), lr=LEARNING_RATE, fused=True)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        hidden, _ = twin["lstm"](twin["embedding"](inputs))
        loss = F.cross_entropy(twin["output"](hidden).flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def in_torch(layers: Module, kind: str) -> Any:
    import torch

    twin = getattr(torch.nn, kind)(WIDTH, WIDTH, LAYERS, batch_first=True)
    twin.load_state_dict({n: torch.from_numpy(a.copy()) for n, a in layers.state_dict().items()})
    return twin


def model_in_torch(model: LanguageModel) -> Any:
    import torch

    parts = {
        "embedding": torch.nn.Embedding(VOCABULARY, WIDTH),
        "lstm": torch.nn.LSTM(WIDTH, WIDTH, LAYERS, batch_first=True),
        "output": torch.nn.Linear(WIDTH, VOCABULARY),
    }
    twin = torch.nn.ModuleDict(parts)
    twin.load_state_dict({n: torch.from_numpy(a.copy()) for n, a in model.state_dict().items()})
    return twin


OURS, STEPWISE, TORCH, KEPT = "minissl", "step by step", "torch", "torch, freed memory kept"
WITH_TORCH = ("minissl.optim", "torch")


def contenders(ours: Callable, theirs: Callable) -> dict[str, Contender]:
    return {
        OURS: Contender(ours, ["minissl.optim"], keeps_memory=True),
        TORCH: Contender(theirs, WITH_TORCH),
        KEPT: Contender(theirs, WITH_TORCH, keeps_memory=True),
    }


def layer_contenders(kind: str) -> dict[str, Contender]:
    stepwise = Contender(
        partial(our_layers, kind, by_steps=True), ["minissl.optim"], keeps_memory=True
    )
    return contenders(partial(our_layers, kind), partial(torch_layers, kind)) | {STEPWISE: stepwise}


RACES = {kind: layer_contenders(kind) for kind in KINDS}
RACES["language model"] = contenders(our_model, torch_model)
CONTENDERS = {f"{work}: {name}": c for work, found in RACES.items() for name, c in found.items()}


# ---- agreement, and the race --------------------------------------------------------------------


def check_agreement() -> None:
    """The same answers and the same gradients, and the same loss three steps later."""
    for kind in KINDS:
        layers, stepwise = new_layers(kind), new_layers(kind)
        twin = in_torch(layers, kind)
        steps = our_layers(kind, layers), our_layers(kind, stepwise, True), torch_layers(kind, twin)
        answers = [step() for step in steps]
        same(kind, answers, 1e-5 * BATCH * STEPS * WIDTH)
        same_gradients(layers, twin)
        same_gradients(stepwise, twin)
    model = new_model()
    twin = model_in_torch(model)
    ours, theirs = our_model(model), torch_model(twin)
    same("language model", [ours(), theirs()], 1e-5)
    same_gradients(model, twin)
    later = [[step() for _ in range(3)][-1] for step in (ours, theirs)]
    same("language model, three steps later", later, 1e-4)


def same(work: str, answers: list[float], tolerance: float) -> None:
    if max(answers) - min(answers) > tolerance:
        raise SystemExit(f"{work}: the answers differ: {answers}")
    print(f"agreed: {work}, {answers[0]:.5f}")


def same_gradients(model: Module, twin: Any) -> None:
    theirs = dict(twin.named_parameters())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        reference = theirs[name].grad.numpy()
        error = np.abs(parameter.grad - reference).max() / np.abs(reference).max()
        if error > 1e-4:
            raise SystemExit(f"the gradients of {name} differ by {error:.1e}")


def main() -> None:
    arguments = add_options(new_parser("lstm_step", __doc__), repeats=9).parse_args()
    require_peers("torch")
    machine = environment(["torch"])
    check_agreement()
    rows = []
    for work, names in RACES.items():
        found = race(
            "benchmarks.lstm_step",
            [f"{work}: {name}" for name in names],
            arguments.repeats,
            threads=arguments.threads,
            runs=3,
        )
        rows += [
            {
                "step": name,
                "milliseconds": result.seconds * 1000,
                "× torch": result.seconds / found[f"{work}: {TORCH}"].seconds,
                "× torch, memory kept": result.seconds / found[f"{work}: {KEPT}"].seconds,
                "peak MB": result.megabytes,
            }
            for name, result in found.items()
        ]
    notes = [
        "LSTM, GRU: 2 layers of width 256, 32 × 64 vectors, float32, forward and backward",
        "language model: embedding of 4096 tokens, the LSTM, linear layer, cross-entropy, AdamW",
        "answers and gradients of all agreed first",
        f"{arguments.threads} threads; each in a process of its own, medians of "
        f"{arguments.repeats} turns of 3 runs",
        MEMORY_KEPT,
        "step by step: the composition of primitives that the fused layer must equal",
        PEAK,
    ]
    report("lstm_step", rows, machine, notes)


if __name__ == "__main__":
    stoppable(main)
