"""Mistakes that would give wrong gradients without a word are refused, with advice."""

import copy
import re

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor, no_grad
from minissl.autograd.recording import is_recording, recording
from minissl.autograd.tensor import differentiable
from minissl.nn import BatchNorm, Linear, Parameter

# ---- copies -------------------------------------------------------------------------------------


def test_a_result_cannot_be_copied_with_its_graph():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    for thing in (y, [y], {"loss": y}):
        with pytest.raises(TypeError, match=r"made by sum\).*copy \.detach\(\), or the leaves"):
            copy.deepcopy(thing)
    assert copy.deepcopy(y.detach()).item() == 5
    y.backward()
    assert x.grad.tolist() == [2, 4]


@pytest.mark.parametrize("library", [np.array, torch.tensor], ids=["numpy", "torch"])
def test_leaves_are_copied_with_all_they_have(library):
    x = Parameter(library([1.0, 2.0]))
    x.grad = library([3.0, 4.0])
    twin, same = copy.deepcopy([x, x])
    assert type(twin) is Parameter
    assert twin is same
    assert twin.requires_grad
    twin.array[0], twin.grad[0] = 7, 8
    assert x.array.tolist() == [1, 2]
    assert x.grad.tolist() == [3, 4]
    (twin * twin).backward(library([1.0, 1.0]))
    assert twin.grad.tolist() == [22, 8]
    assert x.grad.tolist() == [3, 4]


def test_modules_are_copied_whole():
    for module in (Linear(2, 3, generator=np.random.default_rng(0)), BatchNorm(3)):
        module.tied = next(iter(module.parameters()))
        twin = copy.deepcopy(module)
        assert twin.tied is next(iter(twin.parameters()))
        for name, value in module.state_dict().items():
            np.testing.assert_array_equal(twin.state_dict()[name], value)
        twin.tied.array += 1
        assert (twin.tied.array != module.tied.array).all()


# ---- no_grad as a decorator ---------------------------------------------------------------------


def test_no_grad_decorates_functions():
    @no_grad()
    def evaluate(depth):
        """Says so."""
        inner = evaluate(depth - 1) if depth else []
        return [*inner, is_recording()]

    assert evaluate(2) == [False] * 3
    assert evaluate.__name__ == "evaluate"
    assert evaluate.__doc__ == "Says so."
    assert is_recording()
    with pytest.raises(ZeroDivisionError):
        no_grad()(lambda: 1 / 0)()
    assert is_recording()

    with no_grad():
        assert recording()(is_recording)()
        assert not is_recording()


def test_no_grad_refuses_what_stops_in_the_middle():
    def steps():
        yield is_recording()

    async def waits():
        return is_recording()

    async def both():
        yield is_recording()

    for function in (steps, waits, both):
        with pytest.raises(TypeError, match=rf"decorate '{function.__name__}'.*not around a yield"):
            no_grad()(function)


# ---- operations that return something else ------------------------------------------------------

g = np.ones((2, 2), np.float32)


@pytest.mark.parametrize(
    "returned",
    [
        lambda a: a,
        lambda a: (a, [lambda g: g]),
        lambda a: (a, ()),
        lambda a: (a, (lambda g: g, lambda g: g)),
        lambda a: (a, None),
        lambda a: (a, (lambda g: g), 3),
        lambda a: (a, (lambda g: g)),  # a comma is missing
        lambda a: (a, lambda g: g[:1]),  # of as many parts as there are inputs, but no parts
        lambda a: (a, lambda g: (g, g)),
    ],
)
def test_an_operation_must_return_its_output_and_rules(returned):
    @differentiable
    def softmax(a, /):
        return returned(a)

    words = r"softmax must return \(output, rules\), one rule for each input; a tuple of one needs"
    with pytest.raises(TypeError, match=words):
        softmax(Tensor(g, requires_grad=True)).backward(g)


@pytest.mark.parametrize("shape", [(3, 2), (6,), (2, 1), (3,), (2, 2, 2), (1, 6), (5,)], ids=str)
def test_a_gradient_of_another_shape(shape):
    @differentiable
    def turned(a, /):
        return a, (lambda g: np.ones(shape, np.float32),)

    x = Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    with pytest.raises(ValueError, match=rf"of shape {re.escape(str(shape))} for .*\(2, 3\)"):
        turned(x).backward(x.array)
    assert x.grad is None
