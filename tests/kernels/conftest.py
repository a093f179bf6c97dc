"""Interpreted kernels run repaired and sanitised; tests that take ``device`` run on a GPU too."""

import pytest
import torch
from minissl_kernels.launch import interpreted

from tests.kernels import bfloat16, quick_interpreter, sanitizer

PLAUSIBLE = 97.0  # a number that tl.max keeps, unlike NaN

if interpreted():
    bfloat16.install()
    quick_interpreter.install()


def pytest_collection_modifyitems(config, items):
    """Mark what can run on a GPU; leave out what only a GPU can run."""
    for item in items:
        if "kernels" in item.path.parts and "device" in getattr(item, "fixturenames", ()):
            item.add_marker("gpu")
    if interpreted():
        only_gpu = [item for item in items if "gpu_only" in getattr(item, "fixturenames", ())]
        if only_gpu:
            config.hook.pytest_deselected(items=only_gpu)
            items[:] = [item for item in items if item not in only_gpu]


@pytest.fixture
def device():
    """Where the kernels of this run work: the CPU, interpreted, or the GPU (``pytest -m gpu``)."""
    if interpreted():
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.fail("pytest -m gpu needs a GPU that torch can use")
    return torch.device("cuda")


@pytest.fixture
def gpu_only(device):
    """For cases too large for the interpreter: the test exists under ``pytest -m gpu`` only."""
    return device


@pytest.fixture
def reversed_programs():
    """The test's launches run their last program first, and undefined lanes hold a number.

    What a test passes in both orders does not depend on one. On a GPU nothing changes.
    """


@pytest.fixture
def unsanitised():
    """The test's launches are not watched: for what is tested elsewhere and would be slow."""


@pytest.fixture(autouse=True)
def sanitised(request):
    """Fill new memory with NaN; in the interpreter, watch every address that a program touches."""
    backwards = "reversed_programs" in request.fixturenames
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        if interpreted() and "unsanitised" not in request.fixturenames:
            poison = PLAUSIBLE if backwards else True
            with sanitizer.sanitize(poison=poison, reverse=backwards):
                yield
        else:
            yield
    finally:
        torch.use_deterministic_algorithms(False)
