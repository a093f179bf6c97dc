"""Training a table of which each step reads little: the same run as with dense gradients."""

import importlib

import numpy as np
import pytest
import torch

from minissl.autograd.processes import World
from minissl.nn import Embedding, Linear
from minissl.nn.module import Module
from minissl.optim import SGD, AdaGrad, AdamW
from minissl.training import DivergedError, fit


class Words:
    """Predict a number from the mean of two words' vectors, of one table used twice."""

    def __init__(self, sparse=True, dtype=np.float64):
        self.model = Module()
        self.model.table = Embedding(20, 3, sparse=sparse, generator=np.random.default_rng(0))
        self.model.out = Linear(3, 1, generator=np.random.default_rng(1))
        self.model.astype(dtype)
        self.dtype = dtype

    def batch(self, generator):
        ids = (generator.random((6, 2)) ** 3 * 19).astype(np.int64)
        return ids, (ids[:, :1] - ids[:, 1:]).astype(self.dtype)

    def loss(self, batch, generator):
        ids, goal = batch
        difference = (
            self.model.out(self.model.table(ids[:, 0]) - self.model.table(ids[:, 1])) - goal
        )
        return (difference * difference).mean()

    def count(self, batch):
        return len(batch[0])

    def represent(self, examples):
        return examples


def adagrad(method):
    return AdaGrad(method.model.named_parameters(), lr=0.3)


def sgd(method):
    return SGD(method.model.named_parameters(), lr=0.01)


def weights(method):
    return {name: array.copy() for name, array in method.model.state_dict().items()}


@pytest.mark.parametrize("make", [adagrad, sgd])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_run_is_that_with_dense_gradients(make, accumulate):
    runs, settings = [], {"accumulate": accumulate, "clip": 1.0, "progress": False}
    for sparse in (True, False):
        method = Words(sparse)
        history = fit(method, make(method), steps=15, **settings)
        runs.append(
            ([r["loss"] for r in history], [r["grad_norm"] for r in history], weights(method))
        )
    for mine, theirs in zip(runs[0][:2], runs[1][:2]):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9)
    for name, array in runs[0][2].items():
        np.testing.assert_allclose(array, runs[1][2][name], rtol=1e-9)
        assert (array != Words().model.state_dict()[name]).any()


def test_a_run_that_was_stopped_ends_bit_for_bit_the_same(tmp_path):
    settings = {"accumulate": 2, "clip": 1.0, "checkpoint_every": 2, "progress": False}
    whole = Words(dtype=np.float32)
    fit(whole, adagrad(whole), steps=9, run=tmp_path / "whole", **settings)
    stopped, usual = Words(dtype=np.float32), iter(range(2 * 5))
    stopped.batch, draw = (
        lambda g: draw(g) if next(usual, None) is not None else 1 / 0,
        stopped.batch,
    )
    with pytest.raises(ZeroDivisionError):
        fit(stopped, adagrad(stopped), steps=9, run=tmp_path / "run", **settings)
    again = Words(dtype=np.float32)
    fit(again, adagrad(again), steps=9, run=tmp_path / "run", **settings)
    for name, array in weights(again).items():
        assert array.tobytes() == weights(whole)[name].tobytes(), name


REFUSED = {
    "an optimizer that needs all rows": (
        lambda m: AdamW(m.model.named_parameters()),
        {},
        r"the gradient of 'table' has some rows only, and this AdamW moves every row",
    ),
    "two processes": (adagrad, {}, r"'table' .* one process trains, here are 2.*without torchrun"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(name, tmp_path, monkeypatch):
    make, settings, message = REFUSED[name]
    if name == "two processes":
        monkeypatch.setattr(
            importlib.import_module("minissl.training.fit"), "world", lambda: World(0, 2)
        )
    method = Words()
    with pytest.raises(ValueError, match=message):
        fit(method, make(method), steps=1, run=tmp_path / "run", progress=False, **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_torch_arrays_in_bfloat16(accumulate):
    """The path of a GPU: rows in bfloat16 are added to those that are there, in float32."""
    found = []
    for sparse, precision in ((True, "bfloat16"), (False, "bfloat16"), (True, "float32")):
        method = Words(sparse, np.float32)
        method.model.to("torch")
        settings = {"precision": precision, "accumulate": accumulate}
        fit(method, sgd(method), steps=3, progress=False, **settings)
        assert method.model.table.weight.array.dtype == torch.float32
        found.append(weights(method)["table.weight"])
    moved = abs(found[2] - Words().model.table.weight.array).max()
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_allclose(found[0], found[2], atol=0.02 * moved)


def test_a_frozen_table_is_no_obstacle(tmp_path):
    method = Words()
    method.model.table.weight.requires_grad = False
    before = weights(method)
    fit(method, AdamW(method.model.named_parameters()), steps=2, progress=False)
    np.testing.assert_array_equal(method.model.table.weight.array, before["table.weight"])
    assert (method.model.out.weight.array != before["out.weight"]).any()


def test_a_row_that_is_not_finite_is_named():
    method = Words()
    method.model.table.weight.array[0, 1] = np.nan
    before = weights(method)
    with pytest.raises(DivergedError, match=r"weight table.weight.*gradient of table.weight"):
        fit(method, adagrad(method), steps=1, progress=False)
    np.testing.assert_array_equal(method.model.table.weight.array, before["table.weight"])
