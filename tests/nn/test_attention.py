"""Multi-head attention against torch.nn.MultiheadAttention, its masks, and the KV cache."""

import numpy as np
import pytest
import torch
from torch import nn as torch_nn

from minissl import Tensor, nn, no_grad
from minissl.autograd import operations as ops
from minissl.nn.attention import join_heads, split_heads
from tests.nn.twins import (
    assert_close,
    attention_pairs,
    backward_both,
    copy_weights,
    gradient_errors,
    inputs,
    randomize,
)

BATCH, TIME, WIDTH, HEADS = 3, 5, 12, 4


def new_attention(**settings):
    attention = nn.MultiHeadAttention(WIDTH, HEADS, generator=np.random.default_rng(0), **settings)
    randomize(attention)
    return attention


def new_twin(attention):
    twin = torch_nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, dtype=torch.float64)
    pairs = attention_pairs(twin, attention)
    copy_weights(pairs)
    return twin, pairs


def hidden_keys(lengths, time):
    return torch.arange(time) >= torch.tensor(lengths)[:, None]


def later_keys(time):
    return torch.triu(torch.ones(time, time, dtype=torch.bool), diagonal=1)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [None, [5, 1, 3]])
def test_self_attention_equals_torch(causal, lengths):
    attention = new_attention()
    twin, pairs = new_twin(attention)
    x, torch_x = inputs(BATCH, TIME, WIDTH)
    output = attention(x, causal=causal, key_lengths=lengths)
    expected, weights = twin(
        torch_x,
        torch_x,
        torch_x,
        attn_mask=later_keys(TIME) if causal else None,
        key_padding_mask=None if lengths is None else hidden_keys(lengths, TIME),
        average_attn_weights=False,
    )
    assert_close(output, expected)
    assert_close(attention.weights(x, causal=causal, key_lengths=lengths), weights)
    backward_both(output, expected)
    assert_close(x.grad, torch_x.grad)
    assert max(gradient_errors(pairs)) < 1e-10


@pytest.mark.parametrize("lengths", [None, [7, 1, 4]])
def test_cross_attention_equals_torch(lengths):
    attention = new_attention()
    twin, pairs = new_twin(attention)
    x, torch_x = inputs(BATCH, TIME, WIDTH)
    memory, torch_memory = inputs(BATCH, 7, WIDTH, seed=1)
    output = attention(x, memory, key_lengths=lengths)
    expected, weights = twin(
        torch_x,
        torch_memory,
        torch_memory,
        key_padding_mask=None if lengths is None else hidden_keys(lengths, 7),
        average_attn_weights=False,
    )
    assert_close(output, expected)
    assert_close(attention.weights(x, memory, key_lengths=lengths), weights)
    backward_both(output, expected)
    assert_close(x.grad, torch_x.grad)
    assert_close(memory.grad, torch_memory.grad)
    assert max(gradient_errors(pairs)) < 1e-10


def test_who_may_see_nothing_gets_zero_weights():
    weights = new_attention().weights(inputs(2, 3, WIDTH)[0], key_lengths=[0, 3])
    assert not weights[0].any()
    np.testing.assert_allclose(weights[1].sum(axis=-1), 1)


def test_heads_are_slices_of_the_width():
    x, _ = inputs(2, 3, 12)
    heads = split_heads(x, num_heads=4)
    assert heads.shape == (2, 4, 3, 3)
    np.testing.assert_array_equal(heads.array[1, 2, 0], x.array[1, 0, 6:9])
    np.testing.assert_array_equal(join_heads(heads).array, x.array)
    assert np.shares_memory(heads.array, x.array)
    cotangent = np.random.default_rng(1).standard_normal(heads.shape)
    heads.backward(cotangent)
    np.testing.assert_array_equal(x.grad[1, 0, 6:9], cotangent[1, 2, 0])
    y, _ = inputs(2, 4, 3, 3)
    cotangent = np.random.default_rng(2).standard_normal((2, 3, 12))
    join_heads(y).backward(cotangent)
    np.testing.assert_array_equal(y.grad[1, 2, 0], cotangent[1, 0, 6:9])


