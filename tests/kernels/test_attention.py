"""Attention against NumPy float64: every feature alone and with the others, every edge."""

import math

import numpy as np
import pytest
import torch
from minissl_kernels.attention import (
    attention,
    backward,
    bias,
    forward,
    keep_mask,
    operator,
)
from minissl_kernels.attention.tiles import Blocks
from minissl_kernels.philox import philox
from torch.nn import functional as F

from tests.kernels.attention_cases import (
    DTYPES,
    Case,
    check,
    composed,
    composed_exactly,
    differentiate,
    drawn,
    exact,
    ours,
    small_blocks,
)
from tests.kernels.compare import assert_as_accurate, assert_same_sums, dot_factor, float64
from tests.kernels.cross_entropy_cases import far_apart_rows


def sdpa(case, tensors):
    """torch's own attention; it returns no log-sum-exp, so that gets no gradient."""

    def function(query, key, value, _):
        out = F.scaled_dot_product_attention(query, key, value, is_causal=case.causal)
        return out, out.new_zeros(out.shape[:3], dtype=torch.float32, requires_grad=True)

    return differentiate(function, *tensors)


@pytest.mark.parametrize(("dtype", "width", "causal"), [
    (torch.bfloat16, 64, True), (torch.bfloat16, 64, False), (torch.bfloat16, 128, True),
    (torch.float16, 64, True), (torch.float16, 128, False), (torch.float32, 64, True),
])  # fmt: skip
# These tests ask torch for determinism; its fast backwards say that they have none.
@pytest.mark.filterwarnings("ignore:.* [aA]ttention defaults to a non-deterministic algorithm")
def test_shipped_tiles_against_torch_attention(device, dtype, width, causal):
    time = 150 if dtype != torch.float32 else 70
    case = Case(1, 1, 1, time, time, width, dtype, causal)
    *tensors, lse_gradient = case.tensors(device)
    tensors = [*tensors, torch.zeros_like(lse_gradient)]
    mine, expected, theirs = (f(case, tensors) for f in (ours, exact, sdpa))
    for name, i in (("out", 0), ("query", 2), ("key", 3), ("value", 4)):
        # Both round the weights to the dtype once; torch's CPU kernel tiles differently.
        assert_as_accurate(mine[i], expected[i], theirs[i], 3.0 * dot_factor(dtype), what=name)


@pytest.mark.parametrize("number", range(40))
def test_combinations(device, monkeypatch, number):
    small_blocks(monkeypatch, query=(16, 32)[number % 2], key=(32, 16, 16)[number % 3])
    check(drawn(number), device)


@pytest.mark.parametrize("number", [2, 5, 11, 20])
def test_the_order_of_programs_does_not_matter(device, monkeypatch, reversed_programs, number):
    small_blocks(monkeypatch)
    check(drawn(number), device)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("key_time", [1, 15, 16, 17, 33])
@pytest.mark.parametrize("query_time", [1, 16, 17])
def test_tile_edges(device, monkeypatch, query_time, key_time, causal):
    small_blocks(monkeypatch)
    check(Case(1, 1, 1, query_time, key_time, causal=causal), device)


@pytest.mark.parametrize("window", [(0, 0), (5, 0), (20, None), (None, 3), (2, 30), 4, (33, 1)])
@pytest.mark.parametrize(("key_time", "causal"), [(50, False), (50, True), (60, False)])
def test_windows(device, monkeypatch, window, causal, key_time):
    small_blocks(monkeypatch)
    check(Case(1, 1, 1, 40, key_time, window=window, causal=causal), device)


@pytest.mark.parametrize("left", [0, 1, 2, 17])
def test_windows_that_end_beside_a_tile(device, monkeypatch, left):
    small_blocks(monkeypatch)
    check(Case(1, 1, 1, 40, 40, window=(left, 0)), device)


@pytest.mark.parametrize("width", [1, 8, 24, 40, 80, 96, 111, 160, 192, 256])
def test_widths(device, width):
    check(Case(1, 1, 1, 20, 37, width, torch.bfloat16 if width % 16 else torch.float16), device)


@pytest.mark.parametrize("group", [1, 2, 3])
def test_grouped_query_heads(device, monkeypatch, group):
    small_blocks(monkeypatch)
    check(Case(1 + group % 2, 2 * group, 2, 17, 20, causal=True), device)


BIAS_SHAPES = [
    (2, 3, 17, 20), (1, 3, 17, 20), (3, 17, 20), (2, 1, 17, 20), (17, 20),
    (2, 1, 1, 20), (20,), (2, 3, 17, 1), (1, 1, 17, 1), (1, 3, 1, 1), (2, 1, 1, 1), (1,), (),
]  # fmt: skip


