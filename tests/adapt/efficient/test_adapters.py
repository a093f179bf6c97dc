"""Adapters: torch's formula and gradients, nearly the identity at first, and where they stand."""

import numpy as np
import pytest
import torch

from minissl.adapt.efficient.adapters import NEARLY_NOTHING, Adapter, add_adapters
from minissl.models.convolutional import ConvEncoder
from minissl.models.gpt import GPT, GPTConfig
from minissl.nn.convolution import Conv2d
from minissl.nn.layers import Linear
from tests.pretrain.toy import toy_method

SIZES = GPTConfig(vocab_size=30, context_length=9, num_layers=2, width=8, num_heads=2)


def in_torch(array):
    return torch.tensor(array, dtype=torch.float64, requires_grad=True)


def moved(adapter, seed=1):
    """Float64, and every number of it somewhere."""
    generator = np.random.default_rng(seed)
    for p in adapter.astype(np.float64).parameters():
        p.array = generator.standard_normal(p.shape)
    return adapter


@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 6), (1, 1, 6)])
def test_forward_and_gradient_are_torchs(shape):
    generator = np.random.default_rng(0)
    adapter = moved(Adapter(Linear(6, 4, generator=generator), 4, 3, generator=generator))
    x, cotangent = generator.standard_normal(shape), generator.standard_normal((*shape[:-1], 4))
    found = adapter(x)
    found.backward(cotangent)
    weight, bias = in_torch(adapter.inner.weight.numpy()), in_torch(adapter.inner.bias.numpy())
    small = {name: in_torch(getattr(adapter, name).numpy()) for name in NAMES}
    h = torch.nn.functional.linear(in_torch(x), weight, bias)
    middle = torch.nn.functional.linear(h, small["down"], small["down_bias"])
    middle = torch.nn.functional.gelu(middle, approximate="tanh")
    expected = h + torch.nn.functional.linear(middle, small["up"], small["up_bias"])
    expected.backward(torch.tensor(cotangent))
    np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-12)
    for name in NAMES:
        np.testing.assert_allclose(getattr(adapter, name).grad, small[name].grad, rtol=1e-10)
    assert adapter.inner.weight.grad is None
    assert adapter.inner.bias.grad is None


NAMES = ("down", "down_bias", "up", "up_bias")


def test_behind_a_convolution_it_is_the_same_for_every_place():
    generator = np.random.default_rng(0)
    inner = Conv2d(2, 5, 3, padding=1, relu=True, generator=generator)
    adapter = moved(Adapter(inner, 5, 3, generator=generator))
    images = generator.standard_normal((2, 4, 4, 2))
    h = inner(images).numpy()
    by_hand = Adapter(Linear(5, 5, generator=generator), 5, 3, generator=generator)
    for name in NAMES:
        getattr(by_hand, name).array = getattr(adapter, name).numpy()
    by_hand.inner.astype(np.float64)
    by_hand.inner.weight.array, by_hand.inner.bias.array = np.eye(5), np.zeros(5)
    expected = by_hand(h.reshape(-1, 5)).numpy().reshape(h.shape)
    np.testing.assert_allclose(adapter(images).numpy(), expected, rtol=1e-12)


def test_before_the_first_step_it_is_nearly_the_identity():
    """|gelu(z)| ≤ |z|, so what is added is at most ‖up‖ ‖down‖ ‖h‖: of the order 1e-6 √(d m) h."""
    generator = np.random.default_rng(0)
    inner = Linear(64, 64, generator=generator)
    adapter = Adapter(inner, 64, 16, generator=generator)
    assert adapter.down.numpy().std() == pytest.approx(NEARLY_NOTHING, rel=0.1)
    assert adapter.up.numpy().std() == pytest.approx(NEARLY_NOTHING, rel=0.1)
    h = inner(generator.standard_normal((50, 64)).astype(np.float32)).numpy()
    rows = h @ adapter.down.numpy().T
    added = np.linalg.norm(adapter(giving(h, inner)).numpy() - h, axis=1)
    bound = np.linalg.norm(adapter.up.numpy(), 2) * np.linalg.norm(rows, axis=1)
    assert (added <= bound * 1.01 + 1e-6).all()
    assert (added <= 5e-4 * np.linalg.norm(h, axis=1)).all()


def giving(h, layer):
    """What a square Linear takes so that it gives h: the inverse of its formula."""
    return np.linalg.solve(layer.weight.numpy(), (h - layer.bias.numpy()).T).T


def test_a_whole_model_says_nearly_what_it_said():
    for name in ("gpt", "bert", "simclr"):
        method = toy_method(name)
        examples = (
            np.random.default_rng(0).random((4, 8, 8, 1), np.float32)
            if name == "simclr"
            else [[5, 6, 7, 8], [9, 10, 11]]
        )
        before = method.represent(examples)
        add_adapters(method.encoder, 4, generator=np.random.default_rng(0))
        after = method.represent(examples)
        assert np.abs(after - before).max() < 1e-3 * np.abs(before).max()
        assert not np.array_equal(after, before), "they are in it"


def test_where_they_stand():
    model = GPT(SIZES, generator=np.random.default_rng(0))
    names = add_adapters(model, 3, generator=np.random.default_rng(0))
    assert names == [
        f"transformer.blocks.{i}.{part}.output" for i in (0, 1) for part in ("attention", "mlp")
    ]
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"{name}.{part}" for name in names for part in NAMES}
    d, m = 8, 3
    sizes = sum(p.size for p in model.parameters() if p.requires_grad)
    assert sizes == 4 * (2 * d * m + m + d)  # the paper's 2md + d + m each
    images = ConvEncoder(8, 3, features=12, generator=np.random.default_rng(0))
    names = add_adapters(images, 3, generator=np.random.default_rng(0))
    assert names == ["convolutions.0", "convolutions.1", "convolutions.2", "output"]
    chosen = GPT(SIZES, generator=np.random.default_rng(0))
    assert len(add_adapters(chosen, 3, where="mlp", generator=np.random.default_rng(0))) == 4
    with pytest.raises(ValueError, match="no layer matches 'nowhere'; there are: transformer"):
        add_adapters(chosen, 3, where="nowhere", generator=np.random.default_rng(0))


def test_float64_and_sampling_with_a_cache():
    """The quick decoder does not know adapters: sampling asks the model."""
    from minissl.models import decode
    from minissl.models.generate import generate

    model = GPT(SIZES, generator=np.random.default_rng(0)).astype(np.float64)
    add_adapters(model, 3, generator=np.random.default_rng(0))
    generator = np.random.default_rng(1)
    for p in model.parameters():
        assert p.dtype == np.float64
        if p.requires_grad:
            p.array = generator.standard_normal(p.shape)
    assert not decode.applies_to(model)
    written = generate(model, [1, 2], 5, temperature=0)
    assert generate(model, [1, 2], 5, temperature=0, cache=False) == written


def test_a_run_of_recurrent_layers_is_told_what_goes_instead():
    encoder = toy_method("lstm").encoder
    with pytest.raises(ValueError, match="a recurrent one bias, last-layers and prompts"):
        add_adapters(encoder, 4, generator=np.random.default_rng(0))
