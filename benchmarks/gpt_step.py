"""A GPT training step: ours, torch eager, NumPy by hand, and the matrix products of it alone.

    python -m benchmarks.gpt_step

4 layers, width 256, 4 heads, 16 × 128 tokens, 4096 tokens in the vocabulary, float32. Before
anything is timed, losses and gradients must agree. Each contender has a process of its own; torch
has one as its users have it, and one where freed memory is kept, as ``fit`` keeps it for ours.
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
from minissl.models.gpt import GPT, GPTConfig
from minissl.optim import AdamW
from minissl.pretrain.language.gpt import GPTPretraining

CONFIG = GPTConfig(num_layers=4, width=256, num_heads=4, vocab_size=4096, context_length=128)
BATCH, LEARNING_RATE = 16, 1e-3


def new_model() -> GPT:
    return GPT(CONFIG, generator=np.random.default_rng(0))


def new_batch() -> tuple[np.ndarray, np.ndarray]:
    tokens = np.random.default_rng(1).integers(CONFIG.vocab_size, size=(BATCH, 129))
    return tokens[:, :-1], tokens[:, 1:]


# ---- the contenders: each builds everything and returns its step --------------------------------


def ours(model: GPT | None = None) -> Callable[[], float]:
    model = new_model() if model is None else model
    batch = new_batch()
    method = GPTPretraining(model, np.zeros(200, np.int64))
    optimizer = AdamW(model.named_parameters(), lr=LEARNING_RATE, decay=lambda name, p: True)
    generator = np.random.default_rng(0)

    def step() -> float:
        with engine_threads():  # as fit does
            optimizer.zero_grad()
            loss = method.loss(batch, generator)
            loss.backward()
            optimizer.step()
            return loss.item()

    return step


def torch_twin(twin=None, **adamw: bool) -> Callable[[], float]:
    import torch
    from torch.nn import functional as F

    from benchmarks.gpt_torch import in_torch

    twin = in_torch(new_model()) if twin is None else twin
    inputs, targets = (torch.from_numpy(np.ascontiguousarray(array)) for array in new_batch())
    optimizer = torch.optim.AdamW(twin.parameters(), lr=LEARNING_RATE, **adamw)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(twin(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def by_hand(twin=None) -> Callable[[], float]:
    twin = new_twin() if twin is None else twin
    inputs, targets = new_batch()

    def step() -> float:
        loss = twin.loss_and_gradients(inputs, targets)
        twin.update(LEARNING_RATE)
        return loss

    return step


def new_twin():
    from benchmarks.gpt_names import twin_names
    from benchmarks.gpt_numpy import NumpyGPT

    return NumpyGPT(CONFIG, combined(new_model().state_dict(), twin_names(CONFIG)))


def products_alone() -> Callable[[], None]:
    """Every matrix product of the step on arrays that are already there, by NumPy's own threads.

    Of attention's, those above the diagonal of its causal mask are left out, as everyone does.
    """
    c, rows = CONFIG, BATCH * CONFIG.context_length
    shapes = [(c.width, 3 * c.width), (c.width, c.width), (c.width, 4 * c.width)]
    shapes = [*shapes, (4 * c.width, c.width)] * c.num_layers + [(c.width, c.vocab_size)]
    draw = np.random.default_rng(0)
    x, y = (draw.standard_normal((rows, c.vocab_size), np.float32) for _ in range(2))
    weights = [draw.standard_normal(shape[::-1], np.float32) for shape in shapes]
    products = [
        triple
        for w in weights
        for inputs, outputs in [(x[:, : w.shape[1]].copy(), y[:, : w.shape[0]].copy())]
        for triple in ((inputs, w.T), (outputs, w), (outputs.T, inputs))
    ]
    heads = (BATCH * c.num_heads, c.context_length, c.width // c.num_heads)
    q, half = draw.standard_normal(heads, np.float32), c.context_length // 2
    scores = draw.standard_normal((heads[0], heads[1], heads[1]), np.float32)
    for part, seen in ((slice(0, half), half), (slice(half, None), heads[1])):
        p = np.ascontiguousarray(scores[:, part, :seen])
        forward = [(q[:, part], q[:, :seen].mT), (p, q[:, :seen])]
        backward = [(q[:, part], q[:, :seen].mT), (p.mT, q[:, part]), (p, q[:, :seen])]
        products += (forward + backward + [(p.mT, q[:, part])]) * c.num_layers
    rooms = [np.empty((*a.shape[:-1], b.shape[-1]), np.float32) for a, b in products]

    def step() -> None:
        for (a, b), room in zip(products, rooms):
            np.matmul(a, b, out=room)

    return step


def combined(ours: dict[str, np.ndarray], names: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """Our arrays under the twins' names."""
    return {name: np.concatenate([ours[part] for part in parts]) for name, parts in names.items()}


