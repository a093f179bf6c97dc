"""Several processes that train one model: who is there, and what they can do together.

``torchrun`` starts the processes and tells each its number (the rank); ``torch.distributed`` moves
the arrays, by gloo between processors and by NCCL between GPUs. Everything here is a thin layer on
top, which also works on NumPy arrays, and does nothing where there is one process. Lecture 07.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np

from minissl.autograd.arrays import Array, namespace
from minissl.autograd.devices import resolve_device
from minissl.autograd.tensor import differentiable

PATIENCE = timedelta(minutes=10)  # for a process that is alive but does not answer


class World(NamedTuple):
    """This process is number ``rank`` of ``size``."""

    rank: int = 0
    size: int = 1


def world() -> World:
    """Who we are: ``World(0, 1)`` outside of ``joined``."""
    distributed = sys.modules.get("torch.distributed")  # not imported: nobody has joined
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return World()
    return World(distributed.get_rank(), distributed.get_world_size())


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Within this block the processes that ``torchrun`` started are one world.

    Yields the device of this process: ``device`` itself, or the GPU with its number on this
    machine. Outside of ``torchrun`` nothing happens.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    import torch
    from torch import distributed

    on_gpu = device.startswith("cuda")
    if on_gpu:
        device = resolve_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(device)
    store, rank, size = next(distributed.rendezvous("env://"))
    # After a restart the store may still hold the addresses of processes that are gone.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    distributed.init_process_group(
        # gloo for what lives on the processor (numbers to agree on, checkpoints), NCCL for GPUs.
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=distributed.PrefixStore(f"attempt {attempt}", store),
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    try:
        yield device
        together(distributed.barrier)  # nobody leaves while another may still be listening
    finally:
        distributed.destroy_process_group()


def together(action: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """Call a function of ``torch.distributed``; its errors become one that says what to do."""
    try:
        return action(*arguments, **settings)
    except RuntimeError as error:
        rank, size = world()
        raise RuntimeError(
            f"process {rank} of {size}: another process of this run is gone, or did not answer for "
            f"{PATIENCE.seconds // 60} minutes ({str(error).splitlines()[0]}). Its own message "
            "says why; the same torchrun command continues from the last checkpoint"
        ) from error


def shared_memory(array: Array) -> Any:
    """The array as a torch tensor of the same memory, for ``torch.distributed``."""
    if isinstance(array, np.ndarray):
        import torch

        return torch.from_numpy(array)
    return array


def agree(flag: bool) -> bool:
    """True in all processes if ``flag`` is true in any of them."""
    if world().size == 1:
        return flag
    import torch
    from torch import distributed

    votes = torch.tensor([int(flag)])
    together(distributed.all_reduce, votes, op=distributed.ReduceOp.MAX)
    return bool(votes.item())


def mean_of_all(value: Array | float) -> Array | float:
    """The mean of one number (or 0-d array) over all processes; on a GPU nobody waits for it."""
    if world().size == 1:
        return value
    import torch
    from torch import distributed

    total = (
        value.clone() if isinstance(value, torch.Tensor) else torch.tensor(float(value)).double()
    )
    together(distributed.all_reduce, total)
    total /= world().size
    return total if isinstance(value, torch.Tensor) else total.item()


def sum_of_all(number: float) -> float:
    """The sum of one number over all processes; on the processor, whatever the device."""
    if world().size == 1:
        return number
    import torch
    from torch import distributed

    total = torch.tensor(float(number)).double()
    together(distributed.all_reduce, total)
    return total.item()


class FailedElsewhere(RuntimeError):
    """Another process of this run has failed, and says why itself."""


def from_first(action: Callable[[], bytes]) -> bytes:
    """What ``action`` gives in process 0, which alone calls it, in every process.

    When it fails there, its error is raised there and FailedElsewhere in the others.
    """
    rank, size = world()
    if size == 1:
        return action()
    answer, error = b"", None
    if rank == 0:
        try:
            answer = b"+" + action()
        except BaseException as raised:
            answer, error = b"-" + str(raised).encode("utf-8", "replace"), raised
    answer = broadcast_bytes(answer)
    if error is not None:
        raise error
    if answer[:1] == b"-":
        raise FailedElsewhere(f"process 0 failed: {answer[1:].decode('utf-8', 'replace')}")
    return answer[1:]


def broadcast_bytes(data: bytes) -> bytes:
    """The bytes of process 0, in every process."""
    if world().size == 1:
        return data
    import torch
    from torch import distributed

    size = torch.tensor([len(data)])
    together(distributed.broadcast, size, src=0)
    buffer = torch.empty(int(size), dtype=torch.uint8)
    if not len(buffer):
        return b""
    if world().rank == 0:
        buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    together(distributed.broadcast, buffer, src=0)
    return buffer.numpy().tobytes()


@differentiable
def gather_rows(x, /):
    """The rows of all processes, our own first: (rows, ...) -> (size · rows, ...).

    ∂L/∂x = Σ over the processes of the gradient that each has for our rows: what another process
    computes with our rows changes its loss, and we are to learn from that. Raises ValueError in
    every process when they do not all have the same number of rows.
    """
    rank, size = world()
    if size == 1:
        return x, (lambda g: g,)
    from torch import distributed

    xp = namespace(x)
    _require_equal_shapes(tuple(x.shape))
    # Process r has the order r, r + 1, ..., so that row i stands at place i everywhere.
    turned = [(rank + i) % size for i in range(size)]
    shape, where = tuple(x.shape), {"dtype": x.dtype, "device": x.device}
    own, *parts = (xp.empty(shape, **where) for _ in range(1 + size))
    own[...] = x  # in C order, whatever the order of x
    together(distributed.all_gather, [shared_memory(p) for p in parts], shared_memory(own))

    def vjp(g):
        straight = xp.empty((size, *shape), **where)
        for place, r in enumerate(turned):
            straight[r] = g.reshape(straight.shape)[place]
        together(distributed.all_reduce, shared_memory(straight))
        return straight[rank]

    return xp.concat([parts[r] for r in turned]), (vjp,)


def _require_equal_shapes(shape: tuple[int, ...]) -> None:
    """Raise ValueError in all processes unless the shape is the same in all of them.

    Without this, gloo ends the process with SIGABRT and no word. Two numbers are sent.
    """
    import torch
    from torch import distributed

    own = torch.tensor([shape[0], int(np.prod(shape[1:]))])
    all_of_them = [torch.empty_like(own) for _ in range(world().size)]
    together(distributed.all_gather, all_of_them, own)
    rows, widths = ([int(pair[i]) for pair in all_of_them] for i in (0, 1))
    if len(set(rows)) > 1 or len(set(widths)) > 1:
        raise ValueError(
            f"rows of all processes: expected equally many numbers in each, got {rows} rows of "
            f"{widths} numbers in the processes 0 to {world().size - 1}: give every process "
            "batches of the same size"
        )
