"""Convolution, pooling and BatchNorm against torch, on NumPy and on torch arrays."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minissl.autograd import Tensor
from minissl.autograd.fused import convolution
from minissl.autograd.fused.convolution import avg_pool2d, conv2d, conv2d_composed, max_pool2d
from minissl.autograd.threads import engine_threads
from minissl.nn.convolution import AvgPool2d, BatchNorm, Conv2d, GlobalAvgPool2d, MaxPool2d

RELATIVE = {np.float64: 1e-10, np.float32: 2e-5}


def to_torch(array, channels_last_axis=3):
    """Our layout (batch, height, width, channels) as torch's (batch, channels, height, width)."""
    return torch.from_numpy(np.moveaxis(array, channels_last_axis, 1).copy())


def from_torch(tensor):
    return np.moveaxis(tensor.detach().numpy(), 1, 3)


def assert_close(actual, expected, relative):
    scale = max(np.abs(expected).max(), 1e-30) if expected.size else 1.0
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max(initial=0) <= relative * scale


def torch_conv2d(x, weight, bias, g, stride, padding, relu=False):
    """Output and the gradients of x, weight and bias, by torch in float64, in our layout."""
    inputs = [to_torch(np.float64(a)).requires_grad_() for a in (x, weight)]
    offset = None if bias is None else torch.from_numpy(np.float64(bias)).requires_grad_()
    y = torch.nn.functional.conv2d(*inputs, offset, stride=stride, padding=padding)
    y = y.relu() if relu else y
    y.backward(to_torch(np.float64(g)))
    gradients = [from_torch(t.grad) for t in inputs]
    return from_torch(y), gradients + ([] if bias is None else [offset.grad.numpy()])


def check_conv2d(function, shape, out_channels, kernel, stride, padding, bias, dtype, generator):
    for relu in (False, True):
        check_one_conv2d(
            function, shape, out_channels, kernel, stride, padding, relu, bias, dtype, generator
        )


def check_one_conv2d(
    function, shape, out_channels, kernel, stride, padding, relu, bias, dtype, generator
):
    x = generator.normal(size=shape).astype(dtype)
    weight = generator.normal(size=(out_channels, *kernel, shape[3])).astype(dtype)
    offset = generator.normal(size=out_channels).astype(dtype) if bias else None
    arrays = [x, weight] + ([offset] if bias else [])
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    y = function(*tensors, stride=stride, padding=padding, relu=relu)
    g = generator.normal(size=y.shape).astype(dtype)
    y.backward(g)
    expected, gradients = torch_conv2d(x, weight, offset, g, stride, padding, relu)
    assert_close(y.numpy(), expected, RELATIVE[dtype])
    for tensor, gradient in zip(tensors, gradients):
        assert tensor.grad.dtype == dtype
        assert_close(tensor.grad, gradient, RELATIVE[dtype])


@pytest.mark.parametrize("function", [conv2d, conv2d_composed])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((k, k), s, p) for k, s, p in itertools.product((1, 2, 3, 4), (1, 2, 3), (0, 1, 2))]
    + [((3, 2), 2, 1), ((1, 4), 1, 3), ((2, 2), 5, 0), ((5, 5), 1, 4)],
)
def test_conv2d_equals_torch(function, dtype, kernel, stride, padding):
    generator = np.random.default_rng([*kernel, stride, padding])
    for bias in (True, False):
        shape = (3, 7, 6, 2)  # ragged: most strides leave a rest at the border
        check_conv2d(function, shape, 3, kernel, stride, padding, bias, dtype, generator)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_conv2d_of_any_shape_equals_torch(data):
    draw = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    kernel, padding = (draw(1, 4), draw(1, 4)), draw(0, 4)
    sides = [draw(max(1, k - 2 * padding), 9) for k in kernel]
    generator = np.random.default_rng(draw(0, 1000))
    shape = (draw(1, 4), *sides, draw(1, 3))
    check_conv2d(
        conv2d, shape, draw(1, 3), kernel, draw(1, 4), padding, True, np.float64, generator
    )


@pytest.mark.parametrize("piece_bytes", [1, 5000, 1 << 30])
@pytest.mark.parametrize("threads", [1, 3])
def test_neither_pieces_nor_threads_matter(monkeypatch, piece_bytes, threads):
    monkeypatch.setattr(convolution, "PIECE_BYTES", piece_bytes)
    generator = np.random.default_rng(0)
    with engine_threads(threads):
        check_conv2d(conv2d, (7, 6, 5, 2), 4, (3, 3), 2, 1, True, np.float64, generator)


