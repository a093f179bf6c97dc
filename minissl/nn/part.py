"""A part of a module: some of its parameters and buffers, to be saved without the others."""

from collections.abc import Iterator, Mapping

from minissl.autograd.tensor import Tensor
from minissl.nn.module import Module


class Part(Module):
    """Some parameters and buffers under the names that they have elsewhere. Nothing is copied."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        self._tensors = dict(tensors)

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Those that it was made of."""
        yield from self._tensors.items()
