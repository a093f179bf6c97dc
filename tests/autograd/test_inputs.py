"""What an operation accepts: numbers on both sides, no silent promotion, clear errors."""

import operator

import numpy as np
import pytest
import torch

from minissl.autograd import Tensor, fused
from minissl.autograd import operations as ops
from minissl.autograd.arrays import is_torch_array
from minissl.autograd.tensor import as_array, differentiable
from tests.autograd.compare import assert_close, ours, random_like

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]
NUMBERS = [3, 2.5, np.float64(2.0), np.float32(1.5), np.int64(2), np.array(2.0).item()]


def float32(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 2, shape).astype(np.float32)


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: f"{type(n).__name__} {n}")
@pytest.mark.parametrize("operation", OPERATORS, ids=lambda o: o.__name__)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_numbers_never_promote(operation, number, library):
    a = float32(2, 3)
    array = torch.tensor(a) if library == "torch" else a
    for function, exact in (
        (lambda x: operation(x, number), operation(a.astype(np.float64), float(number))),
        (lambda x: operation(number, x), operation(float(number), a.astype(np.float64))),
    ):
        cotangent = random_like(a).astype(np.float32)
        output, (gradient,) = ours(
            function, [array], torch.tensor(cotangent) if library == "torch" else cotangent
        )
        assert output.dtype == array.dtype
        assert gradient.dtype == array.dtype
        assert_close(output, exact, "float32")
        _, (wide,) = ours(function, [a.astype(np.float64)], cotangent.astype(np.float64))
        assert_close(gradient, wide, "float32")


@pytest.mark.parametrize("operation", [*OPERATORS, operator.matmul], ids=lambda o: o.__name__)
def test_an_array_on_the_left(operation):
    a, b = float32(3, 3, seed=1), float32(3, 3, seed=2)
    x = Tensor(b, requires_grad=True)
    left = operation(a, x)
    assert isinstance(left, Tensor)
    np.testing.assert_array_equal(left.array, operation(Tensor(a), x).array)
    left.backward(a)
    assert x.grad.dtype == np.float32


@pytest.mark.parametrize(
    "compare", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
)
def test_comparisons_are_elementwise_and_carry_no_gradient(compare):
    a, b = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
    x = Tensor(a, requires_grad=True)
    for other in (Tensor(b), b, 2.0, 2, np.float64(2.0)):
        raw = other.array if isinstance(other, Tensor) else other
        result = compare(x, other)
        assert result.dtype == np.bool_
        assert not result.requires_grad
        np.testing.assert_array_equal(result.array, compare(a, raw))
        np.testing.assert_array_equal(compare(other, x).array, compare(raw, a))
    with pytest.raises(TypeError, match=r"float(32|64) and float(32|64)"):
        compare(x, b.astype(np.float32))
    with pytest.raises(TypeError, match="None"):
        compare(x, None)


def test_unary_operators_and_conversions():
    x = Tensor([[1.0, -2.0]], requires_grad=True)
    assert (-x).array.tolist() == [[-1.0, 2.0]]
    assert abs(x).array.tolist() == [[1.0, 2.0]]
    assert len(x) == 1
    assert [row.shape for row in x] == [(2,)]
    assert (x.ndim, x.size, x.shape, x.dtype) == (2, 2, (1, 2), np.float32)
    assert float(x[0, 1]) == -2.0
    assert int(x[0, 1]) == -2
    assert bool(x[0, 0])
    assert len({x, x, Tensor(1.0)}) == 2
    with pytest.raises(ValueError, match=r"shape \(1, 2\)"):
        x.item()
    with pytest.raises(TypeError, match="no length"):
        len(x[0, 0])


def test_dtypes_of_data():
    assert Tensor(1.5).dtype == np.float32
    assert Tensor([[1, 2]]).dtype == np.int64
    assert Tensor([1.0, 2]).dtype == np.float32
    assert Tensor(np.float64(1.0)).dtype == np.float64
    assert Tensor(np.zeros(2)).dtype == np.float64
    assert Tensor([True]).dtype == np.bool_
    assert Tensor(Tensor(np.zeros(2))).dtype == np.float64
    array = np.zeros(3, np.float32)
    assert Tensor(array).array is array
    assert as_array(Tensor(array)) is array


@pytest.mark.parametrize("data", ["abc", None, {"a": 1}, ["a"], np.array(["a"]), 1j, [object()]])
def test_what_is_no_array_of_numbers(data):
    with pytest.raises(TypeError, match="expected numbers"):
        Tensor(data)


def test_integers_have_no_gradient():
    for data in ([1, 2], np.array([True]), torch.tensor([1])):
        with pytest.raises(TypeError, match="floating dtype"):
            Tensor(data, requires_grad=True)