def test_conv2d_takes_views_and_does_not_write_into_its_inputs():
    generator = np.random.default_rng(1)
    x = generator.normal(size=(5, 3, 9, 8))[::-1, :, ::2].transpose(0, 3, 2, 1)  # no copy made
    weight = generator.normal(size=(3, 3, 3, 4)).transpose(3, 1, 2, 0)
    before = x.copy(), weight.copy()
    tensors = [Tensor(x, requires_grad=True), Tensor(weight, requires_grad=True)]
    y = conv2d(*tensors, stride=2, padding=1)
    g = generator.normal(size=y.shape[::-1]).transpose()
    y.backward(g)
    expected, gradients = torch_conv2d(x, weight, None, g, 2, 1)
    assert_close(y.numpy(), expected, 1e-10)
    for tensor, gradient in zip(tensors, gradients):
        assert_close(tensor.grad, gradient, 1e-10)
    assert np.array_equal(x, before[0])
    assert np.array_equal(weight, before[1])


def test_conv2d_of_images_without_a_gradient():
    generator = np.random.default_rng(3)
    x, weight = generator.normal(size=(4, 6, 6, 2)), generator.normal(size=(3, 3, 3, 2))
    for images in (x, Tensor(x)):
        tensor = Tensor(weight, requires_grad=True)
        y = conv2d(images, tensor, padding=1, relu=True)
        g = generator.normal(size=y.shape)
        y.backward(g)
        expected, gradients = torch_conv2d(x, weight, None, g, 1, 1, relu=True)
        assert_close(y.numpy(), expected, 1e-10)
        assert_close(tensor.grad, gradients[1], 1e-10)


def test_conv2d_of_no_images():
    weight = Tensor(np.ones((4, 3, 3, 2)), requires_grad=True)
    y = conv2d(np.empty((0, 8, 8, 2)), weight, stride=2, padding=1)
    assert y.shape == (0, 4, 4, 4)
    y.backward(np.empty(y.shape))
    assert np.array_equal(weight.grad, np.zeros(weight.shape))


def test_conv2d_runs_on_torch_arrays():
    generator = np.random.default_rng(2)
    arrays = [generator.normal(size=s) for s in [(2, 5, 6, 3), (4, 3, 3, 3), (4,)]]
    ours = [Tensor(torch.from_numpy(a), requires_grad=True) for a in arrays]
    y = conv2d(*ours, stride=2, padding=1)
    g = generator.normal(size=y.shape)
    y.backward(torch.from_numpy(g))
    expected, gradients = torch_conv2d(*arrays, g, 2, 1)
    assert isinstance(y.array, torch.Tensor)
    assert_close(y.numpy(), expected, 1e-10)
    for tensor, gradient in zip(ours, gradients):
        assert_close(tensor.grad.numpy(), gradient, 1e-10)


@pytest.mark.parametrize(
    ("x", "weight", "bias", "settings", "message"),
    [
        ((2, 8, 8), (4, 3, 3, 1), None, {}, "expected \\(batch, height, width, in_channels\\)"),
        ((2, 8, 8, 3), (4, 3, 3, 1), None, {}, "same in_channels"),
        ((2, 8, 8, 1), (4, 3, 3, 1), (3,), {}, "the bias has shape \\(3,\\), expected \\(4,\\)"),
        ((2, 2, 8, 1), (4, 3, 3, 1), None, {}, "a window of 3 does not fit"),
        ((2, 8, 8, 1), (4, 3, 3, 1), None, {"stride": 0}, "got stride 0"),
        ((2, 8, 8, 1), (4, 3, 3, 1), None, {"padding": -1}, "padding -1"),
    ],
)
def test_conv2d_says_what_does_not_fit(x, weight, bias, settings, message):
    bias = None if bias is None else np.ones(bias)
    with pytest.raises(ValueError, match=message):
        conv2d(np.ones(x), np.ones(weight), bias, **settings)


# ---- pooling ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (max_pool2d, torch.nn.functional.max_pool2d),
        (avg_pool2d, torch.nn.functional.avg_pool2d),
    ],
)
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(2, None, 0), (3, 2, 1), (2, 1, 1), (3, None, 0), (1, 2, 0)]
)
def test_pooling_equals_torch(ours, theirs, kernel, stride, padding):
    generator = np.random.default_rng(kernel)
    x = generator.normal(size=(3, 7, 6, 2)) - 2  # mostly negative: a border of zeros would win
    tensor, reference = Tensor(x, requires_grad=True), to_torch(x).requires_grad_()
    y = ours(tensor, kernel, stride=stride, padding=padding)
    expected = theirs(reference, kernel, stride=stride, padding=padding)
    g = generator.normal(size=y.shape)
    y.backward(g)
    expected.backward(to_torch(g))
    assert_close(y.numpy(), from_torch(expected), 1e-12)
    assert_close(tensor.grad, from_torch(reference.grad), 1e-12)


def test_max_pool_shares_the_gradient_of_ties():
    x = Tensor(np.ones((1, 2, 2, 1)), requires_grad=True)
    max_pool2d(x, 2).backward(np.full((1, 1, 1, 1), 8.0))
    assert np.array_equal(x.grad, np.full((1, 2, 2, 1), 2.0))


