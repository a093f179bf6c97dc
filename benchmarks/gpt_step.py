"""A GPT training step: ours, torch eager, and NumPy by hand without an engine.

    OPENBLAS_NUM_THREADS=2 python -m benchmarks.gpt_step

4 layers, width 256, 4 heads, 16 × 128 tokens, 4096 tokens in the vocabulary, float32. All three
begin with the same weights; before anything is timed, their losses and gradients must agree.
"""

import argparse
import os
import resource
import subprocess
import sys
from collections.abc import Callable

import numpy as np

from benchmarks.common import compare, report
from minissl.autograd.allocation import keep_freed_memory
from minissl.autograd.threads import engine_threads
from minissl.conditions import environment
from minissl.models.gpt import GPT, GPTConfig
from minissl.pretrain.language.gpt import GPTPretraining

CONFIG = GPTConfig(num_layers=4, width=256, num_heads=4, vocab_size=4096, context_length=128)
BATCH, LEARNING_RATE = 16, 1e-3
CONTENDERS = ("minissl", "torch", "numpy by hand")


def new_model() -> GPT:
    return GPT(CONFIG, generator=np.random.default_rng(0))


def new_batch() -> tuple[np.ndarray, np.ndarray]:
    tokens = np.random.default_rng(1).integers(CONFIG.vocab_size, size=(BATCH, 129))
    return tokens[:, :-1], tokens[:, 1:]


# ---- the three: each builds everything and returns its step -------------------------------------


def ours(model: GPT) -> Callable[[], float]:
    from minissl.optim import AdamW

    batch = new_batch()
    method = GPTPretraining(model, np.zeros(200, np.int64))
    optimizer = AdamW(model.named_parameters(), lr=LEARNING_RATE, decay=lambda name, p: True)
    generator = np.random.default_rng(0)

    keep_freed_memory()  # as fit does

    def step() -> float:
        with engine_threads():  # as fit does
            optimizer.zero_grad()
            loss = method.loss(batch, generator)
            loss.backward()
            optimizer.step()
            return loss.item()

    return step


def torch_twin(twin, optimizer_settings: dict) -> Callable[[], float]:
    import torch
    from torch.nn import functional as F

    inputs, targets = (torch.from_numpy(np.ascontiguousarray(array)) for array in new_batch())
    optimizer = torch.optim.AdamW(twin.parameters(), lr=LEARNING_RATE, **optimizer_settings)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(twin(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def numpy_twin(twin) -> Callable[[], float]:
    inputs, targets = new_batch()

    def step() -> float:
        loss = twin.loss_and_gradients(inputs, targets)
        twin.update(LEARNING_RATE)
        return loss

    return step


def combined(ours: dict[str, np.ndarray], names: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """Our arrays under the twins' names."""
    return {name: np.concatenate([ours[part] for part in parts]) for name, parts in names.items()}


# ---- agreement, memory, time --------------------------------------------------------------------


def check_agreement() -> None:
    """The same loss, the same gradients, and the same loss three steps later."""
    from benchmarks.gpt_numpy import NumpyGPT
    from benchmarks.gpt_torch import in_torch, twin_names

    model, names = new_model(), twin_names(CONFIG)
    by_torch = in_torch(model)
    by_hand = NumpyGPT(CONFIG, combined(model.state_dict(), names))
    steps = ours(model), torch_twin(by_torch, {}), numpy_twin(by_hand)
    losses = [step() for step in steps]
    gradients = combined({n: p.grad for n, p in model.named_parameters()}, names)
    for name, expected in by_torch.named_parameters():
        reference = expected.grad.numpy()
        for got in (gradients[name], by_hand.gradients[name]):
            error = np.abs(got - reference).max() / np.abs(reference).max()
            if error > 1e-4:
                raise SystemExit(f"the gradients of {name} differ by {error:.1e}")
    later = [[step() for _ in range(3)][-1] for step in steps]
    for values in (losses, later):
        if max(values) - min(values) > 1e-4:
            raise SystemExit(f"the losses differ: {values}")
    print(f"agreed: loss {losses[0]:.5f}, after three steps {later[0]:.5f}")


def new_step(contender: str) -> Callable[[], float]:
    """A contender with nothing else in memory."""
    if contender == "minissl":
        return ours(new_model())
    if contender == "numpy by hand":
        from benchmarks.gpt_names import twin_names
        from benchmarks.gpt_numpy import NumpyGPT

        return numpy_twin(NumpyGPT(CONFIG, combined(new_model().state_dict(), twin_names(CONFIG))))
    from benchmarks.gpt_torch import TorchGPT

    return torch_twin(TorchGPT(CONFIG), {})


def import_only(contender: str) -> None:
    import minissl.optim  # noqa: F401

    if contender == "torch":
        import benchmarks.gpt_torch  # noqa: F401


def peak_megabytes(contender: str) -> float:
    """Above what Python and the imports need, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gpt_step", "--memory-of", contender]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_memory(contender: str) -> None:
    use_threads(contender == "torch")
    import_only(contender)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = new_step(contender)
    for _ in range(3):
        step()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def use_threads(with_torch: bool = True) -> None:
    threads = int(os.environ.get("OPENBLAS_NUM_THREADS", "0"))
    if not threads:
        raise SystemExit("set OPENBLAS_NUM_THREADS=2, which torch will use too")
    if with_torch:
        import torch

        torch.set_num_threads(threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--memory-of", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        return measure_memory(arguments.memory_of)
    machine = environment(["torch"])
    megabytes = {name: peak_megabytes(name) for name in CONTENDERS}  # before torch is loaded here
    use_threads()
    check_agreement()
    from benchmarks.gpt_torch import in_torch

    steps = {name: new_step(name) for name in CONTENDERS if name != "torch"}
    for choice in ("foreach", "fused"):
        steps[f"torch, AdamW {choice}"] = torch_twin(in_torch(new_model()), {choice: True})
    seconds = compare(steps, arguments.repeats, warmup=2)
    fastest = min((name for name in seconds if name.startswith("torch")), key=seconds.__getitem__)
    rows = [
        {
            "step": name,
            "milliseconds": time * 1000,
            "× torch": time / seconds[fastest],
            "× NumPy by hand": time / seconds["numpy by hand"],
            "peak MB": megabytes[name.split(",")[0]],
            "× torch's memory": megabytes[name.split(",")[0]] / megabytes["torch"],
        }
        for name, time in seconds.items()
    ]
    notes = [
        "4 layers, width 256, 4 heads, 16 × 128 tokens, vocabulary 4096, float32, dropout 0; "
        "forward, backward and AdamW; losses and gradients of all agreed first",
        f"{machine['thread_variables'].get('OPENBLAS_NUM_THREADS')} threads; medians of "
        f"{arguments.repeats} rounds in turn; × torch is against the faster AdamW ({fastest})",
        "peak MB: ru_maxrss of a process of its own after 3 steps, less its value after imports; "
        "torch's memory is with its default AdamW",
    ]
    report("gpt_step", rows, machine, notes)
    return None


if __name__ == "__main__":
    main()
