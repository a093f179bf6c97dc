"""The plain loop does what ``fit`` does, to the last bit, for every method."""

from functools import partial

import numpy as np
import pytest

from minissl.autograd import Tensor
from minissl.optim import SGD, AdamW, warmup_cosine
from minissl.pretrain import method_names
from minissl.training import DivergedError, fit
from minissl.training.plain import plain_loop
from tests.pretrain.toy import toy_method
from tests.training.tiny import TinyMethod

STEPS = 3


class MovingInPasses(TinyMethod):
    """With everything that a step may ask of a method."""

    in_passes = True

    def __init__(self):
        super().__init__()
        self.model.average = Tensor(np.zeros((3, 4), np.float32))

    def batch(self, generator, number=None):
        rows = self.data[(8 * number + np.arange(8)) % 64]
        return rows * generator.choice([1, -1], 9).astype(np.float32)

    def after_step(self, done):
        self.model.average = Tensor(self.model.average.array + done * self.model.second.array)


MAKERS = {
    "tiny": TinyMethod,
    "moving in passes": MovingInPasses,
    **{name: partial(toy_method, name, dropout=0.2, steps=STEPS) for name in method_names()},
}


@pytest.mark.parametrize("clip", [None, 1e-3])
@pytest.mark.parametrize("name", MAKERS)
def test_it_does_what_fit_does(name, clip):
    schedule = partial(warmup_cosine, peak=0.05, warmup_steps=1, total_steps=STEPS)
    found = []
    for loop in (plain_loop, partial(fit, progress=False)):
        method = MAKERS[name]()
        usual = AdamW if isinstance(method, TinyMethod) else SGD  # SGD takes gradients of rows
        optimizer = usual(method.model.named_parameters(), lr=0.1)
        method.model.eval()
        told = loop(method, optimizer, steps=STEPS, schedule=schedule, seed=7, clip=clip)
        losses = told if isinstance(told, list) else told.losses()
        weights = {n: a.tobytes() for n, a in method.model.state_dict().items()}
        found.append((losses, weights, optimizer.lr))
    assert len(found[0][0]) == STEPS
    assert found[0] == found[1]


def test_without_a_schedule_the_rate_stays():
    first, second = TinyMethod(), TinyMethod()
    optimizers = [SGD(m.model.named_parameters(), lr=0.03) for m in (first, second)]
    losses = plain_loop(first, optimizers[0], 4)
    assert losses == fit(second, optimizers[1], steps=4, progress=False).losses()
    assert optimizers[0].lr == 0.03


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_not_finite_moves_nothing(what):
    method = TinyMethod()
    usual, spoil = method.loss, Tensor(np.float32(np.inf))

    def loss(batch, generator):
        found = usual(batch, generator)
        return found + (spoil if what == "loss" else (method.model.bias * 0).sum() ** 0.5)

    method.loss = loss
    before = {n: a.copy() for n, a in method.model.state_dict().items() if n != "seen"}
    with pytest.raises(DivergedError, match=r"step 1: .* this update was not made") as error:
        plain_loop(method, AdamW(method.model.named_parameters()), 3)
    assert error.value.step == 1
    for name, array in before.items():
        np.testing.assert_array_equal(method.model.state_dict()[name], array)
