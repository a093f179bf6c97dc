"""The ResNet and its fused BatchNorm against torch's own modules."""

import numpy as np
import pytest
import torch

from benchmarks.training_gpu.twins import TorchResNet, copy_weights, named_twins
from minissl.autograd import Tensor
from minissl.autograd.fused import gpu
from minissl.autograd.gradcheck import gradcheck
from minissl.nn import BasicBlock, BatchNorm, ResNet
from minissl.nn.evaluating import evaluating
from minissl.optim import SGD
from minissl.pretrain.images.simclr import SimCLR, SimCLRModel
from minissl.training import fit

WIDTH, BLOCKS, TOLERANCE = 4, (1, 2, 1), 1e-9  # in float64
STATES = {"running_mean", "running_variance"}


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def error(actual, expected):
    """The largest difference, in units of the largest value."""
    actual, expected = (np.asarray(a, np.float64) for a in (actual, expected))
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-12)


def randomized(module, generator):
    """Scales and shifts of BatchNorm that are neither 1 nor 0."""
    for parameter in module.parameters():
        if parameter.ndim == 1:
            noise = generator.normal(size=parameter.shape).astype(parameter.dtype)
            parameter.array = parameter.array + noise / 3
    return module


def channels_last(tensor):
    array = tensor.detach().numpy()
    return np.moveaxis(array, 1, 3) if array.ndim == 4 else array


# ---- the network --------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_resnet_equals_torch_in_training_and_evaluation(device, generator):
    ours = ResNet(width=WIDTH, blocks=BLOCKS, generator=generator).astype(np.float64)
    randomized(ours, generator)
    twin = copy_weights(ours, TorchResNet(width=WIDTH, blocks=BLOCKS).double())
    ours.to(device)
    for training in (True, True, False):
        ours.train(training)
        twin.train(training)
        images = generator.normal(size=(5, 9, 8, 3))
        x, theirs = Tensor(images, requires_grad=True), torch.from_numpy(images)
        x = Tensor(x.to(device).array, requires_grad=True)
        theirs.requires_grad_()
        features, expected = ours(x), twin(theirs.permute(0, 3, 1, 2))
        assert features.shape == (5, WIDTH * 4) == (5, ours.features)
        assert error(features.numpy(), expected.detach()) < TOLERANCE
        cotangent = generator.normal(size=features.shape)
        ours.zero_grad()
        twin.zero_grad()
        features.backward(Tensor(cotangent).to(device))
        expected.backward(torch.from_numpy(cotangent))
        assert error(Tensor(x.grad).numpy(), theirs.grad) < TOLERANCE
        gradients = {name: Tensor(p.grad).numpy() for name, p in ours.named_parameters()}
        parameters = dict(twin.named_parameters())
        state, other = ours.state_dict(), twin.state_dict()
        for name, of_twin in named_twins(ours, twin):
            if name in gradients:
                assert error(gradients[name], channels_last(parameters[of_twin].grad)) < 1e-8, name
            else:
                assert error(state[name], other[of_twin]) < TOLERANCE, name


def test_resnet_18_has_its_published_size_and_names(generator):
    """11,173,962 parameters with the 10 classes of CIFAR, 5,130 of which are the classifier's."""
    model = ResNet(generator=generator)
    assert model.num_parameters() == 11_173_962 - 5_130
    assert model.features == 512
    state = model.state_dict()
    assert len(state) == 20 * 5  # a convolution and four vectors of its BatchNorm
    assert [*state][:6] == [
        "start.weight", "start_norm.weight", "start_norm.bias", "start_norm.running_mean",
        "start_norm.running_variance", "blocks.0.first.weight",
    ]  # fmt: skip
    shortcuts = {n.removesuffix(".shortcut.weight") for n in state if "shortcut.weight" in n}
    assert shortcuts == {"blocks.2", "blocks.4", "blocks.6"}
    assert state["blocks.7.second.weight"].shape == (512, 3, 3, 512)
    other = ResNet(generator=np.random.default_rng(1))
    other.load_state_dict(state)
    assert all(np.array_equal(state[n], value) for n, value in other.state_dict().items())


def test_a_block_that_adds_nothing_is_relu(generator):
    block = BasicBlock(3, 3, generator=generator)
    block.second_norm.weight.array[:] = 0
    x = generator.normal(size=(2, 5, 5, 3)).astype(np.float32)
    assert np.array_equal(block(x).numpy(), np.maximum(x, 0))


def test_a_block_with_a_stride_has_a_shortcut_of_that_stride(generator):
    block = BasicBlock(3, 3, stride=2, generator=generator)
    assert block(generator.normal(size=(2, 5, 4, 3)).astype(np.float32)).shape == (2, 3, 2, 3)


def test_stages_halve_the_sides(generator):
    model = ResNet(1, 2, (1, 1, 1), generator=generator)
    x, shapes = model.start(np.zeros((1, 7, 4, 1), np.float32)), []
    for block in model.blocks:
        x = block(x)
        shapes.append(x.shape)
    assert shapes == [(1, 7, 4, 2), (1, 4, 2, 4), (1, 2, 1, 8)]


