"""The next-token loss against the chain rule written out, and its units."""

import math

import numpy as np
import pytest

from minissl import Tensor
from minissl.losses.language_modeling import (
    IGNORE,
    next_token_loss,
    perplexity,
    teacher_forcing,
)


def test_teacher_forcing_shifts_by_one():
    windows = np.arange(10).reshape(2, 5)
    inputs, targets = teacher_forcing(windows)
    np.testing.assert_array_equal(inputs, [[0, 1, 2, 3], [5, 6, 7, 8]])
    np.testing.assert_array_equal(targets, [[1, 2, 3, 4], [6, 7, 8, 9]])
    with pytest.raises(ValueError, match=r"two tokens or more .* got \(3, 1\)"):
        teacher_forcing(np.zeros((3, 1), int))


def test_the_loss_is_the_likelihood_by_the_chain_rule():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((2, 3, 5))
    targets = np.array([[1, 4, 0], [2, IGNORE, 3]])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    nats = [-math.log(probabilities[i, t, targets[i, t]]) for i, t in np.argwhere(targets >= 0)]
    x = Tensor(logits, requires_grad=True)
    assert next_token_loss(x, targets, reduction="sum").item() == pytest.approx(sum(nats))
    loss = next_token_loss(x, targets)
    assert loss.item() == pytest.approx(np.mean(nats))
    loss.backward(np.array(3.0))
    expected = 3 * probabilities / 5
    for i, t in np.argwhere(targets >= 0):
        expected[i, t, targets[i, t]] -= 3 / 5
    expected[1, 1] = 0
    np.testing.assert_allclose(x.grad, expected, rtol=1e-12, atol=1e-15)


def test_knowing_nothing_costs_ln_vocab_size():
    logits = np.zeros((4, 6, 50))
    loss = next_token_loss(logits, np.random.default_rng(0).integers(50, size=(4, 6))).item()
    assert loss == pytest.approx(math.log(50))
    assert perplexity(loss) == pytest.approx(50)
    assert perplexity(1e4) == perplexity(math.inf) == math.inf
    assert math.isnan(perplexity(math.nan))


def test_overwriting_the_logits_changes_neither_loss_nor_gradient():
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(4, 6, 50)).astype(np.float32)
    targets = generator.integers(50, size=(4, 6))
    results = []
    for overwrite in (False, True):
        x = Tensor(logits, requires_grad=True)
        computed = x * 1.0
        loss = next_token_loss(computed, targets, overwrite_logits=overwrite)
        assert np.array_equal(computed.array, logits) != overwrite  # no second array was needed
        loss.backward()
        results.append((loss.item(), x.grad))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])
