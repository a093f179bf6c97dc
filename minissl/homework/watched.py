"""What a kernel does to memory, watched in Triton's interpreter, which forgives what no GPU does.

    x, y = Memory("x", (3, 5), values=x), Memory("y", (3, 5))
    with watched([x, y], writes=("y",)) as watch:
        kernel[grid](x.tensor, y.tensor, ...)   # raises Misuse with a sentence for the student

- Bounds: every address that a program loads or stores is that of an element of one of the tensors,
  not one beside them or between their rows.
- What was not loaded: a lane that the mask leaves out of ``tl.load`` without ``other`` is undefined
  on a GPU. Here it is NaN (integers: all bytes A5), where the interpreter says 0, right by luck.
- Stores: only into what is to be written, and no two programs into one place: they run at once.

On a GPU nothing is watched: what lies around a tensor tells afterwards what was written there.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from minissl_kernels.launch import interpreted
from numpy.typing import NDArray

GUARD = 64  # elements in front of and behind a tensor, which no kernel may touch
GAP = 3  # elements between the rows of a matrix that is given, which are none of its elements
UNTOUCHED = -12344.0  # what no kernel gives by chance, and float16 can hold


class Misuse(Exception):
    """What a kernel must not do, in a sentence."""


def device() -> str:
    """Where kernels run here."""
    return "cpu" if interpreted() else "cuda"


class Memory:
    """A tensor with memory of its own around it. Given ``values`` (their copy), else to be written.

    Rows of a given matrix lie ``GAP`` elements apart. ``dtype``: of torch, by name. ``tensor`` is
    what a kernel gets.
    """

    def __init__(
        self,
        name: str,
        shape: Sequence[int],
        values: NDArray | None = None,
        dtype: str = "float32",
    ):
        self.name, self.shape = name, tuple(shape)
        apart = self.shape[-1] + (GAP if values is not None and len(shape) == 2 else 0)
        size = math.prod(self.shape[:-1]) * apart
        kind = getattr(torch, dtype)
        given = values is not None and kind.is_floating_point
        around = math.nan if given else UNTOUCHED
        self.memory = torch.full((size + 2 * GUARD,), around, dtype=kind, device=device())
        self.inside = np.zeros(len(self.memory), bool)
        rows = self.inside[GUARD : GUARD + size].reshape(-1, apart)
        rows[:, : self.shape[-1]] = True
        middle = self.memory[GUARD : GUARD + size].view(-1, apart)[:, : self.shape[-1]]
        self.tensor = middle if len(shape) == 2 else middle.view(self.shape)
        if values is not None:
            self.tensor.copy_(torch.from_numpy(np.ascontiguousarray(values)))
        self.writers = np.zeros(len(self.memory), np.int32)  # program numbers from 1; 0: none

    def read(self) -> NDArray:
        """What is there now."""
        return self.tensor.cpu().numpy().copy()

    def intact(self) -> bool:
        """Whether what lies around a tensor that is written is as it was."""
        memory = self.memory.cpu().numpy()
        return bool(np.all(memory[~self.inside] == UNTOUCHED))

    def places(self, addresses: NDArray) -> NDArray | None:
        """The numbers of the elements at these addresses; None unless the first lies in here."""
        offsets = addresses - self.memory.data_ptr()
        if not 0 <= offsets[0] < self.memory.nbytes:
            return None
        places: NDArray = offsets // self.memory.element_size()
        return places


class Watch:
    """The memories of a launch, and what its programs have done to them.

    ``left_out``: whether a lane was not loaded and got no ``other``.
    """

    def __init__(self, memories: Sequence[Memory], writes: Collection[str]):
        self.memories, self.writes = memories, writes
        self.program, self.left_out = 0, False

    def touch(self, verb: str, pointers: Any, mask: Any) -> tuple[Memory, NDArray] | None:
        """Which elements are meant. Raises Misuse where it is none."""
        where = np.broadcast_to(mask.data, pointers.data.shape)
        addresses = pointers.data[where].astype(np.int64)
        if not addresses.size:
            return None
        for memory in self.memories:
            places = memory.places(addresses)
            if places is None:
                continue
            there = (places >= 0) & (places < len(memory.inside))
            there[there] = memory.inside[places[there]]
            if not there.all():
                raise Misuse(
                    f"it {verb} outside of {memory.name}: program {self.program} at "
                    f"{(~there).sum()} of {there.size} addresses that its mask lets through"
                )
            return memory, places
        raise Misuse(
            f"it {verb} outside of every tensor: program {self.program}, at {addresses.size} "
            "addresses that its mask lets through"
        )

    def load(self, pointers: Any, mask: Any, other: Any) -> bool:
        """Note a load; whether its masked lanes are undefined."""
        self.touch("reads", pointers, mask)
        undefined = other is None and not bool(np.all(mask.data))
        self.left_out |= undefined
        return undefined

    def store(self, pointers: Any, mask: Any) -> None:
        """Note a store. Raises Misuse where nothing, or another program, may write."""
        touched = self.touch("writes", pointers, mask)
        if touched is None:
            return
        memory, places = touched
        if memory.name not in self.writes:
            raise Misuse(f"it writes into {memory.name}, which is only to be read")
        before, me = memory.writers[places], self.program + 1
        if np.any((before != 0) & (before != me)):
            other = int(before[(before != 0) & (before != me)][0]) - 1
            raise Misuse(
                f"program {self.program} writes into {memory.name} where another program, number "
                f"{other}, writes too: each has rows of its own"
            )
        memory.writers[places] = me


@contextlib.contextmanager
def watched(memories: Sequence[Memory], writes: Collection[str]) -> Iterator[Watch]:
    """Watch the launches inside, where they are interpreted."""
    watch = Watch(memories, writes)
    if not interpreted():
        yield watch
        return
    inner = _replacements(watch)
    builder = _builder()
    outer = {name: getattr(builder, name) for name in inner}
    try:
        for name, function in inner.items():
            setattr(builder, name, function)
        yield watch
    finally:
        for name, function in outer.items():
            setattr(builder, name, function)


def _builder() -> Any:
    from triton.runtime.interpreter import InterpreterBuilder

    return InterpreterBuilder


def _replacements(watch: Watch) -> dict[str, Callable[..., Any]]:
    """What stands in for the interpreter's own functions."""
    from triton.runtime import interpreter

    builder = _builder()
    load_masked, store_masked = builder.create_masked_load, builder.create_masked_store
    start = builder.set_grid_idx

    def load(self: Any, pointers: Any, mask: Any, other: Any, *options: Any, **more: Any) -> Any:
        if watch.load(pointers, mask, other):
            element = pointers.get_element_ty()
            dtype = interpreter._get_np_dtype(element)
            odd = math.nan if dtype.kind == "f" else np.frombuffer(b"\xa5" * 8, dtype)[0]
            full = np.full(pointers.data.shape, odd, dtype)
            other = interpreter.TensorHandle(full, element)
        return load_masked(self, pointers, mask, other, *options, **more)

    def store(self: Any, pointers: Any, value: Any, mask: Any, *options: Any, **more: Any) -> Any:
        watch.store(pointers, mask)
        return store_masked(self, pointers, value, mask, *options, **more)

    def program(self: Any, *index: int) -> None:
        watch.program = int(np.ravel_multi_index(index, self.grid_dim))
        start(self, *index)

    return {
        "create_masked_load": load,
        "create_masked_store": store,
        "set_grid_idx": program,
    }