@pytest.mark.parametrize("operation", OPERATORS, ids=lambda o: o.__name__)
def test_torch_arrays_are_neither_promoted_nor_moved(operation):
    x = Tensor(torch.ones(2))
    for other, message in (
        (torch.ones(2, dtype=torch.float64), "float32 and float64"),
        (torch.ones(2, device="meta"), "torch cpu, another in torch meta"),
    ):
        with pytest.raises(TypeError, match=message):
            operation(x, Tensor(other))


def test_a_parameter_of_torch_is_a_torch_array():
    frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    assert is_torch_array(frozen)
    assert (Tensor(torch.ones(2)) + frozen).array.tolist() == [2, 2]
    assert (Tensor(frozen) * 3).array.tolist() == [3, 3]


def test_torch_autograd_stays_outside():
    with pytest.raises(TypeError, match="detach"):
        Tensor(torch.ones(2, requires_grad=True))
    x = Tensor(torch.ones(2), requires_grad=True)
    assert not (x * 2).array.requires_grad


@pytest.mark.parametrize("operation", [*OPERATORS, operator.matmul], ids=lambda o: o.__name__)
def test_mixing_is_refused(operation):
    x = Tensor(float32(2, 2), requires_grad=True)
    for other in (np.ones((2, 2)), Tensor(np.ones((2, 2), np.float16))):
        with pytest.raises(TypeError, match=r"float(16|64).*astype"):
            operation(x, other)
        with pytest.raises(TypeError, match=r"float(16|64).*astype"):
            operation(other, x)
    with pytest.raises(TypeError, match=r"torch cpu.*numpy|numpy.*torch cpu"):
        operation(x, Tensor(torch.ones(2, 2)))
    with pytest.raises(TypeError, match="float32 with int64 would give float64"):
        operation(x, np.ones((2, 2), np.int64))
    for wrong in (None, "1", [None], object()):
        with pytest.raises(TypeError, match=r"expected|numbers|None|array"):
            operation(x, wrong)


def test_masks_and_small_integers_may_stand_beside_floats():
    x = Tensor(float32(3), requires_grad=True)
    masked = x * np.array([True, False, True])
    assert masked.dtype == np.float32
    masked.backward(np.ones(3, np.float32))
    assert x.grad.tolist() == [1.0, 0.0, 1.0]
    assert (x * np.array([1, 2, 3], np.int8)).dtype == np.float32


def test_numbers_beside_masks_and_integers_keep_their_kind():
    mask = np.array([True, False])
    for where in (mask, Tensor(mask)):
        chosen = ops.where(where, 1.5, 0.0)
        assert chosen.dtype == np.float32
        assert chosen.array.tolist() == [1.5, 0.0]
        assert ops.where(where, 7, 0).array.tolist() == [7, 0]
    assert ops.where(torch.tensor(mask), 1.5, 0.0).array.tolist() == [1.5, 0.0]
    counts = Tensor([1, 2])
    assert (counts + 3).array.tolist() == [4, 5]
    assert (counts + 3).dtype == np.int64
    with pytest.raises(TypeError, match=r"int64 tensor meets the float 0\.5"):
        counts + 0.5
    with pytest.raises(OverflowError, match="1000"):
        Tensor(np.zeros(2, np.int8)) + 1000


def test_two_plain_numbers():
    assert ops.add(1.0, 2).array.item() == 3.0
    assert ops.power(2.0, 3).dtype == np.float32
    assert ops.add(1, 2).dtype == np.float32


def test_lists_become_arrays_of_the_same_kind():
    x = Tensor(np.ones(2, np.float64), requires_grad=True)
    assert (x * [1.0, 2.0]).dtype == np.float64
    t = Tensor(torch.ones(2, dtype=torch.bfloat16))
    assert (t * [1.0, 2.0]).dtype == torch.bfloat16


def test_settings_given_as_numpy_scalars_do_not_promote():
    x = Tensor(float32(2, 3))
    half = np.float64(0.5)
    assert ops.power(x, np.float64(3)).dtype == np.float32
    assert ops.clip(x, half, np.float64(1)).dtype == np.float32
    assert ops.pad(x, ((1, 0), (0, 0)), value=half).dtype == np.float32
    assert ops.where(np.array([True, False, True]), x, half).dtype == np.float32


def test_a_condition_that_needs_a_gradient_gets_none():
    condition = Tensor([1.0, 0.0], requires_grad=True)
    x = Tensor([2.0, 3.0], requires_grad=True)
    ops.where(condition, x, 0.0).backward(np.ones(2, np.float32))
    assert condition.grad is None
    assert x.grad.tolist() == [1.0, 0.0]


def test_an_operation_without_inputs_is_refused_when_it_is_defined():
    with pytest.raises(TypeError, match="slash"):

        @differentiable
        def double(a):
            return 2 * a, (lambda g: 2 * g,)


