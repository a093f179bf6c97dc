"""Linear, Embedding, LayerNorm, Dropout, MLP and positions, against torch with copied weights."""

import numpy as np
import pytest
import torch
from torch import nn as torch_nn
from torch.nn import functional as F

from minissl import Tensor, nn
from minissl.nn.positions import sinusoids
from tests.nn.twins import (
    assert_close,
    backward_both,
    copy_weights,
    gradient_errors,
    inputs,
    plain_pairs,
    randomize,
)


def new_generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("bias", [True, False])
def test_linear_equals_torch(bias):
    ours = nn.Linear(5, 3, bias=bias, generator=new_generator())
    randomize(ours)
    twin = torch_nn.Linear(5, 3, bias=bias, dtype=torch.float64)
    pairs = plain_pairs(twin, ours)
    assert len(pairs) == 1 + bias
    copy_weights(pairs)
    x, torch_x = inputs(2, 4, 5)
    output, expected = ours(x), twin(torch_x)
    assert_close(output, expected)
    backward_both(output, expected)
    assert_close(x.grad, torch_x.grad)
    assert max(gradient_errors(pairs)) < 1e-12


def test_linear_starts_like_torch_or_like_gpt2():
    uniform = nn.Linear(64, 500, generator=new_generator())
    for values in (uniform.weight.array, uniform.bias.array):
        assert np.abs(values).max() <= 1 / 8
        assert abs(values.std() - 1 / 8 / np.sqrt(3)) < 0.01
    normal = nn.Linear(64, 500, init_std=0.02, generator=new_generator())
    assert abs(normal.weight.array.std() - 0.02) < 0.001
    assert not normal.bias.array.any()
    assert normal.weight.dtype == uniform.weight.dtype == uniform.bias.dtype == np.float32


def test_same_generator_same_weights():
    first, again, other = (nn.MLP(3, 4, 2, generator=new_generator(s)) for s in (1, 1, 2))
    for name, values in first.state_dict().items():
        np.testing.assert_array_equal(values, again.state_dict()[name])
        assert (values != other.state_dict()[name]).all()
    assert list(first.state_dict()) == [
        "hidden.weight", "hidden.bias", "output.weight", "output.bias",
    ]  # fmt: skip


def test_linear_names_both_sizes_when_they_do_not_fit():
    with pytest.raises(ValueError, match=r"5 features .* expects 4"):
        nn.Linear(4, 2, generator=new_generator())(Tensor(np.zeros((3, 5))))


def test_embedding_adds_the_gradients_of_repeated_tokens():
    ours = nn.Embedding(7, 3, generator=new_generator()).astype(np.float64)
    assert abs(nn.Embedding(500, 20, generator=new_generator()).weight.array.std() - 1) < 0.02
    tokens = np.array([[1, 5, 1], [1, 0, 6]])
    weight = torch.tensor(ours.weight.array, requires_grad=True)
    output, expected = ours(tokens), F.embedding(torch.from_numpy(tokens), weight)
    assert_close(output, expected)
    backward_both(output, expected)
    assert_close(ours.weight.grad, weight.grad)
    assert not ours.weight.grad[[2, 3, 4]].any()


def test_embedding_refuses_what_is_no_row():
    table = nn.Embedding(7, 3, generator=new_generator())
    assert table([[1, 2]]).shape == (1, 2, 3)  # a list will do
    with pytest.raises(TypeError, match="integer indices, got float32"):
        table(np.array([1.0], np.float32))
    for wrong in (7, -1):
        with pytest.raises(IndexError, match="0 to 6"):
            table(np.array([wrong]))


def test_layer_norm_equals_torch():
    ours = nn.LayerNorm(6, eps=1e-3)
    randomize(ours)
    twin = torch_nn.LayerNorm(6, eps=1e-3, dtype=torch.float64)
    pairs = plain_pairs(twin, ours)
    copy_weights(pairs)
    x, torch_x = inputs(2, 3, 6)
    output, expected = ours(x), twin(torch_x)
    assert_close(output, expected)
    backward_both(output, expected)
    assert_close(x.grad, torch_x.grad)
    assert max(gradient_errors(pairs)) < 1e-12


