"""Fused attention against its composition, torch and finite differences."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minissl.autograd import Tensor, composed, fused, gradcheck
from tests.autograd.compare import assert_close, ours, torchs
from tests.autograd.fused_checks import check, draw, runs_on_torch_arrays


def torch_attention(causal=False, key_lengths=None, scale=None, kept=None, dropout=0.0):
    """Written with torch's softmax and matmul; a query that sees nothing gives zeros."""

    def attention(query, key, value):
        scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        allowed = torch.ones(scores.shape, dtype=torch.bool)
        rows, columns = scores.shape[-2:]
        if causal:
            allowed &= torch.ones(rows, columns, dtype=torch.bool).tril(columns - rows)
        if key_lengths is not None:
            allowed &= torch.arange(columns) < torch.tensor(key_lengths)[:, None, None, None]
        weights = scores.masked_fill(~allowed, -1e300 if scores.dtype == torch.float64 else -1e38)
        weights = weights.softmax(-1) * allowed
        if kept is not None:
            weights = weights * torch.tensor(kept) / (1 - dropout)
        return weights @ value

    return attention


SIZES = [  # batch, heads, query_time, key_time, head_dim, value_dim
    (2, 3, 5, 5, 4, 4),
    (1, 1, 1, 1, 1, 1),
    (2, 2, 3, 7, 5, 2),
    (2, 2, 7, 3, 4, 4),
    (3, 1, 1, 6, 8, 8),
]


def attention_inputs(batch, heads, query_time, key_time, head_dim, value_dim, seed=0):
    return [
        draw(batch, heads, query_time, head_dim, seed=seed),
        draw(batch, heads, key_time, head_dim, seed=seed + 1),
        draw(batch, heads, key_time, value_dim, seed=seed + 2),
    ]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [None, "some"])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_attention(sizes, causal, lengths, scale):
    inputs = attention_inputs(*sizes)
    key_lengths = None
    if lengths:  # the first example has no keys at all, the last has all
        key_lengths = np.linspace(0, sizes[3], sizes[0]).astype(np.int64)
    options = {"causal": causal, "key_lengths": key_lengths, "scale": scale}
    check(
        lambda *t: fused.attention(*t, **options),
        lambda *t: composed.attention(*t, **options),
        torch_attention(causal, key_lengths, scale),
        inputs,
    )
    runs_on_torch_arrays(lambda *t: fused.attention(*t, **options), inputs)
    gradcheck(lambda *t: fused.attention(*t, **options), inputs, directions=1)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_torchs_own(causal):
    inputs = attention_inputs(2, 3, 6, 6, 4, 4)
    cotangent = draw(2, 3, 6, 4, seed=8)
    output, gradients = ours(lambda *t: fused.attention(*t, causal=causal), inputs, cotangent)
    exact, exact_gradients = torchs(
        lambda *t: F.scaled_dot_product_attention(*t, is_causal=causal), inputs, cotangent
    )
    assert_close(output, exact, bits=6)
    for gradient, exact_gradient in zip(gradients, exact_gradients, strict=True):
        assert_close(gradient, exact_gradient, bits=6)


def test_causal_attention_is_aligned_at_the_last_key():
    """Two queries after five keys: the last sees all, the one before it all but one."""
    query, key, value = attention_inputs(1, 1, 7, 7, 4, 4)
    all_of_them = fused.attention(query, key, value, causal=True).array
    last_two = fused.attention(query[:, :, -2:], key, value, causal=True).array
    assert_close(last_two, all_of_them[:, :, -2:])
    none = fused.attention(query, key[:, :, :3], value[:, :, :3], causal=True).array
    assert not none[:, :, :4].any(), "the first four of seven queries stand before three keys"
    assert none[:, :, 4:].all()