def test_handing_a_tensor_to_numpy():
    x = Tensor([1.0, 2.0])
    assert np.asarray(x).tolist() == [1.0, 2.0]
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    with pytest.raises(TypeError, match="lose it"):
        np.asarray(Tensor([1.0], requires_grad=True))
    with pytest.raises(TypeError, match="lose it"):
        Tensor([Tensor(1.0, requires_grad=True)])
    assert Tensor(torch.tensor([1.5], dtype=torch.bfloat16)).numpy().dtype == np.float32


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: x.reshape(4, 2), ValueError, r"6 elements.*\(2, 3\).*\(4, 2\)"),
        (lambda x: x @ x, ValueError, r"\(2, 3\) and \(2, 3\).*3 and 2 must be equal"),
        (lambda x: x @ 2.0, ValueError, r"use \* for a number"),
        (lambda x: x.permute_dims(0, 0), ValueError, "no permutation"),
        (lambda x: x.sum(axis=2), IndexError, "axis 2 is out of range"),
        (lambda x: x.mean(axis=(0, -3)), IndexError, "axis -3"),
        (lambda x: ops.concatenate([]), ValueError, "no tensors"),
        (lambda x: ops.concatenate([x, x[0]], axis=0), ValueError, r"\(2, 3\), \(3,\)"),
        (lambda x: ops.concatenate([x, x[:, 0]], axis=1), ValueError, r"\(2, 3\), \(2,\)"),
        (lambda x: ops.concatenate([x, x[:, :1]], axis=0), ValueError, "sizes must agree"),
        (lambda x: ops.concatenate([x, x], axis=2), IndexError, "axis 2 is out of range"),
        (lambda x: ops.split(x, 2, axis=1), ValueError, "3 elements.*2 equal parts"),
        (lambda x: ops.split(x, [1, 1], axis=1), ValueError, "add up to 2, not to 3"),
        (lambda x: ops.pad(x, ((1, 1),)), ValueError, "2 axes need"),
        (lambda x: ops.pad(x, ((1, -1), (0, 0))), ValueError, "≥ 0"),
        (lambda x: ops.clip(x, 2.0, 1.0), ValueError, "larger"),
        (lambda x: ops.take(x, [2]), IndexError, "index 2 is out of range, expected 0 to 1"),
        (lambda x: ops.take(x, [-1]), IndexError, "index -1 is out of range"),
        (lambda x: ops.take(x, [0], axis=2), IndexError, "axis 2 is out of range"),
        (lambda x: ops.take(x, [0.0]), TypeError, "integers"),
        (lambda x: ops.take(x, np.array([True])), TypeError, "integers"),
        (lambda x: ops.take_along_axis(x, [[5]]), IndexError, "index 5 is out of range"),
        (lambda x: ops.linear(x, x.mT), ValueError, "3 features.*expects 2"),
        (lambda x: x[5], IndexError, "out of bounds"),
        (lambda x: x[0, 0, 0], IndexError, "too many indices"),
    ],
)
def test_errors_say_what_was_got(function, error, words):
    with pytest.raises(error, match=words):
        function(Tensor(float32(2, 3)))


def test_take_accepts_lists_on_every_library():
    for array in (float32(4, 3), torch.tensor(float32(4, 3))):
        x = Tensor(array, requires_grad=True)
        assert ops.take(x, [0, 2]).shape == (2, 3)
        assert ops.take(x, []).shape == (0, 3)
        assert ops.take(x, 1).shape == (3,)
        assert ops.take_along_axis(x, [[1]], axis=0).shape == (1, 3)


def test_in_place_assignment():
    x = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match="where"):
        x[0] = 3.0
    y = x
    y += 1.0  # binds y to a new tensor; x is untouched
    y *= 2.0
    assert x.array.tolist() == [1.0, 2.0]
    y.backward(np.ones(2, np.float32))
    assert x.grad.tolist() == [2.0, 2.0]
    with pytest.raises(AttributeError):
        x.gradient = 1.0  # a misspelled .grad


def test_repr_says_what_it_is():
    x = Tensor([1.0], requires_grad=True)
    assert repr(x) == "Tensor([1.], float32, requires_grad)"
    assert repr(x * 2) == "Tensor([2.], float32, made by multiply)"
    assert "bfloat16" in repr(Tensor(torch.ones(1, dtype=torch.bfloat16)))


@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor])
def test_shapes_that_do_not_broadcast_are_named_with_the_operation(library):
    a, b = library(np.ones((2, 3))), library(np.ones((4,)))
    with pytest.raises(ValueError, match=r"multiply: shapes \(2, 3\) and \(4,\) do not broadcast"):
        Tensor(a) * Tensor(b)


def test_fused_operations_refuse_integers():
    whole, ones = Tensor(np.ones((2, 3), np.int64)), np.ones(3, np.float32)
    four = Tensor(np.ones((1, 1, 2, 2), np.int64))
    calls = {
        "layer_norm": lambda: fused.layer_norm(whole, ones, ones),
        "gelu": lambda: fused.gelu(whole),
        "attention": lambda: fused.attention(four, four, four),
        "cross_entropy": lambda: fused.cross_entropy(whole, np.array([0, 1])),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=f"{name}: expected floating arrays, got int64"):
            call()