def test_dropout_keeps_the_mean_and_its_gradient_is_its_mask():
    dropout = nn.Dropout(0.25)
    x = Tensor(np.full((200, 300), 2.0), requires_grad=True)
    output = dropout(x, new_generator(3))
    assert set(np.unique(output.array)) == {0.0, np.float64(np.float32(1 / 0.75)) * 2}
    assert abs((output.array == 0).mean() - 0.25) < 0.01  # 240 standard errors would be 0.42
    cotangent = new_generator(4).standard_normal(x.shape)
    output.backward(cotangent)
    np.testing.assert_allclose(x.grad, cotangent * output.array / 2, rtol=1e-12)
    np.testing.assert_array_equal(dropout(x, new_generator(3)).array, output.array)
    assert (dropout(x, new_generator(5)).array != output.array).any()


def test_dropout_does_nothing_in_evaluation_or_at_zero():
    x = Tensor(np.ones(3))
    assert nn.Dropout(0.5).eval()(x) is x
    assert nn.Dropout(0.0)(x) is x


def test_dropout_says_what_is_missing():
    with pytest.raises(ValueError, match=r"pass generator=.* or switch dropout off"):
        nn.Dropout(0.5)(Tensor(np.ones(3)))
    for p in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
            nn.Dropout(p)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("gelu", lambda x: F.gelu(x, approximate="tanh")),
        ("gelu_exact", F.gelu),
        ("silu", F.silu),
        ("quick_gelu", lambda x: x * torch.sigmoid(1.702 * x)),
        ("tanh", torch.tanh),
        ("relu", F.relu),
    ],
)
def test_mlp_equals_torch(name, function):
    ours = nn.MLP(4, 7, 3, activation=name, generator=new_generator())
    randomize(ours)
    first, second = torch_nn.Linear(4, 7).double(), torch_nn.Linear(7, 3).double()
    pairs = plain_pairs(first, ours.hidden) + plain_pairs(second, ours.output)
    copy_weights(pairs)
    x, torch_x = inputs(2, 5, 4)
    output, expected = ours(x), second(function(first(torch_x)))
    assert_close(output, expected)
    backward_both(output, expected)
    assert_close(x.grad, torch_x.grad)
    assert max(gradient_errors(pairs)) < 1e-12


def test_an_unknown_activation_is_named():
    with pytest.raises(ValueError, match=r"\['gelu', 'gelu_exact', .*, got 'swish'"):
        nn.MLP(1, 1, 1, activation="swish", generator=new_generator())


def test_learned_positions_send_gradients_to_the_rows_that_were_used():
    positions = nn.LearnedPositions(9, 4, generator=new_generator()).astype(np.float64)
    rows = positions(3, start=5)
    np.testing.assert_array_equal(rows.array, positions.weight.array[5:8])
    cotangent = new_generator(1).standard_normal((3, 4))
    rows.backward(cotangent)
    np.testing.assert_array_equal(positions.weight.grad[5:8], cotangent)
    assert not positions.weight.grad[[0, 1, 2, 3, 4, 8]].any()
    with pytest.raises(ValueError, match=r"positions 5 to 9 .* only 9"):
        positions(5, start=5)


def test_sinusoids_are_the_papers_and_turn_like_clocks():
    table = sinusoids(50, 8)
    for t, pair in [(0, 0), (7, 1), (49, 3)]:
        angle = t / 10000 ** (2 * pair / 8)
        np.testing.assert_allclose(
            table[t, 2 * pair : 2 * pair + 2], [np.sin(angle), np.cos(angle)]
        )
    hands = table.reshape(50, 4, 2) @ np.array([1j, 1])  # cos + i sin
    turn = hands[11] / hands[0]
    np.testing.assert_allclose(hands[:-11] * turn, hands[11:])  # 11 further: one turn for all t
    module = nn.SinusoidalPositions(50, 8)
    assert module.parameters() == []
    assert list(module.state_dict()) == ["weight"]
    np.testing.assert_array_equal(module(2, start=4).array, table[4:6].astype(np.float32))
    with pytest.raises(ValueError, match="even, got 7"):
        sinusoids(3, 7)
