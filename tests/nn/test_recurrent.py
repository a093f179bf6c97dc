"""The LSTM against torch.nn.LSTM with the same weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minissl.autograd import Tensor
from minissl.nn.recurrent import LSTM


def pair(input_size, hidden_size, num_layers, dtype=np.float64, seed=0):
    """Our LSTM and torch's, with the same weights."""
    ours = LSTM(input_size, hidden_size, num_layers, generator=np.random.default_rng(seed))
    ours.astype(dtype)
    theirs = torch.nn.LSTM(
        input_size,
        hidden_size,
        num_layers,
        batch_first=True,
        dtype=torch.float64 if dtype == np.float64 else torch.float32,
    )
    assert dict(theirs.named_parameters()).keys() == dict(ours.named_parameters()).keys()
    theirs.load_state_dict({n: torch.from_numpy(a) for n, a in ours.state_dict().items()})
    return ours, theirs


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 4),
    time=st.integers(1, 6),
    input_size=st.integers(1, 5),
    hidden_size=st.integers(1, 5),
    num_layers=st.integers(1, 3),
    with_state=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_equals_torch_forward_and_every_gradient(
    batch, time, input_size, hidden_size, num_layers, with_state, seed
):
    ours, theirs = pair(input_size, hidden_size, num_layers, seed=seed)
    rng = np.random.default_rng(seed + 1)
    arrays = [
        rng.standard_normal((batch, time, input_size)),
        rng.standard_normal((num_layers, batch, hidden_size)),
        rng.standard_normal((num_layers, batch, hidden_size)),
    ]
    x, h, c = (Tensor(a, requires_grad=True) for a in arrays)
    tx, th, tc = (torch.from_numpy(a).requires_grad_() for a in arrays)
    outputs, (last_h, last_c) = ours(x, (h, c) if with_state else None)
    t_outputs, (t_last_h, t_last_c) = theirs(tx, (th, tc) if with_state else None)
    results = [outputs, last_h, last_c]
    expected = [t_outputs, t_last_h, t_last_c]
    for ours_, theirs_ in zip(results, expected):
        np.testing.assert_allclose(ours_.array, theirs_.detach().numpy(), rtol=1e-12, atol=1e-13)

    cotangents = [rng.standard_normal(result.shape) for result in results]
    sum(((r * g).sum() for r, g in zip(results, cotangents)), start=Tensor(np.zeros(()))).backward()
    sum((r * torch.from_numpy(g)).sum() for r, g in zip(expected, cotangents)).backward()
    pairs = [(x, tx), *((h, th), (c, tc))] if with_state else [(x, tx)]
    t_parameters = dict(theirs.named_parameters())
    pairs += [(parameter, t_parameters[name]) for name, parameter in ours.named_parameters()]
    for ours_, theirs_ in pairs:
        np.testing.assert_allclose(ours_.grad, theirs_.grad.numpy(), rtol=1e-9, atol=1e-11)


def test_float32_stays_float32_and_close_to_torch():
    ours, theirs = pair(6, 7, 2, np.float32)
    x = np.random.default_rng(3).standard_normal((3, 9, 6)).astype(np.float32)
    outputs, (h, c) = ours(x)
    assert {t.array.dtype for t in (outputs, h, c)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(
        outputs.array, theirs(torch.from_numpy(x))[0].detach().numpy(), atol=2e-6
    )


def test_reading_in_two_pieces_equals_reading_in_one():
    lstm = LSTM(3, 4, 2, generator=np.random.default_rng(0))
    lstm.astype(np.float64)
    x = np.random.default_rng(1).standard_normal((2, 7, 3))
    whole, (h, c) = lstm(x)
    first, state = lstm(x[:, :4])
    second, (h2, c2) = lstm(x[:, 4:], state)
    np.testing.assert_allclose(
        np.concatenate([first.array, second.array], axis=1), whole.array, rtol=1e-13
    )
    np.testing.assert_allclose([h2.array, c2.array], [h.array, c.array], rtol=1e-13)


def test_runs_on_torch_arrays_as_plain_memory():
    ours, theirs = pair(3, 4, 2)
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


def test_sizes_below_one_are_refused():
    with pytest.raises(ValueError, match="must be 1 or more, got 3, 0 and 1"):
        LSTM(3, 0, generator=np.random.default_rng(0))


def test_empty_batch_gives_empty_outputs():
    outputs, (h, _) = LSTM(3, 4, 2, generator=np.random.default_rng(0))(
        np.zeros((0, 5, 3), np.float32)
    )
    assert outputs.shape == (0, 5, 4)
    assert h.shape == (2, 0, 4)