def test_it_is_an_encoder_for_simclr_on_both_devices_and_in_bfloat16(generator, monkeypatch):
    monkeypatch.setattr(gpu, "_interpreted", lambda: False)  # the loss's kernel has its own tests
    images = generator.random((12, 8, 8, 3), dtype=np.float32)

    def train(device, precision="float32"):
        fresh = np.random.default_rng(1)
        encoder = ResNet(width=4, blocks=(1, 1), generator=fresh)
        model = SimCLRModel(encoder, features=8, embedding=5, generator=fresh).to(device)
        method = SimCLR(model, images, lambda x, g: np.flip(x, 2).copy(), batch_size=6)
        optimizer = SGD(model.named_parameters(), lr=0.05)
        history = fit(method, optimizer, steps=3, precision=precision, progress=False)
        assert all(t.dtype == model.head.hidden.weight.dtype for _, t in model.named_tensors())
        return history.losses(), method.represent(images)

    losses, features = train("cpu")
    others, there = train("torch")
    assert features.shape == (12, 8)
    assert error(others, losses) < 1e-4
    assert error(there, features) < 1e-3
    rounded, _ = train("torch", "bfloat16")
    assert 0 < error(rounded, losses) < 0.02


# ---- BatchNorm on torch arrays ------------------------------------------------------------------


def run(layer, x, cotangent, device):
    """Output, gradients and running statistics as NumPy arrays."""
    layer.to(device)
    tensor = Tensor(Tensor(x).to(device).array, requires_grad=True)
    y = layer(tensor)
    y.backward(Tensor(cotangent).to(device))
    arrays = [y, *(Tensor(t.grad) for t in (tensor, layer.weight, layer.bias))]
    state = layer.state_dict()
    return [t.numpy() for t in arrays] + [state[name] for name in sorted(STATES)]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(7, 5), (4, 3, 5), (3, 4, 2, 5)])
def test_batch_norm_on_torch_arrays_equals_the_composition(shape, relu, generator):
    layers = [randomized(BatchNorm(5, relu=relu), np.random.default_rng(1)) for _ in range(2)]
    for layer in layers:
        layer.astype(np.float64)
    for training in (True, True, False):
        x, cotangent = 3 * generator.normal(size=shape) + 2, generator.normal(size=shape)
        results = [
            run(layer.train(training), x, cotangent, device)
            for layer, device in zip(layers, ("cpu", "torch"))
        ]
        assert all(error(*pair) < TOLERANCE for pair in zip(results[1], results[0], strict=True))
        for layer in layers:
            layer.zero_grad()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_the_gradient_of_batch_norm_with_relu(training, device, generator):
    layer = randomized(BatchNorm(3, relu=True), generator).astype(np.float64).train(training)
    layer.running_variance.array[:] = 2
    layer.to(device)
    gradcheck(lambda x: layer(x.to(device)).to("cpu"), [generator.normal(size=(6, 2, 3))])


def test_batch_norm_in_bfloat16_keeps_its_statistics_in_float32(generator):
    """Statistics of bfloat16 numbers, but not themselves bfloat16: 1000 + noise must have both."""
    layer, exact = BatchNorm(6).to("torch"), BatchNorm(6).astype(np.float64)
    x = torch.from_numpy(generator.normal(size=(64, 4, 4, 6)) + 10).bfloat16()
    for parameter in layer.parameters():
        parameter.array = parameter.array.bfloat16()
    for mode in (True, False):
        tensor = Tensor(x, requires_grad=True)
        y = layer.train(mode)(tensor)
        expected = exact.train(mode)(Tensor(x.double().numpy()))
        cotangent = torch.from_numpy(generator.normal(size=y.shape)).bfloat16()
        y.backward(cotangent)
        assert y.dtype == tensor.grad.dtype == layer.weight.grad.dtype == torch.bfloat16
        assert error(y.numpy(), expected.numpy()) < 2**-8
        for name in sorted(STATES):
            buffer = getattr(layer, name)
            assert buffer.dtype == torch.float32
            assert error(buffer.numpy(), getattr(exact, name).array) < 1e-5


def test_batch_norm_takes_gradients_and_inputs_in_any_memory_order(generator):
    layer, x = BatchNorm(3).to("torch"), generator.normal(size=(3, 6, 4)).astype(np.float32)
    turned = Tensor(torch.from_numpy(x).permute(2, 1, 0), requires_grad=True)
    straight = Tensor(turned.array.contiguous(), requires_grad=True)
    for tensor in (turned, straight):
        layer(tensor).sum(axis=0).sum().backward()  # a gradient that is a broadcast view
    assert np.array_equal(turned.grad.numpy(), straight.grad.numpy())


def test_training_does_not_change_the_gradient_of_an_earlier_evaluation(generator):
    def gradient(disturbed):
        layer = BatchNorm(3).to("torch").eval()
        x = Tensor(torch.arange(12.0).reshape(4, 3), requires_grad=True)
        y = layer(x)
        if disturbed:
            layer.train()(Tensor(torch.arange(12.0).reshape(4, 3) * 100))
        y.backward(torch.ones(4, 3))
        return x.grad, layer.weight.grad

    for a, b in zip(gradient(True), gradient(False), strict=True):
        assert torch.equal(a, b)


def test_batch_norm_on_torch_arrays_refuses_one_value_and_takes_none(generator):
    layer = BatchNorm(3).to("torch")
    with pytest.raises(ValueError, match="needs two values or more"):
        layer(np.ones((1, 1, 1, 3), np.float32))
    with evaluating(layer):
        assert layer(np.ones((0, 4, 4, 3), np.float32)).shape == (0, 4, 4, 3)
        assert layer(np.ones((1, 3), np.float32)).shape == (1, 3)
