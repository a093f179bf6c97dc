"""Fused cross-entropy and InfoNCE against compositions, torch, closed forms and differences."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from minissl.autograd import Tensor, composed, fused, gradcheck
from tests.autograd.compare import assert_close, ours, random_like, torchs
from tests.autograd.fused_checks import check, draw

# ---- cross-entropy ------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 7), (4,), (3, 1), (600, 401)])
def test_cross_entropy(reduction, smoothing, shape):
    logits = draw(*shape, scale=3.0)
    targets = np.random.default_rng(5).integers(0, shape[-1], shape[:-1])
    if targets.ndim:
        targets.reshape(-1)[1] = -100
    options = {"label_smoothing": smoothing, "reduction": reduction}

    def torch_cross_entropy(t):
        flat = F.cross_entropy(
            t.reshape(-1, shape[-1]), torch.tensor(targets).reshape(-1), **options
        )
        return flat.reshape(shape[:-1]) if reduction == "none" else flat

    check(
        lambda t: fused.cross_entropy(t, targets, **options),
        lambda t: composed.cross_entropy(t, targets, **options),
        torch_cross_entropy,
        [logits],
        bits=8,
    )
    runs_on_torch_arrays_with_targets(logits, targets, options)
    if logits.size < 100:
        gradcheck(lambda t: fused.cross_entropy(t, targets, **options), [logits])


def runs_on_torch_arrays_with_targets(logits, targets, options):
    output = fused.cross_entropy(Tensor(logits), targets, **options)
    c = random_like(output)
    _, (expected,) = ours(lambda t: fused.cross_entropy(t, targets, **options), [logits], c)
    actual, (gradient,) = ours(
        lambda t: fused.cross_entropy(t, torch.tensor(targets), **options),
        [torch.tensor(logits)],
        torch.tensor(c),
    )
    assert_close(actual, output.array, bits=8)
    assert_close(gradient, expected, bits=8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_of_extreme_logits(dtype):
    """Far below −104, where float32's exp is 0, and one huge logit; −∞ for what cannot be."""
    rows = np.array(
        [[-500, -501, -502], [1e4, 0, 0], [0, 1e4, 0], [-1e30, 0, 1], [-np.inf, 0, 1]], dtype
    )
    targets = np.array([1, 0, 0, 2, 1])
    c = random_like(targets).astype(dtype)
    exact, (exact_gradient,) = torchs(
        lambda t: F.cross_entropy(t, torch.tensor(targets), reduction="none"),
        [rows.astype(np.float64)],
        c.astype(np.float64),
    )
    output, (gradient,) = ours(
        lambda t: fused.cross_entropy(t, targets, reduction="none"), [rows], c
    )
    for value, exact_value in ((output, exact), (gradient, exact_gradient)):
        for row, exact_row in zip(value, exact_value):
            assert_close(row, exact_row, np.dtype(dtype).name)


def test_everything_ignored():
    logits = draw(3, 4)
    for reduction, value in (("mean", 0), ("sum", 0), ("none", [0, 0, 0])):
        for function in (fused.cross_entropy, composed.cross_entropy):
            x = Tensor(logits, requires_grad=True)
            loss = function(x, np.full(3, -100), reduction=reduction)
            assert loss.array.tolist() == value
            loss.backward(np.ones(loss.shape))
            assert not x.grad.any()


def test_another_ignore_index_and_no_rows():
    logits = draw(4, 3)
    targets = np.array([0, 2, 0, 1])
    kept = fused.cross_entropy(Tensor(logits[[1, 3]]), targets[[1, 3]])
    assert_close(fused.cross_entropy(Tensor(logits), targets, ignore_index=0).array, kept.array)
    x = Tensor(np.zeros((0, 3)), requires_grad=True)
    loss = fused.cross_entropy(x, np.zeros(0, np.int64))
    loss.backward()
    assert loss.item() == 0
    assert x.grad.shape == (0, 3)


def test_the_loss_of_a_uniform_guess_is_ln_of_the_classes():
    loss = fused.cross_entropy(Tensor(np.zeros((5, 50), np.float32)), [1, 2, 3, 4, 5])
    assert loss.item() == pytest.approx(math.log(50), rel=1e-6)


@pytest.mark.parametrize(
    ("targets", "options", "error", "words"),
    [
        ([0, 1], {}, ValueError, r"\(3, 4\) need targets of shape \(3,\), got \(2,\)"),
        ([[0], [1], [2]], {}, ValueError, r"got \(3, 1\)"),
        ([0.0, 1.0, 2.0], {}, ValueError, "must be integers"),
        ([0, 1, 4], {}, IndexError, "index 4 is out of range, expected 0 to 3, or -100"),
        ([0, -1, 2], {}, IndexError, "index -1 is out of range"),
        ([0, 1, 2], {"label_smoothing": 1.5}, ValueError, r"in \[0, 1\], got 1\.5"),
        ([0, 1, 2], {"label_smoothing": -0.5}, ValueError, r"in \[0, 1\]"),
        ([0, 1, 2], {"label_smoothing": math.nan}, ValueError, r"in \[0, 1\], got nan"),
        ([0, 1, 2], {"reduction": "avg"}, ValueError, "got 'avg'"),
    ],
)
def test_cross_entropy_errors(targets, options, error, words):
    with pytest.raises(error, match=words):
        fused.cross_entropy(Tensor(draw(3, 4)), targets, **options)


