"""The engine's fused operations through the kernels, against float64 NumPy.

Without a GPU the kernels are interpreted, on torch arrays; the same tests run on one with
``pytest -m gpu``. That the kernels are right is tested in tests/kernels; here, that the engine
hands them the right arrays and gives their gradients to the right inputs.
"""

import numpy as np
import pytest
import torch
from minissl_kernels.launch import interpreted

from minissl.autograd import Tensor, composed, fused
from minissl.autograd.devices import device_of, move
from minissl.autograd.fused import gpu
from tests.kernels import bfloat16, quick_interpreter
from tests.kernels.compare import dot_factor

pytestmark = pytest.mark.gpu
DTYPES = ["float32", "float16", "bfloat16"]
FACTORS = {dtype: 3.0 * dot_factor(getattr(torch, dtype)) for dtype in DTYPES}  # with tl.dot

if interpreted():
    bfloat16.install()
    quick_interpreter.install()


@pytest.fixture
def device():
    return "torch" if interpreted() else "cuda:0"


def value_and_gradients(function, arrays, cotangent):
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    result = function(*tensors)
    result.backward(cotangent)
    return result, [tensor.grad for tensor in tensors]


def check(function, arrays, device, dtype="float32", factor=3.0):
    """As near to float64 as the composition is in the same dtype, for the value and all gradients.

    ``function(fused_or_composed, *tensors)``.
    """
    there = [move(a, device).to(getattr(torch, dtype)) for a in arrays]
    exact = [move(a, "cpu").astype(np.float64) for a in there]
    shape = function(fused, *map(Tensor, exact)).array
    cotangent = np.asarray(np.random.default_rng(5).standard_normal(shape.shape))
    ours = function(fused, *map(Tensor, there))
    sent = move(np.asarray(cotangent), device).to(ours.dtype)
    result, gradients = value_and_gradients(lambda *t: function(fused, *t), there, sent)
    assert device_of(result) == device
    peer, peer_gradients = value_and_gradients(
        lambda *t: function(composed, *t),
        there,
        sent.to(function(composed, *map(Tensor, there)).dtype),
    )
    reference, references = value_and_gradients(
        lambda *t: function(fused, *t), exact, move(sent, "cpu").astype(np.float64)
    )
    values = (result.array, *gradients), (peer.array, *peer_gradients)
    for mine, theirs, right in zip(*values, (reference.array, *references), strict=True):
        right = np.asarray(right)
        error, other = (np.abs(move(x, "cpu") - right).max() for x in (mine, theirs))
        rounding = torch.finfo(mine.dtype).eps * np.abs(right).max()
        assert error <= factor * max(other, rounding)
        assert mine.dtype in (theirs.dtype, torch.float32)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_the_kernels_run(device):
    assert gpu.runs_kernels(move(draw(2), device))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("approximate", ["tanh", "none"])
