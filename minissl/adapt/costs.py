"""What an adaptation costs in bytes: counted after a real step, not estimated. Lecture 11.

Of a frozen weight there is one copy; of a trained one there are four: itself, its gradient, and the
two averages of AdamW (Kingma and Ba, 2015, Adam). That is why LoRA fits where full fine-tuning does
not (Hu et al., 2021, section 4.2). Not here: the activations, which depend on the batch;
``benchmarks/adaptation_step.py`` measures the peak of a step with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from safetensors.numpy import save

from minissl.adapt.trained import OnTop, Trained
from minissl.autograd.arrays import Array, namespace
from minissl.autograd.devices import move_batch
from minissl.autograd.rows import Rows
from minissl.autograd.tensor import Tensor
from minissl.nn.module import Module, Parameter
from minissl.optim import AdamW


@dataclass(frozen=True)
class Costs:
    """Bytes of an adaptation.

    weights: of everything in memory that the method computes with, buffers too. trained: those that
    a step changes. gradients: after a backward pass. optimizer: its arrays after a step. saved: the
    file with what was learned.
    """

    weights: int
    trained: int
    gradients: int
    optimizer: int
    saved: int

    @property
    def memory(self) -> int:
        """Of weights, gradients and optimizer together: what a step needs beside its batch."""
        return self.weights + self.gradients + self.optimizer

    def shares_of(self, other: Costs) -> dict[str, float]:
        """Each number divided by the other's, by name; "memory" too."""
        ours, theirs = (asdict(one) | {"memory": one.memory} for one in (self, other))
        return {name: value / theirs[name] for name, value in ours.items()}


def costs(method: Trained) -> Costs:
    """Make one step of the method's training and count; afterwards all is as it was, bit for bit.

    The batch is drawn by a generator of its own. Raises ValueError for a method that was opened to
    be used and has no examples, TypeError for one that is not trained step by step.
    """
    if not isinstance(method, Trained):
        raise TypeError(
            f"bytes are counted of an adaptation that is trained by steps (finetune, lora, ...), "
            f"got a {type(method).__name__}"
        )
    everything = _tensors(method.base.model, method.model)
    trained = [parameter for parameter in method.model.parameters() if parameter.requires_grad]
    saved = len(save(method.saved().state_dict()))
    batch = method.batch(np.random.default_rng(0))
    with _as_it_was([method.base.model, method.model], everything):
        method.model.train()
        loss = method.loss(move_batch(batch, method.model.device), np.random.default_rng(0))
        loss.backward()
        gradients = sum(_bytes(t.grad) for t in everything if t.grad is not None)
        optimizer = method.settings.optimizer(method.model)
        optimizer.step()
        state = sum(_bytes(a) for slot in optimizer.state.values() for a in slot.values())
    return Costs(_sum(everything), _sum(trained), gradients, state, saved)


def full_costs(opened: Any, method: Trained) -> Costs:
    """What training all weights of an opened run below the same head by AdamW costs.

    By arithmetic, since a step of it may need more memory than there is; that it is what ``costs``
    counts of full fine-tuning is tested.
    """
    whole = OnTop(opened.method.encoder, method.model.head)
    trained = _sum(whole.parameters())
    state = len(AdamW.slots) * trained
    in_memory = _sum(_tensors(opened.method.model, whole))
    return Costs(in_memory, trained, trained, state, len(save(whole.state_dict())))


def in_words(own: Costs, full: Costs | None = None) -> list[str]:
    """Lines for a person. ``full``: of full fine-tuning, to compare with."""
    names = ("weights", "gradients", "optimizer", "saved")
    sizes = [f"{name} {readable(getattr(own, name))}" for name in names]
    lines = [f"bytes: {', '.join(sizes)}"]
    if full is None:
        return lines
    shares = own.shares_of(full)
    told = [f"{name} {readable(getattr(full, name))}" for name in names]
    lines.append(f"full fine-tuning: {', '.join(told)}")
    compared = [f"{percent(shares[name])} of the {name}" for name in names[1:]]
    lines.append(
        f"so {', '.join(compared[:-1])} and {percent(shares['saved'])} of the file: "
        f"{percent(shares['memory'])} of the memory before activations"
    )
    return lines


def readable(count: int) -> str:
    """A number of bytes with three digits, in powers of 1000: "1.24 MB"."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5 or unit == "GB":
            break
        size /= 1000
    return f"{count} bytes" if unit == "bytes" else f"{size:.3g} {unit}"


def percent(share: float) -> str:
    """Two digits: "0.43 %", "12 %"."""
    return f"{100 * share:.2g} %" if share < 0.0995 else f"{100 * share:.0f} %"


def _tensors(*modules: Module) -> list[Tensor]:
    """Every parameter and buffer of these once."""
    found = {id(t): t for module in modules for _, t in module.named_tensors()}
    return list(found.values())


def _sum(tensors: Iterable[Tensor]) -> int:
    return sum(_bytes(tensor.array) for tensor in tensors)


def _bytes(array: Array | Rows) -> int:
    """Of an array; of a gradient of some rows what is stored of it."""
    if isinstance(array, Rows):
        return _bytes(array.values) + _bytes(array.positions)
    return int(array.nbytes)


@contextmanager
def _as_it_was(models: list[Module], tensors: list[Tensor]) -> Iterator[None]:
    """Within the block what may change are copies; then arrays, gradients and modes are put back.

    Frozen weights are not copied: nobody changes them.
    """
    modules = {id(m): m for model in models for _, m in model.named_modules()}
    attributes = [(m, dict(vars(m))) for m in modules.values()]
    before = [(t, t.array, t.grad) for t in tensors]
    try:
        for tensor, array, _ in before:
            tensor.grad = None
            if tensor.requires_grad or not isinstance(tensor, Parameter):
                tensor.array = namespace(array).asarray(array, copy=True)
        yield
    finally:
        for tensor, array, gradient in before:
            tensor.array, tensor.grad = array, gradient
        for module, old in attributes:
            vars(module).clear()
            vars(module).update(old)
