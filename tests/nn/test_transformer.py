"""The Transformer against torch's layers with copied weights, its masks, sizes and saved state."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn as torch_nn
from torch.nn import functional as F

from minissl import Tensor, nn, no_grad
from minissl.nn.transformer import Block, EncoderDecoder, Transformer, TransformerConfig
from tests.nn.twins import (
    assert_close,
    backward_both,
    block_pairs,
    copy_weights,
    gradient_errors,
    inputs,
    plain_pairs,
    randomize,
)

BATCH, TIME, WIDTH, HEADS, HIDDEN = 2, 5, 8, 2, 12
LENGTHS = [5, 3]
ACTIVATIONS = {
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_exact": F.gelu,
    "relu": F.relu,
}


def new_config(**settings):
    sizes = {"num_layers": 2, "width": WIDTH, "num_heads": HEADS, "hidden_width": HIDDEN}
    return TransformerConfig(**{**sizes, **settings})


def build(kind, config):
    module = kind(config, generator=np.random.default_rng(0))
    randomize(module)
    return module


def twin_layer(kind, config):
    return kind(
        WIDTH,
        HEADS,
        HIDDEN,
        dropout=0.0,
        activation=ACTIVATIONS[config.activation],
        layer_norm_eps=config.norm_eps,
        batch_first=True,
        norm_first=config.norm_first,
        dtype=torch.float64,
    )


def hidden_keys(lengths, time):
    return torch.arange(time) >= torch.tensor(lengths)[:, None]


def later_keys(time):
    return torch.triu(torch.ones(time, time, dtype=torch.bool), diagonal=1)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_block_is_torchs_encoder_layer(norm_first, causal, activation):
    config = new_config(norm_first=norm_first, activation=activation, norm_eps=1e-3)
    block = build(Block, config)
    twin = twin_layer(torch_nn.TransformerEncoderLayer, config)
    pairs = block_pairs(twin, block)
    assert len(pairs) == len(list(twin.parameters()))
    copy_weights(pairs)
    x, torch_x = inputs(BATCH, TIME, WIDTH)
    output = block(x, causal=causal, key_lengths=LENGTHS)
    expected = twin(
        torch_x,
        src_mask=later_keys(TIME) if causal else None,
        src_key_padding_mask=hidden_keys(LENGTHS, TIME),
    )
    assert_close(output, expected)
    backward_both(output, expected)
    assert_close(x.grad, torch_x.grad)
    assert max(gradient_errors(pairs)) < 1e-9


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_block_with_cross_attention_is_torchs_decoder_layer(norm_first):
    config = new_config(norm_first=norm_first, activation="relu", cross_attention=True)
    block = build(Block, config)
    twin = twin_layer(torch_nn.TransformerDecoderLayer, config)
    pairs = block_pairs(twin, block)
    assert len(pairs) == len(list(twin.parameters()))
    copy_weights(pairs)
    x, torch_x = inputs(BATCH, TIME, WIDTH)
    memory, torch_memory = inputs(BATCH, 7, WIDTH, seed=1)
    output = block(x, memory, causal=True, memory_lengths=[2, 7], key_lengths=LENGTHS)
    expected = twin(
        torch_x,
        torch_memory,
        tgt_mask=later_keys(TIME),
        tgt_key_padding_mask=hidden_keys(LENGTHS, TIME),
        memory_key_padding_mask=hidden_keys([2, 7], 7),
    )
    assert_close(output, expected)
    backward_both(output, expected)
    assert_close(x.grad, torch_x.grad)
    assert_close(memory.grad, torch_memory.grad)
    assert max(gradient_errors(pairs)) < 1e-9


def twin_stack(kind, layer_kind, stack):
    """torch's stack of layers, and the pairs of parameters."""
    layer, count = twin_layer(layer_kind, stack.config), len(stack.blocks)
    norm = torch_nn.LayerNorm(WIDTH, dtype=torch.float64) if stack.final_norm else None
    settings = {"enable_nested_tensor": False} if kind is torch_nn.TransformerEncoder else {}
    twin = kind(layer, count, norm=norm, **settings)
    pairs = [p for t, b in zip(twin.layers, stack.blocks) for p in block_pairs(t, b)]
    if norm is not None:
        pairs += plain_pairs(twin.norm, stack.final_norm)
    copy_weights(pairs)
    return twin, pairs