def test_gelu(device, dtype, approximate):
    check(lambda f, x: f.gelu(x, approximate=approximate), [2 * draw(3, 7)], device, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_norm(device, dtype):
    arrays = [draw(2, 5, 24), 1 + draw(24, seed=1), draw(24, seed=2)]
    check(lambda f, *t: f.layer_norm(*t), arrays, device, dtype)


ATTENTION = {
    "full": {},
    "causal": {"causal": True},
    "lengths": {"key_lengths": np.array([3, 0])},
    "list of lengths": {"key_lengths": [7, 2], "causal": True},
    "scale": {"scale": 0.3},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", ATTENTION.values(), ids=ATTENTION)
def test_attention(device, dtype, options):
    arrays = [draw(2, 2, 5, 8), draw(2, 2, 7, 8, seed=1), draw(2, 2, 7, 8, seed=2)]
    check(lambda f, *t: f.attention(*t, **options), arrays, device, dtype, FACTORS[dtype])


def test_attention_dropout_is_drawn_from_the_seed(device):
    eye = np.broadcast_to(np.eye(8, dtype=np.float32), (2, 3, 8, 8)).copy()
    query, key, value = (
        Tensor(move(a, device)) for a in (draw(2, 3, 64, 8), draw(2, 3, 8, 8), eye)
    )

    def weights(seed):
        return move(fused.attention(query, key, value, dropout=0.3, seed=seed).array, "cpu")

    whole = move(fused.attention(query, key, value).array, "cpu")
    first = weights(1)
    assert np.array_equal(first, weights(1))
    assert not np.array_equal(first, weights(2))
    kept = first != 0
    assert np.allclose(first[kept], whole[kept] / 0.7, rtol=1e-5)
    assert abs(kept.mean() - 0.7) < 0.05


def test_the_backward_pass_drops_the_same_weights(device):
    eye = np.broadcast_to(np.eye(8, dtype=np.float32), (1, 2, 8, 8)).copy()
    arrays = [move(a, device) for a in (draw(1, 2, 9, 8), draw(1, 2, 8, 8, seed=1), eye)]
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    g = draw(1, 2, 9, 8, seed=2)
    output = fused.attention(*tensors, dropout=0.4, seed=7)
    output.backward(move(g, device))
    weights = move(output.array, "cpu")  # the value is the identity
    assert 0.4 < (weights != 0).mean() < 0.8
    assert np.allclose(move(tensors[2].grad, "cpu"), weights.mT @ g, rtol=1e-4, atol=1e-6)
    # The scores' gradient is P (M ∘ dP − Σ P M dP), with the mask and its scale in M.
    whole = move(fused.attention(*map(Tensor, arrays)).array, "cpu")
    inner = weights * g
    scores = inner - whole * inner.sum(axis=-1, keepdims=True)
    key_gradient = scores.mT @ move(arrays[0], "cpu") / np.sqrt(8)
    assert np.allclose(move(tensors[1].grad, "cpu"), key_gradient, rtol=1e-3, atol=1e-5)


def test_a_value_of_another_width_is_composed(device):
    arrays = [draw(1, 1, 4, 8), draw(1, 1, 4, 8, seed=1), draw(1, 1, 4, 5, seed=2)]
    check(lambda f, *t: f.attention(*t), arrays, device)


def test_dropout(device):
    x = Tensor(move(1 + draw(40, 50) ** 2, device), requires_grad=True)
    first, again = (fused.dropout(x, 0.25, np.random.default_rng(3)) for _ in range(2))
    other = fused.dropout(x, 0.25, np.random.default_rng(4))
    first.backward(x.array)
    values = move(first.array, "cpu")
    kept = values != 0
    assert np.array_equal(values, move(again.array, "cpu"))
    assert not np.array_equal(values, move(other.array, "cpu"))
    assert np.allclose(values[kept], x.numpy()[kept] / 0.75, rtol=1e-6)
    assert np.allclose(move(x.grad, "cpu"), values)
    assert abs(kept.mean() - 0.75) < 0.05


TARGETS = np.array([[0, 4], [-100, 2], [4, 1]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(device, dtype, reduction, overwrite, smoothing):
    def loss(f, logits):
        # Logits that another operation made may be overwritten.
        extra = {"overwrite_logits": overwrite} if f is fused else {}
        targets = TARGETS if f is fused else move(TARGETS, device_of(logits))
        return f.cross_entropy(
            logits * 2.0, targets, reduction=reduction, label_smoothing=smoothing, **extra
        )

    check(loss, [draw(3, 2, 5)], device, dtype)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
def test_logits_are_overwritten_only_when_they_may_be(device, overwrite, transposed):
    start = move(draw(5, 6) if transposed else draw(6, 5), device)
    start = start.T if transposed else start
    logits = Tensor(start.clone(), requires_grad=True)
    before = move(logits.array, "cpu").copy()
    targets = np.array([0, 4, -100, 2, 1, 3][: len(before)])
    fused.cross_entropy(logits, targets, overwrite_logits=overwrite).backward()
    twin = Tensor(before.astype(np.float64), requires_grad=True)
    fused.cross_entropy(twin, targets).backward()
    assert np.allclose(move(logits.grad, "cpu"), twin.grad, rtol=1e-5, atol=1e-7)
    if not overwrite:
        assert np.array_equal(move(logits.array, "cpu"), before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_contrastive_cross_entropy(device, dtype, reduction):
    def loss(f, query, key, temperature):
        targets = np.array([3, 0, 6, 1, 2])
        targets = targets if f is fused else move(targets, device_of(query))
        return f.contrastive_cross_entropy(
            query, key, targets, temperature=temperature, reduction=reduction
        )

    arrays = [draw(5, 16), draw(7, 16, seed=1), np.array(0.5, np.float32)]
    check(loss, arrays, device, dtype, 4 / 3 * FACTORS[dtype])


def test_a_temperature_that_is_a_number_is_not_rounded(device):
    """0.07 in bfloat16 would be 0.0698, and the logits a third of a percent too large."""
    rows = np.eye(4, 16, dtype=np.float32) * 2  # exact in bfloat16
    views = Tensor(move(rows, device).to(torch.bfloat16))
    partners = np.array([1, 2, 3, 0])
    loss = fused.contrastive_cross_entropy(views, views, partners, temperature=0.07)
    assert loss.item() == pytest.approx(4 / 0.07 + np.log1p(3 * np.exp(-4 / 0.07)), rel=1e-6)


def test_a_temperature_keeps_all_its_digits(device):
    def loss(f, query, key, temperature):
        targets = np.array([1, 0]) if f is fused else move(np.array([1, 0]), device_of(query))
        return f.contrastive_cross_entropy(query, key, targets, temperature=temperature)

    arrays = [draw(2, 16), draw(3, 16, seed=1), np.array(0.7, np.float32)]
    check(loss, arrays, device, factor=4 / 3 * FACTORS["float32"])


def test_contrastive_cross_entropy_of_views_with_themselves(device):
    views = Tensor(move(draw(6, 16), device), requires_grad=True)
    partners = np.array([3, 4, 5, 0, 1, 2])
    loss = fused.contrastive_cross_entropy(
        views, views, partners, temperature=0.5, exclude_self=True
    )
    loss.backward()
    twin = Tensor(draw(6, 16).astype(np.float64), requires_grad=True)
    right = fused.contrastive_cross_entropy(
        twin, twin, partners, temperature=0.5, exclude_self=True
    )
    right.backward()
    assert loss.item() == pytest.approx(right.item(), rel=1e-6 * dot_factor(torch.float32))
    assert np.allclose(move(views.grad, "cpu"), twin.grad, rtol=1e-4, atol=1e-6)


def test_indices_out_of_range_are_named(device):
    if device != "torch":
        pytest.skip("on a GPU the program stops at its next synchronisation")
    with pytest.raises(IndexError, match="target 5 is not in 0 to 4"):
        fused.cross_entropy(Tensor(move(draw(1, 5), device)), np.array([5]))


WRONG_ATTENTION = {
    "lengths of another batch": ({"key_lengths": [3, 2, 1]}, r"2 integers, .* got shape \(3,\)"),
    "lengths on the device": ({"key_lengths": "there"}, r"2 integers, .* got shape \(1,\)"),
    "lengths that are no integers": ({"key_lengths": [1.0, 2.0]}, "integers, .* of float64"),
    "no seed": ({"dropout": 0.5}, "dropout needs a seed"),
    "no probability": ({"dropout": 1.5, "seed": 1}, r"in \[0, 1\), got 1.5"),
}


@pytest.mark.parametrize("name", WRONG_ATTENTION)
def test_what_attention_refuses(device, name):
    options, words = WRONG_ATTENTION[name]
    if options.get("key_lengths") == "there":
        options = {"key_lengths": move(np.array([3]), device)}
    query = Tensor(move(draw(2, 2, 5, 8), device))
    with pytest.raises(ValueError, match=words):
        fused.attention(query, query, query, **options)


@pytest.mark.parametrize("scale", [-0.5, 0.0])
def test_a_scale_that_is_not_positive_is_composed(device, scale):
    arrays = [draw(1, 2, 5, 8), draw(1, 2, 7, 8, seed=1), draw(1, 2, 7, 8, seed=2)]
    check(lambda f, *t: f.attention(*t, scale=scale), arrays, device)


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_what_contrastive_cross_entropy_refuses(device, temperature):
    rows = Tensor(move(draw(3, 8), device))
    with pytest.raises(ValueError, match="temperature must be positive"):
        fused.contrastive_cross_entropy(rows, rows, temperature=temperature)
    with pytest.raises(ValueError, match="targets"):
        fused.contrastive_cross_entropy(rows, rows, np.array([0, 1]), temperature=1.0)
