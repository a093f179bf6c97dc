"""What must hold for every primitive operation, over the table in ``cases``."""

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor, gradcheck, no_grad
from minissl.autograd import operations as ops
from tests.autograd.cases import CASES
from tests.autograd.compare import (
    assert_as_good_as_torch,
    assert_close,
    ours,
    random_like,
    scrambled,
    to_float64,
    torchs,
)

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def cast(arrays, dtype):
    return [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]


def test_every_operation_has_a_row():
    mentioned = {name.split()[0] for name in (case.name for case in CASES)}
    assert set(ops.__all__) - {"astype", "to"} <= mentioned | {"getitem"}


@every_case
def test_finite_differences(case):
    gradcheck(case.ours, case.inputs())


@every_case
def test_torch_autograd_in_float64(case):
    arrays = case.inputs(seed=1)
    cotangent = random_like(case.theirs(*map(torch.tensor, arrays)))
    expected, expected_gradients = torchs(case.theirs, arrays, cotangent)
    actual, gradients = ours(case.ours, arrays, cotangent)
    assert_close(actual, expected)
    assert len(gradients) == len(expected_gradients)
    for gradient, expected_gradient, array in zip(
        gradients, expected_gradients, [a for a in arrays if a.dtype.kind == "f"]
    ):
        assert_close(gradient, expected_gradient)
        assert isinstance(gradient, np.ndarray)
        assert gradient.shape == array.shape
        assert gradient.dtype == np.float64


@every_case
def test_float32_is_as_good_as_torch(case):
    arrays = cast(case.inputs(seed=2), np.float32)
    wide = cast(arrays, np.float64)
    cotangent = random_like(case.theirs(*map(torch.tensor, wide))).astype(np.float32)
    exact, exact_gradients = torchs(case.theirs, wide, cotangent.astype(np.float64))
    rival, rival_gradients = torchs(case.theirs, arrays, cotangent)
    actual, gradients = ours(case.ours, arrays, cotangent)
    assert actual.dtype == np.float32
    assert_as_good_as_torch(actual, rival, exact)
    for gradient, rival_gradient, exact_gradient in zip(
        gradients, rival_gradients, exact_gradients
    ):
        assert gradient.dtype == np.float32
        assert_as_good_as_torch(gradient, rival_gradient, exact_gradient)


@every_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_torch_arrays_as_plain_memory(case, dtype):
    name = str(dtype).removeprefix("torch.")
    tensors = [torch.tensor(a) for a in case.inputs(seed=3)]
    tensors = [t.to(dtype) if t.is_floating_point() else t for t in tensors]
    rounded = [to_float64(t) if t.is_floating_point() else t.numpy() for t in tensors]
    with no_grad():
        shape = case.ours(*map(Tensor, rounded))
    cotangent = torch.tensor(random_like(shape)).to(dtype)
    exact, exact_gradients = ours(case.ours, rounded, to_float64(cotangent))
    actual, gradients = ours(case.ours, tensors, cotangent)
    assert isinstance(actual, torch.Tensor)
    assert actual.dtype == dtype
    assert_close(actual, exact, name)
    assert len(gradients) == len(exact_gradients)
    for gradient, exact_gradient in zip(gradients, exact_gradients):
        assert isinstance(gradient, torch.Tensor)
        assert gradient.dtype == dtype
        assert not gradient.requires_grad
        assert_close(gradient, exact_gradient, name)


@every_case
def test_any_strides(case):
    arrays = case.inputs(seed=4)
    cotangent = random_like(case.ours(*map(Tensor, arrays)))
    expected, expected_gradients = ours(case.ours, arrays, cotangent)
    views = [scrambled(a) for a in arrays]
    before = [v.copy() for v in views]
    actual, gradients = ours(case.ours, views, scrambled(cotangent))
    assert_close(actual, expected)
    for gradient, expected_gradient in zip(gradients, expected_gradients):
        assert_close(gradient, expected_gradient)
    for view, copy in zip(views, before):
        np.testing.assert_array_equal(view, copy)


@every_case
def test_inputs_are_values(case):
    """Nobody writes into an array it was given: not forward, not backward, not the cotangent."""
    arrays = case.inputs(seed=5)
    cotangent = random_like(case.ours(*map(Tensor, arrays)))
    for array in (*arrays, cotangent):
        array.setflags(write=False)
    _, gradients = ours(case.ours, arrays, cotangent)
    for i, gradient in enumerate(gradients):
        assert not np.shares_memory(gradient, cotangent)
        for other in gradients[:i]:
            assert not np.shares_memory(gradient, other)
        gradient[...] = 0  # a gradient is an array of its own, which may be written into


@every_case
def test_only_what_needs_a_gradient_gets_one(case):
    arrays = case.inputs(seed=6)
    floating = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    cotangent = random_like(case.ours(*map(Tensor, arrays)))
    _, gradients = ours(case.ours, arrays, cotangent)
    for chosen, expected in zip(floating, gradients):
        tensors = [Tensor(a, requires_grad=i == chosen) for i, a in enumerate(arrays)]
        case.ours(*tensors).backward(cotangent)
        np.testing.assert_array_equal(tensors[chosen].grad, expected)
        assert all(t.grad is None for i, t in enumerate(tensors) if i != chosen)
    with no_grad():
        output = case.ours(*[Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays])
    assert output.node is None
    assert not output.requires_grad


def test_astype_casts_the_gradient_back():
    x = Tensor(np.array([1.0, 2.0], np.float32), requires_grad=True)
    y = x.astype(np.float64)
    assert y.dtype == np.float64
    y.backward(np.array([0.1, 0.2]))
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, np.array([0.1, 0.2], np.float32))
    t = Tensor(torch.tensor([1.0, 2.0]), requires_grad=True)
    t.astype(torch.bfloat16).backward(torch.tensor([1.0, 3.0], dtype=torch.bfloat16))
    assert t.grad.dtype == torch.float32
    assert t.grad.tolist() == [1.0, 3.0]