@pytest.mark.parametrize("norm_first", [True, False])
def test_encoder_decoder_equals_torch(norm_first):
    both = build(EncoderDecoder, new_config(norm_first=norm_first))
    encoder, encoder_pairs = twin_stack(
        torch_nn.TransformerEncoder, torch_nn.TransformerEncoderLayer, both.encoder
    )
    decoder, decoder_pairs = twin_stack(
        torch_nn.TransformerDecoder, torch_nn.TransformerDecoderLayer, both.decoder
    )
    source, torch_source = inputs(BATCH, TIME, WIDTH)
    target, torch_target = inputs(BATCH, 4, WIDTH, seed=1)
    output = both(source, target, source_lengths=LENGTHS)
    expected = decoder(
        torch_target,
        encoder(torch_source, src_key_padding_mask=hidden_keys(LENGTHS, TIME)),
        tgt_mask=later_keys(4),
        memory_key_padding_mask=hidden_keys(LENGTHS, TIME),
    )
    assert_close(output, expected)
    backward_both(output, expected)
    assert_close(source.grad, torch_source.grad)
    assert_close(target.grad, torch_target.grad)
    assert max(gradient_errors(encoder_pairs + decoder_pairs)) < 1e-9
    assert (both.encoder.final_norm is not None) == norm_first


# ---- what a token may know ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cut", [1, 3, TIME - 1])
def test_a_decoder_sees_nothing_of_the_future(dtype, cut):
    decoder = build(Transformer, new_config()).astype(dtype)
    values = inputs(BATCH, TIME, WIDTH)[0].array.astype(dtype)
    changed = values.copy()
    changed[:, cut:] *= -1
    before, after = (decoder(Tensor(v), causal=True).array for v in (values, changed))
    np.testing.assert_array_equal(before[:, :cut], after[:, :cut])  # bit for bit
    assert (before[:, cut:] != after[:, cut:]).all()
    x = Tensor(values, requires_grad=True)
    cotangent = np.random.default_rng(1).standard_normal(values.shape).astype(dtype)
    cotangent[:, cut:] = 0
    decoder(x, causal=True).backward(cotangent)
    assert not x.grad[:, cut:].any()  # and no gradient flows there
    assert x.grad[:, :cut].all()


def test_an_encoder_sees_everything_but_padding():
    encoder = build(Transformer, new_config())
    x, _ = inputs(1, TIME, WIDTH)
    cotangent = np.zeros(x.shape)
    cotangent[0, 0] = np.random.default_rng(1).standard_normal(WIDTH)
    encoder(x, key_lengths=[3]).backward(cotangent)
    assert x.grad[0, :3].all()
    assert not x.grad[0, 3:].any()


def test_target_sees_its_past_and_all_of_the_source():
    both = build(EncoderDecoder, new_config())
    source, _ = inputs(1, TIME, WIDTH)
    target, _ = inputs(1, 4, WIDTH, seed=1)
    cotangent = np.zeros(target.shape)
    cotangent[0, 1] = np.random.default_rng(1).standard_normal(WIDTH)
    both(source, target).backward(cotangent)
    assert source.grad.all()
    assert target.grad[0, :2].all()
    assert not target.grad[0, 2:].any()


# ---- dropout ------------------------------------------------------------------------------------


