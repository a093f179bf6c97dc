"""LSTM and GRU against torch's modules with the same weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minissl.autograd import Tensor
from minissl.nn import GRU, LSTM

KINDS = {"LSTM": (LSTM, torch.nn.LSTM), "GRU": (GRU, torch.nn.GRU)}
each_kind = pytest.mark.parametrize("kind", KINDS)


def pair(kind, input_size, hidden_size, num_layers, dtype=np.float64, seed=0):
    """Our module and torch's, with the same weights."""
    our_class, their_class = KINDS[kind]
    ours = our_class(input_size, hidden_size, num_layers, generator=np.random.default_rng(seed))
    ours.astype(dtype)
    theirs = their_class(
        input_size,
        hidden_size,
        num_layers,
        batch_first=True,
        dtype=torch.float64 if dtype == np.float64 else torch.float32,
    )
    assert dict(theirs.named_parameters()).keys() == dict(ours.named_parameters()).keys()
    theirs.load_state_dict({n: torch.from_numpy(a) for n, a in ours.state_dict().items()})
    return ours, theirs


def call(module, x, state):
    """The module's outputs and all parts of its final state as one list."""
    outputs, last = module(x, state[0] if len(state) == 1 else state or None)
    return [outputs, *(last if isinstance(last, tuple) else [last])]


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    batch=st.integers(1, 4),
    time=st.integers(1, 6),
    input_size=st.integers(1, 5),
    hidden_size=st.integers(1, 5),
    num_layers=st.integers(1, 3),
    with_state=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_equals_torch_forward_and_every_gradient(
    kind, batch, time, input_size, hidden_size, num_layers, with_state, seed
):
    ours, theirs = pair(kind, input_size, hidden_size, num_layers, seed=seed)
    rng = np.random.default_rng(seed + 1)
    parts = (2 if kind == "LSTM" else 1) * with_state
    arrays = [rng.standard_normal((batch, time, input_size))]
    arrays += [rng.standard_normal((num_layers, batch, hidden_size)) for _ in range(parts)]
    x, *state = (Tensor(a, requires_grad=True) for a in arrays)
    tx, *t_state = (torch.from_numpy(a).requires_grad_() for a in arrays)
    results, expected = call(ours, x, tuple(state)), call(theirs, tx, tuple(t_state))
    for ours_, theirs_ in zip(results, expected, strict=True):
        np.testing.assert_allclose(ours_.array, theirs_.detach().numpy(), rtol=1e-12, atol=1e-13)

    cotangents = [rng.standard_normal(result.shape) for result in results]
    sum(((r * g).sum() for r, g in zip(results, cotangents)), start=Tensor(np.zeros(()))).backward()
    sum((r * torch.from_numpy(g)).sum() for r, g in zip(expected, cotangents)).backward()
    pairs = [(x, tx), *zip(state, t_state)]
    t_parameters = dict(theirs.named_parameters())
    pairs += [(parameter, t_parameters[name]) for name, parameter in ours.named_parameters()]
    for ours_, theirs_ in pairs:
        np.testing.assert_allclose(ours_.grad, theirs_.grad.numpy(), rtol=1e-9, atol=1e-11)


@each_kind
@pytest.mark.parametrize("of_last", [0, 1, 2])
def test_a_gradient_that_comes_from_one_result_only(kind, of_last):
    ours, theirs = pair(kind, 3, 4, 2)
    x = np.random.default_rng(1).standard_normal((2, 5, 3))
    results = call(ours, x, ())
    expected = call(theirs, torch.from_numpy(x), ())
    i = min(of_last, len(results) - 1)
    results[i].sum().backward()
    expected[i].sum().backward()
    for name, parameter in theirs.named_parameters():
        found = getattr(ours, name).grad
        np.testing.assert_allclose(found, parameter.grad.numpy(), rtol=1e-9, atol=1e-12)


