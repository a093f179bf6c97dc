"""Data parallel training: every process works on its own batches, and all take the same step.

A run in N processes with ``accumulate`` batches each is the run of one process with N · accumulate:
process r draws the batches r, r + N, ..., and the mean of the processes' gradients is the mean over
all batches. So a run may be continued with another number of processes. Lecture 07.

The gradients travel while the rest of the backward pass is still running (Li et al., 2020, PyTorch
Distributed): the parameters are cut into buckets, from the last one to the first, which is the
order in which their gradients are ready, and a bucket is sent as soon as it is full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from safetensors.numpy import save

from minissl.autograd.arrays import namespace
from minissl.autograd.devices import device_of, move
from minissl.autograd.processes import World, broadcast_bytes, shared_memory, together, world
from minissl.autograd.rows import Rows
from minissl.autograd.tensor import Tensor
from minissl.nn.module import Module, Parameter
from minissl.optim.optimizer import Optimizer
from minissl.tensors import parse_tensors

BUCKET_BYTES = 1 << 22  # large enough to use the connection well, small enough to begin early


class GradientMean:
    """The mean of all processes' gradients, bucket by bucket; frozen parameters take no part.

    ``ready(parameter)`` says that a gradient is complete; ``finish(total)`` sends what is left,
    waits, and puts the sums, divided by ``total``, into ``grad``. A parameter that has no gradient
    anywhere keeps None; one that has it in some processes counts as 0 in the others.
    """

    def __init__(self, parameters: Sequence[Parameter], world: World):
        self.world = world
        self.buckets = _buckets([p for p in parameters if p.requires_grad])
        self.waiting = [{id(p) for p in bucket} for bucket in self.buckets]
        self.sent: list[tuple[Any, Any, list[Any]]] = []  # work under way, its array, gradients

    def ready(self, parameter: Tensor) -> None:
        """Send every bucket that is now full, in the order that all processes keep."""
        for names in self.waiting:
            names.discard(id(parameter))
        while len(self.sent) < len(self.buckets) and not self.waiting[len(self.sent)]:
            self._send()

    def finish(self, total: float | None = None) -> None:
        """Send the rest; wait for all; write the sums divided by ``total``.

        ``total``: of all processes; unless given, their number.
        """
        total = self.world.size if total is None else total
        while len(self.sent) < len(self.buckets):
            self._send()
        for (work, flat, gradients), bucket in zip(self.sent, self.buckets):
            together(work.wait)
            start, counts = 0, flat[-len(bucket) :]
            for parameter, count, sent in zip(bucket, counts, gradients):
                if parameter.grad is not sent:
                    raise RuntimeError(
                        "a gradient changed after it had been sent: a parameter that is used both "
                        "inside and outside of recompute() cannot be trained in several processes"
                    )
                part = flat[start : start + parameter.size]
                start += parameter.size
                # Whether anybody has it is known without asking a GPU where we have it ourselves.
                if parameter.grad is not None or float(count):
                    parameter.grad = part.reshape(parameter.shape) / total
        self.sent = []

    def _send(self) -> None:
        from torch import distributed

        bucket = self.buckets[len(self.sent)]
        if any(isinstance(p.grad, Rows) for p in bucket):
            raise ValueError(
                "a gradient has some rows only, which processes do not send each other: train in "
                "one process, or look up with sparse=False"
            )
        array, xp = bucket[0].array, namespace(bucket[0].array)
        own = {"dtype": array.dtype, "device": array.device}
        parts = [xp.zeros(p.size, **own) if p.grad is None else p.grad.reshape(-1) for p in bucket]
        present = np.array([p.grad is not None for p in bucket], np.float32)
        counts = xp.astype(move(present, device_of(array)), array.dtype)
        flat = xp.concat([*parts, counts])
        work = together(distributed.all_reduce, shared_memory(flat), async_op=True)
        self.sent.append((work, flat, [p.grad for p in bucket]))


def _buckets(parameters: Sequence[Parameter]) -> list[list[Parameter]]:
    """From the last parameter to the first, cut where BUCKET_BYTES or another dtype begins."""
    buckets: list[list[Parameter]] = []
    size = 0
    for parameter in reversed(parameters):
        if not buckets or size > BUCKET_BYTES or parameter.dtype != buckets[-1][0].dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += parameter.size * parameter.array.itemsize
    return buckets


def share_start(model: Module, optimizer: Optimizer) -> None:
    """Give every process the weights and the optimizer's state of process 0."""
    if world().size == 1:
        return
    weights = broadcast_bytes(save(model.state_dict()))
    moments = broadcast_bytes(save(optimizer.state_dict()))
    if world().rank:
        model.load_state_dict(parse_tensors(weights, "the weights of process 0"))
        optimizer.load_state_dict(parse_tensors(moments, "the moments of process 0"))
