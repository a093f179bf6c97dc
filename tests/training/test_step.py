"""One step: many small batches are one large one, whatever each of them counts."""

from types import SimpleNamespace

import numpy as np
import pytest

from minissl.models.gpt import GPT, GPTConfig
from minissl.optim import SGD
from minissl.pretrain.language.gpt import GPTPretraining
from minissl.training import fit, step, train_step
from minissl.training.method import Counted, Moving
from tests.training.test_fit import Regression, fit_quietly


def windows(rows):
    """A language model whose batches are these windows of seven tokens, in this order."""
    config = GPTConfig(vocab_size=8, context_length=6, num_layers=1, width=8, num_heads=2)
    model = GPT(config, generator=np.random.default_rng(0)).astype(np.float64)
    stream = np.array([t for row in rows for t in row])
    method = GPTPretraining(model, stream, batch_size=1, separator=0)
    numbers = iter(range(10**6))

    def batch(generator):
        chosen = np.array(rows)[next(numbers) % len(rows)][None]
        inputs, targets = chosen[:, :-1], chosen[:, 1:]
        return inputs, np.where(inputs == 0, -100, targets)

    method.batch = batch
    return method


ROWS = [[0, 0, 0, 0, 0, 1, 2], [3, 4, 5, 6, 7, 1, 3]]


def gradient_of(method):
    return {name: p.grad for name, p in method.model.named_parameters()}


def test_micro_batches_are_weighted_by_what_they_count():
    """One target against six: the mean of the two means is not the mean."""
    small = windows(ROWS)
    loss, norm = train_step(
        small, SGD(small.model.named_parameters(), lr=0.0), 0, accumulate=len(ROWS)
    )
    whole = windows(ROWS)
    batches = [whole.batch(None) for _ in ROWS]
    together = tuple(np.concatenate(parts) for parts in zip(*batches))
    expected = whole.loss(together, None)
    expected.backward()
    assert [whole.count(batch) for batch in batches] == [1, 6]
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    ours, theirs = gradient_of(small), gradient_of(whole)
    for name, gradient in theirs.items():
        np.testing.assert_allclose(ours[name], gradient, rtol=1e-9, atol=1e-14)
    total = np.sqrt(sum(np.sum(g * g) for g in theirs.values()))
    assert norm == pytest.approx(total, rel=1e-9)
    means = [whole.loss(batch, None).item() for batch in batches]
    assert abs(np.mean(means) - loss) > 0.01  # what it was


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(("rank", "size"), [(0, 1), (1, 2)])
def test_batches_of_a_method_with_passes_are_numbered_through_the_run(
    accumulate, rank, size, monkeypatch
):
    """Of two processes each takes every other one; what they would send is left out here."""
    monkeypatch.setattr(step, "world", lambda: SimpleNamespace(rank=rank, size=size))
    alone = SimpleNamespace(ready=None, finish=lambda total: None)
    monkeypatch.setattr(step, "GradientMean", lambda *given: alone)
    method, numbers = Regression(), []
    usual, method.in_passes = method.batch, True
    method.batch = lambda generator, number=None: numbers.append(number) or usual(generator)
    fit_quietly(method, steps=2, accumulate=accumulate)
    assert numbers == list(range(rank, 2 * accumulate * size, size))


def test_a_batch_without_targets_takes_no_part():
    with_nothing, without = windows([[0] * 7, ROWS[1]]), windows([ROWS[1]])
    optimizer = SGD(with_nothing.model.named_parameters(), lr=0.0)
    loss, _ = train_step(with_nothing, optimizer, 0, accumulate=2)
    alone, _ = train_step(without, SGD(without.model.named_parameters(), lr=0.0), 0)
    assert loss == pytest.approx(alone, rel=1e-12)
    empty = windows([[0] * 7])
    with pytest.raises(ValueError, match="step 1: no batch has anything to predict"):
        train_step(empty, SGD(empty.model.named_parameters(), lr=0.0), 0, accumulate=2)


def test_a_method_that_does_not_count_is_a_mean_of_means():
    method = Regression()
    assert not isinstance(method, Counted)
    fit_quietly(method, steps=1, accumulate=3)


def test_after_step_is_called_after_every_update_with_how_many_there_were():
    class Slow(Regression):
        def __init__(self):
            super().__init__()
            self.seen = []

        def after_step(self, done):
            self.seen.append((done, self.model.weight.array.copy()))

    method = Slow()
    assert isinstance(method, Moving)
    assert not isinstance(Regression(), Moving)
    fit(method, SGD(method.model.named_parameters(), lr=0.1), steps=3, progress=False)
    assert [done for done, _ in method.seen] == [1, 2, 3]
    np.testing.assert_array_equal(method.seen[-1][1], method.model.weight.array)
    assert (method.seen[0][1] != method.seen[1][1]).any()


def test_nothing_moves_in_a_step_that_is_not_finite():
    class Bad(Regression):
        called = False

        def loss(self, batch, generator):
            return super().loss(batch, generator) * np.nan

        def after_step(self, done):
            self.called = True

    method = Bad()
    loss, _ = train_step(method, SGD(method.model.named_parameters(), lr=0.1), 0)
    assert np.isnan(loss)
    assert not method.called
    assert not method.model.weight.array.any()