def test_dropout_drops_weights_in_training_only():
    attention = new_attention(dropout=0.5)
    x, _ = inputs(BATCH, TIME, WIDTH)
    with pytest.raises(ValueError, match="pass generator="):
        attention(x)
    first, again, other = (attention(x, generator=np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.array, again.array)
    assert (first.array != other.array).any()
    attention.eval()
    assert_close(attention(x), new_attention()(x).array)


@pytest.mark.parametrize("pieces", [[1] * 6, [4, 1, 1], [3, 2, 1], [6]])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_cache_changes_nothing(pieces, dtype):
    attention = new_attention().astype(dtype)
    x = Tensor(np.random.default_rng(0).standard_normal((2, 6, WIDTH)).astype(dtype))
    cache, outputs, start = nn.KeyValueCache(8), [], 0
    with no_grad():
        expected = attention(x, causal=True)
        for size in pieces:
            piece = Tensor(x.array[:, start : start + size])
            outputs.append(attention(piece, causal=True, cache=cache).array)
            start += size
    assert cache.length == 6
    assert_close(
        np.concatenate(outputs, axis=1), expected.array, 1e-12 if dtype == "float64" else 1e-5
    )


def test_the_cache_refuses_gradients_and_overflow():
    attention, cache = new_attention(), nn.KeyValueCache(3)
    with pytest.raises(RuntimeError, match="use it inside no_grad"):
        attention(inputs(1, 2, WIDTH)[0], cache=cache)
    with no_grad():
        attention(inputs(1, 2, WIDTH)[0], cache=cache)
        with pytest.raises(ValueError, match="room for 3 tokens, 4 were given"):
            attention(inputs(1, 2, WIDTH)[0], cache=cache)
    assert cache.length == 2


def test_heads_must_share_the_width():
    with pytest.raises(ValueError, match="width 10 cannot be shared by 4 heads"):
        nn.MultiHeadAttention(10, 4, generator=np.random.default_rng(0))


class Adapter(nn.Linear):
    """In the place of a Linear, and more than one: what LoRA does."""

    def forward(self, x):
        return super().forward(x) + 1.0


@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_an_adapter_in_the_place_of_a_linear_is_called(name):
    generator = np.random.default_rng(0)
    attention = nn.MultiHeadAttention(8, 2, generator=generator)
    plain = getattr(attention, name)
    adapter = Adapter(8, 8, generator=generator)
    adapter.load_state_dict(plain.state_dict())
    x = generator.standard_normal((2, 5, 8)).astype(np.float32)
    shifted = nn.MultiHeadAttention(8, 2, generator=generator)
    shifted.load_state_dict(attention.state_dict())
    getattr(shifted, name).bias.array += 1  # the same by a parameter
    setattr(attention, name, adapter)
    expected = shifted(Tensor(x), causal=True)
    np.testing.assert_allclose(attention(Tensor(x), causal=True).array, expected.array, atol=1e-6)


@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_a_forward_that_was_put_on_a_linear_is_called(name):
    generator = np.random.default_rng(0)
    attention = nn.MultiHeadAttention(8, 2, generator=generator)
    called, part = [], getattr(attention, name)
    part.forward = lambda x: called.append(name) or ops.linear(x, part.weight, part.bias)
    attention(Tensor(np.zeros((1, 3, 8), np.float32)))
    assert called == [name]


@pytest.mark.parametrize("shapes", [[(7,), (9,), (8,)], [(4,), (8,), (12,)], [(8,), (9,), (8,)]])
def test_biases_that_fit_only_side_by_side_are_refused(shapes):
    """7 + 9 + 8 numbers are as many as 8 + 8 + 8, but each would stand beside the wrong column."""
    attention = nn.MultiHeadAttention(8, 2, generator=np.random.default_rng(0))
    for part, shape in zip((attention.query, attention.key, attention.value), shapes):
        part.bias = nn.Parameter(np.ones(shape, np.float32))
    with pytest.raises(ValueError, match="do not broadcast"):
        attention(Tensor(np.ones((1, 3, 8), np.float32)))


@pytest.mark.parametrize("shape", [(1,), (1, 8)])
def test_biases_that_count_for_several_columns(shape):
    attention = nn.MultiHeadAttention(8, 2, generator=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((1, 3, 8)).astype(np.float32)
    for part in (attention.query, attention.key, attention.value):
        part.bias.array[...] = 0.5
    expected = attention(Tensor(x)).array
    for part in (attention.query, attention.key, attention.value):
        part.bias = nn.Parameter(np.full(shape, 0.5, np.float32))
    np.testing.assert_allclose(attention(Tensor(x)).array, expected, atol=1e-6)


def test_arrays_beside_tensors():
    attention = nn.MultiHeadAttention(8, 2, generator=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((2, 3, 8)).astype(np.float32)
    masks = {"causal": True, "key_lengths": [1, 3]}
    np.testing.assert_array_equal(attention(x, **masks).array, attention(Tensor(x), **masks).array)
    attention.map_arrays(torch.from_numpy)
    x = torch.from_numpy(x)
    np.testing.assert_array_equal(attention(x, **masks).array, attention(Tensor(x), **masks).array)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("masks", [{}, {"causal": True}, {"key_lengths": [2, 6]}], ids=str)
def test_one_product_and_three_give_the_same(bias, masks):
    """With the layer's own memory as ``memory``, queries, keys and values are made one by one."""
    generator = np.random.default_rng(0)
    attention = nn.MultiHeadAttention(8, 2, bias=bias, generator=generator)
    x = generator.standard_normal((2, 6, 8)).astype(np.float32)
    g = generator.standard_normal((2, 6, 8)).astype(np.float32)
    found = []
    for memory in ((), (0,)):
        inputs = Tensor(x, requires_grad=True)
        attention.zero_grad()
        y = attention(inputs, *(inputs for _ in memory), **masks)
        y.backward(g)
        found.append([y.array, inputs.grad, *(p.grad for _, p in attention.named_parameters())])
    for one, three in zip(*found, strict=True):
        np.testing.assert_allclose(one, three, rtol=1e-4, atol=1e-5)


def test_a_linear_without_bias_beside_two_with_one():
    generator = np.random.default_rng(0)
    attention = nn.MultiHeadAttention(8, 2, generator=generator)
    x = Tensor(generator.standard_normal((1, 3, 8)).astype(np.float32))
    attention.key.bias.array[...] = 0
    expected = attention(x).array
    attention.key.bias = None
    np.testing.assert_allclose(attention(x).array, expected, atol=1e-6)


def test_frozen_linears_get_no_gradient():
    generator = np.random.default_rng(0)
    attention = nn.MultiHeadAttention(8, 2, generator=generator)
    attention.key.weight.requires_grad = False
    x = Tensor(generator.standard_normal((1, 3, 8)).astype(np.float32))
    attention(x).sum().backward()
    assert attention.key.weight.grad is None
    assert attention.query.weight.grad.any()
