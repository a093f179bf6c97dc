"""Looking at a model without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager

from minissl.autograd import no_grad
from minissl.nn.module import Module


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Within this block: evaluation mode and no graph. Afterwards every part is as it was."""
    modes = [(module, module.training) for _, module in model.named_modules()]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