@pytest.mark.parametrize("shape", BIAS_SHAPES)
def test_bias_of_any_broadcast_shape(device, monkeypatch, shape):
    small_blocks(monkeypatch)
    case = Case(2, 3, 3, 17, 20, bias=shape, causal=len(shape) == 3, key_lengths=[15, 20])
    # A row's gradients add up to almost nothing: what remains is rounding.
    check(case, device, factor=2.0 if len(shape) and shape[-1] > 1 else 6.0)


@pytest.mark.filterwarnings("ignore:overflow")  # lowest x log2 e is -inf, and meant to be
@pytest.mark.parametrize("hidden", ["inf", "lowest"])
def test_a_bias_can_hide_keys(device, monkeypatch, hidden):
    small_blocks(monkeypatch)
    case = Case(1, 1, 1, 20, 40, bias=(20, 40), key_lengths=[25])
    tensors = list(case.tensors(device))
    tensors[3] = torch.zeros_like(tensors[3])
    tensors[3][:, 25:] = 1.0  # beyond the key lengths: does not matter
    hiding = Case(1, 1, 1, 20, 40, bias=(20, 40))
    masked = list(tensors)
    low = -math.inf if hidden == "inf" else torch.finfo(torch.float32).min
    masked[3] = tensors[3].masked_fill(torch.arange(40, device=device) >= 25, low)
    masked[3][3] = low  # one query sees nothing
    mine, expected = ours(hiding, masked), exact(case, tensors)
    assert mine[0][0, 0, 3].eq(0).all()
    assert mine[1][0, 0, 3] == -math.inf
    others = [i for i in range(20) if i != 3]
    close = dot_factor(torch.float32) * 1e-6
    for a, b in zip(mine[:2], expected):
        a, b = float64(a)[:, :, others], b[:, :, others]
        np.testing.assert_allclose(a, b, rtol=10 * close, atol=close)
    assert all(torch.isfinite(gradient).all() for gradient in mine[2:])
    assert mine[2][0, 0, 3].eq(0).all()
    assert mine[3][0, 0, 25:].eq(0).all()


@pytest.mark.parametrize("seed", [0, 1, 2**31 + 3, 2**40 + 17])
@pytest.mark.parametrize("probability", [0.1, 0.75])
def test_dropout_is_numpys_philox_bit_for_bit(device, monkeypatch, seed, probability):
    small_blocks(monkeypatch)
    query = torch.zeros(2, 2, 20, 30, device=device)  # every weight is 1/30
    value = torch.eye(30, device=device).expand(2, 2, 30, 30)
    out = attention(query, torch.zeros_like(value), value, dropout=probability, seed=seed)
    mask = keep_mask((2, 2, 20, 30), probability, seed)
    assert np.array_equal(float64(out) != 0, mask)
    np.testing.assert_allclose(float64(out)[mask], 1 / 30 / (1 - probability), rtol=1e-6)