OURS, PRODUCTS, HAND = "minissl", "the products alone", "numpy by hand"
KEPT = "torch, AdamW fused, freed memory kept"
TORCH = {
    f"torch, AdamW {choice}": partial(torch_twin, **{choice: True})
    for choice in ("foreach", "fused")
}
WITH_TORCH = ("minissl.optim", "benchmarks.gpt_torch")
CONTENDERS = {
    OURS: Contender(ours, ["minissl.optim"], keeps_memory=True),
    PRODUCTS: Contender(products_alone),
    HAND: Contender(by_hand, ["minissl.optim"]),
    **{name: Contender(build, WITH_TORCH) for name, build in TORCH.items()},
    KEPT: Contender(TORCH["torch, AdamW fused"], WITH_TORCH, keeps_memory=True),
}


# ---- agreement, and the race --------------------------------------------------------------------


def check_agreement() -> None:
    """The same loss, the same gradients, and the same loss three steps later."""
    from benchmarks.gpt_names import twin_names
    from benchmarks.gpt_torch import in_torch

    model, names = new_model(), twin_names(CONFIG)
    in_torch_, hand = in_torch(model), new_twin()
    steps = ours(model), torch_twin(in_torch_), by_hand(hand)
    losses = [step() for step in steps]
    gradients = combined({n: p.grad for n, p in model.named_parameters()}, names)
    for name, expected in in_torch_.named_parameters():
        reference = expected.grad.numpy()
        for got in (gradients[name], hand.gradients[name]):
            error = np.abs(got - reference).max() / np.abs(reference).max()
            if error > 1e-4:
                raise SystemExit(f"the gradients of {name} differ by {error:.1e}")
    later = [[step() for _ in range(3)][-1] for step in steps]
    for values in (losses, later):
        if max(values) - min(values) > 1e-4:
            raise SystemExit(f"the losses differ: {values}")
    print(f"agreed: loss {losses[0]:.5f}, after three steps {later[0]:.5f}")


def main() -> None:
    arguments = add_options(new_parser("gpt_step", __doc__), repeats=9).parse_args()
    require_peers("torch")
    machine = environment(["torch"])
    check_agreement()
    found = race("benchmarks.gpt_step", CONTENDERS, arguments.repeats, threads=arguments.threads)
    fastest = min(TORCH, key=lambda name: found[name].seconds)

    def times(name: str, peer: str) -> float:
        return found[name].seconds / found[peer].seconds

    rows = [
        {
            "step": name,
            "milliseconds": result.seconds * 1000,
            "× torch": times(name, fastest),
            "× torch, memory kept": times(name, KEPT),
            "× the products": times(name, PRODUCTS),
            "× NumPy by hand": times(name, HAND),
            "peak MB": "-" if name == PRODUCTS else result.megabytes,
        }
        for name, result in found.items()
    ]
    notes = [
        "4 layers, width 256, 4 heads, 16 × 128 tokens, vocabulary 4096, float32, dropout 0; "
        "forward, backward and AdamW; losses and gradients of all agreed first",
        f"{arguments.threads} threads; each in a process of its own, medians of "
        f"{arguments.repeats} turns; × torch is against the faster AdamW ({fastest})",
        MEMORY_KEPT,
        "the products: every matrix product of the step on arrays that are already there",
        PEAK,
    ]
    report("gpt_step", rows, machine, notes)


if __name__ == "__main__":
    stoppable(main)