def test_queries_that_see_nothing_send_no_gradient():
    inputs = attention_inputs(2, 1, 3, 4, 4, 4)
    output, gradients = ours(
        lambda *t: fused.attention(*t, key_lengths=[0, 2]), inputs, draw(2, 1, 3, 4, seed=9)
    )
    assert not output[0].any()
    for gradient in gradients:
        assert not gradient[0].any()
        assert gradient[1].any()
    assert not gradients[1][1, :, 2:].any(), "padding gets no gradient"
    assert not gradients[2][1, :, 2:].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_attention_with_huge_scores(dtype):
    query, key, value = (a.astype(dtype) for a in attention_inputs(1, 2, 4, 4, 4, 4))
    output, gradients = ours(
        lambda *t: fused.attention(*t, causal=True, scale=1e4),
        [query, key, value],
        draw(1, 2, 4, 4).astype(dtype),
    )
    assert np.isfinite(output).all()
    assert all(np.isfinite(g).all() for g in gradients)
    best = np.argmax(np.where(np.tril(np.ones((4, 4))), query @ key.mT, -np.inf), axis=-1)
    np.testing.assert_allclose(
        output, np.take_along_axis(value, best[..., None], axis=2), rtol=1e-3
    )


@pytest.mark.parametrize("options", [{}, {"causal": True, "key_lengths": [3, 5]}])
def test_attention_dropout(options):
    inputs = attention_inputs(2, 3, 5, 5, 4, 4)
    kept = composed.dropout_mask((2, 3, 5, 5), 0.3, 7)
    check(
        lambda *t: fused.attention(*t, dropout=0.3, seed=7, **options),
        lambda *t: composed.attention(*t, dropout=0.3, seed=7, **options),
        torch_attention(**options, kept=kept, dropout=0.3),
        inputs,
    )
    gradcheck(lambda *t: fused.attention(*t, dropout=0.3, seed=7, **options), inputs)


def test_dropout_statistics_and_seeds():
    """Values of one: the output is the sum of the kept weights, 1 on average."""
    query, key = draw(4, 8, 64, 4), draw(4, 8, 64, 4, seed=1)
    value = np.ones((4, 8, 64, 1))

    def attend(seed, dropout=0.25):
        return fused.attention(query, key, value, dropout=dropout, seed=seed).array

    first = attend(1)
    np.testing.assert_array_equal(first, attend(1))
    assert (first != attend(2)).any()
    assert abs(first.mean() - 1) < 0.02
    mask = composed.dropout_mask((100, 1000), 0.25, 3)
    assert abs(mask.mean() - 0.75) < 5 * math.sqrt(0.25 * 0.75 / 1e5)
    assert (
        fused.attention(
            *[a.astype(np.float32) for a in (query, key, value)], dropout=np.float64(0.25), seed=1
        ).dtype
        == np.float32
    )


@pytest.mark.parametrize("seed", [0, 7])
def test_queries_drop_other_keys_where_a_later_key_is_not_finite(seed):
    """Query by query: were one mask taken for all, a position would be dropped in each or none."""
    x = np.zeros((1, 1, 65, 1))
    value = np.ones((1, 1, 65, 1))
    value[0, 0, -1] = np.nan
    output = fused.attention(x, x, value, causal=True, dropout=0.5, seed=seed).array[0, 0, 1:-1, 0]
    weights = np.rint(output * np.arange(2, 65) / 2)  # how many of its keys each query keeps
    assert np.isin(np.diff(weights), [-1, 0, 1]).mean() < 0.9


def test_attention_on_head_split_views_and_its_memory_order():
    batch, time, heads, dim = 2, 5, 3, 4
    joined = draw(batch, time, 3 * heads * dim).astype(np.float32)
    x = Tensor(joined, requires_grad=True)
    parts = [
        x[..., i * heads * dim : (i + 1) * heads * dim]
        .reshape(batch, time, heads, dim)
        .permute_dims(0, 2, 1, 3)
        for i in range(3)
    ]
    output = fused.attention(*parts, causal=True)
    straight = fused.attention(*[np.ascontiguousarray(p.array) for p in parts], causal=True)
    np.testing.assert_allclose(output.array, straight.array, rtol=1e-6, atol=1e-7)
    merged = output.permute_dims(0, 2, 1, 3).reshape(batch, time, heads * dim)
    assert np.shares_memory(merged.array, output.array), "joining the heads must not copy"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"query": draw(2, 3, 4)}, "four axes"),
        ({"key": draw(1, 3, 5, 4)}, "batch and heads must agree"),
        ({"key": draw(2, 3, 5, 2)}, "head_dim"),
        ({"value": draw(2, 3, 4, 4)}, "key and value in time"),
        ({"dropout": 0.5}, "needs a seed"),
        ({"dropout": 1.0, "seed": 1}, r"\[0, 1\)"),
        ({"dropout": -0.1, "seed": 1}, r"\[0, 1\)"),
        ({"key_lengths": [1, 2, 3]}, "must be 2 integers"),
        ({"key_lengths": [1.0, 2.0]}, "must be 2 integers"),
    ],
)
def test_attention_errors(change, words):
    arguments = dict(zip(("query", "key", "value"), attention_inputs(2, 3, 5, 5, 4, 4))) | change
    with pytest.raises(ValueError, match=words):
        fused.attention(**arguments)