def test_four_neighbouring_keys_share_a_call_of_philox():
    mask = keep_mask((2, 3, 5, 11), 0.5, seed=7)
    bits = philox(7, 8 // 4, 4, 1 * 3 + 2, 0)  # from key 8 on: query 4, example 1, head 2
    assert np.array_equal(mask[1, 2, 4, 8:], bits[:3] >= 2**31)


@pytest.mark.parametrize("turn", range(3))
def test_every_kernel_drops_the_same_weights(device, monkeypatch, turn):
    """Whatever its tiles: each of the four kernels has others."""
    small_blocks(monkeypatch)
    shapes = [(16, 16), (16, 32), (32, 16), (32, 32)]
    kernels = [
        (forward, "configuration"),
        (bias, "configuration"),
        (backward, "query_configuration"),
        (backward, "key_value_configuration"),
    ]
    for number, (module, name) in enumerate(kernels):
        blocks = Blocks(*shapes[(number + turn) % 4], warps=4, stages=1)
        monkeypatch.setattr(module, name, lambda *_, blocks=blocks: blocks)
    check(Case(2, 4, 2, 45, 70, bias=(4, 45, 70), dropout=0.4, seed=2**35 + 3), device)


def test_seeds(device):
    """A seed in a tensor is the seed; without one, torch's generator is asked."""
    query, key, value, *_ = Case().tensors(device)

    def run(seed):
        return attention(query, key, value, dropout=0.5, seed=seed)

    assert torch.equal(run(7), run(torch.tensor([7], device=device)))
    assert not torch.equal(run(7), run(8))
    torch.manual_seed(3)
    first, second = run(None), run(None)
    torch.manual_seed(3)
    assert torch.equal(first, run(None))
    assert not torch.equal(first, second)


def test_padding_is_never_read(device, monkeypatch):
    """NaN in the keys and values beyond an example's length reaches nothing."""
    small_blocks(monkeypatch, key=32)
    case = Case(3, 2, 1, 20, 40, key_lengths=[40, 19, 0], bias=(1, 2, 20, 40), alibi=True)
    tensors = case.tensors(device)
    expected = check(case, device, tensors)
    spoiled = [t if t is None else t.clone() for t in tensors]
    for tensor in spoiled[1:3]:
        tensor[1, :, 19:] = math.nan
        tensor[2] = math.nan
    for a, b in zip(ours(case, spoiled), expected):
        assert torch.equal(a, b)


@pytest.mark.parametrize("case", [
    Case(query_time=40, key_time=17, causal=True),
    Case(batch=2, key_lengths=[0, 5], causal=True),
    Case(query_time=50, key_time=50, window=(3, 3), key_lengths=[20]),
])  # fmt: skip
def test_queries_that_see_no_key(device, monkeypatch, case):
    small_blocks(monkeypatch)
    tensors = list(case.tensors(device))
    mine = check(case, device, tensors)
    empty = torch.isneginf(mine[1])
    assert empty.any()
    assert mine[0][empty].eq(0).all()
    assert mine[2][empty].eq(0).all()
    tensors[5] = tensors[5].masked_fill(empty, math.nan)  # what exp(-inf) of a user may give
    for a, b in zip(ours(case, tensors), mine):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_huge_scores(device, monkeypatch, dtype):
    """Scores of ±10,000: one key takes all. Nothing overflows."""
    small_blocks(monkeypatch)
    case = Case(1, 1, 1, 20, 40, dtype=dtype, causal=True)
    scale = 50 if dtype == torch.float16 else 100
    query, key, *others = case.tensors(device)
    check(case, device, (scale * query, scale * key, *others), factor=3.0)


def test_all_scores_far_below_zero(device, monkeypatch):
    """A running maximum that starts at 0 would lose them all."""
    small_blocks(monkeypatch)
    case = Case(query_time=20, key_time=40)
    query, key, *others = case.tensors(device)
    check(case, device, (query.abs() * 8, -key.abs() * 8, *others), factor=5.0)


@pytest.mark.parametrize(("query_time", "key_time", "batch"), [(5, 7, 0), (0, 7, 2), (5, 0, 2)])
@pytest.mark.parametrize("causal", [False, True])
def test_nothing_to_do(device, query_time, key_time, batch, causal):
    case = Case(batch, 2, 1, query_time, key_time, bias=(query_time, key_time), causal=causal)
    out, lse, *gradients = ours(case, case.tensors(device))
    assert out.shape == (batch, 2, query_time, 16)
    assert out.eq(0).all()
    assert lse.shape == (batch, 2, query_time)
    assert torch.isneginf(lse).all()
    assert all(gradient.eq(0).all() for gradient in gradients)


def test_fully_masked_call(device):
    """Longer queries than keys under a causal mask, all examples empty."""
    case = Case(2, 1, 1, 20, 20, key_lengths=[0, 0])
    assert all(t.eq(0).all() for t in ours(case, case.tensors(device))[2:])


def views(tensor):
    """The same numbers in other memory: transposed, packed, misaligned, and strided."""
    transposed = tensor.transpose(1, 2).contiguous().transpose(1, 2)
    packed = torch.stack([tensor.transpose(1, 2)] * 3, 2)[:, :, 1].transpose(1, 2)
    odd = torch.empty(tensor.numel() + 1, dtype=tensor.dtype, device=tensor.device)[1:]
    misaligned = odd.view(tensor.shape).copy_(tensor)
    strided = tensor.mT.contiguous().mT
    return {"transposed": transposed, "packed": packed, "odd": misaligned, "strided": strided}


@pytest.mark.parametrize("kind", ["transposed", "packed", "odd", "strided"])
def test_any_strides(device, monkeypatch, kind):
    small_blocks(monkeypatch)
    case = Case(1, 2, 2, 17, 20, 24, torch.bfloat16, causal=True, bias=(2, 17, 20))
    tensors = case.tensors(device)
    plain = ours(case, tensors)
    viewed = [views(t)[kind] for t in tensors[:3]]
    bias = torch.empty(2, 20, 17, dtype=torch.bfloat16, device=device).mT.copy_(tensors[3])
    others = (bias, views(tensors[4])[kind], tensors[5])
    for a, b in zip(ours(case, (*viewed, *others)), plain):
        assert_same_sums(a, b)
    copied = [a.data_ptr() != b.data_ptr() for a, b in zip(operator._rows(*viewed), viewed)]
    assert all(copied) if kind == "strided" else not any(copied)


def test_rows_that_lie_far_apart(device):
    """Rows 2^25 elements apart, of which the 64th is 2^31 away: 32 bits cannot count so far."""
    case = Case(1, 1, 1, 65, 65, 16, torch.float16)
    *near, lse = case.tensors(device)
    far = far_apart_rows(65, 64, 2**25, torch.float16, device).split(16, dim=1)
    tensors = [None if t is None else f[None, None].copy_(t) for f, t in zip(far, near[:3])]
    cotangent = far[3][None, None].copy_(near[4])
    for a, b in zip(ours(case, (*tensors, None, cotangent, lse)), ours(case, (*near, lse))):
        assert torch.equal(a, b)


def test_the_output_lies_as_the_query_does(device):
    query = torch.randn(2, 20, 3, 16, device=device).transpose(1, 2).requires_grad_()
    out = attention(query, query, query)
    assert out.transpose(1, 2).is_contiguous()
    (gradient,) = torch.autograd.grad(out, query, torch.randn_like(out))
    assert gradient.shape == query.shape


def test_expanded_cotangent(device):
    """out.sum() hands over a cotangent without memory of its own."""
    case = Case()
    *tensors, lse = case.tensors(device)
    tensors[4] = torch.ones((), device=device).expand(tensors[4].shape)
    check(case, device, (*tensors, lse))


def test_only_the_output_or_only_the_lse(device):
    case = Case(bias=(2, 33, 33))
    query, key, value, bias, out, lse = case.tensors(device)
    leaves = [t.requires_grad_() for t in (query, key, value, bias)]
    for chosen in (0, 1):
        results = attention(*leaves[:3], bias=leaves[3], return_lse=True)
        g = (out, lse)[chosen]
        mine = torch.autograd.grad(results[chosen], leaves, g, materialize_grads=True)
        cotangents = (out, torch.zeros_like(lse)) if chosen == 0 else (torch.zeros_like(out), lse)
        expected = exact(case, (query, key, value, bias, *cotangents))[2:]
        theirs = composed(case, (query, key, value, bias, *cotangents))[2:]
        for a, b, c in zip(mine, expected, theirs):
            assert_as_accurate(a, b, c, factor=4.0 * dot_factor(case.dtype))
    with torch.no_grad():
        assert not attention(*leaves[:3]).requires_grad


def test_parts_join_by_their_lse(device):
    """Attention to two halves of the keys, weighted by exp(lse): the step of ring attention."""
    case = Case(1, 2, 2, 20, 40)
    tensors = case.tensors(device)

    def in_parts(query, key, value, _):
        parts = [
            attention(query, key[:, :, part], value[:, :, part], return_lse=True)
            for part in (slice(0, 24), slice(24, 40))
        ]
        total = torch.logaddexp(parts[0][1], parts[1][1])
        return sum(out * (lse - total).exp()[..., None] for out, lse in parts), total

    mine, expected = differentiate(in_parts, *tensors), exact(case, tensors)
    for a, b, c in zip(mine, expected, composed(case, tensors)):
        assert_as_accurate(a, b, c, factor=3.0 * dot_factor(case.dtype))


def test_twice_the_same_bits(device, monkeypatch):
    small_blocks(monkeypatch)
    case = drawn(20)
    case.bias, case.dropout = (1, case.heads, case.query_time, case.key_time), 0.2
    tensors = case.tensors(device)
    leaves = [t.detach().requires_grad_() for t in tensors[:4]]
    settings = case.settings(device)
    results = attention(*leaves[:3], bias=leaves[3], return_lse=True, **settings)
    first = torch.autograd.grad(results, leaves, tensors[4:], retain_graph=True)
    second = torch.autograd.grad(results, leaves, tensors[4:])
    again = ours(case, tensors)[2:]
    for a, b, c in zip(first, second, again):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_inputs_are_left_alone(device):
    case = Case(dropout=0.2, bias=(33, 33))
    tensors = case.tensors(device)
    before = [t.clone() for t in tensors]
    ours(case, tensors)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before))


def test_the_two_oracles_agree():
    """Where rows are long, torch's float64 stands for NumPy's."""
    case = Case(2, 4, 2, 9, 20, causal=True)
    tensors = case.tensors("cpu")
    for a, b in zip(exact(case, tensors), composed_exactly(case, tensors)):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


REAL = [(torch.bfloat16, 64), (torch.bfloat16, 128), (torch.float16, 96), (torch.float32, 64)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("dtype", "width"), REAL)
@pytest.mark.parametrize("time", [(1000, 1000), (129, 2049), (2048, 2048)])
def test_compiled_kernels_at_real_sizes(gpu_only, dtype, width, causal, time):
    case = Case(2, 4, 2, *time, width, dtype, causal)
    check(case, gpu_only, factor=2.5, exact=composed_exactly)
