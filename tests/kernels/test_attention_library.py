"""The reference itself, the torch.library contract, and every error message."""

import math

import numpy as np
import pytest
import torch
from minissl_kernels.attention import attention, keep_mask, reference

from tests.kernels.attention_cases import Case, composed, drawn, exact, small_blocks
from tests.kernels.compare import float64


@pytest.mark.parametrize("number", range(8))
def test_reference_against_torch_autograd(number):
    case = drawn(number)
    tensors = [None if t is None else t.double() for t in case.tensors("cpu")]
    expected = exact(case, tensors)
    expected[1] = np.where(np.isneginf(expected[1]), 0, expected[1])
    for a, b in zip(composed(case, tensors), expected):
        np.testing.assert_allclose(float64(a), b, rtol=1e-9, atol=1e-11)


def test_reference_against_finite_differences():
    """A step in a random direction of everything changes the loss as the gradients say."""
    case = Case(2, 4, 2, 6, 9, 5, causal=True, window=(4, None), bias=(4, 6, 9), alibi=True,
                dropout=0.3, key_lengths=[9, 7])  # fmt: skip
    *inputs, out, lse = (float64(t) for t in case.tensors("cpu"))
    scale, seen, slopes, mask = case.exact_terms()

    def loss(query, key, value, bias):
        result = reference.forward(query, key, value, scale, seen, bias, slopes, mask)
        return (result[0] * out).sum() + (result[1] * lse).sum()

    query, key, value, bias = inputs
    gradients = reference.backward(out, lse, query, key, value, scale, seen, bias, slopes, mask)
    rng = np.random.default_rng(0)
    directions = [rng.standard_normal(x.shape) for x in inputs]
    step = 1e-5
    ahead = loss(*(x + step * d for x, d in zip(inputs, directions)))
    behind = loss(*(x - step * d for x, d in zip(inputs, directions)))
    slope = sum((g * d).sum() for g, d in zip(gradients, directions))
    np.testing.assert_allclose((ahead - behind) / (2 * step), slope, rtol=1e-7)


def test_keep_mask_keeps_the_fraction():
    mask = keep_mask((2, 3, 64, 64), 0.25, seed=9)
    assert abs(mask.mean() - 0.75) < 0.01
    assert (mask[0, 0] != mask[0, 1]).any()
    assert (mask[0, 0] != mask[1, 0]).any()
    assert keep_mask((1, 1, 4, 4), 0.0, seed=9).all()


def operands(case, device, seed=True):
    """The positional arguments of the operator."""
    query, key, value, bias, *_ = case.tensors(device)
    leaves = [t if t is None else t.requires_grad_() for t in (query, key, value, bias)]
    settings = case.settings(device)
    slopes = settings["alibi_slopes"]
    return (
        *leaves,
        settings["key_lengths"],
        None if slopes is None else slopes.float(),
        torch.tensor([5], device=device) if case.dropout else None,
        *case.limits(),
        case.dropout,
        0.25,
    )


@pytest.mark.parametrize("case", [
    Case(1, 2, 1, 17, 20),
    Case(2, 2, 1, 17, 20, causal=True, window=(4, 0), bias=(2, 17, 20), alibi=True, dropout=0.5,
         key_lengths=[20, 3]),
])  # fmt: skip
def test_opcheck(device, monkeypatch, case):
    small_blocks(monkeypatch)
    torch.library.opcheck(torch.ops.minissl.attention, operands(case, device))