@each_kind
def test_float32_stays_float32_and_close_to_torch(kind):
    ours, theirs = pair(kind, 6, 7, 2, np.float32)
    x = np.random.default_rng(3).standard_normal((3, 9, 6)).astype(np.float32)
    outputs, *last = call(ours, x, ())
    assert {t.array.dtype for t in (outputs, *last)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(
        outputs.array, theirs(torch.from_numpy(x))[0].detach().numpy(), atol=2e-6
    )


@each_kind
def test_reading_in_two_pieces_equals_reading_in_one(kind):
    layers, _ = pair(kind, 3, 4, 2)
    x = np.random.default_rng(1).standard_normal((2, 7, 3))
    whole, *last = call(layers, x, ())
    first, *state = call(layers, x[:, :4], ())
    second, *last_of_two = call(layers, x[:, 4:], tuple(state))
    np.testing.assert_allclose(
        np.concatenate([first.array, second.array], axis=1), whole.array, rtol=1e-13
    )
    for one, two in zip(last, last_of_two, strict=True):
        np.testing.assert_allclose(one.array, two.array, rtol=1e-13)


@each_kind
def test_runs_on_torch_arrays_as_plain_memory(kind):
    ours, theirs = pair(kind, 3, 4, 2)
    x = np.random.default_rng(1).standard_normal((2, 5, 3))
    ours.map_arrays(torch.from_numpy)
    inputs = Tensor(torch.from_numpy(x), requires_grad=True)
    outputs, _ = ours(inputs)
    g = np.random.default_rng(2).standard_normal(outputs.shape)
    outputs.backward(torch.from_numpy(g))
    tx = torch.from_numpy(x).requires_grad_()
    theirs(tx)[0].backward(torch.from_numpy(g))
    np.testing.assert_allclose(inputs.grad.numpy(), tx.grad.numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        ours.weight_hh_l0.grad.numpy(), theirs.weight_hh_l0.grad.numpy(), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("forget_bias", [1.0, 2.5, None])
def test_forget_bias_and_range_of_the_start(forget_bias):
    lstm = LSTM(5, 16, generator=np.random.default_rng(0), forget_bias=forget_bias)
    total = lstm.bias_ih_l0.array + lstm.bias_hh_l0.array
    bound = 1 / np.sqrt(16)
    if forget_bias is None:
        assert (abs(total) <= 2 * bound).all()
        assert len(np.unique(total)) == total.size
    else:
        np.testing.assert_array_equal(total[16:32], np.float32(forget_bias))
        others = np.delete(total, slice(16, 32))
        assert (abs(others) <= 2 * bound).all()
        assert others.std() > 0.3 * bound
    for name in ("weight_ih_l0", "weight_hh_l0"):
        weight = getattr(lstm, name).array
        assert weight.dtype == np.float32
        assert 0.9 * bound < abs(weight).max() <= bound


@pytest.mark.parametrize(
    ("x", "state", "message"),
    [
        (np.zeros((2, 3)), None, r"shape \(2, 3\), expected \(batch, time, 4\)"),
        (np.zeros((2, 3, 5)), None, r"expected \(batch, time, 4\)"),
        (np.zeros((2, 0, 4)), None, "at least one time step"),
        (np.zeros((2, 3, 4)), [(1, 2, 6), (1, 2, 6)], r"initial h has shape .* = \(2, 2, 6\)"),
        (np.zeros((2, 3, 4)), [(2, 2, 6), (2, 3, 6)], "initial c has shape"),
    ],
)
def test_wrong_shapes_are_refused(x, state, message):
    lstm = LSTM(4, 6, 2, generator=np.random.default_rng(0))
    lstm.astype(np.float64)
    state = state and tuple(Tensor(np.zeros(shape)) for shape in state)
    with pytest.raises(ValueError, match=message):
        lstm(x, state)


def test_a_gru_refuses_wrong_shapes_too_and_starts_like_torchs():
    gru = GRU(4, 16, 2, generator=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"GRU: the input .* expected \(batch, time, 4\)"):
        gru(np.zeros((2, 3, 5), np.float32))
    with pytest.raises(ValueError, match=r"GRU: the initial h has shape .* = \(2, 2, 16\)"):
        gru(np.zeros((2, 3, 4), np.float32), Tensor(np.zeros((1, 2, 16), np.float32)))
    for parameter in gru.parameters():
        assert 0.7 / 4 < abs(parameter.array).max() <= 1 / 4


@each_kind
@pytest.mark.parametrize("parts", [0, 1, 2, 3])
def test_a_state_of_more_or_fewer_parts_is_refused(kind, parts):
    """Parts that nobody asked for were dropped in silence."""
    layers, _ = pair(kind, 3, 4, 2)
    x, needed = np.ones((2, 5, 3)), 2 if kind == "LSTM" else 1
    state = (np.zeros((2, 2, 4)),) * parts
    if parts == needed:
        np.testing.assert_array_equal(layers(x, state)[0].array, layers(x)[0].array)
        np.testing.assert_array_equal(
            layers(x, tuple(Tensor(a) for a in state))[0].array, layers(x)[0].array
        )
        return
    with pytest.raises(ValueError, match=f"{kind}: the initial state has {parts} parts, expected"):
        layers(x, state)


def test_an_lstm_refuses_one_array_as_its_state():
    lstm, _ = pair("LSTM", 3, 4, 2)
    for state in (np.zeros((2, 2, 2, 4)), Tensor(np.zeros((2, 2, 4)))):
        with pytest.raises(ValueError, match="LSTM: the initial state has 1 parts, expected h and"):
            lstm(np.ones((2, 5, 3)), state)


@each_kind
def test_sizes_below_one_are_refused(kind):
    with pytest.raises(ValueError, match="must be 1 or more, got 3, 0 and 1"):
        KINDS[kind][0](3, 0, generator=np.random.default_rng(0))


@each_kind
def test_empty_batch_gives_empty_outputs(kind):
    layers = KINDS[kind][0](3, 4, 2, generator=np.random.default_rng(0))
    outputs, h, *_ = call(layers, np.zeros((0, 5, 3), np.float32), ())
    assert outputs.shape == (0, 5, 4)
    assert h.shape == (2, 0, 4)
