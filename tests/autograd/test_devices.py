"""Arrays on another device: torch memory on the CPU stands in for a GPU's."""

import sys

import numpy as np
import pytest
import torch

from minissl.autograd import operations as ops
from minissl.autograd.devices import beside, device_of, move, resolve_device
from minissl.autograd.tensor import Tensor
from minissl.nn.convolution import BatchNorm, Conv2d
from minissl.nn.layers import MLP, Embedding
from minissl.nn.positions import SinusoidalPositions

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool", "uint8"])
def test_there_and_back(dtype):
    array = (np.arange(12).reshape(3, 4).T * 3 % 5).astype(dtype)  # not C-contiguous
    there = move(array, "torch")
    assert isinstance(there, torch.Tensor)
    assert device_of(there) == "torch"
    back = move(there, "cpu")
    assert isinstance(back, np.ndarray)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)
    assert move(array, "cpu") is array
    assert move(there, "torch") is there


def test_the_copy_shares_no_memory_and_read_only_arrays_are_fine():
    array = np.zeros(3, np.float32)
    array.flags.writeable = False
    move(array, "torch")[0] = 1
    assert array[0] == 0


def test_bfloat16_comes_back_as_float32():
    values = torch.tensor([1.0, 2.5, -3e38], dtype=torch.bfloat16)
    back = move(values, "cpu")
    assert back.dtype == np.float32
    assert np.array_equal(back, values.float().numpy())


def test_names_of_devices():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("torch") == "torch"
    for name in ("gpu", "cuda:x", "", "cpu:first"):
        with pytest.raises(ValueError, match="device must be"):
            resolve_device(name)


@pytest.mark.parametrize("name", ["cpu:0", "torch:1", "auto:0", "cuda:", "cuda:-1", "cuda:²"])
def test_only_gpus_have_numbers(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="device must be"):
        resolve_device(name)


def test_two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = [resolve_device(name) for name in ("auto", "cuda", "cuda:0", "cuda:1", "cpu")]
    assert found == ["cuda:0", "cuda:0", "cuda:0", "cuda:1", "cpu"]
    with pytest.raises(RuntimeError, match=r"'cuda:2' is not there: torch .* sees 2 GPUs"):
        resolve_device("cuda:2")


def test_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
    with pytest.raises(RuntimeError, match="'cuda' needs torch, which is not installed"):
        resolve_device("cuda")


@pytest.mark.parametrize("there", [False, True])
def test_apples_gpus_are_refused_with_the_reason(monkeypatch, there):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("mps", "mps:0"):
        with pytest.raises(
            RuntimeError, match=rf"'{name}'.*no float64.*Triton.*Use device \"cpu\""
        ):
            resolve_device(name)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(RuntimeError, match="does not run on Apple's GPUs"):
        Tensor([1.0]).to("mps")


@no_gpu
def test_a_gpu_that_is_not_there():
    assert resolve_device("auto") == "cpu"
    with pytest.raises(RuntimeError, match=r"'cuda:1' is not there: torch .* sees 0 GPUs; use"):
        resolve_device("cuda:1")
    with pytest.raises(RuntimeError, match="not there"):
        Tensor([1.0]).to("cuda")


def test_a_gradient_comes_back_to_where_the_leaf_lives():
    x = Tensor(np.float32([[1, -2], [3, 4]]), requires_grad=True)
    y = ops.to(x, device="torch")
    assert device_of(y) == "torch"
    assert isinstance(y.array, torch.Tensor)
    g = np.float32([[5, 6], [7, 8]])
    (y * 3.0).backward(torch.from_numpy(g))
    assert isinstance(x.grad, np.ndarray)
    assert np.array_equal(x.grad, 3 * g)


def test_plain_data_goes_where_the_tensors_are():
    w = Tensor(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), requires_grad=True)
    data = np.float32([[1, 1], [0, 2]])
    for result in (w + data, data + w, data @ w, ops.where(data > 0, w, 0.0), ops.maximum(data, w)):
        assert isinstance(result.array, torch.Tensor)
    assert np.allclose((data @ w).numpy(), data @ w.numpy())
    assert np.array_equal(ops.take(w, np.array([1, 0])).numpy(), w.numpy()[[1, 0]])
    picked = ops.take_along_axis(w, np.array([[1], [0]]), axis=1)
    assert np.array_equal(picked.numpy(), [[2], [3]])
    assert np.array_equal(w[np.array([1, 1])].numpy(), w.numpy()[[1, 1]])
    assert np.array_equal((w > data).numpy(), w.numpy() > data)


def test_tensors_never_move_by_themselves():
    here, there = Tensor([1.0, 2.0]), Tensor(torch.tensor([1.0, 2.0]))
    for meet in (lambda: here + there, lambda: there * here, lambda: there < here):
        with pytest.raises(TypeError, match=r"one array lives in .*, another in"):
            meet()


def test_plain_data_meets_bfloat16():
    w = torch.ones(2, dtype=torch.bfloat16)
    assert beside(np.float32([1, 2]), w).dtype == torch.bfloat16
    assert beside(np.array([1, 2]), w).dtype == torch.int64
    assert (Tensor(w) * np.float32([1, 2])).dtype == torch.bfloat16
    with pytest.raises(TypeError, match="never promoted"):
        Tensor(torch.ones(2)) * np.float64([1, 2])


@pytest.mark.parametrize("part", ["mlp", "embedding", "convolution", "batch_norm", "positions"])
def test_modules_move_and_take_plain_data(part):
    def make():
        generator = np.random.default_rng(0)
        return {
            "mlp": lambda: MLP(5, 7, 3, generator=generator),
            "embedding": lambda: Embedding(9, 4, generator=generator),
            "convolution": lambda: Conv2d(2, 3, 3, padding=1, relu=True, generator=generator),
            "batch_norm": lambda: BatchNorm(5),
            "positions": lambda: SinusoidalPositions(12, 4),
        }[part]()

    generator = np.random.default_rng(1)
    x = {
        "mlp": generator.standard_normal((4, 5), dtype=np.float32),
        "embedding": generator.integers(9, size=(2, 6)),
        "convolution": generator.standard_normal((2, 4, 5, 2), dtype=np.float32),
        "batch_norm": generator.standard_normal((6, 5), dtype=np.float32),
        "positions": 7,
    }[part]
    here, there = make(), make()
    assert here.device == "cpu"
    assert there.to("torch") is there
    assert there.device == "torch"
    a, b = here(x), there(x)
    assert isinstance(b.array, torch.Tensor)
    assert np.allclose(a.numpy(), b.numpy(), atol=1e-6)
    if a.requires_grad:
        g = generator.standard_normal(a.shape, dtype=np.float32)
        a.backward(g)
        b.backward(torch.from_numpy(g))
        for p, q in zip(here.parameters(), there.parameters()):
            assert isinstance(q.grad, torch.Tensor)
            assert np.allclose(p.grad, q.grad.numpy(), atol=1e-5)
    there.to("cpu")
    assert there.device == "cpu"
    assert all(p.grad is None for p in there.parameters())
    for name, value in here.state_dict().items():
        assert np.allclose(value, there.state_dict()[name], atol=1e-6)