@pytest.mark.parametrize("transposed", [False, True])
def test_torch_compile(device, monkeypatch, transposed):
    small_blocks(monkeypatch)
    case = Case(2, 2, 1, 17, 20, causal=True, key_lengths=[20, 3], bias=(17, 20), dropout=0.5)
    query, key, value, bias, out, lse = case.tensors(device)
    if transposed:
        query = query.transpose(1, 2).contiguous().transpose(1, 2)
    settings = case.settings(device)

    def step(query, key, value, bias):
        result, sums = attention(query, key, value, bias=bias, return_lse=True, **settings)
        return 2 * result, sums

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    results = []
    for function in (step, compiled):
        leaves = [t.detach().requires_grad_() for t in (query, key, value, bias)]
        values = function(*leaves)
        results.append([*values, *torch.autograd.grad(values, leaves, (out, lse))])
    for a, b in zip(*results):
        assert torch.equal(a, b)
        assert a.stride() == b.stride()


def test_torch_compile_draws_a_seed(device):
    query, key, value, *_ = Case(1, 1, 1, 5, 5).tensors(device)

    def step(query):
        return attention(query, key, value, dropout=0.5)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert compiled(query).shape == query.shape


def good(**changes):
    tensors = {name: torch.zeros(2, 4, 5, 16) for name in ("query", "key", "value")}
    return {**tensors, **changes}


@pytest.mark.parametrize(("changes", "error", "message"), [
    ({"query": torch.zeros(4, 5, 16)}, ValueError, "query must have 4 axes"),
    ({"key": torch.zeros(2, 4, 5, 8)}, ValueError, "key must have shape"),
    ({"value": torch.zeros(2, 4, 6, 16)}, ValueError, "value must have shape"),
    ({"key": torch.zeros(1, 4, 5, 16)}, ValueError, "key must have shape"),
    ({"key": torch.zeros(2, 3, 5, 16), "value": torch.zeros(2, 3, 5, 16)},
     ValueError, "multiple of the key's, got 4 and 3"),
    ({n: torch.zeros(2, 4, 5, 300) for n in ("query", "key", "value")}, ValueError, "1 to 256"),
    ({"value": torch.zeros(2, 4, 5, 16, dtype=torch.float16)}, TypeError, "value torch.float16"),
    ({n: torch.zeros(2, 4, 5, 16).double() for n in ("query", "key", "value")},
     TypeError, "expected float32, float16 or bfloat16"),
    ({"key_lengths": torch.zeros(3, dtype=torch.int64)}, ValueError, "key_lengths must have shape"),
    ({"key_lengths": torch.zeros(2)}, TypeError, "int32 or int64"),
    ({"key_lengths": torch.tensor([5, 6])}, IndexError, "key length 6 is not in 0 to 5"),
    ({"key_lengths": torch.tensor([-1, 5])}, IndexError, "key length -1 is not in 0 to 5"),
    ({"bias": torch.zeros(3, 5, 5)}, ValueError, "bias must broadcast"),
    ({"bias": torch.zeros(1, 1, 1, 5, 5)}, ValueError, "bias must broadcast"),
    ({"bias": torch.zeros(5, 5, dtype=torch.float16)}, TypeError, "bias must be float32"),
    ({"alibi_slopes": torch.zeros(3)}, ValueError, "alibi_slopes must have shape"),
    ({"alibi_slopes": torch.zeros(4, requires_grad=True)}, ValueError, "have no gradient"),
    ({"dropout": 1.0}, ValueError, "dropout must be in"),
    ({"dropout": -0.1}, ValueError, "dropout must be in"),
    ({"dropout": 0.5, "seed": torch.zeros(2, dtype=torch.int64)}, TypeError, "one int64"),
    ({"window": (-1, 2)}, ValueError, "a window reaches 0 or more"),
    ({"window": -3}, ValueError, "a window reaches 0 or more"),
    ({"scale": 0.0}, ValueError, "scale must be positive"),
    ({"scale": -1.0}, ValueError, "scale must be positive"),
    ({"scale": math.nan}, ValueError, "scale must be positive"),
    ({"key": torch.zeros(2, 4, 5, 16, device="meta")}, RuntimeError, "must be on one device"),
])  # fmt: skip
def test_errors_say_what_is_wrong(changes, error, message):
    with pytest.raises(error, match=message):
        attention(**good(**changes))