def torch_self_attention(num_heads, **options):
    def attend(qkv):
        batch, time, width = qkv.shape
        heads = (batch, time, num_heads, width // (3 * num_heads))
        parts = (x.reshape(heads).transpose(1, 2) for x in qkv.chunk(3, dim=2))
        mixed = torch_attention(**options)(*parts)
        return mixed.transpose(1, 2).reshape(batch, time, width // 3)

    return attend


@pytest.mark.parametrize("size", [(2, 5, 3, 4), (1, 1, 1, 1), (3, 70, 2, 3), (0, 4, 2, 2)], ids=str)
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"key_lengths": "some"}], ids=str)
def test_self_attention(size, options):
    batch, time, num_heads, dim = size
    if "key_lengths" in options:
        options = {"key_lengths": np.linspace(0, time, batch).astype(np.int64)}
    qkv = draw(batch, time, 3 * num_heads * dim)
    check(
        lambda x: fused.self_attention(x, num_heads, **options),
        lambda x: composed.self_attention(x, num_heads, **options),
        torch_self_attention(num_heads, **options),
        [qkv],
    )
    runs_on_torch_arrays(lambda x: fused.self_attention(x, num_heads, **options), [qkv])


def test_self_attention_with_dropout_is_attention_of_its_three_parts():
    qkv = draw(2, 6, 24)
    parts = [x.reshape(2, 6, 2, 4).transpose(0, 2, 1, 3) for x in np.split(qkv, 3, axis=2)]
    settings = {"dropout": 0.4, "seed": 3, "causal": True, "scale": 0.3}
    expected = fused.attention(*parts, **settings).array.transpose(0, 2, 1, 3).reshape(2, 6, 8)
    assert_close(fused.self_attention(qkv, 2, **settings).array, expected)
    gradcheck(lambda x: fused.self_attention(x, 2, **settings), [qkv])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_self_attention_hides_what_is_masked_and_shows_what_is_not(bad):
    qkv = draw(2, 5, 24)
    qkv[0, 3] = bad
    with np.errstate(invalid="ignore"):
        y = fused.self_attention(qkv, 2, causal=True).array
        hidden = fused.self_attention(qkv, 2, key_lengths=[3, 5]).array
    assert np.isfinite(y[0, :3]).all()
    assert np.isnan(y[0, 3:]).all()
    assert np.isfinite(y[1]).all()
    assert np.isfinite(hidden[0, :3]).all()
    assert np.isfinite(hidden[1]).all()


def test_self_attention_where_only_the_sum_is_too_large():
    qkv = np.zeros((1, 2, 6), np.float32)
    qkv[..., 4:] = 3e38
    np.testing.assert_allclose(fused.self_attention(qkv, 1).array, qkv[..., 4:])


@pytest.mark.parametrize(("shape", "heads"), [((2, 3, 10), 2), ((2, 12), 2), ((2, 3, 12), 0)])
def test_self_attention_of_a_width_that_heads_cannot_share(shape, heads):
    with pytest.raises(ValueError, match="3 width"):
        fused.self_attention(np.zeros(shape), heads)
    with pytest.raises(ValueError, match="dropout"):
        fused.self_attention(np.zeros((1, 1, 3)), 1, dropout=0.5)
    with pytest.raises(ValueError, match="key_lengths"):
        fused.self_attention(np.zeros((1, 1, 3)), 1, key_lengths=[1, 1])