def test_dropout_needs_a_generator_in_training_and_nothing_in_evaluation():
    config = new_config(dropout=0.3, attention_dropout=0.2, cross_attention=True)
    model = build(Transformer, config)
    x, memory = inputs(BATCH, TIME, WIDTH)[0], inputs(BATCH, 3, WIDTH, seed=1)[0]
    with pytest.raises(ValueError, match="pass generator="):
        model(x, memory)
    first, again, other = (model(x, memory, generator=np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.array, again.array)
    assert (first.array != other.array).all()
    without = build(Transformer, new_config(cross_attention=True))
    assert_close(model.eval()(x, memory), without(x, memory).array)


def test_dropout_acts_on_every_branch():
    """Dropping (nearly) everything leaves x as it came, in a block with pre-norm."""
    block = build(Block, new_config(dropout=0.999999, cross_attention=True))
    x, memory = inputs(1, 2, WIDTH)[0], inputs(1, 3, WIDTH, seed=1)[0]
    assert_close(block(x, memory, generator=np.random.default_rng(0)), x.array)


# ---- sizes, saving, errors ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm_first", "bias", "cross_attention", "hidden_width"),
    list(itertools.product([True, False], [True, False], [True, False], [None, 20])),
)
def test_num_parameters_is_what_is_built(norm_first, bias, cross_attention, hidden_width):
    config = new_config(
        norm_first=norm_first,
        bias=bias,
        cross_attention=cross_attention,
        hidden_width=hidden_width,
        num_layers=3,
    )
    model = Transformer(config, generator=np.random.default_rng(0))
    assert config.num_parameters() == model.num_parameters()
    assert config.mlp_width == (4 * WIDTH if hidden_width is None else 20)


def test_weights_that_write_into_the_stream_start_smaller():
    config = TransformerConfig(num_layers=8, width=64, num_heads=2, init_std=0.04)
    state = Transformer(config, generator=np.random.default_rng(0)).state_dict()
    for name, values in state.items():
        if name.endswith("output.weight"):
            assert abs(values.std() / 0.01 - 1) < 0.05, name  # 0.04 / √(2 · 8)
        elif values.ndim == 2:
            assert abs(values.std() / 0.04 - 1) < 0.05, name


def test_state_goes_from_one_model_to_another():
    config = new_config(cross_attention=True)
    first, second = (Transformer(config, generator=np.random.default_rng(s)) for s in (0, 1))
    x = Tensor(np.random.default_rng(2).standard_normal((1, 3, WIDTH)).astype(np.float32))
    assert (first(x, x).array != second(x, x).array).any()
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(first(x, x).array, second(x, x).array)
    assert "blocks.1.cross_attention.query.weight" in first.state_dict()
    with pytest.raises(KeyError, match=r"blocks\.0\.cross_attention"):
        Transformer(new_config(), generator=np.random.default_rng(0)).load_state_dict(
            first.state_dict()
        )


def test_attention_weights_are_those_of_every_layer():
    model = build(Transformer, new_config())
    x, _ = inputs(BATCH, TIME, WIDTH)
    with no_grad():
        weights = model.attention_weights(x, causal=True)
    assert weights.shape == (2, BATCH, HEADS, TIME, TIME)
    np.testing.assert_allclose(weights.sum(axis=-1), 1)
    assert not weights[..., np.triu(np.ones((TIME, TIME), bool), k=1)].any()
    second = model.blocks[1]
    seen = second.attention_norm(model.blocks[0](x, causal=True))
    assert_close(weights[1], second.attention.weights(seen, causal=True))


def test_memory_and_cross_attention_belong_together():
    x = Tensor(np.zeros((1, 2, WIDTH), np.float32))
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"belong together: got memory of shape \(1, 2, 8\)"):
        nn.Transformer(new_config(), generator=generator)(x, x)
    with pytest.raises(ValueError, match="got memory None, cross_attention=True"):
        nn.Transformer(new_config(cross_attention=True), generator=generator)(x)


@pytest.mark.parametrize("wrong", [{"num_heads": 3}, {"num_layers": 0}, {"hidden_width": 0}])
def test_config_refuses_sizes_that_do_not_fit(wrong):
    with pytest.raises(ValueError, match="num_heads must divide width"):
        new_config(**wrong)