@pytest.mark.parametrize("form", [list, np.array, Tensor, lambda t: np.array(t, np.uint8)])
def test_targets_in_any_form(form):
    logits = draw(3, 4)
    expected = F.cross_entropy(torch.tensor(logits), torch.tensor([1, 0, 3])).item()
    assert fused.cross_entropy(logits, form([1, 0, 3])).item() == pytest.approx(expected, rel=1e-6)


# ---- contrastive ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("rows", [1, 4, 6])
@pytest.mark.parametrize(
    ("exclude", "given_targets"), [(False, False), (False, True), (True, True)]
)
def test_contrastive_cross_entropy(reduction, rows, exclude, given_targets):
    columns = 6
    targets = (np.arange(rows) + 3) % columns if given_targets else None
    options = {"targets": targets, "exclude_self": exclude, "reduction": reduction}
    inputs = [draw(rows, 5), draw(columns, 5, seed=1), np.array(0.5)]

    def torch_contrastive(query, key, temperature):
        logits = query @ key.T / temperature
        if exclude:
            logits = logits.masked_fill(torch.eye(rows, columns, dtype=torch.bool), -torch.inf)
        positive = torch.arange(rows) if targets is None else torch.tensor(targets)
        return F.cross_entropy(logits, positive, reduction=reduction)

    check(
        lambda q, k, t: fused.contrastive_cross_entropy(q, k, temperature=t, **options),
        lambda q, k, t: composed.contrastive_cross_entropy(q, k, temperature=t, **options),
        torch_contrastive,
        inputs,
        bits=9,
    )
    gradcheck(
        lambda q, k, t: fused.contrastive_cross_entropy(q, k, temperature=t, **options), inputs
    )
    expected = fused.contrastive_cross_entropy(*inputs[:2], temperature=0.5, **options).array
    on_torch = dict(options, targets=None if targets is None else torch.tensor(targets))
    actual = fused.contrastive_cross_entropy(
        *map(torch.tensor, inputs[:2]), temperature=0.5, **on_torch
    )
    assert isinstance(actual.array, torch.Tensor)
    assert_close(actual.array, expected, bits=9)


def test_both_sides_of_contrastive_cross_entropy_may_be_the_same_tensor():
    z = draw(6, 4)
    targets = (np.arange(6) + 3) % 6
    gradcheck(
        lambda a: fused.contrastive_cross_entropy(
            a, a, targets, temperature=0.3, exclude_self=True
        ),
        [z],
    )


@given(st.integers(2, 12), st.integers(0, 1000), st.floats(0.05, 5))
@settings(max_examples=30, deadline=None)
def test_contrastive_cross_entropy_does_not_depend_on_the_order_of_the_pairs(
    rows, seed, temperature
):
    query, key = draw(rows, 4, seed=seed), draw(rows, 4, seed=seed + 1)
    order = np.random.default_rng(seed).permutation(rows)
    loss = fused.contrastive_cross_entropy(query, key, temperature=temperature).item()
    moved = fused.contrastive_cross_entropy(
        query[order], key[order], temperature=temperature
    ).item()
    assert moved == pytest.approx(loss, rel=1e-10, abs=1e-12)


def test_contrastive_cross_entropy_by_hand():
    """Two pairs of unit vectors at right angles, temperature ½: ln(1 + e⁻²) each."""
    eye = np.eye(2)
    expected = math.log1p(math.exp(-2))
    assert fused.contrastive_cross_entropy(eye, eye, temperature=0.5).item() == pytest.approx(
        expected, rel=1e-14
    )
    collapsed = np.ones((8, 3))
    assert fused.contrastive_cross_entropy(collapsed, collapsed).item() == pytest.approx(
        math.log(8), rel=1e-14
    )
    loss = fused.contrastive_cross_entropy(
        collapsed, collapsed, (np.arange(8) + 4) % 8, exclude_self=True
    )
    assert loss.item() == pytest.approx(math.log(7), rel=1e-14)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"query": draw(4)}, ValueError, "expected query"),
        ({"key": draw(4, 2)}, ValueError, r"\(4, 3\) and \(4, 2\)"),
        ({"temperature": 0.0}, ValueError, "positive"),
        ({"temperature": -1.0}, ValueError, "positive"),
        ({"targets": [0, 1]}, ValueError, "4 queries need 4 targets"),
        ({"targets": [0, 1, 2, 4]}, IndexError, "0 to 3"),
        ({"targets": [0, 1, 2, -1]}, IndexError, "0 to 3"),
        ({"targets": [0.0, 1.0, 2.0, 3.0]}, ValueError, "integers"),
        ({"key": draw(3, 3)}, IndexError, "0 to 2"),
        ({"exclude_self": True}, ValueError, "row itself"),
        ({"reduction": "avg"}, ValueError, "got 'avg'"),
    ],
)
def test_contrastive_cross_entropy_errors(change, error, words):
    arguments = {"query": draw(4, 3), "key": draw(4, 3, seed=1)} | change
    with pytest.raises(error, match=words):
        fused.contrastive_cross_entropy(**arguments)