def test_pooling_layers():
    x = np.arange(2 * 4 * 4 * 3, dtype=np.float32).reshape(2, 4, 4, 3)
    blocks = x.reshape(2, 2, 2, 2, 2, 3)
    assert np.array_equal(MaxPool2d(2)(x).numpy(), blocks.max(axis=(2, 4)))
    assert np.array_equal(AvgPool2d(2)(x).numpy(), blocks.mean(axis=(2, 4)))
    assert np.array_equal(AvgPool2d(2, stride=1)(x).numpy()[0, 0, 0], x[0, :2, :2].mean((0, 1)))
    assert np.allclose(GlobalAvgPool2d()(x).numpy(), x.mean(axis=(1, 2)))


# ---- layers -------------------------------------------------------------------------------------


def test_conv2d_layer():
    layer = Conv2d(3, 5, 3, stride=2, padding=1, generator=np.random.default_rng(0))
    reference = torch.nn.Conv2d(3, 5, 3, stride=2, padding=1)
    assert layer.num_parameters() == sum(p.numel() for p in reference.parameters())
    bound = 1 / np.sqrt(27)
    for parameter in layer.parameters():
        assert np.abs(parameter.array).max() <= bound
        assert parameter.dtype == np.float32
    assert np.isclose(layer.weight.array.std(), bound / np.sqrt(3), rtol=0.1)
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    expected, _ = torch_conv2d(
        x, layer.weight.array, layer.bias.array, np.zeros((2, 4, 4, 5)), stride=2, padding=1
    )
    assert_close(layer(x).numpy(), expected, 1e-5)
    without = Conv2d(3, 5, 3, bias=False, generator=np.random.default_rng(0))
    assert [name for name, _ in without.named_parameters()] == ["weight"]


@pytest.mark.parametrize("shape", [(6, 4, 3, 5), (7, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batch_norm_equals_torch_in_training_and_evaluation(shape, dtype):
    generator = np.random.default_rng(len(shape))
    ours = BatchNorm(5).astype(dtype)
    for parameter in ours.parameters():
        parameter.array = generator.normal(size=5).astype(dtype)
    reference = (torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d)(5).double()
    with torch.no_grad():
        reference.weight.copy_(torch.from_numpy(ours.weight.array))
        reference.bias.copy_(torch.from_numpy(ours.bias.array))
    for step in range(4):  # three steps of training, then evaluation with what was collected
        if step == 3:
            ours.eval()
            reference.eval()
        x = (3 * generator.normal(size=shape) + 2).astype(dtype)
        tensor = Tensor(x, requires_grad=True)
        double = torch.from_numpy(np.moveaxis(np.float64(x), -1, 1).copy()).requires_grad_()
        y, expected = ours(tensor), reference(double)
        g = generator.normal(size=shape).astype(dtype)
        ours.zero_grad()
        reference.zero_grad()
        y.backward(g)
        expected.backward(torch.from_numpy(np.moveaxis(np.float64(g), -1, 1).copy()))
        tolerance = RELATIVE[dtype]
        assert y.dtype == dtype
        assert_close(y.numpy(), np.moveaxis(expected.detach().numpy(), 1, -1), tolerance)
        assert_close(tensor.grad, np.moveaxis(double.grad.numpy(), 1, -1), tolerance)
        assert_close(ours.weight.grad, reference.weight.grad.numpy(), tolerance)
        assert_close(ours.bias.grad, reference.bias.grad.numpy(), tolerance)
        assert ours.running_mean.dtype == dtype
        assert_close(ours.running_mean.array, reference.running_mean.numpy(), tolerance)
        assert_close(ours.running_variance.array, reference.running_var.numpy(), tolerance)


def test_batch_norm_in_evaluation_looks_at_each_example_alone():
    generator = np.random.default_rng(0)
    layer, x = BatchNorm(3), generator.normal(size=(8, 3)).astype(np.float32)
    layer(x)
    state = layer.state_dict()
    assert set(state) == {"weight", "bias", "running_mean", "running_variance"}
    layer.eval()
    together = layer(x).numpy()
    assert np.array_equal(together[2:3], layer(x[2:3]).numpy())
    assert all(np.array_equal(state[name], value) for name, value in layer.state_dict().items())


def test_batch_norm_refuses_to_train_on_one_value():
    layer = BatchNorm(3)
    with pytest.raises(ValueError, match="needs two values or more"):
        layer(np.ones((1, 3), np.float32))
    assert layer.eval()(np.ones((1, 3), np.float32)).shape == (1, 3)


def test_batch_norm_runs_on_torch_arrays():
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    on_numpy, on_torch = BatchNorm(3), BatchNorm(3).map_arrays(torch.from_numpy)
    assert np.allclose(on_numpy(x).numpy(), on_torch(torch.from_numpy(x)).numpy(), atol=1e-6)
    assert isinstance(on_torch.running_mean.array, torch.Tensor)
    assert np.allclose(on_numpy.running_variance.array, on_torch.running_variance.numpy())
